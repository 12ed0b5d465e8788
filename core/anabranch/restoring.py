"""The verb ``restore``: put a backup of a SQLite database back in its place."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.access import Access
from anabranch.backup import Backup, BackupFolder, backup_folder
from anabranch.bookkeeping import actor
from anabranch.copying import CopyError, check, copy_into, copy_to
from anabranch.database import Database
from anabranch.errors import BackupError, LockError, UsageError
from anabranch.listening import Listener
from anabranch.recorder import Event, Recorder, now

_TIMEOUT = 30.0  # seconds for a program that is using the database


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back, and where what stood there before is kept; None if that was nothing."""

    backup: Path
    kept: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    """How a restore is asked to run; see :meth:`MigrationManager.restore`."""

    lock_timeout: float | None = None
    listener: Listener


def list_backups(access: Access) -> tuple[Backup, ...]:
    """Return the backups of the database of *access*, oldest first.

    :raises UsageError: if it is no SQLite file.
    """
    return _folder(access).all()


def find_backup(access: Access, name: str) -> Path:
    """Return the backup *name*: one of this database's, or the path of a file.

    :raises UsageError: if there is none.
    """
    folder = _folder(access)
    with suppress(OSError):  # a name that is too long for one
        for path in (folder.path / name, Path(name)):
            if path.is_file() and path.resolve() != _file(access):
                return path.resolve()
    raise UsageError(
        f"There is no backup {name}.",
        remedy=f"Name a file in {folder.path}, or the path of another one.",
    )


def run_restore(access: Access, name: str, options: RestoreOptions) -> Restored:
    """Let the database of *access* have the content of the backup *name*, in one transaction.

    What stands there now is kept as a backup first. See :meth:`MigrationManager.restore`.
    """
    file, folder, backup = _file(access), _folder(access), find_backup(access, name)
    try:
        check(backup)
    except CopyError as error:
        raise BackupError(
            f"{backup} is not a sound SQLite database: {error}.", remedy="Choose another backup."
        ) from error
    run = uuid.uuid4().hex[:12]
    with access.locked(timeout=options.lock_timeout, listener=options.listener) as connection:
        _require_kin(access.recorder, connection, backup, folder)
        kept = _keep(folder, file, run)
        try:
            copy_into(backup, file, timeout=_TIMEOUT)
        except CopyError as error:
            raise _not_replaced(file, error) from error
        _record(access.recorder, connection, run, backup, kept)
    return Restored(backup, kept)


def _file(access: Access) -> Path:
    if (file := access.database.file) is None:
        raise UsageError(
            f"{access.database.title} is no SQLite file.",
            remedy="Backups of other databases are put back by the server's own tools.",
        )
    return file.resolve()


def _folder(access: Access) -> BackupFolder:
    return backup_folder(access.deployment, _file(access))


def _require_kin(
    recorder: Recorder, connection: sa.Connection, backup: Path, folder: BackupFolder
) -> None:
    """Refuse a backup of another database: their journals do not begin alike.

    A database that cannot be read cannot be told apart. A backup from before the first run has no
    journal: then it must be where ours are.
    """
    copy = Database.of(sa.URL.create("sqlite", database=str(backup)))
    with copy.look() as reader:
        theirs = recorder.events(reader)[:1] if reader is not None else ()
    try:
        ours = recorder.events(connection)[:1]
    except exc.DBAPIError:
        ours = ()
    finally:
        connection.rollback()
    if ours and not theirs and backup.resolve().parent != folder.path.resolve():
        raise BackupError(
            f"Nothing in {backup} says that it is a backup of this database.",
            remedy=f"If it is, put it into {folder.path} and name it again.",
        )
    if ours and theirs and ours != theirs:
        raise BackupError(
            f"{backup} is a backup of another database: their journals begin differently.",
            remedy="Choose a backup of this one.",
        )


def _keep(folder: BackupFolder, file: Path, run: str) -> Path | None:
    """Back up what stands there now, damaged as it may be."""
    if file.stat().st_size == 0:
        return None
    try:
        kept = folder.prepare(run)
        copy_to(file, kept, timeout=_TIMEOUT, checked=False)
    except (CopyError, OSError) as error:
        raise BackupError(
            f"{file} cannot be backed up as it is now: {error}.",
            remedy="Make room for that. Or, if it is damaged, stop what uses it, move it away with "
            "its -wal, -shm and -journal, and run the same command again.",
        ) from error
    return kept


def _not_replaced(file: Path, error: CopyError) -> BackupError | LockError:
    if "locked" in str(error):
        return LockError(
            f"{file} is in use by another program: {error}.",
            remedy="Stop what uses it, then run the same command again.",
        )
    return BackupError(f"{file} cannot be written: {error}.", remedy="Mend the cause.")


def _record(
    recorder: Recorder, connection: sa.Connection, run: str, backup: Path, kept: Path | None
) -> None:
    """Append to the journal that came back with the backup, if one did."""
    detail = f"from {backup.name}" + (f"; before it: {kept.name}" if kept else "")
    with connection.begin():
        if recorder.read(connection).prepared:
            entry = Event("restored", now(), run, actor=actor(), detail=detail)
            recorder.record_events(connection, [entry])
