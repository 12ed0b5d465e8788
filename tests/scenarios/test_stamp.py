"""Somebody who knows says where a database stands, and it is recorded; nothing runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.errors import DependedOnError, UsageError
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

CORE = [
    revision_file("c1", created="2024-01-01", upgrade=table("customer")),
    revision_file("c2", down="c1", created="2024-02-01", upgrade=table("product")),
    revision_file("c3", down="c2", created="2024-05-01", upgrade=table("shelf")),
]
BILLING = [
    revision_file("b1", depends="c2", created="2024-03-01", upgrade=table("invoice")),
    revision_file("b2", down="b1", created="2024-03-02", upgrade=table("payment")),
]


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Iterator[Store]:
    """The core and billing, and a database in which nothing is applied."""
    store = Store(tmp_path, database)
    store.core(*CORE)
    store.plugin("billing", *BILLING)
    yield store
    store.site.close()


def test_a_stamp_records_what_the_revision_needs_and_runs_nothing(store: Store) -> None:
    """The rest is pending and runs as usual."""
    store.database.execute(
        "CREATE TABLE customer (id INTEGER PRIMARY KEY)",
        "CREATE TABLE product (id INTEGER PRIMARY KEY)",
        "CREATE TABLE invoice (id INTEGER PRIMARY KEY)",
    )
    refused = store.db("stamp", "billing@b1").expect(8)
    assert "Applied: core@c1, core@c2, billing@b1" in refused.out
    assert "anabranch_revision" not in store.database.schema()
    store.db("stamp", "billing@b1", "--yes").expect(0)
    assert set(store.schema) == {"customer", "product", "invoice"}
    assert store.applied == {"core@c1", "core@c2", "billing@b1"}
    assert store.version_rows == ["b1"]
    assert store.journal == ["stamped core@c1", "stamped core@c2", "stamped billing@b1"]
    assert store.upgrade() == ["billing@b2", "core@c3"]


def test_a_stamp_moves_back_within_the_owner(store: Store) -> None:
    """What follows is not applied any more; what others built on it would be left hanging."""
    store.upgrade()
    schema = store.schema
    with store.manager() as manager:
        stamp = manager.stamp(store.deployment, "billing@b1")
        assert (stamp.added, [str(key) for key in stamp.removed]) == ((), ["billing@b2"])
        assert not manager.stamp(store.deployment, "billing@b1")
        with pytest.raises(DependedOnError, match=r"billing@b1 would stay applied and needs"):
            manager.stamp(store.deployment, "core@c1")
        manager.stamp(store.deployment, "core@c1", "billing@base")
        assert store.applied == {"core@c1"}
        assert store.version_rows == ["c1"]
        manager.stamp(store.deployment, "heads")
        with pytest.raises(UsageError, match=r"has no revision 'c9'"):
            manager.stamp(store.deployment, "core@c9")
    assert len(store.applied) == 5
    assert store.schema == schema
    assert store.upgrade() == []


def test_a_stamp_is_the_way_out_where_the_cores_position_is_unknown(store: Store) -> None:
    """Stock Alembic kept only the row of a plugin that is gone."""
    store.uninstall("billing")
    store.database.execute(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('b2')",
        *(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)" for name in ("customer", "product")),
    )
    refused = store.init_db().expect(4)
    assert "Error AB110" in refused.err
    assert "db stamp DIR core@ID" in refused.err
    store.db("stamp", "core@c2", "--yes").expect(0)
    assert store.applied == {"core@c1", "core@c2", "unknown@b2"}
    assert store.upgrade() == ["core@c3"]
    store.plugin("billing", *BILLING)
    assert store.upgrade() == []
    assert store.applied >= {"billing@b1", "billing@b2"}


def test_a_stamp_is_the_way_out_of_a_disagreement(store: Store) -> None:
    """Somebody wrote an id that nobody has; the records hold, and the table is written anew."""
    store.upgrade()
    store.database.execute("UPDATE alembic_version SET version_num = 'zz' WHERE version_num = 'b2'")
    assert "Error AB113" in store.init_db().expect(4).err
    store.db("stamp", "billing@b2", "--yes").expect(0)
    assert store.version_rows == ["b2", "c3"]
    assert store.init_db().expect(0)
