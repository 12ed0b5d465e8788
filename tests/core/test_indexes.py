"""Indexes built CONCURRENTLY: what a failed or killed run leaves, the next one puts right."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from anabranch import RevisionError
from anabranch.listening import Listener, Progress
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

INVALID = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid"
KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


def block(*statements: str) -> str:
    return "with op.get_context().autocommit_block():\n    " + "\n    ".join(statements)


def unique(*, lenient: bool = False) -> str:
    more = ", if_not_exists=True" if lenient else ""
    return (
        "op.create_index('ix_name', 'customer', ['name'], unique=True, "
        f"postgresql_concurrently=True{more})"
    )


@pytest.fixture
def store(tmp_path: Path, postgresql_database: Database) -> Store:
    return Store(tmp_path, postgresql_database)


def customers(store: Store, body: str, **options: str) -> None:
    """Three customers, two of one name, and a second revision with *body*."""
    store.core(
        revision_file("c1", upgrade=table("customer", "name")),
        revision_file("c2", down="c1", upgrade=body),
    )
    store.upgrade("core@c1")
    store.database.execute("INSERT INTO customer VALUES (1, 7), (2, 7), (3, 8)")


def mend(store: Store, old: str, new: str) -> None:
    path = store.versions / "c2_a_change.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def uniques(store: Store) -> list[tuple[str, bool]]:
    return [(item["name"], item["unique"]) for item in store.schema["customer"]["indexes"]]


@pytest.mark.parametrize("lenient", [False, True])
def test_what_a_failed_index_left_is_dropped_before_the_next_try(
    store: Store, lenient: bool
) -> None:
    """The rows are mended, the script stays as it is, and so is its index in the end."""
    customers(store, block(unique(lenient=lenient)))
    for _ in range(2):
        with pytest.raises(RevisionError, match=r"core@c2 failed .*UniqueViolation") as raised:
            store.upgrade()
        assert raised.value.exit_code == 6
        assert store.applied == {"core@c1"}
    assert store.database.execute(INVALID) == [{"name": "ix_name"}]
    store.database.execute("DELETE FROM customer WHERE id = 2")
    with store.manager() as manager:
        upgrade = manager.upgrade(store.deployment)
    assert [str(key) for key in upgrade.applied] == ["core@c2"]
    assert upgrade.problems == ()  # the index that the warning would be of is valid by now
    assert store.database.execute(INVALID) == []
    assert uniques(store) == [("ix_name", True)]
    assert store.applied == {"core@c1", "core@c2"}


def test_an_invalid_index_of_somebody_else_is_neither_dropped_nor_recorded(store: Store) -> None:
    """``IF NOT EXISTS`` is content with it; we are not."""
    customers(store, block(unique(lenient=True)))
    with store.database.engine() as engine:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(Exception, match="could not create unique index"), connection:
            connection.exec_driver_sql(
                "CREATE UNIQUE INDEX CONCURRENTLY ix_name ON customer (name)"
            )
    store.database.execute("DELETE FROM customer WHERE id = 2")
    with pytest.raises(RevisionError, match="the index ix_name is INVALID") as raised:
        store.upgrade()
    assert (raised.value.code, raised.value.exit_code) == ("AB115", 6)
    assert "DROP INDEX CONCURRENTLY ix_name;" in raised.value.remedy
    assert store.applied == {"core@c1"}
    assert store.database.execute(INVALID) == [{"name": "ix_name"}]


def test_an_index_without_concurrently_is_looked_at_too(store: Store) -> None:
    body = "op.create_index('ix_name', 'customer', ['name'], unique=True, if_not_exists=True)"
    customers(store, block(unique()))
    with pytest.raises(RevisionError):
        store.upgrade()
    mend(store, block(unique()).replace("\n", "\n    "), body)
    with pytest.raises(RevisionError, match="INVALID") as raised:
        store.upgrade()
    assert (raised.value.code, raised.value.exit_code) == ("AB115", 5)


@pytest.mark.parametrize(
    ("statement", "indexes"),
    [
        (unique(), [("ix_name", True)]),
        (
            "op.execute('CREATE UNIQUE INDEX CONCURRENTLY ix_name ON public.customer (name)')",
            [("ix_name", True)],
        ),
        ("op.drop_index('ix_old', 'customer', postgresql_concurrently=True)", []),
    ],
    ids=["operation", "schema", "drop"],
)
def test_a_run_killed_before_the_record_goes_on(
    store: Store, statement: str, indexes: list[tuple[str, bool]]
) -> None:
    """The statement is done and cannot be done twice: the next run sees that it is its own."""
    customers(store, f"{block(statement)}\n{KILL}")
    store.database.execute("DELETE FROM customer WHERE id = 2")
    if "drop" in statement:
        store.database.execute("CREATE INDEX ix_old ON customer (name)")
    assert store.init_db().code == -signal.SIGKILL
    assert store.applied == {"core@c1"}
    assert uniques(store) == indexes
    mend(store, "os.kill(", "str((")
    mend(store, "signal.SIGKILL)", "signal.SIGKILL))")
    assert store.upgrade() == ["core@c2"]
    assert uniques(store) == indexes
    assert store.applied == {"core@c1", "core@c2"}


def test_an_index_that_another_made_is_not_taken_for_done(store: Store) -> None:
    """Same name, same table, but no run of ours began it."""
    customers(store, block(unique()))
    store.database.execute("CREATE INDEX ix_name ON customer (id)")
    with pytest.raises(RevisionError, match=r"core@c2 failed .*already exists"):
        store.upgrade()
    assert uniques(store) == [("ix_name", False)]


def test_a_mended_index_takes_the_place_of_what_the_old_one_left(store: Store) -> None:
    """The first try was unique and failed; the author lets it be an ordinary one."""
    customers(store, block(unique()))
    with pytest.raises(RevisionError):
        store.upgrade()
    mend(store, "unique=True, ", "")
    assert store.upgrade() == ["core@c2"]
    assert uniques(store) == [("ix_name", False)]


def test_an_index_of_a_plugin_that_was_interrupted_is_recorded_as_the_plugins(
    store: Store,
) -> None:
    """It is there when the second run looks, and yet it is this revision's."""
    store.core(revision_file("c1", created="2024-01-01", upgrade=table("customer", "name")))
    store.plugin(
        "billing",
        revision_file("b1", created="2024-01-02", upgrade=f"{block(unique())}\n{KILL}"),
    )
    assert store.init_db().code == -signal.SIGKILL
    path = store.versions_of("store_billing") / "b1_a_change.py"
    path.write_text(path.read_text().replace("os.kill(os.getpid(), signal.SIGKILL)", "pass"))
    assert store.upgrade() == ["billing@b1"]
    assert "index customer.ix_name billing@b1" in store.objects


def test_an_index_waits_for_old_transactions_as_long_as_it_takes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit for locks is for what holds up others; this holds up nobody, and is told of."""
    monkeypatch.setattr("anabranch.contention._ANNOUNCEMENTS", 0.3)
    store.configure("[migrations]\nstatement_lock_timeout = 0.1\n")
    customers(store, f"{block(unique())}\nop.execute('SELECT pg_sleep(0)')")
    store.database.execute("DELETE FROM customer WHERE id = 2")
    with store.database.engine() as engine, engine.connect() as old:
        old.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM customer")
        told: list[Progress] = []

        def report(progress: Progress) -> None:
            told.append(progress)
            if progress.event == "noted":
                old.rollback()

        assert store.upgrade(listener=Listener(progress=report)) == ["core@c2"]
    assert re.match(r"core@c2 waits for server process \d+ \(user postgres", told[1].note)
    assert uniques(store) == [("ix_name", True)]


ENUM = "op.execute(\"CREATE TYPE mood AS ENUM ('sad')\")"
VALUE = "op.execute(\"ALTER TYPE mood ADD VALUE 'it''s fine' BEFORE 'sad'\")"


def killed_after(store: Store, *statements: str) -> None:
    """A run is killed after *statements*, and the author takes nothing back of them."""
    store.core(
        revision_file("c1", upgrade=ENUM),
        revision_file("c2", down="c1", upgrade=f"{block(*statements)}\n{KILL}"),
    )
    assert store.init_db().code == -signal.SIGKILL
    mend(store, "os.kill(", "str((")
    mend(store, "signal.SIGKILL)", "signal.SIGKILL))")


def test_a_value_that_a_killed_run_added_to_a_type_is_not_added_again(store: Store) -> None:
    killed_after(store, VALUE)
    assert store.upgrade() == ["core@c2"]
    values = store.database.execute("SELECT enumlabel FROM pg_enum ORDER BY enumsortorder")
    assert [row["enumlabel"] for row in values] == ["it's fine", "sad"]


def test_what_may_be_repeated_is_repeated_after_a_killed_run(store: Store) -> None:
    killed_after(
        store,
        "op.execute('VACUUM pg_type')",
        "op.execute('REINDEX TABLE CONCURRENTLY anabranch_object')",
        "op.execute('CREATE TABLE IF NOT EXISTS one (id INTEGER)')",
    )
    assert store.upgrade() == ["core@c2"]


def test_what_a_killed_run_may_have_done_is_told_where_it_is_in_the_way(store: Store) -> None:
    killed_after(store, "op.execute('CREATE TABLE one (id INTEGER)')", VALUE)
    with pytest.raises(RevisionError, match="may have done it") as raised:
        store.upgrade()
    assert (raised.value.code, raised.value.exit_code) == ("AB301", 6)
    assert "IF NOT EXISTS" in raised.value.remedy
    mend(store, "CREATE TABLE one", "CREATE TABLE IF NOT EXISTS one")
    assert store.upgrade() == ["core@c2"]
