"""What a check keeps finding wrong is accepted by somebody, for a reason that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.errors import RefusedError, UsageError
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

CORE = [
    revision_file("c1", created="2024-01-01", upgrade=table("customer", "size")),
    revision_file("c2", down="c1", created="2024-02-01", upgrade=table("product")),
]


@pytest.fixture
def store(tmp_path: Path, every_database: Database) -> Iterator[Store]:
    store = Store(tmp_path, every_database)
    store.core(*CORE)
    store.upgrade()
    yield store
    store.site.close()


def problems(store: Store) -> list[str]:
    with store.manager() as manager:
        return [problem.code for problem in manager.status(store.deployment).problems]


def offers(store: Store) -> list[str]:
    with store.manager() as manager:
        found = manager.repairs(store.deployment)
    return [f"{offer.option} {offer.value}".strip() for offer in found]


def test_an_edited_file_is_accepted_for_a_reason(store: Store) -> None:
    """The command to say is in the warning; the journal keeps who accepted it and why."""
    store.core(CORE[0].replace("a change", "another"), CORE[1])
    warned = store.init_db().expect(0)
    assert "db repair DIR --accept-edited core@c1 --reason TEXT" in warned.err
    assert "--accept-edited core@c1" in store.db("repair").expect(0).out
    refused = store.db("repair", "--accept-edited", "core@c1").expect(2)
    assert "A repair needs a reason." in refused.err
    assert problems(store) == ["AB101"]
    store.db("repair", "--accept-edited", "core@c1", "--reason", "a typo").expect(0)
    assert problems(store) == []
    assert store.journal[-1] == "repaired core@c1"
    (event,) = store.database.execute("SELECT * FROM anabranch_journal WHERE event = 'repaired'")
    assert event["detail"] == "--accept-edited core@c1: a typo"
    assert event["actor"]
    assert "There is nothing to repair." in store.db("repair").expect(0).out


def test_an_older_release_goes_on_once_it_is_accepted(store: Store) -> None:
    """The database keeps what the newer one did, and both releases can be run."""
    store.core(CORE[0])
    refused = store.init_db().expect(4)
    assert "Error AB109" in refused.err
    assert "--accept-missing" in refused.err
    assert offers(store) == ["--accept-missing core@c2"]
    with store.manager() as manager:
        manager.repair(store.deployment, reason="rolled back", missing=["core@c2"])
    assert store.init_db().expect(0)
    assert store.applied == {"core@c1", "core@c2"}
    store.core(*CORE)
    assert problems(store) == []
    assert store.upgrade() == []


def test_a_revision_put_behind_an_applied_one_is_accepted_without_running(store: Store) -> None:
    store.core(
        CORE[0],
        revision_file("c1b", down="c1", created="2024-01-15", upgrade=table("shelf")),
        CORE[1].replace("down_revision = 'c1'", "down_revision = 'c1b'"),
    )
    with store.manager() as manager:
        assert "AB103" in problems(store)
        manager.repair(
            store.deployment, reason="made by hand", inserted=["core@c1b"], edited=["core@c2"]
        )
    assert problems(store) == []
    assert store.upgrade() == []
    assert set(store.schema) == {"customer", "product"}


def test_alembics_table_is_written_anew(store: Store) -> None:
    """After somebody wrote what nobody has."""
    store.database.execute("UPDATE alembic_version SET version_num = 'zz'")
    assert offers(store) == ["--version-table"]
    with store.manager() as manager:
        manager.repair(store.deployment, reason="a slip", version_table=True)
    assert store.version_rows == ["c2"]
    assert store.upgrade() == []


def test_only_what_is_wrong_can_be_repaired(store: Store) -> None:
    with store.manager() as manager, pytest.raises(UsageError) as caught:
        manager.repair(store.deployment, reason="why not", edited=["core@c1"])
    assert caught.value.what == "There is nothing to repair with --accept-edited core@c1."


def test_a_revision_may_be_cut_short(tmp_path: Path, sqlite_database: Database) -> None:
    """As far as it means one thing, with its owner or without; the journal has it in full."""
    store = Store(tmp_path, sqlite_database)
    ids = ("4f1c07", "4f1d33", "90aa12")
    before = [None, *ids[:-1]]
    files = [revision_file(id_, down=down) for id_, down in zip(ids, before, strict=True)]
    store.core(*files)
    store.upgrade()
    store.core(*(file.replace("a change", "another") for file in files))
    with store.manager() as manager:
        with pytest.raises(UsageError, match="may mean core@4f1c07, core@4f1d33") as caught:
            manager.repair(store.deployment, reason="a typo", edited=["4f1"])
        assert caught.value.remedy == "Say more of the revision."
        done = manager.repair(store.deployment, reason="a typo", edited=["core@4f1c", "9"])
        assert [offer.value for offer in done] == ["core@4f1c07", "core@90aa12"]
        with pytest.raises(UsageError, match="nothing to repair with --accept-edited 4f1c"):
            manager.repair(store.deployment, reason="a typo", edited=["4f1c"])
    assert store.journal[-2:] == ["repaired core@4f1c07", "repaired core@90aa12"]


@pytest.fixture
def file_store(tmp_path: Path, sqlite_database: Database) -> Iterator[Store]:
    """A store on SQLite, whose rebuilds make copies."""
    store = Store(tmp_path, sqlite_database)
    store.core(*CORE)
    store.upgrade()
    store.database.execute(
        "INSERT INTO customer (id, size) VALUES (1, 10), (2, NULL)",
        "CREATE TABLE _alembic_tmp_customer (id INTEGER PRIMARY KEY, size INTEGER, born TEXT)",
        "INSERT INTO _alembic_tmp_customer (id, size) SELECT id, size FROM customer LIMIT 1",
    )
    yield store
    store.site.close()


def test_a_copy_goes_only_if_no_row_is_only_there(file_store: Store) -> None:
    """The table has all that was copied; a row that was changed since stops it."""
    copy = "_alembic_tmp_customer"
    store = file_store
    assert offers(store) == [f"--leftover {copy}"]
    store.database.execute("UPDATE customer SET size = 11 WHERE id = 1")
    with store.manager() as manager, pytest.raises(RefusedError) as caught:
        manager.repair(store.deployment, reason="tidy", leftovers=[copy])
    assert caught.value.what == f"{copy} has 1 row that customer does not have."
    assert copy in store.schema
    store.database.execute("UPDATE customer SET size = 10 WHERE id = 1")
    store.db("repair", "--leftover", copy, "--reason", "tidy").expect(0)
    assert set(store.schema) == {"customer", "product"}
    assert problems(store) == []


def test_a_copy_becomes_the_table_where_that_is_gone(file_store: Store) -> None:
    store = file_store
    store.database.execute("DROP TABLE customer")
    assert "Error AB114" in store.init_db().expect(4).err
    store.db("repair", "--leftover", "_alembic_tmp_customer", "--reason", "cut off").expect(0)
    assert store.database.rows("customer") == [{"id": 1, "size": 10, "born": None}]
    store.init_db().expect(0)
