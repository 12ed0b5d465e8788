"""What follows the revisions of a run: plugins are told, and their seeds put in place."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.chronicle import Chronicle
from anabranch.database import Database
from anabranch.errors import AnabranchError, HookError, RunInterrupted
from anabranch.hooks import Hooks, Judge
from anabranch.ledger import Ledger
from anabranch.reading import Reading
from anabranch.recorder import Recorder
from anabranch.revision import CORE
from anabranch.seeding import sow, unannounced
from anabranch.setbacks import Setbacks
from anabranch.undone import Failed
from anabranch.wording import counted


def conclude(
    *,
    database: Database,
    connection: sa.Connection,
    recorder: Recorder,
    reading: Reading,
    hooks: Hooks,
    ledger: Ledger,
    chronicle: Chronicle,
    setbacks: Setbacks,
    finished: str,
    judge: Judge,
) -> tuple[str, ...]:
    """Let plugins know of a run, and put their seeds in place, each in a transaction of its own.

    :param reading: what was read before the run.
    :param setbacks: of a run that kept going: the failure of a hook or a seed becomes one of them.
    :param finished: what the journal says at the end; empty for nothing.
    :param judge: surrounds each hook and seed, and raises if that does what it must not do.
    :returns: the seeds that were put in place, in words.
    :raises AnabranchError: with exit code 6, if a hook or a seed fails.
    :raises RunInterrupted: at a signal.
    """
    try:
        if setbacks:
            with connection.begin():
                chronicle.note("incomplete", setbacks.summary)
        elif hooks.implements("anabranch_after_run"):
            with connection.begin():
                # Also of runs before this one that did not come that far.
                revisions = unannounced(recorder.events(connection))
                if revisions:
                    hooks.notify(
                        "anabranch_after_run", judge, connection=connection, revisions=revisions
                    )
        applied = {*reading.state.applied, *ledger.committed}
        graph = reading.graph
        sown = sow(
            [
                (owner, seed)
                for owner, seed in hooks.seeds()
                # What has no revisions of its own is a part of the host.
                if applied.issuperset(graph.of(owner) or graph.of(CORE))
            ],
            database=database,
            connection=connection,
            recorder=recorder,
            ledger=ledger,
            run=chronicle.run,
            actor=chronicle.actor,
            judge=judge,
        )
        if finished and chronicle.has_journal and not setbacks:
            with connection.begin():
                chronicle.note("finished", finished)
    except (AnabranchError, exc.DBAPIError, KeyboardInterrupt) as error:
        done = counted(
            len(ledger.committed),
            "revision of this run is applied and stays so.",
            "revisions of this run are applied and stay so.",
        )
        if isinstance(error, KeyboardInterrupt):
            raise RunInterrupted("What follows the revisions was stopped.", state=done) from error
        if setbacks and isinstance(error, HookError):
            setbacks.failed.append(Failed(error.owner, "", error))
            return ()
        failure = error if isinstance(error, AnabranchError) else database.unreachable(error)
        failure.state = done
        failure.exit_code = 6
        raise failure from error.__cause__
    return sown
