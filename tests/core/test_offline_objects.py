"""Who made what, followed from a script's statements: as a real run records it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.objects import TableName
from anabranch.offline_objects import ScriptTracker
from anabranch.revision import RevisionKey
from anabranch.tracking import ObjectTracker
from support.databases import Database

SCRIPTS = {
    "core@1": [
        'CREATE TABLE item (id INTEGER PRIMARY KEY, "Name" VARCHAR(20), old INTEGER)',
        "CREATE TABLE IF NOT EXISTS other (id INTEGER)",
        "CREATE INDEX ix_item ON item (old)",
        "CREATE TABLE passing (id INTEGER)",
        "DROP TABLE IF EXISTS passing",
    ],
    "p@1": [
        "ALTER TABLE item ADD COLUMN a INTEGER",
        'ALTER TABLE "item" ADD "B c" INTEGER',
        "CREATE UNIQUE INDEX IF NOT EXISTS ix_p ON item (a)",
        "CREATE TABLE stall (id INTEGER, item_id INTEGER)",
        "CREATE INDEX ix_stall ON stall (id)",
    ],
    "p@2": [
        "-- a comment\nALTER TABLE item RENAME COLUMN a TO a2",
        "ALTER TABLE stall RENAME TO booth",
        "ALTER TABLE booth ADD COLUMN x INTEGER",
        "ALTER TABLE booth DROP COLUMN x",
        "INSERT INTO booth (id) VALUES (1)",
    ],
    "core@2": [
        "ALTER TABLE item RENAME TO product",
        "ALTER TABLE product ADD COLUMN price INTEGER",
        "DROP INDEX ix_p",
        "ALTER TABLE other RENAME TO others",
    ],
    "p@3": ['ALTER TABLE product DROP COLUMN "B c"', "DROP TABLE booth"],
}
ON_POSTGRESQL = {
    "p@4": [
        "ALTER TABLE ONLY product ADD CONSTRAINT uq_p UNIQUE (id, price), ADD COLUMN y INTEGER",
        "ALTER TABLE product ADD CONSTRAINT ck_p CHECK (price > 0)",
        "CREATE INDEX CONCURRENTLY_not ON product (price)",
        "ALTER INDEX CONCURRENTLY_not RENAME TO ix_new",
        "ALTER TABLE public.product ADD FOREIGN KEY (y) REFERENCES product (id)",
    ],
    "p@5": ["ALTER TABLE product DROP CONSTRAINT ck_p", "DROP INDEX IF EXISTS ix_new"],
}


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_it_records_what_a_run_records(request: pytest.FixtureRequest, backend: str) -> None:
    """Statement by statement, with nobody to ask."""
    database: Database = request.getfixturevalue(f"{backend}_database")
    scripts = SCRIPTS if backend == "sqlite" else SCRIPTS | ON_POSTGRESQL
    with database.engine() as engine, engine.connect() as connection:
        real = ObjectTracker(connection, (), ())
        offline = ScriptTracker(connection, (), (), ())
        for name, statements in scripts.items():
            key = RevisionKey.parse(name)
            with real.watching():
                for statement in statements:
                    connection.exec_driver_sql(statement)
            for statement in statements:
                offline.feed(statement)
            expected, found = real.finish(key), offline.finish(key)
            assert set(found.added) == set(expected.added), name
            assert set(found.removed) == set(expected.removed), name
    assert offline.unread == []


def test_it_goes_on_from_what_is_recorded(sqlite_database: Database) -> None:
    with sqlite_database.engine() as engine, engine.connect() as connection:
        before = ScriptTracker(connection, (), (), ())
        before.feed("CREATE TABLE item (id INTEGER)")
        (made,) = before.finish(RevisionKey("core", "1")).added
        after = ScriptTracker(connection, (made,), (), {TableName("", "item")})
        after.feed("CREATE TABLE IF NOT EXISTS item (id INTEGER)")
        after.feed("ALTER TABLE item ADD COLUMN x INTEGER; DROP TABLE nothing")
        (column,) = after.finish(RevisionKey("p", "1")).added
        assert (column.kind, column.table.name, column.name) == ("column", "item", "x")
        after.feed("DROP TABLE item")
        assert set(after.finish(RevisionKey("core", "2")).removed) == {made, column}


def test_statements_that_hide_what_they_do_are_told(tmp_path: Path) -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        tracker = ScriptTracker(connection, (), (), ())
        tracker.feed("INSERT INTO note VALUES ('a; DROP TABLE item')")
        assert tracker.unread == []
        tracker.feed("CREATE VIRTUAL TABLE search USING fts5(text)")
        assert tracker.unread == ["CREATE VIRTUAL TABLE search USING fts5(text)"]
    engine.dispose()
