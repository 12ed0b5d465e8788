"""The commands as people and tools use them: words, exit codes, JSON, help, and no side effects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from anabranch import console
from anabranch.cli.program import main
from anabranch.errors import UsageError
from support.databases import Database
from support.distributions import Distribution
from support.sites import Result, Site
from support.trees import revision_file
from support.workbench import CORE_REVISIONS, Workbench, market, plugin, table

A1 = revision_file(
    "a1",
    labels="a",
    depends="c2",
    message="Put up stalls",
    upgrade='op.create_table("stall", sa.Column("id", sa.Integer, primary_key=True))',
)
A2 = revision_file("a2", down="a1", message="Paint them")
LOOKING = ("plan", "status", "history", "plugins")


def stalls(*revisions: str) -> Distribution:
    return plugin("a", models=table("stall"), migrations=True, revisions=revisions or (A1, A2))


@pytest.fixture
def workbench(tmp_path: Path, database: Database) -> Workbench:
    """The market and its plugin a; nothing is applied yet, and the deployment is there."""
    workbench = Workbench(tmp_path)
    workbench.develop(market(), stalls())
    workbench.deployment.mkdir()
    (workbench.deployment / "config.toml").write_text(
        f'[sqlalchemy]\ndatabase_url = "{database.url}"\n'
    )
    workbench.database = database
    return workbench


def look(workbench: Workbench, command: str, *options: str, code: int = 0) -> dict[str, Any]:
    """What ``db COMMAND --json`` prints."""
    result = workbench.run("db", command, workbench.deployment, "--json", *options, code=code)
    answer = json.loads(result.out)
    assert answer.pop("schema_version") == 1
    assert isinstance(answer, dict)
    return answer


STEP = {
    "number",
    "owner",
    "revision",
    "message",
    "reason",
    "down_revision",
    "depends_on",
    "autocommit",
    "path",
    "operations",
    "destructive",
    "destructive_reason",
    "irreversible",
    "reads_database",
}


def test_plan_as_json_names_every_step(workbench: Workbench) -> None:
    """Steps are objects in the order they run, with what each waits for."""
    plan = look(workbench, "plan")
    assert set(plan) == {"database", "digest", "applied", "steps", "problems"}
    assert plan["applied"] == 0
    assert plan["problems"] == []
    assert re.fullmatch("[0-9a-f]{16}", plan["digest"])
    assert {frozenset(step) for step in plan["steps"]} == {frozenset(STEP)}
    order = [f"{step['owner']}@{step['revision']}" for step in plan["steps"]]
    assert sorted(order) == ["a@a1", "a@a2", "core@c1", "core@c2", "core@c3", "core@c4"]
    assert order.index("core@c2") < order.index("a@a1") < order.index("a@a2")
    first = plan["steps"][order.index("a@a1")]
    assert first["message"] == "Put up stalls"
    assert first["depends_on"] == [{"owner": "core", "revision": "c2"}]
    assert first["down_revision"] == []
    assert first["reason"] == "needs core@c2"
    assert first["number"] == order.index("a@a1") + 1
    assert Path(first["path"]).is_file()
    assert plan["steps"][order.index("a@a2")]["down_revision"] == ["a1"]


def test_plan_is_what_init_db_runs(workbench: Workbench) -> None:
    plan = look(workbench, "plan")
    workbench.init_db()
    ran = [
        (event["owner"], event["revision"])
        for event in look(workbench, "history")["events"]
        if event["event"] == "applied"
    ]
    assert ran == [(step["owner"], step["revision"]) for step in plan["steps"]]
    after = look(workbench, "plan")
    assert (after["steps"], after["applied"]) == ([], 6)


def test_plan_says_what_each_revision_does(workbench: Workbench) -> None:
    """From its source, which is not run; marks are what to beware of."""
    clears = """
if op.get_bind().execute(sa.text("SELECT 1")).scalar():
    op.execute("DELETE FROM stall")
op.drop_column("stall", "id")
with op.get_context().autocommit_block():
    op.create_index("ix_stall", "stall", ["id"])
raise SystemExit("never run")
"""
    workbench.develop(stalls(A1, A2, revision_file("a3", down="a2", upgrade=clears)))
    found = {step["revision"]: step for step in look(workbench, "plan")["steps"]}
    assert [item["words"] for item in found["c1"]["operations"]] == ["create table customer"]
    assert (found["c1"]["destructive"], found["c1"]["irreversible"]) == (False, False)
    assert [item["words"] for item in found["a3"]["operations"]] == [
        "run SQL: DELETE FROM stall",
        "drop column stall.id",
        "create index ix_stall on stall",
        "run Python code",
    ]
    keys = {"operation", "schema", "table", "name", "words", "certain"}
    assert {frozenset(item) for item in found["a3"]["operations"]} == {frozenset(keys)}
    assert (found["a3"]["destructive"], found["a3"]["autocommit"]) == (True, True)
    assert found["a2"]["operations"] == []
    text = workbench.run("db", "plan", workbench.deployment).out
    assert "drop column stall.id" in text
    assert "  ! destructive, autocommit, irreversible, reads the database" in text
    assert found["a3"]["reads_database"] is True
    assert found["c3"]["reads_database"] is False
    left_out = look(workbench, "plan", "--no-operations")["steps"]
    assert {step["operations"] for step in left_out} == {None}
    text = workbench.run("db", "plan", workbench.deployment, "--no-operations").out
    assert "drop column" not in text
    assert "--operations shows it" in text


def test_strict_takes_warnings_for_faults(workbench: Workbench) -> None:
    """An edited revision stops nothing, unless one asks for that."""
    workbench.init_db()
    workbench.develop(stalls(A1, A2.replace("pass", "pass  # edited", 1)))
    for command in (("db", "plan"), ("db", "status"), ("init-db",)):
        assert "Warning AB101" in workbench.run(*command, workbench.deployment).err
        strict = workbench.run(*command, workbench.deployment, "--strict", code=4).err
        assert "AB101: a@a2" in strict
    assert look(workbench, "status", "--strict", code=4)["status"] == "current"
    workbench.develop(stalls(A1, A2, revision_file("a3", down="a2")))
    workbench.run("db", "status", workbench.deployment, "--strict")


def test_history_shows_what_is_asked_for(workbench: Workbench) -> None:
    workbench.init_db()
    every = look(workbench, "history")["events"]
    workbench.develop(stalls(A1, A2, revision_file("a3", down="a2")))
    workbench.init_db()
    events = look(workbench, "history")["events"]
    assert events[: len(every)] == every
    assert events[-1]["revision"] == "a3"
    assert look(workbench, "history", "--limit", "2")["events"] == events[-2:]
    run = look(workbench, "history", "--run", events[0]["run"])["events"]
    assert run == every
    mine = look(workbench, "history", "--owner", "A")["events"]
    assert [event["revision"] for event in mine] == ["a1", "a2", "a3"]
    assert look(workbench, "history", "--owner", "a", "--limit", "1")["events"] == mine[-1:]
    text = workbench.run("db", "history", workbench.deployment, "--owner", "nobody").out
    assert text == "Nothing of that kind was done to this database yet.\n"
    workbench.run("db", "history", workbench.deployment, "--limit", "0", code=2)


def test_status_as_json_tells_every_owner(workbench: Workbench) -> None:
    status = look(workbench, "status")
    looked = {"status", "database", "owners", "pending", "problems", "lock", "last_event"}
    assert set(status) == looked
    assert status["status"] == "pending"
    assert [owner["owner"] for owner in status["owners"]] == ["core", "a"]
    assert [step["revision"] for step in status["pending"] if step["owner"] == "a"] == ["a1", "a2"]
    assert {frozenset(step) for step in status["pending"]} == {frozenset(STEP)}
    workbench.init_db()
    workbench.site.uninstall("market-a")
    status = look(workbench, "status")
    assert (status["status"], status["pending"], status["problems"]) == ("current", [], [])
    keys = {"owner", "state", "distribution", "version", "applied", "pending", "heads", "left"}
    core, gone = status["owners"]
    assert set(core) == set(gone) == keys
    assert (core["state"], core["applied"], core["heads"]) == ("current", 4, ["c4"])
    assert (gone["state"], gone["distribution"], gone["version"]) == ("orphaned", "market-a", "1.0")


def test_history_as_json_tells_every_event(workbench: Workbench) -> None:
    assert look(workbench, "history") == {"events": []}
    workbench.init_db()
    events = look(workbench, "history")["events"]
    keys = ("event", "at", "run", "owner", "revision", "distribution", "version", "duration")
    assert {tuple(event) for event in events} == {(*keys, "actor", "detail")}
    applied = [event for event in events if event["event"] == "applied"]
    assert len(applied) == 6
    assert len({event["run"] for event in events}) == 1
    stall = next(event for event in applied if event["revision"] == "a1")
    assert (stall["owner"], stall["distribution"], stall["version"]) == ("a", "market-a", "1.0")
    assert stall["detail"] == "Put up stalls"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", stall["at"])


def test_plugins_as_json_tells_who_is_installed(workbench: Workbench) -> None:
    """With the deployment, also whom it leaves out; what is wrong stands in the note."""
    broken = revision_file("b1", labels="b", depends="nowhere")
    workbench.develop(plugin("b", migrations=True, revisions=[broken], version="2.1"))
    with (workbench.deployment / "config.toml").open("a") as config:
        config.write('[plugins]\ndisabled = ["A"]\n')
    answer = look(workbench, "plugins")
    assert set(answer) == {"plugins"}
    rows = {row["owner"]: row for row in answer["plugins"]}
    keys = {"owner", "distribution", "version", "migrations", "location", "models", "note"}
    assert {frozenset(row) for row in rows.values()} == {frozenset(keys)}
    assert list(rows) == ["core", "a", "b"]
    assert rows["a"]["note"] == "disabled"
    assert rows["a"]["models"] == ["market_a.db_models"]
    assert Path(rows["a"]["location"]) == workbench.source("a") / "migrations" / "versions"
    assert (rows["b"]["version"], rows["b"]["migrations"]) == ("2.1", "market_b.migrations")
    without = json.loads(workbench.run("db", "plugins", "--json").out)["plugins"]
    assert next(row for row in without if row["owner"] == "a")["note"] == ""


def test_plugins_whose_modules_cannot_be_imported_are_told_of(workbench: Workbench) -> None:
    """Each with the cause; one that is disabled is let alone, and the others are fine."""
    workbench.develop(plugin("b", models="import nowhere", migrations=True))
    workbench.develop(plugin("c", hooks="raise SystemExit('not today')", migrations=True))
    workbench.develop(plugin("d", models="1 / 0", migrations=True))
    with (workbench.deployment / "config.toml").open("a") as config:
        config.write('[plugins]\ndisabled = ["d"]\n')
    notes = {row["owner"]: row["note"] for row in look(workbench, "plugins")["plugins"]}
    assert notes == {
        "core": "",
        "a": "",
        "b": "'market_b.db_models' of b (market-b 1.0) cannot be imported: ModuleNotFoundError: "
        "No module named 'nowhere'",
        "c": "'market_c.hooks' of c (market-c 1.0) cannot be imported: SystemExit: not today",
        "d": "disabled",
    }
    done = workbench.run("db", "plugins")
    assert "ZeroDivisionError: division by zero" in done.out
    assert "Traceback" not in done.err
    workbench.develop(market(models="import nowhere"))
    assert "No module named 'nowhere'" in workbench.run("db", "plugins").out


def test_check_tells_current_pending_and_faulty_apart(workbench: Workbench) -> None:
    """0, 3 and 4, from status and plan alike; without --check looking is never a failure."""
    for command in ("status", "plan"):
        workbench.run("db", command, workbench.deployment, "--check", code=3)
        workbench.run("db", command, workbench.deployment)
    workbench.init_db()
    for command in ("status", "plan"):
        workbench.run("db", command, workbench.deployment, "--check")
    workbench.develop(stalls(A1, A2, revision_file("a3", down="nowhere")))
    for command in ("status", "plan"):
        workbench.run("db", command, workbench.deployment, "--check", code=4)
        assert look(workbench, command, "--check", code=4)["problems"][0]["owner"] == "a"
    workbench.run("db", "status", workbench.deployment)


PROBLEM = {"code", "level", "owner", "text", "remedy", "path"}


def test_fault_as_json_has_code_text_and_remedy(workbench: Workbench) -> None:
    workbench.develop(stalls(A1, A2, revision_file("a3", down="nowhere")))
    status = look(workbench, "status")
    assert status["status"] == "faulty"
    (problem,) = status["problems"]
    assert set(problem) == PROBLEM
    assert (problem["level"], problem["owner"]) == ("error", "a")
    assert re.fullmatch(r"AB\d{3}", problem["code"])
    assert "nowhere" in problem["text"]
    assert problem["remedy"]
    plan = look(workbench, "plan", code=4)
    assert set(plan) == {"error", "problems", "exit_code"}
    assert plan["exit_code"] == 4
    assert set(plan["error"]) == {"code", "text", "state", "remedy"}
    assert plan["error"]["code"] == problem["code"]
    assert plan["problems"] == [problem]


def test_usage_error_as_json(tmp_path: Path) -> None:
    workbench = Workbench(tmp_path)
    workbench.develop(market())
    for command in ("plan", "status", "history", "plugins"):
        answer = look(workbench, command, code=2)
        assert answer["error"]["code"] == "AB002"
        assert "is not a deployment" in answer["error"]["text"]
        assert answer["exit_code"] == 2


def test_json_is_all_that_stands_on_standard_output(workbench: Workbench) -> None:
    """Also where a plugin's module prints while its header is read, and where we have a bug."""
    chatty = A1.replace("depends_on = 'c2'", "print('hello')\ndepends_on = ('c' + '2',)")
    assert chatty != A1
    workbench.develop(stalls(chatty, A2))
    result = workbench.run("db", "plan", workbench.deployment, "--json")
    assert len(json.loads(result.out)["steps"]) == 6
    assert "hello" in result.err
    bug = market(options="database_url=lambda directory: 1 / 0")
    workbench.develop(bug)
    result = workbench.site.run("db", "plan", workbench.deployment, "--json").expect(1)
    assert json.loads(result.out)["error"]["text"] == "Unexpected ZeroDivisionError."
    assert "Traceback" in result.err


def test_failure_says_what_happened_where_it_stands_and_what_to_do(workbench: Workbench) -> None:
    """Three lines on standard error, and no traceback."""
    fails = revision_file("a3", down="a2", upgrade="raise RuntimeError('out of paint')")
    workbench.develop(stalls(A1, A2, fails))
    result = workbench.run("init-db", workbench.deployment, code=5)
    error, state, remedy = result.err.splitlines()
    assert error.startswith("Error AB301: a@a3 failed (")
    assert error.endswith(": RuntimeError: out of paint")
    assert state.startswith("State: ")
    assert remedy.startswith("Next:  ")


@pytest.mark.parametrize("command", LOOKING)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_looking_leaves_no_trace(
    workbench: Workbench, command: str, options: tuple[str, ...]
) -> None:
    """Neither in a database that is behind, nor in one that is not there, nor on the disk."""
    database, deployment = workbench.database, workbench.deployment
    files = sorted(workbench.site.path.parent.rglob("*"))
    workbench.run("db", command, deployment, *options)
    assert sorted(workbench.site.path.parent.rglob("*")) == files
    assert database.schema() == {}
    workbench.develop(market(revisions=CORE_REVISIONS[:2]))
    workbench.init_db()
    workbench.develop(market())
    files = sorted(workbench.site.path.parent.rglob("*"))
    content = database.path.read_bytes() if database.path else b""
    before = database.dump()
    workbench.run("db", command, deployment, *options)
    assert (database.path.read_bytes() if database.path else b"") == content
    assert database.dump() == before
    assert sorted(workbench.site.path.parent.rglob("*")) == files


def test_text_of_looking_commands_is_a_table(workbench: Workbench) -> None:
    """Words for people: where what stands, and how the database is called without secrets."""
    plan = workbench.run("db", "plan", workbench.deployment).out
    assert "6 pending, 0 applied, digest " in plan
    assert re.search(
        r"^\d  a +a1 +Put up stalls +needs core@c2\n     create table stall  ! irreversible$",
        plan,
        re.MULTILINE,
    )
    assert "Nothing was done" in workbench.run("db", "history", workbench.deployment).out
    assert "6 revisions are pending." in workbench.run("db", "status", workbench.deployment).out
    workbench.init_db()
    status = workbench.run("db", "status", workbench.deployment).out
    assert re.search(r"^a +current +2 +0 +a2 +market-a 1\.0$", status, re.MULTILINE)
    assert status.splitlines()[-1] == "The database is up to date."
    history = workbench.run("db", "history", workbench.deployment).out
    assert re.search(r" applied +a@a2 +market-a 1\.0 .* Paint them$", history, re.MULTILINE)
    plugins = workbench.run("db", "plugins").out
    assert re.search(r"^a +market-a 1\.0 +market_a\.migrations +ok$", plugins, re.MULTILINE)
    nothing = workbench.run("db", "plan", workbench.deployment).out
    assert "Nothing is pending; 6 revisions are applied." in nothing


def test_digest_pins_the_plan(workbench: Workbench) -> None:
    """What was looked at is what runs, or nothing."""
    digest = look(workbench, "plan")["digest"]
    result = workbench.run("init-db", workbench.deployment, "--digest", "0" * 16, code=8)
    assert f"The plan has the digest {digest}, not {'0' * 16}." in result.err
    assert workbench.schema() == {}
    workbench.run("init-db", workbench.deployment, "--digest", digest)
    assert "stall" in workbench.schema()
    nothing = workbench.run("init-db", workbench.deployment, "--digest", digest)
    assert "Nothing is pending" in nothing.out


def test_a_refused_digest_leaves_nothing_behind(tmp_path: Path) -> None:
    """No directory, configuration, database or lock; nor a lock beside a database that is there."""
    workbench = Workbench(tmp_path)
    workbench.develop(market())
    refused = ("init-db", workbench.deployment, "--digest", "0" * 16)
    assert "The plan has the digest" in workbench.run(*refused, code=8).err
    assert not workbench.deployment.exists()
    workbench.deployment.mkdir()
    workbench.run(*refused, code=8)
    assert list(workbench.deployment.iterdir()) == []
    workbench.run("init-db", workbench.deployment)
    (lock,) = workbench.deployment.glob("*.lock")
    lock.unlink()
    workbench.develop(market(), stalls())
    files = sorted(workbench.deployment.iterdir())
    workbench.run(*refused, code=8)
    assert sorted(workbench.deployment.iterdir()) == files


TYPER = '''\
import typer
from typer.main import get_command

from anabranch import MigrationManager

app = typer.Typer()


@app.command()
def greet(name: str) -> None:
    """Say hello."""
    print("hello", name)


@app.callback()
def everything() -> None:
    """Run the market."""


manager = MigrationManager("market", metadata="market.models:Base", migrations="market.migrations")
cli = get_command(app)
manager.add_commands(cli)
'''


def test_typer_application_gets_the_commands(tmp_path: Path) -> None:
    """They stand beside its own, with the same exit codes and messages."""
    workbench = Workbench(tmp_path)
    workbench.develop(market(files={"market/cli.py": TYPER}), plugin("a", models=table("stall")))
    run = workbench.site.run
    assert "hello you" in run("greet", "you").expect().out
    shown = run("--help").expect().out
    assert all(name in shown for name in ("greet", "init-db", "make-migrations", "db"))
    run("make-migrations", "--plugin", "a", "--initialize").expect()
    run("init-db", workbench.deployment).expect()
    assert "stall" in workbench.schema()
    run("db", "status", workbench.deployment, "--check").expect()
    assert "Error AB002" in run("init-db", "/dev/null").expect(2).err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("init-db",), 2, "Missing argument 'DEPLOYMENT_DIR'"),
        (("init-db", "--help"), 0, "Usage: market init-db"),
        (("db", "nothing"), 2, "No such command"),
        (("db", "plan", "--help"), 0, "Usage: market db plan"),
    ],
)
def test_typer_application_explains_their_use(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    workbench = Workbench(tmp_path)
    workbench.develop(market(files={"market/cli.py": TYPER}))
    result = workbench.site.run(*arguments).expect(code)
    assert message in result.out + result.err


def anabranch(site: Site, *arguments: str | Path, app: str = "", code: int = 0) -> Result:
    env = {"ANABRANCH_APP": app} if app else {}
    return site.python("-m", "anabranch", *arguments, env=env).expect(code)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Workbench]:
    """A host that has a manager and no command line."""
    workbench = Workbench(tmp_path)
    workbench.develop(market(), stalls())
    yield workbench
    workbench.site.close()


def test_host_without_a_command_line_uses_ours(bare: Workbench) -> None:
    site, app = bare.site, ("--app", "market.cli:manager")
    anabranch(site, *app, "init-db", bare.deployment)
    assert "stall" in bare.schema()
    out = anabranch(site, *app, "db", "status", bare.deployment, "--check").out
    assert "The database is up to date." in out
    out = anabranch(site, "make-migrations", "--plugin", "a", app="market.cli:manager").out
    assert "No change" in out


def test_hints_name_the_commands_as_they_were_called(bare: Workbench, tmp_path: Path) -> None:
    """By the host's own command line, or by ours with its option; the environment needs none."""
    nowhere, app = tmp_path / "nowhere", "market.cli:manager"
    look = ("db", "status", nowhere)
    hints = {
        "market": bare.run(*look, code=2).err,
        f"python -m anabranch --app {app}": anabranch(bare.site, "--app", app, *look, code=2).err,
        "python -m anabranch": anabranch(bare.site, *look, app=app, code=2).err,
    }
    for called, err in hints.items():
        assert f"Next:  Create one with '{called} init-db {nowhere}'." in err
    found = json.loads(anabranch(bare.site, "--app", app, *look, "--json", code=2).out)
    assert f"'python -m anabranch --app {app} init-db {nowhere}'" in found["error"]["remedy"]


def test_manager_is_found_in_the_working_directory(bare: Workbench, tmp_path: Path) -> None:
    """As a script next to the deployment; nothing has to be installed for it."""
    (tmp_path / "settings.py").write_text("from market.cli import manager\n")
    arguments = ("-m", "anabranch", "--app", "settings:manager", "db", "plugins")
    assert "market_a" in bare.site.python(*arguments, cwd=tmp_path).expect().out


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("", "No application is named."),
        ("nowhere:manager", "'nowhere:manager' cannot be imported"),
        ("market.cli:nothing", "'market.cli:nothing' cannot be imported"),
        ("market.cli:cli", "'market.cli:cli' is no MigrationManager but Group."),
        ("market.cli", "'market.cli' is no MigrationManager but module."),
        ("not a name", "'not a name' cannot be imported"),
        ("damaged:manager", "'damaged:manager' cannot be imported: SyntaxError: "),
        ("failing:manager", "ZeroDivisionError: division by zero ("),
        ("leaving:manager", "'leaving:manager' cannot be imported: SystemExit: 3 ("),
    ],
)
def test_wrong_application_is_one_message(bare: Workbench, app: str, message: str) -> None:
    for module, source in {"damaged": "x = (", "failing": "1 / 0", "leaving": "exit(3)"}.items():
        (bare.site.path / f"{module}.py").write_text(source)
    options = ("--app", app) if app else ()
    result = anabranch(bare.site, *options, "db", "plugins", code=2)
    assert message in result.err
    assert "Next:  " in result.err
    assert "Traceback" not in result.err


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


def test_anabranch_command_has_the_hosts_commands(bare: Workbench) -> None:
    for name in ("init-db", "make-migrations", "db"):
        assert name in anabranch(bare.site, "--help").out
    assert re.fullmatch(r".*anabranch, version \d.*\n", anabranch(bare.site, "--version").out)


def test_every_command_says_what_it_does_and_every_option_too() -> None:
    """A sentence for each, and an exit code of 0, with no application named."""
    found = dict(commands(main))
    assert set(found) >= {("init-db",), ("make-migrations",), *(("db", name) for name in LOOKING)}
    for path, command in found.items():
        assert command.help, path
        assert command.help.strip().partition("\n")[0].endswith((".", "changes it.")), path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (path, parameter.name)
        shown = CliRunner().invoke(main, [*path, "--help"])
        assert shown.exit_code == 0
        assert " ".join(command.help.split())[:40] in " ".join(shown.output.split())


def test_init_db_is_told_where_and_how_it_waits(workbench: Workbench) -> None:
    """Wrong arguments are usage errors of click, with its exit code."""
    assert "Missing argument 'DEPLOYMENT_DIR'" in workbench.run("init-db", code=2).err
    result = workbench.run("init-db", workbench.deployment, "--lock-timeout", "-1", code=2)
    assert "--lock-timeout" in result.err
    assert "No such command" in workbench.run("db", "nothing", code=2).err
    assert workbench.schema() == {}


def test_message_of_a_revision_cannot_forge_lines(workbench: Workbench) -> None:
    """What a plugin's author wrote is printed on its own line, without control characters."""
    evil = revision_file("a3", down="a2", message="fine\x1b[2J\rError AB301: none")
    workbench.develop(stalls(A1, A2, evil))
    for command in (("init-db",), ("db", "history"), ("db", "plan")):
        out = workbench.run(*command, workbench.deployment).out
        assert "\x1b" not in out
        assert "\r" not in out
        assert not any(line.startswith("Error") for line in out.splitlines())


def test_nothing_that_is_quoted_moves_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Servers, plugins and backup commands say what they like; line breaks are ours."""
    console.say("a\x9b2J\x07\r\u202eb\nc")
    console.say_failure(UsageError("bad\x9b31m", remedy="mend\x08"))
    shown = capsys.readouterr()
    assert shown.out == "a?2J???b\nc\n"
    assert "bad?31m" in shown.err
    assert "mend?" in shown.err
