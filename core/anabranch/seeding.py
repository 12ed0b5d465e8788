"""Plugins' seeds: rows put in place once per version, when all revisions have run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from anabranch.database import Database
from anabranch.errors import HookError
from anabranch.failures import cause_of
from anabranch.hooks import Judge
from anabranch.ledger import Ledger
from anabranch.recorder import Event, Recorder, State, now
from anabranch_plugins_api import Seed


def sow(
    seeds: Sequence[tuple[str, Seed]],
    *,
    database: Database,
    connection: sa.Connection,
    recorder: Recorder,
    ledger: Ledger,
    run: str,
    actor: str,
    judge: Judge,
) -> tuple[str, ...]:
    """Put in place the rows of *seeds* that are not yet, in this version or a later one.

    Each in a transaction of its own, in which the journal's line becomes true too. Returns what was
    put in place, in words.

    :param seeds: with the owners they are of.
    :param judge: surrounds each, and raises if that does what it must not do.
    :param run: the run that the journal is to name, as *actor* is who started it.
    :raises HookError: for the first that failed, once the others had their turn.
    """
    if not seeds:
        return ()
    with connection.begin():
        versions = _sown(recorder.events(connection), _since(recorder.read(connection)))
    sown: list[str] = []
    failure: HookError | None = None
    for owner, seed in seeds:
        if versions.get((owner, seed.name), seed.version - 1) >= seed.version:
            continue
        detail = f"{seed.name} {seed.version}"
        try:
            with connection.begin():
                with judge():
                    seed.run(connection)
                ledger.note(Event("seeded", now(), run, owner, actor=actor, detail=detail))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            failure = failure or _failure(owner, seed, error, database)
        else:
            sown.append(f"{owner}: {detail}")
    if failure is not None:
        raise failure
    return tuple(sown)


def _failure(owner: str, seed: Seed, error: BaseException, database: Database) -> HookError:
    failure = HookError(
        f"The seed {seed.name!r} of {owner} failed: {cause_of(error, database)}",
        owner=owner,
        remedy=f"Mend or disable the plugin {owner}, then run the same command again.",
    )
    failure.__cause__ = error
    return failure


def _since(state: State) -> dict[str, str]:
    """Return since when each owner has had something applied without a break.

    What was sown before went with the tables it was sown in: the owner was purged, or reverted.
    """
    since: dict[str, str] = {}
    for key, row in state.applied.items():
        since[key.owner] = min(since.get(key.owner, row.applied_at), row.applied_at)
    return since


def _sown(events: Iterable[Event], since: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """Return the latest version of each seed that is in place, by owner and name."""
    versions: dict[tuple[str, str], int] = {}
    for event in events:
        if event.event == "seeded" and event.at >= since.get(event.owner, ""):
            name, _, version = event.detail.rpartition(" ")
            known = versions.get((event.owner, name), int(version))
            versions[event.owner, name] = max(known, int(version))
    return versions


def unannounced(events: Iterable[Event]) -> list[str]:
    """Return the revisions that runs applied since the last one that came to its end."""
    keys: list[str] = []
    for event in events:
        if event.event == "finished":
            keys.clear()
        elif event.event == "applied":
            keys.append(f"{event.owner}@{event.revision}")
    return keys
