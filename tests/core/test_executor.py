"""What a revision script may do while it runs, and what becomes of what it did."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from anabranch import AnabranchError, IntegrityError, RevisionError
from anabranch.listening import Listener, Progress
from support.databases import Database, sqlite
from support.store import Store, table
from support.trees import revision_file

# -- what scripts see


def test_scripts_see_the_context_they_know(store: Store, tmp_path: Path) -> None:
    """``op``, ``context``, the configured URL, the connection, an online mode, no x-arguments."""
    seen = tmp_path / "seen.json"
    store.core(
        revision_file(
            "c1",
            upgrade=f"""
                import json, pathlib
                from alembic import context
                tables = sa.inspect(op.get_bind()).get_table_names()
                pathlib.Path({str(seen)!r}).write_text(json.dumps({{
                    "offline": context.is_offline_mode(),
                    "url": context.config.get_main_option("sqlalchemy.url"),
                    "x": context.get_x_argument(),
                    "as_sql": op.get_context().as_sql,
                    "dialect": op.get_context().dialect.name,
                    "same": op.get_context().bind is op.get_bind(),
                    "two": op.get_bind().scalar(sa.text("SELECT 1 + :one"), {{"one": 1}}),
                    "context": context.get_context() is op.get_context(),
                    "version table": "alembic_version" in tables,
                    "rows": op.get_bind().scalar(sa.text("SELECT count(*) FROM alembic_version")),
                    "script location": context.config.get_main_option("script_location"),
                }}))
            """,
        )
    )
    store.upgrade()
    found = json.loads(seen.read_text())
    assert Path(found.pop("script location")).name == "anabranch_migrations"
    assert found == {
        "offline": False,
        "url": store.database.url,
        "x": [],
        "as_sql": False,
        "dialect": store.database.backend,
        "same": True,
        "two": 2,
        "context": True,
        "version table": True,
        "rows": 0,
    }


def test_a_url_with_percent_and_at_reaches_the_script_as_it_is(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """The configuration of Alembic treats ``%`` as its own: not here."""
    odd = tmp_path / "100%@home" / "database.sqlite"
    odd.parent.mkdir()
    store = Store(tmp_path, Database(f"sqlite:///{odd}"))
    seen = tmp_path / "seen"
    store.core(
        revision_file(
            "c1",
            upgrade="import pathlib; from alembic import context\n"
            f"url = context.config.get_main_option('sqlalchemy.url')\n"
            f"pathlib.Path({str(seen)!r}).write_text(sa.make_url(url).database)",
        )
    )
    store.upgrade()
    assert seen.read_text() == str(odd)


def test_all_operations_work(store: Store) -> None:
    """Tables, columns, indexes, constraints, bulk inserts, batches and renames."""
    store.core(
        revision_file(
            "c1",
            upgrade="""
                customer = op.create_table(
                    "customer",
                    sa.Column("id", sa.Integer, primary_key=True),
                    sa.Column("name", sa.String(20)),
                    sa.Column("age", sa.Integer),
                )
                op.bulk_insert(customer, [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}])
                op.create_index("ix_name", "customer", ["name"])
            """,
        ),
        revision_file(
            "c2",
            down="c1",
            upgrade="""
                with op.batch_alter_table("customer") as batch:
                    batch.alter_column("name", existing_type=sa.String(20), nullable=False)
                    batch.create_unique_constraint("uq_name", ["name"])
                    batch.create_check_constraint("ck_age", "age > 0")
                    batch.drop_index("ix_name")
                op.rename_table("customer", "client")
                op.execute(sa.text("UPDATE client SET age = :age").bindparams(age=30))
                op.create_table(
                    "visit",
                    sa.Column("client_id", sa.Integer, sa.ForeignKey("client.id")),
                )
                op.drop_table("visit")
            """,
        ),
    )
    store.upgrade()
    client = store.schema["client"]
    assert [column["nullable"] for column in client["columns"]] == [True, False, False]
    assert [unique["name"] for unique in client["uniques"]] == ["uq_name"]
    assert [check["name"] for check in client["checks"]] == ["ck_age"]
    assert set(store.schema) == {"client"}
    assert store.database.rows("client") == [
        {"id": 1, "name": "Ann", "age": 30},
        {"id": 2, "name": "Bob", "age": 30},
    ]


CONVENTION_MODELS = """
class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention={"uq": "core_%(table_name)s_key",
                                              "ck": "core_ck_%(constraint_name)s"})
class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
"""
CORE_MODELS = (
    "import sqlalchemy as sa\n"
    "from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship\n"
    f"{CONVENTION_MODELS}"
)
PLUGIN_MODELS = """
metadata = sa.MetaData(naming_convention={"uq": "plugin_%(table_name)s_unique",
                                          "ck": "plugin_ck_%(constraint_name)s"})
invoice = sa.Table("invoice", metadata, sa.Column("id", sa.Integer, primary_key=True))
"""
CONSTRAINED = """
op.create_table({name!r}, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer), sa.UniqueConstraint("number"),
    sa.CheckConstraint("number > 0", name="positive"))
"""


def test_each_owner_runs_with_its_own_naming_convention(store: Store) -> None:
    """Constraints are named, and dropped by name, as the owner's own MetaData says."""
    drop = (
        "with op.batch_alter_table({name!r}) as batch:\n"
        "    batch.drop_constraint('positive', type_='check')"
    )
    store.core(
        revision_file("c1", created="2024-01-01", upgrade=CONSTRAINED.format(name="customer")),
        revision_file("c2", down="c1", created="2024-01-04", upgrade=drop.format(name="customer")),
        models=CORE_MODELS,
    )
    store.plugin(
        "billing",
        revision_file("b1", created="2024-01-02", upgrade=CONSTRAINED.format(name="invoice")),
        models=PLUGIN_MODELS,
    )
    store.plugin(
        "reviews",
        revision_file("r1", created="2024-01-03", upgrade=CONSTRAINED.format(name="review")),
    )
    assert store.upgrade() == ["core@c1", "billing@b1", "reviews@r1", "core@c2"]

    def names(part: str) -> dict[str, list[str]]:
        return {
            name: [item["name"] for item in found[part]] for name, found in store.schema.items()
        }

    assert names("uniques") == {
        "customer": ["core_customer_key"],
        "invoice": ["plugin_invoice_unique"],
        "review": ["core_review_key"],
    }
    assert names("checks") == {
        "customer": [],
        "invoice": ["plugin_ck_positive"],
        "review": ["core_ck_positive"],
    }


def test_a_script_uses_its_own_metadata_whatever_else_its_models_import(
    sqlite_store: Store,
) -> None:
    """Models in a package, next to imported tables of the core: the owner's own decide."""
    sqlite_store.core(models=CORE_MODELS)
    sqlite_store.plugin(
        "billing",
        revision_file("b1", upgrade=CONSTRAINED.format(name="invoice")),
        models="from store.models import Customer\nfrom store_billing.tables import Invoice\n",
        files={
            "store_billing/tables.py": (
                "import sqlalchemy as sa\n"
                "from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column\n"
                "class Own(DeclarativeBase):\n"
                "    metadata = sa.MetaData(naming_convention={'ck': 'own_%(constraint_name)s'})\n"
                "class Invoice(Own):\n"
                "    __tablename__ = 'invoice'\n"
                "    id: Mapped[int] = mapped_column(primary_key=True)\n"
            )
        },
    )
    sqlite_store.upgrade()
    assert [check["name"] for check in sqlite_store.schema["invoice"]["checks"]] == ["own_positive"]


# -- transactions


CONCURRENTLY = """
with op.get_context().autocommit_block():
    op.create_index("ix_customer", "customer", ["name"], postgresql_concurrently=True)
"""
VACUUM = """
with op.get_context().autocommit_block():
    op.execute("VACUUM")
"""


def outside_transaction(store: Store) -> str:
    """A body that only works outside a transaction."""
    return VACUUM if store.database.backend == "sqlite" else CONCURRENTLY


@pytest.mark.parametrize("place", ["alone", "middle", "first and last"])
def test_autocommit_block_runs_outside_the_transaction(store: Store, place: str) -> None:
    """Also between other statements of the same revision, which keep their own transactions."""
    block = outside_transaction(store)
    bodies = {
        "alone": block,
        "middle": f"{table('before')}\n{block}\n{table('after')}",
        "first and last": f"{block}\n{table('before')}\n"
        + block.replace("ix_customer", "ix_again")
        + f"\n{table('after')}",
    }
    store.core(
        revision_file("c1", upgrade=table("customer", "name")),
        revision_file("c2", down="c1", upgrade=bodies[place]),
        revision_file("c3", down="c2", upgrade=table("product")),
    )
    assert store.upgrade() == ["core@c1", "core@c2", "core@c3"]
    expected = {"customer", "product"} | (set() if place == "alone" else {"before", "after"})
    assert set(store.schema) == expected
    assert store.applied == {"core@c1", "core@c2", "core@c3"}
    assert store.version_rows == ["c3"]


def test_autocommit_block_in_a_helper_of_the_package_works_too(store: Store) -> None:
    """The script's text does not mention it, so nothing announced it."""
    helper = f"from alembic import op\n\ndef helper():\n    {'    '.join(block_lines(store))}"
    store.core(
        revision_file("c1", upgrade=table("customer", "name")),
        revision_file("c2", down="c1", upgrade=f"import store.helper\n{HELPED}"),
        revision_file("c3", down="c2", upgrade=f"{table('product')}\n{HELPED_AGAIN}"),
        revision_file("c4", down="c3", upgrade=table("shelf")),
        files={"store/helper.py": helper},
    )
    assert store.upgrade() == ["core@c1", "core@c2", "core@c3", "core@c4"]
    assert set(store.schema) == {"customer", "product", "shelf"}
    assert store.applied == {"core@c1", "core@c2", "core@c3", "core@c4"}


HELPED = "store.helper.helper()"
HELPED_AGAIN = "import store.helper\nop.execute('DROP INDEX IF EXISTS ix_customer')\n" + HELPED


def block_lines(store: Store) -> list[str]:
    return outside_transaction(store).strip().splitlines(keepends=True)


COMMITS = {
    "connection": "op.get_bind().commit()",
    "text": "op.execute('COMMIT')",
    "text with a new transaction": "op.execute('COMMIT')\nop.execute('BEGIN')",
    "autocommit_block": "with op.get_context().autocommit_block():\n    pass",
    "driver": "op.get_bind().connection.dbapi_connection.commit()",
    "executescript": "op.get_bind().connection.executescript('SELECT 1')",
}


WAYS = [
    (backend, how)
    for backend in ("sqlite", "postgresql")
    for how in COMMITS
    if (backend, how) != ("postgresql", "executescript")
]


@pytest.mark.parametrize(("database", "how"), WAYS, indirect=["database"])
def test_a_script_may_commit_by_hand(store: Store, how: str) -> None:
    """Everything before, around and after the commit is applied and recorded once."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\n{COMMITS[how]}\n{table('three')}"),
        revision_file("c3", down="c2", upgrade=table("four")),
    )
    assert store.upgrade() == ["core@c1", "core@c2", "core@c3"]
    assert set(store.schema) == {"one", "two", "three", "four"}
    assert store.journal == ["run", "applied core@c1", "applied core@c2", "applied core@c3"]
    assert store.version_rows == ["c3"]


@pytest.mark.parametrize(("database", "how"), WAYS, indirect=["database"])
def test_a_later_failure_does_not_undo_the_record_of_what_was_committed_by_hand(
    store: Store, how: str
) -> None:
    """Else the next run would create a table that is there already."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\n{COMMITS[how]}\n{table('three')}"),
        revision_file("c3", down="c2", upgrade=f"{table('four')}\nraise ValueError"),
    )
    with pytest.raises(RevisionError, match="core@c3") as raised:
        store.upgrade()
    assert raised.value.exit_code == 5
    assert "2 revisions before it stay applied, the last is core@c2" in raised.value.state
    assert set(store.schema) == {"one", "two", "three"}
    assert store.applied == {"core@c1", "core@c2"}
    path = store.versions / "c3_a_change.py"
    path.write_text(path.read_text().replace("raise ValueError", "pass"))
    assert store.upgrade() == ["core@c3"]
    assert set(store.schema) == {"one", "two", "three", "four"}


@pytest.mark.parametrize(
    ("database", "how"), [way for way in WAYS if way[1] != "driver"], indirect=["database"]
)
def test_a_failure_after_a_commit_by_hand_says_that_a_part_may_have_stayed(
    store: Store, how: str
) -> None:
    """Exit code 6. What ran before the revision is recorded with what was committed."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file(
            "c2", down="c1", upgrade=f"{table('two')}\n{COMMITS[how]}\n{table('three')}\n1 / 0"
        ),
    )
    with pytest.raises(RevisionError, match=r"core@c2 failed .*ZeroDivisionError") as raised:
        store.upgrade()
    assert raised.value.exit_code == 6
    assert raised.value.partial
    assert "a part of it may have stayed" in raised.value.state
    assert set(store.schema) == {"one", "two"}
    assert store.applied == {"core@c1"}
    path = store.versions / "c2_a_change.py"
    path.write_text(path.read_text().replace("1 / 0", "pass").replace(table("two"), "pass"))
    assert store.upgrade() == ["core@c2"]
    assert set(store.schema) == {"one", "two", "three"}


def test_a_failure_before_the_autocommit_block_is_rolled_back(store: Store) -> None:
    """Nothing was committed yet, and the message says so."""
    store.core(
        revision_file("c1", upgrade=table("customer", "name")),
        revision_file(
            "c2", down="c1", upgrade=f"{table('before')}\n1 / 0\n{outside_transaction(store)}"
        ),
    )
    with pytest.raises(RevisionError, match="core@c2") as raised:
        store.upgrade()
    assert (raised.value.exit_code, raised.value.partial) == (5, False)
    assert set(store.schema) == {"customer"}
    assert store.applied == {"core@c1"}


def test_a_failure_inside_the_autocommit_block_can_be_resumed(store: Store) -> None:
    """The part before it stays, exit code 6, and the revision runs again as a whole."""
    block = outside_transaction(store) + "    1 / 0\n"
    store.core(
        revision_file("c1", upgrade=table("customer", "name")),
        revision_file(
            "c2",
            down="c1",
            upgrade=f"op.execute('CREATE TABLE IF NOT EXISTS before (id INTEGER)')\n{block}",
        ),
    )
    with pytest.raises(RevisionError, match="core@c2") as raised:
        store.upgrade()
    assert raised.value.exit_code == 6
    assert set(store.schema) == {"customer", "before"}
    path = store.versions / "c2_a_change.py"
    path.write_text(
        path.read_text()
        .replace("1 / 0", "pass")
        .replace("postgresql_concurrently", "if_not_exists=True, postgresql_concurrently")
    )
    assert store.upgrade() == ["core@c2"]
    assert store.applied == {"core@c1", "core@c2"}


ROLLBACKS = {
    "connection": "op.get_bind().rollback()",
    "text": "op.execute('ROLLBACK')",
}


@pytest.mark.parametrize("how", ROLLBACKS)
def test_a_script_that_rolls_back_by_hand_never_loses_another_revision(
    store: Store, how: str
) -> None:
    """SQLite: the revisions before it are in the same transaction, so the run is refused."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file(
            "c2", down="c1", upgrade=f"{table('two')}\n{ROLLBACKS[how]}\n{table('three')}"
        ),
    )
    if store.database.backend == "postgresql":
        assert store.upgrade() == ["core@c1", "core@c2"]
        assert set(store.schema) == {"one", "three"}
        return
    with pytest.raises(RevisionError, match=r"core@c2 failed .*shares with core@c1"):
        store.upgrade()
    assert store.schema == {}
    assert store.upgrade("core@c1") == ["core@c1"]
    assert store.upgrade() == ["core@c2"]
    assert set(store.schema) == {"one", "three"}


@pytest.mark.parametrize("how", ROLLBACKS)
def test_the_first_script_of_all_may_roll_back_by_hand(store: Store, how: str) -> None:
    """The bookkeeping tables, created in the same transaction, are created again."""
    store.core(
        revision_file("c1", upgrade=f"{table('one')}\n{ROLLBACKS[how]}\n{table('two')}"),
        revision_file("c2", down="c1", upgrade=table("three")),
    )
    assert store.upgrade() == ["core@c1", "core@c2"]
    assert set(store.schema) == {"two", "three"}
    assert store.applied == {"core@c1", "core@c2"}
    assert store.objects == {"table two core@c1", "table three core@c2"}


def test_a_savepoint_that_is_rolled_back_is_the_scripts_own_affair(store: Store) -> None:
    """``begin_nested()`` is how a script tries something; nothing else is undone."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file(
            "c2",
            down="c1",
            upgrade=f"""
                {table("two")}
                try:
                    with op.get_bind().begin_nested():
                        {table("three")}
                        op.execute("SELECT * FROM nowhere")
                except sa.exc.DBAPIError:
                    pass
                {table("four")}
            """,
        ),
    )
    assert store.upgrade() == ["core@c1", "core@c2"]
    assert set(store.schema) == {"one", "two", "four"}
    assert store.objects == {"table one core@c1", "table two core@c2", "table four core@c2"}


def test_a_script_may_look_through_a_second_connection(
    store: Store,
) -> None:
    """It sees what is committed: on PostgreSQL the revisions before it."""
    seen = store.deployment / "seen"
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file(
            "c2",
            down="c1",
            upgrade=f"""
                import pathlib
                from alembic import context
                engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
                with engine.connect() as other:
                    names = sa.inspect(other).get_table_names()
                engine.dispose()
                pathlib.Path({str(seen)!r}).write_text(str("one" in names))
            """,
        ),
    )
    store.upgrade()
    assert seen.read_text() == str(store.database.backend == "postgresql")


SECOND = """
engine = sa.create_engine({url!r}, connect_args={options}, poolclass=sa.pool.NullPool)
with engine.begin() as other:
    other.execute(sa.text("CREATE TABLE theirs (id INTEGER)"))
"""


def test_a_second_connection_that_fails_is_a_failure_of_the_script(store: Store) -> None:
    """It is no failed commit of ours: what was committed before stays, and is shown."""
    nowhere = SECOND.format(url="postgresql+psycopg://x@127.0.0.1:1/x", options="{}")
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=table("two")),
        revision_file("c3", down="c2", upgrade=nowhere),
    )
    store.upgrade("core@c1")
    with pytest.raises(RevisionError, match=r"core@c3 failed .*refused") as raised:
        store.upgrade()
    assert raised.value.exit_code == 5
    stays = "c1" if store.database.backend == "sqlite" else "c2"
    assert store.version_rows == [stays]
    assert store.applied == {"core@c1", f"core@{stays}"}
    assert store.journal[-1] == "failed core@c3"


def test_a_second_connection_cannot_write_while_sqlite_is_migrated(sqlite_store: Store) -> None:
    """The script is named, not "another program" that somebody would look for."""
    store = sqlite_store
    second = SECOND.format(url=store.database.url, options="{'timeout': 0.05}")
    store.core(
        revision_file("c1", upgrade=table("one")), revision_file("c2", down="c1", upgrade=second)
    )
    with pytest.raises(RevisionError, match=r"core@c2 failed .*database is locked"):
        store.upgrade()
    assert store.schema == {}


def test_a_first_script_that_commits_through_the_driver_is_told_as_partial(
    sqlite_store: Store,
) -> None:
    """``executescript()`` commits before it runs, whatever is said about it."""
    store = sqlite_store
    script = "op.get_bind().connection.executescript('CREATE TABLE two (id INTEGER);')"
    store.core(revision_file("c1", upgrade=f"{table('one')}\n{script}\n1 / 0"))
    with pytest.raises(RevisionError, match="core@c1") as raised:
        store.upgrade()
    assert (raised.value.exit_code, raised.value.partial) == (6, True)
    assert "a part of it may have stayed" in raised.value.state
    assert set(store.schema) == {"one", "two"}


def test_a_deferred_constraint_fails_its_own_revision(postgresql_store: Store) -> None:
    """PostgreSQL checks it at COMMIT; the message names the revision all the same."""
    store = postgresql_store
    store.core(
        revision_file("c1", upgrade=table("parent")),
        revision_file(
            "c2",
            down="c1",
            upgrade="op.execute('CREATE TABLE child (parent_id INTEGER REFERENCES parent (id)"
            " DEFERRABLE INITIALLY DEFERRED)')\nop.execute('INSERT INTO child VALUES (7)')",
        ),
    )
    with pytest.raises(RevisionError, match=r"core@c2 failed .*ForeignKeyViolation") as raised:
        store.upgrade()
    assert (raised.value.exit_code, raised.value.line) == (5, None)
    assert set(store.schema) == {"parent"}
    assert store.applied == {"core@c1"}


def test_a_lost_session_is_a_failed_revision(postgresql_store: Store) -> None:
    """The server ends the connection in the middle: rolled back, resumable, no second error."""
    store = postgresql_store
    die = "op.execute('SELECT pg_terminate_backend(pg_backend_pid())')"
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\n{die}"),
    )
    with pytest.raises(RevisionError, match="core@c2 lost the connection") as raised:
        store.upgrade()
    assert raised.value.exit_code == 5
    assert "core@c2 was rolled back. 1 revision before it stays applied" in raised.value.state
    assert set(store.schema) == {"one"}
    path = store.versions / "c2_a_change.py"
    path.write_text(path.read_text().replace(die, "pass"))
    assert store.upgrade() == ["core@c2"]


# -- foreign keys on SQLite


FAMILY = """
op.create_table("parent", sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", sa.Text))
op.create_table("child", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("parent_id", sa.Integer, sa.ForeignKey("parent.id", ondelete="CASCADE")))
op.execute("INSERT INTO parent (id) VALUES (1), (2)")
op.execute("INSERT INTO child VALUES (10, 1), (20, 2), (30, 2)")
"""
REBUILD = """
with op.batch_alter_table("parent", recreate="always") as batch:
    batch.alter_column("x", existing_type=sa.Text, server_default="-", nullable=False)
"""


def test_a_rebuild_loses_no_row_that_refers_to_the_table(sqlite_store: Store) -> None:
    """SQLite would delete the children of a dropped table, had foreign keys been on."""
    store = sqlite_store
    store.core(
        revision_file("c1", upgrade=FAMILY),
        revision_file(
            "c2", down="c1", upgrade=f"op.execute(\"UPDATE parent SET x = ''\")\n{REBUILD}"
        ),
    )
    assert store.upgrade("core@c1") == ["core@c1"]
    assert store.upgrade() == ["core@c2"]
    assert [row["id"] for row in store.database.rows("child")] == [10, 20, 30]
    assert [row["id"] for row in store.database.rows("parent")] == [1, 2]
    assert store.database.execute("PRAGMA foreign_key_check") == []


@pytest.mark.parametrize(
    "breaking",
    [
        "op.execute('DELETE FROM parent WHERE id = 2')",
        "op.execute('WITH old AS (SELECT 2) DELETE FROM parent WHERE id IN old')",
        "op.execute(sa.text('UPDATE child SET parent_id = :x WHERE id > 10').bindparams(x=9))",
        "op.execute('INSERT OR REPLACE INTO child VALUES (30, 7), (40, 8)')",
        "op.drop_table('parent')",
    ],
    ids=["DELETE", "WITH", "UPDATE", "INSERT", "DROP"],
)
def test_a_revision_that_breaks_foreign_keys_is_rolled_back_and_named(
    sqlite_store: Store, breaking: str
) -> None:
    """Not the last revision of the run is blamed, but the one that wrote to the table."""
    store = sqlite_store
    store.core(
        revision_file("c1", upgrade=FAMILY),
        revision_file("c2", down="c1", upgrade=f"{table('other')}\n{breaking}"),
        revision_file("c3", down="c2", upgrade=table("last")),
    )
    store.upgrade("core@c1")
    before = store.schema, store.database.rows("parent"), store.database.rows("child")
    with pytest.raises(RevisionError, match="core@c2 failed") as raised:
        store.upgrade(allow_destructive=True)
    assert str(raised.value.revision) == "core@c2"
    assert raised.value.exit_code == 5
    assert re.search(
        r"[23] rows of child \(rowid \d+, \d+(, 30)?\) refer to rows that parent does not have",
        raised.value.what,
    )
    assert before == (store.schema, store.database.rows("parent"), store.database.rows("child"))
    assert store.journal[-1] == "failed core@c2"


def test_references_that_were_broken_before_do_not_stop_a_run(sqlite_store: Store) -> None:
    """Only what this run adds is refused."""
    store = sqlite_store
    store.core(
        revision_file("c1", upgrade=FAMILY),
        revision_file("c2", down="c1", upgrade=f"{table('other')}\n{REBUILD}"),
        revision_file("c3", down="c2", upgrade="op.execute('DELETE FROM parent WHERE id = 2')"),
    )
    store.upgrade("core@c1")
    store.database.execute(
        "UPDATE parent SET x = ''", "INSERT INTO child VALUES (40, 77), (50, NULL)"
    )
    assert store.upgrade("core@c2") == ["core@c2"]
    with pytest.raises(RevisionError, match=r"2 rows of child \(rowid 20, 30\) refer"):
        store.upgrade()
    assert len(store.database.rows("child")) == 5


def test_one_reference_mended_does_not_make_up_for_another_that_is_broken(
    sqlite_store: Store,
) -> None:
    store = sqlite_store
    store.core(
        revision_file("c1", upgrade=FAMILY),
        revision_file(
            "c2",
            down="c1",
            upgrade="op.execute('UPDATE child SET parent_id = 1 WHERE id = 40')\n"
            "op.execute('UPDATE child SET parent_id = 88 WHERE id = 10')",
        ),
    )
    store.upgrade("core@c1")
    store.database.execute("INSERT INTO child VALUES (40, 77)")
    with pytest.raises(RevisionError, match=r"1 row of child \(rowid 10\) refers"):
        store.upgrade()
    assert {row["id"]: row["parent_id"] for row in store.database.rows("child")}[10] == 1


def test_rows_that_a_rebuild_numbers_anew_are_not_taken_for_newly_broken(
    sqlite_store: Store,
) -> None:
    """Without an INTEGER PRIMARY KEY a copied row may get another rowid."""
    store = sqlite_store
    anew = "\n".join(
        f"op.execute({statement!r})"
        for statement in (
            "CREATE TABLE new (name TEXT, parent_id INTEGER REFERENCES parent (id))",
            "INSERT INTO new SELECT name, parent_id FROM loose",
            "DROP TABLE loose",
            "ALTER TABLE new RENAME TO loose",
        )
    )
    store.core(revision_file("c1", upgrade=FAMILY), revision_file("c2", down="c1", upgrade=anew))
    store.upgrade("core@c1")
    store.database.execute(
        "CREATE TABLE loose (name TEXT, parent_id INTEGER REFERENCES parent (id))",
        "INSERT INTO loose (rowid, name, parent_id) VALUES (5, 'a', 1), (9, 'b', 77)",
    )
    assert store.upgrade(allow_destructive=True) == ["core@c2"]
    assert len(store.database.rows("loose")) == 2


def test_a_reference_to_columns_that_are_not_unique_does_not_stop_a_run(
    sqlite_store: Store,
) -> None:
    """SQLite cannot check that table ("foreign key mismatch"), but all the others."""
    store = sqlite_store
    store.core(
        revision_file("c1", upgrade=FAMILY),
        revision_file("c2", down="c1", upgrade=table("other")),
        revision_file("c3", down="c2", upgrade="op.execute('DELETE FROM parent WHERE id = 2')"),
    )
    store.upgrade("core@c1")
    store.database.execute("CREATE TABLE odd (x INTEGER REFERENCES parent (x))")
    store.database.execute("INSERT INTO odd VALUES (1)")
    assert store.upgrade("core@c2") == ["core@c2"]
    with pytest.raises(RevisionError, match="2 rows of child"):
        store.upgrade()


# -- what a run reports


def test_progress_is_reported_step_by_step(store: Store) -> None:
    """Each revision is announced, then reported with its duration; a failed one too.

    It is applied when that is committed: on SQLite the first two ran, and are rolled back.
    """
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade="import time; time.sleep(0.05)"),
        revision_file("c3", down="c2", upgrade="1 / 0"),
    )
    seen: list[Progress] = []
    with pytest.raises(RevisionError):
        store.upgrade(listener=Listener(progress=seen.append))
    done = "ran" if store.database.backend == "sqlite" else "applied"
    assert [(progress.event, progress.step.key.id, progress.total) for progress in seen] == [
        *(("started", "c1", 3), (done, "c1", 3)),
        *(("started", "c2", 3), (done, "c2", 3)),
        *(("started", "c3", 3), ("failed", "c3", 3)),
    ]
    assert seen[3].duration >= 0.05


def test_the_error_holds_what_a_program_needs(store: Store) -> None:
    """Revision, file, line, and no traceback to parse."""
    store.core(revision_file("c1", upgrade="def inner():\n    1 / 0\ninner()"))
    path = store.versions / "c1_a_change.py"
    with pytest.raises(AnabranchError) as raised:
        store.upgrade()
    error = raised.value
    assert isinstance(error, RevisionError)
    assert (str(error.revision), error.path, error.partial) == ("core@c1", str(path), False)
    assert error.line == path.read_text().splitlines().index("        1 / 0") + 1
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_a_plugins_broken_models_stop_the_run_before_it_starts(store: Store) -> None:
    """They decide the naming convention, so they are imported first; the plugin is named."""
    store.core(revision_file("c1", upgrade=table("one")))
    store.plugin("billing", revision_file("b1"), models="import no_such_module")
    with pytest.raises(AnabranchError, match=r"store-billing.*no_such_module") as raised:
        store.upgrade()
    assert raised.value.exit_code == 4
    assert store.database.schema() == {}


def test_script_errors_are_told_without_the_password(postgresql_store: Store) -> None:
    """A script can read the URL; what it raises is shown to people."""
    store = postgresql_store
    secret = "pl@n/ted secret%1"
    url = store.database.url.replace("postgres@", "postgres:pl%40n%2Fted%20secret%251@")
    store.configure(url=url)
    store.core(
        revision_file(
            "c1",
            upgrade="from alembic import context\n"
            "url = context.config.get_main_option('sqlalchemy.url')\n"
            "raise ValueError(f'{url} {sa.make_url(url).password}')",
        )
    )
    with pytest.raises(RevisionError) as raised:
        store.upgrade()
    assert "ValueError" in raised.value.what
    assert secret not in raised.value.what
    assert "secret" not in raised.value.what


def test_damaged_scripts_are_told_without_the_password(postgresql_store: Store) -> None:
    """What a script raises while it is imported is scrubbed like the rest."""
    store = postgresql_store
    store.configure(url=store.database.url.replace("postgres@", "postgres:planted@"))
    store.core(revision_file("c1") + "\nraise ValueError('the password is planted')\n")
    with pytest.raises(IntegrityError, match=r"the password is \*\*\*"):
        store.upgrade()


def test_foreign_keys_that_a_script_switched_on_delete_no_row_of_a_later_rebuild(
    tmp_path: Path,
) -> None:
    """A script may close its block with PRAGMA foreign_keys=ON, as many examples do."""
    store = Store(tmp_path, sqlite(tmp_path / "store.sqlite"))
    store.core(
        revision_file(
            "c1",
            upgrade="op.create_table('parent', sa.Column('id', sa.Integer, primary_key=True), "
            "sa.Column('name', sa.String(5)))\n"
            "op.create_table('child', sa.Column('p', sa.ForeignKey('parent.id', "
            "ondelete='CASCADE'), type_=sa.Integer))\n"
            "op.execute(\"INSERT INTO parent VALUES (1, 'a')\")\n"
            "op.execute('INSERT INTO child VALUES (1)')",
        ),
        revision_file(
            "c2",
            down="c1",
            upgrade="with op.get_context().autocommit_block():\n"
            "    op.execute('PRAGMA foreign_keys=ON')",
        ),
        revision_file(
            "c3",
            down="c2",
            upgrade="with op.batch_alter_table('parent') as batch:\n"
            "    batch.alter_column('name', type_=sa.String(50))",
        ),
    )
    store.upgrade()
    assert store.database.rows("child") == [{"p": 1}]
    store.site.close()


def test_what_a_driver_commits_unseen_is_recorded_before_a_kill(tmp_path: Path) -> None:
    """executescript() of SQLite's driver commits first, and nobody is told."""
    store = Store(tmp_path, sqlite(tmp_path / "store.sqlite"))
    script = "op.get_bind().connection.executescript('CREATE TABLE two (id INTEGER)')"
    kill = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    store.core(
        revision_file("c1", upgrade="op.create_table('one', sa.Column('id', sa.Integer))"),
        revision_file("c2", down="c1", upgrade=f"{script}\n{kill}"),
    )
    assert store.init_db().code == -signal.SIGKILL
    assert store.applied == {"core@c1"}
    file = next(store.versions.glob("c2*"))
    file.write_text(file.read_text().replace("os.kill(", "str((").replace("SIGKILL)", "SIGKILL))"))
    failed = store.init_db()
    assert failed.code != 0
    assert "core@c2" in failed.err
    store.site.close()
