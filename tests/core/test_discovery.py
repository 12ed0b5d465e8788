"""Owners are found by entry points, and nothing of a plugin is imported to find them."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from anabranch.discovery import Discovery, Owner, discover, distribution_of, find_module
from anabranch.problems import Problem
from anabranch.revision import CORE
from anabranch_plugins_api import MigrationSource
from support.distributions import Distribution
from support.sites import Site
from support.trees import plugin, revision_file

# Not the name of the examples, which are installed beside the tests.
HOST = "depot"
DEPOT = MigrationSource(HOST, "depot.migrations", ("depot.models",), "depot", "3.1")

FOLDER = {"depot/migrations/versions/c1.py": revision_file("c1")}


def _discover(site: Site, *sources: MigrationSource) -> Discovery:
    with site.on_path():
        return discover(HOST, DEPOT, sources)


def _plugins(discovery: Discovery) -> list[Owner]:
    return [owner for owner in discovery.owners if owner.name != CORE]


def _only(discovery: Discovery) -> Problem:
    (problem,) = discovery.problems
    return problem


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with the core's migrations in it."""
    site = Site(tmp_path / "site", application=HOST)
    site.install(Distribution("depot", version="3.1", files=FOLDER))
    return site


# -- what is found


def test_three_groups_make_one_plugin(site: Site) -> None:
    """Hooks, models and migrations under one name are one owner, with where it came from."""
    site.install(
        plugin("Bill_ing", host=HOST, version="1.2", hooks="x = 1", package="depot_billing")
    )
    discovery = _discover(site)
    assert discovery.problems == ()
    assert discovery.owners == (
        Owner(
            CORE,
            migrations="depot.migrations",
            location=site.path / "depot/migrations/versions",
            models=("depot.models",),
            distribution="depot",
            version="3.1",
        ),
        Owner(
            "bill-ing",
            migrations="depot_billing.migrations",
            location=site.path / "depot_billing/migrations/versions",
            models=("depot_billing.db_models",),
            hooks="depot_billing.hooks",
            distribution="depot-Bill_ing",
            version="1.2",
        ),
    )
    found = discovery.get("bill-ing")
    assert found is not None and found.title == "bill-ing (depot-Bill_ing 1.2)"
    assert discovery.get("Bill_ing") is None


@pytest.mark.parametrize(
    ("parts", "owner"),
    [
        ({"models": None, "migrations": False, "hooks": "x = 1"}, ("", (), "depot_a.hooks")),
        ({"migrations": False}, ("", ("depot_a.db_models",), "")),
        ({"models": None}, ("depot_a.migrations", (), "")),
    ],
    ids=["hooks", "models", "migrations"],
)
def test_plugin_may_have_any_one_of_them(
    site: Site, parts: dict[str, object], owner: tuple[object, ...]
) -> None:
    """A plugin without tables, or without hooks, is a plugin."""
    site.install(plugin("a", host=HOST, **parts))  # type: ignore[arg-type]
    discovery = _discover(site)
    assert discovery.problems == ()
    (found,) = _plugins(discovery)
    assert (found.migrations, found.models, found.hooks) == owner


def test_entry_point_may_name_an_attribute(site: Site) -> None:
    """``module:attribute`` is a hook as it stands; of migrations the module is what counts."""
    entry_points = {
        HOST: {"a": "depot_a.hooks:Plugin"},
        f"{HOST}.migrations": {"a": "depot_a.migrations : x"},
    }
    files = {"depot_a/migrations/versions/a1.py": revision_file("a1")}
    site.install(Distribution("depot-a", files=files, entry_points=entry_points))
    (found,) = _plugins(_discover(site))
    assert (found.hooks, found.migrations) == ("depot_a.hooks:Plugin", "depot_a.migrations")
    assert found.location == site.path / "depot_a/migrations/versions"


def test_nothing_of_a_plugin_is_imported(site: Site, tmp_path: Path) -> None:
    """A plugin that would leave a mark, or end the process, when imported does neither."""
    mark = tmp_path / "imported"
    trap = f"open({str(mark)!r}, 'w').close()\nraise SystemExit('imported')\n"
    modules = ("__init__", "db_models", "hooks", "migrations/__init__", "migrations/versions/a1")
    files = {f"depot_a/{module}.py": trap for module in modules}
    site.install(plugin("a", host=HOST, hooks="x", files=files))
    (found,) = _plugins(_discover(site))
    assert found.location == site.path / "depot_a/migrations/versions"
    assert not mark.exists()
    site.python("-c", "import depot_a").expect(1)
    assert mark.exists()


def test_package_below_packages_is_found_without_importing_them(site: Site) -> None:
    """Looking up ``a.b`` the usual way imports ``a``; here that would fail."""
    files = {
        "vendor/__init__.py": "raise RuntimeError",
        "vendor/tools/__init__.py": "raise RuntimeError",
        "vendor/tools/migrations/versions/a1.py": revision_file("a1"),
    }
    entry_points = {f"{HOST}.migrations": {"a": "vendor.tools.migrations"}}
    site.install(Distribution("a", files=files, entry_points=entry_points))
    discovery = _discover(site)
    assert discovery.problems == ()
    assert _plugins(discovery)[0].location == site.path / "vendor/tools/migrations/versions"
    assert "vendor" not in sys.modules


def test_namespace_package_may_be_spread_over_folders(site: Site, tmp_path: Path) -> None:
    """Two distributions share ``vendor``, which has no ``__init__``; each has its own part."""
    for name in ("a", "b"):
        made = Distribution(
            f"vendor-{name}",
            files={f"vendor/{name}/versions/{name}1.py": revision_file(f"{name}1")},
            entry_points={f"{HOST}.migrations": {name: f"vendor.{name}"}},
        )
        if name == "a":
            site.install(made)
        else:
            site.develop(made, tmp_path / "source")
    discovery = _discover(site)
    assert discovery.problems == ()
    assert [owner.location for owner in _plugins(discovery)] == [
        site.path / "vendor/a/versions",
        tmp_path / "source/vendor/b/versions",
    ]


def test_plugin_of_a_single_module_has_models_and_no_revisions(site: Site) -> None:
    """It is listed; there is no folder to read."""
    entry_points = {f"{HOST}.models": {"tiny": "depot_tiny"}, HOST: {"tiny": "depot_tiny"}}
    site.install(Distribution("depot-tiny", files={"depot_tiny.py": ""}, entry_points=entry_points))
    discovery = _discover(site)
    assert discovery.problems == ()
    (found,) = _plugins(discovery)
    assert (found.name, found.models, found.location) == ("tiny", ("depot_tiny",), None)


def test_editable_plugin_in_a_src_folder_is_found_where_it_is_edited(
    site: Site, tmp_path: Path
) -> None:
    """The folder is the author's own, blanks in its path and all."""
    source = tmp_path / "my projects" / "src"
    site.develop(plugin("a", host=HOST, revisions=[revision_file("a1")]), source)
    discovery = _discover(site)
    assert discovery.problems == ()
    assert _plugins(discovery)[0].location == source / "depot_a/migrations/versions"


def test_other_applications_plugins_are_not_ours(site: Site) -> None:
    """Groups are matched whole."""
    site.install(plugin("a", host="depots"), plugin("b", host="depot.other"))
    assert _plugins(_discover(site)) == []


# -- names


@pytest.mark.parametrize("other", ["Bill_ing", "bill.ing", "bill-ing"])
@pytest.mark.parametrize("parts", ["all", "different"])
def test_two_distributions_with_one_plugin_name_are_an_error(
    site: Site, other: str, parts: str
) -> None:
    """However it is spelt, and even if one brings only what the other one lacks."""
    migrations = parts == "all"
    site.install(
        plugin("bill-ing", host=HOST, distribution="one", migrations=migrations, package="one"),
        plugin(other, host=HOST, distribution="two", models=None, package="two", hooks="x"),
    )
    discovery = _discover(site)
    problem = discovery.problems[0]
    assert (problem.code, problem.owner, problem.level) == ("AB122", "bill-ing", "error")
    assert "name the same plugin" in problem.text
    assert "'bill-ing' of one 1.0" in problem.text and f"{other!r} of two 1.0" in problem.text
    assert "Uninstall one of the two" in problem.remedy
    assert [owner.name for owner in _plugins(discovery)] == ["bill-ing"]


def test_two_spellings_in_one_distribution_and_group_are_an_error(site: Site) -> None:
    """One plugin cannot have two folders of revisions."""
    entry_points = {f"{HOST}.models": {"a_b": "depot_a", "a.b": "depot_b"}}
    files = {"depot_a.py": "", "depot_b.py": ""}
    site.install(Distribution("depot-ab", files=files, entry_points=entry_points))
    problem = _only(_discover(site))
    assert problem.code == "AB122"
    assert "'a.b' of depot-ab 1.0 and 'a_b' of depot-ab 1.0" in problem.text


def test_distribution_listed_twice_is_one(site: Site, tmp_path: Path) -> None:
    """A site that is on the path under two entries, or twice, has each plugin once."""
    site.install(plugin("a", host=HOST))
    again = Site(tmp_path / "again")
    again.install(plugin("a", host=HOST))
    with again.on_path():
        discovery = _discover(site)
    assert discovery.problems == ()
    assert [owner.name for owner in _plugins(discovery)] == ["a"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("core", "is the name of the application's own revisions"),
        ("CORE", "is the name of the application's own revisions"),
        ("a b", "does not fit"),
        ("a@b", "does not fit"),
        ("_", "does not fit"),
        ("x" * 101, "does not fit"),
    ],
)
def test_name_that_no_plugin_can_have(site: Site, name: str, reason: str) -> None:
    """It is refused with its distribution, and the core stays the core."""
    site.install(plugin(name, host=HOST, models=None, package="depot_x", distribution="culprit"))
    discovery = _discover(site)
    problem = _only(discovery)
    assert problem.code == "AB111"
    assert problem.text == f"The plugin name {name!r} of culprit 1.0 {reason}."
    assert [owner.name for owner in discovery.owners] == [CORE]
    assert discovery.owners[0].location == site.path / "depot/migrations/versions"


@pytest.mark.parametrize("value", ["depot/a", "depot-a.migrations", "a..b", "1a"])
def test_entry_point_that_names_no_module(site: Site, value: str) -> None:
    """A slip in pyproject.toml is that plugin's problem; its neighbour is found."""
    entry_points = {f"{HOST}.migrations": {"a": value}}
    site.install(Distribution("depot-a", entry_points=entry_points), plugin("b", host=HOST))
    discovery = _discover(site)
    problem = _only(discovery)
    assert (problem.code, problem.owner) == ("AB112", "a")
    assert problem.text == (f"The entry point of depot-a 1.0 names {value!r}, which is no module.")
    assert [owner.name for owner in _plugins(discovery)] == ["b"]


# -- folders that are not there


def test_wheel_without_its_revisions_is_broken(site: Site) -> None:
    """Package data that did not make it into the wheel is no reason to run without it."""
    site.install(plugin("a", host=HOST, migrations="declared"))
    problem = _only(_discover(site))
    assert (problem.code, problem.owner, problem.level) == ("AB119", "a", "error")
    assert problem.text == (
        "a (depot-a 1.0) names 'depot_a.migrations' as its migrations, "
        "and there is no folder 'versions' in it."
    )
    assert problem.remedy.startswith("Reinstall it; its package must ship the folder 'versions'")


def test_core_without_revisions_is_told_how_to_write_the_first(tmp_path: Path) -> None:
    """A host at its start and a slip in ``migrations=`` look alike: both ways out are named."""
    site = Site(tmp_path / "site", application=HOST)
    site.develop(Distribution("depot", files={"depot/__init__.py": ""}))
    problem = _only(_discover(site))
    assert (problem.code, problem.owner, problem.level) == ("AB119", CORE, "error")
    assert problem.remedy.startswith(
        "Write the first revision: 'depot make-migrations --initialize'. Or correct what"
    )


def test_plugin_under_development_has_no_revisions_yet(site: Site) -> None:
    """An editable one without its folder is at its start: a warning with the next command."""
    site.develop(plugin("a", host=HOST, migrations="declared"))
    problem = _only(_discover(site))
    assert (problem.code, problem.level) == ("AB119", "warning")
    assert problem.remedy == "Run 'depot make-migrations --plugin a --initialize'."


@pytest.mark.parametrize("migrations", ["depot_a", "depot_a.models", "no_such_package.migrations"])
def test_migrations_that_lead_nowhere_are_a_problem(site: Site, migrations: str) -> None:
    """A package without ``versions``, a module, a package that is not there: never a traceback."""
    site.install(
        Distribution(
            "depot-a",
            files={"depot_a/__init__.py": "", "depot_a/models.py": ""},
            entry_points={f"{HOST}.migrations": {"a": migrations}},
        )
    )
    discovery = _discover(site)
    assert (_only(discovery).code, _only(discovery).owner) == ("AB119", "a")
    assert _plugins(discovery)[0].location is None


# -- the order of things


def test_result_does_not_depend_on_the_order_of_installation_or_path(tmp_path: Path) -> None:
    """Two plugins of one name, a good one and a nameless one: the same words in every order."""
    made = [
        plugin("a", host=HOST, distribution="one", package="one"),
        plugin("A", host=HOST, distribution="two", package="two"),
        plugin("b", host=HOST),
        plugin("core", host=HOST, models=None, distribution="three"),
    ]
    seen: set[tuple[tuple[str, ...], tuple[Problem, ...]]] = set()
    for number, order in enumerate(itertools.permutations(made)):
        first, second = (Site(tmp_path / str(number) / part) for part in "ab")
        first.install(Distribution("depot", files=FOLDER), *order[:2])
        second.install(*order[2:])
        with first.on_path(), second.on_path():
            discovery = discover(HOST, DEPOT)
        seen.add((tuple(owner.title for owner in discovery.owners), discovery.problems))
    ((titles, problems),) = seen
    assert titles == ("core (depot 3.1)", "a (two 1.0)", "b (depot-b 1.0)")
    # The name of the core stands in one group, the taken one in two.
    assert sorted(problem.code for problem in problems) == ["AB111", "AB122", "AB122"]


# -- sources in code


def test_source_in_code_is_an_owner_like_any_other(site: Site, tmp_path: Path) -> None:
    """By package or by folder; the core may be a folder, too."""
    (tmp_path / "of mine" / "versions").mkdir(parents=True)
    site.install(plugin("b", host=HOST))
    with site.on_path():
        discovery = discover(
            HOST,
            MigrationSource(HOST, tmp_path / "of mine"),
            [
                MigrationSource("Z_z", "depot_b.migrations", ("m",), "dist", "1"),
                MigrationSource("a", str(tmp_path / "of mine")),
                MigrationSource("empty"),
            ],
        )
    assert discovery.problems == ()
    assert [(owner.title, owner.location) for owner in discovery.owners] == [
        ("core", tmp_path / "of mine/versions"),
        ("a", tmp_path / "of mine/versions"),
        ("b (depot-b 1.0)", site.path / "depot_b/migrations/versions"),
        ("empty", None),
        ("z-z (dist 1)", site.path / "depot_b/migrations/versions"),
    ]


@pytest.mark.parametrize("name", ["B", "core", "not a name"])
def test_source_in_code_cannot_take_a_name(site: Site, name: str) -> None:
    """Neither a plugin's nor the core's, nor one that does not fit."""
    site.install(plugin("b", host=HOST))
    discovery = _discover(site, MigrationSource(name))
    problem = _only(discovery)
    assert problem.code == "AB122"
    assert f"is called {name!r}: that does not fit or is taken." in problem.text
    assert [owner.title for owner in _plugins(discovery)] == ["b (depot-b 1.0)"]


def test_two_sources_in_code_cannot_share_a_name(site: Site) -> None:
    """The second one is refused, as the second distribution is."""
    discovery = _discover(
        site, MigrationSource("a", version="1"), MigrationSource("A", version="2")
    )
    assert _only(discovery).code == "AB122"
    assert [owner.version for owner in _plugins(discovery)] == ["1"]


def test_source_without_its_folder_is_a_problem(site: Site, tmp_path: Path) -> None:
    """A folder that is not there is said with the words of the source."""
    problem = _only(_discover(site, MigrationSource("a", tmp_path / "nowhere")))
    assert (problem.code, problem.owner, problem.level) == ("AB119", "a", "error")
    assert str(tmp_path / "nowhere") in problem.text


# -- the parts


@pytest.mark.parametrize(
    ("module", "path"),
    [
        ("pack", "pack"),
        ("pack.sub", "pack/sub"),
        ("pack.mod", "pack/mod.py"),
        ("single", "single.py"),
        ("space.below", "space/below"),
        ("single.x", None),
        ("pack.nothing", None),
        ("nothing_of_that_name", None),
        ("sys", None),
    ],
)
def test_modules_are_looked_up_as_files(site: Site, module: str, path: str | None) -> None:
    """Packages, modules, namespaces; None for what is not there or not a file."""
    files = {
        "pack/__init__.py": "raise RuntimeError",
        "pack/mod.py": "",
        "pack/sub/__init__.py": "",
        "single.py": "raise RuntimeError",
        "space/below/x.py": "",
    }
    site.install(Distribution("p", files=files))
    with site.on_path():
        assert find_module(module) == (site.path / path if path else None)


def test_first_installed_distribution_names_the_core(site: Site) -> None:
    """The application's own name first, then its package's; nothing if it is not installed."""
    with site.on_path():
        assert distribution_of(["not-there", "depot"]) == ("depot", "3.1")
        assert distribution_of(["not-there"]) == ("", "")
