"""Revisions that would lose rows that exist stop, unless somebody said that this is meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anabranch import DestructiveError, RevisionError
from support.store import Store
from support.trees import revision_file

ITEM = """
op.create_table(
    "item",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(40)),
    sa.Column("price", sa.Numeric(10, 2)),
)
"""
ROWS = "INSERT INTO item (id, name, price) VALUES (1, 'Pen', 1.5), (2, NULL, 3)"


def prepare(store: Store, *rows: str, first: str = ITEM) -> None:
    """Bring the database to the first revision, and let an application write *rows*."""
    store.core(revision_file("c1", upgrade=first))
    store.upgrade()
    if rows:
        store.database.execute(*rows)


def upgrade(store: Store, *bodies: str, first: str = ITEM, **options: Any) -> list[str]:
    """Run *bodies* as the revisions that follow the first."""
    later = (
        revision_file(f"c{number}", down=f"c{number - 1}", upgrade=body)
        for number, body in enumerate(bodies, start=2)
    )
    store.core(revision_file("c1", upgrade=first), *later)
    return store.upgrade(**options)


def refused(store: Store, *bodies: str, first: str = ITEM) -> DestructiveError:
    """*bodies* are refused before any of them runs, and the database is as it was."""
    before, applied = store.database.schema(), store.applied
    rows = store.database.rows("item")
    with pytest.raises(DestructiveError) as raised:
        upgrade(store, *bodies, first=first)
    assert (raised.value.code, raised.value.exit_code) == ("AB431", 8)
    assert store.database.schema() == before
    assert store.database.rows("item") == rows
    assert store.applied == applied
    return raised.value


BATCH = 'with op.batch_alter_table("item") as batch:\n    batch.'

LOSING = {
    "drop table": ("op.drop_table('item')", "drop table item: it has 2 rows", 2),
    "drop table in SQL": ("op.execute('DROP TABLE item')", "drop table item: it has 2 rows", 2),
    "drop column": (
        "op.drop_column('item', 'name')",
        "drop column item.name: 1 row has a value",
        1,
    ),
    "batch": (BATCH + "drop_column('price')", "drop column item.price: 2 rows have a value", 2),
    "loop": (
        "for name in ('price',):\n    op.drop_column('item', name)",
        "drop column item.price: 2 rows have a value",
        2,
    ),
    "code": (
        "op.get_bind().exec_driver_sql('ALTER TABLE item DROP COLUMN price')",
        "drop column item.price: 2 rows have a value",
        2,
    ),
}


@pytest.mark.parametrize("how", LOSING)
def test_what_would_lose_rows_is_refused_until_it_is_allowed(every_store: Store, how: str) -> None:
    body, words, rows = LOSING[how]
    prepare(every_store, ROWS)
    error = refused(every_store, body)
    assert error.what == f"core@c2 would {words}."
    assert (str(error.revision), error.table, error.rows) == ("core@c2", "item", rows)
    assert "--allow-destructive" in error.remedy
    assert upgrade(every_store, body, allow_destructive=True) == ["core@c2"]


@pytest.mark.parametrize("how", LOSING)
def test_an_empty_table_asks_nothing(store: Store, how: str) -> None:
    prepare(store)
    assert upgrade(store, LOSING[how][0]) == ["core@c2"]


def test_a_column_without_values_asks_nothing(store: Store) -> None:
    prepare(store, "INSERT INTO item (id) VALUES (1)")
    assert upgrade(store, "op.drop_column('item', 'name')", BATCH + "drop_column('price')") == [
        "core@c2",
        "core@c3",
    ]


def test_a_revision_may_say_that_it_is_meant(store: Store) -> None:
    """Its reason stands in the journal and in the plan."""
    prepare(store, ROWS)
    meant = 'destructive = "the table moved to the plugin items"'
    source = revision_file("c2", down="c1", message="Drop items", upgrade="op.drop_table('item')")
    store.core(
        revision_file("c1", upgrade=ITEM),
        source.replace("branch_labels", f"{meant}\nbranch_labels"),
    )
    assert "(the table moved to the plugin items)" in store.db("plan").out
    assert store.upgrade() == ["core@c2"]
    rows = store.database.execute("SELECT detail FROM anabranch_journal WHERE revision = 'c2'")
    assert [row["detail"] for row in rows] == [
        "Drop items (destructive: the table moved to the plugin items)"
    ]


def test_the_command_line_names_the_loss_and_takes_the_permission(store: Store) -> None:
    prepare(store, ROWS)
    store.core(
        revision_file("c1", upgrade=ITEM),
        revision_file("c2", down="c1", upgrade="op.drop_table('item')"),
    )
    result = store.init_db()
    assert result.code == 8
    assert "Error AB431: core@c2 would drop table item: it has 2 rows." in result.err
    assert "The database was not changed." in result.err
    assert store.init_db("--allow-destructive").code == 0


def test_a_plan_says_what_would_be_lost(store: Store) -> None:
    """And what rows would be in the way; also as JSON."""
    prepare(store, ROWS)
    store.core(
        revision_file("c1", upgrade=ITEM),
        revision_file("c2", down="c1", upgrade="op.drop_table('item')"),
    )
    words = (
        "Warning AB431: core@c2 would drop table item: it has 2 rows.\n"
        "  init-db stops before it, unless it is told --allow-destructive.\n"
    )
    assert words in store.db("plan").expect(0).err
    shown = json.loads(store.db("plan", "--json").expect(0).out)
    assert [problem["code"] for problem in shown["problems"]] == ["AB431"]
    store.database.execute("DELETE FROM item")
    assert "AB431" not in store.db("plan").err


def test_nothing_of_the_run_is_done_where_the_loss_is_sure(store: Store) -> None:
    """On PostgreSQL the revisions before it would be committed."""
    prepare(store, ROWS)
    refused(
        store,
        "op.create_table('shelf', sa.Column('id', sa.Integer))",
        "op.drop_column('item', 'name')",
    )


@pytest.mark.parametrize("end", ["", "op.get_bind().commit()"])
def test_a_script_that_catches_the_refusal_is_refused_all_the_same(store: Store, end: str) -> None:
    """And whatever else it did is taken back with that."""
    prepare(store, ROWS)
    refused(
        store,
        "op.create_table('shelf', sa.Column('id', sa.Integer))\n"
        f"try:\n    op.execute('DROP TA' + 'BLE item')\nexcept Exception:\n    pass\n{end}",
    )


def test_a_loss_found_on_the_way_keeps_what_is_committed(postgresql_store: Store) -> None:
    store = postgresql_store
    prepare(store, ROWS)
    with pytest.raises(DestructiveError) as raised:
        upgrade(
            store,
            "op.create_table('shelf', sa.Column('id', sa.Integer))",
            LOSING["loop"][0],
        )
    assert raised.value.exit_code == 8
    assert "core@c3 was rolled back" in raised.value.state
    assert "the last is core@c2" in raised.value.state
    assert store.applied == {"core@c1", "core@c2"}


# -- what loses nothing


@pytest.mark.parametrize(
    "body",
    [
        "op.execute('DELETE FROM item')\nop.drop_table('item')",
        "op.execute('UPDATE item SET price = NULL')\nop.drop_column('item', 'price')",
        "op.rename_table('item', 'thing')\nop.drop_table('thing') if False else None",
        "op.execute('CREATE TABLE thing AS SELECT * FROM item')\nop.drop_table('item')",
        "op.create_table('thing', sa.Column('a', sa.Integer), sa.Column('b', sa.String(40)),"
        " sa.Column('c', sa.Numeric))\n"
        "op.execute('INSERT INTO thing (a, b, c) SELECT id, name, price FROM item')\n"
        "op.drop_table('item')",
        BATCH + "alter_column('name', new_column_name='title', existing_type=sa.String(40))",
        BATCH + "alter_column('name', type_=sa.String(80), existing_type=sa.String(40))",
        "op.create_table('notes', sa.Column('id', sa.Integer))\n"
        "op.execute('INSERT INTO notes SELECT id FROM item')\nop.drop_table('notes')",
        "op.add_column('item', sa.Column('n', sa.Integer, nullable=False, server_default='1'))",
        "op.execute('CREATE TEMPORARY TABLE note AS SELECT * FROM item')\nop.drop_table('note')",
        "op.execute('CREATE TABLE thing AS SELECT * FROM item')\n"
        "op.rename_table('item', 'old')\nop.rename_table('thing', 'item')\nop.drop_table('old')",
    ],
)
def test_what_moves_or_empties_first_loses_nothing(store: Store, body: str) -> None:
    prepare(store, ROWS)
    assert upgrade(store, body) == ["core@c2"]


def test_what_an_earlier_pending_revision_emptied_loses_nothing(store: Store) -> None:
    prepare(store, ROWS)
    assert upgrade(store, "op.execute('DELETE FROM item')", "op.drop_table('item')")


def test_what_is_copied_in_part_is_lost_in_part(store: Store) -> None:
    prepare(store, ROWS)
    copy = "op.execute('CREATE TABLE thing AS SELECT {} FROM item{}')\nop.drop_table('item')"
    error = refused(store, copy.format("id, name", ""))
    assert error.what == "core@c2 would drop column item.price: 2 rows have a value."
    error = refused(store, copy.format("*", " WHERE id = 1"))
    assert error.what == "core@c2 would drop table item: 1 row are not copied."


def test_a_copy_that_is_dropped_in_turn_is_lost(store: Store) -> None:
    prepare(store, ROWS)
    refused(
        store,
        "op.execute('CREATE TABLE thing AS SELECT * FROM item')\n"
        "op.drop_table('item')\nop.drop_table('thing')",
    )


def test_a_copy_that_goes_with_the_session_is_none(store: Store) -> None:
    prepare(store, ROWS)
    refused(
        store,
        "op.execute('CREATE TEMPORARY TABLE note (id INTEGER, name VARCHAR(40), price NUMERIC)')\n"
        "op.execute('INSERT INTO note SELECT id, name, price FROM item')\nop.drop_table('item')",
    )


def test_a_copy_is_known_for_one_where_statements_are_written_down(mariadb_store: Store) -> None:
    prepare(mariadb_store, ROWS)
    body = (
        "op.execute('CREATE TABLE thing AS SELECT * FROM item')\n"
        "op.execute('RENAME TABLE item TO old, thing TO item')\nop.drop_table('old')"
    )
    assert upgrade(mariadb_store, body) == ["core@c2"]


# -- what is said in another way


@pytest.mark.parametrize(
    "body",
    [
        "op.execute('CREATE TABLE IF NOT EXISTS item (id INTEGER)')\nop.drop_table('item')",
        "op.execute('CREATE TABLE IF NOT EXISTS item (id INTEGER)')\n"
        "op.drop_column('item', 'price')",
        "op.create_table('tmp', sa.Column('id', sa.Integer))\nop.drop_table('tmp')\n"
        "op.rename_table('item', 'tmp')\nop.drop_table('tmp')",
    ],
    ids=["table", "column", "name"],
)
def test_what_was_there_already_is_not_what_the_revision_made(store: Store, body: str) -> None:
    prepare(store, ROWS)
    refused(store, body)


def test_nor_is_it_on_mariadb(mariadb_store: Store) -> None:
    prepare(mariadb_store, ROWS)
    add = "ALTER TABLE item ADD IF NOT EXISTS price INT"
    refused(mariadb_store, f"op.execute({add!r})\nop.drop_column('item', 'price')")


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("CREATE TABLE item (id int); SELECT 1", "op.drop_table('item')"),
        ("ALTER TABLE item ADD price int; SELECT 1", "op.drop_column('item', 'price')"),
        ("CREATE TABLE x (id int); DROP TABLE x; ALTER TABLE no RENAME TO x", ""),
    ],
    ids=["table", "column", "nothing"],
)
def test_a_text_that_failed_has_made_nothing(postgresql_store: Store, text: str, loss: str) -> None:
    """The script goes on after it, in a savepoint."""
    prepare(postgresql_store, ROWS)
    attempt = (
        f"try:\n    with op.get_bind().begin_nested():\n        op.execute({text!r})\n"
        f"except sa.exc.DBAPIError:\n    pass\n"
    )
    if loss:
        refused(postgresql_store, attempt + loss)
    else:
        assert upgrade(postgresql_store, attempt) == ["core@c2"]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE thing (id int); DROP TABLE item",
        "UPDATE item SET name = 'x'; ALTER TABLE item ADD x int; ALTER TABLE item DROP price;",
        "ALTER TABLE item ADD x int; ALTER TABLE item ALTER price TYPE integer",
        "CREATE TABLE thing AS SELECT id FROM item; DROP TABLE item",
        "DELETE FROM item WHERE id = 1; DROP TABLE item",
        "; DROP TABLE item",
        "/* a /* b */ c */ DROP TABLE item",
        "ALTER TABLE item ALTER name SET DEFAULT E'it\\'s', DROP price",
    ],
)
def test_each_statement_of_a_text_is_judged(postgresql_store: Store, sql: str) -> None:
    prepare(postgresql_store, ROWS)
    refused(postgresql_store, f"op.execute({sql!r})")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE thing (id int); INSERT INTO thing VALUES (1); DROP TABLE thing;",
        "CREATE TABLE thing AS SELECT * FROM item; DROP TABLE item",
        "DELETE FROM item; DROP TABLE item",
    ],
)
def test_a_text_that_moves_or_empties_first_loses_nothing(
    postgresql_store: Store, sql: str
) -> None:
    prepare(postgresql_store, ROWS)
    assert upgrade(postgresql_store, f"op.execute({sql!r})") == ["core@c2"]


SAID_ON_MARIADB = [
    "CREATE OR REPLACE TABLE item (id INTEGER)",
    "DROP TABLES item",
    "# it is old\nDROP TABLE item",
    "/*!50001 DROP TABLE item */",
    "ALTER ONLINE TABLE item WAIT 5 DROP COLUMN price",
    "ALTER TABLE item MODIFY name VARCHAR(40) COMMENT 'it\\'s', DROP price, COMMENT 'y'",
    "EXECUTE IMMEDIATE 'DROP TABLE item'",
    "BEGIN NOT ATOMIC DROP TABLE item; END",
    "DROP DATABASE {}",
]


def test_mariadb_is_understood_in_its_own_words(mariadb_store: Store) -> None:
    prepare(mariadb_store, ROWS)
    name = mariadb_store.database.url.rpartition("/")[2].partition("?")[0]
    for sql in SAID_ON_MARIADB:
        refused(mariadb_store, f"op.execute({sql.format(name)!r})")
    mariadb_store.database.execute("DELETE FROM item")
    assert upgrade(mariadb_store, f"op.execute({SAID_ON_MARIADB[0]!r})") == ["core@c2"]


def test_a_partition_with_rows_is_asked_about(mariadb_store: Store) -> None:
    prepare(
        mariadb_store,
        ROWS,
        "CREATE TABLE part (id INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (5), "
        "PARTITION p1 VALUES LESS THAN (9), PARTITION p2 VALUES LESS THAN (20))",
        "INSERT INTO part VALUES (1), (15)",
    )
    drop = "op.execute('ALTER TABLE part DROP PARTITION IF EXISTS {}')"
    assert refused(mariadb_store, drop.format("p1, p0")).what == (
        "core@c2 would drop partition p0 of part: it has 1 row."
    )
    assert upgrade(mariadb_store, drop.format("p1")) == ["core@c2"]


def test_a_schema_takes_its_tables_along(postgresql_store: Store) -> None:
    prepare(postgresql_store, ROWS, "CREATE SCHEMA extra", "CREATE TABLE extra.t (id int)")
    body = "op.execute(sa.schema.DropSchema('extra', cascade=True))"
    postgresql_store.database.execute("INSERT INTO extra.t VALUES (1)")
    for drop in (body, f"with op.get_context().autocommit_block():\n    {body}"):
        assert "drop table t: it has 1 row" in refused(postgresql_store, drop).what
    postgresql_store.database.execute("DELETE FROM extra.t")
    assert upgrade(postgresql_store, body) == ["core@c2"]


def test_names_that_differ_in_case_are_two_tables(postgresql_store: Store) -> None:
    prepare(postgresql_store, ROWS, 'CREATE TABLE "Big" (id int)', 'INSERT INTO "Big" VALUES (1)')
    refused(
        postgresql_store,
        "op.create_table('big', sa.Column('id', sa.Integer))\nop.drop_table('Big')",
    )


def test_a_type_is_judged_without_a_transaction_too(postgresql_store: Store) -> None:
    prepare(postgresql_store, ROWS)
    alter = "ALTER TABLE item ALTER price TYPE integer"
    refused(
        postgresql_store,
        f"with op.get_context().autocommit_block():\n    op.execute({alter!r})",
    )


SEEDED = ITEM + f'op.execute("{ROWS}")'


def test_a_fresh_install_asks_nothing(store: Store) -> None:
    """What migrations wrote and drop again is nobody's."""
    store.core(
        revision_file("c1", upgrade=SEEDED),
        revision_file("c2", down="c1", upgrade=BATCH + "drop_column('price')"),
        revision_file("c3", down="c2", upgrade="op.rename_table('item', 'thing')"),
        revision_file("c4", down="c3", upgrade="op.drop_table('thing')"),
    )
    assert store.upgrade() == ["core@c1", "core@c2", "core@c3", "core@c4"]


def test_a_fresh_install_that_was_stopped_asks_nothing_either(postgresql_store: Store) -> None:
    store = postgresql_store
    revisions = (
        revision_file("c1", upgrade=SEEDED),
        revision_file("c2", down="c1", upgrade="op.execute('SELECT 1 / 0')"),
        revision_file("c3", down="c2", upgrade="op.drop_table('item')"),
    )
    store.core(*revisions)
    with pytest.raises(RevisionError):
        store.upgrade()
    assert store.applied == {"core@c1"}
    store.core(revisions[0], revisions[1].replace("1 / 0", "1 / 1"), revisions[2])
    assert store.upgrade() == ["core@c2", "core@c3"]


def test_an_installation_that_was_used_without_what_failed_is_asked(
    postgresql_store: Store,
) -> None:
    """Revisions came since then, so the first ones may have been in use."""
    store = postgresql_store
    first = revision_file("c1", upgrade=ITEM)
    store.core(first)
    store.plugin("more", revision_file("m1", upgrade="op.execute('SELECT 1 / 0')"))
    with pytest.raises(RevisionError):
        store.upgrade()
    store.database.execute(ROWS)
    store.plugin("more", revision_file("m1"))
    store.core(first, revision_file("c2", down="c1", upgrade="op.drop_table('item')"))
    with pytest.raises(DestructiveError):
        store.upgrade()
    assert len(store.database.rows("item")) == 2


def test_tables_that_were_there_before_us_are_asked_about(store: Store) -> None:
    store.database.execute("CREATE TABLE old (id INTEGER)", "INSERT INTO old VALUES (1)")
    store.core(revision_file("c1", upgrade="op.drop_table('old')"))
    with pytest.raises(DestructiveError, match=r"core@c1 would drop table old: it has 1 row\."):
        store.upgrade()
    assert store.database.rows("old") == [{"id": 1}]


# -- NOT NULL and types


NOT_NULL = BATCH + "alter_column('name', nullable=False, existing_type=sa.String(40))"


def test_not_null_on_a_column_with_nulls_is_refused(every_store: Store) -> None:
    prepare(every_store, ROWS)
    error = refused(every_store, NOT_NULL)
    assert error.what == "core@c2 would set item.name not null: 1 row has no value."
    assert error.remedy == "Give these rows a value first."
    filled = f"op.execute(\"UPDATE item SET name = '-' WHERE name IS NULL\")\n{NOT_NULL}"
    assert upgrade(every_store, filled) == ["core@c2"]


def test_not_null_is_judged_on_the_way_too(store: Store) -> None:
    prepare(store, ROWS)
    refused(store, "if True:\n    " + NOT_NULL.replace("\n", "\n    "))


def test_a_required_column_without_a_default_is_refused(every_store: Store) -> None:
    prepare(every_store, ROWS)
    body = BATCH + "add_column(sa.Column('n', sa.Integer, nullable=False))"
    error = refused(every_store, body)
    assert (
        "add column item.n, not null and without a server default: there are 2 rows" in error.what
    )


CASTS = [
    ("sqlite", "name", "sa.String(40)", "sa.Integer()", "'12a'", True),
    ("sqlite", "name", "sa.String(40)", "sa.Integer()", "'12'", False),
    ("sqlite", "name", "sa.String(40)", "sa.DateTime()", "'2024-01-02 03:04:05'", True),
    ("sqlite", "price", "sa.Numeric(10, 2)", "sa.Integer()", "1.5", True),
    ("sqlite", "price", "sa.Numeric(10, 2)", "sa.Integer()", "2", False),
    ("sqlite", "price", "sa.Numeric(10, 2)", "sa.String(20)", "2.25", False),
    ("postgresql", "name", "sa.String(40)", "sa.String(5)", "'12345'", False),
    ("mariadb", "price", "sa.Numeric(10, 2)", "sa.Integer()", "1.5", True),
    ("mariadb", "price", "sa.Numeric(10, 2)", "sa.Integer()", "2", False),
    ("mariadb", "price", "sa.Numeric(10, 2)", "sa.Numeric(10, 1)", "1.55", True),
    ("mariadb", "name", "sa.String(40)", "sa.String(5)", "'123456'", True),
    ("mariadb", "name", "sa.String(40)", "sa.String(5)", "'12345'", False),
    ("mariadb", "name", "sa.String(40)", "sa.Integer()", "'012'", True),
    ("mariadb", "name", "sa.String(40)", "sa.Integer()", "'12'", False),
    ("mariadb", "name", "sa.String(40)", "sa.DateTime()", "'2024-01-02 03:04:05.9'", True),
    ("mariadb", "name", "sa.String(40)", "sa.DateTime()", "'2024-01-02'", False),
    ("mariadb", "price", "sa.Numeric(10, 2)", "sa.Boolean()", "1.5", True),
    ("mariadb", "price", "sa.Numeric(10, 2)", "sa.Numeric()", "1.5", True),
    ("mariadb", "price", "sa.Numeric(10, 2)", "sa.Double()", "1.55", False),
    ("mariadb", "price", "sa.Numeric(10, 2)", "sa.Float()", "1234567.89", True),
    ("postgresql", "price", "sa.Numeric(10, 2)", "sa.Integer()", "1.5", True),
    ("postgresql", "price", "sa.Numeric(10, 2)", "sa.Integer()", "2", False),
    ("postgresql", "price", "sa.Numeric(10, 2)", "sa.Numeric(10, 1)", "1.55", True),
]


@pytest.mark.parametrize(
    ("every_database", "column", "was", "type_", "value", "loses"),
    CASTS,
    indirect=["every_database"],
)
def test_a_type_that_changes_values_is_refused(
    every_store: Store, column: str, was: str, type_: str, value: str, loses: bool
) -> None:
    """Whether it does is asked of the values there are."""
    prepare(every_store, f"INSERT INTO item (id, {column}) VALUES (1, {value})")
    body = BATCH + f"alter_column({column!r}, type_={type_}, existing_type={was})"
    if loses:
        error = refused(every_store, body)
        assert "1 value would not stay what it is" in error.what
    else:
        assert upgrade(every_store, body) == ["core@c2"]


def test_a_cast_that_cuts_is_refused_and_a_conversion_is_meant(postgresql_store: Store) -> None:
    prepare(postgresql_store, ROWS)
    alter = "op.alter_column('item', 'name', type_=sa.{}, postgresql_using={!r})"
    refused(postgresql_store, alter.format("String(2)", "name::varchar(2)"))
    assert upgrade(postgresql_store, alter.format("Boolean()", "name = 'Pen'")) == ["core@c2"]


def test_names_are_found_in_any_spelling(store: Store) -> None:
    prepare(store, ROWS)
    for body in ("op.execute('drop table ITEM')", "op.execute('ALTER TABLE Item DROP Name')"):
        refused(store, body)


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE 'item'",
        "DROP TABLE IF EXISTS 'main'.'item'",
        "ALTER TABLE 'item' DROP COLUMN 'price'",
        "ALTER TABLE item DROP 'price'",
    ],
)
def test_sqlite_takes_a_string_for_a_name(sqlite_store: Store, sql: str) -> None:
    prepare(sqlite_store, ROWS)
    refused(sqlite_store, f"op.execute({sql!r})")
    assert upgrade(sqlite_store, f"op.execute({sql!r})", allow_destructive=True) == ["core@c2"]


def test_a_rehearsal_is_refused_like_the_run(store: Store) -> None:
    prepare(store, ROWS)
    store.core(
        revision_file("c1", upgrade=ITEM),
        revision_file("c2", down="c1", upgrade="op.drop_column('item', 'price')"),
    )
    with store.manager() as manager:
        with pytest.raises(DestructiveError, match=r"drop column item\.price"):
            manager.rehearse(store.deployment)
        rehearsal = manager.rehearse(store.deployment, allow_destructive=True)
    assert [str(key) for key in rehearsal.revisions] == ["core@c2"]
    assert store.applied == {"core@c1"}
