"""Whose a table, column, index or constraint is recorded to be, however it was made."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.databases import Database
from support.store import Store, table
from support.trees import revision_file


def ran(store: Store, *bodies: str, plugin: tuple[str, ...] = ()) -> set[str]:
    """Run the core's *bodies* as c1, c2 and so on, then a plugin's as p1, p2; the record then."""

    def line(letter: str, texts: tuple[str, ...]) -> list[str]:
        return [
            revision_file(
                f"{letter}{number}",
                down=f"{letter}{number - 1}" if number > 1 else None,
                created=f"2024-0{'cp'.index(letter) + 1}-{number:02}",
                upgrade=text,
            )
            for number, text in enumerate(texts, 1)
        ]

    store.core(*line("c", bodies))
    if plugin:
        store.plugin("extra", *line("p", plugin))
    store.upgrade()
    return store.objects


def sql(*statements: str) -> str:
    return "\n".join(f"op.execute({statement!r})" for statement in statements)


CREATED = {"table one core@c1"}


@pytest.mark.parametrize(
    "body",
    [
        table("one"),
        sql("CREATE TABLE one (id INTEGER)"),
        sql("  create\n table if not exists one (id INTEGER)"),
        sql('CREATE TABLE "one" ("id" INTEGER)'),
        sql("CREATE TABLE one(id INTEGER DEFAULT 1)"),
        sql("-- the first table\nCREATE TABLE one (id INTEGER)"),
        sql("/* the first;\n table */ -- really\n CREATE TABLE one (id INTEGER)"),
        sql("CREATE TABLE one AS SELECT 1 AS id"),
        sql("CREATE TABLE one (id INTEGER); -- done"),
        'op.get_bind().execute(sa.text("CREATE TABLE one (id INTEGER)"))',
        'op.get_bind().exec_driver_sql("CREATE TABLE one (id INTEGER)")',
        'sa.Table("one", sa.MetaData(), sa.Column("id", sa.Integer)).create(op.get_bind())',
    ],
)
def test_a_table_is_recorded_however_it_was_created(store: Store, body: str) -> None:
    """Operations, raw SQL in any dress, comments above it, metadata."""
    assert ran(store, body) == CREATED


def test_a_table_that_is_there_already_is_not_taken_over(store: Store) -> None:
    """``IF NOT EXISTS`` creates nothing, so the owner stays who it was."""
    again = sql("CREATE TABLE IF NOT EXISTS one (id INTEGER)")
    assert ran(store, table("one"), plugin=(again,)) == CREATED


def test_a_table_from_before_the_first_run_has_no_owner(store: Store) -> None:
    """What nobody's revision made is nobody's; only what is added to it is recorded."""
    store.database.execute("CREATE TABLE legacy (id INTEGER)")
    assert ran(store, "op.add_column('legacy', sa.Column('x', sa.Integer))") == {
        "column legacy.x core@c1"
    }


@pytest.mark.parametrize(
    "body",
    [
        'op.drop_table("one")',
        sql("DROP TABLE one"),
        sql("drop table if exists one"),
        sql('DROP TABLE IF EXISTS "one"'),
    ],
)
def test_a_dropped_table_is_forgotten_with_all_that_was_on_it(store: Store, body: str) -> None:
    """Another owner's column on it too."""
    add = "op.add_column('one', sa.Column('x', sa.Integer))"
    assert ran(store, table("one"), plugin=(add, body)) == set()


def test_several_tables_in_one_drop_are_forgotten(
    tmp_path: Path, postgresql_database: Database
) -> None:
    store = Store(tmp_path, postgresql_database)
    create = "\n".join(map(table, ("one", "two", "three")))
    assert ran(store, create, sql('DROP TABLE one, "two" CASCADE')) == {"table three core@c1"}


def test_what_is_created_and_dropped_in_one_revision_leaves_no_trace(store: Store) -> None:
    drop = "op.drop_table('two')"
    assert ran(store, "\n".join([table("one"), table("two"), drop])) == CREATED


@pytest.mark.parametrize(
    "body",
    [
        'op.rename_table("one", "new")',
        sql("ALTER TABLE one RENAME TO new"),
        sql('alter table "one" rename to "new"'),
        sql("ALTER TABLE one RENAME TO middle", "ALTER TABLE middle RENAME TO new"),
        sql(
            "ALTER TABLE one RENAME TO a",
            "ALTER TABLE a RENAME TO b",
            "ALTER TABLE b RENAME TO a",
            "ALTER TABLE a RENAME TO new",
        ),
    ],
)
def test_a_renamed_table_stays_its_creators(store: Store, body: str) -> None:
    """By its own owner: since that revision. By another: as it was, with what is on it."""
    add = "op.add_column('one', sa.Column('x', sa.Integer))"
    assert ran(store, table("one"), plugin=(add, body)) == {
        "table new core@c1",
        "column new.x extra@p1",
    }


def test_a_table_renamed_by_its_owner_exists_since_then(store: Store) -> None:
    """Whoever refers to the new name needs that revision."""
    assert ran(store, table("one"), "op.rename_table('one', 'new')") == {"table new core@c2"}


def test_two_tables_may_swap_their_names(store: Store) -> None:
    """Through a third name; each stays whose it is, with what is on it."""
    body = sql(*(f"ALTER TABLE {a} RENAME TO {b}" for a, b in [("o", "t"), ("p", "o"), ("t", "p")]))
    add = "op.add_column('o', sa.Column('x', sa.Integer))"
    assert ran(store, table("o"), plugin=(f"{table('p')}\n{add}", body)) == {
        "table p core@c1",
        "column p.x extra@p1",
        "table o extra@p2",
    }


def test_a_rebuild_written_by_hand_keeps_the_owner(store: Store) -> None:
    """A copy takes the name of the table, which goes; a column is added on the way."""
    body = sql(
        "CREATE TABLE one_new (id INTEGER, x INTEGER)",
        "INSERT INTO one_new (id) SELECT id FROM one",
        "ALTER TABLE one RENAME TO one_old",
        "ALTER TABLE one_new RENAME TO one",
        "DROP TABLE one_old",
    )
    assert ran(store, table("one"), plugin=(body,)) == {*CREATED, "column one.x extra@p1"}


def test_a_table_that_makes_room_takes_its_record_along(store: Store) -> None:
    """The old one is kept under another name; the one that took the name is new."""
    body = sql("ALTER TABLE one RENAME TO one_old") + f"\n{table('one')}"
    assert ran(store, table("one"), plugin=(body,)) == {
        "table one_old core@c1",
        "table one extra@p1",
    }


def test_a_renamed_table_may_change_in_the_same_revision(store: Store) -> None:
    """A column comes, another owner's goes."""
    add = "op.add_column('one', sa.Column('x', sa.Integer))"
    body = sql(
        "ALTER TABLE one RENAME TO new",
        "ALTER TABLE new DROP COLUMN x",
        "ALTER TABLE new ADD COLUMN y INTEGER",
    )
    assert ran(store, table("one"), plugin=(add, body)) == {
        "table new core@c1",
        "column new.y extra@p2",
    }


def test_a_rename_that_is_rolled_back_did_not_happen(store: Store) -> None:
    body = f"""
nested = op.get_bind().begin_nested()
op.rename_table("one", "new")
{table("two")}
nested.rollback()
op.rename_table("one", "other")
"""
    assert ran(store, table("one"), plugin=(body,)) == {"table other core@c1"}


ADD = "op.add_column('one', sa.Column('x', sa.Integer))"


def test_a_column_on_ones_own_table_is_recorded(store: Store) -> None:
    """A later plugin that uses it depends on that revision, not on the table's first."""
    assert ran(store, table("one"), ADD) == {*CREATED, "column one.x core@c2"}


def test_a_column_that_comes_with_the_table_is_not_recorded(store: Store) -> None:
    """Also when it is added in the same revision."""
    assert ran(store, f"{table('one', 'y')}\n{ADD}") == CREATED


@pytest.mark.parametrize(
    "body",
    [
        ADD,
        sql("ALTER TABLE one ADD COLUMN x INTEGER"),
        sql("ALTER TABLE one ADD x INTEGER"),
        "with op.batch_alter_table('one') as batch:\n"
        "    batch.add_column(sa.Column('x', sa.Integer))",
        "with op.batch_alter_table('one', recreate='always') as batch:\n"
        "    batch.add_column(sa.Column('x', sa.Integer))",
    ],
)
def test_a_column_on_anothers_table_is_the_adders(store: Store, body: str) -> None:
    """The table itself stays whose it is, even when it is rebuilt as a copy."""
    assert ran(store, table("one"), plugin=(body,)) == {*CREATED, "column one.x extra@p1"}
    assert set(store.schema) == {"one"}


@pytest.mark.parametrize("recreate", ["auto", "always"])
def test_a_rebuild_keeps_every_owner(store: Store, recreate: str) -> None:
    """The copy takes the table's name and the record does not change."""
    rebuild = (
        f"with op.batch_alter_table('one', recreate={recreate!r}) as batch:\n"
        "    batch.alter_column('id', existing_type=sa.Integer, type_=sa.BigInteger)"
    )
    index = "op.create_index('ix_x', 'one', ['x'])"
    expected = {*CREATED, "column one.x extra@p1", "index one.ix_x extra@p1"}
    assert ran(store, table("one"), plugin=(f"{ADD}\n{index}", rebuild)) == expected


@pytest.mark.parametrize("recreate", ["auto", "always"])
def test_a_dropped_column_is_forgotten(store: Store, recreate: str) -> None:
    drop = (
        f"with op.batch_alter_table('one', recreate={recreate!r}) as batch:\n"
        "    batch.drop_column('x')"
    )
    assert ran(store, table("one"), plugin=(ADD, drop)) == CREATED


def test_a_renamed_column_is_recorded_under_its_new_name(store: Store) -> None:
    rename = sql("ALTER TABLE one RENAME COLUMN x TO y")
    assert ran(store, table("one"), plugin=(ADD, rename)) == {*CREATED, "column one.y extra@p2"}


@pytest.mark.parametrize(
    "body",
    [
        "op.create_index('ix_one', 'one', ['id'])",
        sql("CREATE UNIQUE INDEX IF NOT EXISTS ix_one ON one (id)"),
        sql('create index "ix_one" on "one" (id)'),
    ],
)
def test_an_index_on_anothers_table_is_the_creators(store: Store, body: str) -> None:
    assert ran(store, table("one"), plugin=(body,)) == {*CREATED, "index one.ix_one extra@p1"}


def test_an_index_on_ones_own_table_is_not_recorded(store: Store) -> None:
    """It goes with the table; nobody else may depend on it."""
    index = "op.create_index('ix_one', 'one', ['id'])"
    assert ran(store, table("one"), index) == CREATED


@pytest.mark.parametrize(
    "body", ["op.drop_index('ix_one', table_name='one')", sql("DROP INDEX IF EXISTS ix_one")]
)
def test_a_dropped_index_is_forgotten(store: Store, body: str) -> None:
    """A DROP INDEX does not name the table; the record does."""
    index = "op.create_index('ix_one', 'one', ['id'])"
    assert ran(store, table("one"), plugin=(index, body)) == CREATED


CONSTRAINTS = """
with op.batch_alter_table("one") as batch:
    batch.create_unique_constraint("uq_one", ["id"])
    batch.create_check_constraint("ck_one", sa.column("id") > 0)
    batch.create_foreign_key("fk_one", "one", ["id"], ["id"])
"""


def test_constraints_on_anothers_table_are_the_adders(store: Store) -> None:
    """Unique constraints, checks and foreign keys; a rebuild by their table's owner keeps them."""
    rebuild = (
        "with op.batch_alter_table('one') as batch:\n"
        "    batch.alter_column('id', existing_type=sa.Integer, type_=sa.BigInteger)"
    )
    owned = {f"constraint one.{name} extra@p1" for name in ("uq_one", "ck_one", "fk_one")}
    assert ran(store, table("one"), plugin=(CONSTRAINTS, rebuild)) == {*CREATED, *owned}


def test_constraints_on_ones_own_table_are_not_recorded(store: Store) -> None:
    """They go with the table."""
    assert ran(store, table("one"), CONSTRAINTS) == CREATED


def test_a_dropped_constraint_is_forgotten(store: Store) -> None:
    """The others of its table stay recorded."""
    drop = """
with op.batch_alter_table("one") as batch:
    batch.drop_constraint("uq_one", type_="unique")
    batch.drop_constraint("ck_one", type_="check")
"""
    assert ran(store, table("one"), plugin=(CONSTRAINTS, drop)) == {
        *CREATED,
        "constraint one.fk_one extra@p1",
    }


def test_constraints_without_names_are_recorded_by_their_columns(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """SQLite gives them none."""
    store = Store(tmp_path, sqlite_database)
    body = sql(
        "CREATE TABLE new (id INTEGER, x INTEGER REFERENCES one (id), UNIQUE (id, x))",
        "DROP TABLE one",
        "ALTER TABLE new RENAME TO one",
    )
    assert ran(store, table("one"), plugin=(body,)) == {
        *CREATED,
        "column one.x extra@p1",
        "constraint one.fk(x) extra@p1",
        "constraint one.uq(id, x) extra@p1",
    }


@pytest.mark.parametrize("name", ["we.ird", "with space", 'quo"te', "order", "Größe", "MiXed"])
def test_names_that_need_quotes_are_recorded_as_they_are(store: Store, name: str) -> None:
    """Dots, blanks, quotes, keywords, umlauts and capitals."""
    add = f"op.add_column({name!r}, sa.Column('x', sa.Integer))"
    assert ran(store, table(name), add, plugin=(table("one"),)) == {
        f"table {name} core@c1",
        f"column {name}.x core@c2",
        "table one extra@p1",
    }


def test_capitals_without_quotes_are_what_the_database_makes_of_them(store: Store) -> None:
    """PostgreSQL folds them; SQLite keeps them, and finds the table in any spelling."""
    body = sql("CREATE TABLE One (id INTEGER)")
    change = sql("ALTER TABLE ONE ADD COLUMN x INTEGER")
    name = "One" if store.database.backend == "sqlite" else "one"
    assert ran(store, body, change) == {f"table {name} core@c1", f"column {name}.x core@c2"}


def test_any_spelling_drops_and_renames_the_table_on_sqlite(
    tmp_path: Path, sqlite_database: Database
) -> None:
    store = Store(tmp_path, sqlite_database)
    create = sql("CREATE TABLE One (id INTEGER)", "CREATE TABLE Two (id INTEGER)")
    change = sql("DROP TABLE oNE", "ALTER TABLE tWO RENAME TO three")
    assert ran(store, create, change) == {"table three core@c2"}


def test_temporary_tables_are_ignored(store: Store) -> None:
    """However they are written, and although they are looked at in between."""
    assert (
        ran(
            store,
            sql("CREATE TEMP TABLE t1 (id INTEGER)", "CREATE TEMPORARY TABLE t2 (id INTEGER)"),
            "op.create_table('t3', sa.Column('id', sa.Integer), prefixes=['TEMPORARY'])",
            sql("ALTER TABLE t1 ADD COLUMN x INTEGER", "DROP TABLE t2"),
        )
        == set()
    )


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_the_schema_of_temporary_tables_is_ignored(
    tmp_path: Path, request: pytest.FixtureRequest, backend: str
) -> None:
    database = request.getfixturevalue(f"{backend}_database")
    store = Store(tmp_path, database)
    schema = "temp" if backend == "sqlite" else "pg_temp"
    body = sql(f"CREATE TABLE {schema}.t1 (id INTEGER)", "SELECT 1; SELECT 2") + "\n"
    if backend == "sqlite":
        body = sql(f"CREATE TABLE {schema}.t1 (id INTEGER)")
    assert ran(store, body, table("one")) == {"table one core@c2"}


def test_a_view_is_recorded_until_it_is_dropped(store: Store) -> None:
    """Who drops it and makes it again in one revision, as to alter a table, does not take it."""
    view = "CREATE VIEW v AS SELECT id FROM one"
    again = sql("DROP VIEW v", view)
    assert ran(store, table("one"), sql(view), again, plugin=(again,)) == {
        *CREATED,
        "view v.v core@c2",
    }
    store.plugin("more", revision_file("m1", created="2024-09-01", upgrade=sql("DROP VIEW v")))
    store.upgrade()
    assert store.objects == CREATED


def test_a_type_is_recorded(tmp_path: Path, postgresql_database: Database) -> None:
    """As a column makes it, or a statement; a view that is replaced stays whose it was."""
    store = Store(tmp_path, postgresql_database)
    first = f"""{table("one")}
op.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
op.execute("CREATE OR REPLACE VIEW v AS SELECT id FROM one")
"""
    replaced = sql("CREATE OR REPLACE VIEW v AS SELECT id, 1 AS x FROM one")
    assert ran(store, first, plugin=(replaced,)) == {
        *CREATED,
        "type mood.mood core@c1",
        "view v.v core@c1",
    }


def test_a_rolled_back_savepoint_is_not_recorded(store: Store) -> None:
    """Neither its tables nor its columns; what follows in the same revision is."""
    body = f"""
nested = op.get_bind().begin_nested()
{table("two")}
op.drop_table("one")
nested.rollback()
nested = op.get_bind().begin_nested()
op.add_column("one", sa.Column("y", sa.Integer))
nested.rollback()
op.add_column("one", sa.Column("z", sa.Integer))
"""
    assert ran(store, table("one"), body) == {*CREATED, "column one.z core@c2"}


def test_savepoints_written_by_hand_are_understood(store: Store) -> None:
    body = sql("SAVEPOINT s", "CREATE TABLE two (id INTEGER)", "ROLLBACK TO s", "RELEASE s")
    assert ran(store, table("one"), f"{body}\n{table('three')}") == {
        *CREATED,
        "table three core@c2",
    }


def test_virtual_tables_are_recorded_with_those_they_bring_along(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """SQLite's full-text search keeps its data in tables of its own."""
    store = Store(tmp_path, sqlite_database)
    found = ran(store, sql("CREATE VIRTUAL TABLE search USING fts5(body)"))
    assert "table search core@c1" in found
    assert {entry.split()[1] for entry in found} == set(store.schema)
    store.core(
        (store.versions / "c1_a_change.py").read_text(),
        revision_file("c2", down="c1", upgrade=sql("DROP TABLE search") + "\n" + table("one")),
    )
    store.upgrade()
    assert set(store.schema) == {"one"}


# -- what only PostgreSQL has


@pytest.mark.parametrize(
    "body",
    [
        sql("DO $$ BEGIN CREATE TABLE one (id INTEGER); END $$"),
        sql("SELECT 1 AS id INTO one"),
        sql("CREATE UNLOGGED TABLE one (id INTEGER)"),
        sql("SELECT 1; CREATE TABLE one (id INTEGER); SELECT 2"),
        sql(
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'CREATE TABLE one (id INTEGER)'",
            "CALL p()",
        ).replace("CREATE FUNCTION f() RETURNS void", "CREATE PROCEDURE p()"),
        sql("CREATE TABLE IF NOT EXISTS public.one (id INTEGER)"),
        sql('CREATE TABLE "public"."one" (id INTEGER)'),
    ],
)
def test_statements_that_hide_what_they_do_are_followed_by_a_look(
    postgresql_store: Store, body: str
) -> None:
    """DO blocks, SELECT INTO, several statements in one string, procedures."""
    found = ran(postgresql_store, body)
    assert {item for item in found if item.startswith("table")} == CREATED


def test_several_statements_in_one_string_create_and_drop(postgresql_store: Store) -> None:
    body = sql("DROP TABLE one; CREATE TABLE two (id INTEGER); CREATE TABLE three (id INTEGER)")
    assert ran(postgresql_store, table("one"), body) == {
        "table two core@c2",
        "table three core@c2",
    }


def test_a_do_block_that_drops_a_table_is_noticed(postgresql_store: Store) -> None:
    body = sql("DO $$ BEGIN DROP TABLE one; END $$")
    assert ran(postgresql_store, table("one"), body) == set()


def test_tables_in_other_schemas_are_recorded_with_their_schema(postgresql_store: Store) -> None:
    """The same name in two schemas is two tables."""
    store = postgresql_store
    assert ran(
        store,
        sql("CREATE SCHEMA attic", "CREATE TABLE attic.one (id INTEGER)") + f"\n{table('one')}",
        "op.add_column('one', sa.Column('x', sa.Integer), schema='attic')",
        plugin=("op.create_index('ix_one', 'one', ['id'], schema='attic')",),
    ) == {
        "table attic.one core@c1",
        "table one core@c1",
        "column attic.one.x core@c2",
        "index attic.one.ix_one extra@p1",
    }
    store.core(
        *(path.read_text() for path in sorted(store.versions.glob("*.py"))),
        revision_file("c3", down="c2", upgrade="op.drop_table('one', schema='attic')"),
    )
    store.upgrade()
    assert store.objects == {"table one core@c1"}


def test_a_table_that_moves_to_another_schema_is_followed(postgresql_store: Store) -> None:
    create = table("one") + "\n" + sql("CREATE SCHEMA attic")
    there = sql("ALTER TABLE one SET SCHEMA attic")
    back = sql("ALTER TABLE attic.one SET SCHEMA public", 'ALTER TABLE one SET SCHEMA "attic"')
    assert ran(postgresql_store, create, plugin=(there,)) == {"table attic.one core@c1"}
    postgresql_store.plugin(
        "more", revision_file("m1", created="2024-03-01", upgrade=back), version="2.0"
    )
    postgresql_store.upgrade()
    assert postgresql_store.objects == {"table attic.one core@c1"}


def test_an_index_built_concurrently_is_recorded(postgresql_store: Store) -> None:
    body = (
        "with op.get_context().autocommit_block():\n"
        "    op.create_index('ix_one', 'one', ['id'], postgresql_concurrently=True)"
    )
    assert ran(postgresql_store, table("one"), plugin=(body,)) == {
        *CREATED,
        "index one.ix_one extra@p1",
    }


def test_the_index_of_a_unique_constraint_is_not_an_index_of_its_own(
    postgresql_store: Store,
) -> None:
    body = "op.create_unique_constraint('uq_one', 'one', ['id'])"
    assert ran(postgresql_store, table("one"), plugin=(body,)) == {
        *CREATED,
        "constraint one.uq_one extra@p1",
    }
