"""A plugin leaves the database, with its package or long after it, and takes nothing of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.errors import DependedOnError, RefusedError, UsageError
from support.databases import BOOKKEEPING, Database, sqlite
from support.postgres import pg_dump
from support.store import Store, table
from support.trees import revision_file

CORE = [
    revision_file(
        "c1",
        created="2024-01-01",
        upgrade="op.create_table('customer', sa.Column('id', sa.Integer, primary_key=True), "
        "sa.Column('name', sa.String(50), nullable=False), sa.UniqueConstraint('name', "
        "name='uq_customer_name'))",
    ),
    revision_file("c2", down="c1", created="2024-02-01", upgrade=table("product")),
]
LOYALTY = [
    revision_file(
        "l1",
        depends="c2",
        created="2024-03-01",
        upgrade="""
        op.create_table('level', sa.Column('id', sa.Integer, primary_key=True))
        op.create_table(
            'points',
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('customer_id', sa.Integer, sa.ForeignKey('customer.id', name='fk_customer')),
            sa.Column('level_id', sa.Integer, sa.ForeignKey('level.id', name='fk_points_level')),
        )
        op.create_table(
            'points_product',
            sa.Column('points_id', sa.Integer, sa.ForeignKey('points.id'), primary_key=True),
            sa.Column('product_id', sa.Integer, sa.ForeignKey('product.id'), primary_key=True),
        )
        """,
        downgrade="""
        op.drop_table('points_product')
        op.drop_table('points')
        op.drop_table('level')
        """,
    ),
    revision_file(
        "l2",
        down="l1",
        created="2024-03-02",
        upgrade="""
        op.add_column('customer', sa.Column('score', sa.Integer, nullable=True))
        op.create_index('ix_customer_score', 'customer', ['score'])
        op.create_index('ix_product_id', 'product', ['id'])
        """,
        downgrade="""
        op.drop_index('ix_product_id', 'product')
        op.drop_index('ix_customer_score', 'customer')
        op.drop_column('customer', 'score')
        """,
    ),
]
BILLING = [revision_file("b1", depends="c1", created="2024-03-05", upgrade=table("invoice"))]


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Iterator[Store]:
    """The core and billing, applied."""
    store = Store(tmp_path, database)
    store.core(*CORE)
    store.plugin("billing", *BILLING)
    store.upgrade()
    store.database.execute(
        "INSERT INTO customer (id, name) VALUES (1, 'Ada')",
        "INSERT INTO product (id) VALUES (7)",
        "INSERT INTO invoice (id) VALUES (9)",
    )
    yield store
    store.site.close()


def everything_but_loyalty(store: Store) -> dict[str, object]:
    """What a purge of loyalty must leave as it was: schema, rows, records and the text of both."""
    text = store.database.execute(
        "SELECT name, sql FROM sqlite_master ORDER BY name"
        if store.database.backend == "sqlite"
        else "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname"
    )
    return {
        "schema": store.schema,
        "text": text,
        "rows": {name: store.database.rows(name) for name in ("customer", "product", "invoice")},
        "applied": store.applied,
        "objects": store.objects,
        "version": store.version_rows,
    }


def fill(store: Store) -> None:
    store.database.execute(
        "UPDATE customer SET score = 3",
        "INSERT INTO level (id) VALUES (1)",
        "INSERT INTO points (id, customer_id, level_id) VALUES (1, 1, 1), (2, 1, 1)",
        "INSERT INTO points_product (points_id, product_id) VALUES (1, 7)",
    )


@pytest.mark.parametrize("package", ["installed", "gone"])
def test_a_purge_leaves_what_would_be_there_without_the_plugin(store: Store, package: str) -> None:
    """Tables, an association table, a column and indexes on core tables; in foreign-key order."""
    before = everything_but_loyalty(store)
    store.plugin("loyalty", *LOYALTY, version="1.5")
    store.upgrade()
    fill(store)
    if package == "gone":
        store.uninstall("loyalty")

    done = store.db("purge", "loyalty", "--yes").expect(0)

    assert "table points: 2 rows" in done.out
    assert "table level: 1 row\n" in done.out
    assert "column score of customer" in done.out
    assert "index ix_product_id of product" in done.out
    assert "foreign key points(customer_id) to customer" in done.out
    assert ("still installed" in done.out) == (package == "installed")
    assert everything_but_loyalty(store) == before
    assert store.journal[-1] == "purged loyalty"
    if package == "gone":
        assert store.upgrade() == []
    store.plugin("loyalty", *LOYALTY, version="1.5")
    assert store.upgrade() == ["loyalty@l1", "loyalty@l2"]


def own_dump(database: Database) -> object:
    """The schema as the database itself writes it, byte for byte."""
    if database.backend == "postgresql":
        return pg_dump(database, "--schema-only")
    return database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")


@pytest.mark.parametrize("package", ["installed", "gone"])
def test_the_databases_own_dump_of_the_schema_is_what_it_was(
    tmp_path: Path, database: Database, package: str
) -> None:
    """With tables, an association table, a column and indexes on others', views and enums."""
    store = Store(tmp_path, database)
    store.core(*CORE)
    store.upgrade()
    before = own_dump(database)
    enum = "sa.Enum('new', 'old', name='grade')"
    graded = revision_file(
        "l3",
        down="l2",
        created="2024-03-03",
        upgrade=f"{enum}.create(op.get_bind())\n"
        "op.execute('ALTER TABLE product ADD COLUMN grade grade')\n"
        "op.create_table('medal', sa.Column('id', sa.Integer, primary_key=True),\n"
        f"    sa.Column('rank', {enum.replace('grade', 'rank')}))\n"
        "op.execute('CREATE VIEW best AS SELECT p.id, grade FROM product p, level')",
        downgrade="op.execute('DROP VIEW best')\n"
        "op.drop_table('medal')\n"
        f"{enum.replace('grade', 'rank')}.drop(op.get_bind())\n"
        "op.drop_column('product', 'grade')\n"
        f"{enum}.drop(op.get_bind())",
    )
    store.plugin("loyalty", *LOYALTY, graded)
    store.upgrade()
    assert "grade" in str(own_dump(database))
    if package == "gone":
        store.uninstall("loyalty")
    store.db("purge", "loyalty", "--yes").expect(0)
    assert own_dump(database) == before


def test_an_index_on_an_expression_goes_too(tmp_path: Path, every_database: Database) -> None:
    """SQLite's reflection does not see it; MariaDB has none, so there it is on a column."""
    store = Store(tmp_path, every_database)
    store.core(*CORE)
    store.upgrade()
    of = "name" if every_database.backend == "mariadb" else "lower(name)"
    made = f"op.execute('CREATE INDEX ix_low ON customer ({of})')"
    store.plugin("loyalty", revision_file("l1", depends="c2", upgrade=made))
    store.upgrade()
    assert "index customer.ix_low loyalty@l1" in store.objects
    store.uninstall("loyalty")
    store.db("purge", "loyalty", "--yes").expect()
    every_database.execute(f"CREATE INDEX ix_low ON customer ({of})")


def test_nothing_goes_before_somebody_agreed(store: Store) -> None:
    """Without a terminal it must be said; what would go is shown all the same."""
    store.plugin("loyalty", *LOYALTY)
    store.upgrade()
    before = store.database.dump()
    refused = store.db("purge", "loyalty").expect(8)
    assert "table points: 0 rows" in refused.out
    assert "Error AB412" in refused.err
    assert "Next:  Say --yes to do it." in refused.err
    assert store.database.dump() == before


def test_a_plugin_that_others_need_stays_unless_they_go_too(store: Store) -> None:
    """Each dependant is named with its reason; a cascade takes them in the right order."""
    before = everything_but_loyalty(store)
    store.plugin("loyalty", *LOYALTY)
    store.plugin(
        "gifts",
        revision_file(
            "g1",
            depends="l2",
            created="2024-04-01",
            upgrade="op.create_table('gift', sa.Column('id', sa.Integer, "
            "sa.ForeignKey('points.id'), primary_key=True))\n"
            "op.add_column('points', sa.Column('gifts', sa.Integer))",
        ),
    )
    store.upgrade()
    store.uninstall("loyalty")
    dump = store.database.dump()
    refused = store.db("purge", "loyalty", "--yes").expect(8)
    assert (
        "Error AB411: gifts would not work without loyalty: gifts@g1 of gifts needs loyalty@l2."
        in refused.err
    )
    assert store.database.dump() == dump

    done = store.db("purge", "loyalty", "--yes", "--cascade").expect(0)
    assert done.out.index("gifts: 1 applied revision") < done.out.index("loyalty: 2 applied")
    assert everything_but_loyalty(store) == before
    assert store.journal[-2:] == ["purged gifts", "purged loyalty"]


def test_a_guest_on_its_table_is_a_dependant_without_saying_so(store: Store) -> None:
    """Gifts declares nothing, but its column and its foreign key would be lost."""
    store.plugin("loyalty", *LOYALTY)
    store.upgrade()
    store.plugin(
        "gifts",
        revision_file(
            "g1",
            created="2024-04-01",
            upgrade="op.add_column('level', sa.Column('gifts', sa.Integer))",
        ),
    )
    store.upgrade()
    with store.manager() as manager, pytest.raises(DependedOnError) as caught:
        manager.purge(store.deployment, "loyalty")
    assert "gifts has the column gifts on level of loyalty." in caught.value.what


def test_a_foreign_key_of_nobodys_table_is_in_the_way(store: Store) -> None:
    """Somebody's own table refers to the plugin's; not even a cascade may decide for them."""
    store.plugin("loyalty", *LOYALTY)
    store.upgrade()
    store.database.execute(
        "CREATE TABLE report (id INTEGER PRIMARY KEY, level_id INTEGER, "
        "CONSTRAINT fk_report FOREIGN KEY (level_id) REFERENCES level (id))"
    )
    refused = store.db("purge", "loyalty", "--yes", "--cascade").expect(8)
    assert "The foreign key fk_report of report, which is nobody's, refers to level" in refused.err
    store.database.execute("DROP TABLE report")
    store.db("purge", "loyalty", "--yes").expect(0)


def test_what_was_dropped_by_hand_is_not_missed(store: Store) -> None:
    """A table that is gone already, and a column too."""
    store.plugin("loyalty", *LOYALTY)
    store.upgrade()
    store.uninstall("loyalty")
    store.database.execute(
        "DROP TABLE points_product",
        "DROP INDEX ix_customer_score",
        "ALTER TABLE customer DROP COLUMN score",
    )
    done = store.db("purge", "loyalty", "--yes").expect(0)
    assert "table points_product is not there any more" in done.out
    assert "score" not in done.out
    assert set(store.schema) == {"customer", "product", "invoice"}


def test_a_constraint_and_the_column_it_is_on_go_from_anothers_table(store: Store) -> None:
    """Where SQLite must rebuild the table, rows, constraints and indexes of the owner stay."""
    store.database.execute("CREATE INDEX ix_hand ON customer (name)")
    before = everything_but_loyalty(store)
    store.plugin(
        "loyalty",
        revision_file("l1", depends="c2", created="2024-03-01", upgrade=table("level")),
        revision_file(
            "l2",
            down="l1",
            created="2024-03-02",
            upgrade="with op.batch_alter_table('customer') as batch:\n"
            "    batch.add_column(sa.Column('level_id', sa.Integer))\n"
            "    batch.create_foreign_key('fk_customer_level', 'level', ['level_id'], ['id'])\n"
            "    batch.create_check_constraint('ck_name', \"name <> ''\")\n"
            "    batch.create_unique_constraint('uq_two', ['id', 'name'])\n",
        ),
    )
    store.upgrade()
    store.uninstall("loyalty")
    store.db("purge", "loyalty", "--yes").expect(0)
    after = everything_but_loyalty(store)
    for each in (before, after):
        each.pop("text")
    assert after == before


RICH = (
    "CREATE TABLE shelf (id INTEGER PRIMARY KEY AUTOINCREMENT, "
    "name TEXT COLLATE NOCASE NOT NULL, price INTEGER CHECK (price > 0),\n"
    "twice INTEGER GENERATED ALWAYS AS (price * 2) STORED, UNIQUE (name) ON CONFLICT IGNORE)",
    "CREATE TABLE log (text TEXT)",
    "CREATE INDEX ix_shelf_low ON shelf (lower(name) DESC) WHERE price < 9",
    "CREATE TRIGGER shelf_log AFTER UPDATE OF name ON shelf "
    "BEGIN INSERT INTO log VALUES (new.name); END",
    "CREATE VIEW cheap AS SELECT name FROM shelf WHERE price < 5",
    "INSERT INTO shelf (id, name, price) VALUES (1, 'low', 1), (9, 'high', 8)",
    "DELETE FROM shelf WHERE id = 9",
)
"""What a rebuild through reflection would lose of a table, one of each."""


def rich(directory: Path) -> Store:
    """A core whose table SQLAlchemy cannot reflect in full, and what a plugin refers to."""
    store = Store(directory, sqlite(directory / "store.sqlite"))
    body = "\n".join(f"op.execute({statement!r})" for statement in RICH)
    store.core(revision_file("c1", created="2024-01-01", upgrade=body))
    store.upgrade()
    return store


def put_on_shelf(store: Store, body: str, *after: str) -> None:
    """Let a plugin do *body* to the core's table, and then leave with its package."""
    first = revision_file("l1", depends="c1", created="2024-03-01", upgrade=table("level"))
    store.plugin("loyalty", first, revision_file("l2", down="l1", upgrade=body))
    store.upgrade()
    store.uninstall("loyalty")
    store.database.execute(*after or ["SELECT 1"])


def test_a_rebuild_keeps_what_reflection_does_not_see(tmp_path: Path) -> None:
    """Only the table's own text is written anew; the rest is byte for byte what it was."""
    store = rich(tmp_path)

    def everything() -> list[object]:
        others = "SELECT name, sql FROM sqlite_master WHERE name <> 'shelf' ORDER BY name"
        queries = (others, "PRAGMA table_xinfo(shelf)", "SELECT * FROM sqlite_sequence")
        return [*map(store.database.execute, queries), store.database.rows("shelf")]

    before = everything()
    put_on_shelf(
        store,
        "with op.batch_alter_table('shelf') as batch:\n"
        "    batch.add_column(sa.Column('level_id', sa.Integer))\n"
        "    batch.create_foreign_key('fk_shelf_level', 'level', ['level_id'], ['id'])",
    )
    store.db("purge", "loyalty", "--yes").expect()
    assert everything() == before
    store.database.execute(
        "INSERT INTO shelf (name, price) VALUES ('LOW', 3), ('mid', 4)",
        "UPDATE shelf SET name = 'middle' WHERE name = 'MID'",
    )
    assert store.database.rows("log") == [{"text": "middle"}]
    assert [(row["id"], row["twice"]) for row in store.database.rows("shelf")][-1] == (11, 8)
    with pytest.raises(sa.exc.IntegrityError):
        store.database.execute("INSERT INTO shelf (name, price) VALUES ('free', 0)")


def test_a_column_that_refers_goes_without_a_rebuild(tmp_path: Path) -> None:
    """Where SQLite drops the foreign key with its column, the table's text is what it was."""
    everything = "SELECT name, sql FROM sqlite_master WHERE name <> 'level' ORDER BY name"
    store = rich(tmp_path)
    before = store.database.execute(everything)
    put_on_shelf(
        store, "op.execute('ALTER TABLE shelf ADD COLUMN level_id INTEGER REFERENCES level (id)')"
    )
    store.db("purge", "loyalty", "--yes").expect()
    assert store.database.execute(everything) == before


def test_a_trigger_that_would_be_lost_is_in_the_way(tmp_path: Path) -> None:
    store = rich(tmp_path)
    put_on_shelf(
        store,
        "op.add_column('shelf', sa.Column('score', sa.Integer))",
        "CREATE TRIGGER score_log AFTER UPDATE OF score ON shelf WHEN new.score > 1 "
        "BEGIN INSERT INTO log VALUES (new.score); END",
    )
    before = store.database.dump()
    refused = store.db("purge", "loyalty", "--yes").expect(8)
    assert "table shelf: trigger score_log (no such column" in refused.err
    assert store.database.dump() == before
    store.database.execute("DROP TRIGGER score_log")
    store.db("purge", "loyalty", "--yes").expect()


def test_tables_that_refer_to_each_other_go_together(store: Store) -> None:
    before = store.schema
    store.plugin(
        "loyalty",
        revision_file(
            "l1",
            depends="c2",
            created="2024-03-01",
            upgrade="op.create_table('egg', sa.Column('id', sa.Integer, primary_key=True), "
            "sa.Column('hen_id', sa.Integer))\n"
            "op.create_table('hen', sa.Column('id', sa.Integer, primary_key=True), "
            "sa.Column('egg_id', sa.Integer, sa.ForeignKey('egg.id', name='fk_hen_egg')),\n"
            "sa.Column('mother_id', sa.Integer, sa.ForeignKey('hen.id', name='fk_hen_mother')))\n"
            "with op.batch_alter_table('egg') as batch:\n"
            "    batch.create_foreign_key('fk_egg_hen', 'hen', ['hen_id'], ['id'])\n",
        ),
    )
    store.upgrade()
    store.uninstall("loyalty")
    store.db("purge", "loyalty", "--yes").expect(0)
    assert store.schema == before


def test_views_and_types_go_too(store: Store) -> None:
    """A view on a view, and an enumerated type that a column of the core's table has."""
    before = store.schema
    enum = "sa.Enum('new', 'old', name='grade')"
    store.plugin(
        "loyalty",
        revision_file(
            "l1",
            depends="c2",
            created="2024-03-01",
            upgrade=f"""
            op.create_table('level', sa.Column('id', sa.Integer, primary_key=True),
                            sa.Column('grade', {enum}))
            op.execute("CREATE VIEW a_best AS SELECT id FROM level")
            op.execute("CREATE VIEW z_best AS SELECT id FROM a_best")
            op.execute("CREATE VIEW names AS SELECT name FROM customer")
            """,
        ),
        revision_file(
            "l2",
            down="l1",
            created="2024-03-02",
            upgrade="op.execute('DROP VIEW names')\n"
            "op.execute('CREATE VIEW names AS SELECT id, name FROM customer')",
        ),
    )
    store.upgrade()
    store.uninstall("loyalty")
    done = store.db("purge", "loyalty", "--yes").expect(0)
    assert "view a_best" in done.out
    assert store.schema == before


def test_a_view_that_the_core_makes_too_stays(store: Store) -> None:
    """What the core replaces is the core's from then on; what a plugin replaces is not its own."""
    how = "IF NOT EXISTS " if store.database.backend == "sqlite" else ""
    replace = "" if how else "OR REPLACE "

    def view(name: str) -> str:
        return f"op.execute('CREATE {replace}VIEW {how}{name} AS SELECT id FROM customer')"

    store.core(*CORE, revision_file("c3", down="c2", created="2024-02-02", upgrade=view("mine")))
    views = f"{view('mine')}\n{view('yours')}\n{view('ours')}"
    store.plugin("loyalty", revision_file("l1", depends="c3", upgrade=views))
    store.upgrade()
    store.core(
        *CORE,
        revision_file("c3", down="c2", created="2024-02-02", upgrade=view("mine")),
        revision_file("c4", down="c3", created="2025-05-01", upgrade=view("ours")),
    )
    store.upgrade()
    assert {item for item in store.objects if item.startswith("view")} == {
        "view mine.mine core@c3",
        "view yours.yours loyalty@l1",
        "view ours.ours core@c4",
    }
    store.db("purge", "loyalty", "--yes").expect()
    assert {"mine", "ours"} <= set(store.schema)
    assert "yours" not in store.schema


PROGRAMS = {
    "sqlite": (
        "CREATE TRIGGER counts AFTER INSERT ON customer BEGIN INSERT INTO level VALUES (NULL); END",
        "CREATE TRIGGER own AFTER DELETE ON level BEGIN SELECT 1; END",
    ),
    "postgresql": (
        "CREATE SEQUENCE tickets",
        "CREATE OR REPLACE FUNCTION count_it(step integer) RETURNS integer LANGUAGE sql AS "
        "'SELECT step'",
        "CREATE FUNCTION on_customer() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO level VALUES (nextval('tickets')); RETURN NEW; END $$",
        "CREATE TRIGGER counts AFTER INSERT ON public.customer "
        "FOR EACH ROW EXECUTE FUNCTION on_customer()",
        "CREATE PROCEDURE tidy() LANGUAGE sql AS 'DELETE FROM level'",
    ),
    "mariadb": (
        "CREATE SEQUENCE tickets",
        "CREATE TRIGGER counts AFTER INSERT ON customer FOR EACH ROW "
        "INSERT INTO level VALUES (NEXTVAL(tickets))",
        "CREATE FUNCTION count_it(step INT) RETURNS INT DETERMINISTIC RETURN step",
        "CREATE PROCEDURE tidy() DELETE FROM level",
    ),
}
DROPS = {
    "sqlite": ("DROP TRIGGER counts",),
    "postgresql": (
        "DROP TRIGGER counts ON customer",
        "DROP FUNCTION on_customer(), count_it(integer)",
        "DROP PROCEDURE IF EXISTS tidy",
        "DROP SEQUENCE tickets",
    ),
    "mariadb": (
        "DROP TRIGGER counts",
        "DROP FUNCTION count_it",
        "DROP PROCEDURE tidy",
        "DROP SEQUENCE tickets",
    ),
}


def programs(database: Database) -> list[str]:
    """The triggers, functions, procedures and sequences that there are."""
    question = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY 1",
        "postgresql": "SELECT tgname AS name FROM pg_trigger WHERE NOT tgisinternal UNION "
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace UNION "
        "SELECT sequence_name FROM information_schema.sequences "
        "WHERE sequence_name NOT LIKE '%_seq' ORDER BY 1",
        "mariadb": "SELECT trigger_name AS name FROM information_schema.triggers "
        "WHERE trigger_schema = database() UNION SELECT routine_name FROM "
        "information_schema.routines WHERE routine_schema = database() UNION SELECT table_name "
        "FROM information_schema.tables WHERE table_type = 'SEQUENCE' "
        "AND table_schema = database() ORDER BY 1",
    }[database.backend]
    return [row["name"] for row in database.execute(question)]


def test_triggers_functions_and_sequences_go_too(every_store: Store) -> None:
    """From others' tables, which would not work without; what others replaced since stays."""
    store, backend = every_store, every_store.database.backend
    own = [f"op.execute({statement!r})" for statement in PROGRAMS[backend]]
    first = revision_file("l1", depends="c2", created="2024-03-01", upgrade=table("level"))
    second = revision_file("l2", down="l1", created="2024-03-02", upgrade="\n".join(own))
    store.core(*CORE)
    store.plugin("loyalty", first, second)
    store.upgrade()
    there = programs(store.database)
    assert "counts" in there
    # The core rebuilds its table, or alters it, and the trigger stays the plugin's.
    wider = "with op.batch_alter_table('customer') as batch:\n"
    wider += "    batch.alter_column('name', type_=sa.String(60), existing_nullable=False)"
    store.core(*CORE, revision_file("c3", down="c2", created="2024-05-01", upgrade=wider))
    store.upgrade()
    assert programs(store.database) == there
    store.uninstall("loyalty")
    assert "  trigger counts of customer" in store.db("status").expect().out
    done = store.db("purge", "loyalty", "--yes").expect()
    assert "  trigger counts of customer" in done.out
    assert programs(store.database) == []
    assert not [item for item in store.objects if "loyalty" in item]
    store.database.execute("INSERT INTO customer (id, name) VALUES (1, 'Ada')")


def test_a_function_goes_by_its_arguments(tmp_path: Path, postgresql_database: Database) -> None:
    """One of the same name is the core's, another somebody's; an aggregate is a function too."""
    store = Store(tmp_path, postgresql_database)
    body = "RETURNS integer LANGUAGE sql AS 'SELECT 1'"
    store.core(revision_file("c1", upgrade=f'op.execute("CREATE FUNCTION f(a integer) {body}")'))
    store.upgrade()
    store.database.execute(f"CREATE FUNCTION f(a text) {body}")
    before = own_dump(store.database)
    made = (
        f"CREATE OR REPLACE FUNCTION f(a numeric(9, 2), b \"char\" DEFAULT 'x') {body}",
        f"CREATE FUNCTION f() {body}",
        "CREATE TABLE level (id integer PRIMARY KEY CHECK (f() < 9))",
        "CREATE FUNCTION levels() RETURNS SETOF level LANGUAGE sql AS 'SELECT * FROM level'",
        "CREATE FUNCTION f(a level) RETURNS level LANGUAGE sql AS 'SELECT a'",
        "CREATE PROCEDURE f(INOUT a date) LANGUAGE sql AS 'SELECT a'",
        "CREATE AGGREGATE f(bigint) (SFUNC = int8pl, STYPE = bigint)",
        f"CREATE OR REPLACE FUNCTION f(a integer) {body}",
        f"CREATE FUNCTION passing(a integer) {body}",
        "DROP FUNCTION passing",
        f'CREATE FUNCTION "Was"(a integer) {body}',
        'ALTER FUNCTION "Was"(integer) RENAME TO "Is"',
    )
    upgrade = "\n".join(f"op.execute({each!r})" for each in made)
    store.plugin("loyalty", revision_file("l1", depends="c1", upgrade=upgrade))
    store.upgrade()
    store.uninstall("loyalty")
    done = store.db("purge", "loyalty", "--yes").expect()
    assert '  function f(numeric, "char")' in done.out
    assert own_dump(store.database) == before
    assert {item for item in store.objects if "function" in item} == {
        "function f.f(integer) core@c1"
    }


HANGS_TOGETHER = {
    "postgresql": (
        "CREATE TABLE level (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE level_1 PARTITION OF level FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "CREATE TABLE basis (id integer)",
        "CREATE TABLE derived (more integer) INHERITS (basis)",
    ),
    "mariadb": (
        "CREATE TABLE level (id INT PRIMARY KEY)",
        "ALTER TABLE customer ADD COLUMN level_id INT, "
        "ADD FOREIGN KEY (level_id) REFERENCES level (id)",
        "ALTER TABLE customer ADD COLUMN twice INT GENERATED ALWAYS AS (level_id * 2) VIRTUAL",
        "ALTER TABLE product ADD CONSTRAINT uq_two UNIQUE (id)",
        "CREATE FULLTEXT INDEX ix_words ON customer (name)",
    ),
}


@pytest.mark.parametrize("backend", HANGS_TOGETHER)
def test_what_hangs_together_goes_in_an_order_that_works(
    tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    """Partitions and what inherits; an index that a foreign key needs, a column of a column."""
    store = Store(tmp_path, request.getfixturevalue(f"{backend}_database"))
    store.core(*CORE)
    store.upgrade()
    before = store.schema
    upgrade = "\n".join(f"op.execute({each!r})" for each in HANGS_TOGETHER[backend])
    store.plugin("loyalty", revision_file("l1", depends="c2", upgrade=upgrade))
    store.upgrade()
    store.uninstall("loyalty")
    store.db("purge", "loyalty", "--yes").expect()
    assert store.schema == before
    assert not [item for item in store.objects if "loyalty" in item]


def test_a_trigger_follows_the_table_that_gets_another_name(every_store: Store) -> None:
    """In a later revision of somebody else's, or in that which makes it, and then it goes."""
    store, backend = every_store, every_store.database.backend
    do = {
        "sqlite": "BEGIN SELECT 1; END",
        "postgresql": "EXECUTE FUNCTION nothing()",
        "mariadb": "SET @a = 1",
    }[backend]

    def made(name: str, table: str) -> str:
        each = "" if backend == "sqlite" else "FOR EACH ROW "
        return f"op.execute('CREATE TRIGGER {name} AFTER INSERT ON {table} {each}{do}')"

    function = "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$"
    first = f"op.execute('{function}')" if backend == "postgresql" else ""
    first = "\n".join([first, made("early", "product"), table("level")])
    second = "op.rename_table('goods', 'article')\nop.rename_table('level', 'grade')\n"
    second = f"{made('late', 'goods')}\n{made('own', 'level')}\n{second}"
    store.core(*CORE)
    store.plugin("loyalty", revision_file("l1", depends="c2", created="2024-03-01", upgrade=first))
    store.upgrade()
    renamed = "op.rename_table('product', 'goods')"
    store.core(*CORE, revision_file("c3", down="c2", created="2024-05-01", upgrade=renamed))
    store.upgrade()
    store.plugin(
        "loyalty",
        revision_file("l1", depends="c2", created="2024-03-01", upgrade=first),
        revision_file("l2", down="l1", depends="c3", created="2024-06-01", upgrade=second),
    )
    store.upgrade()
    assert {item for item in store.objects if item.startswith("trigger")} == {
        "trigger article.early loyalty@l1",
        "trigger article.late loyalty@l2",
        "trigger grade.own loyalty@l2",
    }
    store.uninstall("loyalty")
    store.db("purge", "loyalty", "--yes").expect()
    assert programs(store.database) == []
    assert not [item for item in store.objects if "loyalty" in item]


@pytest.mark.parametrize("name", ["counts", "level"])
def test_what_came_after_it_was_shown_stops_a_purge(sqlite_store: Store, name: str) -> None:
    """Nobody agreed to that."""
    store, (counts, _) = sqlite_store, PROGRAMS["sqlite"]
    made = f"{table('level')}\nop.execute({counts!r})"
    store.core(*CORE)
    store.plugin("loyalty", revision_file("l1", depends="c2", created="2024-03-01", upgrade=made))
    store.upgrade()
    again = {"counts": counts, "level": "CREATE TABLE level (id INTEGER PRIMARY KEY)"}
    store.database.execute(f"DROP {'TRIGGER' if name == 'counts' else 'TABLE'} {name}")

    def agree(_shown: object) -> None:
        store.database.execute(again[name])

    with store.manager() as manager, pytest.raises(RefusedError, match="changed while"):
        manager.purge(store.deployment, "loyalty", agree=agree)
    assert {"level"} <= set(store.schema)
    assert programs(store.database) == ["counts"]


def test_what_a_downgrade_drops_of_these_is_not_the_plugins_any_more(every_store: Store) -> None:
    """Dropped and made by somebody else since: a purge of the plugin leaves it alone."""
    store, backend = every_store, every_store.database.backend
    made, dropped = (
        "\n".join(f"op.execute({statement!r})" for statement in of[backend])
        for of in (PROGRAMS, DROPS)
    )
    first = revision_file("l1", depends="c2", created="2024-03-01", upgrade=table("level"))
    second = revision_file("l2", down="l1", upgrade=made, downgrade=dropped)
    store.core(*CORE)
    store.plugin("loyalty", first, second)
    store.upgrade()
    store.db("downgrade", "loyalty@l1", "--yes").expect()
    kinds = ("trigger", "function", "procedure", "sequence")
    left = [item for item in store.objects if item.startswith(kinds)]
    assert left == (["trigger level.own loyalty@l2"] if backend == "sqlite" else [])
    by_hand = PROGRAMS[backend]
    if backend == "sqlite":  # the name of one that is recorded still, on another table
        other = "CREATE TRIGGER own AFTER DELETE ON customer BEGIN SELECT 1; END"
        by_hand = ("DROP TRIGGER own", other)
    store.database.execute(*by_hand)
    before = programs(store.database)
    assert before
    store.uninstall("loyalty")
    store.db("purge", "loyalty", "--yes").expect()
    assert programs(store.database) == before


def test_somebodys_view_on_its_table_is_in_the_way(store: Store) -> None:
    """It would break: nothing is changed, and it is named."""
    store.plugin("loyalty", *LOYALTY)
    store.upgrade()
    store.database.execute("CREATE VIEW report AS SELECT id FROM level")
    before = store.database.dump()
    for options in ((), ("--no-downgrades",)):
        refused = store.db("purge", "loyalty", "--yes", *options)
        assert refused.code in (5, 8)
        assert "report" in refused.err
        assert "Traceback" not in refused.err
        # It would not help where the database lets the table go and the view breaks.
        assert ("--no-downgrades" in refused.err) == (refused.code == 5)
    assert store.database.schema(ignore=["anabranch_journal"])
    assert before.count("INSERT INTO level") == store.database.dump().count("INSERT INTO level")
    assert store.applied >= {"loyalty@l1", "loyalty@l2"}
    assert "points" in store.schema
    store.database.execute("DROP VIEW report")
    store.db("purge", "loyalty", "--yes").expect(0)


def test_only_a_plugin_that_has_something_can_go(store: Store) -> None:
    with store.manager() as manager:
        with pytest.raises(UsageError, match="The core cannot be taken out"):
            manager.purge(store.deployment, "core")
        with pytest.raises(UsageError, match=r"of 'biling'\. Did you mean 'billing'"):
            manager.purge(store.deployment, "biling")
        manager.purge(store.deployment, "Billing")
    assert set(store.schema) == {"customer", "product"}


def test_what_another_tool_made_is_not_said_to_be_gone(store: Store) -> None:
    """Nobody recorded what that is: without downgrades nothing is changed, and ways on are named.

    Once the tables are adopted they can go, and come back with the next init-db.
    """
    ours = [name for name in BOOKKEEPING if name != "alembic_version"]
    store.database.execute(*(f"DROP TABLE IF EXISTS {name}" for name in ours))
    store.init_db().expect()
    before = store.database.dump()
    # Its revision has no downgrade, so without the option none would run either.
    for options in (["--no-downgrades"], []):
        refused = store.db("purge", "billing", "--yes", *options).expect(8)
        assert "What billing@b1 made in this database is not recorded" in refused.err
        assert "'db adopt DIR --plugin billing'" in refused.err
        assert store.database.dump() == before
    store.db("adopt", "--plugin", "billing").expect()
    store.db("purge", "billing", "--yes", "--no-downgrades").expect()
    assert set(store.schema) == {"customer", "product"}
    store.init_db().expect()
    assert "invoice" in store.schema


def test_a_disabled_plugin_does_not_come_back(tmp_path: Path, sqlite_database: Database) -> None:
    store = Store(tmp_path, sqlite_database)
    store.core(*CORE)
    store.plugin("billing", *BILLING)
    store.upgrade()
    store.configure('[plugins]\ndisabled = ["billing"]')
    assert "still installed" not in store.db("purge", "billing", "--yes").expect().out
    assert store.upgrade() == []
    assert set(store.schema) == {"customer", "product"}


def test_forgetting_leaves_the_tables(store: Store) -> None:
    """Only the records go; the plugin's tables are nobody's afterwards."""
    store.plugin("loyalty", *LOYALTY)
    store.upgrade()
    store.uninstall("loyalty")
    schema = store.schema
    store.db("forget", "loyalty").expect(8)
    done = store.db("forget", "loyalty", "--yes").expect(0)
    assert "Its tables stay: level, points, points_product." in done.out
    assert store.schema == schema
    assert store.applied == {"core@c1", "core@c2", "billing@b1"}
    assert not [item for item in store.objects if "loyalty" in item]
    assert store.journal[-1] == "forgotten loyalty"
    assert "up to date" in store.init_db().expect(0).out


def test_seeds_are_put_in_place_again_when_their_tables_are_new(store: Store) -> None:
    """What was sown went with the tables, by a purge or by a downgrade."""
    store.plugin(
        "loyalty",
        *LOYALTY,
        hooks="""
        import sqlalchemy as sa
        from anabranch_plugins_api import Seed, hookimpl

        @hookimpl
        def anabranch_seeds():
            return [Seed("levels", sow)]

        def sow(connection):
            connection.execute(sa.text("INSERT INTO level (id) VALUES (1)"))
        """,
    )
    with store.manager() as manager:
        manager.upgrade(store.deployment)
        manager.upgrade(store.deployment)
        assert store.database.rows("level") == [{"id": 1}]
        manager.downgrade(store.deployment, "loyalty@-1")
        manager.upgrade(store.deployment)
        assert store.database.rows("level") == [{"id": 1}]
        manager.downgrade(store.deployment, "loyalty@base")
        manager.upgrade(store.deployment)
        assert store.database.rows("level") == [{"id": 1}]
        manager.purge(store.deployment, "loyalty", downgrades=False)
        manager.upgrade(store.deployment)
        assert store.database.rows("level") == [{"id": 1}]


GIVING = """
sa.Column('id', sa.Integer, primary_key=True), sa.Column('note', sa.String(9))
"""
IF_NOT_THERE = f"""
inspector = sa.inspect(op.get_bind())
if not inspector.has_table('gift'):
    op.create_table('gift', {GIVING.strip()})
if 'score' not in {{column['name'] for column in inspector.get_columns('customer')}}:
    op.add_column('customer', sa.Column('score', sa.Integer))
"""
GIFTS = [
    revision_file(
        "g1",
        depends="c2",
        created="2024-03-01",
        upgrade=f"op.create_table('gift', {GIVING.strip()})\n"
        "op.create_table('wish', sa.Column('id', sa.Integer, primary_key=True))",
        downgrade="op.drop_table('gift')\nop.drop_table('wish')",
    ),
    revision_file(
        "g2",
        down="g1",
        created="2024-03-02",
        upgrade="op.add_column('gift', sa.Column('worth', sa.Integer))\n"
        "op.add_column('customer', sa.Column('score', sa.Integer))",
        downgrade="op.drop_column('customer', 'score')\nop.drop_column('gift', 'worth')",
    ),
]


def give(store: Store) -> None:
    """Apply the plugin gifts, and put a row into its table."""
    store.plugin("gifts", *GIFTS)
    store.upgrade()
    store.database.execute("INSERT INTO gift (id, note, worth) VALUES (1, 'a book', 5)")


@pytest.mark.parametrize("package", ["installed", "gone"])
def test_what_the_core_took_up_by_a_revision_stays(store: Store, package: str) -> None:
    """The core's revision found them there, and would have created them."""
    give(store)
    store.core(*CORE, revision_file("c3", down="c2", created="2024-05-01", upgrade=IF_NOT_THERE))
    store.upgrade()
    if package == "gone":
        store.uninstall("gifts")
    done = store.db("purge", "gifts", "--yes").expect()
    assert "Stays     table gift, for core: core@c3 creates it too." in done.out
    assert "Stays     column score of customer, for core: core@c3 creates it too." in done.out
    assert "table wish: 0 rows" in done.out
    assert "downgrades run" not in done.out
    assert set(store.schema) == {"customer", "product", "invoice", "gift"}
    assert store.database.rows("gift") == [{"id": 1, "note": "a book", "worth": 5}]
    assert "score" in store.database.rows("customer")[0]
    assert {item for item in store.objects if "gift" in item or "score" in item} == {
        "table gift core@",
        "column gift.worth core@",
        "column customer.score core@",
    }
    if package == "gone":
        assert "up to date" in store.init_db().expect().out


def test_what_the_cores_models_have_stays(store: Store) -> None:
    """No revision of the core speaks of it; a copy in another plugin's models is none of its."""
    give(store)
    store.uninstall("gifts")
    models = """
    class Gift(Base):
        __tablename__ = "gift"

        id: Mapped[int] = mapped_column(primary_key=True)


    class Customer(Base):
        __tablename__ = "customer"

        id: Mapped[int] = mapped_column(primary_key=True)
        score: Mapped[int | None]
    """
    store.core(*CORE, models=models)
    done = store.db("purge", "gifts", "--yes").expect()
    assert "Stays     table gift, for core: the core's models have it." in done.out
    assert "Stays     column score of customer, for core: the core's models have it." in done.out
    assert set(store.schema) == {"customer", "product", "invoice", "gift"}
    assert store.database.rows("gift") == [{"id": 1, "note": "a book", "worth": 5}]


def test_what_another_plugin_takes_up_and_drops_again_goes(store: Store) -> None:
    """What a revision creates and a later one drops, its owner does not count on any more."""
    give(store)
    store.plugin(
        "wishes",
        revision_file(
            "w1",
            depends="c1",
            created="2024-06-01",
            upgrade="op.execute('CREATE TABLE IF NOT EXISTS wish (id INTEGER PRIMARY KEY)')\n"
            "if False:\n    op.create_table('gift')",
        ),
        revision_file(
            "w2",
            down="w1",
            created="2024-06-02",
            upgrade="if False:\n    op.drop_table('gift')",
        ),
    )
    store.upgrade()
    done = store.db("purge", "gifts", "--yes").expect()
    assert "Stays     table wish, for wishes: wishes@w1 creates it too." in done.out
    assert set(store.schema) == {"customer", "product", "invoice", "wish"}
    assert "table wish wishes@" in store.objects
    store.db("purge", "wishes", "--yes").expect()
    assert set(store.schema) == {"customer", "product", "invoice"}


def test_a_downgrade_does_not_drop_what_the_core_took_up(store: Store) -> None:
    give(store)
    store.core(*CORE, revision_file("c3", down="c2", created="2024-05-01", upgrade=IF_NOT_THERE))
    store.upgrade()
    before = store.schema
    refused = store.db("downgrade", "gifts@base", "--yes")
    assert refused.code in (5, 6)
    assert "its downgrade() changes what is not gifts's" in refused.err
    assert store.schema == before
    assert store.database.rows("gift") == [{"id": 1, "note": "a book", "worth": 5}]


@pytest.mark.parametrize("how", ["anew", "if it is not there"])
def test_an_index_that_the_core_makes_anew_is_the_cores(store: Store, how: str) -> None:
    """It was the plugin's, on a table of the core's; the core dropped it and made another."""
    store.plugin("loyalty", *LOYALTY)
    store.upgrade()
    anew = "op.drop_index('ix_product_id', 'product')\n"
    store.core(
        *CORE,
        revision_file(
            "c3",
            down="c2",
            created="2024-05-01",
            upgrade=anew * (how == "anew")
            + "op.create_index('ix_product_id', 'product', ['id']"
            + ", if_not_exists=True" * (how != "anew")
            + ")",
        ),
    )
    store.upgrade()
    assert ("index product.ix_product_id loyalty@l2" in store.objects) == (how != "anew")
    store.uninstall("loyalty")
    store.db("purge", "loyalty", "--yes").expect()
    assert [index["name"] for index in store.schema["product"]["indexes"]] == ["ix_product_id"]
    assert not [item for item in store.objects if "ix_product_id" in item]


@pytest.mark.parametrize("package", ["installed", "gone"])
def test_a_purge_on_mariadb(tmp_path: Path, mariadb_database: Database, package: str) -> None:
    """Where DDL commits by itself, the end is the same: nothing of the plugin, all of the rest."""
    store = Store(tmp_path, mariadb_database)
    store.core(*CORE)
    store.upgrade()
    before = (store.schema, store.applied, store.objects)
    view = revision_file(
        "l3",
        down="l2",
        created="2024-03-03",
        upgrade="op.execute('CREATE VIEW best AS SELECT id FROM level')",
        downgrade="op.execute('DROP VIEW best')",
    )
    store.plugin("loyalty", *LOYALTY, view)
    store.upgrade()
    store.database.execute("INSERT INTO customer (id, name, score) VALUES (1, 'Ada', 3)")
    if package == "gone":
        store.uninstall("loyalty")
    store.db("purge", "loyalty", "--yes").expect(0)
    assert (store.schema, store.applied, store.objects) == before
    assert store.database.rows("customer") == [{"id": 1, "name": "Ada"}]


@pytest.mark.parametrize(("verb", "target"), [("purge", "billing"), ("downgrade", "billing@base")])
def test_what_takes_rows_away_backs_them_up_first(tmp_path: Path, verb: str, target: str) -> None:
    store = Store(tmp_path, sqlite(tmp_path / "store.sqlite"))
    store.core(*CORE)
    drop = "op.drop_table('invoice')"
    store.plugin("billing", revision_file("b1", upgrade=table("invoice"), downgrade=drop))
    store.upgrade()
    store.database.execute("INSERT INTO invoice VALUES (7)")
    out = store.db(verb, target, "--yes").expect(0).out
    assert "invoice" not in store.schema
    (backup,) = (store.deployment / "backups").iterdir()
    assert str(backup) in out
    store.db("restore", backup.name, "--yes").expect(0)
    assert store.database.rows("invoice") == [{"id": 7}]
    kept = set((store.deployment / "backups").iterdir())
    store.db(verb, target, "--yes", "--no-backup").expect(0)
    assert set((store.deployment / "backups").iterdir()) == kept
