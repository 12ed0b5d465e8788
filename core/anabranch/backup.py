"""Backups of a database, made under the run lock before a run changes what is there.

SQLite is copied into the folder ``backups`` of the deployment, or of the directory that the file
is in. For other databases the deployment's configuration may name a command.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import takewhile
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.access import Access
from anabranch.copying import CopyError, copy_to, open_file, part_of
from anabranch.deployment import DEFAULT_BACKUPS_KEPT, Deployment
from anabranch.errors import AnabranchError, BackupError, RunInterrupted
from anabranch.operations import read_operations
from anabranch.planning import Plan

FOLDER = "backups"
SUFFIX = ".sqlite"

_TIMEOUT = 30.0  # seconds for a program that has locked the database
_BROKEN_OFF = ("run", "building")  # the last that the journal says of such a run
_FAILED = ("failed", "interrupted", "incomplete")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup; *at* is UTC, *size* is in bytes."""

    path: Path
    at: datetime
    size: int


@dataclass(frozen=True, slots=True)
class BackupFolder:
    """The backups of one database, known by their names; other files are left alone.

    :ivar stem: what the names begin with, before the time and the run they were made in.
    """

    path: Path
    stem: str
    suffix: str = SUFFIX

    def all(self) -> tuple[Backup, ...]:
        """Return the whole backups, oldest first."""
        found: list[tuple[datetime, int, Backup]] = []
        for path, at in self._named(self.suffix):
            with suppress(FileNotFoundError):  # deleted meanwhile
                about = path.stat()
                # Names tell seconds apart; two runs may share one.
                found.append((at, about.st_mtime_ns, Backup(path, at, about.st_size)))
        return tuple(item[2] for item in sorted(found, key=lambda item: item[:2]))

    def prepare(self, run: str) -> Path:
        """Make the folder, clear what killed backups left in it, and name a new backup.

        Only who holds the database's run lock may ask for that.

        :raises OSError: if the folder cannot be made.
        """
        self.path.mkdir(mode=0o700, exist_ok=True)
        for path, _ in self._named(part_of(Path(self.suffix)).name):
            path.unlink(missing_ok=True)
        at = datetime.now(timezone.utc)
        return self.path / f"{self.stem}-{at:{_TIME}}-{run}{self.suffix}"

    def prune(self, new: Path, kept: int, *, has_failed: Callable[[str], bool]) -> None:
        """Delete all backups but *new* and the last before it, *kept* in all.

        One more stays where runs failed again and again: that of the first of them. A start that
        is repeated without end would lose what was there before anything had failed.

        :param has_failed: tells whether a run, by its name, did not come to its end.
        """
        earlier = [backup.path for backup in self.all() if backup.path != new]
        doomed = earlier[: 1 - kept or None]
        after = list(takewhile(lambda path: has_failed(self._run_of(path)), reversed(earlier)))
        for path in doomed:
            if after[-1:] != [path]:
                with suppress(OSError):  # the new one is there, which is what matters
                    path.unlink()

    def _run_of(self, path: Path) -> str:
        return path.name.removesuffix(self.suffix).rpartition("-")[2]

    def _named(self, suffix: str) -> list[tuple[Path, datetime]]:
        name = re.compile(
            rf"{re.escape(self.stem)}-(\d{{8}}T\d{{6}}Z)-[0-9a-f]{{12}}{re.escape(suffix)}"
        )
        found = [(path, name.fullmatch(path.name)) for path in self.path.glob("*")]
        return [
            (path, datetime.strptime(match[1], _TIME).replace(tzinfo=timezone.utc))
            for path, match in found
            if match
        ]


def backup_folder(deployment: Deployment | None, file: Path) -> BackupFolder:
    """Return where the backups of the SQLite database *file* are."""
    directory = file.parent if deployment is None else deployment.directory
    # Not the stem: shop.sqlite and shop.db may lie side by side.
    return BackupFolder(directory / FOLDER, file.name.removesuffix(SUFFIX))


@contextmanager
def backed_up(
    access: Access,
    connection: sa.Connection,
    *,
    asked: bool | None,
    run: str,
    notice: Callable[[str], object],
) -> Generator[None, None, None]:
    """Back the database up before the block changes it, and let a failure say the way back.

    See :func:`make_backup`.

    :param asked: whether there is to be one; None for what the configuration says.
    """
    backup = None
    if access.wants_backup(asked):
        backup = make_backup(access, connection, run=run, notice=notice)
    try:
        yield
    except (AnabranchError, RunInterrupted) as error:
        if backup is not None and isinstance(error, RunInterrupted):
            error.state += f" {_way_back(access, backup)}"
        elif backup is not None and isinstance(error, AnabranchError):
            error.remedy = f"{error.remedy} {_way_back(access, backup)}".strip()
        raise


def make_backup(
    access: Access, connection: sa.Connection, *, run: str, notice: Callable[[str], object]
) -> Backup | None:
    """Back up the database of *access* if something in it could be lost.

    Nothing is where no table but ours has a row. Backups of earlier runs are deleted, but for as
    many as are to be kept. A database other than SQLite is backed up by the configured command;
    without one, *notice* is told so.

    :param connection: holds the run lock, and has no transaction.
    :param run: the run that the backup is made for, as the journal names it: 12 hex digits.
    :param notice: told in a line what was done.
    :raises BackupError: if none can be made; nothing is changed then.
    """
    deployment, ours = access.deployment, access.recorder.table_names
    try:
        if access.database.dialect == "sqlite":
            file = open_file(connection)
            if file is None or not _holds_rows(connection, ours):
                return None
            # The look began a transaction, in which nobody else can write until this is done.
            return _copy(access, connection, file, run, notice)
        if not _tables(connection, ours):
            return None
    finally:
        connection.rollback()
    if deployment is None or not deployment.backup_command:
        notice("Backup    none: [migrations] backup_command names no command that makes one")
        return None
    return _run_command(access, connection, deployment, run, notice)


def _way_back(access: Access, backup: Backup) -> str:
    if access.deployment is None or backup.path.suffix != SUFFIX:
        return f"The database as it was before this run: {backup.path}."
    words = ("db", "restore", str(access.deployment.directory), backup.path.name)
    return f"To go back to before this run: '{shlex.join((access.application, *words))}'."


def only_creates(access: Access, connection: sa.Connection, plan: Plan) -> bool:
    """Tell whether *plan* cannot touch what there is.

    Because there is nothing yet, or its scripts speak of no table but those they surely create.
    """
    is_empty = not _tables(connection, access.recorder.table_names)
    connection.rollback()
    # Reading what thousands of scripts would do takes time, which a fresh install is spared.
    return is_empty or _speaks_of_new_tables(plan)


def _speaks_of_new_tables(plan: Plan) -> bool:
    created: set[tuple[str, str]] = set()
    for step in plan.steps:
        for operation in read_operations(step.revision, plan.direction):
            table = operation.schema, operation.table
            creates = operation.verb == "create_table" and operation.certain
            if creates and "if_not_exists" not in operation.options:
                created.add(table)
            elif table not in created:
                return False
    return True


def _copy(
    access: Access,
    connection: sa.Connection,
    file: Path,
    run: str,
    notice: Callable[[str], object],
) -> Backup:
    folder = backup_folder(access.deployment, file)
    started = time.monotonic()
    try:
        path = folder.prepare(run)
        copy_to(file, path, timeout=_TIMEOUT)
    except (CopyError, OSError) as error:
        raise _failed(f"{file} cannot be backed up", error) from error
    return _finish(access, connection, folder, path, started, notice)


def _run_command(
    access: Access,
    connection: sa.Connection,
    deployment: Deployment,
    run: str,
    notice: Callable[[str], object],
) -> Backup | None:
    folder = BackupFolder(deployment.directory / FOLDER, access.application, ".backup")
    started, part = time.monotonic(), None
    try:
        path = folder.prepare(run)
        part = part_of(path)
        done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
            [word.replace("{output}", str(part)) for word in deployment.backup_command],
            env={**os.environ, **connection_variables(access.database.url)},
            cwd=deployment.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            umask=0o077,
            check=False,
        )
        if done.returncode != 0:
            said = " ".join((done.stderr.strip() or done.stdout).split())[-500:]
            cause = f"exit code {done.returncode}. {access.database.scrub(said)}"
            raise CopyError(cause.rstrip(". "))
        if not os.path.lexists(part):
            notice(f"Backup    by the configured command ({time.monotonic() - started:.1f} s)")
            return None
        left = part.lstat()
        if not (stat.S_ISDIR(left.st_mode) or (stat.S_ISREG(left.st_mode) and left.st_size)):
            raise CopyError("what it left as {output} is empty, or no file")
        part.replace(path)
    except BaseException as error:
        if part is not None:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        if isinstance(error, (CopyError, OSError, ValueError)):  # a word with a null in it
            raise _failed("The configured backup_command failed", error) from error
        raise
    return _finish(access, connection, folder, path, started, notice)


def _failed(what: str, error: CopyError | OSError | ValueError) -> BackupError:
    cause = str(error)
    if isinstance(error, OSError):
        cause = f"{error.filename}: {error.strerror}"
    return BackupError(
        f"{what}: {cause}.", remedy="Mend the cause, or go on without a backup: --no-backup."
    )


def _finish(
    access: Access,
    connection: sa.Connection,
    folder: BackupFolder,
    path: Path,
    started: float,
    notice: Callable[[str], object],
) -> Backup:
    backup = Backup(path, datetime.now(timezone.utc), path.stat().st_size)
    kept = access.deployment.backups_kept if access.deployment else DEFAULT_BACKUPS_KEPT

    def has_failed(run: str) -> bool:
        events = [event.event for event in access.recorder.events(connection, run=run)]
        return events[-1:] in ([], *([name] for name in _BROKEN_OFF)) or any(
            event in _FAILED for event in events
        )

    folder.prune(path, kept, has_failed=has_failed)
    connection.rollback()
    took = time.monotonic() - started
    notice(f"Backup    {path} ({backup.size / 1e6:.1f} MB, {took:.1f} s)")
    return backup


def connection_variables(url: sa.URL) -> dict[str, str]:
    """Return how a backup command learns what to connect to: never by its arguments.

    ``DATABASE_URL`` without SQLAlchemy's driver, and what the tools of PostgreSQL and MariaDB read.
    """
    plain = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)
    variables: dict[str, object] = {"DATABASE_URL": plain}
    if url.get_backend_name() == "postgresql":
        variables |= {
            "PGHOST": url.query.get("host") or url.host,
            "PGPORT": url.query.get("port") or url.port,
            "PGUSER": url.username,
            "PGPASSWORD": url.query.get("password") or url.password,
            "PGDATABASE": url.database,
            "PGSSLMODE": url.query.get("sslmode"),
        }
    else:
        query = url.query
        variables["MYSQL_PWD"] = query.get("password") or query.get("passwd") or url.password
    return {name: str(value) for name, value in variables.items() if value}


def _tables(connection: sa.Connection, ours: frozenset[str]) -> list[str]:
    return [name for name in sa.inspect(connection).get_table_names() if name not in ours]


def _holds_rows(connection: sa.Connection, ours: frozenset[str]) -> bool:
    """Tell whether a table that is not among *ours* has a row."""
    for name in _tables(connection, ours):
        try:
            query = sa.select(sa.literal(1)).select_from(sa.table(name)).limit(1)
            if connection.execute(query).first():
                return True
        except exc.DBAPIError:  # of a module that is not loaded, or damaged: who knows
            return True
    return False
