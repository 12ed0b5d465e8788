"""Rows that a revision would lose through the driver itself, past everybody who listens."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from anabranch import DestructiveError
from support.store import Store
from support.trees import revision_file

ITEM = """
op.create_table(
    "item",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(40)),
)
"""
ROWS = "INSERT INTO item (id, name) VALUES (1, 'Pen'), (2, 'Ink')"
KEPT = [{"id": 1, "name": "Pen"}, {"id": 2, "name": "Ink"}]

DROP = """
cursor = op.get_bind().connection.cursor()
cursor.execute("DROP TABLE item")
"""
CAUGHT = """
raw = op.get_bind().connection
try:
    raw.cursor().execute("DROP TABLE item")
except Exception:
    pass
"""
COLUMN = """
cursor = op.get_bind().connection.cursor()
cursor.execute("ALTER TABLE item DROP COLUMN name")
"""
SCRIPT = """
raw = op.get_bind().connection.dbapi_connection
raw.executescript("CREATE TABLE other (id INTEGER); DROP TABLE item;")
"""
RENAMED = """
raw = op.get_bind().connection.dbapi_connection
raw.executescript("ALTER TABLE item RENAME TO old; DROP TABLE old;")
"""
REBUILT = """
cursor = op.get_bind().connection.cursor()
cursor.execute("CREATE TABLE item_new (id INTEGER PRIMARY KEY, name VARCHAR(40), more INTEGER)")
cursor.execute("INSERT INTO item_new (id, name) SELECT id, name FROM item")
cursor.execute("DROP TABLE item")
cursor.execute("ALTER TABLE item_new RENAME TO item")
"""
MOVED = """
cursor = op.get_bind().connection.cursor()
cursor.execute("ALTER TABLE item RENAME COLUMN name TO title")
cursor.execute("ALTER TABLE item ADD COLUMN more INTEGER")
cursor.execute("ALTER TABLE item RENAME TO thing")
cursor.execute("CREATE TABLE other (id INTEGER)")
cursor.execute("INSERT INTO other VALUES (1)")
cursor.execute("DROP TABLE other")
"""
BLOCK = "op.execute('DO $$ BEGIN DROP TABLE item; END $$')"
EMPTIED = "op.get_bind()\nop.execute('DELETE FROM item')\nop.drop_table('item')"


def prepare(store: Store, *rows: str) -> None:
    """Bring the database to the first revision, and let an application write *rows*."""
    store.core(revision_file("c1", upgrade=ITEM))
    store.upgrade()
    if rows:
        store.database.execute(*rows)


def upgrade(store: Store, body: str, **options: Any) -> list[str]:
    """Run *body* as the revision after the first."""
    store.core(revision_file("c1", upgrade=ITEM), revision_file("c2", down="c1", upgrade=body))
    return store.upgrade(**options)


def refused(store: Store, body: str) -> DestructiveError:
    """*body* is refused, and the rows are there."""
    with pytest.raises(DestructiveError) as raised:
        upgrade(store, body)
    assert (raised.value.code, raised.value.exit_code) == ("AB431", 8)
    assert store.database.rows("item") == KEPT
    assert store.applied == {"core@c1"}
    return raised.value


@pytest.mark.parametrize("body", [DROP, CAUGHT, COLUMN], ids=["drop", "caught", "column"])
def test_what_goes_through_the_driver_is_asked_about_too(store: Store, body: str) -> None:
    prepare(store, ROWS)
    before = store.database.schema()
    error = refused(store, body)
    assert store.database.schema() == before
    assert "item" in error.what
    assert "past SQLAlchemy" in error.what
    assert "--allow-destructive" in error.remedy
    assert upgrade(store, body, allow_destructive=True) == ["core@c2"]


@pytest.mark.parametrize("body", [DROP, COLUMN], ids=["drop", "column"])
def test_an_empty_table_may_go_through_the_driver(store: Store, body: str) -> None:
    prepare(store)
    assert upgrade(store, body) == ["core@c2"]


def test_an_author_may_say_that_it_is_meant(store: Store) -> None:
    prepare(store, ROWS)
    source = revision_file("c2", down="c1", upgrade=DROP)
    meant = 'destructive = "items moved to the shelf"\nbranch_labels'
    store.core(revision_file("c1", upgrade=ITEM), source.replace("branch_labels", meant, 1))
    assert store.upgrade() == ["core@c2"]


@pytest.mark.parametrize("body", [MOVED, EMPTIED], ids=["renamed", "emptied"])
def test_what_loses_nothing_unheard_asks_nothing(store: Store, body: str) -> None:
    """A table that a statement drops for all to hear is judged by that statement."""
    prepare(store, ROWS)
    assert upgrade(store, body) == ["core@c2"]


@pytest.mark.parametrize("body", [SCRIPT, RENAMED], ids=["script", "renamed"])
def test_a_script_of_sqlite_stops_before_the_drop_that_nobody_could_take_back(
    sqlite_store: Store, body: str
) -> None:
    """`executescript()` commits first, and then each of its statements by itself."""
    prepare(sqlite_store, ROWS)
    with pytest.raises(DestructiveError) as raised:
        upgrade(sqlite_store, body)
    assert "a part of it may have stayed" in raised.value.state
    kept = "old" if body == RENAMED else "item"
    assert sqlite_store.database.rows(kept) == KEPT


def test_a_virtual_table_takes_what_it_is_made_of_along(sqlite_store: Store) -> None:
    prepare(sqlite_store, ROWS, "CREATE VIRTUAL TABLE words USING fts5(word)")
    sqlite_store.database.execute("INSERT INTO words VALUES ('pen')")
    body = "op.get_bind()\nop.execute('DELETE FROM words')\nop.execute('DROP TABLE words')"
    assert upgrade(sqlite_store, body) == ["core@c2"]


def test_a_table_that_takes_anothers_place_with_its_rows_asks_nothing_on_postgresql(
    postgresql_store: Store,
) -> None:
    prepare(postgresql_store, ROWS)
    assert upgrade(postgresql_store, REBUILT) == ["core@c2"]
    assert len(postgresql_store.database.rows("item")) == 2


def test_a_table_that_a_block_of_sql_drops_is_asked_about(postgresql_store: Store) -> None:
    prepare(postgresql_store, ROWS)
    assert "drop table item" in refused(postgresql_store, BLOCK).what
    assert upgrade(postgresql_store, BLOCK, allow_destructive=True) == ["core@c2"]


def test_what_only_the_statement_says_is_heard_too(postgresql_store: Store) -> None:
    """The text of the script does not, or says it on two lines."""
    prepare(postgresql_store, ROWS, "CREATE TYPE mood AS ENUM ('a')")
    postgresql_store.database.execute(
        "ALTER TABLE item ADD mood mood", "UPDATE item SET mood = 'a'"
    )
    for body in (
        "op.execute('DROP TYPE mood\\n CASCADE')",
        "op.execute('{} mood {}'.format('DROP TYPE', 'CASCADE'))",
        "op.execute('D' + 'O $$ BEGIN DROP TABLE item; END $$')",
    ):
        with pytest.raises(DestructiveError):
            upgrade(postgresql_store, body)
        assert {row["mood"] for row in postgresql_store.database.rows("item")} == {"a"}


def test_a_script_that_commits_by_hand_is_asked_before_it_does(postgresql_store: Store) -> None:
    prepare(postgresql_store, ROWS)
    refused(postgresql_store, f"{DROP}op.get_bind().commit()")
    refused(postgresql_store, f"{BLOCK}\nop.execute('COMMIT')")


def test_where_nothing_can_be_taken_back_the_text_is_refused(mariadb_store: Store) -> None:
    prepare(mariadb_store, ROWS)
    error = refused(mariadb_store, DROP)
    assert "speaks to the database's driver itself" in error.what
    assert upgrade(mariadb_store, DROP, allow_destructive=True) == ["core@c2"]


def test_only_what_an_upgrade_says_counts_there(mariadb_store: Store) -> None:
    prepare(mariadb_store, ROWS)
    body = "op.get_bind().connection.cursor().execute('CREATE TABLE other (id INTEGER)')"
    down = "op.execute('DROP TABLE other')"
    mariadb_store.core(
        revision_file("c1", upgrade=ITEM),
        revision_file("c2", down="c1", upgrade=body, downgrade=down),
    )
    assert mariadb_store.upgrade() == ["core@c2"]


def test_a_fresh_installation_is_not_asked(store: Store) -> None:
    source = revision_file("c2", down="c1", upgrade=f"op.execute({ROWS!r})\n{DROP}")
    store.core(revision_file("c1", upgrade=ITEM), source)
    assert store.upgrade() == ["core@c1", "core@c2"]


def test_rows_of_others_are_asked_about_in_a_fresh_installation(store: Store) -> None:
    store.database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40))", ROWS)
    store.core(revision_file("c1", upgrade=DROP))
    with pytest.raises(DestructiveError):
        store.upgrade()
    assert store.database.rows("item") == KEPT


def test_a_table_that_the_migrating_role_may_not_read_is_left_out(
    postgresql_store: Store,
) -> None:
    """It is its own, in a schema that is closed to it."""
    store = postgresql_store
    prepare(store, ROWS, "CREATE SCHEMA closed", "CREATE TABLE closed.secret (id INTEGER)")
    role = "reader_of_less"
    name = sa.make_url(store.database.url).database
    store.database.execute(
        f"DROP ROLE IF EXISTS {role}",
        f"CREATE ROLE {role}",
        f"GRANT ALL ON DATABASE {name} TO {role}",
        f"GRANT ALL ON SCHEMA public TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
        f"ALTER TABLE closed.secret OWNER TO {role}",
        f"ALTER TABLE item OWNER TO {role}",
    )
    url = sa.make_url(store.database.url).update_query_dict({"options": f"-c role={role}"})
    store.configure(url=url.render_as_string(hide_password=False))
    try:
        with pytest.raises(DestructiveError, match="past SQLAlchemy"):
            upgrade(store, DROP)
        assert store.applied == {"core@c1"}
    finally:
        store.database.execute(
            f"REASSIGN OWNED BY {role} TO CURRENT_USER",
            f"DROP OWNED BY {role}",
            f"DROP ROLE {role}",
        )
