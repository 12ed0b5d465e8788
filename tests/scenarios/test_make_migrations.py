"""What plugin authors live through: two of them at once, broken neighbours, missing entry points.

Every command here is a process of its own, as in an author's shell.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.distributions import Distribution
from support.sites import Result
from support.trees import revision_file
from support.workbench import CORE_MODELS, Workbench, Written, market, plugin, table

STALL = table("stall", "product_id: Mapped[int] = mapped_column(sa.ForeignKey('product.id'))")
REVIEW = table("review", "customer_id: Mapped[int] = mapped_column(sa.ForeignKey('customer.id'))")
# The core's models say more than its revisions do.
DRIFTED = CORE_MODELS + "    weight: Mapped[float | None]\n" + table("invoice")


@pytest.fixture
def workbench(tmp_path: Path) -> Iterator[Workbench]:
    workbench = Workbench(tmp_path)
    yield workbench
    workbench.site.close()


def make(workbench: Workbench, *arguments: str | Path, code: int = 0) -> Result:
    return workbench.site.run("make-migrations", *arguments).expect(code)


def init_db(workbench: Workbench) -> Result:
    return workbench.site.run("init-db", workbench.deployment).expect()


def only(workbench: Workbench, name: str) -> Written:
    """The one revision of the plugin *name*."""
    (path,) = workbench.revisions(name)
    return Written(path)


@pytest.mark.parametrize("deployed", [False, True], ids=["scratch", "deployment"])
def test_two_new_plugins_get_one_revision_each_with_their_own_tables(
    workbench: Workbench, deployed: bool
) -> None:
    """B's first revision holds nothing of A or the core; A's is complete afterwards."""
    workbench.develop(market(DRIFTED), plugin("a", models=STALL), plugin("b", models=REVIEW))
    where: tuple[Path, ...] = ()
    if deployed:
        init_db(workbench)
        where = (workbench.deployment,)
    make(workbench, *where, "--plugin", "b", "--initialize")
    make(workbench, *where, "--plugin", "a", "--initialize")
    assert only(workbench, "b").touches == {"review"}
    assert only(workbench, "a").touches == {"stall"}
    init_db(workbench)
    schema = workbench.schema()
    assert set(schema) == {"customer", "product", "review", "stall"}
    assert {column["name"] for column in schema["stall"]["columns"]} == {"id", "product_id"}
    for name in ("a", "b"):
        result = make(workbench, workbench.deployment, "--plugin", name)
        assert "No change" in result.out
    assert Written(workbench.revisions()[-1]).path.name.startswith("c4")


def test_core_revision_takes_up_what_the_core_owns_and_nothing_else(workbench: Workbench) -> None:
    """The core's own make-migrations writes its drift, not the plugins' tables."""
    workbench.develop(market(DRIFTED), plugin("a", models=STALL))
    make(workbench, "--plugin", "a", "--initialize")
    init_db(workbench)
    before = set(workbench.revisions())
    result = make(workbench, workbench.deployment, "-m", "weigh things")
    (path,) = set(workbench.revisions()) - before
    assert Written(path).touches == {"product", "invoice"}
    assert Written(path).header["down_revision"] == "c4"
    assert "add column product.weight" in result.out
    assert "add table invoice" in result.out
    assert str(path) in result.out


def test_plugin_is_written_while_everybody_else_is_behind(workbench: Workbench) -> None:
    """The core and B are pending in the deployment; A's revision is written all the same."""
    workbench.develop(market(revisions=[]))
    init_db(workbench)
    workbench.develop(
        market(),
        plugin("a", models=STALL),
        plugin(
            "b",
            models=REVIEW,
            migrations=True,
            revisions=[revision_file("b1", labels="b", upgrade="raise RuntimeError('not now')")],
        ),
    )
    make(workbench, workbench.deployment, "--plugin", "a", "--initialize")
    assert only(workbench, "a").touches == {"stall"}
    assert only(workbench, "a").depends_on == "c2"


BROKEN = {
    "models": plugin("b", models="raise RuntimeError('no models today')"),
    "header": plugin(
        "b",
        migrations=True,
        files={"market_b/migrations/versions/b1.py": "revision = 'b1'\ndown_revision = (\n"},
    ),
    "dependency": plugin(
        "b", migrations=True, revisions=[revision_file("b1", labels="b", depends="nowhere")]
    ),
    "heads": plugin(
        "b", migrations=True, revisions=[revision_file("b1", labels="b"), revision_file("b2")]
    ),
    "hooks": plugin("b", hooks="raise RuntimeError('no hooks today')"),
    "script": plugin(
        "b",
        migrations=True,
        revisions=[revision_file("b1", labels="b", upgrade="raise RuntimeError('never')")],
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_neighbour_does_not_stop_an_author(
    workbench: Workbench, broken: Distribution
) -> None:
    """Whatever is wrong with B, A's first and second revision are written."""
    workbench.develop(market(), plugin("a", models=STALL), broken)
    make(workbench, "--plugin", "a", "--initialize")
    workbench.develop(plugin("a", models=STALL + table("booth")))
    make(workbench, "--plugin", "a", "-m", "booths")
    touched = [Written(path).touches for path in workbench.revisions("a")]
    assert sorted(touched, key=sorted) == [{"booth"}, {"stall"}]


def test_own_pending_revisions_are_applied_first(workbench: Workbench) -> None:
    """Compared with an old database the diff would repeat what a revision does: exit 3."""
    workbench.develop(market(), plugin("a", models=STALL))
    make(workbench, "--plugin", "a", "--initialize")
    init_db(workbench)
    workbench.develop(plugin("a", models=STALL + table("booth")))
    make(workbench, "--plugin", "a")
    workbench.develop(plugin("a", models=STALL + table("booth") + table("awning")))
    result = make(workbench, workbench.deployment, "--plugin", "a", code=3)
    missing = Written(workbench.revisions("a")[0]), Written(workbench.revisions("a")[1])
    first = next(written for written in missing if written.touches == {"booth"})
    assert f"lacks revisions of a, the first is a@{first.id}." in result.err
    assert "Run 'market init-db', or leave the directory out." in result.err
    assert len(workbench.revisions("a")) == 2
    init_db(workbench)
    make(workbench, workbench.deployment, "--plugin", "a")
    assert len(workbench.revisions("a")) == 3


def test_disabled_plugin_whose_revisions_are_not_applied_is_pending_too(
    workbench: Workbench,
) -> None:
    """The deployment leaves A out, so its tables are not there: they are not written again."""
    workbench.develop(market(), plugin("a", models=STALL))
    init_db(workbench)
    with (workbench.deployment / "config.toml").open("a") as config:
        config.write('[plugins]\ndisabled = ["a"]\n')
    make(workbench, "--plugin", "a", "--initialize")
    init_db(workbench)
    assert "stall" not in workbench.schema()
    result = make(workbench, workbench.deployment, "--plugin", "a", code=3)
    assert "Enable it there and run 'market init-db', or leave the directory out." in result.err
    assert len(workbench.revisions("a")) == 1


def test_initialize_is_for_the_first_revision_and_only_for_it(workbench: Workbench) -> None:
    """Forgotten or repeated, it is a usage error that says what to type."""
    workbench.develop(market(), plugin("a", models=STALL))
    result = make(workbench, "--plugin", "a", code=2)
    assert "a has no revisions yet." in result.err
    assert "market make-migrations --plugin a --initialize" in result.err
    make(workbench, "--plugin", "a", "--initialize")
    result = make(workbench, "--plugin", "a", "--initialize", code=2)
    assert "a has revisions already" in result.err
    assert "Leave out --initialize" in result.err
    assert len(workbench.revisions("a")) == 1


def test_core_starts_with_initialize_as_well(workbench: Workbench) -> None:
    """The application's own first revision carries its name as the label."""
    workbench.develop(market(revisions=[]))
    assert "market make-migrations --initialize" in make(workbench, code=2).err
    make(workbench, "--initialize")
    (path,) = workbench.revisions()
    assert Written(path).header["branch_labels"] == ("market",)
    assert Written(path).touches >= {"customer", "product"}
    init_db(workbench)
    assert "No change" in make(workbench, workbench.deployment).out


def test_core_may_be_named_like_a_plugin(workbench: Workbench) -> None:
    """As other commands have it; an empty name is not taken for it."""
    workbench.develop(market(DRIFTED))
    assert "No installed plugin is called ''." in make(workbench, "--plugin", "", code=2).err
    assert "add column product.weight" in make(workbench, "--plugin", "core").out


def test_unknown_plugin_is_answered_with_the_known_ones_and_the_lines_to_add(
    workbench: Workbench,
) -> None:
    """A typo names the plugin that was meant, and shows what a new one must declare."""
    workbench.develop(market(), plugin("stalls", models=STALL), plugin("reviews", models=REVIEW))
    result = make(workbench, "--plugin", "stals", "--initialize", code=2)
    assert "No installed plugin is called 'stals'. Did you mean 'stalls'?" in result.err
    assert "Installed plugins: reviews, stalls." in result.err
    assert '[project.entry-points."market.models"]\n  stals = "stals.db_models"' in result.err
    assert '[project.entry-points."market.migrations"]\n  stals = "stals.migrations"' in result.err
    assert "pip install -e" in result.err


@pytest.mark.parametrize("spelling", ["foo-bar", "Foo.Bar", "foo_bar"])
def test_plugin_name_is_found_in_every_spelling(workbench: Workbench, spelling: str) -> None:
    workbench.develop(market(), plugin("Foo.Bar", models=STALL, package="foo_bar"))
    make(workbench, "--plugin", spelling, "--initialize")
    folder = workbench.site.path.parent / "sources/market-Foo.Bar/foo_bar/migrations/versions"
    (path,) = (path for path in folder.glob("*.py") if path.name != "__init__.py")
    assert Written(path).header["branch_labels"] == ("foo-bar",)


def test_plugin_without_a_migrations_entry_point_is_told_the_line(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=STALL, migrations=False))
    result = make(workbench, "--plugin", "a", "--initialize", code=2)
    assert "a (market-a 1.0) has no entry point in the group market.migrations." in result.err
    assert '[project.entry-points."market.migrations"]\n  a = "market_a.migrations"' in result.err
    assert "market.models" not in result.err
    assert not (workbench.source("a") / "migrations").exists()


def test_plugin_without_a_models_entry_point_is_told_the_line(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=None))
    result = make(workbench, "--plugin", "a", "--initialize", code=2)
    assert "has no entry point in the group market.models." in result.err
    assert '[project.entry-points."market.models"]\n  a = "market_a.db_models"' in result.err
    assert "market.migrations" not in result.err


def test_models_that_cannot_be_imported_are_named_with_the_cause(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models="import nowhere_to_be_found"))
    result = make(workbench, "--plugin", "a", "--initialize", code=4)
    assert "'market_a.db_models' of a (market-a 1.0) cannot be imported" in result.err
    assert "No module named 'nowhere_to_be_found'" in result.err
    assert "Traceback" not in result.err


def test_installed_copy_is_no_place_for_a_revision(workbench: Workbench) -> None:
    """A file in site-packages is gone with the next installation: refused, nothing is written."""
    copies = workbench.site.path / "site-packages"
    workbench.develop(market())
    plugin("a", models=STALL).install(copies)
    result = workbench.site.python(
        "-m",
        "market",
        "make-migrations",
        "--plugin",
        "a",
        "--initialize",
        env={"PYTHONPATH": f"{copies}:{workbench.site.environment()['PYTHONPATH']}"},
    ).expect(2)
    assert "a (market-a 1.0) is installed as a copy" in result.err
    assert "pip install -e" in result.err
    assert not (copies / "market_a" / "migrations").exists()


def test_folders_are_made_so_that_every_build_tool_ships_them(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=STALL))
    make(workbench, "--plugin", "a", "--initialize", "-m", "Create stalls")
    written = only(workbench, "a")
    migrations = workbench.source("a") / "migrations"
    assert written.path.name == f"{written.id}_create_stalls.py"
    assert {path.relative_to(migrations).as_posix() for path in migrations.rglob("*")} == {
        "__init__.py",
        "versions",
        "versions/__init__.py",
        f"versions/{written.path.name}",
    }


def test_source_layout_makes_no_difference(workbench: Workbench, tmp_path: Path) -> None:
    """In a project with ``src/`` the file goes below it, next to the models."""
    flat = plugin("a", models=STALL)
    source = tmp_path / "project" / "src"
    workbench.develop(market())
    workbench.site.develop(flat, source)
    make(workbench, "--plugin", "a", "--initialize")
    (path,) = (source / "market_a" / "migrations" / "versions").glob("*_initial_revision.py")
    assert Written(path).touches == {"stall"}
    init_db(workbench)
    assert "stall" in workbench.schema()


def test_nothing_changed_writes_no_file_and_is_no_failure(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=STALL))
    make(workbench, "--plugin", "a", "--initialize")
    files = sorted(workbench.source("a").rglob("*"))
    result = make(workbench, "--plugin", "a", "-m", "nothing at all")
    assert result.out == "No change: the models say what the database has.\n"
    assert sorted(workbench.source("a").rglob("*")) == files


def test_empty_models_get_no_first_revision(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a"))
    assert "No change" in make(workbench, "--plugin", "a", "--initialize").out
    assert not (workbench.source("a") / "migrations").exists()


def test_nothing_of_others_is_dropped(workbench: Workbench) -> None:
    """The database holds tables of an uninstalled plugin and of a foreign program."""
    workbench.develop(market(), plugin("a", models=STALL), plugin("gone", models=REVIEW))
    make(workbench, "--plugin", "a", "--initialize")
    make(workbench, "--plugin", "gone", "--initialize")
    init_db(workbench)
    workbench.database.execute("CREATE TABLE foreign_program (id INTEGER PRIMARY KEY)")
    workbench.site.uninstall("market-gone")
    for options in ((), ("--plugin", "a")):
        assert "No change" in make(workbench, workbench.deployment, *options).out


def test_removed_model_of_ones_own_is_dropped(workbench: Workbench) -> None:
    """Table and column that A made are A's to drop, and the downgrade puts them back."""
    label = "    label: Mapped[str | None] = mapped_column(sa.String(9), index=True)\n"
    workbench.develop(market(), plugin("a", models=table("booth") + STALL + label))
    make(workbench, "--plugin", "a", "--initialize")
    init_db(workbench)
    workbench.develop(plugin("a", models=STALL))
    before = set(workbench.revisions("a"))
    result = make(workbench, workbench.deployment, "--plugin", "a", "-m", "less")
    assert "remove table booth" in result.out
    (path,) = set(workbench.revisions("a")) - before
    written = Written(path)
    assert written.touches == {"booth", "stall"}
    assert "op.drop_table('booth')" in written.upgrade
    assert "drop_column('label')" in written.upgrade
    assert "op.create_table('booth'" in written.text
    init_db(workbench)
    assert "booth" not in workbench.schema()


def test_deployment_that_does_not_exist_is_named(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=STALL))
    result = make(workbench, workbench.deployment, "--plugin", "a", "--initialize", code=2)
    assert f"{workbench.deployment} is not a deployment" in result.err
    assert not workbench.deployment.exists()


def test_two_heads_are_merged_by_hand_first(workbench: Workbench) -> None:
    workbench.develop(
        market(),
        plugin(
            "a",
            models=STALL,
            migrations=True,
            revisions=[
                revision_file("a1", labels="a"),
                revision_file("a2", down="a1", labels="one"),
                revision_file("a3", down="a1", labels="two"),
            ],
        ),
    )
    result = make(workbench, "--plugin", "a", code=2)
    assert "a has several heads: a2, a3." in result.err
    assert "Merge them first" in result.err
