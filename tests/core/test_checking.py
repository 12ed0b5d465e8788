"""``db check``: models, revisions and database compared three ways, owner by owner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.databases import Database
from support.trees import revision_file
from support.workbench import CORE_MODELS, CORE_REVISIONS, Workbench, market, plugin, table

STALL = """
op.create_table("stall", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20)))
op.create_index("ix_stall_name", "stall", ["name"])
"""
ON_PRODUCT = """
op.add_column("product", sa.Column("stalls", sa.Integer))
"""
MODELS = """
from market.models import Product


class Stall(Base):
    __tablename__ = "stall"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(sa.String(20), index=True)


Product.__table__.append_column(sa.Column("stalls", sa.Integer, nullable=True))
"""
A1 = revision_file("a1", labels="a", depends="c4", upgrade=STALL)
A2 = revision_file("a2", down="a1", upgrade=ON_PRODUCT)


@pytest.fixture
def workbench(tmp_path: Path, database: Database) -> Workbench:
    """The market and its plugin a, which has a table, and a column on the core's; all applied."""
    workbench = Workbench(tmp_path, database)
    workbench.develop(market(), plugin("a", models=MODELS, migrations=True, revisions=(A1, A2)))
    workbench.init_db()
    return workbench


def check(workbench: Workbench, *options: str, code: int = 0) -> dict[str, Any]:
    """What was found, by owner: the state, and each finding as ``kind object table.name``."""
    result = workbench.run("db", "check", workbench.deployment, "--json", *options, code=code)
    answer = json.loads(result.out)
    found: dict[str, Any] = {}
    for owner in answer["owners"]:
        found[owner["owner"]] = owner["state"]
        if owner["findings"]:
            found[owner["owner"]] = [
                f"{each['kind']} {each['object']} {each['table']}.{each['name']}"
                for each in owner["findings"]
            ]
    return found


def test_everything_in_its_place(workbench: Workbench) -> None:
    assert check(workbench) == {"core": "same", "a": "same"}
    text = workbench.run("db", "check", workbench.deployment).out
    assert "a      same" in text


def test_models_ahead_of_the_revisions(workbench: Workbench) -> None:
    """Somebody has to write a revision; nobody else's models matter."""
    more = MODELS.replace("    name:", "    size: Mapped[int | None]\n    name:")
    workbench.develop(plugin("a", models=more, migrations=True, revisions=(A1, A2)))
    found = check(workbench, code=4)
    assert found == {"core": "same", "a": ["unwritten column stall.size"]}
    assert check(workbench, "--owner", "core") == {"core": "same"}
    text = workbench.run("db", "check", workbench.deployment, code=4).out
    assert "column stall.size: the models have it, and no revision makes it" in text
    assert "make-migrations" in text


def test_models_behind_the_revisions(workbench: Workbench) -> None:
    less = MODELS.partition("Product.__table__")[0].replace(", index=True", "")
    workbench.develop(plugin("a", models=less, migrations=True, revisions=(A1, A2)))
    assert set(check(workbench, code=4)["a"]) == {
        "unwritten column product.stalls",
        "unwritten index stall.ix_stall_name",
    }


def test_what_a_revision_made_is_gone(workbench: Workbench) -> None:
    """Tables and columns, whether they are recorded one by one or came with their table."""
    workbench.database.execute("DROP INDEX ix_stall_name", "ALTER TABLE stall DROP COLUMN name")
    workbench.database.execute("ALTER TABLE product DROP COLUMN stalls")
    assert set(check(workbench, code=4)["a"]) == {
        "lost column product.stalls",
        "lost column stall.name",
        "lost index stall.ix_stall_name",
    }
    workbench.database.execute("DROP TABLE stall")
    assert set(check(workbench, code=4)["a"]) == {
        "lost column product.stalls",
        "lost table stall.stall",
    }


def test_what_only_the_database_has(workbench: Workbench) -> None:
    workbench.database.execute("ALTER TABLE stall ADD COLUMN by_hand INTEGER")
    found = check(workbench, code=4)
    assert found == {"core": "same", "a": ["unrecorded column stall.by_hand"]}
    workbench.database.execute("CREATE TABLE nobodys (id INTEGER)")
    assert check(workbench, code=4) == found


def test_what_is_another_thing_in_the_models(workbench: Workbench) -> None:
    other = MODELS.replace("sa.String(20)", "sa.Text")
    workbench.develop(plugin("a", models=other, migrations=True, revisions=(A1, A2)))
    assert check(workbench, code=4)["a"] == ["different column stall.name"]
    text = workbench.run("db", "check", workbench.deployment, code=4).out
    assert "its type is TEXT in the models and VARCHAR(20) in the database" in text


def graded(*values: str, native: bool) -> str:
    """Models of a table with an enumerated type of *values*: the server's own, or a check."""
    listed = ", ".join(map(repr, values))
    how = "" if native else ", native_enum=False, create_constraint=True, length=9"
    return table("egg", f'size: Mapped[str] = mapped_column(sa.Enum({listed}, name="size"{how}))')


@pytest.mark.parametrize("native", [True, False])
def test_a_value_that_only_the_models_have(workbench: Workbench, native: bool) -> None:
    """One that only the database has is nobody's drift: rows may have it."""
    workbench.develop(plugin("b", models=graded("s", "l", native=native)))
    workbench.write("b", "--initialize")
    workbench.init_db()
    assert check(workbench, "--owner", "b") == {"b": "same"}
    workbench.develop(plugin("b", models=graded("s", "m", "l", native=native)))
    found = "unwritten type size.size" if native else "different column egg.size"
    assert check(workbench, "--owner", "b", code=4) == {"b": [found]}
    text = workbench.run("db", "check", workbench.deployment, code=4).out
    said = "the models give it 'm', and no revision does"
    assert (said if native else "is one of 's', 'm', 'l' in the models") in text
    workbench.write("b", workbench.deployment)
    workbench.init_db()
    assert check(workbench, "--owner", "b") == {"b": "same"}
    workbench.develop(plugin("b", models=graded("s", "m", native=native)))
    assert check(workbench, "--owner", "b") == {"b": "same"}


def test_a_value_that_the_type_lost(tmp_path: Path, postgresql_database: Database) -> None:
    workbench = Workbench(tmp_path, postgresql_database)
    workbench.develop(market(), plugin("b", models=graded("s", "l", native=True)))
    workbench.write("b", "--initialize")
    workbench.init_db()
    postgresql_database.execute(
        "ALTER TABLE egg ALTER COLUMN size TYPE text",
        "DROP TYPE size",
        "CREATE TYPE size AS ENUM ('s')",
        "ALTER TABLE egg ALTER COLUMN size TYPE size USING size::size",
    )
    assert check(workbench, "--owner", "b", code=4) == {"b": ["lost type size.size"]}


def test_pending_revisions_of_others_do_not_matter(workbench: Workbench) -> None:
    """Those of the owner itself do: its models have their effect already."""
    models = CORE_MODELS.replace("    sku:", "    size: Mapped[int | None]\n    sku:")
    c5 = 'op.add_column("product", sa.Column("size", sa.Integer))'
    revisions = (*CORE_REVISIONS, revision_file("c5", down="c4", upgrade=c5))
    workbench.develop(market(models, revisions=revisions))
    assert check(workbench, code=3) == {"core": "pending", "a": "same"}
    assert check(workbench, "--owner", "a") == {"a": "same"}
    workbench.database.execute("DROP TABLE stall")
    assert check(workbench, code=4)["a"] == ["lost table stall.stall"]


def test_departed_plugin_is_compared_with_its_record(workbench: Workbench) -> None:
    """And what it has is nobody else's to drop."""
    workbench.site.uninstall("market-a")
    assert check(workbench) == {"core": "same", "a": "same"}
    workbench.database.execute("DROP TABLE stall")
    assert check(workbench, code=4) == {"core": "same", "a": ["lost table stall.stall"]}


def test_plugin_whose_models_are_broken_hides_nobody(workbench: Workbench) -> None:
    broken = plugin("b", models="raise RuntimeError('no')", migrations=True)
    workbench.develop(broken)
    workbench.run("init-db", workbench.deployment)
    found = check(workbench, "--owner", "b", code=4)
    assert found == {"b": "unknown"}
    assert check(workbench, "--owner", "a") == {"a": "same"}


def test_revisions_that_do_not_run_on_sqlite_are_known_by_their_record(
    tmp_path: Path, postgresql_database: Database
) -> None:
    """No replay tells what they make."""
    workbench = Workbench(tmp_path, postgresql_database)
    only_there = revision_file("c5", down="c4", upgrade='op.execute("DO $$ BEGIN END $$")')
    workbench.develop(market(revisions=(*CORE_REVISIONS, only_there)))
    workbench.init_db()
    workbench.database.execute("ALTER TABLE product DROP COLUMN sku")
    assert check(workbench, code=4)["core"][0] == "lost column product.sku"


def test_before_the_first_run_all_is_pending(tmp_path: Path) -> None:
    workbench = Workbench(tmp_path)
    workbench.develop(market())
    workbench.deployment.mkdir()
    (workbench.deployment / "config.toml").touch()
    assert check(workbench, code=3) == {"core": "pending"}
    assert not list(workbench.deployment.glob("*sqlite*"))


def test_owner_nobody_has(workbench: Workbench) -> None:
    result = workbench.run("db", "check", workbench.deployment, "--owner", "aa", code=2)
    assert "No owner is called 'aa'. Did you mean 'a'?" in result.err


def test_table_that_models_lack_entirely(workbench: Workbench) -> None:
    """A removed model: its revisions still make the table."""
    workbench.develop(plugin("a", models=table("other"), migrations=True, revisions=(A1, A2)))
    assert set(check(workbench, code=4)["a"]) == {
        "unwritten table other.other",
        "unwritten table stall.stall",
        "unwritten column product.stalls",
    }


def test_tables_in_a_circle_that_no_model_has_are_told_of(
    tmp_path: Path, database: Database
) -> None:
    """Only a revision that drops them could not be written."""
    key = "with op.batch_alter_table('egg') as batch:\n"
    key += "    batch.create_foreign_key('fk_egg_hen', 'hen', ['hen_id'], ['id'])"
    hen = "op.create_table('hen', sa.Column('id', sa.Integer, primary_key=True),\n"
    hen += "    sa.Column('egg_id', sa.Integer, sa.ForeignKey('egg.id', name='fk_hen_egg')))"
    egg = "op.create_table('egg', sa.Column('id', sa.Integer, primary_key=True),\n"
    egg += "    sa.Column('hen_id', sa.Integer))"
    made = f"{egg}\n{hen}\n{key}"
    circle = revision_file("a1", labels="a", depends="c4", upgrade=made)
    workbench = Workbench(tmp_path, database)
    workbench.develop(market(), plugin("a", models="", migrations=True, revisions=(circle,)))
    workbench.init_db()
    found = check(workbench, code=4)
    assert {"unwritten table egg.egg", "unwritten table hen.hen"} <= set(found["a"])
