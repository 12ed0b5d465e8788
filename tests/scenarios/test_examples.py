"""The example shop: one order wherever and however it is installed, one schema from every past."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest

from anabranch import MigrationManager, RevisionError
from support.databases import BOOKKEEPING, Database, sqlite
from support.distributions import Distribution
from support.postgres import Server
from support.sites import Site

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
NAMES = ("shop", "shop-reviews", "shop-loyalty")
OWNERS = ("core", "reviews", "loyalty")
RUN = "from shop.cli import cli; cli(prog_name='shop')"

ORDER = (
    *("core@e878a5e61c3c", "core@93e76cdc5f2d", "core@b37bb8a5ef7c", "reviews@de085310cd1c"),
    *("core@a215d93a7d5f", "core@64512af883e7", "core@d9bc16c34d6e", "reviews@a61af2e4d2c7"),
    *("core@920fa25eefff", "loyalty@2c045abf2c84", "core@b05808c0689a", "reviews@b90f89d57361"),
    *("loyalty@eff330b94ad1", "core@5af0f189acb3"),
)
CORE = tuple(key for key in ORDER if key.startswith("core@"))
DROPS_THE_PRICE = CORE.index("core@920fa25eefff")

#: Makes an empty database of one kind.
Create = Callable[[], Database]


@pytest.fixture(autouse=True)
def _only_what_a_test_installs() -> None:
    for name in NAMES[1:]:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        pytest.skip(f"{name} is installed here: a test could not do without it")


@pytest.fixture(params=["sqlite", "postgresql"])
def create(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Create]:
    """A function that makes empty databases of one kind; they go after the test."""
    if request.param == "sqlite":
        numbers = itertools.count()
        yield lambda: sqlite(tmp_path / f"{next(numbers)}.sqlite")
        return
    server = request.getfixturevalue("postgres_server")
    assert isinstance(server, Server)
    made: list[Database] = []

    def new() -> Database:
        made.append(server.create())
        return made[-1]

    yield new
    for database in made:
        server.drop(database)


def example(name: str, *, without: tuple[str, ...] = ()) -> Distribution:
    """The example as its wheel has it; an older version of it *without* some revisions."""
    root = EXAMPLES / name
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    (package,) = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return Distribution(
        pyproject["project"]["name"],
        version=pyproject["project"]["version"],
        files={
            str(path.relative_to(root)): path.read_text(encoding="utf-8")
            for path in sorted((root / package).rglob("*.py"))
            if not any(key.partition("@")[2] in path.name for key in without)
        },
        entry_points=pyproject["project"].get("entry-points", {}),
    )


@contextmanager
def installed(path: Path, *distributions: Distribution) -> Iterator[MigrationManager]:
    """The shop's own manager, with these distributions on this process's path and no others."""
    site = Site(path)
    site.install(*distributions)
    with site.on_path():
        manager = importlib.import_module("shop.cli").manager
        assert isinstance(manager, MigrationManager)
        yield manager


def run(manager: MigrationManager, database: Database, *to: str) -> list[str]:
    upgrade = manager.upgrade(database.url, to or "heads")
    return [str(key) for key in upgrade.applied]


def schema(database: Database) -> object:
    return database.schema(ignore=BOOKKEEPING)


def test_plan_is_the_same_bytes_whatever_was_installed_first(tmp_path: Path) -> None:
    """Every order of three site directories, and ten orders of Python's sets and dicts."""
    sites = [Site(tmp_path / name) for name in NAMES]
    for site, name in zip(sites, NAMES, strict=True):
        site.install(example(name))
    deployment = tmp_path / "deployment"
    deployment.mkdir()
    (deployment / "config.toml").touch()
    rest = sites[0].environment()["PYTHONPATH"].split(os.pathsep)[1:]

    def plan(order: tuple[Site, ...], seed: int) -> str:
        path = os.pathsep.join([*(str(site.path) for site in order), *rest])
        environment = {"PYTHONPATH": path, "PYTHONHASHSEED": str(seed)}
        arguments = ("-c", RUN, "db", "plan", deployment, "--json")
        return sites[0].python(*arguments, env=environment).expect(0).out

    orders = list(itertools.permutations(sites))
    plans = {
        plan(order, seed)
        for order, seed in zip(itertools.cycle(orders), range(len(orders) + 4), strict=False)
    }
    assert len(plans) == 1
    found = re.findall(r'"owner": "(\w+)",\n *"revision": "(\w+)",\n *"message"', plans.pop())
    assert tuple("@".join(pair) for pair in found) == ORDER


def test_both_databases_get_the_same_tables_and_columns(
    tmp_path: Path, sqlite_database: Database, postgresql_database: Database
) -> None:
    """Types and constraints are reflected in each database's own words; names are comparable."""
    names = []
    with installed(tmp_path / "site", *map(example, NAMES)) as manager:
        for database in (sqlite_database, postgresql_database):
            assert tuple(run(manager, database)) == ORDER
            names.append(
                {
                    table: {
                        part: [i["name"] for i in items if "duplicates_constraint" not in i]
                        for part, items in parts.items()
                        if part != "primary_key"
                    }
                    for table, parts in database.schema(ignore=BOOKKEEPING).items()
                }
            )
    assert set(names[0]) == {
        *("customer", "product", "order", "order_line", "review", "review_reward")
    }
    assert names[0] == names[1]


def test_every_older_state_ends_in_the_schema_of_a_fresh_install(
    tmp_path: Path, create: Create
) -> None:
    """A site that stopped after any revision of the order gets exactly the rest of it."""
    with installed(tmp_path / "site", *map(example, NAMES)) as manager:
        fresh = create()
        assert tuple(run(manager, fresh)) == ORDER
        for length in range(1, len(ORDER)):
            database = create()
            assert tuple(run(manager, database, *ORDER[:length])) == ORDER[:length]
            assert tuple(run(manager, database)) == ORDER[length:]
            assert schema(database) == schema(fresh), f"stopped after {ORDER[length - 1]}"
            assert database.rows("alembic_version") == fresh.rows("alembic_version")
            assert database.rows("anabranch_object") == fresh.rows("anabranch_object")


def test_a_site_that_upgrades_at_every_release_gets_the_schema_of_a_fresh_install(
    tmp_path: Path, create: Create
) -> None:
    """From packages as they were on each day, installed as soon as they had a revision."""
    stepwise, fresh = create(), create()
    done = 0
    for length, key in enumerate(ORDER, 1):
        if key == "core@64512af883e7":
            continue  # merged with its sibling before the next release
        owners = {key.partition("@")[0] for key in ORDER[:length]}
        names = [name for name, owner in zip(NAMES, OWNERS, strict=True) if owner in owners]
        packages = [example(name, without=ORDER[length:]) for name in names]
        with installed(tmp_path / f"release{length}", *packages) as manager:
            assert tuple(run(manager, stepwise)) == ORDER[done:length]
        done = length
    with installed(tmp_path / "site", *map(example, NAMES)) as manager:
        assert run(manager, stepwise) == []
        run(manager, fresh)
    assert schema(stepwise) == schema(fresh)


@pytest.mark.parametrize("plugins", [NAMES[1:2], NAMES[1:]], ids=["reviews", "both"])
def test_plugins_installed_at_any_point_before_the_price_goes_give_the_same_schema(
    tmp_path: Path, create: Create, plugins: tuple[str, ...]
) -> None:
    """The core alone got this far; then the plugins arrive together with the rest of the core."""
    states = [create() for _ in CORE[:DROPS_THE_PRICE]]
    with installed(tmp_path / "core", example("shop")) as manager:
        for length, database in enumerate(states, 1):
            assert tuple(run(manager, database, *CORE[:length])) == CORE[:length]
    with installed(tmp_path / "full", example("shop"), *map(example, plugins)) as manager:
        fresh = create()
        everything = run(manager, fresh)
        for length, database in enumerate(states, 1):
            assert run(manager, database) == [k for k in everything if k not in CORE[:length]]
            assert schema(database) == schema(fresh), f"installed after {CORE[length - 1]}"


def test_loyalty_installed_at_any_later_point_gives_the_same_schema(
    tmp_path: Path, create: Create
) -> None:
    """It builds on reviews, and needs nothing that the shop has given up since."""
    reviewed = [key for key in ORDER if not key.startswith("loyalty@")]
    with installed(tmp_path / "full", *map(example, NAMES)) as manager:
        fresh = create()
        run(manager, fresh)
    with installed(tmp_path / "reviewed", *map(example, NAMES[:2])) as manager:
        states = [create() for _ in range(DROPS_THE_PRICE, len(reviewed) + 1)]
        for length, database in enumerate(states, DROPS_THE_PRICE):
            assert run(manager, database, *reviewed[:length]) == reviewed[:length]
    with installed(tmp_path / "full") as manager:
        for length, database in enumerate(states, DROPS_THE_PRICE):
            assert run(manager, database) == [k for k in ORDER if k not in reviewed[:length]]
            assert schema(database) == schema(fresh), f"installed after {reviewed[length - 1]}"


@pytest.mark.parametrize("length", range(DROPS_THE_PRICE + 1, len(CORE) + 1))
def test_reviews_installed_after_the_price_went_fail_and_leave_everything_else(
    tmp_path: Path, create: Create, length: int
) -> None:
    """The revision that reads the price is named; the core's tables and rows are as before."""
    database = create()
    with installed(tmp_path / "core", example("shop")) as manager:
        run(manager, database, *CORE[:length])
    database.execute("INSERT INTO product (id, sku, name) VALUES (1, 'tea', 'Tea')")
    before = database.schema(ignore=BOOKKEEPING)
    with installed(tmp_path / "full", *map(example, NAMES)) as manager:
        with pytest.raises(RevisionError, match=r"reviews@a61af2e4d2c7 failed .*price") as raised:
            run(manager, database)
        assert str(raised.value.revision) == "reviews@a61af2e4d2c7"
        assert raised.value.exit_code == 5
        status = manager.status(database.url)
    after = database.schema(ignore=BOOKKEEPING)
    if database.backend == "sqlite":
        assert after == before
    else:
        assert after.pop("review"), "PostgreSQL keeps the revisions before the failed one"
        assert after == before
    assert database.rows("product")[0]["name"] == "Tea"
    assert next(owner for owner in status.owners if owner.name == "core").applied == length


def test_the_shop_goes_on_without_reviews_that_cannot_be_installed(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """Disabling the plugin is the way out the message names: the core's revisions run."""
    site = Site(tmp_path / "site")
    site.install(*map(example, NAMES))
    deployment = tmp_path / "deployment"
    deployment.mkdir()
    config = f'[sqlalchemy]\ndatabase_url = "{sqlite_database.url}"\n[plugins]\n'
    (deployment / "config.toml").write_text(f"{config}enabled = []\n")
    with site.on_path():
        manager = importlib.import_module("shop.cli").manager
        manager.upgrade(deployment, CORE[DROPS_THE_PRICE])
    (deployment / "config.toml").write_text(config)
    failed = site.python("-c", RUN, "init-db", deployment).expect(5)
    assert "reviews@a61af2e4d2c7" in failed.err
    (deployment / "config.toml").write_text(f'{config}disabled = ["reviews", "loyalty"]\n')
    done = site.python("-c", RUN, "init-db", deployment).expect(0)
    assert "2 revisions applied" in done.out


def test_the_price_of_every_review_survives_one_upgrade_over_two_years(
    tmp_path: Path, create: Create
) -> None:
    """The rows come along: prices are copied before they turn into cents."""
    database = create()
    with installed(tmp_path / "site", *map(example, NAMES)) as manager:
        run(manager, database, "reviews@de085310cd1c", "core@b37bb8a5ef7c")
        database.execute(
            "INSERT INTO customer (id, email) VALUES (1, 'ann@example.org')",
            "INSERT INTO product (id, sku, name, price) VALUES (1, 'tea', 'Tea', 12.50)",
            'INSERT INTO "order" (id, customer_id) VALUES (1, 1)',
            "INSERT INTO order_line (order_id, product_id, quantity, unit_price)"
            " VALUES (1, 1, 2, 11.95)",
            "INSERT INTO review (id, product_id, customer_id, rating, body)"
            " VALUES (1, 1, 1, 5, 'Good')",
        )
        run(manager, database)
    (review,) = database.rows("review")
    (product,) = database.rows("product")
    (line,) = database.rows("order_line")
    (customer,) = database.rows("customer")
    assert float(review["price_at_review"]) == 12.5
    assert review["published"]
    assert (product["price_cents"], product["stock"]) == (1250, 0)
    assert line["unit_price_cents"] == 1195
    assert customer["name"] == "ann@example.org"
    assert database.rows("review_reward") == [{"review_id": 1, "points": 10}]
