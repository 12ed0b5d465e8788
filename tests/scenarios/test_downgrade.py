"""Back to an earlier revision: what goes is shown, and nobody else loses anything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.errors import IrreversibleError, RevisionError, UsageError
from anabranch.revision import RevisionKey
from anabranch.transactions import Mode
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

CORE = [
    revision_file(
        "c1",
        created="2024-01-01",
        upgrade=table("customer", "size"),
        downgrade="op.drop_table('customer')",
    ),
    revision_file(
        "c2",
        down="c1",
        created="2024-02-01",
        upgrade=table("product"),
        downgrade="op.drop_table('product')",
    ),
]
BILLING = [
    revision_file(
        "b1",
        depends="c2",
        created="2024-03-01",
        message="First tables",
        upgrade=table("invoice"),
        downgrade="op.drop_table('invoice')",
    ),
    revision_file(
        "b2",
        down="b1",
        created="2024-03-02",
        upgrade="op.add_column('invoice', sa.Column('total', sa.Integer))\n"
        "op.add_column('customer', sa.Column('debt', sa.Integer))",
        downgrade="op.drop_column('customer', 'debt')\nop.drop_column('invoice', 'total')",
    ),
]
GIFTS = [
    revision_file(
        "g1",
        depends="b1",
        created="2024-04-01",
        upgrade=table("gift"),
        downgrade="op.drop_table('gift')",
    )
]


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Iterator[Store]:
    store = Store(tmp_path, database)
    store.core(*CORE)
    store.upgrade()
    yield store
    store.site.close()


TOTAL = "op.add_column('invoice', sa.Column('total', sa.Integer))"


def reverting(downgrade: str, *, upgrade: str = TOTAL) -> list[str]:
    """Billing's revisions, the second of which is reverted by *downgrade*."""
    second = revision_file(
        "b2", down="b1", created="2024-03-02", upgrade=upgrade, downgrade=downgrade
    )
    return [BILLING[0], second]


def state(store: Store) -> dict[str, object]:
    return {
        "schema": store.schema,
        "applied": store.applied,
        "objects": store.objects,
        "version": store.version_rows,
    }


def test_a_downgrade_shows_what_goes_and_takes_back_exactly_that(store: Store) -> None:
    """The tables with their rows, the revisions with their messages; then upgrade goes forth."""
    before = state(store)
    store.plugin("billing", *BILLING)
    store.upgrade()
    after = state(store)
    store.database.execute("INSERT INTO invoice (id) VALUES (1), (2)")

    refused = store.db("downgrade", "billing@base").expect(8)
    assert "billing@b1  First tables" in refused.out
    assert "table invoice: 2 rows" in refused.out
    assert "Error AB412" in refused.err
    assert state(store) == after

    done = store.db("downgrade", "billing@base", "--yes").expect(0)
    assert done.out.index("billing@b2") < done.out.index("billing@b1")
    assert "Done: 2 revisions reverted" in done.out
    assert state(store) == before
    assert store.journal[-3:] == ["run", "reverted billing@b2", "reverted billing@b1"]
    assert store.upgrade() == ["billing@b1", "billing@b2"]
    assert state(store) == after


@pytest.mark.parametrize(
    ("target", "left"),
    [("billing@-1", {"billing@b1"}), ("billing@-2", set()), ("billing@b1", {"billing@b1"})],
)
def test_a_target_may_be_relative(store: Store, target: str, left: set[str]) -> None:
    store.plugin("billing", *BILLING)
    store.upgrade()
    with store.manager() as manager:
        manager.downgrade(store.deployment, target)
        assert store.applied == {"core@c1", "core@c2", *left}
        assert manager.downgrade(store.deployment, "core@c1", cascade=True).keys == tuple(
            map(RevisionKey.parse, [*sorted(left), "core@c2"])
        )
    assert store.applied == {"core@c1"}


def test_a_target_may_be_cut_short(tmp_path: Path, sqlite_database: Database) -> None:
    """To four letters, where only one revision begins so: up and down, and for a stamp."""
    store = Store(tmp_path, sqlite_database)
    ids = ("4f1c07", "4f1c33", "90aa12")
    files = [
        revision_file(
            id_, down=down, upgrade=table(f"t{id_}"), downgrade=f"op.drop_table('t{id_}')"
        )
        for id_, down in zip(ids, [None, *ids[:-1]], strict=True)
    ]
    store.core(*files)
    assert store.upgrade("core@4f1c0") == ["core@4f1c07"]
    assert store.upgrade("core@90aa") == ["core@4f1c33", "core@90aa12"]
    with store.manager() as manager:
        with pytest.raises(UsageError, match="'4f1c' may mean core@4f1c07, core@4f1c33"):
            manager.downgrade(store.deployment, "core@4f1c")
        for short in ("4f1", "4f1x"):
            with pytest.raises(UsageError, match=f"no applied revision '{short}'"):
                manager.downgrade(store.deployment, f"core@{short}")
        manager.stamp(store.deployment, "core@4f1c3")
    assert store.applied == {"core@4f1c07", "core@4f1c33"}


def test_what_needs_only_the_target_itself_stays(store: Store) -> None:
    """Gifts needs billing's first revision, which stays: it is not in the way, nor is its file."""
    store.plugin("billing", *BILLING)
    store.plugin("gifts", *GIFTS)
    store.upgrade()
    store.uninstall("gifts")
    with store.manager() as manager:
        assert manager.downgrade(store.deployment, "billing@b2").keys == ()
        assert manager.downgrade(store.deployment, "billing@b1").keys == (
            RevisionKey("billing", "b2"),
        )
    assert store.applied == {"core@c1", "core@c2", "billing@b1", "gifts@g1"}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("biling@base", "Nothing of 'biling' is applied. Did you mean 'billing'?"),
        ("billing@b3", "billing has no applied revision 'b3'."),
        ("billing", "billing has no applied revision ''."),
        ("billing@-3", "billing has only 2 applied revisions."),
    ],
)
def test_a_target_that_is_not_there_is_a_slip(store: Store, target: str, said: str) -> None:
    store.plugin("billing", *BILLING)
    store.upgrade()
    with store.manager() as manager, pytest.raises(UsageError) as caught:
        manager.downgrade(store.deployment, target)
    assert said in caught.value.what


def test_others_are_taken_along_only_if_asked_for(store: Store) -> None:
    """Gifts needs billing's first revision: it is named, and goes first."""
    before = state(store)
    store.plugin("billing", *BILLING)
    store.plugin("gifts", *GIFTS)
    store.upgrade()
    dump = store.database.dump()
    refused = store.db("downgrade", "billing@base", "--yes").expect(8)
    assert "Error AB411" in refused.err
    assert "gifts@g1" in refused.err
    assert store.database.dump() == dump
    done = store.db("downgrade", "billing@base", "--yes", "--cascade").expect(0)
    assert "gifts@g1  a change  (needs what is reverted)" in done.out
    assert state(store) == before


def test_the_core_goes_back_under_its_plugins_only_with_them(store: Store) -> None:
    store.plugin("billing", *BILLING)
    store.upgrade()
    assert "AB411" in store.db("downgrade", "core@c1", "--yes").expect(8).err
    store.db("downgrade", "core@base", "--yes", "--cascade").expect(0)
    assert store.schema == {}
    assert store.applied == set()
    assert store.version_rows == []
    assert len(store.upgrade()) == 4


@pytest.mark.parametrize(
    ("leak", "said"),
    [
        ("op.drop_table('product')", "the table product of core is gone"),
        ("op.drop_column('customer', 'size')", "customer: the column size is missing"),
        (
            "with op.batch_alter_table('customer') as batch:\n"
            "    batch.alter_column('size', type_=sa.String(9), nullable=False)",
            "customer: the column size is VARCHAR(9) NOT NULL, expected INTEGER",
        ),
        (
            "op.get_bind().exec_driver_sql('SELECT 1; DROP TABLE product')",
            "product of core is gone",
        ),
    ],
    ids=["table", "column", "type", "hidden"],
)
@pytest.mark.parametrize("commit", [False, True])
def test_a_leaked_downgrade_is_stopped_and_named(
    store: Store, leak: str, said: str, commit: bool
) -> None:
    """A revision generated with the core's models in sight would take them away again."""
    if "SELECT 1" in leak and store.database.backend == "sqlite":
        leak = "op.get_bind().connection.dbapi_connection.execute('DROP TABLE product')"
    debt = "op.add_column('customer', sa.Column('debt', sa.Integer))"
    undone = f"op.drop_column('customer', 'debt')\n{leak}"
    if commit:
        undone += "\nop.get_bind().commit()"
    store.plugin("billing", *reverting(undone, upgrade=debt))
    store.upgrade()
    store.database.execute("INSERT INTO product (id) VALUES (7)")
    before = state(store)
    with store.manager() as manager, pytest.raises(RevisionError) as caught:
        manager.downgrade(store.deployment, "billing@b1")
    assert "billing@b2 failed" in caught.value.what
    assert "its downgrade() changes what is not billing's" in caught.value.what
    assert said in caught.value.what
    assert caught.value.exit_code == 5
    assert state(store) == before
    assert store.database.rows("product") == [{"id": 7}]
    # The way out: what is recorded as billing's goes, the leak does not run.
    refused = store.db("purge", "billing", "--yes").expect(5)
    assert "--no-downgrades" in refused.err
    assert state(store) == before
    store.db("purge", "billing", "--yes", "--no-downgrades").expect(0)
    assert set(store.schema) == {"customer", "product"}
    assert [column["name"] for column in store.schema["customer"]["columns"]] == ["id", "size"]


@pytest.mark.parametrize(
    ("by_hand", "downgrade", "said"),
    [
        (
            "CREATE INDEX by_hand ON product (id)",
            "op.drop_index('by_hand')",
            "product: the index by_hand is missing",
        ),
        (
            "ALTER TABLE product INHERIT invoice",
            "op.drop_column('invoice', 'total')",
            "product: the column total is missing",
        ),
        (
            "ALTER TABLE product ADD FOREIGN KEY (id) REFERENCES invoice (id)",
            "op.alter_column('invoice', 'id', new_column_name='number')",
            "product: the foreign key product_id_fkey is",
        ),
        (
            "ALTER TABLE product ADD FOREIGN KEY (id) REFERENCES invoice (id)",
            "op.rename_table('invoice', 'bill')",
            "product: the foreign key product_id_fkey is",
        ),
    ],
    ids=["index", "child", "column", "table"],
)
def test_an_operation_that_reaches_beyond_its_table_is_stopped(
    postgresql_store: Store, by_hand: str, downgrade: str, said: str
) -> None:
    """Nothing in what it names tells that it changes another owner's table as well."""
    store = postgresql_store
    store.core(*CORE)
    store.plugin("billing", *reverting(downgrade))
    store.upgrade("billing@b1")
    store.database.execute(by_hand)
    store.upgrade()
    before = state(store)
    with store.manager() as manager, pytest.raises(RevisionError, match="not billing's") as caught:
        manager.downgrade(store.deployment, "billing@b1")
    assert said in caught.value.what
    assert state(store) == before


@pytest.mark.parametrize("transaction", ["auto", "run"])
def test_what_an_owner_changed_of_its_own_is_guarded_from_the_next(
    postgresql_store: Store, transaction: Mode
) -> None:
    """Two owners' revisions are reverted; the second one's would change the first one's table."""
    store = postgresql_store
    store.core(*CORE)
    leak = "op.drop_column('gift', 'id')\nop.drop_column('invoice', 'total')"
    store.plugin("billing", *reverting(leak))
    store.plugin(
        "gifts",
        *GIFTS,
        revision_file(
            "g2",
            down="g1",
            depends="b2",
            created="2024-04-02",
            upgrade="op.add_column('gift', sa.Column('size', sa.Integer))",
            downgrade="op.drop_column('gift', 'size')",
        ),
    )
    store.upgrade()
    with store.manager() as manager, pytest.raises(RevisionError, match="not billing's") as caught:
        manager.downgrade(store.deployment, "billing@b1", cascade=True, transaction=transaction)
    assert "gift: the column id is missing" in caught.value.what
    assert "size" not in caught.value.what
    assert {column["name"] for column in store.schema["invoice"]["columns"]} == {"id", "total"}


@pytest.mark.parametrize(
    ("downgrade", "said"),
    [
        ("raise NotImplementedError", "billing@b1: its downgrade() only raises an error"),
        ("pass", "billing@b1: its downgrade() does nothing"),
    ],
)
def test_what_has_no_way_back_is_named_before_anything_runs(
    store: Store, downgrade: str, said: str
) -> None:
    store.plugin(
        "billing",
        revision_file("b1", created="2024-03-01", upgrade=table("invoice"), downgrade=downgrade),
        revision_file(
            "b2",
            down="b1",
            created="2024-03-02",
            upgrade=table("payment"),
            downgrade="op.drop_table('payment')",
        ),
    )
    store.upgrade()
    before = state(store)
    with store.manager() as manager:
        with pytest.raises(IrreversibleError, match=r"cannot be reverted") as caught:
            manager.downgrade(store.deployment, "billing@base")
        assert said in caught.value.what
        assert state(store) == before
        manager.purge(store.deployment, "billing")
    assert set(store.schema) == {"customer", "product"}


def test_what_the_next_run_does_is_said(store: Store) -> None:
    """Again, or not; and that the core is not any more what the plugin ran on."""
    store.plugin("billing", *BILLING)
    store.upgrade()
    done = store.db("downgrade", "billing@b1", "--yes").expect()
    assert "The next init-db applies them again, as far as they are installed.\n" in done.out
    assert "That would be after" not in done.out
    store.upgrade()
    third = revision_file("c3", down="c2", created="2024-05-01", upgrade=table("shelf"))
    store.core(*CORE, third)
    store.upgrade()
    done = store.db("downgrade", "billing@b1", "--yes").expect()
    assert "That would be after core@c3, for which they may not be made." in done.out
    assert "disable billing, or install another release." in done.out
    store.configure('[plugins]\ndisabled = ["billing"]')
    done = store.db("downgrade", "billing@base", "--yes").expect()
    assert "The next init-db leaves it at that: none of them" in done.out


def test_what_is_uninstalled_cannot_be_reverted(store: Store) -> None:
    store.plugin("billing", *BILLING)
    store.upgrade()
    store.uninstall("billing")
    refused = store.db("downgrade", "core@c1", "--yes", "--cascade").expect(8)
    assert "Error AB413" in refused.err
    assert "billing@b2: its file is gone" in refused.err


def test_what_a_downgrade_leaves_behind_is_said(store: Store) -> None:
    store.plugin(
        "billing",
        revision_file(
            "b1",
            created="2024-03-01",
            upgrade=f"{table('invoice')}\n{table('payment')}",
            downgrade="op.drop_table('payment')",
        ),
    )
    store.upgrade()
    done = store.db("downgrade", "billing@base", "--yes").expect(0)
    assert "Left      table invoice: billing@b1 did not drop it." in done.out
    # It is still recorded as billing's, so that a purge finds it.
    store.db("purge", "billing", "--yes").expect(0)
    assert set(store.schema) == {"customer", "product"}


def test_where_nothing_is_recorded_the_models_tell_whose_a_table_is(store: Store) -> None:
    """As in a database that was taken over from another tool."""
    store.core(
        *CORE,
        models="""
        class Product(Base):
            __tablename__ = "product"
            id: Mapped[int] = mapped_column(primary_key=True)
        """,
    )
    leak = BILLING[0].replace("op.drop_table('invoice')", "op.drop_table('product')")
    store.plugin("billing", leak)
    store.upgrade()
    store.database.execute("DELETE FROM anabranch_object")
    with store.manager() as manager, pytest.raises(RevisionError) as caught:
        manager.downgrade(store.deployment, "billing@base")
    assert "the table product of core is gone" in caught.value.what
    assert "product" in store.schema


@pytest.mark.parametrize("verb", [("downgrade", "billing@base"), ("purge", "billing")])
def test_a_kill_in_the_middle_leaves_what_the_next_run_ends(
    store: Store, verb: tuple[str, str], tmp_path: Path
) -> None:
    """SIGKILL inside the second downgrade, after the first; then the same command again."""
    reached = tmp_path / "reached"
    wait = f"open({str(reached)!r}, 'w').close()\nimport time; time.sleep(60)"
    store.plugin(
        "billing",
        BILLING[0].replace("    op.drop_table('invoice')", f"    {wait.replace(chr(10), '; ')}"),
        BILLING[1],
    )
    before = state(store)
    store.upgrade()
    store.database.execute("INSERT INTO invoice (id) VALUES (1)")
    process = store.site.start("db", verb[0], store.deployment, verb[1], "--yes")
    while not reached.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.wait()
    if verb[0] == "purge" or store.database.backend == "sqlite":
        assert store.applied == {"core@c1", "core@c2", "billing@b1", "billing@b2"}
    else:
        assert store.applied == {"core@c1", "core@c2", "billing@b1"}
    assert store.database.rows("invoice")[0]["id"] == 1

    store.plugin("billing", *BILLING)
    store.db(verb[0], verb[1], "--yes").expect(0)
    assert state(store) == before
