"""Enumerated types whose values change in the models: written where it is safe, else named."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.databases import Database
from support.trees import revision_file
from support.workbench import Workbench, Written, market, plugin, table

CHECKED = 'sa.Enum({}, name="size", native_enum=False, create_constraint=True)'


def models(*values: str, size: str = "", extra: str = "") -> str:
    """A table with a native type of *values*, and a checked one of *size* if there are some."""
    listed = ", ".join(map(repr, values))
    columns = [f'color: Mapped[str | None] = mapped_column(sa.Enum({listed}, name="color"))']
    if size:
        sizes = ", ".join(map(repr, size))
        columns.append(f"size: Mapped[str | None] = mapped_column({CHECKED.format(sizes)})")
    return table("stall", *columns) + extra


def insert(database: Database, **values: str) -> None:
    columns = ", ".join(values)
    listed = ", ".join("'" + value.replace("'", "''") + "'" for value in values.values())
    count = len(database.rows("stall"))
    database.execute(f"INSERT INTO stall (id, {columns}) VALUES ({count + 1}, {listed})")


@pytest.mark.parametrize("origin", ["sqlite", "postgresql", "scratch"])
def test_new_value_of_a_native_type_is_written_on_one_database_and_runs_on_both(
    tmp_path: Path, sqlite_database: Database, postgresql_database: Database, origin: str
) -> None:
    """Rows stay, rows with the new values fit, the order is the models'; nothing is left to do."""
    databases = {"sqlite": sqlite_database, "postgresql": postgresql_database}
    workbench = Workbench(tmp_path, databases.get(origin))
    workbench.develop(market(), plugin("a", models=models("red", "blue")))
    workbench.write("a", "--initialize")
    for database in databases.values():
        Workbench(tmp_path, database).init_db()
        insert(database, color="blue")
    workbench.develop(plugin("a", models=models("red", "it's :new", "blue", "long one")))
    where = [] if origin == "scratch" else [workbench.deployment]
    second = workbench.write("a", "-m", "colors", *where)
    for database in databases.values():
        other = Workbench(tmp_path, database)
        other.init_db()
        insert(database, color="it's :new")
        insert(database, color="long one")
        assert {row["color"] for row in database.rows("stall")} == {"blue", "it's :new", "long one"}
        assert other.make("a", other.deployment).out.startswith("No change")
    assert workbench.make("a").out.startswith("No change")
    ordered = postgresql_database.execute("SELECT unnest(enum_range(NULL::color))::text AS value")
    assert [row["value"] for row in ordered] == ["red", "it's :new", "blue", "long one"]
    assert "# PostgreSQL cannot take a value from a type" in second.text
    for database in databases.values():
        other = Workbench(tmp_path, database)
        other.run("db", "downgrade", other.deployment, "a@-1", "--yes")
        assert len(database.rows("stall")) == 3
        other.init_db()
        assert other.make("a", other.deployment).out.startswith("No change")


def test_new_value_of_a_check_replaces_the_check(tmp_path: Path, database: Database) -> None:
    """What was refused fits, anything else is refused still, and the way back is open."""
    workbench = Workbench(tmp_path, database)
    workbench.develop(market(), plugin("a", models=models("red", size="sl")))
    workbench.write("a", "--initialize")
    workbench.init_db()
    before = workbench.schema()
    insert(database, size="s")
    workbench.develop(plugin("a", models=models("red", size="sml")))
    workbench.write("a", workbench.deployment)
    workbench.init_db()
    insert(database, size="m")
    with pytest.raises(Exception, match=r"(?i)check|violates"):
        insert(database, size="x")
    for where in ((), (workbench.deployment,)):
        assert workbench.make("a", *where).out.startswith("No change")
    database.execute("DELETE FROM stall WHERE size = 'm'")
    workbench.run("db", "downgrade", workbench.deployment, "a@-1", "--yes")
    assert workbench.schema() == before
    assert [row["size"] for row in database.rows("stall")] == ["s"]


def test_value_that_the_models_lack_is_named_and_stays(tmp_path: Path, database: Database) -> None:
    """Of either kind; with others added it stays too, and rows that have it are safe."""
    workbench = Workbench(tmp_path, database)
    workbench.develop(market(), plugin("a", models=models("red", "dark blue", size="sl")))
    workbench.write("a", "--initialize")
    workbench.init_db()
    insert(database, color="dark blue", size="l")
    workbench.develop(plugin("a", models=models("red", size="s")))
    for where in ((), (workbench.deployment,)):
        out = workbench.make("a", *where).out
        assert "The models lack 'dark blue', which the type color has." in out
        assert "The models lack 'l', which stall.size has." in out
        assert out.endswith("No change that can be written.\n")
    workbench.develop(plugin("a", models=models("red", "green", size="sm")))
    workbench.write("a", workbench.deployment)
    workbench.init_db()
    assert database.rows("stall") == [{"id": 1, "color": "dark blue", "size": "l"}]
    insert(database, color="green", size="m")


RENAMED = (
    "if op.get_context().dialect.name == 'postgresql':\n"
    "    op.execute(\"ALTER TYPE color RENAME VALUE 'blue' TO 'navy'\")\n"
)
REMADE = (
    "if op.get_context().dialect.name == 'postgresql':\n"
    "    op.execute('ALTER TYPE color RENAME TO color_old')\n"
    "    op.execute(\"CREATE TYPE color AS ENUM ('red', 'navy')\")\n"
    "    op.execute('ALTER TABLE stall ALTER COLUMN color TYPE color USING color::text::color')\n"
    "    op.execute('DROP TYPE color_old')\n"
)
COMPUTED = (
    "for value in ['navy']:\n"
    "    if op.get_context().dialect.name == 'postgresql':\n"
    "        op.execute(f\"ALTER TYPE color ADD VALUE '{value}'\")\n"
)


@pytest.mark.parametrize(
    "script", [RENAMED, REMADE, COMPUTED], ids=["renamed", "made anew", "loop"]
)
def test_nothing_false_is_said_of_a_type_that_was_changed_by_hand(
    tmp_path: Path, database: Database, script: str
) -> None:
    """PostgreSQL itself tells; elsewhere the revisions' text does, or nothing is claimed."""
    workbench = Workbench(tmp_path, database)
    workbench.develop(market(), plugin("a", models=models("red", "blue")))
    first = workbench.write("a", "--initialize")
    workbench.init_db()
    path = first.path.with_name("by_hand.py")
    path.write_text(
        revision_file("hand", down=first.id, created="2999-01-01 00:00:00", upgrade=script)
    )
    values = ("red", "blue", "navy") if script == COMPUTED else ("red", "navy")
    workbench.develop(plugin("a", models=models(*values)))
    workbench.init_db()
    for where in ((), (workbench.deployment,)):
        assert workbench.make("a", *where).out.startswith("No change")


def test_new_value_comes_with_a_new_column_of_the_type(tmp_path: Path, database: Database) -> None:
    """The type exists, so its creation adds nothing: the value is added all the same."""
    workbench = Workbench(tmp_path, database)
    workbench.develop(market(), plugin("a", models=models("red")))
    workbench.write("a", "--initialize")
    workbench.init_db()
    booth = table(
        "booth", 'color: Mapped[str] = mapped_column(sa.Enum("red", "green", name="color"))'
    )
    workbench.develop(plugin("a", models=models("red", "green", extra=booth)))
    written: Written = workbench.write("a", workbench.deployment)
    assert written.touches >= {"booth"}
    workbench.init_db()
    insert(database, color="green")
    database.execute("INSERT INTO booth (id, color) VALUES (1, 'green')")
    for where in ((), (workbench.deployment,)):
        assert workbench.make("a", *where).out.startswith("No change")
