"""One migrator at a time per database, by locks that die with their holder.

SQLite: a kernel lock on a file beside the database. PostgreSQL: an advisory lock of the session
that migrates. MariaDB and MySQL: a named lock of that session. None is ever a row, which a killed
process would leave behind.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.copying import open_file
from anabranch.database import Database
from anabranch.errors import LockError, UnreachableError
from anabranch.mysql import NamedLock

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds


@contextmanager
def run_lock(
    database: Database,
    connection: sa.Connection,
    *,
    name: str,
    timeout: float,
    waiting: Callable[[str], None],
) -> Generator[None, None, None]:
    """Hold the migration lock of *database* called *name* while the block runs.

    :param connection: the one that migrates: on a server the lock belongs to its session.
    :param timeout: seconds to wait for another holder.
    :param waiting: told once, when there is another holder, who that is.
    :raises LockError: if it was not obtained in time.
    """
    if database.dialect == "postgresql":
        with _advisory_lock(connection, name, timeout, waiting):
            yield
    elif database.dialect == "mysql":
        with _named_lock(NamedLock(connection, name), timeout, waiting):
            yield
    elif (file := open_file(connection)) is not None:
        with _file_lock(Path(f"{file}.lock"), timeout, waiting):
            yield
    else:
        yield


def _poll(
    acquire: Callable[[], bool],
    holder: Callable[[], str],
    timeout: float,
    waiting: Callable[[str], None],
) -> None:
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    told = False
    while not acquire():
        if not told:
            waiting(holder())
            told = True
        left = deadline - time.monotonic()
        if left <= 0:
            raise LockError(
                f"The migration lock was not obtained within {timeout:g} s. "
                f"It is held by {holder()}.",
                remedy="Wait until that process is done, then run the same command again.",
            )
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextmanager
def _advisory_lock(
    connection: sa.Connection, name: str, timeout: float, waiting: Callable[[str], None]
) -> Generator[None, None, None]:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)

    def acquire() -> bool:
        # Blocking in pg_advisory_lock() would deadlock with CREATE INDEX CONCURRENTLY, which waits
        # for every transaction that is open, and so would a transaction left open here.
        got = connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": key})
        connection.commit()
        return bool(got)

    def holder() -> str:
        row = connection.execute(
            sa.text(
                "SELECT a.pid, a.usename, coalesce(host(a.client_addr), 'local'), a.backend_start "
                "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
                "AND l.classid = :high AND l.objid = :low"
            ),
            {"high": (key >> 32) & 0xFFFFFFFF, "low": key & 0xFFFFFFFF},
        ).first()
        connection.commit()
        if row is None:
            return "another session"
        return f"server process {row[0]} (user {row[1]}, {row[2]}, since {row[3]:%H:%M:%S})"

    _poll(acquire, holder, timeout, waiting)
    try:
        yield
    finally:
        if not connection.invalidated:
            with suppress(exc.DBAPIError):  # a session that was lost has let go of its lock
                connection.rollback()
                connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": key})
                connection.commit()


@contextmanager
def _named_lock(
    lock: NamedLock, timeout: float, waiting: Callable[[str], None]
) -> Generator[None, None, None]:
    _poll(lock.acquire, lock.holder, timeout, waiting)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _file_lock(
    path: Path, timeout: float, waiting: Callable[[str], None]
) -> Generator[None, None, None]:
    """Lock *path*, a file that is never deleted: unlinking it would let two holders in."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, mode=0o600)
    except OSError as error:
        raise UnreachableError(
            f"{path} cannot be written: {error.strerror}.",
            remedy="Migrating needs to write the database and the directory it is in.",
        ) from error

    def acquire() -> bool:
        return _try_lock(descriptor)

    def holder() -> str:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return f"process {found['pid']} on {found['host']} (user {found['user']})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    try:
        _poll(acquire, holder, timeout, waiting)
        about = {"pid": os.getpid(), "host": socket.gethostname(), "user": user_name()}
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(about).encode())
        yield
    finally:
        os.close(descriptor)  # which lets go of the lock


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
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
