"""What SQLite needs of a connection, and of its file, to be migrated."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from anabranch.connections import is_usable
from anabranch.errors import UnreachableError
from anabranch.events import listening

_BUSY_TIMEOUT = 30_000  # ms


def create_private(file: Path) -> None:
    """Create a SQLite file that only its owner can read; an existing one keeps its mode.

    One that is there is not opened: closing it would let go of every lock that other connections of
    this process hold on it.
    """
    try:
        if not file.exists():
            with suppress(FileExistsError):  # another process was faster
                os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600))
        elif not os.access(file, os.W_OK):
            read_only = hasattr(os, "statvfs") and os.statvfs(file).f_flag & os.ST_RDONLY
            number = errno.EROFS if read_only else errno.EACCES
            raise OSError(number, os.strerror(number))
    except OSError as error:
        raise UnreachableError(
            f"{file} cannot be written: {error.strerror}.",
            remedy="Migrating needs to write the database and the directory it is in.",
        ) from error


@contextmanager
def unheard(connection: sa.Connection) -> Generator[sa.Connection, None, None]:
    """Use what *connection* is connected to without its engine's listeners, which may BEGIN."""
    raw = connection.connection.dbapi_connection
    options = {**connection.get_execution_options()}
    options.pop("isolation_level", None)
    # Never disposed of, which would close what is not ours.
    engine = sa.create_engine(
        connection.engine.url,
        creator=lambda: raw,
        poolclass=sa.pool.StaticPool,
        hide_parameters=True,
    )
    with engine.connect().execution_options(**options) as own:
        yield own


@contextmanager
def session_settings(connection: sa.Connection) -> Generator[None, None, None]:
    """Make transactions cover DDL, and a table rebuild spare the rows that refer to it.

    The driver's own transactions begin late and end at DDL: they are switched off and BEGIN
    IMMEDIATE is sent instead. Foreign keys are off, since with them a rebuild deletes the rows that
    refer to the table; SQLite ignores that pragma inside a transaction, so it comes first.
    """
    raw: Any = connection.connection.dbapi_connection
    # Python 3.12 has a second way to say who begins transactions.
    autocommit = getattr(raw, "autocommit", None)
    if autocommit is not None:
        raw.autocommit = sqlite3.LEGACY_TRANSACTION_CONTROL  # type: ignore[attr-defined,unused-ignore]
        raw.rollback()
    isolation_level, raw.isolation_level = raw.isolation_level, None
    foreign_keys = raw.execute("PRAGMA foreign_keys").fetchone()[0]
    busy_timeout = raw.execute("PRAGMA busy_timeout").fetchone()[0]
    raw.execute("PRAGMA foreign_keys=OFF")
    raw.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT}")
    # Without this, a long statement notices Ctrl-C only when it is done.
    raw.set_progress_handler(lambda: 0, 100_000)
    try:
        with listening(connection, begin=_begin_immediate):
            yield
    finally:
        if is_usable(connection):
            connection.rollback()
            raw.rollback()
            raw.set_progress_handler(None, 0)
            raw.execute(f"PRAGMA busy_timeout={busy_timeout}")
            raw.execute(f"PRAGMA foreign_keys={foreign_keys}")
            raw.isolation_level = isolation_level
            if autocommit is not None:
                raw.autocommit = autocommit


def begin_without_foreign_keys(raw: Any) -> None:
    """Switch SQLite's foreign keys off before a BEGIN: a script may have switched them on."""
    if not raw.in_transaction:
        raw.execute("PRAGMA foreign_keys=OFF")


def _begin_immediate(connection: sa.Connection) -> None:
    raw: Any = connection.connection.dbapi_connection
    raw.isolation_level = None  # autocommit_block() leaves the driver's own default behind
    begin_without_foreign_keys(raw)
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
