"""What an operator meets in the life of a site, once on each kind of database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.store import Store, table
from support.trees import revision_file

CORE = [
    revision_file("c1", created="2024-01-01", upgrade=table("customer")),
    revision_file(
        "c2",
        down="c1",
        created="2024-02-01",
        upgrade=table("product"),
        downgrade="op.drop_table('product')",
    ),
]
NEW_CORE = [
    *CORE,
    revision_file(
        "c3",
        down="c2",
        created="2024-05-01",
        upgrade="op.add_column('customer', sa.Column('size', sa.Integer))",
    ),
]
BILLING = [
    revision_file(
        "b1",
        depends="c2",
        created="2024-03-01",
        upgrade=table("invoice"),
        downgrade="op.drop_table('invoice')",
    )
]


@pytest.fixture
def store(every_store: Store) -> Store:
    """The core and billing, applied."""
    every_store.core(*CORE)
    every_store.plugin("billing", *BILLING, version="1.0")
    every_store.upgrade()
    return every_store


def test_a_release_of_the_core_and_a_new_plugin_at_once_end_where_a_fresh_site_does(
    store: Store, tmp_path: Path
) -> None:
    """Tables, columns, applied revisions and Alembic's rows."""
    gifts = revision_file(
        "g1",
        depends=("c3", "b1"),
        created="2024-06-01",
        upgrade="op.create_table('gift', sa.Column('id', sa.Integer, primary_key=True),\n"
        "    sa.Column('invoice_id', sa.Integer, sa.ForeignKey('invoice.id', name='fk_gift')))",
    )
    store.core(*NEW_CORE, version="2.0")
    store.plugin("gifts", gifts)
    assert store.upgrade() == ["core@c3", "gifts@g1"]
    old = store.schema, store.applied, store.version_rows, store.objects
    tables = ("gift", "invoice", "customer", "product")
    books = ("anabranch_revision", "anabranch_journal", "anabranch_object", "alembic_version")
    store.database.execute(*(f"DROP TABLE {name}" for name in (*tables, *books)))
    assert store.upgrade() == ["core@c1", "core@c2", "billing@b1", "core@c3", "gifts@g1"]
    assert (store.schema, store.applied, store.version_rows, store.objects) == old


def test_a_plan_changes_nothing_and_is_what_runs(store: Store) -> None:
    store.core(*NEW_CORE)
    store.plugin("gifts", revision_file("g1", depends="c1", upgrade=table("gift")))
    before = store.database.dump()
    plan = json.loads(store.db("plan", "--json").expect().out)
    for verb in ("status", "history", "sql"):
        store.db(verb).expect()
    store.db("check").expect(4)  # the models have nothing of this
    assert store.database.dump() == before
    planned = [f"{step['owner']}@{step['revision']}" for step in plan["steps"]]
    done = json.loads(store.init_db("--json", "--digest", plan["digest"]).expect().out)
    assert [f"{each['owner']}@{each['revision']}" for each in done["applied"]] == planned
    assert store.journal[-2:] == [f"applied {key}" for key in planned]


def test_a_rolled_back_release_is_refused_and_can_be_looked_at(store: Store) -> None:
    """The core's, and a plugin's; what the package knows and what the database has is said."""
    newer = revision_file("b2", down="b1", created="2024-06-01", upgrade=table("payment"))
    store.plugin("billing", *BILLING, newer, version="1.1")
    store.upgrade()
    store.plugin("billing", *BILLING, version="1.0")
    refused = store.init_db().expect(4)
    assert "Error AB109: The database is newer than the installed billing (store-billing 1.0)" in (
        refused.err
    )
    assert "billing@b2, applied by 1.1" in refused.err
    assert "Install store-billing 1.1 or later." in refused.err
    status = store.db("status").expect()
    assert "AB109" in status.err
    assert "store-billing 1.0" in status.out
    store.db("status", "--check").expect(4)


def test_edited_and_lost_files_of_applied_revisions_are_named(store: Store) -> None:
    store.core(CORE[0].replace("a change", "another"), CORE[1])
    store.plugin("billing", revision_file("b2", depends="c2", down="b1", upgrade=table("note")))
    with store.manager() as manager:
        found = {problem.code: problem for problem in manager.status(store.deployment).problems}
    assert "core@c1" in found["AB101"].text
    assert found["AB101"].level == "warning"
    assert "billing@b1" in found["AB102"].text
    assert found["AB102"].level == "warning"
    assert store.upgrade() == ["billing@b2"]


def test_what_is_amiss_can_be_told_apart_by_the_exit_code(store: Store) -> None:
    """Up to date, pending, drift, not installed any more, faulty; with JSON each time."""

    def looked(verb: str, *options: str, code: int) -> dict[str, object]:
        answer = json.loads(store.db(verb, "--json", *options).expect(code).out)
        assert isinstance(answer, dict)
        return answer

    assert looked("status", "--check", "--strict", code=0)["status"] == "current"
    store.core(*NEW_CORE)
    assert looked("status", "--check", code=3)["status"] == "pending"
    store.upgrade()
    store.database.execute("ALTER TABLE customer DROP COLUMN size")
    assert looked("check", code=4)["check"] == "drift"
    store.database.execute("ALTER TABLE customer ADD COLUMN size INTEGER")
    store.uninstall("billing")
    assert looked("status", "--check", code=0)["status"] == "current"
    assert looked("status", "--check", "--strict", code=4)["status"] == "current"
    store.plugin("gifts", revision_file("g1", depends="nowhere"))
    assert looked("status", "--check", code=4)["status"] == "faulty"


def test_a_plugin_that_comes_late_is_pending_though_what_needs_it_has_run(store: Store) -> None:
    """A header that is computed names it from now on; what has run needed it not."""
    computed = revision_file("g1", depends=("c2",), created="2024-03-01", upgrade=table("gift"))
    computed = computed.replace(
        "depends_on = ('c2',)",
        "import importlib.util\n"
        "there = importlib.util.find_spec('store_loyalty') is not None\n"
        "depends_on = ('c2', 'l1') if there else ('c2',)",
    )
    assert "find_spec" in computed
    store.plugin("gifts", computed)
    assert store.upgrade() == ["gifts@g1"]
    late = revision_file("l1", depends="c1", created="2024-02-15", upgrade=table("points"))
    more = revision_file("l2", down="l1", created="2024-07-01", upgrade=table("level"))
    store.plugin("loyalty", late, more)
    assert store.init_db().expect().out.count("loyalty") == 2
    assert store.applied >= {"gifts@g1", "loyalty@l1", "loyalty@l2"}
    assert {"points", "level"} <= set(store.schema)
    assert store.upgrade() == []


def test_others_stay_or_go_with_what_they_need(store: Store) -> None:
    """A purge and a downgrade name who depends on it; a cascade takes both in reverse order."""
    gifts = revision_file(
        "g1",
        depends="b1",
        created="2024-04-01",
        upgrade="op.create_table('gift', sa.Column('id', sa.Integer, primary_key=True),\n"
        "    sa.Column('invoice_id', sa.Integer, sa.ForeignKey('invoice.id', name='fk_gift')))",
        downgrade="op.drop_table('gift')",
    )
    store.plugin("gifts", gifts)
    store.upgrade()
    before = store.schema
    assert "gifts@g1" in store.db("downgrade", "billing@base", "--yes").expect(8).err
    assert "gifts@g1" in store.db("downgrade", "core@c1", "--yes").expect(8).err
    assert (
        "gifts@g1 of gifts needs billing@b1" in store.db("purge", "billing", "--yes").expect(8).err
    )
    assert store.schema == before
    store.db("purge", "billing", "--yes", "--cascade").expect()
    assert set(store.schema) == {"customer", "product"}
    assert store.journal[-2:] == ["purged gifts", "purged billing"]


def test_a_relative_database_is_beside_its_configuration_wherever_one_stands(
    sqlite_store: Store, tmp_path: Path
) -> None:
    sqlite_store.core(*CORE)
    sqlite_store.configure(url="sqlite:///./here.sqlite")
    (tmp_path / "elsewhere").mkdir()
    for place, said in ((tmp_path, "2 revisions applied"), (tmp_path / "elsewhere", "up to date")):
        done = sqlite_store.site.run("init-db", sqlite_store.deployment, cwd=place).expect()
        assert said in done.out
    assert (sqlite_store.deployment / "here.sqlite").exists()
    assert not list((tmp_path / "elsewhere").iterdir())
