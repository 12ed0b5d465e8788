"""An application's own engine or connection as the target: used safely, handed back as it was."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from anabranch import MigrationManager, PendingError, RevisionError, UnreachableError, UsageError
from anabranch import database as database_module
from support.databases import BOOKKEEPING, Database, sqlite
from support.store import Store, table
from support.trees import revision_file

FAMILY = """
op.create_table("parent", sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", sa.Text))
op.create_table("child", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("parent_id", sa.Integer, sa.ForeignKey("parent.id", ondelete="CASCADE")))
op.execute("INSERT INTO parent (id) VALUES (1), (2)")
op.execute("INSERT INTO child VALUES (10, 1), (20, 2), (30, 2)")
"""
REBUILD = """
recreate = "always" if op.get_bind().dialect.name == "sqlite" else "never"
with op.batch_alter_table("parent", recreate=recreate) as batch:
    batch.alter_column("x", existing_type=sa.Text, type_=sa.String(20))
"""
CREATED = ["core@c1", "core@c2"]


@pytest.fixture
def store(tmp_path: Path, sqlite_database: Database) -> Store:
    """Two revisions: parents with children, then a rebuild of the parents' table."""
    store = Store(tmp_path, sqlite_database)
    store.core(revision_file("c1", upgrade=FAMILY), revision_file("c2", down="c1", upgrade=REBUILD))
    return store


@pytest.fixture
def postgresql_store(tmp_path: Path, postgresql_database: Database) -> Store:
    store = Store(tmp_path, postgresql_database)
    store.core(revision_file("c1", upgrade=FAMILY), revision_file("c2", down="c1", upgrade=REBUILD))
    return store


@contextmanager
def engine_of(url: str, **options: Any) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def run(store: Store, target: sa.Engine | sa.Connection, *to: str) -> list[str]:
    with store.manager() as manager:
        return [str(key) for key in manager.upgrade(target, to or "heads").applied]


def children(connection: sa.Connection) -> list[int]:
    return list(connection.scalars(sa.text("SELECT id FROM child ORDER BY id")))


def with_listeners(engine: sa.Engine, *, begin: str = "BEGIN") -> list[str]:
    """What SQLAlchemy's documentation recommends for SQLite; returns the begins as they come."""
    begins: list[str] = []

    @sa.event.listens_for(engine, "connect")
    def connect(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        raw.execute("PRAGMA foreign_keys=ON")
        raw.execute("PRAGMA busy_timeout=1234")

    @sa.event.listens_for(engine, "begin")
    def do_begin(connection: sa.Connection) -> None:
        begins.append(begin)
        connection.exec_driver_sql(begin)

    return begins


def settings(connection: sa.Connection) -> tuple[Any, ...]:
    raw: Any = connection.connection.dbapi_connection
    pragmas = ("foreign_keys", "busy_timeout")
    return (
        raw.isolation_level,
        raw.in_transaction,
        *(raw.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas),
    )


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_an_engine_with_listeners_of_its_own_can_be_the_target(store: Store, begin: str) -> None:
    """Foreign keys that it turns on cost no child row; its begins do not meet ours."""
    with engine_of(store.database.url) as engine:
        begins = with_listeners(engine, begin=begin)
        assert run(store, engine) == CREATED
        assert begins == []
        with engine.connect() as connection:
            assert settings(connection) == (None, False, 1, 1234)
            assert children(connection) == [10, 20, 30]


def test_the_pool_of_an_engine_gets_nothing_back(store: Store) -> None:
    """What migrated is closed: no setting of ours reaches the application."""
    with engine_of(store.database.url, poolclass=QueuePool, pool_size=1, max_overflow=0) as engine:
        with engine.connect() as connection:
            raw = connection.connection.dbapi_connection
        run(store, engine)
        assert isinstance(engine.pool, QueuePool)
        assert engine.pool.checkedout() == 0
        with engine.connect() as connection:
            assert connection.connection.dbapi_connection is not raw
            assert settings(connection)[0] == ""
            assert children(connection) == [10, 20, 30]


@pytest.mark.parametrize("begin", [None, "BEGIN", "BEGIN IMMEDIATE"])
def test_a_connection_with_listeners_of_its_own_can_be_the_target(
    store: Store, begin: str | None
) -> None:
    """Its engine's begins do not meet ours; afterwards they come as before."""
    with engine_of(store.database.url) as engine:
        begins = with_listeners(engine, begin=begin) if begin else []
        with engine.connect() as connection:
            before = settings(connection)
            connection.rollback()
            assert run(store, connection) == CREATED
            assert not connection.in_transaction()
            assert settings(connection) == before
            del begins[:]
            assert children(connection) == [10, 20, 30]
            assert len(begins) == (begin is not None)


def test_execution_options_of_a_connection_are_kept(store: Store) -> None:
    """A host that translates schemas migrates the translated ones."""
    store.core(
        revision_file(
            "c1",
            upgrade="assert op.get_bind().get_execution_options()['tenant'] == 'a'\n"
            + table("one"),
        )
    )
    with (
        engine_of(store.database.url) as engine,
        engine.connect().execution_options(tenant="a") as connection,
    ):
        assert run(store, connection) == ["core@c1"]
        assert connection.get_execution_options()["tenant"] == "a"


def test_a_failed_run_restores_the_settings_of_a_connection_too(store: Store) -> None:
    """Isolation level, foreign keys, timeout; no transaction stays open."""
    path = store.versions / "c2_a_change.py"
    path.write_text(revision_file("c2", down="c1", upgrade=f"{REBUILD}\n1 / 0"))
    with engine_of(store.database.url) as engine:
        with_listeners(engine)
        with engine.connect() as connection:
            before = settings(connection)
            connection.rollback()
            with pytest.raises(RevisionError, match="core@c2"):
                run(store, connection)
            assert not connection.in_transaction()
            assert settings(connection) == before
    assert store.schema == {}


def test_a_connection_in_autocommit_mode_still_gets_one_transaction(
    tmp_path: Path, database: Database
) -> None:
    """Else a failed revision would leave half of itself; the mode is there again afterwards."""
    store = Store(tmp_path, database)
    store.core(revision_file("c1", upgrade=f"{table('one')}\n1 / 0"))
    with (
        engine_of(database.url) as engine,
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        with pytest.raises(RevisionError, match="core@c1"):
            run(store, connection)
        assert store.schema == {}
        raw = connection.connection.dbapi_connection
        assert raw is not None
        assert raw.isolation_level is None if database.backend == "sqlite" else raw.autocommit
        assert connection.get_execution_options()["isolation_level"] == "AUTOCOMMIT"
        assert not connection.in_transaction()


def test_an_engine_in_autocommit_mode_still_gets_one_transaction(
    tmp_path: Path, database: Database
) -> None:
    """Whatever the engine was created with, a revision is all or nothing."""
    store = Store(tmp_path, database)
    store.core(revision_file("c1", upgrade=f"{table('one')}\n1 / 0"))
    with engine_of(database.url, isolation_level="AUTOCOMMIT", poolclass=NullPool) as engine:
        with pytest.raises(RevisionError, match="core@c1"):
            run(store, engine)
        assert store.schema == {}
        with pytest.raises(RevisionError, match="core@c1"):
            run(store, engine.execution_options(isolation_level="AUTOCOMMIT"))
        assert store.schema == {}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 brought it")
@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("as_connection", [True, False])
def test_the_drivers_newer_transaction_modes_are_handled(
    store: Store, autocommit: bool, as_connection: bool
) -> None:
    """``autocommit=False`` keeps a transaction open all the time; it is as before afterwards."""
    with engine_of(store.database.url, connect_args={"autocommit": autocommit}) as engine:
        with engine.connect() as connection:
            assert run(store, connection if as_connection else engine) == CREATED
        with engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            assert raw.autocommit is autocommit
            assert children(connection) == [10, 20, 30]


def test_a_database_in_memory_is_reached_through_its_engine(store: Store) -> None:
    """The pool holds the only copy: it is used in place, and stays usable."""
    with engine_of("sqlite://", poolclass=StaticPool) as engine:
        with_listeners(engine)
        assert run(store, engine) == CREATED
        assert run(store, engine) == []
        with engine.connect() as connection:
            assert settings(connection) == (None, False, 1, 1234)
            connection.rollback()
            assert children(connection) == [10, 20, 30]


def test_a_database_in_memory_is_reached_through_a_connection(store: Store) -> None:
    """As an application's own tests do it."""
    with engine_of("sqlite://") as engine, engine.connect() as connection:
        assert run(store, connection) == CREATED
        assert settings(connection) == ("", False, 0, 5000)
        assert children(connection) == [10, 20, 30]
        connection.rollback()
        assert run(store, connection) == []


def test_an_open_transaction_is_refused(store: Store) -> None:
    """It would be committed or rolled back with ours; the caller decides that."""
    with engine_of(store.database.url) as engine, engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        with pytest.raises(UsageError, match="open transaction") as raised:
            run(store, connection)
        assert raised.value.exit_code == 2
        assert connection.in_transaction()
        connection.rollback()
        assert run(store, connection) == CREATED


def test_other_dialects_are_refused(store: Store) -> None:
    """They cannot be kept safe the way these are."""
    with store.manager() as manager, pytest.raises(UsageError, match="does not migrate oracle"):
        manager.upgrade(sa.make_url("oracle+oracledb://localhost/x"))


def test_an_engine_on_postgresql_can_be_the_target(postgresql_store: Store) -> None:
    """With its own pool, schema and settings made at connect."""
    store = postgresql_store
    store.database.execute("CREATE SCHEMA tenant")
    with engine_of(store.database.url, poolclass=QueuePool, pool_size=1, max_overflow=0) as engine:

        @sa.event.listens_for(engine, "connect")
        def connect(raw: Any, _record: Any) -> None:
            raw.execute("SET search_path = tenant")
            raw.commit()

        assert run(store, engine) == CREATED
        assert run(store, engine) == []
        with engine.connect() as connection:
            tables = set(sa.inspect(connection).get_table_names("tenant"))
    assert tables == {"parent", "child", *BOOKKEEPING} - {"anabranch_statement"}
    assert store.database.schema() == {}


def test_a_connection_on_postgresql_can_be_the_target(postgresql_store: Store) -> None:
    """It stays open, without a transaction and without the lock."""
    store = postgresql_store
    with engine_of(store.database.url) as engine, engine.connect() as connection:
        assert run(store, connection) == CREATED
        assert not connection.in_transaction()
        locks = connection.scalar(
            sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        )
        assert locks == 0
        assert children(connection) == [10, 20, 30]


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
@pytest.mark.parametrize("autocommit", [False, True])
def test_a_connection_on_mariadb_can_be_the_target(
    tmp_path: Path, mariadb_database: Database, dialect: str, autocommit: bool
) -> None:
    """It stays open, without a transaction and the lock, and with the settings it had."""
    store = Store(tmp_path, mariadb_database)
    store.core(revision_file("c1", upgrade=table("one")))
    url = sa.make_url(store.database.url).set(drivername=f"{dialect}+pymysql")
    shown = "SELECT @@SESSION.lock_wait_timeout, @@SESSION.autocommit, @@SESSION.wait_timeout"
    with (
        engine_of(url.render_as_string(hide_password=False)) as engine,
        engine.connect() as connection,
    ):
        if autocommit:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("SET SESSION lock_wait_timeout = 77, SESSION wait_timeout = 78")
        connection.rollback()
        assert run(store, connection) == ["core@c1"]
        assert not connection.in_transaction()
        assert tuple(connection.exec_driver_sql(shown).one()) == (77, int(autocommit), 78)
        connection.rollback()
        assert run(store, connection) == []
        assert run(store, engine) == []
    assert set(store.schema) == {"one"}


def test_two_threads_migrate_two_databases_at_once(tmp_path: Path) -> None:
    """``op`` is one per process; each thread's tables land in its own database all the same."""
    store = Store(tmp_path, sqlite(tmp_path / "a.sqlite"))
    slow = "import time; time.sleep(0.01)"
    store.core(
        *(
            revision_file(
                f"c{number}",
                down=f"c{number - 1}" if number else None,
                upgrade=f"{table(f't{number}')}\n{slow}",
            )
            for number in range(5)
        )
    )
    databases = [sqlite(tmp_path / f"{number}.sqlite") for number in range(4)]
    applied: dict[str, list[str]] = {}

    def migrate(manager: MigrationManager, database: Database) -> None:
        done = manager.upgrade(database.url).applied
        applied[database.url] = [str(key) for key in done]

    with store.manager() as manager:
        threads = [
            threading.Thread(target=migrate, args=(manager, database)) for database in databases
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for database in databases:
        assert applied[database.url] == [f"core@c{number}" for number in range(5)]
        assert set(database.schema(ignore=BOOKKEEPING)) == {f"t{number}" for number in range(5)}


def test_check_current_is_silent_or_says_what_is_pending(store: Store) -> None:
    """What an application calls at its start: with an engine, a URL or a directory."""
    with store.manager() as manager, engine_of(store.database.url) as engine:
        with pytest.raises(PendingError, match="2 revisions are pending, the first is core@c1"):
            manager.check_current(engine)
        assert store.database.path is not None
        assert not store.database.path.exists(), "looking creates no database"
        manager.upgrade(engine, "core@c1")
        with pytest.raises(PendingError, match=r"1 revision.* core@c2") as raised:
            manager.check_current(store.deployment)
        assert raised.value.exit_code == 3
        assert [str(key) for key in raised.value.pending] == ["core@c2"]
        manager.upgrade(engine)
        manager.check_current(engine)
        manager.check_current(store.database.url)
        manager.check_current(store.deployment)


def test_looking_does_not_create_a_database(store: Store) -> None:
    """Neither the file nor a lock beside it."""
    with store.manager() as manager:
        assert len(manager.plan(store.database.url).steps) == 2
        assert manager.status(store.database.url).state == "pending"
        assert manager.history(store.database.url) == ()
    assert store.database.path is not None
    assert not store.database.path.exists()
    assert not list(store.database.path.parent.glob("*.lock"))


def test_a_new_database_file_can_only_be_read_by_its_owner(store: Store) -> None:
    """An existing file keeps the mode it has."""
    assert store.database.path is not None
    store.upgrade("core@c1")
    assert store.database.path.stat().st_mode & 0o777 == 0o600
    store.database.path.chmod(0o640)
    store.upgrade()
    assert store.database.path.stat().st_mode & 0o777 == 0o640


def test_a_database_in_wal_mode_is_migrated(store: Store) -> None:
    """Its mode is the application's business and stays."""
    store.database.execute("PRAGMA journal_mode=WAL")
    assert store.upgrade() == CREATED
    assert store.database.execute("PRAGMA journal_mode") == [{"journal_mode": "wal"}]
    assert len(store.database.rows("child")) == 3


def test_a_url_that_cannot_be_connected_to_is_unreachable(store: Store, tmp_path: Path) -> None:
    """In the words of the server or the operating system, and without an engine's traceback."""
    with store.manager() as manager:
        with pytest.raises(UnreachableError, match="No such file or directory"):
            manager.upgrade(f"sqlite:///{tmp_path}/missing/database.sqlite")
        with pytest.raises(UnreachableError, match=r"x:\*\*\*@localhost:1/x cannot be opened"):
            manager.upgrade("postgresql+psycopg://x:planted@localhost:1/x")


SECRETS = ["planted", "p@ss", "a b", "50%", "a+b", "a/b", "ü", "p:q"]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_password_is_scrubbed_in_every_spelling(secret: str) -> None:
    """As it is, and as URLs write it."""
    url = sa.URL.create("postgresql+psycopg", "ann", secret, "host", database="shop")
    database = database_module.Database.of(url)
    shown = url.render_as_string(hide_password=False)
    assert secret not in database.scrub(f"{shown} and {secret} once more").replace("and", "")
    assert database.scrub(shown) == "postgresql+psycopg://ann:***@host/shop"
    assert database.title == "postgresql+psycopg://ann:***@host/shop"


def test_a_secret_in_the_query_is_scrubbed_too() -> None:
    url = sa.make_url("postgresql+psycopg://ann@host/shop?password=planted&sslmode=require")
    database = database_module.Database.of(url)
    assert "planted" not in database.title
    assert "planted" not in database.scrub("it says planted")
