"""Bring the bookkeeping of a locked database up to date, without running a revision."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Set

import sqlalchemy as sa

from anabranch.locking import user_name
from anabranch.reading import Reading, new_row
from anabranch.recorder import Event, Recorder, now, shown_ids
from anabranch.revision import AppliedRevision, RevisionKey


def record_adoption(recorder: Recorder, connection: sa.Connection, reading: Reading) -> None:
    """Write what another tool applied and reverted into our tables, in one transaction."""
    with connection.begin():
        recorder.prepare(connection)
        write_adoption(recorder, connection, reading)


def write_adoption(recorder: Recorder, connection: sa.Connection, reading: Reading) -> None:
    """Write it into our tables, which are there, and into the transaction that is open."""
    adoption = reading.adoption
    at = now()
    changes = (("adopted", adoption.added), ("reverted", adoption.removed))
    recorder.forget(connection, adoption.removed)
    recorder.record_applied(
        connection, [new_row(reading.graph, key) for key in sorted(adoption.added)]
    )
    recorder.record_events(
        connection,
        [
            Event(name, at, "", owner=key.owner, revision=key.id, actor=actor())
            for name, keys in changes
            for key in sorted(keys)
        ],
    )
    _project(recorder, connection, reading)


def record_position(
    recorder: Recorder,
    connection: sa.Connection,
    reading: Reading,
    applied: Set[RevisionKey],
    events: Iterable[Event],
) -> None:
    """Write that *applied* is the applied set, into the transaction that is open.

    What is new in it is recorded for the packages that are installed.
    """
    before = reading.state.applied.keys()
    removed = before - set(applied)
    recorder.prepare(connection)
    recorder.forget(connection, removed)
    recorder.record_applied(connection, [_row(reading, key) for key in sorted(applied - before)])
    recorder.record_events(connection, tuple(events))
    projection = frozenset(reading.graph.maximal(reading.graph.installed.intersection(applied)))
    recorder.project(
        connection,
        projection,
        was=reading.state.projected.difference(removed),
        rows=reading.state.version_rows or (),
        ids=shown_ids(projection, applied),
    )


def _row(reading: Reading, key: RevisionKey) -> AppliedRevision:
    owner = reading.installation.discovery.get(key.owner)
    if owner is None:
        return new_row(reading.graph, key)
    return new_row(reading.graph, key, owner.distribution, owner.version)


def actor() -> str:
    """Return who does something, as the journal names them."""
    return f"{user_name()}@{socket.gethostname()}"


def refresh_projection(recorder: Recorder, connection: sa.Connection, reading: Reading) -> None:
    """Let Alembic's table show what is installed now, in a transaction of its own."""
    with connection.begin():
        recorder.prepare(connection)
        _project(recorder, connection, reading)


def _project(recorder: Recorder, connection: sa.Connection, reading: Reading) -> None:
    recorder.project(
        connection,
        reading.projection,
        was=reading.state.projected - reading.adoption.removed,
        rows=reading.state.version_rows or (),
        ids=shown_ids(reading.projection, reading.applied),
    )
