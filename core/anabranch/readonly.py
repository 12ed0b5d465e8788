"""Open a SQLite file so that looking at it leaves no trace: no byte, no file beside it.

In WAL mode even a reader creates two files beside the database, and its end may write the log back
into the database. Where no log is there, nobody has the database open, and it can be read as a file
that does not change; that it did not is checked at the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.errors import LockError


@contextmanager
def reading(url: sa.URL, file: Path) -> Generator[sa.URL, None, None]:
    """Change *url* so that what connects with it while the block runs can only read *file*.

    :raises LockError: if it was read as one that does not change, and was written meanwhile.
    """
    read_only = url.set(
        database=file.absolute().as_uri(), query={**url.query, "uri": "true", "mode": "ro"}
    )
    if not _is_still(file):
        yield read_only
        return
    before = _signature(file)
    try:
        yield read_only.update_query_dict({"immutable": "1"})
    finally:
        if not _is_still(file) or _signature(file) != before:
            raise LockError(
                f"{file} was written by another program while it was read.",
                remedy="Run the same command again.",
            )


def can_read(connection: sa.Connection) -> bool:
    """Tell whether a reader may read, or has to undo what a killed writer left half done."""
    try:
        connection.exec_driver_sql("SELECT 1 FROM sqlite_master").close()
    except exc.OperationalError as error:
        if "readonly database" in str(error.orig):
            return False
        raise
    return True


def _is_still(file: Path) -> bool:
    """Tell whether *file* is in WAL mode and nobody has it open: the last to close ends the log.

    SQLite is asked, which cannot open a file of that mode without locks. To open it here would,
    when it is closed, let go of every lock that other connections of this process hold.
    """
    if Path(f"{file}-wal").exists():
        return False
    uri = f"{file.absolute().as_uri()}?mode=ro&nolock=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA schema_version").close()
    except sqlite3.Error as error:
        return "unable to open" in str(error)
    return False


def _signature(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_mtime_ns, about.st_size
