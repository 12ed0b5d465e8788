"""``db status``: what those who are gone left, who is at the database, what a cut-off run left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anabranch import IntegrityError
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

C1 = revision_file("c1", upgrade=table("item"))
P1 = revision_file(
    "p1",
    labels="p",
    depends="c1",
    upgrade='op.create_table("stall", sa.Column("id", sa.Integer, primary_key=True),\n'
    '    sa.Column("item_id", sa.Integer, sa.ForeignKey("item.id", name="fk_item")))\n'
    'op.add_column("item", sa.Column("stalls", sa.Integer))\n'
    'op.execute("INSERT INTO item (id) VALUES (1)")\n'
    'op.execute("INSERT INTO stall VALUES (1, 1), (2, 1)")',
)


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Store:
    """The core and its plugin p, both applied."""
    store = Store(tmp_path, database)
    store.core(C1)
    store.plugin("p", P1)
    store.upgrade()
    return store


def status(store: Store, *options: str, code: int = 0) -> dict[str, Any]:
    answer = json.loads(store.db("status", "--json", *options).expect(code).out)
    assert isinstance(answer, dict)
    return answer


def test_status_tells_what_a_departed_plugin_left(store: Store) -> None:
    """Tables with their rows, what it put on others', and what ties it to them."""
    assert [owner["left"] for owner in status(store)["owners"]] == [None, None]
    store.uninstall("p")
    (_, left) = (owner["left"] for owner in status(store)["owners"])
    assert left == {
        "tables": [{"schema": "", "table": "stall", "rows": 2}],
        "missing_tables": [],
        "parts": [{"kind": "column", "schema": "", "table": "item", "name": "stalls"}],
        "foreign_keys": [
            {
                "name": "fk_item",
                "schema": "",
                "table": "stall",
                "columns": ["item_id"],
                "to_schema": "",
                "to_table": "item",
            }
        ],
    }
    text = store.db("status").expect().out
    assert "p has here: stall (2 rows)\n" in text
    assert "  column stalls on item\n" in text
    assert "  foreign key stall(item_id) to item\n" in text
    store.database.execute("DROP TABLE stall")
    (_, left) = (owner["left"] for owner in status(store)["owners"])
    assert left["missing_tables"] == [{"schema": "", "table": "stall"}]


def test_departed_plugin_is_a_fault_to_the_strict_only(store: Store) -> None:
    status(store, "--check", "--strict")
    store.uninstall("p")
    assert status(store, "--check")["status"] == "current"
    assert status(store, "--check", "--strict", code=4)["status"] == "current"
    assert "Not installed any more: p." in store.db("status", "--strict").expect(4).err
    assert "Not installed any more" not in store.db("status").expect().err


def test_status_names_who_holds_the_lock(store: Store) -> None:
    """And takes none: the holder goes on, and so does who waits."""
    with store.manager() as manager:
        access = manager.open(store.deployment)
        assert manager.status(store.deployment).lock == ""
        with access.locked():
            held = manager.status(store.deployment).lock
        assert "process" in held
        assert manager.status(store.deployment).lock == ""
    assert status(store)["lock"] is None


def test_status_tells_the_last_event(store: Store) -> None:
    event = status(store)["last_event"]
    assert (event["event"], event["owner"], event["revision"]) == ("applied", "p", "p1")
    assert "\nLast      applied p@p1, 20" in store.db("status").expect().out


def test_copy_that_a_rebuild_left_is_a_warning(store: Store) -> None:
    if store.database.backend != "sqlite":
        pytest.skip("other databases alter tables in place")
    store.database.execute("CREATE TABLE _alembic_tmp_stall (id INTEGER)")
    (problem,) = status(store)["problems"]
    assert (problem["code"], problem["level"], problem["owner"]) == ("AB114", "warning", "p")
    assert "_alembic_tmp_stall" in problem["text"]
    assert "db repair DIR --leftover _alembic_tmp_stall" in problem["remedy"]
    store.core(C1, revision_file("c2", down="c1"))
    assert "Warning AB114" in store.init_db().expect().err
    assert "core@c2" in store.applied


def test_copy_that_holds_the_only_rows_stops_the_run(store: Store) -> None:
    """A rebuild without a transaction was cut off between its DROP and its RENAME."""
    if store.database.backend != "sqlite":
        pytest.skip("other databases alter tables in place")
    store.database.execute("ALTER TABLE stall RENAME TO _alembic_tmp_stall")
    store.core(C1, revision_file("c2", down="c1"))
    with pytest.raises(IntegrityError, match="The rows are in the copy") as caught:
        store.upgrade()
    assert caught.value.code == "AB114"
    assert "db repair DIR --leftover _alembic_tmp_stall" in caught.value.remedy
    store.db("repair", "--leftover", "_alembic_tmp_stall", "--reason", "cut off").expect()
    assert store.upgrade() == ["core@c2"]
    assert len(store.database.rows("stall")) == 2


def test_invalid_index_is_a_warning(tmp_path: Path, postgresql_database: Database) -> None:
    store = Store(tmp_path, postgresql_database)
    store.plugin("p", P1)
    store.core(C1)
    store.upgrade()
    with store.database.engine() as engine:
        raw = engine.raw_connection()
        raw.dbapi_connection.autocommit = True  # type: ignore[union-attr]
        with pytest.raises(Exception, match="could not create unique index"):
            raw.cursor().execute("CREATE UNIQUE INDEX CONCURRENTLY ix ON stall (item_id)")
        raw.close()
    (problem,) = status(store)["problems"]
    assert (problem["code"], problem["level"], problem["owner"]) == ("AB115", "warning", "p")
    assert "index ix of the table stall is not valid" in problem["text"]
    with store.database.engine() as engine:
        options = engine.execution_options(isolation_level="AUTOCOMMIT")
        with options.connect() as connection:
            connection.exec_driver_sql(problem["remedy"].partition(",")[0])
    assert status(store)["problems"] == []
