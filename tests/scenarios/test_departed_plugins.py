"""A plugin that is uninstalled or disabled keeps its state, and nobody else stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

CORE = [
    revision_file("c1", created="2024-01-01", upgrade=table("customer")),
    revision_file("c2", down="c1", created="2024-02-01", upgrade=table("product")),
]
NEW_CORE = [*CORE, revision_file("c3", down="c2", created="2024-04-01", upgrade=table("shelf"))]
BILLING = [revision_file("b1", depends="c2", created="2024-03-01", upgrade=table("invoice"))]
NEW_BILLING = [
    *BILLING,
    revision_file("b2", down="b1", created="2024-05-01", upgrade=table("payment")),
]


@pytest.fixture
def store(tmp_path: Path, every_database: Database) -> Iterator[Store]:
    """The core, and billing which depends on the core's head; both applied."""
    store = Store(tmp_path, every_database)
    store.core(*CORE)
    store.plugin("billing", *BILLING, version="1.5")
    store.upgrade()
    assert store.version_rows == ["b1"], "Alembic's table does not say where the core is"
    yield store
    store.site.close()


def test_no_command_fails_after_an_uninstall(store: Store) -> None:
    """Status names the orphan with its last version; plan and init-db have nothing to do."""
    store.database.execute("INSERT INTO invoice (id) VALUES (7)")
    store.uninstall("billing")

    status = store.db("status", "--check").expect(0)
    assert "orphaned" in status.out
    assert "store-billing 1.5" in status.out
    assert "Nothing is pending" in store.db("plan", "--check").expect(0).out
    assert "up to date" in store.init_db().expect(0).out

    assert store.version_rows == ["c2"], "stock Alembic finds the core again"
    assert store.applied == {"core@c1", "core@c2", "billing@b1"}
    assert store.database.rows("invoice") == [{"id": 7}]
    assert store.upgrade() == []


def test_the_core_goes_on_without_an_uninstalled_plugin(store: Store) -> None:
    """New revisions of the core run; the orphan's tables, rows and record stay."""
    store.database.execute("INSERT INTO invoice (id) VALUES (7)")
    store.uninstall("billing")
    store.core(*NEW_CORE, version="2.0")

    assert store.upgrade() == ["core@c3"]

    assert set(store.schema) == {"customer", "product", "shelf", "invoice"}
    assert store.database.rows("invoice") == [{"id": 7}]
    assert store.applied == {"core@c1", "core@c2", "core@c3", "billing@b1"}
    assert store.state_of("billing") == "orphaned"
    assert store.version_rows == ["c3"]


def test_a_plugin_that_comes_back_is_where_it_was(store: Store) -> None:
    """The same version has nothing to run, even after the core moved on."""
    store.uninstall("billing")
    store.core(*NEW_CORE)
    store.upgrade()
    store.plugin("billing", *BILLING)

    assert store.plan() == []
    assert store.upgrade() == []

    assert store.version_rows == ["b1", "c3"]
    assert store.state_of("billing") == "current"


def test_a_plugin_that_comes_back_newer_continues(store: Store) -> None:
    """Only what is new in it runs."""
    store.uninstall("billing")
    store.core(*NEW_CORE)
    store.upgrade()
    store.plugin("billing", *NEW_BILLING, version="2.0")
    assert store.upgrade() == ["billing@b2"]
    assert store.version_rows == ["b2", "c3"]
    assert set(store.schema) == {"customer", "product", "shelf", "invoice", "payment"}


@pytest.mark.parametrize(
    "config", ['disabled = ["billing"]', "enabled = []", 'disabled = ["Billing"]']
)
def test_a_disabled_plugin_keeps_its_state_and_stands_still(store: Store, config: str) -> None:
    """Its new revisions wait, the core's run, and enabling it again continues."""
    store.configure(f"[plugins]\n{config}")
    store.core(*NEW_CORE)
    store.plugin("billing", *NEW_BILLING)

    assert store.upgrade() == ["core@c3"]
    assert store.state_of("billing") == "disabled"
    assert store.applied == {"core@c1", "core@c2", "core@c3", "billing@b1"}
    assert store.plan() == []
    assert store.version_rows == ["b1", "c3"]

    store.configure()
    assert store.upgrade() == ["billing@b2"]


def test_what_needs_a_disabled_plugin_waits_and_what_does_not_runs(store: Store) -> None:
    """Reviews' first revision stands alone, its second needs a pending one of billing."""
    store.configure('[plugins]\ndisabled = ["billing"]')
    store.plugin("billing", *NEW_BILLING)
    store.plugin(
        "reviews",
        revision_file("r1", depends="b1", created="2024-03-02", upgrade=table("review")),
        revision_file("r2", down="r1", depends="b2", created="2024-06-02", upgrade=table("reward")),
    )
    assert store.upgrade() == ["reviews@r1"]
    store.configure()
    assert store.upgrade() == ["billing@b2", "reviews@r2"]


def test_a_plugin_outlives_the_plugin_it_depends_on(store: Store) -> None:
    """Reviews builds on billing's applied revision; billing's package is not needed any more."""
    reviews = [revision_file("r1", depends="b1", created="2024-03-02", upgrade=table("review"))]
    store.plugin("reviews", *reviews)
    assert store.upgrade() == ["reviews@r1"]
    assert store.version_rows == ["r1"]
    store.uninstall("billing")
    store.plugin(
        "reviews",
        *reviews,
        revision_file("r2", down="r1", depends="b1", created="2024-07-01", upgrade=table("reward")),
        version="2.0",
    )
    assert store.plan() == ["reviews@r2"]
    store.init_db().expect(0)
    assert store.applied == {"core@c1", "core@c2", "billing@b1", "reviews@r1", "reviews@r2"}
    assert store.version_rows == ["r2"]


def test_a_new_plugin_may_build_on_an_orphan(store: Store) -> None:
    """What billing applied is enough for a plugin that is installed only afterwards."""
    store.uninstall("billing")
    store.plugin("reviews", revision_file("r1", depends="b1", upgrade=table("review")))
    assert store.upgrade() == ["reviews@r1"]
    store.plugin("billing", *NEW_BILLING)
    assert store.upgrade() == ["billing@b2"]


def test_a_dependency_that_was_never_applied_stops_the_run(store: Store) -> None:
    """An orphan provides what it applied, and not what it might have had next."""
    store.uninstall("billing")
    store.plugin("reviews", revision_file("r1", depends="b2", upgrade=table("review")))
    before = store.database.dump()
    failed = store.init_db().expect(4)
    assert "reviews@r1" in failed.err
    assert "'b2'" in failed.err
    assert store.database.dump() == before


def test_all_plugins_may_leave_at_once(store: Store) -> None:
    """The core alone is a complete installation again."""
    store.plugin("reviews", revision_file("r1", depends="b1", upgrade=table("review")))
    store.upgrade()
    store.uninstall("billing")
    store.uninstall("reviews")
    store.core(*NEW_CORE)
    assert store.upgrade() == ["core@c3"]
    assert store.version_rows == ["c3"]
    assert {store.state_of("billing"), store.state_of("reviews")} == {"orphaned"}


def test_what_needs_a_disabled_plugin_is_blocked_and_not_forgotten(store: Store) -> None:
    """It is said at every run, and runs as soon as it can."""
    store.core(*CORE)
    store.plugin("reviews", revision_file("r1", created="2024-01-02", upgrade=table("review")))
    store.plugin(
        "loyalty",
        revision_file("l1", created="2024-01-03", upgrade=table("points")),
        revision_file("l2", down="l1", depends="r1", created="2024-01-04", upgrade=table("reward")),
    )
    store.configure('[plugins]\ndisabled = ["reviews", "reviewz"]\n')
    done = store.init_db().expect(0)
    assert "Warning AB124: loyalty@l2 is not applied: it needs reviews@r1" in done.err
    assert "Warning AB123: The configuration names the plugin 'reviewz'" in done.err
    assert "Did you mean 'reviews'?" in done.err
    assert store.applied == {"core@c1", "core@c2", "billing@b1", "loyalty@l1"}
    assert store.state_of("loyalty") == "blocked"
    store.db("status", "--check").expect(0)
    with store.manager() as manager:
        manager.check_current(store.deployment)  # the application was told to do without it
    store.configure()
    store.init_db().expect(0)
    assert {"reviews@r1", "loyalty@l1", "loyalty@l2"} <= store.applied
    assert store.state_of("loyalty") == "current"


def test_a_pending_revision_that_an_orphan_is_in_the_way_of_is_warned_of(store: Store) -> None:
    """Its foreign key refers to the table that the core means to drop; purged, it is not."""
    store.plugin(
        "gifts",
        revision_file(
            "g1",
            depends="c2",
            created="2024-03-05",
            upgrade="op.create_table('gift', sa.Column('id', sa.Integer, primary_key=True), "
            "sa.Column('product_id', sa.Integer, sa.ForeignKey('product.id')))",
        ),
    )
    store.upgrade()
    store.uninstall("gifts")
    drop = revision_file("c3", down="c2", created="2024-04-01", upgrade="op.drop_table('product')")
    store.core(*CORE, revision_file("x3", down="c2", upgrade="op.drop_table('customer')"))
    assert "AB125" not in store.db("status").expect(0).err
    store.core(*CORE, drop)
    for verb in ("status", "plan"):
        said = store.db(verb).expect(0).err
        assert "Warning AB125: core@c3 will drop table product, and the foreign key " in said
        assert "gift(product_id) to product of gifts, which takes no part" in said
        assert "'db purge DIR gifts'" in said
    store.db("purge", "gifts", "--yes").expect(0)
    assert "AB125" not in store.db("status").expect(0).err
    assert store.upgrade() == ["core@c3"]
