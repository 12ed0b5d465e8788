"""A real MariaDB server for one test session, out of the Debian package ``mariadb-server``.

Not tuned to be safe: it forgets everything at a crash, and trusts whoever reaches its socket.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from support.databases import Database

DRIVER = "mariadb+pymysql"

_LOG_SIZE = "--innodb-log-file-size=16M"
_SETTINGS = (
    "--skip-networking",
    "--skip-log-bin",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    _LOG_SIZE,
    "--innodb-buffer-pool-size=64M",
    "--max-connections=100",
)


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
        for row in database.execute(
            "SELECT id FROM information_schema.processlist"
            " WHERE db = database() AND id <> connection_id()"
        ):
            with suppress(exc.OperationalError):  # it ended by itself
                self._execute(f"KILL {row['id']}")
        self._execute(f"DROP DATABASE IF EXISTS {name}")

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(self.maintenance, poolclass=NullPool)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(statement)
        finally:
            engine.dispose()


def missing() -> str:
    """What this machine lacks to run a server; empty if nothing."""
    programs = ("mariadb-install-db", "mariadbd")
    return ", ".join(name for name in programs if _program(name) is None)


@contextmanager
def running_server(*settings: str) -> Iterator[Server]:
    """Start a server in a directory of its own; stop it and remove the directory at the end.

    :param settings: what it is told besides.
    """
    # Not below pytest's temporary directory, which is too deep for the path of a socket.
    directory = Path(tempfile.mkdtemp(prefix="anabranch-maria-"))
    try:
        data, socket, scratch = directory / "data", directory / "socket", directory / "tmp"
        # A server that starts deletes the temporary tables of others that share their folder.
        scratch.mkdir()
        common = (
            "--no-defaults",
            f"--datadir={data}",
            f"--tmpdir={scratch}",
            f"--user={getpass.getuser()}",
        )
        install = [str(_program("mariadb-install-db")), *common, _LOG_SIZE]
        install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        log = directory / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(_program("mariadbd")), *common, *_SETTINGS, *settings, f"--socket={socket}"],
                stdout=output,
                stderr=output,
            )
        try:
            deadline = time.monotonic() + 60
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"MariaDB does not start:\n{log.read_text()}")
                time.sleep(0.05)
            yield Server(sa.URL.create(DRIVER, "root", query={"unix_socket": str(socket)}))
        finally:
            process.kill()  # nothing of it is wanted again
            process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _program(name: str) -> str | None:
    # Debian keeps servers where only root's path leads.
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
