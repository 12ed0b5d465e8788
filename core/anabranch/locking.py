"""One migrator at a time per database, by locks that die with their holder.

SQLite: a kernel lock on a file beside the database. PostgreSQL: an advisory lock of the session
that migrates. MariaDB and MySQL: a named lock of that session. None is ever a row, which a killed
process would leave behind.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from anabranch.copying import open_file
from anabranch.database import Database
from anabranch.errors import LockError, UnreachableError
from anabranch.mysql import NamedLock
from anabranch.postgresql import AdvisoryLock

_FIRST_PAUSE, _LONGEST_PAUSE, _ANNOUNCEMENTS = 0.05, 0.3, 10.0  # seconds


class Lock(Protocol):
    """A lock that one process at a time holds, and that dies with it."""

    def acquire(self) -> bool:
        """Take the lock if it is free."""
        ...

    def is_owned(self) -> bool:
        """Tell whether it is held still."""
        ...

    def say(self, doing: str) -> None:
        """Let whoever waits know what is done under the lock."""
        ...

    def holder(self) -> str:
        """Say who holds it."""
        ...

    def release(self) -> None:
        """Let go of it."""
        ...


@contextmanager
def run_lock(
    database: Database,
    connection: sa.Connection,
    *,
    name: str,
    timeout: float,
    waiting: Callable[[str], object],
) -> Generator[Lock | None, None, None]:
    """Hold the migration lock of *database* called *name* while the block runs.

    Yields the lock; None for a database in memory, which nobody else can reach.

    :param connection: the one that migrates: on a server the lock belongs to its session.
    :param timeout: seconds to wait for another holder.
    :param waiting: told who holds it, while there is another holder: at once, then every 10 s.
    :raises LockError: if it was not obtained in time.
    """
    lock = _lock(database, connection, name)
    if lock is None:
        yield None
        return
    try:
        _poll(lock, timeout, waiting)
        yield lock
    finally:
        lock.release()


def lock_holder(database: Database, connection: sa.Connection, name: str) -> str:
    """Say who holds the migration lock of *database* called *name*; empty if nobody does."""
    if database.dialect == "sqlite":
        file = open_file(connection)
        return "" if file is None else _file_holder(Path(f"{file}.lock"))
    of_server = AdvisoryLock if database.dialect == "postgresql" else NamedLock
    lock = of_server(connection, name)
    return "" if lock.is_free() else lock.holder()


def _lock(database: Database, connection: sa.Connection, name: str) -> Lock | None:
    if database.dialect == "postgresql":
        return AdvisoryLock(connection, name)
    if database.dialect == "mysql":
        return NamedLock(connection, name)
    file = open_file(connection)
    return FileLock(Path(f"{file}.lock")) if file is not None else None


def _poll(lock: Lock, timeout: float, waiting: Callable[[str], object]) -> None:
    started = time.monotonic()
    told, pause = 0.0, _FIRST_PAUSE
    while not lock.acquire():
        waited = time.monotonic() - started
        if not told or waited - told >= _ANNOUNCEMENTS:
            waiting(lock.holder())
            told = waited
        if waited >= timeout:
            raise LockError(
                f"The migration lock was not obtained within {timeout:g} s. "
                f"It is held by {lock.holder()}.",
                remedy="Wait until that process is done, then run the same command again.",
            )
        time.sleep(min(timeout - waited, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter
        pause = min(2 * pause, _LONGEST_PAUSE)


class FileLock:
    """A kernel lock on a file that is never deleted: unlinking it would let two holders in.

    :raises UnreachableError: if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._length = 0
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, mode=0o600)
        except OSError as error:
            raise UnreachableError(
                f"{path} cannot be written: {error.strerror}.",
                remedy="Migrating needs to write the database and the directory it is in.",
            ) from error

    def acquire(self) -> bool:
        if not _try_lock(self._descriptor):
            return False
        about = {"pid": os.getpid(), "host": socket.gethostname(), "user": user_name()}
        head = json.dumps({**about, "since": int(time.time())}).encode() + b"\n"
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, head)
        self._start, self._length = len(head), 0
        return True

    def is_owned(self) -> bool:
        """Tell whether the file that is locked is still the one that others would lock."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except OSError:
            return False

    def say(self, doing: str) -> None:
        # As long as what it covers: said of each revision, and to cut the file takes its time.
        content = doing.encode().ljust(self._length)
        self._length = len(content)
        os.lseek(self._descriptor, self._start, os.SEEK_SET)
        os.write(self._descriptor, content)

    def holder(self) -> str:
        return _written_holder(self._path)

    def release(self) -> None:
        os.close(self._descriptor)


def _written_holder(path: Path) -> str:
    try:
        head, _, running = path.read_text(encoding="utf-8").partition("\n")
        found = json.loads(head)
        doing = f", running {running.strip()}" if running else ""
        seconds = max(0, round(time.time() - found["since"]))
        return (
            f"process {found['pid']} on {found['host']} (user {found['user']}{doing}) "
            f"for {seconds} s"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _file_holder(path: Path) -> str:
    """Say who holds the lock *path*, by trying it for a moment; who waits for it tries again."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # no run made it yet, or it is somebody else's
        return ""
    try:
        return "" if _try_lock(descriptor) else _written_holder(path)
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            # One byte far behind the text, which stays readable.
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def user_name() -> str:
    """Return the operating system's name for who runs this, or the number if it has none."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
