"""The life of a deployment where DDL commits by itself: the same verbs come to the same end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.errors import DifferenceError, RevisionError
from support import mariadb
from support.databases import BOOKKEEPING, Database
from support.store import Store
from support.trees import revision_file

CORE_MODELS = """
class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(50), index=True)
    size: Mapped[str | None] = mapped_column(sa.Enum("s", "l", name="size"))
"""
CORE = revision_file(
    "c1",
    created="2024-01-01",
    upgrade="""
    op.create_table("customer", sa.Column("id", sa.Integer, primary_key=True),
                    sa.Column("name", sa.String(50), nullable=False),
                    sa.Column("size", sa.Enum("s", "l", name="size")))
    op.create_index("ix_customer_name", "customer", ["name"])
    """,
    downgrade="op.drop_table('customer')",
)
BILLING = [
    revision_file(
        "b1",
        depends="c1",
        created="2024-03-01",
        upgrade="op.create_table('invoice', sa.Column('id', sa.Integer, primary_key=True),\n"
        "    sa.Column('customer_id', sa.Integer, sa.ForeignKey('customer.id', name='fk')))",
        downgrade="op.drop_table('invoice')",
    ),
    revision_file(
        "b2",
        down="b1",
        created="2024-03-02",
        upgrade="op.add_column('customer', sa.Column('debt', sa.Integer))",
        downgrade="op.drop_column('customer', 'debt')",
    ),
]


@pytest.fixture
def store(tmp_path: Path, mariadb_database: Database) -> Iterator[Store]:
    """The core and billing, applied, with a customer."""
    store = Store(tmp_path, mariadb_database)
    store.core(CORE, models=CORE_MODELS)
    store.plugin("billing", *BILLING)
    store.upgrade()
    mariadb_database.execute("INSERT INTO customer (id, name) VALUES (1, 'Ada')")
    yield store
    store.site.close()


def state(store: Store) -> list[object]:
    return [store.schema, store.applied, store.objects, store.version_rows]


def test_a_downgrade_and_the_way_forth_again(store: Store) -> None:
    before = state(store)
    assert store.db("downgrade", "billing@base", "--yes").expect().out.count("billing@b") == 2
    assert set(store.schema) == {"customer"}
    assert store.applied == {"core@c1"}
    assert store.database.rows("customer") == [{"id": 1, "name": "Ada", "size": None}]
    assert store.upgrade() == ["billing@b1", "billing@b2"]
    assert state(store) == before


def test_a_downgrade_that_was_cut_off_goes_on(store: Store) -> None:
    """The first statement is done and stays; the next run begins with the second."""
    broken = BILLING[1].replace(
        "op.drop_column('customer', 'debt')",
        "op.drop_column('customer', 'debt')\n    op.execute('DROP TABLE nobodys')",
    )
    store.plugin("billing", BILLING[0], broken)
    with store.manager() as manager:
        manager.repair(store.deployment, reason="a mend", edited=["b2"])
        with pytest.raises(RevisionError):
            manager.downgrade(store.deployment, "billing@b1")
        store.database.execute("CREATE TABLE nobodys (id INTEGER)")
        manager.downgrade(store.deployment, "billing@b1")
    assert "debt" not in store.database.rows("customer")[0]
    assert store.applied == {"core@c1", "billing@b1"}


@pytest.mark.parametrize(
    ("leak", "what"),
    [
        ("op.drop_table('customer')", "the table customer of core"),
        ("op.execute('DROP TABLE IF EXISTS invoice, `customer`')", "the table customer of core"),
        ("op.rename_table('customer', 'person')", "the table customer of core"),
        ("op.drop_column('customer', 'name')", "name of customer (core's table)"),
        ("op.drop_index('ix_customer_name', 'customer')", "ix_customer_name of customer"),
        (
            "op.execute('ALTER TABLE customer DROP debt, DROP KEY IF EXISTS ix_customer_name')",
            "ix_customer_name of customer",
        ),
        ("op.execute('RENAME TABLE invoice TO bill, customer TO person')", "the table customer"),
        ("op.alter_column('customer', 'name', type_=sa.String(9))", "name of customer"),
        (
            "op.alter_column('customer', 'name', new_column_name='called', "
            "existing_type=sa.String(50))",
            "name of customer (core's table)",
        ),
        ("op.execute('ALTER TABLE customer MODIFY debt INT, MODIFY name TEXT')", "name of"),
        ("op.alter_column('customer', 'name', server_default='x')", "name of customer"),
        ("op.execute('ALTER TABLE customer RENAME KEY ix_customer_name TO ix')", "ix_customer"),
    ],
)
def test_a_leak_is_stopped_before_it_is_sent(store: Store, leak: str, what: str) -> None:
    """The server could take nothing back."""
    store.plugin(
        "billing",
        BILLING[0],
        BILLING[1].replace("op.drop_column('customer', 'debt')", leak),
        version="2.0",
    )
    before = store.schema, store.applied, store.objects
    failed = store.db("downgrade", "billing@b1", "--yes").expect(5)
    does = "drop" if "drop" in leak.lower() else "change"
    assert f"its downgrade() would {does} what is not billing's" in failed.err
    assert what in failed.err
    assert (store.schema, store.applied, store.objects) == before
    assert store.database.rows("customer")[0]["name"] == "Ada"
    store.plugin("billing", *BILLING, version="3.0")
    store.db("downgrade", "billing@b1", "--yes").expect()


def test_adopting_compares_and_records(store: Store) -> None:
    """What another tool left is compared with what the revisions make on this very server."""
    before = state(store)
    store.database.execute(*(f"DROP TABLE IF EXISTS {name}" for name in BOOKKEEPING))
    store.database.execute("ALTER TABLE invoice ADD COLUMN note TEXT")
    with store.manager() as manager:
        with pytest.raises(DifferenceError) as caught:
            manager.adopt(store.deployment)
        assert caught.value.differences == ("invoice: the column note is not expected: TEXT",)
        store.database.execute("ALTER TABLE invoice DROP COLUMN note")
        assert len(manager.adopt(store.deployment).added) == 3
    assert state(store) == before
    assert store.upgrade() == []


def test_a_stamp_and_a_repair_only_record(store: Store) -> None:
    schema = store.schema
    with store.manager() as manager:
        manager.stamp(store.deployment, "billing@b1")
        assert [str(key) for key in manager.plan(store.deployment).keys] == ["billing@b2"]
        manager.stamp(store.deployment, "heads")
        store.core(CORE.replace("a change", "another"), models=CORE_MODELS)
    assert [*store.database.execute("SELECT version_num FROM alembic_version")]
    with store.manager() as manager:
        assert [each.value for each in manager.repairs(store.deployment)] == ["core@c1"]
        manager.repair(store.deployment, reason="a typo", edited=["core@c1"])
        assert manager.repairs(store.deployment) == ()
    assert store.schema == schema
    assert store.journal[-1] == "repaired core@c1"


def test_the_check_sees_what_differs(store: Store) -> None:
    """A value that the models give a column's type, what is gone, and nothing else."""
    store.db("check", "--owner", "core").expect()
    store.database.execute("ALTER TABLE customer DROP COLUMN debt")
    models = CORE_MODELS.replace('"s", "l"', '"s", "m", "l"')
    store.core(CORE, models=models + "    more: Mapped[int | None]\n")
    found = store.db("check").expect(4)
    assert "lost: column customer.debt: billing@b2 made it" in found.out
    assert "unwritten: column customer.more" in found.out
    assert "'m'" in found.out


def test_a_purge_that_stops_midway_says_so_and_goes_on(
    store: Store, mariadb_server: mariadb.Server
) -> None:
    """What keeps a table is in another database, which nobody looks into."""
    other = mariadb_server.create()
    database = sa.make_url(store.database.url).database
    other.execute(
        "CREATE TABLE copy (id INTEGER, invoice INTEGER, "
        f"FOREIGN KEY (invoice) REFERENCES {database}.invoice (id))"
    )
    try:
        refused = store.db("purge", "billing", "--yes", "--no-downgrades").expect(8)
        assert "billing cannot go: (1451" in refused.err
        assert "What was dropped until then is gone" in refused.err
        assert "billing stays recorded" in refused.err
        assert "debt" not in store.database.rows("customer")[0]
        assert store.applied == {"core@c1", "billing@b1", "billing@b2"}
    finally:
        mariadb_server.drop(other)
    store.db("purge", "billing", "--yes", "--no-downgrades").expect(0)
    assert set(store.schema) == {"customer"}
    assert store.applied == {"core@c1"}
