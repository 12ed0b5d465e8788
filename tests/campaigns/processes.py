"""The workload's application as processes: ``mill init-db``, started, signalled, waited for."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from campaigns.workload import Workload
from support.databases import Database
from support.sites import Site


@dataclass(frozen=True)
class Application:
    """An installed workload.

    :ivar cli: its command group.
    :ivar manager: its ``MigrationManager``.
    """

    cli: Any
    manager: Any
    deployment: Path

    def start(self, database: Database, prepare: Callable[[], object] = lambda: None) -> int:
        """Start ``mill init-db`` on *database* in a forked process and return its id.

        :param prepare: called in that process first.
        """
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.environ["MILL_SQLALCHEMY_DATABASE_URL"] = database.url
                silent = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silent, 1)
                if not os.environ.get("CAMPAIGN_DEBUG"):
                    os.dup2(silent, 2)
                prepare()
                self.cli.main(["init-db", str(self.deployment)], prog_name="mill")
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0
            except BaseException:
                code = 1
            finally:
                os._exit(code)
        return pid

    def run(self, database: Database) -> int:
        """Run ``mill init-db`` to its end and return its exit code."""
        return wait(self.start(database), 120)[0]


@contextmanager
def application(work: Workload) -> Generator[Application, None, None]:
    """Install *work* for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder, "site"), application="mill")
        site.install(*work.distributions)
        deployment = Path(folder, "deployment")
        deployment.mkdir()
        with site.on_path():
            from mill.cli import cli, manager  # type: ignore[import-not-found]

            import anabranch.executor  # so that no child has to import it

            del anabranch
            yield Application(cli, manager, deployment)


def wait(pid: int, seconds: float) -> tuple[int, float]:
    """Wait for the end of a process, which is killed after *seconds*.

    Returns its exit code, -9 if it had to be killed, and how long that took.
    """
    started = time.monotonic()
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        took = time.monotonic() - started
        if ended:
            return os.waitstatus_to_exitcode(status), took
        if took > seconds:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -9, took
        time.sleep(0.002)


def backends(database: Database) -> list[int]:
    """Return the sessions that migrators have left on the server of *database*."""
    sessions = {
        "postgresql": "SELECT pid AS id FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'anabranch%'",
        "mariadb": "SELECT id FROM information_schema.processlist WHERE db = DATABASE() "
        "AND id <> CONNECTION_ID()",
    }
    return [row["id"] for row in database.execute(sessions[database.backend])]


def terminate(connection: sa.Connection, database: Database) -> None:
    """Let the server end the session of *connection*, by a session of its own."""
    raw: Any = connection.connection.dbapi_connection
    database.execute(f"SELECT pg_terminate_backend({raw.info.backend_pid})")
