"""The lock that lets one migrator at a time into a database, and dies with its holder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.database import Database as Target
from anabranch.errors import LockError, LockLostError, UnreachableError
from anabranch.locking import Lock, run_lock, user_name
from anabranch.mysql import NamedLock
from anabranch.postgresql import session_name
from support.databases import Database
from support.mariadb import Server
from support.store import Store, table
from support.trees import revision_file

#: Takes the lock of the database under test, in a session of its own.
Take = Callable[..., AbstractContextManager[Lock | None]]


@pytest.fixture
def target(every_database: Database) -> Target:
    return Target.of(sa.make_url(every_database.url))


@pytest.fixture
def take(target: Target) -> Iterator[Take]:
    """A function that returns the lock for a new connection to the database."""
    connections: list[AbstractContextManager[sa.Connection]] = []

    def lock(
        timeout: float = 0, name: str = "lock", waiting: Callable[[str], None] = lambda _: None
    ) -> AbstractContextManager[Lock | None]:
        manager = target.migrate()
        connection = manager.__enter__()
        connections.append(manager)
        return run_lock(target, connection, name=name, timeout=timeout, waiting=waiting)

    yield lock
    for manager in reversed(connections):
        manager.__exit__(None, None, None)


def test_a_second_holder_is_refused_and_told_of_the_first(take: Take, target: Target) -> None:
    """The message names the process, or on a server the session."""
    with (
        take(),
        pytest.raises(LockError, match=r"not obtained within 0\.1 s") as raised,
        take(timeout=0.1),
    ):
        pytest.fail("two holders")
    if target.dialect == "sqlite":
        assert f"process {os.getpid()} on {os.uname().nodename}" in raised.value.what
        assert f"(user {user_name()})" in raised.value.what
    elif target.dialect == "mysql":
        assert "server session" in raised.value.what
        assert "(user root, localhost, idle for 0 s)" in raised.value.what
    else:
        assert "server process" in raised.value.what
        assert "user postgres" in raised.value.what
    assert raised.value.exit_code == 7


def test_the_lock_is_free_again_after_the_block(take: Take) -> None:
    """Also when the block ended with an error."""
    with take():
        pass
    with pytest.raises(ZeroDivisionError), take():
        raise ZeroDivisionError
    with take():
        pass


def test_whoever_waits_gets_it_when_the_holder_lets_go(take: Take) -> None:
    """And is told once whom it waits for."""
    told: list[str] = []
    first, second = take(), take(timeout=20, waiting=told.append)
    with first:
        got = threading.Event()

        def wait() -> None:
            with second:
                got.set()

        thread = threading.Thread(target=wait)
        thread.start()
        while not told:
            assert not got.wait(0.01)
    thread.join()
    assert got.is_set()
    assert len(told) == 1


def test_a_free_lock_is_taken_without_a_word(take: Take) -> None:
    told: list[str] = []
    with take(timeout=5, waiting=told.append):
        assert told == []


def test_two_names_are_two_locks_on_one_server(take: Take, target: Target) -> None:
    """Two applications in one database do not wait for one another."""
    if target.dialect == "sqlite":
        with take(name="a"), pytest.raises(LockError), take(name="b"):
            pytest.fail("one file, one lock")
    else:
        with take(name="a"), take(name="b"):
            pass


def test_the_lock_outlives_commits_and_rollbacks(target: Target) -> None:
    """It is the session's, not the transaction's; only the end of the block ends it."""
    with (
        target.migrate() as connection,
        run_lock(target, connection, name="lock", timeout=0, waiting=lambda _: None),
    ):
        for end in (connection.commit, connection.rollback):
            connection.execute(sa.text("SELECT 1"))
            end()
            with (
                target.migrate() as other,
                pytest.raises(LockError),
                run_lock(target, other, name="lock", timeout=0, waiting=lambda _: None),
            ):
                pytest.fail("two holders")


def test_the_lock_file_can_only_be_read_by_its_owner_and_is_never_deleted(
    tmp_path: Path,
) -> None:
    """Deleting it would let in two: one on the old file, one on the new."""
    target = Target.of(sa.make_url(f"sqlite:///{tmp_path}/x.sqlite"))
    for _ in range(2):
        with (
            target.migrate() as connection,
            run_lock(target, connection, name="lock", timeout=0, waiting=lambda _: None),
        ):
            pass
        path = tmp_path / "x.sqlite.lock"
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_file_with_odd_content_is_no_obstacle(tmp_path: Path) -> None:
    """What stands in it is for people; the kernel's lock decides."""
    target = Target.of(sa.make_url(f"sqlite:///{tmp_path}/x.sqlite"))
    path = tmp_path / "x.sqlite.lock"
    for content in ("", "not JSON", '{"pid": 1}', "[1]"):
        path.write_text(content)
        with (
            target.migrate() as connection,
            run_lock(target, connection, name="lock", timeout=0, waiting=lambda _: None),
            target.migrate() as other,
            pytest.raises(LockError, match="held by"),
        ):
            path.write_text(content)
            with run_lock(target, other, name="lock", timeout=0, waiting=lambda _: None):
                pytest.fail("two holders")


def test_a_lock_file_that_cannot_be_written_is_unreachable(tmp_path: Path) -> None:
    """A directory is in its place."""
    target = Target.of(sa.make_url(f"sqlite:///{tmp_path}/x.sqlite"))
    (tmp_path / "x.sqlite.lock").mkdir()
    with (
        target.migrate() as connection,
        pytest.raises(UnreachableError, match="lock cannot be"),
        run_lock(target, connection, name="lock", timeout=0, waiting=lambda _: None),
    ):
        pytest.fail("no lock")


def test_the_lock_of_a_lost_session_is_gone(target: Target, every_database: Database) -> None:
    """The end of the block does not mind that the server ended the session."""
    with (
        target.migrate() as connection,
        run_lock(target, connection, name="lock", timeout=0, waiting=lambda _: None),
    ):
        if target.dialect == "sqlite":
            connection.invalidate()
        elif target.dialect == "mysql":
            session = connection.scalar(sa.text("SELECT CONNECTION_ID()"))
            every_database.execute(f"KILL {session}")
        else:
            pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
            connection.commit()
            every_database.execute(f"SELECT pg_terminate_backend({pid})")
    with (
        target.migrate() as connection,
        run_lock(target, connection, name="lock", timeout=5, waiting=lambda _: None),
    ):
        assert connection.scalar(sa.text("SELECT 1")) == 1


def test_what_the_holder_runs_is_shown_without_what_it_quotes(mariadb_server: Server) -> None:
    """These servers take text in double quotes too, which may be a secret."""
    database = mariadb_server.create()
    target = Target.of(sa.make_url(database.url))
    with target.migrate() as holder, target.migrate() as other, ThreadPoolExecutor(1) as pool:
        assert NamedLock(holder, "lock").acquire()
        session = holder.scalar(sa.text("SELECT CONNECTION_ID()"))
        statement = pool.submit(holder.exec_driver_sql, 'SELECT SLEEP(30), "hunter2"')
        asked = NamedLock(other, "lock")
        while "running" not in (told := asked.holder()):
            time.sleep(0.02)
        other.exec_driver_sql(f"KILL QUERY {session}")
        statement.exception()
    assert "running SELECT SLEEP(30), for" in told
    mariadb_server.drop(database)


def test_two_databases_of_one_mariadb_server_have_two_locks(mariadb_server: Server) -> None:
    """The server's locks know no databases,; their names must."""
    databases = [mariadb_server.create() for _ in range(2)]
    try:
        first, second = (Target.of(sa.make_url(database.url)) for database in databases)
        with (
            first.migrate() as one,
            second.migrate() as two,
            run_lock(first, one, name="lock", timeout=0, waiting=lambda _: None),
            run_lock(second, two, name="lock", timeout=0, waiting=lambda _: None),
        ):
            pass
    finally:
        for database in databases:
            mariadb_server.drop(database)


def test_whoever_waits_is_told_what_runs_and_told_again(
    take: Take, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start and then every few seconds, here fractions of one."""
    monkeypatch.setattr("anabranch.locking._ANNOUNCEMENTS", 0.05)
    told: list[str] = []
    with take() as lock:
        assert lock is not None
        lock.say("billing@3f2a")
        with (
            pytest.raises(LockError, match="not obtained") as raised,
            take(0.5, "lock", told.append),
        ):
            pytest.fail("two holders")
    assert len(told) >= 3
    if target.dialect != "mysql":
        assert all("billing@3f2a" in text for text in [*told, raised.value.what])
        assert f":{os.getpid()} " in told[0] or f"process {os.getpid()} " in told[0]


def test_a_long_host_name_leaves_room_for_the_revision() -> None:
    """PostgreSQL keeps 63 bytes."""
    name = session_name("a-plugin-with-a-long-name@0123456789ab")
    assert name.startswith("anabranch ")
    assert name.endswith(f":{os.getpid()} a-plugin-with-a-long-name@0123456789ab")
    assert len(session_name("ü" * 80).encode()) <= 63


LOSSES = {
    "sqlite": "import pathlib\n"
    "path = op.get_bind().exec_driver_sql('PRAGMA database_list').first()[2]\n"
    "pathlib.Path(path + '.lock').unlink()",
    "postgresql": "op.execute('SELECT pg_advisory_unlock_all()')",
}


def test_a_revision_that_loses_the_lock_is_rolled_back(tmp_path: Path, database: Database) -> None:
    """Another migrator may be at work, so nothing more is committed; exit code 7."""
    store = Store(tmp_path, database)
    loss = LOSSES[database.backend]
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\n{loss}"),
        revision_file("c3", down="c2", upgrade=table("three")),
    )
    store.upgrade("core@c1")
    with pytest.raises(LockLostError, match="The migration lock was lost") as raised:
        store.upgrade()
    assert (raised.value.code, raised.value.exit_code) == ("AB422", 7)
    assert "rolled back" in raised.value.state.lower()
    assert set(store.schema) == {"one"}
    path = store.versions / "c2_a_change.py"
    path.write_text(path.read_text().replace(loss.splitlines()[-1], "pass"))
    assert store.upgrade() == ["core@c2", "core@c3"]


def test_managers_with_two_version_tables_share_one_lock(
    tmp_path: Path, database: Database
) -> None:
    """Our tables are the same for both, and so is what the lock guards."""
    store = Store(tmp_path, database)
    store.core(revision_file("c1", upgrade=table("one")))
    with (
        store.manager() as first,
        store.manager(version_table="other") as second,
        first.open(store.deployment).locked(),
        pytest.raises(LockError, match="not obtained"),
        second.open(store.deployment).locked(timeout=0),
    ):
        pytest.fail("two holders")


def test_the_session_of_a_run_has_settings_of_its_own_and_gives_them_back(
    postgresql_database: Database,
) -> None:
    """Also on a connection that the application lends."""
    settings = sa.text(
        "SELECT current_setting('application_name'), current_setting('lock_timeout'), "
        "current_setting('client_connection_check_interval', true)"
    )
    with postgresql_database.engine() as engine, engine.connect() as lent:
        before = tuple(lent.execute(settings).one())
        lent.rollback()
        with Target.of(lent).migrate() as connection:
            name, *waits = connection.execute(settings).one()
            connection.rollback()
            assert name == session_name()
            assert waits == ["2s", "1s"]
        assert tuple(lent.execute(settings).one()) == before
