"""Plugins' hooks: when each is called, with what, and what a failing one does to the run."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from anabranch import AnabranchError, MigrationManager, RevisionError
from anabranch.errors import HookError, RefusedError, RequirementError
from anabranch_plugins_api import MigrationSource, Seed, hookimpl
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file


class Log:
    """A plugin that notes what it is asked, with what is in the database by then."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    @hookimpl
    def anabranch_requirements(self, connection: sa.Connection) -> list[str]:
        self.seen.append(("requirements", sorted(sa.inspect(connection).get_table_names())))
        return []

    @hookimpl
    def anabranch_before_run(self, connection: sa.Connection, revisions: list[str]) -> None:
        self.seen.append(("before run", revisions))

    @hookimpl
    def anabranch_before_revision(self, connection: sa.Connection, revision: str) -> None:
        self.seen.append(("before", revision, "one" in sa.inspect(connection).get_table_names()))

    @hookimpl
    def anabranch_after_revision(self, connection: sa.Connection, revision: str) -> None:
        self.seen.append(("after", revision, "one" in sa.inspect(connection).get_table_names()))

    @hookimpl
    def anabranch_after_run(self, connection: sa.Connection, revisions: list[str]) -> None:
        self.seen.append(("after run", revisions))


def run(store: Store, *plugins: object) -> list[str]:
    with store.manager(plugins=plugins) as manager:
        return [str(key) for key in manager.upgrade(store.deployment).applied]


def test_hooks_are_called_in_order_with_their_arguments(store: Store) -> None:
    """Requirements first, then the run and each revision from both sides, then the end."""
    store.core(
        revision_file("c1", upgrade=table("one")), revision_file("c2", down="c1", upgrade="pass")
    )
    seen: list[Any] = []
    run(store, Log(seen))
    assert seen == [
        ("requirements", []),
        ("before run", ["core@c1", "core@c2"]),
        ("before", "core@c1", False),
        ("after", "core@c1", True),
        ("before", "core@c2", True),
        ("after", "core@c2", True),
        ("after run", ["core@c1", "core@c2"]),
    ]


def test_no_hook_is_called_when_nothing_is_pending(store: Store) -> None:
    store.core(revision_file("c1"))
    seen: list[Any] = []
    run(store, Log(seen))
    del seen[:]
    assert run(store, Log(seen)) == []
    assert seen == []


def test_a_hook_takes_only_the_arguments_it_names(sqlite_store: Store) -> None:
    """As everywhere with pluggy."""
    seen: list[str] = []

    class Plugin:
        @hookimpl
        def anabranch_after_revision(self, revision: str) -> None:
            seen.append(revision)

        @hookimpl
        def anabranch_after_run(self) -> None:
            seen.append("run")

    sqlite_store.core(revision_file("c1"))
    run(sqlite_store, Plugin())
    assert seen == ["core@c1", "run"]


WRITE = """
    import pathlib
    from anabranch_plugins_api import hookimpl

    @hookimpl
    def anabranch_before_run():
        with pathlib.Path({log!r}).open("a") as file:
            file.write("{name} ")
"""


def test_plugin_objects_come_first_then_plugins_by_name(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """The order does not hang on what was installed when, nor on addresses in memory."""
    log = tmp_path / "log"
    sqlite_store.core(revision_file("c1"))
    for name in ("zeta", "alpha", "mid"):
        sqlite_store.plugin(name, hooks=WRITE.format(log=str(log), name=name))

    class Plugin:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def anabranch_before_run(self) -> None:
            with log.open("a") as file:
                file.write(f"{self.name} ")

    run(sqlite_store, *(Plugin(str(number)) for number in range(6)))
    assert log.read_text().split() == [*"012345", "alpha", "mid", "zeta"]


def test_unmet_requirements_stop_the_run_before_anything(store: Store) -> None:
    """Every plugin is asked, and all that is missing is said at once."""
    needs = """
        from anabranch_plugins_api import hookimpl

        @hookimpl
        def anabranch_requirements(connection):
            return ["{} is not " + connection.dialect.name]
    """
    store.core(revision_file("c1", upgrade=table("one")))
    store.plugin("billing", revision_file("b1"), hooks=needs.format("this"))
    store.plugin("reviews", hooks=needs.format("that"))
    failed = store.init_db().expect(2)
    backend = store.database.backend
    assert f"billing: this is not {backend}" in failed.err
    assert f"reviews: that is not {backend}" in failed.err
    assert "The database was not changed." in failed.err
    assert store.database.schema() == {}
    store.configure('[plugins]\ndisabled = ["billing", "reviews"]')
    assert store.upgrade() == ["core@c1"]


def failing(hook: str, arguments: str = "", error: str = "ValueError('not today')") -> str:
    return f"""
        from anabranch_plugins_api import hookimpl

        @hookimpl
        def anabranch_{hook}({arguments}):
            raise {error}
    """


@pytest.mark.parametrize("error", ["ValueError('not today')", "SystemExit('not today')"])
def test_a_failing_requirements_hook_stops_the_run_before_anything(
    sqlite_store: Store, error: str
) -> None:
    """It is no unmet requirement but a fault of the plugin, which is named."""
    sqlite_store.core(revision_file("c1", upgrade=table("one")))
    sqlite_store.plugin("billing", hooks=failing("requirements", error=error))
    with pytest.raises(HookError, match=r"requirements of billing failed.*not today") as raised:
        sqlite_store.upgrade()
    assert raised.value.owner == "billing"
    assert raised.value.exit_code == 5
    assert sqlite_store.database.schema() == {}


@pytest.mark.parametrize("hook", ["before_revision", "after_revision"])
def test_a_hook_that_raises_rolls_the_revision_back(store: Store, hook: str) -> None:
    """Like a failure of the revision itself; the message names hook and plugin."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=table("two")),
    )
    store.plugin(
        "billing",
        hooks=f"""
            from anabranch_plugins_api import hookimpl

            @hookimpl
            def anabranch_{hook}(revision):
                if revision == "core@c2":
                    raise ValueError("not today")
        """,
    )
    failed = store.init_db().expect(5)
    assert "core@c2" in failed.err
    assert f"anabranch_{hook} of billing failed: ValueError: not today" in failed.err
    stays = set() if store.database.backend == "sqlite" else {"one"}
    assert set(store.schema) == stays
    store.uninstall("billing")
    store.upgrade()
    assert set(store.schema) == {"one", "two"}


def test_a_failing_before_run_hook_leaves_the_database_alone(store: Store) -> None:
    store.core(revision_file("c1", upgrade=table("one")))
    store.plugin("billing", hooks=failing("before_run"))
    with pytest.raises(RevisionError, match="before_run of billing failed"):
        store.upgrade()
    assert store.database.schema() == {}


def test_a_failing_after_run_hook_says_that_the_revisions_stay(store: Store) -> None:
    """They are committed by then: exit code 6, and the state is told as it is."""
    store.core(revision_file("c1", upgrade=table("one")))
    store.plugin("billing", hooks=failing("after_run"))
    failed = store.init_db().expect(6)
    assert "anabranch_after_run of billing failed: ValueError: not today" in failed.err
    assert "1 revision of this run is applied and stays so." in failed.err
    assert set(store.schema) == {"one"}
    assert store.applied == {"core@c1"}


BROKEN = {
    "missing import": "import no_such_module",
    "error": "1 / 0",
    "exit": "raise SystemExit(3)",
    "syntax": "def (:",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_hook_module_keeps_back_what_needs_its_plugin(store: Store, how: str) -> None:
    """Its real cause is told; the core and the other plugins go on."""
    store.core(revision_file("c1", upgrade=table("one")))
    store.plugin("billing", revision_file("b1"), hooks=BROKEN[how])
    store.plugin("invoices", revision_file("i1", created="2024-03-01", depends="billing@b1"))
    store.plugin("reviews", revision_file("r1", created="2024-04-01"), hooks=seeds(("first", 1)))
    store.core(revision_file("c1", upgrade=table("one", "x")))
    with store.manager() as manager:
        done = manager.upgrade(store.deployment)
    assert [str(key) for key in done.applied] == ["core@c1", "reviews@r1"]
    assert sown(store) == [0]
    (problem,) = done.problems
    assert (problem.code, problem.owner, problem.level) == ("AB112", "billing", "error")
    causes = {
        "missing import": "No module named 'no_such_module'",
        "error": "ZeroDivisionError",
        "exit": "SystemExit: 3",
        "syntax": "SyntaxError",
    }
    assert "of billing (store-billing 1.0)" in problem.text
    assert causes[how] in problem.text
    assert "disabled" in problem.remedy
    assert store.plan() == ["billing@b1", "invoices@i1"]
    store.configure('[plugins]\ndisabled = ["billing", "invoices"]')
    assert store.upgrade() == []
    assert "finished" in store.journal
    assert re.search(r"finished .* packages \w+$", store.db("history").expect().out, re.MULTILINE)


def test_a_broken_hook_module_is_told_with_an_exit_code(sqlite_store: Store) -> None:
    """As commands: the plan and the status import no plugin; the run says what it left out."""
    sqlite_store.core(revision_file("c1"))
    sqlite_store.plugin("billing", revision_file("b1"), hooks="1 / 0")
    assert "2 revisions are pending" in sqlite_store.db("status").expect(0).out
    assert "core" in sqlite_store.db("plan").expect(0).out
    ran = sqlite_store.init_db().expect(4)
    assert "Done: 1 revision applied" in ran.out
    assert "Left out: billing, and what needs that." in ran.out
    assert "ZeroDivisionError" in ran.err
    assert "Traceback" not in ran.err
    again = sqlite_store.init_db().expect(4)
    assert "Nothing was applied. Left out: billing" in again.out


def test_a_plan_that_was_agreed_to_is_not_shortened(sqlite_store: Store) -> None:
    """With ``--digest`` it is that plan or none."""
    sqlite_store.core(revision_file("c1"))
    sqlite_store.plugin("billing", revision_file("b1"), hooks="1 / 0")
    with sqlite_store.manager() as manager, pytest.raises(RefusedError):
        manager.upgrade(
            sqlite_store.deployment, digest=manager.plan(sqlite_store.deployment).digest
        )
    assert not sqlite_store.deployment.joinpath("store.sqlite").exists() or not sqlite_store.schema


@pytest.mark.parametrize(
    ("hook", "returned", "told"),
    [
        ("requirements", "'needs more'", "a list of str, not str."),
        ("requirements", "5", "a list of str, not int."),
        ("requirements", "[5]", "a list of str, not one with int."),
        ("seeds", "[('a', print)]", "a list of Seed, not one with tuple."),
        ("seeds", "print", "a list of Seed, not builtin_function_or_method."),
    ],
)
def test_a_hook_that_returns_something_else_is_named(
    sqlite_store: Store, hook: str, returned: str, told: str
) -> None:
    sqlite_store.core(revision_file("c1"))
    body = f"@hookimpl\ndef anabranch_{hook}():\n    return {returned}\n"
    sqlite_store.plugin("billing", hooks=f"from anabranch_plugins_api import hookimpl\n{body}")
    failed = sqlite_store.init_db().expect(6 if hook == "seeds" else 5)
    assert f"The hook anabranch_{hook} of billing must return {told}" in failed.err
    assert "Traceback" not in failed.err


def test_sources_that_are_none_are_named(sqlite_store: Store) -> None:
    class Plugin:
        @hookimpl
        def anabranch_migration_sources(self) -> list[str]:
            return ["somewhere"]

    sqlite_store.core(revision_file("c1"))
    with (
        sqlite_store.manager(plugins=[Plugin()]) as manager,
        pytest.raises(HookError, match="a list of MigrationSource, not one with str"),
    ):
        manager.plan(sqlite_store.deployment)


@pytest.mark.parametrize("where", ["hooks", "hook", "seed"])
def test_what_a_plugin_raises_does_not_tell_the_password(
    tmp_path: Path, postgresql_database: Database, where: str
) -> None:
    """Plugins connect by themselves, and drivers quote what they were given."""
    store = Store(tmp_path, postgresql_database)
    body = {
        "hooks": "raise OSError('tr0ub4dor')",
        "hook": failing("requirements").replace("not today", "tr0ub4dor"),
        "seed": seeds(("bad", 1), body="raise OSError('tr0ub4dor')"),
    }[where]
    store.core(CREATE)
    store.plugin("billing", revision_file("b1"), hooks=body)
    url = sa.make_url(store.database.url).set(password="tr0ub4dor")
    text = url.render_as_string(hide_password=False)
    ran = store.init_db(env={"STORE_SQLALCHEMY_DATABASE_URL": text})
    assert ran.code in (4, 5, 6)
    assert "billing" in ran.err
    assert "tr0ub4dor" not in ran.out + ran.err
    assert "***" in ran.err


@pytest.mark.parametrize(
    "value", ["store_extra.parts:Parts.Plugin", "store_extra.parts : Parts.Plugin [more]"]
)
def test_an_entry_point_may_name_an_attribute(
    sqlite_store: Store, tmp_path: Path, value: str
) -> None:
    """``module:attribute``, nested ones too, as entry points are; extras are passed over."""
    log = tmp_path / "log"
    sqlite_store.core(
        revision_file("c1"),
        files={
            "store_extra/__init__.py": "",
            "store_extra/parts.py": (
                "import pathlib\nfrom anabranch_plugins_api import hookimpl\n"
                "class Parts:\n"
                "    class Plugin:\n"
                "        @staticmethod\n"
                "        @hookimpl\n"
                "        def anabranch_before_run():\n"
                f"            pathlib.Path({str(log)!r}).write_text('here')\n"
            ),
        },
    )
    sqlite_store.plugin("extra", models=None, migrations=False)
    dist_info = next(sqlite_store.site.path.glob("store_extra-*.dist-info"))
    (dist_info / "entry_points.txt").write_text(f"[store]\nextra = {value}\n")
    run(sqlite_store)
    assert log.read_text() == "here"


# -- seeds


def seeds(*pairs: tuple[str, int], body: str = "") -> str:
    """A hook module that counts in the table ``one`` how often each seed ran."""
    entries = ", ".join(f"Seed({name!r}, {name}, version={version})" for name, version in pairs)
    functions = "\n".join(
        f"def {name}(connection):\n"
        f"    connection.execute(sa.text('INSERT INTO one (x) VALUES ({number})'))\n"
        f"    {body or 'pass'}"
        for number, (name, _) in enumerate(pairs)
    )
    return (
        "import sqlalchemy as sa\n"
        "from anabranch_plugins_api import Seed, hookimpl\n"
        f"{functions}\n"
        f"@hookimpl\ndef anabranch_seeds():\n    return [{entries}]\n"
    )


def sown(store: Store) -> list[int]:
    return sorted(row["x"] for row in store.database.rows("one"))


CREATE = revision_file("c1", upgrade=table("one", "x"))


def test_a_seed_runs_once_and_again_when_its_version_grows(store: Store) -> None:
    """After the revisions of a run; the journal knows what was sown in which version."""
    store.core(CREATE)
    store.plugin("billing", hooks=seeds(("countries", 1), ("taxes", 1)))
    assert store.upgrade() == ["core@c1"]
    assert sown(store) == [0, 1]
    rows = store.database.execute("SELECT * FROM anabranch_journal ORDER BY seq")
    assert [(row["event"], row["owner"], row["detail"]) for row in rows[2:-1]] == [
        ("seeded", "billing", "countries 1"),
        ("seeded", "billing", "taxes 1"),
    ]

    store.core(CREATE, revision_file("c2", down="c1"))
    store.upgrade()
    assert sown(store) == [0, 1], "the same versions are in place"

    store.core(CREATE, revision_file("c2", down="c1"), revision_file("c3", down="c2"))
    store.plugin("billing", hooks=seeds(("countries", 2), ("taxes", 1)))
    store.upgrade()
    assert sown(store) == [0, 0, 1]

    store.core(CREATE, *(revision_file(f"c{n}", down=f"c{n - 1}") for n in (2, 3, 4)))
    store.plugin("billing", hooks=seeds(("countries", 1), ("taxes", 1)))
    store.upgrade()
    assert sown(store) == [0, 0, 1], "an older version does not sow again"


def test_seeds_of_two_plugins_may_share_a_name(sqlite_store: Store) -> None:
    sqlite_store.core(CREATE)
    for name in ("billing", "reviews"):
        sqlite_store.plugin(name, hooks=seeds(("countries", 1)))
    sqlite_store.upgrade()
    assert sown(sqlite_store) == [0, 0]


def test_a_failing_seed_is_rolled_back_and_named(store: Store) -> None:
    """The revisions stay, so do the seeds before it; exit code 6."""
    store.core(CREATE)
    store.plugin("aaa", hooks=seeds(("good", 1)))
    store.plugin("billing", hooks=seeds(("bad", 1), body="raise ValueError('no soil')"))
    failed = store.init_db().expect(6)
    assert "The seed 'bad' of billing failed: ValueError: no soil" in failed.err
    assert "revision of this run is applied and stays so" in failed.err
    assert "Traceback" not in failed.err
    assert sown(store) == [0]
    assert "seeded aaa" in store.journal
    assert "seeded billing" not in store.journal


def test_a_seed_that_failed_is_tried_again_with_nothing_pending(store: Store) -> None:
    """So is one whose run was killed before it; the others are not sown twice."""
    store.core(CREATE)
    store.plugin("aaa", hooks=seeds(("good", 1)))
    store.plugin("billing", hooks=seeds(("bad", 1), body="raise ValueError('no soil')"))
    store.plugin("ccc", hooks=seeds(("later", 1)))
    store.init_db().expect(6)
    assert sown(store) == [0, 0], "a plugin's fault keeps no other from its turn"
    store.init_db().expect(6)
    store.plugin("billing", hooks=seeds(("bad", 1)))
    mended = store.init_db().expect(0)
    assert "Seeded    billing: bad 1" in mended.out
    assert sown(store) == [0, 0, 0]
    assert "Seeded" not in store.init_db().expect(0).out


def test_a_run_that_was_cut_off_after_its_revisions_is_finished_by_the_next(store: Store) -> None:
    """Hooks and seeds had no turn then; they are told of those revisions."""
    seen: list[Any] = []
    store.core(CREATE)
    store.plugin("aaa", hooks=seeds(("good", 1)))
    run(store, Log(seen))
    store.database.execute(
        "DELETE FROM anabranch_journal WHERE event IN ('seeded', 'finished')", "DELETE FROM one"
    )
    seen.clear()
    assert run(store, Log(seen)) == []
    assert ("after run", ["core@c1"]) in seen
    assert sown(store) == [0]
    seen.clear()
    assert run(store, Log(seen)) == []
    assert seen == []


def test_seeds_of_a_later_version_of_the_package_need_no_new_revision(store: Store) -> None:
    """Nor do those of a plugin that has none."""
    store.core(CREATE)
    store.upgrade()
    store.plugin("billing", hooks=seeds(("rows", 1)))
    assert store.upgrade() == []
    assert sown(store) == [0]
    store.plugin("billing", hooks=seeds(("rows", 2)), version="2.0")
    assert store.upgrade() == []
    assert sown(store) == [0, 0]


def test_seeds_wait_for_all_revisions_of_their_plugin(store: Store) -> None:
    """An upgrade to a revision before the last leaves them to a later one."""
    store.core(CREATE)
    store.plugin("aaa", hooks=seeds(("good", 1)))
    store.plugin(
        "billing", revision_file("b1"), revision_file("b2", down="b1"), hooks=seeds(("rows", 1))
    )
    assert store.upgrade("billing@b1") == ["core@c1", "billing@b1"]
    assert sown(store) == [0]
    assert store.upgrade() == ["billing@b2"]
    assert sown(store) == [0, 0]


def test_plugin_objects_may_seed_and_bring_sources(store: Store, tmp_path: Path) -> None:
    """What entry points declare for plugins, a host may hand over in code."""
    store.core(CREATE)
    versions = tmp_path / "own" / "versions"
    versions.mkdir(parents=True)
    (versions / "o1.py").write_text(revision_file("o1", upgrade=table("own")))

    def five(connection: sa.Connection) -> None:
        connection.execute(sa.text("INSERT INTO one (x) VALUES (5)"))

    class Plugin:
        @hookimpl
        def anabranch_migration_sources(self) -> list[MigrationSource]:
            return [MigrationSource("Own_One", versions.parent, distribution="own", version="7")]

        @hookimpl
        def anabranch_seeds(self) -> list[Seed]:
            return [Seed("rows", five)]

    assert run(store, Plugin()) == ["core@c1", "own-one@o1"]
    assert set(store.schema) == {"one", "own"}
    assert sown(store) == [5]
    (row,) = [r for r in store.database.rows("anabranch_revision") if r["owner"] == "own-one"]
    assert (row["distribution"], row["version"]) == ("own", "7")


def test_hook_modules_are_imported_only_to_run_something(sqlite_store: Store) -> None:
    """Neither looking nor an upgrade with nothing pending imports a plugin."""
    marker = sqlite_store.deployment / "imported"
    sqlite_store.core(revision_file("c1"))
    sqlite_store.plugin("billing", hooks=f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    sqlite_store.plan()
    sqlite_store.state_of("billing")
    assert not marker.exists()
    sqlite_store.upgrade()
    assert marker.exists()
    marker.unlink()
    assert sqlite_store.upgrade() == []
    assert not marker.exists()


def test_every_error_of_a_hook_is_one_of_ours(sqlite_store: Store) -> None:
    """An error that a hook raises on purpose, as ours, comes through as it is."""

    class Plugin:
        @hookimpl
        def anabranch_requirements(self) -> list[str]:
            raise RequirementError("Upgrade the server.", remedy="Call us.")

    sqlite_store.core(revision_file("c1"))
    with (
        sqlite_store.manager(plugins=[Plugin()]) as manager,
        pytest.raises(AnabranchError, match="Upgrade the server") as raised,
    ):
        assert isinstance(manager, MigrationManager)
        manager.upgrade(sqlite_store.deployment)
    assert raised.value.exit_code == 2


def test_json_of_the_status_needs_no_plugin_either(sqlite_store: Store) -> None:
    """What machines ask is answered beside a broken plugin."""
    sqlite_store.core(revision_file("c1"))
    sqlite_store.plugin("billing", hooks="1 / 0", models="1 / 0")
    found = json.loads(sqlite_store.db("status", "--json").expect(0).out)
    assert found["status"] == "pending"


# -- plugins that do what they must not do


def acting(hook: str, body: str) -> str:
    """A hook module whose *hook*, or seed, runs *body* with the connection."""
    act = f"def act(connection):\n{textwrap.indent(body, '    ')}\n@hookimpl\n"
    give = f"def anabranch_{hook}(connection):\n    act(connection)\n"
    if hook == "seeds":
        give = "def anabranch_seeds():\n    return [Seed('rows', act)]\n"
    return f"from anabranch_plugins_api import Seed, hookimpl\n{act}{give}"


@pytest.mark.parametrize("hook", ["before_revision", "after_revision", "after_run", "seeds"])
def test_no_hook_takes_applied_revisions_out_of_the_record(store: Store, hook: str) -> None:
    """They would run again; the plugin is named, and the run goes on once it is mended."""
    store.core(CREATE)
    store.upgrade()
    store.core(CREATE, revision_file("c2", down="c1", upgrade=table("two")))
    forget = "connection.exec_driver_sql('DELETE FROM anabranch_revision')"
    store.plugin("billing", hooks=acting(hook, forget))
    failed = store.init_db("--no-backup").expect(5 if "revision" in hook else 6)
    assert "of billing failed: RuntimeError: it takes revisions that are applied" in failed.err
    assert "core@c1" in store.applied
    store.plugin("billing", hooks=acting(hook, "pass"))
    store.init_db("--no-backup").expect(0)
    assert store.applied == {"core@c1", "core@c2"}


@pytest.mark.parametrize("hook", ["before_revision", "seeds"])
@pytest.mark.parametrize("raised", ["GeneratorExit", "BaseException('odd')"])
def test_whatever_a_hook_raises_is_its_failure(sqlite_store: Store, hook: str, raised: str) -> None:
    sqlite_store.core(CREATE)
    sqlite_store.plugin("billing", hooks=acting(hook, f"raise {raised}"))
    failed = sqlite_store.init_db().expect(6 if hook == "seeds" else 5)
    assert f"of billing failed: {raised.partition('(')[0]}" in failed.err
    assert "Traceback" not in failed.err


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("connection.invalidate()", "it closed the connection"),
        (
            "try:\n    connection.exec_driver_sql('SELEKT')\nexcept Exception:\n    pass",
            "it went on after an error, which had ended the transaction",
        ),
    ],
)
def test_a_hook_that_leaves_the_connection_unusable_is_named(
    postgresql_store: Store, body: str, told: str
) -> None:
    """Not the revision that would be the next to meet it."""
    postgresql_store.core(CREATE)
    postgresql_store.plugin("billing", hooks=acting("before_revision", body))
    failed = postgresql_store.init_db().expect(5)
    assert f"anabranch_before_revision of billing failed: RuntimeError: {told}" in failed.err
    postgresql_store.uninstall("billing")
    postgresql_store.init_db().expect(0)


@pytest.mark.parametrize("hook", ["requirements", "before_revision", "after_run", "seeds"])
def test_a_hook_that_closes_the_drivers_connection_is_named(every_store: Store, hook: str) -> None:
    """SQLAlchemy does not know of it until the next statement fails."""
    every_store.core(CREATE)
    body = "connection.connection.dbapi_connection.close()"
    every_store.plugin("billing", hooks=acting(hook, body))
    failed = every_store.init_db().expect(5 if hook in ("requirements", "before_revision") else 6)
    assert "of billing failed: " in failed.err
    assert "closed" in failed.err
    if every_store.database.backend != "mariadb":  # whose driver complains when the pool closes it
        assert "Traceback" not in failed.err
    every_store.uninstall("billing")
    every_store.init_db().expect(0)


@pytest.mark.parametrize("body", ["connection.close()", "connection.invalidate()"])
def test_a_hook_that_closes_the_connection_to_ask_for_something_is_named(
    postgresql_store: Store, body: str
) -> None:
    postgresql_store.core(CREATE)
    postgresql_store.plugin("billing", hooks=acting("requirements", body))
    failed = postgresql_store.init_db().expect(5)
    assert "anabranch_requirements of billing failed" in failed.err
    assert "closed the connection" in failed.err
    postgresql_store.uninstall("billing")
    postgresql_store.init_db().expect(0)
