"""What the campaigns break: a workload under anabranch or stock Alembic, and its database."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anabranch.listening import Listener, Progress
from campaigns.workload import Workload, workload
from support import mariadb, postgres
from support.databases import BOOKKEEPING, Database, sqlite
from support.sites import Site

_ENV = """\
import sqlalchemy as sa
from alembic import context

engine = sa.create_engine(context.config.attributes["url"], poolclass=sa.pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""

DIALECTS = ("sqlite", "postgresql", "mariadb")

Outcome = tuple[Any, Any]
Fresh = Callable[[], contextlib.AbstractContextManager[Database]]


@dataclass(frozen=True)
class Target:
    """Something that migrates a database to the end of a workload, in this process."""

    name: str
    migrate: Callable[[Database], object]


@dataclass(frozen=True)
class Watched(Target):
    """A target that also tells of each revision that is committed."""

    watch: Callable[[Database, Callable[[], object]], object]


@contextmanager
def anabranch_target(work: Workload) -> Generator[Watched, None, None]:
    """Install *work* as real distributions and migrate it with a ``MigrationManager``."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder, "site"), application="mill")
        site.install(*work.distributions)
        with site.on_path():
            from mill.cli import manager  # type: ignore[import-not-found]

            def migrate(database: Database, committed: Callable[[], object] = tuple) -> None:
                def told(progress: Progress) -> None:
                    if progress.event == "applied":
                        committed()

                manager.upgrade(database.url, listener=Listener(progress=told))

            yield Watched("anabranch", migrate, migrate)


@contextmanager
def alembic_target(work: Workload) -> Generator[Target, None, None]:
    """Lay *work* out as one line of revisions and migrate it as stock Alembic does by default."""
    import alembic.command
    from alembic.config import Config

    with tempfile.TemporaryDirectory() as folder:
        versions = Path(folder, "versions")
        versions.mkdir()
        Path(folder, "env.py").write_text(_ENV, encoding="utf-8")
        for number, source in enumerate(work.line):
            (versions / f"r{number:03}.py").write_text(source, encoding="utf-8")

        def migrate(database: Database) -> None:
            config = Config()
            config.set_main_option("script_location", folder)
            config.attributes["url"] = database.url
            alembic.command.upgrade(config, "heads")

        yield Target("stock Alembic", migrate)


@contextmanager
def fresh_databases(dialect: str) -> Generator[Fresh, None, None]:
    """Yield a function that gives a new, empty database of *dialect* and takes it away again."""
    with contextlib.ExitStack() as stack:
        if dialect == "sqlite":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

            @contextmanager
            def fresh() -> Generator[Database, None, None]:
                path = folder / f"{time.monotonic_ns()}.sqlite"
                try:
                    yield sqlite(path)
                finally:
                    for left in folder.glob(f"{path.name}*"):
                        left.unlink()
        else:
            servers = {"postgresql": postgres, "mariadb": mariadb}
            server = stack.enter_context(servers[dialect].running_server())

            @contextmanager
            def fresh() -> Generator[Database, None, None]:
                database = server.create()
                try:
                    yield database
                finally:
                    server.drop(database)

        yield fresh


def in_child(action: Callable[[], object], *, kill_after: float | None = None) -> int:
    """Run *action* in a forked process; kill it with SIGKILL after *kill_after* seconds.

    Returns its exit code: 0 if it ended, 1 if it raised, -9 if it was killed.
    """
    pid = os.fork()
    if pid == 0:
        try:
            logging.disable()
            with contextlib.redirect_stdout(io.StringIO()):
                action()
        except BaseException:
            if os.environ.get("CAMPAIGN_DEBUG"):
                traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def outcome(database: Database) -> Outcome:
    """Return the schema and all rows of the workload's own tables."""
    schema = database.schema(ignore=BOOKKEEPING)
    return schema, {table: database.rows(table) for table in schema}


def versions() -> str:
    """Return the line that says what was measured with what."""
    import alembic
    import sqlalchemy

    python = ".".join(map(str, sys.version_info[:3]))
    return f"Python {python}, SQLAlchemy {sqlalchemy.__version__}, Alembic {alembic.__version__}"


__all__ = [
    "DIALECTS",
    "Fresh",
    "Outcome",
    "Target",
    "alembic_target",
    "anabranch_target",
    "fresh_databases",
    "in_child",
    "outcome",
    "versions",
    "workload",
]
