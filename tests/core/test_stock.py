"""Stock Alembic on a deployment: what its commands say and do agrees with what is recorded.

Alembic runs as people run it: its own command, in a process, with a small configuration.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import anabranch_migrations
from support import trees
from support.databases import Database
from support.sites import Result
from support.store import Store
from support.store import table as columns
from support.trees import revision_file
from support.workbench import Workbench, market, plugin, table

TO_PRODUCT = "product_id: Mapped[int | None] = mapped_column(sa.ForeignKey('product.id'))"
STALL = table("stall", TO_PRODUCT)


class Alembic:
    """A directory with a configuration, in which ``alembic`` is run."""

    def __init__(self, workbench: Workbench, directory: Path, *, toml: bool) -> None:
        self.workbench, self.directory = workbench, directory
        directory.mkdir()
        if toml:
            self.write(
                "pyproject.toml",
                "[tool.alembic]\n"
                'script_location = "anabranch_migrations:."\n'
                'anabranch_app = "market.cli:manager"\n'
                f'anabranch_deployment = "{workbench.deployment}"\n',
            )
        else:
            self.write(
                "alembic.ini",
                "[alembic]\n"
                "script_location = anabranch_migrations:.\n"
                "anabranch_app = market.cli:manager\n"
                f"anabranch_deployment = {workbench.deployment}\n",
            )

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        site = self.workbench.site
        done = site.python("-W", "error", "-m", "alembic", *arguments, cwd=self.directory)
        return done.expect(code)


@pytest.fixture
def workbench(tmp_path: Path, database: Database) -> Workbench:
    """The market and its plugin a, whose revision depends on c2; nothing is applied yet."""
    workbench = Workbench(tmp_path)
    workbench.develop(market(), plugin("a", models=STALL))
    workbench.write("a", "--initialize")
    workbench.deployment.mkdir()
    (workbench.deployment / "config.toml").write_text(
        f'[sqlalchemy]\ndatabase_url = "{database.url}"\n'
    )
    workbench.database = database
    return workbench


@pytest.fixture
def alembic(workbench: Workbench, tmp_path: Path) -> Alembic:
    return Alembic(workbench, tmp_path / "project", toml=False)


def status(workbench: Workbench, *problems: str) -> dict[str, tuple[int, int, list[str]]]:
    """Applied and pending revisions and the heads of each owner, as ``db status`` has them.

    :param problems: the codes of what it finds wrong.
    """
    answer = json.loads(workbench.run("db", "status", workbench.deployment, "--json").out)
    assert {problem["code"] for problem in answer["problems"]} == set(problems)
    return {o["owner"]: (o["applied"], o["pending"], o["heads"]) for o in answer["owners"]}


def owned(workbench: Workbench) -> dict[str, str]:
    """The recorded tables and whose they are."""
    rows = workbench.database.rows("anabranch_object")
    return {row["table_name"]: row["owner"] for row in rows if row["kind"] == "table"}


def events(workbench: Workbench) -> list[tuple[str, str, str]]:
    answer = json.loads(workbench.run("db", "history", workbench.deployment, "--json").out)
    return [(event["event"], event["owner"], event["revision"]) for event in answer["events"]]


def versions(database: Database) -> set[str]:
    return {row["version_num"] for row in database.rows("alembic_version")}


def only(workbench: Workbench, name: str = "a") -> str:
    (path,) = workbench.revisions(name)
    return path.name[:12]


def test_upgrade_by_alembic_is_an_upgrade(workbench: Workbench, alembic: Alembic) -> None:
    """It ends where init-db would have: schema, applied set, owners of tables, journal."""
    alembic("upgrade", "heads")
    a1 = only(workbench)
    assert set(workbench.schema()) == {"customer", "product", "stall"}
    assert status(workbench) == {"core": (4, 0, ["c4"]), "a": (1, 0, [a1])}
    assert owned(workbench) == {"customer": "core", "product": "core", "stall": "a"}
    ran = events(workbench)
    assert {("applied", "core", f"c{number}") for number in range(1, 5)} < set(ran)
    assert ("applied", "a", a1) in ran
    before = workbench.database.dump()
    assert "Nothing is pending" in workbench.init_db().out
    assert workbench.database.dump() == before
    rows = workbench.database.rows("anabranch_revision")
    assert {(row["owner"], row["distribution"], row["version"]) for row in rows} == {
        ("core", "market", "1.0"),
        ("a", "market-a", "1.0"),
    }
    assert all(row["checksum"] and row["applied_at"] for row in rows)


def test_result_equals_that_of_init_db(
    workbench: Workbench, alembic: Alembic, tmp_path: Path
) -> None:
    alembic("upgrade", "heads")
    other = Workbench(tmp_path, Database(f"sqlite:///{tmp_path / 'other.sqlite'}"))
    if workbench.database.backend == "sqlite":
        other.init_db()
        assert other.schema() == workbench.schema()
        assert owned(other) == owned(workbench)
    assert versions(workbench.database) == {"c4", only(workbench)}


def test_current_says_what_status_says(workbench: Workbench, alembic: Alembic) -> None:
    workbench.init_db()
    before = workbench.database.dump()
    out = alembic("current").out
    assert {line.split()[0] for line in out.splitlines()} == {"c4", only(workbench)}
    assert workbench.database.dump() == before


def test_history_says_what_is_installed(workbench: Workbench, alembic: Alembic) -> None:
    """With --indicate-current Alembic asks env.py, which knows all owners."""
    workbench.init_db()
    out = alembic("history", "--indicate-current").out
    shown = {line.split(" -> ")[1].split()[0].rstrip(",") for line in out.splitlines()}
    assert shown == {"c1", "c2", "c3", "c4", only(workbench)}
    assert out.count("(current)") == 2


def test_downgrade_of_one_plugin_leaves_the_others(workbench: Workbench, alembic: Alembic) -> None:
    """``a@base`` takes A's revisions back, its tables and its records; then it is pending."""
    workbench.init_db()
    a1 = only(workbench)
    alembic("downgrade", "a@base")
    assert status(workbench) == {"core": (4, 0, ["c4"]), "a": (0, 1, [])}
    assert owned(workbench) == {"customer": "core", "product": "core"}
    assert set(workbench.schema()) == {"customer", "product"}
    assert versions(workbench.database) == {"c4"}
    assert events(workbench)[-1] == ("reverted", "a", a1)
    result = workbench.init_db()
    assert "1 revision applied" in result.out
    assert owned(workbench)["stall"] == "a"


def test_downgrade_of_everything_and_back(workbench: Workbench, alembic: Alembic) -> None:
    alembic("upgrade", "heads")
    alembic("downgrade", "base")
    assert workbench.schema() == {}
    assert owned(workbench) == {}
    assert status(workbench) == {"core": (0, 4, []), "a": (0, 1, [])}
    assert "5 revisions applied" in workbench.init_db().out


def test_relative_and_single_targets_work(workbench: Workbench, alembic: Alembic) -> None:
    alembic("upgrade", "c2")
    assert status(workbench)["core"] == (2, 2, ["c2"])
    alembic("upgrade", "c2@+1")
    assert status(workbench)["core"] == (3, 1, ["c3"])
    alembic("downgrade", "c1")
    assert status(workbench) == {"core": (1, 3, ["c1"]), "a": (0, 1, [])}
    assert set(workbench.schema()) == {"customer"}


def test_stamp_is_taken_over(workbench: Workbench, alembic: Alembic) -> None:
    """What stamp says counts as applied with all it stands for; nothing runs."""
    alembic("stamp", "heads")
    assert workbench.schema() == {}
    assert status(workbench) == {"core": (4, 0, ["c4"]), "a": (1, 0, [only(workbench)])}
    assert "Nothing is pending" in workbench.init_db().out
    assert {event for event, _, _ in events(workbench)} == {"adopted"}
    assert status(workbench)["core"] == (4, 0, ["c4"])


def test_stamp_back_is_taken_over_too(workbench: Workbench, alembic: Alembic) -> None:
    """After a restored table of versions, what is no longer in it is pending again.

    Where the tables stayed, it says that they are in the way.
    """
    workbench.init_db()
    alembic("stamp", "--purge", "c1")
    assert status(workbench, "AB127") == {"core": (1, 3, ["c1"]), "a": (0, 1, [])}


def test_what_another_tool_dropped_and_stamped_back_is_built_again(
    workbench: Workbench, alembic: Alembic
) -> None:
    """The records of objects that are gone stand in nobody's way."""
    workbench.init_db()
    before = workbench.schema()
    alembic("stamp", "--purge", "base")
    order = sorted(workbench.schema(), key=lambda name: name != "stall")
    workbench.database.execute(*(f'DROP TABLE "{name}"' for name in order))
    workbench.init_db()
    assert workbench.schema() == before
    assert owned(workbench)["stall"] == "a"


def test_uninstalled_plugin_does_not_stop_alembic(workbench: Workbench, alembic: Alembic) -> None:
    """Without us every command dies with "Can't locate revision"; its row is not shown here."""
    workbench.init_db()
    workbench.site.uninstall("market-a")
    assert "c4" in alembic("current").out
    alembic("upgrade", "heads")
    alembic("downgrade", "c3")
    assert versions(workbench.database) == {"c3"}
    alembic("upgrade", "heads")
    assert status(workbench) == {"core": (4, 0, ["c4"]), "a": (1, 0, [only(workbench)])}
    assert owned(workbench)["stall"] == "a"
    workbench.develop(plugin("a", models=STALL))
    alembic("upgrade", "heads")
    assert versions(workbench.database) == {"c4", only(workbench)}


def test_what_needs_an_uninstalled_plugin_runs_and_goes_back(
    workbench: Workbench, alembic: Alembic
) -> None:
    """To Alembic it needs what that plugin needed: else it finds no such revision and fails."""
    workbench.init_db()
    gift = revision_file("g1", depends=only(workbench), labels="gifts")
    workbench.site.install(trees.plugin("gifts", host="market", revisions=[gift]))
    workbench.site.uninstall("market-a")
    alembic("upgrade", "heads")
    assert status(workbench)["gifts"] == (1, 0, ["g1"])
    assert versions(workbench.database) == {"c4", "g1"}
    alembic("downgrade", "gifts@base")
    assert status(workbench)["gifts"] == (0, 1, [])
    assert versions(workbench.database) == {"c4"}


def test_failing_revision_leaves_no_trace_of_itself(workbench: Workbench, alembic: Alembic) -> None:
    """What ran before it stays or goes with it, as the database does it; never half."""
    fails = "op.create_table('half', sa.Column('id', sa.Integer))\nraise RuntimeError('no')"
    b = plugin("b", migrations=True, revisions=[revision_file("b1", labels="b", upgrade=fails)])
    workbench.develop(b)
    alembic("upgrade", "heads", code=1)
    schema = set(workbench.schema())
    assert "half" not in schema
    applied = {owner: numbers[0] for owner, numbers in status(workbench).items()}
    assert applied["b"] == 0
    assert ("customer" in schema) == (applied["core"] >= 1)
    assert ("stall" in schema) == (applied["a"] == 1)
    if workbench.database.backend == "sqlite":
        assert schema == set()
    workbench.site.uninstall("market-b")
    workbench.init_db()
    assert set(workbench.schema()) == {"customer", "product", "stall"}


def test_redundant_dependencies_do_not_crash_it(workbench: Workbench, alembic: Alembic) -> None:
    """Stock Alembic raises KeyError where one dependency implies another."""
    workbench.develop(
        plugin(
            "b",
            migrations=True,
            revisions=[
                revision_file("b1", labels="b", depends=["c1", "c3"]),
                revision_file("b2", down="b1", depends=["c1", "c2", "c3"]),
                revision_file("b3", down="b2", depends=["b1", "c4"]),
            ],
        )
    )
    alembic("upgrade", "heads")
    assert status(workbench)["b"] == (3, 0, ["b3"])
    assert versions(workbench.database) == {"b3", only(workbench)}
    alembic("downgrade", "b@base")
    assert status(workbench) == {
        "core": (4, 0, ["c4"]),
        "a": (1, 0, [only(workbench)]),
        "b": (0, 3, []),
    }
    assert versions(workbench.database) == {"c4", only(workbench)}
    alembic("upgrade", "heads")
    assert status(workbench)["b"] == (3, 0, ["b3"])


def test_owner_qualified_dependencies_are_understood(
    workbench: Workbench, alembic: Alembic
) -> None:
    """``owner@id`` is ours, not Alembic's: it is translated."""
    workbench.develop(
        plugin("b", migrations=True, revisions=[revision_file("b1", labels="b", depends="core@c4")])
    )
    alembic("upgrade", "b@head")
    assert status(workbench) == {
        "core": (4, 0, ["c4"]),
        "a": (0, 1, []),
        "b": (1, 0, ["b1"]),
    }
    assert versions(workbench.database) == {"b1"}


def test_same_id_of_two_owners_is_said(workbench: Workbench, alembic: Alembic) -> None:
    workbench.develop(plugin("b", migrations=True, revisions=[revision_file("c4", labels="b")]))
    result = alembic("upgrade", "heads", code=255)
    assert "have the same id, which Alembic cannot tell apart." in result.out + result.err
    assert "Traceback" not in result.err
    assert workbench.schema() == {}


@pytest.fixture
def toml_alembic(workbench: Workbench, tmp_path: Path) -> Alembic:
    return Alembic(workbench, tmp_path / "project", toml=True)


def test_pyproject_serves_as_configuration(workbench: Workbench, toml_alembic: Alembic) -> None:
    toml_alembic("upgrade", "heads")
    assert status(workbench)["core"] == (4, 0, ["c4"])
    assert "c4" in toml_alembic("current").out


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no app": ({"anabranch_app": ""}, "anabranch_app"),
    "unknown module": ({"anabranch_app": "nowhere:manager"}, "nowhere"),
    "no manager": ({"anabranch_app": "market.cli:cli"}, "is no MigrationManager"),
    "no deployment": ({"anabranch_deployment": "/nowhere"}, "is not a deployment"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_configuration_is_one_message(
    tmp_path: Path, sqlite_database: Database, wrong: str
) -> None:
    changes, message = WRONG[wrong]
    workbench = Workbench(tmp_path)
    workbench.develop(market())
    alembic = Alembic(workbench, tmp_path / "project", toml=False)
    options: dict[str, Any] = {
        "script_location": "anabranch_migrations:.",
        "anabranch_app": "market.cli:manager",
        "anabranch_deployment": str(workbench.deployment),
        **changes,
    }
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    alembic.write("alembic.ini", f"[alembic]\n{lines}")
    result = alembic("current", code=255)
    assert message in result.out + result.err
    assert "Traceback" not in result.err


def test_offline_mode_is_refused(tmp_path: Path) -> None:
    workbench = Workbench(tmp_path)
    workbench.develop(market())
    workbench.init_db()
    alembic = Alembic(workbench, tmp_path / "project", toml=False)
    result = alembic("upgrade", "heads", "--sql", code=255)
    assert "Offline mode is not supported here" in result.out + result.err


@pytest.mark.parametrize("option", ["--message=x", "--autogenerate"])
def test_writing_a_revision_is_refused_in_words(tmp_path: Path, option: str) -> None:
    """With the way to write one; no file and no folder is left where Alembic wanted to write it."""
    workbench = Workbench(tmp_path)
    workbench.develop(market())
    workbench.init_db()
    alembic = Alembic(workbench, tmp_path / "project", toml=False)
    result = alembic("revision", option, code=255)
    said = " ".join((result.out + result.err).split())
    assert "FAILED: Alembic knows no owner to write a revision for. Use the application's" in said
    assert "make-migrations, with --plugin NAME for a plugin." in said
    assert "Traceback" not in result.err
    assert not Path(anabranch_migrations.__path__[0], "versions").exists()


def test_faulty_tree_stops_it_before_the_database_is_touched(
    workbench: Workbench, alembic: Alembic
) -> None:
    workbench.develop(
        plugin("b", migrations=True, revisions=[revision_file("b1", depends="nowhere")])
    )
    result = alembic("upgrade", "heads", code=255)
    assert "nowhere" in result.out + result.err
    assert "Traceback" not in result.err
    assert workbench.schema() == {}


def test_each_owner_runs_with_its_own_naming_convention(
    workbench: Workbench, alembic: Alembic
) -> None:
    """What a script drops by a conventional name must be found, whoever runs it."""
    own = 'metadata = sa.MetaData(naming_convention={"uq": "b_%(table_name)s_unique"})\n'
    body = (
        'op.create_table("booth", sa.Column("id", sa.Integer, primary_key=True),\n'
        '    sa.Column("code", sa.Integer), sa.UniqueConstraint("code"))\n'
    )
    workbench.develop(
        plugin("b", models=own, revisions=[revision_file("b1", upgrade=body)], migrations=True)
    )
    alembic("upgrade", "heads")
    assert {each["name"] for each in workbench.schema()["booth"]["uniques"]} == {"b_booth_unique"}


def test_a_plugin_that_names_nothing_runs_after_the_core_it_was_written_for(
    tmp_path: Path, database: Database
) -> None:
    store = Store(tmp_path, database)
    store.core(revision_file("c1", upgrade=columns("one")))
    refers = "sa.Column('one', sa.Integer, sa.ForeignKey('one.id'))"
    store.plugin(
        "billing",
        revision_file("b1", upgrade=f"op.create_table('two', {refers})", labels="billing"),
        models=None,
    )
    (tmp_path / "alembic.ini").write_text(
        "[alembic]\nscript_location = anabranch_migrations:.\n"
        f"anabranch_app = store.cli:manager\nanabranch_deployment = {store.deployment}\n"
    )
    alone = store.site.python("-m", "alembic", "upgrade", "b1", cwd=tmp_path)
    assert "billing@b1 needs core@c1" in alone.out
    assert alone.code != 0
    assert store.schema == {}
    store.site.python("-m", "alembic", "upgrade", "heads", cwd=tmp_path).expect(0)
    assert store.applied == {"core@c1", "billing@b1"}
    assert set(store.schema) == {"one", "two"}
