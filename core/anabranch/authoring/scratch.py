"""A throw-away SQLite database that revisions built, to compare models with."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from anabranch.database import Database
from anabranch.errors import IntegrityError, RevisionError, UsageError
from anabranch.executor import Executor
from anabranch.models import core_metadata
from anabranch.reading import Reading, read_database, read_installation
from anabranch.recorder import Recorder
from anabranch.revision import CORE

if TYPE_CHECKING:
    from anabranch.manager import MigrationManager


@contextmanager
def scratch_database(
    manager: MigrationManager, *owners: str
) -> Generator[tuple[sa.Connection, Reading], None, None]:
    """Build the core, *owners* and what they need in a scratch file, and connect to it.

    Other owners' faults do not matter to it, and no hook runs.

    :raises UsageError: if a revision cannot run on SQLite.
    """
    installation = read_installation(manager.discover())
    recorder = scratch_recorder(manager)
    with tempfile.TemporaryDirectory(prefix="anabranch-") as folder:
        database = Database.of(
            sa.URL.create("sqlite", database=str(Path(folder, "scratch.sqlite")))
        )
        with database.migrate() as connection:
            reading = read_database(installation, recorder, connection)
            connection.rollback()
            targets = [f"{name}@heads" for name in {CORE, *owners} if reading.graph.of(name)]
            plan = reading.plan(targets)
            involved = {CORE, *owners, *(key.owner for key in plan.keys)}
            _require_sound(reading, involved)
            executor = Executor(
                database=database,
                connection=connection,
                recorder=recorder,
                reading=reading,
                metadata=core_metadata(manager.metadata),
            )
            try:
                if plan:
                    executor.run(plan)
            except RevisionError as error:
                raise UsageError(
                    f"The scratch database could not be built: {error.what}",
                    remedy="Name a deployment whose database is up to date, to compare with that.",
                ) from error
            reading = read_database(installation, recorder, connection)
            yield connection, reading


def scratch_recorder(manager: MigrationManager) -> Recorder:
    """Return the reader of a scratch database's bookkeeping: SQLite has no other schemas."""
    return Recorder(manager.recorder.version_table.name)


def _require_sound(reading: Reading, owners: set[str]) -> None:
    errors = [
        problem
        for problem in reading.problems
        if problem.level == "error" and problem.owner in owners and problem.code != "AB119"
    ]
    if errors:
        raise IntegrityError(errors)
