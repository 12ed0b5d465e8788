"""A blank database of the same kind as another, to build in what that one should look like."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.database import Database
from anabranch.errors import UsageError


@contextmanager
def blank_database(
    database: Database, url: sa.URL | None = None
) -> Generator[Database, None, None]:
    """Make a blank database beside *database*, and drop it afterwards.

    A database of its own and not a schema beside the real tables: revisions may name schemas,
    commit by themselves, or open a second connection. Only who holds the run lock of *database* may
    ask for it: its name is always the same, so that one left by a killed process is dropped.

    :param url: an empty database to use instead; it is not dropped.
    :raises UsageError: if it cannot be made, or *url* is not of the same kind, or not empty.
    """
    if url is not None:
        yield _given(database, url)
    elif database.dialect == "sqlite":
        with tempfile.TemporaryDirectory(prefix="anabranch-") as folder:
            yield Database.of(sa.URL.create("sqlite", database=str(Path(folder, "blank.sqlite"))))
    else:
        # A hash: two databases may share the first letters of their names.
        digest = hashlib.sha256((database.url.database or "").encode()).hexdigest()[:12]
        name = f"anabranch_scratch_{digest}"
        _execute(database, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
        try:
            yield Database.of(database.url.set(database=name))
        finally:
            _execute(database, f"DROP DATABASE IF EXISTS {name}")


def _given(database: Database, url: sa.URL) -> Database:
    given = Database.of(url)
    if given.dialect != database.dialect:
        raise UsageError(
            f"The scratch database is of {given.dialect}, the deployment's of {database.dialect}.",
            remedy="Name an empty database of the same kind.",
        )
    with given.look() as connection:
        if connection is not None and sa.inspect(connection).get_table_names():
            raise UsageError(
                f"The scratch database {given.title} is not empty.",
                remedy="Name an empty database: revisions are run in it.",
            )
    return given


def _execute(database: Database, *statements: str) -> None:
    """Send what may not be sent inside a transaction."""
    engine = sa.create_engine(
        database.url, poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT"
    )
    try:
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    except exc.DBAPIError as error:
        raise UsageError(
            "A scratch database cannot be made: "
            f"{database.scrub(' '.join(str(error.orig).split()))}",
            remedy="Name an empty database of the same kind to build it in: --scratch URL.",
        ) from error
    finally:
        engine.dispose()
