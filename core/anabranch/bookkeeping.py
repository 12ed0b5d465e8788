"""Bring the bookkeeping of a locked database up to date, without running a revision."""

from __future__ import annotations

import socket

import sqlalchemy as sa

from anabranch.locking import user_name
from anabranch.reading import Reading, new_row
from anabranch.recorder import Event, Recorder, now, shown_ids


def record_adoption(recorder: Recorder, connection: sa.Connection, reading: Reading) -> None:
    """Write what another tool applied and reverted into our tables, in one transaction."""
    adoption = reading.adoption
    at, actor = now(), f"{user_name()}@{socket.gethostname()}"
    changes = (("adopted", adoption.added), ("reverted", adoption.removed))
    with connection.begin():
        recorder.prepare(connection)
        recorder.forget(connection, adoption.removed)
        recorder.record_applied(
            connection, [new_row(reading.graph, key) for key in sorted(adoption.added)]
        )
        recorder.record_events(
            connection,
            [
                Event(name, at, "", owner=key.owner, revision=key.id, actor=actor)
                for name, keys in changes
                for key in sorted(keys)
            ],
        )
        _project(recorder, connection, reading)


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
