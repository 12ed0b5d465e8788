"""The rehearsal of a plan: all of it runs, and the database stays as it is.

A SQLite database is copied, and the copy migrated. On PostgreSQL the plan runs in one transaction
that is rolled back. MariaDB and MySQL commit at every DDL statement: there it cannot be done.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from anabranch.access import Access
from anabranch.backup import backup_folder
from anabranch.copying import CopyError, copy_to, open_file
from anabranch.database import Database
from anabranch.errors import (
    UNTOUCHED,
    AnabranchError,
    BackupError,
    RefusedError,
    RunInterrupted,
    UsageError,
)
from anabranch.events import listening
from anabranch.ledger import is_commit
from anabranch.listening import unheard
from anabranch.readiness import make_ready
from anabranch.revision import RevisionKey
from anabranch.upgrading import UpgradeOptions, run_upgrade
from anabranch.wording import counted

_TIMEOUT = 30.0  # seconds for a program that has locked the database


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What went well: the revisions that ran, in order, the plan's digest and the seconds taken."""

    revisions: tuple[RevisionKey, ...]
    digest: str
    duration: float


def run_rehearsal(
    access: Access, metadata: Any, plugins: Sequence[object], options: UpgradeOptions
) -> Rehearsal:
    """Rehearse what is pending in the database of *access*, which stays as it is.

    See :meth:`MigrationManager.rehearse`.
    """
    reading = access.read()
    reading.require_sound(strict=options.strict)
    plan = reading.plan(options.to)
    if not plan:
        return Rehearsal((), plan.digest, 0.0)
    file = access.database.file
    if access.database.source is None and file is not None and not file.exists():
        # The lock would create it.
        folder = backup_folder(access.deployment, file).path.parent
        with _told(), _private_folder(folder, file.name) as private:
            return _run_on(private / file.name, access, metadata, plugins, options)
    with access.locked(timeout=options.lock_timeout, listener=options.listener) as connection:
        return rehearse(access, connection, metadata, plugins, options)


def rehearse(
    access: Access,
    connection: sa.Connection,
    metadata: Any,
    plugins: Sequence[object],
    options: UpgradeOptions,
) -> Rehearsal:
    """Rehearse what is pending, under the run lock that *connection* holds."""
    if access.database.dialect == "postgresql":
        return _roll_back(access, connection, metadata, plugins, options)
    file = open_file(connection) if access.database.dialect == "sqlite" else None
    if file is None:
        raise RefusedError(
            f"A run on {access.database.title} cannot be rehearsed: it can neither be copied nor "
            "rolled back as a whole.",
            remedy="Rehearse it in another deployment, whose database is a copy of this one.",
        )
    folder = backup_folder(access.deployment, file).path.parent
    with _told(), _private_folder(folder, file.name) as private:
        copy = private / file.name
        try:
            size = copy_to(file, copy, timeout=_TIMEOUT)
        except CopyError as error:
            raise BackupError(
                f"{file} cannot be copied: {error}.",
                remedy="Mend the cause, or run without a rehearsal.",
            ) from error
        options.listener.notice(f"Rehearsal on a copy of the database ({size / 1e6:.1f} MB):")
        return _run_on(copy, access, metadata, plugins, options)


@contextmanager
def _private_folder(directory: Path, name: str) -> Generator[Path, None, None]:
    """Hold a folder that nobody else can read, and clear those of killed rehearsals."""
    prefix = f".{name}.rehearsal-"
    for left in directory.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))
    except OSError as error:
        raise BackupError(
            f"{directory} cannot be written: {error.strerror}.",
            remedy="Mend the cause, or run without a rehearsal.",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_on(
    copy: Path,
    access: Access,
    metadata: Any,
    plugins: Sequence[object],
    options: UpgradeOptions,
) -> Rehearsal:
    installation = access.installation
    rehearsed = Access(
        access.application,
        Database.of(sa.URL.create("sqlite", database=str(copy))),
        access.deployment,
        access.tables,
        lambda: installation.discovery,
    )
    options = replace(
        options, rehearse=False, backup=False, listener=replace(options.listener, waiting=unheard)
    )
    upgrade = run_upgrade(rehearsed, metadata, plugins, options)
    return _well(Rehearsal(upgrade.applied, upgrade.digest, upgrade.duration), options)


def _roll_back(
    access: Access,
    connection: sa.Connection,
    metadata: Any,
    plugins: Sequence[object],
    options: UpgradeOptions,
) -> Rehearsal:
    reading = access.read_locked(connection)
    reading.require_sound(strict=options.strict)
    plan = reading.plan(options.to)
    alone = [str(step.key) for step in plan.steps if step.revision.autocommit]
    if alone:
        raise RefusedError(
            f"This run cannot be rehearsed: {', '.join(alone)} cannot be rolled back.",
            remedy="Rehearse it in another deployment, whose database is a copy of this one.",
        )
    options.listener.notice("Rehearsal in one transaction, which is rolled back:")
    started = time.monotonic()
    run = make_ready(access, connection, reading, plan, metadata, plugins, options)
    with _told(), _no_commit(connection):
        run.executor.rehearse(run.plan)
    duration = time.monotonic() - started
    return _well(Rehearsal(run.plan.keys, run.plan.digest, duration), options)


def _well(rehearsal: Rehearsal, options: UpgradeOptions) -> Rehearsal:
    done = counted(len(rehearsal.revisions), "revision", "revisions")
    options.listener.notice(f"The rehearsal went well: {done} in {rehearsal.duration:.2f} s.")
    return rehearsal


@contextmanager
def _told() -> Generator[None, None, None]:
    """Let a failure say that the database itself is as it was."""
    state = f"This was a rehearsal. {UNTOUCHED}"
    try:
        yield
    except AnabranchError as error:
        error.state = state
        if error.exit_code == 6:  # only the copy is partly migrated
            error.exit_code = 5
        raise
    except RunInterrupted as error:
        error.state = state
        raise


@contextmanager
def _no_commit(connection: sa.Connection) -> Generator[None, None, None]:
    """Let no script commit, in whatever way SQLAlchemy sees."""

    def refuse(*_: object) -> None:
        raise UsageError("it commits by itself, and so cannot be rehearsed")

    def refuse_text(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if is_commit(statement):
            refuse()

    with listening(connection, commit=refuse, before_cursor_execute=refuse_text):
        yield
