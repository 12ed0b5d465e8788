"""Several migrators at once: one works, the others wait for it, and nothing happens twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import mariadb, postgres
from support.databases import Database, sqlite
from support.store import Store, table
from support.trees import revision_file

ROUNDS, PROCESSES = 6, 4  # `campaigns.migrators` goes on for longer


@pytest.fixture
def store(tmp_path: Path, every_database: Database) -> Iterator[Store]:
    store = Store(tmp_path, every_database)
    yield store
    store.site.close()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def create(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """A function that makes one empty database after the other."""
    made: list[Database] = []
    if request.param == "sqlite":

        def new() -> Database:
            made.append(sqlite(tmp_path / f"{len(made)}.sqlite"))
            return made[-1]

        yield new
        return
    fixture = {"postgresql": "postgres_server", "mariadb": "mariadb_server"}[request.param]
    server: postgres.Server | mariadb.Server = request.getfixturevalue(fixture)

    def new_on_server() -> Database:
        made.append(server.create())
        return made[-1]

    yield new_on_server
    for database in made:
        server.drop(database)


def test_four_processes_at_once_apply_every_revision_once(
    tmp_path: Path, create: Callable[[], Database]
) -> None:
    """All end well, whoever was first, and the journal has one run."""
    first = create()
    store = Store(tmp_path, first)
    store.core(
        revision_file("c1", upgrade=table("customer")),
        revision_file("c2", down="c1", upgrade=table("product")),
    )
    store.plugin("billing", revision_file("b1", depends="c1", upgrade=table("invoice")))
    try:
        for number in range(ROUNDS):
            database = create() if number else first
            store.configure(url=database.url)
            processes = [store.site.start("init-db", store.deployment) for _ in range(PROCESSES)]
            ends = [(*process.communicate(timeout=60), process.returncode) for process in processes]
            assert [end[2] for end in ends] == [0] * PROCESSES, ends
            store.database = database
            assert sorted(store.journal) == [
                *("applied billing@b1", "applied core@c1", "applied core@c2", "run")
            ]
            assert set(store.schema) == {"customer", "product", "invoice"}
            assert sum("3 revisions applied" in out for out, _, _ in ends) == 1
    finally:
        store.site.close()


def slow(store: Store, tmp_path: Path) -> tuple[Path, Path]:
    """A store whose first revision waits; returns the files that say it does, and may go on."""
    inside, go_on = tmp_path / "inside", tmp_path / "go-on"
    wait = (
        "import pathlib, time\n"
        f"pathlib.Path({str(inside)!r}).touch()\n"
        f"while not pathlib.Path({str(go_on)!r}).exists():\n"
        "    time.sleep(0.02)\n"
    )
    store.core(
        revision_file("c1", upgrade=f"{table('customer')}\n{wait}"),
        revision_file("c2", down="c1", upgrade=table("product")),
    )
    return inside, go_on


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.02)


def test_whoever_waits_too_long_is_told_who_holds_the_lock(store: Store, tmp_path: Path) -> None:
    """Exit code 7, once the time given has passed; the holder is not disturbed."""
    inside, go_on = slow(store, tmp_path)
    holder = store.site.start("init-db", store.deployment)
    wait_for(inside)

    started = time.monotonic()
    refused = store.init_db("--lock-timeout", "0.3").expect(7)
    assert time.monotonic() - started < 10

    assert "within 0.3 s" in refused.err
    assert "The database was not changed." in refused.err
    if store.database.backend == "sqlite":
        assert f"process {holder.pid} on {os.uname().nodename}" in refused.err
    elif store.database.backend == "mariadb":
        assert "It is held by server session " in refused.err
    else:
        sessions = store.database.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'anabranch %@c%'"
            " AND datname = current_database()"
        )
        assert f"server process {sessions[0]['pid']}" in refused.err
    go_on.touch()
    _, err = holder.communicate(timeout=60)
    assert holder.returncode == 0, err
    assert store.applied == {"core@c1", "core@c2"}


def test_the_timeout_of_the_configuration_counts(
    tmp_path: Path, postgresql_database: Database
) -> None:
    """``[migrations] lock_timeout`` is what ``--lock-timeout`` replaces."""
    store = Store(tmp_path, postgresql_database)
    store.configure("[migrations]\nlock_timeout = 0.2\n")
    inside, go_on = slow(store, tmp_path)
    try:
        holder = store.site.start("init-db", store.deployment)
        wait_for(inside)
        assert "within 0.2 s" in store.init_db().expect(7).err
        go_on.touch()
        holder.communicate(timeout=60)
        assert holder.returncode == 0
    finally:
        store.site.close()


def test_whoever_waits_goes_on_when_the_holder_is_killed(store: Store, tmp_path: Path) -> None:
    """kill -9 leaves neither a lock nor half a revision behind."""
    inside, go_on = slow(store, tmp_path)
    holder = store.site.start("init-db", store.deployment)
    wait_for(inside)
    waiter = store.site.start("init-db", store.deployment)
    assert waiter.stderr is not None
    assert "Waiting for the migration lock" in waiter.stderr.readline()

    holder.send_signal(signal.SIGKILL)
    holder.wait()
    go_on.touch()

    out, err = waiter.communicate(timeout=60)
    assert waiter.returncode == 0, err
    assert "2 revisions applied" in out
    assert set(store.schema) == {"customer", "product"}
    assert store.applied == {"core@c1", "core@c2"}


def test_reading_does_not_wait_for_the_lock(store: Store, tmp_path: Path) -> None:
    """Status and plan answer while a run is under way, with what is committed so far."""
    inside, go_on = slow(store, tmp_path)
    holder = store.site.start("init-db", store.deployment)
    wait_for(inside)
    assert "2 revisions are pending" in store.db("status").expect(0).out
    assert "2 pending" in store.db("plan").expect(0).out
    go_on.touch()
    holder.communicate(timeout=60)
    assert holder.returncode == 0


def test_two_paths_to_one_file_are_one_lock(tmp_path: Path, sqlite_database: Database) -> None:
    """A symbolic link to the database does not let a second migrator in."""
    store = Store(tmp_path, sqlite_database)
    inside, go_on = slow(store, tmp_path)
    try:
        holder = store.site.start("init-db", store.deployment)
        wait_for(inside)
        link = tmp_path / "link.sqlite"
        assert sqlite_database.path is not None
        link.symlink_to(sqlite_database.path)
        refused = store.init_db(
            "--lock-timeout", "0.2", env={"STORE_SQLALCHEMY_DATABASE_URL": sqlite(link).url}
        ).expect(7)
        assert f"process {holder.pid}" in refused.err
        go_on.touch()
        holder.communicate(timeout=60)
        assert holder.returncode == 0
    finally:
        store.site.close()


def test_another_program_that_writes_is_named_as_the_obstacle(
    tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds SQLite's own lock and not ours: exit code 7, nothing changed."""
    monkeypatch.setattr("anabranch.sqlite._BUSY_TIMEOUT", 100)
    store = Store(tmp_path, sqlite_database)
    store.core(revision_file("c1", upgrade=table("customer")))
    sqlite_database.execute("CREATE TABLE other (id INTEGER)")
    from anabranch import LockError

    with sqlite_database.engine() as engine, engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(LockError, match="in use by another program") as raised:
            store.upgrade()
    assert raised.value.exit_code == 7
    assert set(store.database.schema()) == {"other"}
    assert store.upgrade() == ["core@c1"]


def test_a_database_that_is_being_committed_is_waited_for(tmp_path: Path) -> None:
    """A large transaction on SQLite locks readers out early; the lock timeout counts then too."""
    database = sqlite(tmp_path / "store.sqlite")
    store = Store(tmp_path, database)
    store.core(revision_file("c1", upgrade=table("customer")))
    other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    process = store.site.start("init-db", store.deployment)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=8)
    other.execute("COMMIT")
    other.close()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "1 revision applied" in out
    store.site.close()
