"""Bring the bookkeeping of a locked database up to date, without running a revision."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable

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
    *,
    added: Collection[AppliedRevision] = (),
    removed: Collection[RevisionKey] = (),
    events: Iterable[Event] = (),
) -> None:
    """Write that *added* are applied and *removed* are not, into the transaction that is open."""
    recorder.prepare(connection)
    recorder.forget(connection, removed)
    recorder.record_applied(connection, tuple(added))
    recorder.record_events(connection, tuple(events))
    applied = reading.applied.difference(removed).union(row.key for row in added)
    projection = frozenset(reading.graph.maximal(applied & reading.graph.installed))
    recorder.project(
        connection,
        projection,
        was=reading.state.projected.difference(removed),
        rows=reading.state.version_rows or (),
        ids=shown_ids(projection, applied),
    )


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
