"""Looking leaves no trace: no byte of the database changes, and no file comes to be."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch import LockError
from support.databases import Database, sqlite
from support.postgres import pg_dump
from support.store import Store, table
from support.trees import revision_file

LOOKING = ("status", "plan", "history")
KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
for number in range(3000):
    connection.execute("INSERT INTO note VALUES (?)", ("x" * 500,))
os._exit(9)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A deployment whose first revision is applied and whose second is pending."""
    (tmp_path / "data").mkdir()
    store = Store(tmp_path, sqlite(tmp_path / "data" / "store.sqlite"))
    store.core(revision_file("c1", upgrade=table("item")))
    store.upgrade()
    store.core(revision_file("c1", upgrade=table("item")), revision_file("c2", down="c1"))
    return store


def content(directory: Path) -> Mapping[str, bytes]:
    """Every file of *directory*, but for the lock's, which a run leaves behind."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def look(store: Store) -> str:
    """Look in every way; returns where the core stands."""
    with store.manager() as manager:
        manager.plan(store.deployment)
        assert manager.history(store.deployment)
        manager.sql(store.deployment)
        manager.check(store.deployment)
        (core,) = manager.status(store.deployment).owners
    return core.state


@contextmanager
def wal_mode(store: Store) -> Iterator[sqlite3.Connection]:
    """A program that has the database open in WAL mode, which stays its mode."""
    assert store.database.path is not None
    with closing(sqlite3.connect(store.database.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        yield connection


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_looking_changes_no_byte_and_no_file(store: Store, mode: str) -> None:
    """In WAL mode a plain reader would leave a log and its index behind."""
    if mode == "wal":
        with wal_mode(store):
            pass
    data = store.deployment.parent / "data"
    before = content(data)
    assert look(store) == "pending"
    assert content(data) == before


def test_looking_sees_what_is_only_in_the_log(store: Store) -> None:
    """The application has the database open, and has written since the last checkpoint."""
    data = store.deployment.parent / "data"
    with wal_mode(store) as application:
        application.execute("DELETE FROM anabranch_journal")
        before = content(data)
        assert {"store.sqlite-wal", "store.sqlite-shm"} <= set(before)
        with store.manager() as manager:
            assert manager.history(store.deployment) == ()
        after = content(data)
        assert set(after) == set(before)
        assert after["store.sqlite"] == before["store.sqlite"]
        assert after["store.sqlite-wal"] == before["store.sqlite-wal"]


def test_database_that_is_written_while_it_is_read_is_not_believed(store: Store) -> None:
    with wal_mode(store):
        pass
    with (
        store.manager() as manager,
        pytest.raises(LockError, match="was written by another program while it was read"),
        manager.open(store.deployment).database.look(),
        wal_mode(store) as application,
    ):
        application.execute("DELETE FROM anabranch_revision")
    assert look(store) == "pending"


def test_what_a_killed_writer_left_half_done_is_not_seen(store: Store) -> None:
    """SQLite undoes it first, as it does for whoever opens the database next."""
    store.database.execute("CREATE TABLE note (text TEXT)")
    path = store.database.path
    assert path is not None
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert path.with_name("store.sqlite-journal").exists()
    assert look(store) == "pending"
    assert store.database.rows("note") == []


def test_database_that_is_not_there_is_not_created(store: Store, tmp_path: Path) -> None:
    missing = tmp_path / "elsewhere" / "none.sqlite"
    store.configure(url=f"sqlite:///{missing}")
    with store.manager() as manager:
        assert manager.history(store.deployment) == ()
        assert manager.status(store.deployment).state == "pending"
        assert len(manager.plan(store.deployment).steps) == 2
    assert not missing.parent.exists()


@pytest.mark.parametrize("name", ["a b#c?d%20.sqlite", "ünï'code.sqlite"])
def test_any_name_of_a_file_can_be_looked_at(tmp_path: Path, name: str) -> None:
    """It is opened by a URI, in which these characters mean something."""
    store = Store(tmp_path, Database(f"sqlite:///{tmp_path / name.replace('?', '%3F')}"))
    store.core(revision_file("c1", upgrade=table("item")))
    store.upgrade()
    assert look(store) == "current"


@pytest.mark.skipif(os.name != "posix", reason="permissions are of another kind")
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_looking_needs_no_right_to_write(store: Store, mode: str) -> None:
    """Neither to the file nor to its directory."""
    if mode == "wal":
        with wal_mode(store):
            pass
    data = store.deployment.parent / "data"
    (data / "store.sqlite.lock").unlink()
    (data / "store.sqlite").chmod(0o400)
    data.chmod(0o500)
    try:
        for command in LOOKING:
            result = as_a_plain_user(store, command)
            assert result.returncode == 0, result.stderr
            assert "c1" in result.stdout + result.stderr
        result = as_a_plain_user(store, "init-db")
        assert result.returncode == 9, result.stderr
        assert "Traceback" not in result.stderr
    finally:
        data.chmod(0o700)
    assert set(content(data)) == {"store.sqlite"}


def as_a_plain_user(store: Store, command: str) -> subprocess.CompletedProcess[str]:
    """Run *command* without the power of root to write everywhere."""
    without: list[str] = []
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root may write everywhere, and setpriv is not there to give that up")
        without = [setpriv, "--bounding-set=-all", "--inh-caps=-all"]
    verb = [command] if command == "init-db" else ["db", command]
    return subprocess.run(
        [*without, sys.executable, "-m", "store", *verb, str(store.deployment)],
        env=store.site.environment(),
        cwd=store.site.path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_looking_at_a_server_cannot_write(
    tmp_path: Path, request: pytest.FixtureRequest, backend: str
) -> None:
    """The server itself would refuse."""
    database: Database = request.getfixturevalue(f"{backend}_database")
    store = Store(tmp_path, database)
    store.core(revision_file("c1", upgrade=table("item")))
    store.upgrade()
    with (
        store.manager() as manager,
        manager.open(store.deployment).database.look() as connection,
    ):
        assert connection is not None
        with pytest.raises(sa.exc.DBAPIError, match=r"(?i)read.only transaction"):
            connection.exec_driver_sql("DELETE FROM item")
    store.core(revision_file("c1", upgrade=table("item")), revision_file("c2", down="c1"))
    dump = pg_dump if backend == "postgresql" else Database.dump
    before = dump(database)
    assert look(store) == "pending"
    assert dump(database) == before
