"""What a run writes into the bookkeeping tables, column by column, and into Alembic's table."""

from __future__ import annotations

import getpass
import socket
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from anabranch.recorder import Recorder
from anabranch.scripts import checksum
from support.databases import Database, sqlite
from support.store import Store, table
from support.trees import revision_file


def test_every_column_of_the_applied_set_is_recorded(store: Store) -> None:
    """Owner, id, resolved edges, labels, checksum, package and version, time, run."""
    store.core(
        revision_file("c1", labels="trunk", created="2024-01-01", upgrade=table("customer")),
        revision_file("c2", down="c1", created="2024-01-02"),
        version="2.4",
    )
    store.plugin(
        "billing",
        revision_file("b1", depends=["trunk"], labels="billing", created="2024-01-03"),
        revision_file("b2", down="b1", depends="c2", created="2024-01-04"),
        version="0.3",
    )
    started = datetime.now(timezone.utc)
    store.upgrade()
    ended = datetime.now(timezone.utc)

    rows = {row["revision"]: row for row in store.database.rows("anabranch_revision")}
    assert set(rows) == {"c1", "c2", "b1", "b2"}
    billing = store.versions_of("store_billing")
    run = store.database.rows("anabranch_journal")[0]["run"]
    for row in rows.values():
        at = datetime.fromisoformat(row["applied_at"].replace("Z", "+00:00"))
        assert started - timedelta(milliseconds=1) <= at <= ended
        assert 0 <= row["duration"] <= (ended - started).total_seconds()
    described = {
        id_: {key: row[key] for key in row if key not in ("applied_at", "duration")}
        for id_, row in rows.items()
    }
    flag = bool if store.database.backend == "postgresql" else int
    assert described["c1"] == {
        "owner": "core",
        "revision": "c1",
        "down_revision": "",
        "depends_on": "",
        "branch_labels": "trunk",
        "checksum": checksum((store.versions / "c1_a_change.py").read_text()),
        "distribution": "store",
        "version": "2.4",
        "run": run,
        "projected": flag(0),
    }
    assert described["b1"] == {
        "owner": "billing",
        "revision": "b1",
        "down_revision": "",
        "depends_on": "core@c1",
        "branch_labels": "billing",
        "checksum": checksum((billing / "b1_a_change.py").read_text()),
        "distribution": "store-billing",
        "version": "0.3",
        "run": run,
        "projected": flag(0),
    }
    assert described["c2"]["down_revision"] == "core@c1"
    assert described["b2"]["down_revision"] == "billing@b1"
    assert described["b2"]["depends_on"] == "core@c2"
    assert [id_ for id_, row in rows.items() if row["projected"]] == ["b2"]
    assert store.version_rows == ["b2"]


def test_every_column_of_the_journal_is_recorded(store: Store) -> None:
    """One line for the run with its digest, one for each revision with its message."""
    store.core(revision_file("c1", message="Create customers"), version="2.4")
    with store.manager() as manager:
        digest = manager.plan(store.deployment).digest
        manager.upgrade(store.deployment)
    run, applied = store.database.execute("SELECT * FROM anabranch_journal ORDER BY seq")
    actor = f"{getpass.getuser()}@{socket.gethostname()}"
    assert run["run"] == applied["run"]
    assert len(run["run"]) == 12
    assert run["seq"] < applied["seq"]
    assert run["at"] <= applied["at"] == store.database.rows("anabranch_revision")[0]["applied_at"]
    assert applied["duration"] == store.database.rows("anabranch_revision")[0]["duration"]
    rest = ("event", "owner", "revision", "distribution", "version", "actor", "detail")
    assert tuple(run[name] for name in rest) == (
        "run",
        "",
        "",
        "",
        "",
        actor,
        f"plan {digest} of 1",
    )
    assert tuple(applied[name] for name in rest) == (
        *("applied", "core", "c1", "store", "2.4", actor),
        "Create customers",
    )


def test_every_column_of_the_object_record_is_recorded(store: Store) -> None:
    """A table is its creator's; a column on it may be another owner's."""
    store.core(revision_file("c1", upgrade=table("customer")))
    store.plugin(
        "billing",
        revision_file("b1", upgrade="op.add_column('customer', sa.Column('iban', sa.Text))"),
    )
    store.upgrade()
    assert store.database.rows("anabranch_object") == [
        {
            "kind": "column",
            "table_schema": "",
            "table_name": "customer",
            "name": "iban",
            "owner": "billing",
            "revision": "b1",
        },
        {
            "kind": "table",
            "table_schema": "",
            "table_name": "customer",
            "name": "customer",
            "owner": "core",
            "revision": "c1",
        },
    ]


def test_the_bookkeeping_can_live_in_a_schema_under_another_name(
    tmp_path: Path, postgresql_database: Database
) -> None:
    """``schema`` and ``version_table`` move all four tables, for reading and writing alike."""
    store = Store(tmp_path, postgresql_database)
    store.core(revision_file("c1", upgrade=table("customer")))
    postgresql_database.execute("CREATE SCHEMA admin")
    with store.manager(schema="admin", version_table="version") as manager:
        manager.upgrade(store.deployment)
        assert not manager.plan(store.deployment)
        assert [event.event for event in manager.history(store.deployment)] == ["run", "applied"]
    assert set(postgresql_database.schema()) == {"customer"}
    tables = postgresql_database.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'admin'"
    )
    assert {row["table_name"] for row in tables} == {
        *("version", "version_anabranch_revision"),
        *("version_anabranch_journal", "version_anabranch_object"),
    }


def test_two_applications_may_share_a_schema(tmp_path: Path, database: Database) -> None:
    """Each has its own applied set, told apart by the name of Alembic's table."""
    one, other = Store(tmp_path / "one", database), Store(tmp_path / "other", database)
    one.core(revision_file("c1", upgrade=table("customer")))
    other.core(revision_file("x1", upgrade=table("order")))
    for store, name in ((one, "alembic_version"), (other, "other_version")):
        with store.manager(version_table=name) as manager:
            assert len(manager.upgrade(store.deployment).applied) == 1
    for store, name, id_ in ((one, "alembic_version", "c1"), (other, "other_version", "x1")):
        with store.manager(version_table=name) as manager:
            assert not manager.plan(store.deployment)
            assert manager.history(store.deployment)[1].revision == id_
        assert database.rows(name) == [{"version_num": id_}]


Ids = str | tuple[str, ...] | None
Tree = dict[str, list[tuple[str, Ids, Ids]]]  # by owner: id, down_revision, depends_on

TREES: dict[str, Tree] = {
    "one line": {"core": [("c1", None, None), ("c2", "c1", None)]},
    "a branch that merges": {
        "core": [
            ("c1", None, None),
            ("c2", "c1", None),
            ("c3", "c1", None),
            ("c4", ("c2", "c3"), None),
        ]
    },
    "a plugin that depends on the head": {
        "core": [("c1", None, None), ("c2", "c1", None)],
        "billing": [("b1", None, "c2")],
    },
    "a plugin that depends on the base": {
        "core": [("c1", None, None), ("c2", "c1", None)],
        "billing": [("b1", None, "c1"), ("b2", "b1", None)],
    },
    "a plugin that declares nothing": {
        "core": [("c1", None, None), ("c2", "c1", None)],
        "billing": [("b1", None, None)],
    },
    "plugins that build on one another": {
        "core": [("c1", None, None)],
        "billing": [("b1", None, "c1"), ("b2", "b1", None)],
        "reviews": [("r1", None, "b1"), ("r2", "r1", "b2")],
    },
    "owners that interleave": {
        "core": [("c1", None, None), ("c2", "c1", "b1"), ("c3", "c2", None)],
        "billing": [("b1", None, "c1"), ("b2", "b1", "c2")],
    },
}


@pytest.mark.parametrize("name", TREES)
def test_alembic_table_holds_what_stock_alembic_would_leave_there(
    name: str, sqlite_store: Store, tmp_path: Path
) -> None:
    """The projection is checked against Alembic itself, which upgrades the same files."""
    locations = _install(sqlite_store, TREES[name])
    sqlite_store.upgrade()
    stock = sqlite(tmp_path / "stock.sqlite")
    _stock_upgrade(stock, locations, tmp_path / "stock", "heads")
    assert sqlite_store.version_rows == sorted(
        row["version_num"] for row in stock.rows("alembic_version")
    )
    assert sqlite_store.schema == stock.schema(ignore=["alembic_version"])


def test_alembic_table_agrees_with_stock_alembic_after_every_single_revision(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Stopping anywhere leaves rows that stock Alembic takes for the same state."""
    locations = _install(sqlite_store, TREES["owners that interleave"])
    stock = sqlite(tmp_path / "stock.sqlite")
    for key in sqlite_store.plan():
        assert sqlite_store.upgrade(key) == [key]
        _stock_upgrade(stock, locations, tmp_path / "stock", key.partition("@")[2])
        assert sqlite_store.version_rows == sorted(
            row["version_num"] for row in stock.rows("alembic_version")
        )


def test_stock_alembic_finds_nothing_to_do_after_a_run(sqlite_store: Store, tmp_path: Path) -> None:
    """Its own upgrade reads our projection and runs no script a second time."""
    locations = _install(sqlite_store, TREES["plugins that build on one another"])
    sqlite_store.upgrade()
    before = sqlite_store.database.dump()
    _stock_upgrade(sqlite_store.database, locations, tmp_path / "stock", "heads")
    assert sqlite_store.database.dump() == before


def test_two_owners_may_share_an_id(store: Store) -> None:
    """Each is applied once, and Alembic's table says that it cannot show them."""
    numbered = [("0001", None), ("0002", "0001")]
    store.core(*(revision_file(id_, down=down, upgrade=table(f"c{id_}")) for id_, down in numbered))
    store.plugin(
        "billing",
        *(revision_file(id_, down=down, upgrade=table(f"b{id_}")) for id_, down in numbered),
    )
    assert sorted(store.upgrade()) == [*("billing@0001", "billing@0002", "core@0001", "core@0002")]
    assert set(store.schema) == {"c0001", "c0002", "b0001", "b0002"}
    assert store.version_rows == ["see: db status"]
    assert store.plan() == []
    store.core(
        *(revision_file(id_, down=down, upgrade=table(f"c{id_}")) for id_, down in numbered),
        revision_file("0003", down="0002", upgrade=table("c0003")),
    )
    assert store.upgrade() == ["core@0003"]
    assert store.version_rows == ["see: db status"]


def test_ids_are_shown_again_once_no_two_applied_owners_share_one(store: Store) -> None:
    """Only applied revisions count: a plugin that never ran does not blur the table."""
    store.core(revision_file("0001"))
    store.plugin("billing", revision_file("0001"))
    store.configure('[plugins]\ndisabled = ["billing"]')
    store.upgrade()
    assert store.version_rows == ["0001"]


def test_an_empty_database_reads_as_empty(sqlite_database: Database) -> None:
    """Nothing is created by looking."""
    with sqlite_database.engine() as engine, engine.connect() as connection:
        recorder = Recorder()
        state = recorder.read(connection)
        assert not state.prepared
        assert state.version_rows is None
        assert recorder.events(connection) == ()
        assert recorder.objects(connection) == ()
    assert sqlite_database.schema() == {}


def _install(store: Store, tree: Tree) -> list[Path]:
    """Install *tree*, dated in the order of its entries; returns the version locations."""
    locations: list[Path] = []
    for owner, entries in tree.items():
        files = [
            revision_file(
                id_,
                down=down,
                depends=depends,
                labels=owner if down is None and owner != "core" else None,
                upgrade=table(id_),
            )
            for id_, down, depends in entries
        ]
        if owner == "core":
            store.core(*files)
            locations.append(store.versions)
        else:
            store.plugin(owner, *files)
            locations.append(store.versions_of(f"store_{owner}"))
    return locations


_ENV = """
import sqlalchemy as sa
from alembic import context

engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""


def _stock_upgrade(database: Database, locations: list[Path], folder: Path, to: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "env.py").write_text(_ENV)
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, locations)))
    config.set_main_option("sqlalchemy.url", database.url)
    command.upgrade(config, to)
