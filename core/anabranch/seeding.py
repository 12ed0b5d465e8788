"""Plugins' seeds: rows put in place once per version, when all revisions have run."""

from __future__ import annotations

import sqlalchemy as sa

from anabranch.database import Database
from anabranch.errors import HookError
from anabranch.failures import cause_of
from anabranch.ledger import Ledger
from anabranch.recorder import Event, Recorder, now
from anabranch_plugins_api import Seed


def sow(
    owner: str,
    seed: Seed,
    *,
    database: Database,
    connection: sa.Connection,
    recorder: Recorder,
    ledger: Ledger,
    run: str,
    actor: str,
) -> None:
    """Put the rows of *seed* in place, if not done yet in this version or a later one.

    They and the journal's line become true together.

    :param run: the run that the journal is to name, as *actor* is who started it.
    :raises HookError: if the seed fails; its transaction is rolled back.
    """
    try:
        with connection.begin():
            seeded = [
                event.detail.rpartition(" ")
                for event in recorder.events(connection)
                if event.event == "seeded" and event.owner == owner
            ]
            if any(name == seed.name and int(v) >= seed.version for name, _, v in seeded):
                return
            seed.run(connection)
            detail = f"{seed.name} {seed.version}"
            ledger.note(Event("seeded", now(), run, owner, actor=actor, detail=detail))
    except (Exception, SystemExit) as error:
        raise HookError(
            f"The seed {seed.name!r} of {owner} failed: {cause_of(error, database)}",
            owner=owner,
            remedy=f"Mend or disable the plugin {owner}.",
        ) from error
