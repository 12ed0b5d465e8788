"""The verb ``status``: where a database stands, and what those who take no part have in it."""

from __future__ import annotations

from anabranch.access import Access
from anabranch.estate import read_estates
from anabranch.foresight import half_done, occupied
from anabranch.reading import Status


def read_status(access: Access) -> Status:
    """Do what :meth:`MigrationManager.status` says."""
    with access.look() as (reading, connection):
        owners, plan = reading.owners(), reading.plan()
        status = Status(access.database.title, owners, plan, reading.problems)
        if connection is None:
            return status
        recorder = access.recorder
        away = [owner.name for owner in owners if owner.state in ("orphaned", "disabled")]
        objects = recorder.objects(connection) if away else ()
        events = recorder.events(connection, limit=1)
        return Status(
            database=status.database,
            owners=owners,
            plan=plan,
            problems=(
                *reading.problems,
                *half_done(recorder, connection),
                *occupied(recorder, connection, plan),
            ),
            estates=read_estates(
                connection, objects, away, recorder.table_names, recorder.standing(connection)
            )
            if objects
            else (),
            lock=access.lock_holder(connection),
            last_event=events[-1] if events else None,
        )
