"""Tables that are there without a record are compared with what revisions make, and taken over."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.errors import DifferenceError, UsageError
from support.databases import Database
from support.postgres import Server
from support.store import Store
from support.trees import revision_file

CORE = [
    revision_file(
        "c1",
        created="2024-01-01",
        upgrade="""
        op.create_table(
            'customer',
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('name', sa.String(50), nullable=False, server_default='nobody'),
            sa.UniqueConstraint('name', name='uq_customer_name'),
            sa.CheckConstraint("name <> ''", name='ck_customer_name'),
        )
        """,
    ),
    revision_file(
        "c2",
        down="c1",
        created="2024-02-01",
        upgrade="op.create_index('ix_customer_name', 'customer', ['name'])",
    ),
]
CORE_MODELS = """
class Customer(Base):
    __tablename__ = "customer"
    __table_args__ = (
        sa.UniqueConstraint("name", name="uq_customer_name"),
        sa.CheckConstraint("name <> ''", name="ck_customer_name"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(
        sa.String(50), index=True, server_default="nobody"
    )
"""
BILLING = [
    revision_file(
        "b1",
        depends="c2",
        created="2024-03-01",
        upgrade="""
        op.create_table(
            'invoice',
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('customer_id', sa.Integer,
                      sa.ForeignKey('customer.id', name='fk_invoice', ondelete='CASCADE')),
        )
        """,
    ),
    revision_file(
        "b2",
        down="b1",
        created="2024-03-02",
        upgrade="op.add_column('customer', sa.Column('debt', sa.Numeric(10, 2)))",
    ),
]
BILLING_MODELS = """
from store.models import Customer

Customer.debt = mapped_column("debt", sa.Numeric(10, 2))

class Invoice(Base):
    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("customer.id", name="fk_invoice", ondelete="CASCADE")
    )
"""


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Iterator[Store]:
    """The core and billing, their tables made by ``create_all()`` and filled."""
    store = Store(tmp_path, database)
    store.core(*CORE, models=CORE_MODELS)
    store.plugin("billing", *BILLING, models=BILLING_MODELS)
    yield store
    store.site.close()


def create_all(store: Store) -> None:
    with store.site.on_path(), store.database.engine() as engine:
        __import__("store_billing.db_models")
        metadata: sa.MetaData = sys.modules["store.models"].Base.metadata
        metadata.create_all(engine)
    store.database.execute("INSERT INTO customer (id, name) VALUES (1, 'Ada')")


def scratch_databases(database: Database) -> list[dict[str, object]]:
    if database.backend != "postgresql":
        return []
    return database.execute("SELECT datname FROM pg_database WHERE datname LIKE '%scratch%'")


def test_what_create_all_made_is_taken_over(store: Store, tmp_path: Path) -> None:
    """The record is that of a database in which the revisions ran; nothing is pending."""
    create_all(store)
    schema = store.schema
    done = store.db("adopt").expect(0)
    assert "Done: 2 tables compared, 4 revisions recorded." in done.out
    assert store.schema == schema
    assert store.database.rows("customer")[0]["name"] == "Ada"
    assert store.upgrade() == []
    assert store.version_rows == ["b2"]
    assert store.journal[-1] == "adopted billing@b2"
    assert store.objects == {
        "table customer core@c1",
        "table invoice billing@b1",
        "column customer.debt billing@b2",
    }
    assert scratch_databases(store.database) == []
    store.db("purge", "billing", "--yes", "--no-downgrades").expect(0)
    assert set(store.schema) == {"customer"}


def test_differences_are_listed_and_nothing_is_recorded(store: Store) -> None:
    """Each in words; somebody may accept them, and the journal keeps them."""
    create_all(store)
    if store.database.backend == "sqlite":
        store.database.execute(
            "DROP TABLE invoice",
            "CREATE TABLE invoice (id INTEGER NOT NULL PRIMARY KEY, customer_id BIGINT, x TEXT)",
        )
    else:
        store.database.execute(
            "ALTER TABLE invoice DROP CONSTRAINT fk_invoice",
            "ALTER TABLE invoice ALTER customer_id TYPE BIGINT",
            "ALTER TABLE invoice ADD x TEXT",
        )
    store.database.execute("DROP INDEX ix_customer_name")
    refused = store.db("adopt").expect(4)
    assert "Error AB131" in refused.err
    for line in (
        "customer: the index ix_customer_name is missing: (name)",
        "invoice: the column customer_id is BIGINT, expected INTEGER",
        "invoice: the column x is not expected: TEXT",
        "invoice: the foreign key fk_invoice is missing: (customer_id) to customer (id) "
        "ondelete=CASCADE",
    ):
        assert line in refused.err
    assert "anabranch_revision" not in store.database.schema()

    done = store.db("adopt", "--accept-differences").expect(0)
    assert "Accepted  invoice: the column x is not expected: TEXT" in done.out
    assert store.upgrade() == []
    (event, *_) = store.database.execute("SELECT detail FROM anabranch_journal ORDER BY seq")
    assert "accepted: " in event["detail"]


@pytest.mark.skipif(
    sa.__version__ == "2.0.0", reason="SQLAlchemy 2.0.0 misreads a CHECK behind a UNIQUE on SQLite"
)
def test_an_older_revision_is_adopted_and_the_rest_runs(store: Store) -> None:
    """The core's first revision made the table; nothing of billing is there."""
    store.database.execute(
        "CREATE TABLE customer (id INTEGER NOT NULL, name VARCHAR(50) DEFAULT 'nobody' NOT NULL, "
        "PRIMARY KEY (id), CONSTRAINT uq_customer_name UNIQUE (name), "
        "CONSTRAINT ck_customer_name CHECK (name <> ''))"
        if store.database.backend == "sqlite"
        else "CREATE TABLE customer (id SERIAL PRIMARY KEY, "
        "name VARCHAR(50) DEFAULT 'nobody' NOT NULL CONSTRAINT uq_customer_name UNIQUE, "
        "CONSTRAINT ck_customer_name CHECK (name <> ''))"
    )
    with store.manager() as manager:
        with pytest.raises(DifferenceError) as caught:
            manager.adopt(store.deployment)
        assert "the table invoice is missing" in caught.value.differences
        done = manager.adopt(store.deployment, revision="c1")
        assert done.added == tuple(manager.read(store.deployment).applied)
    assert store.applied == {"core@c1"}
    assert store.upgrade() == ["core@c2", "billing@b1", "billing@b2"]


def test_a_plugin_is_adopted_beside_what_is_recorded(store: Store) -> None:
    """The core ran here; billing's table and its column on the core's were made by hand."""
    store.uninstall("billing")
    store.upgrade()
    store.plugin("billing", *BILLING, models=BILLING_MODELS)
    store.database.execute(
        "ALTER TABLE customer ADD COLUMN debt NUMERIC(10, 2)",
        "CREATE TABLE invoice (id INTEGER NOT NULL, customer_id INTEGER, PRIMARY KEY (id), "
        "CONSTRAINT fk_invoice FOREIGN KEY (customer_id) REFERENCES customer (id) "
        "ON DELETE CASCADE)",
    )
    if store.database.backend == "postgresql":
        store.database.execute(
            "CREATE SEQUENCE invoice_id_seq OWNED BY invoice.id",
            "ALTER TABLE invoice ALTER id SET DEFAULT nextval('invoice_id_seq')",
        )
    with store.manager() as manager:
        done = manager.adopt(store.deployment, plugin="Billing")
        assert [table.name for table in done.tables] == ["invoice"]
    assert store.upgrade() == []
    assert "column customer.debt billing@b2" in store.objects


def test_a_revision_that_cannot_run_alone_is_named(store: Store) -> None:
    store.core(revision_file("c1", upgrade="raise ValueError('needs the network')"))
    store.uninstall("billing")
    with store.manager() as manager, pytest.raises(UsageError) as caught:
        manager.adopt(store.deployment)
    assert "needs the network" in caught.value.what
    assert "db stamp" in caught.value.remedy
    assert scratch_databases(store.database) == []


def test_where_no_database_may_be_made_one_is_named(
    tmp_path: Path, postgres_server: Server
) -> None:
    """A role without CREATEDB; an empty database serves, one that is not empty does not."""
    store = Store(tmp_path, postgres_server.create())
    store.core(*CORE, models=CORE_MODELS)
    store.plugin("billing", *BILLING, models=BILLING_MODELS)
    create_all(store)
    name = sa.make_url(store.database.url).database
    store.database.execute(
        f"DROP ROLE IF EXISTS small_{name}",
        f"CREATE ROLE small_{name} LOGIN",
        f"GRANT ALL ON SCHEMA public TO small_{name}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO small_{name}",
    )
    url = sa.make_url(store.database.url).set(username=f"small_{name}")
    store.configure(url=url.render_as_string(hide_password=False))
    with store.manager() as manager:
        with pytest.raises(UsageError) as caught:
            manager.adopt(store.deployment)
        assert "permission denied to create database" in caught.value.what
        assert "--scratch URL" in caught.value.remedy
        with pytest.raises(UsageError, match="is not empty"):
            manager.adopt(store.deployment, scratch=store.database.url)
        with pytest.raises(UsageError, match="The scratch database is of sqlite"):
            manager.adopt(store.deployment, scratch="sqlite:///blank.sqlite")
        manager.adopt(store.deployment, scratch=postgres_server.create().url)
    assert len(store.applied) == 4
