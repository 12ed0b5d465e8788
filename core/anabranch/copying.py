"""Copies of a SQLite database, whole ones, made while others read and write it.

SQLite's online backup API takes along what is still in the write-ahead log, which a copy of the
file does not. The database itself is never opened as a plain file: closing that would let go of
every lock that this process holds on it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

_PAGES = 2_000  # copied at a time; between two times Ctrl-C is felt
_PAUSE = 0.1  # seconds between two looks at a database that is in use
_IN_USE = (5, 6)  # SQLITE_BUSY and SQLITE_LOCKED, which Python 3.10 has no names for


class CopyError(Exception):
    """A copy could not be made, or is not whole; what there was of it is gone."""


def open_file(connection: sa.Connection) -> Path | None:
    """Return the SQLite file that is open, however it was named; None for one in memory.

    SQLite too takes a link for the file it leads to.
    """
    raw: Any = connection.connection.dbapi_connection
    names = {row[1]: row[2] for row in raw.execute("PRAGMA database_list")}
    return Path(names["main"]).resolve() if names.get("main") else None


def copy_to(source: Path, target: Path, *, timeout: float, checked: bool = True) -> int:
    """Write a copy of the database *source* as the new file *target*, and return its size.

    The copy is on the disk when this returns, and can be read by its owner only. It appears whole
    or not at all: until then it has the name that :func:`part_of` gives.

    :param timeout: seconds to wait for a program that has locked *source*.
    :param checked: whether to ask SQLite if the copy is sound, which a damaged *source* is not.
    :raises CopyError: if there is too little room, or no sound copy can be made.
    """
    part = part_of(target)
    try:
        with closing(_connect(source, timeout=timeout)) as reader:
            # One moment of the database, whoever writes to it while it is copied.
            reader.isolation_level = None
            reader.execute("BEGIN")
            size = _size(reader)
            require_room(target.parent, size)
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600))
            with closing(_connect(part)) as writer:
                # Nobody else reads it, and one fsync at the end is enough.
                writer.execute("PRAGMA journal_mode=OFF")
                writer.execute("PRAGMA synchronous=OFF")
                reader.backup(writer, pages=_PAGES, progress=_patience(timeout), sleep=_PAUSE)
        if size and part.stat().st_size != size:  # an empty file becomes an empty database
            raise CopyError(f"the copy has {part.stat().st_size} bytes, not {size}")
        if checked:
            check(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        _sync_directory(target.parent)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise CopyError(str(error)) from error
        if isinstance(error, OSError):
            raise CopyError(f"{target.parent}: {error.strerror}") from error
        raise
    return size


def part_of(target: Path) -> Path:
    """Return what the copy *target* is called until it is whole."""
    return target.with_name(f"{target.name}.part")


def copy_into(source: Path, target: Path, *, timeout: float) -> None:
    """Let the database *target* have the content of *source*, in one transaction.

    Who reads *target* meanwhile sees the old content or the new. A process that is killed here
    leaves a journal by which SQLite brings the old one back.

    :param timeout: seconds to wait for a program that is using *target*.
    :raises CopyError: if that does not let go, or the disk is full; *target* is as it was.
    """
    try:
        with (
            closing(_connect(source, "mode=ro&immutable=1")) as reader,
            closing(_connect(target)) as writer,
        ):
            reader.backup(writer, pages=_PAGES, progress=_patience(timeout), sleep=_PAUSE)
    except sqlite3.Error as error:
        raise CopyError(str(error)) from error


def check(path: Path) -> None:
    """Ask SQLite whether the copy *path*, which nobody writes to, is whole.

    :raises CopyError: if it is not, in SQLite's words.
    """
    try:
        # Immutable: reading a copy of a database in WAL mode would else create files beside it.
        with closing(_connect(path, "mode=ro&immutable=1")) as connection:
            answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        raise CopyError(answer)


def require_room(directory: Path, size: int) -> None:
    """Ask whether *size* bytes find room in *directory*.

    :raises CopyError: if they do not.
    """
    free = shutil.disk_usage(directory).free
    if free < size:
        raise CopyError(f"{size:,} bytes are needed, and {directory} has room for {free:,}")


def _connect(path: Path, query: str = "mode=rw", *, timeout: float = 0) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?{query}", uri=True, timeout=timeout)


def _size(connection: sqlite3.Connection) -> int:
    pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
    size: int = connection.execute("PRAGMA page_size").fetchone()[0]
    return pages * size


def _patience(timeout: float) -> Callable[[int, int, int], None]:
    """Return what ends the copying when a database stays locked; Python would wait for ever."""
    waiting_since: float | None = None

    def progress(status: int, _remaining: int, _total: int) -> None:
        nonlocal waiting_since
        if status not in _IN_USE:
            waiting_since = None
        elif waiting_since is None:
            waiting_since = time.monotonic()
        elif time.monotonic() - waiting_since > timeout:
            raise sqlite3.OperationalError("database is locked")

    return progress


def _sync_directory(directory: Path) -> None:
    """Put the name of a new file on the disk, where a directory can be opened for that."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
