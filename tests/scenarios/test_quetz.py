"""The real thing: the package server Quetz as it is on PyPI, its models and its 20 revisions.

Quetz is not written for anabranch. A small host package stands in for its command line; models and
revisions are those of the wheel, untouched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.databases import BOOKKEEPING, Database, sqlite
from support.distributions import Distribution
from support.postgres import DRIVER, Server
from support.sites import Result, Site
from support.template import bake
from support.trees import revision_file
from support.workbench import Written

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
REQUIREMENT = "quetz-server==0.10.4"

#: The revision that creates ``users``, and the last one.
CREATES_USERS, LAST = "a80fb051a659", "3ba25f23fb7d"

HOST = Distribution(
    "quetz-host",
    files={
        "quetz_host/__init__.py": "",
        "quetz_host/__main__.py": """\
import click
from anabranch import MigrationManager

manager = MigrationManager(
    "quetz", metadata="quetz.db_models:Base", migrations="quetz.migrations"
)


@click.group()
def cli():
    pass


manager.add_commands(cli)
cli(prog_name="quetz")
""",
    },
)

MODELS = """\
import sqlalchemy as sa
from quetz.db_models import Base


class Star(Base):
    __tablename__ = "quetz_plugin_name_star"
    id = sa.Column(sa.Integer, primary_key=True)
    user_id = sa.Column(sa.LargeBinary(16), sa.ForeignKey("users.id"), nullable=False)
    since = sa.Column(sa.DateTime(timezone=True), server_default=sa.func.now())
"""

# What Quetz's env.py does; importing it would need everything else of Quetz.
STOCK_ALEMBIC = """\
import sys

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

config = Config()
config.set_main_option("script_location", sys.argv[1].split()[0])
config.set_main_option("path_separator", "space")
config.set_main_option("version_locations", " ".join(f"{p}/versions" for p in sys.argv[1].split()))
script = ScriptDirectory.from_config(config)


def upgrade(revision, context):
    return script._upgrade_revs(tuple(sys.argv[3:]) or "heads", revision)


with (
    EnvironmentContext(config, script, fn=upgrade) as environment,
    sa.create_engine(sys.argv[2]).connect() as connection,
):
    environment.configure(connection=connection, render_as_batch=True)
    with environment.begin_transaction():
        environment.run_migrations()
"""


def missing(text: str) -> None:
    """Skip, but not in CI."""
    pytest.fail(text, pytrace=False) if IN_CI else pytest.skip(text)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quetz as the package index has it."""
    directory = tmp_path_factory.mktemp("quetz")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", REQUIREMENT]
    done = subprocess.run(
        [*command, "--dest", directory], capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        missing(f"{REQUIREMENT} cannot be downloaded: {done.stderr.strip()[-300:]}")
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture
def quetz(wheel: Path, tmp_path: Path) -> Iterator[Site]:
    """A site with Quetz and its host."""
    site = Site(tmp_path / "site", application="quetz_host")
    zipfile.ZipFile(wheel).extractall(site.path)
    site.install(HOST)
    yield site
    site.close()


@pytest.fixture(scope="session")
def icu_server() -> Iterator[Server]:
    """A server with ICU: Quetz makes an ICU collation, which the server of the wheel is without.

    Any PostgreSQL of the system will do; Linux distributions build theirs with ICU.
    """
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not folders:
        missing("Quetz needs a PostgreSQL with ICU, and no initdb is installed on this system")
    with system_server(folders[0]) as server:
        yield server


@contextmanager
def system_server(programs: Path) -> Iterator[Server]:
    directory = Path(tempfile.mkdtemp(prefix="anabranch-icu-"))
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to be root's
    if user:
        shutil.chown(directory, user)
    data = directory / "data"

    def run(program: str, *arguments: str) -> None:
        with (directory / "output").open("w") as output:
            command = [str(programs / program), "--pgdata", str(data), *arguments]
            subprocess.run(command, check=True, user=user, stdout=output, stderr=output, cwd="/")

    try:
        run("initdb", "--auth=trust", "--username=postgres", "--encoding=utf8", "--no-sync")
        run("pg_ctl", "start", "--wait", "-o", f"-F -k {directory} -c listen_addresses=")
        try:
            query = {"host": str(directory)}
            yield Server(
                sa.URL.create(DRIVER, username="postgres", database="postgres", query=query)
            )
        finally:
            run("pg_ctl", "stop", "--mode=fast")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database that can run Quetz's revisions."""
    if request.param == "sqlite":
        yield sqlite(tmp_path / "deployment" / "quetz.sqlite")
        return
    request.getfixturevalue("postgresql_database")  # without a driver there is no test
    server: Server = request.getfixturevalue("icu_server")
    database = server.create()
    yield database
    server.drop(database)


@pytest.fixture
def deployment(database: Database, tmp_path: Path) -> Path:
    directory = tmp_path / "deployment"
    directory.mkdir()
    (directory / "config.toml").write_text(f'[sqlalchemy]\ndatabase_url = "{database.url}"\n')
    return directory


def new_plugin(quetz: Site, directory: Path) -> Path:
    """Make a plugin for Quetz from the template, install it editable; returns its project."""
    project = bake(
        directory,
        host="quetz",
        host_distribution="quetz-server",
        host_base="quetz.db_models:Base",
        plugin_name="quetz-plugin_name",
    )
    (project / "quetz_plugin_name" / "db_models.py").write_text(MODELS)
    Distribution(
        "quetz-plugin-name",
        entry_points={
            "quetz.models": {"quetz-plugin-name": "quetz_plugin_name.db_models"},
            "quetz.migrations": {"quetz-plugin-name": "quetz_plugin_name.migrations"},
        },
    ).develop(quetz.path, project)
    return project


def status(quetz: Site, deployment: Path) -> dict[str, tuple[str, int, int, list[str]]]:
    answer = json.loads(quetz.run("db", "status", deployment, "--json").expect().out)
    return {
        owner["owner"]: (owner["state"], owner["applied"], owner["pending"], owner["heads"])
        for owner in answer["owners"]
    }


def test_quetz_is_upgraded_through_its_branch_and_merge(
    quetz: Site, deployment: Path, database: Database
) -> None:
    """One command runs all 20 revisions; a second one finds nothing to do."""
    quetz.run("init-db", deployment).expect()
    assert status(quetz, deployment) == {"core": ("current", 20, 0, [LAST])}
    assert {"users", "channels", "packages", "api_keys", "emails"} <= set(database.schema())
    assert database.rows("alembic_version") == [{"version_num": LAST}]
    before = database.dump()
    assert "Nothing is pending" in quetz.run("init-db", deployment).expect().out
    assert database.dump() == before


def test_quetz_plugin_is_written_by_the_command_quetz_documents(
    quetz: Site, deployment: Path, database: Database, tmp_path: Path
) -> None:
    """The file holds the plugin's table and no core drift; the result runs and is complete.

    Quetz's models say BigInteger where its revisions leave INTEGER on SQLite, and its table of
    jobs is no longer in them: stock autogenerate puts both into the plugin's file.
    """
    project = new_plugin(quetz, tmp_path)
    quetz.run("init-db", deployment).expect()
    written = initialize(quetz, deployment, project)
    assert written.touches == {"quetz_plugin_name_star"}
    assert written.upgrade.count("op.") == 1
    assert written.depends_on == CREATES_USERS
    assert written.header["branch_labels"] == ("quetz-plugin-name",)
    core = database.schema(ignore=[*BOOKKEEPING, "quetz_plugin_name_star"])
    quetz.run("init-db", deployment).expect()
    schema = database.schema(ignore=BOOKKEEPING)
    (key,) = schema.pop("quetz_plugin_name_star")["foreign_keys"]
    assert (key["referred_table"], key["referred_columns"]) == ("users", ["id"])
    assert schema == core
    assert status(quetz, deployment)["quetz-plugin-name"] == ("current", 1, 0, [written.id])
    again = quetz.run("make-migrations", deployment, "--plugin", "quetz-plugin_name").expect()
    assert "No change" in again.out


def test_quetz_plugin_is_written_without_a_deployment(quetz: Site, tmp_path: Path) -> None:
    """The scratch database that Quetz's revisions build serves as well."""
    written = initialize(quetz, None, new_plugin(quetz, tmp_path))
    assert written.touches == {"quetz_plugin_name_star"}
    assert written.depends_on == CREATES_USERS


def test_quetz_site_that_alembic_built_is_taken_over(
    quetz: Site, deployment: Path, database: Database, tmp_path: Path
) -> None:
    """A site before us has one table of Alembic's: its revisions count, and none runs again."""
    quetz.python("-c", STOCK_ALEMBIC, quetz.path / "quetz" / "migrations", database.url).expect()
    assert database.rows("alembic_version") == [{"version_num": LAST}]
    before = database.schema(ignore=BOOKKEEPING)
    written = initialize(quetz, deployment, new_plugin(quetz, tmp_path))
    assert written.depends_on == CREATES_USERS
    result = quetz.run("init-db", deployment).expect()
    assert "1 revision applied" in result.out
    assert status(quetz, deployment) == {
        "core": ("current", 20, 0, [LAST]),
        "quetz-plugin-name": ("current", 1, 0, [written.id]),
    }
    after = database.schema(ignore=BOOKKEEPING)
    del after["quetz_plugin_name_star"]
    assert after == before


#: The 4th of Quetz's revisions; both ends of the branch it once had; the last but two.
HISTORIC_HEADS = {
    "794249a0b1bd": 16,
    "b9886d9cadb0 ebe550f9fbbe": 6,
    "cddba8e6e639": 2,
}

STAR = Distribution(
    "quetz-star",
    files={
        "quetz_star/__init__.py": "",
        "quetz_star/migrations/__init__.py": "",
        "quetz_star/migrations/versions/5ab1e5ab1e00_stars.py": revision_file(
            "5ab1e5ab1e00",
            labels="star",
            depends=CREATES_USERS,
            upgrade="op.create_table('star', sa.Column('id', sa.Integer, primary_key=True),\n"
            "    sa.Column('user_id', sa.LargeBinary(16), sa.ForeignKey('users.id')))",
        ),
    },
    entry_points={"quetz.migrations": {"star": "quetz_star.migrations"}},
)


@pytest.mark.parametrize("heads", HISTORIC_HEADS)
@pytest.mark.parametrize("departs", [False, True])
def test_quetz_site_of_an_old_release_is_taken_over_and_the_rest_runs(
    quetz: Site, deployment: Path, database: Database, heads: str, departs: bool
) -> None:
    """As stock Alembic left it, with a plugin that may have been uninstalled since."""
    quetz.install(STAR)
    script = f"{quetz.path}/quetz/migrations {quetz.path}/quetz_star/migrations"
    targets = [*heads.split(), "5ab1e5ab1e00"]
    quetz.python("-c", STOCK_ALEMBIC, script, database.url, *targets).expect()
    assert {row["version_num"] for row in database.rows("alembic_version")} == set(targets)
    if departs:
        quetz.uninstall("quetz-star")
    done = quetz.run("init-db", deployment).expect()
    rest = HISTORIC_HEADS[heads]
    assert f"{rest} revisions applied" in done.out
    events = json.loads(quetz.run("db", "history", deployment, "--json").expect().out)["events"]
    assert [event["event"] for event in events].count("applied") == rest
    found = status(quetz, deployment)
    assert found["core"] == ("current", 20, 0, [LAST])
    owner, state = ("unknown", "orphaned") if departs else ("star", "current")
    assert found[owner] == (state, 1, 0, ["5ab1e5ab1e00"])
    assert "Nothing is pending" in quetz.run("init-db", deployment).expect().out

    upgraded = database.schema(ignore=BOOKKEEPING)
    assert "star" in upgraded
    empty(database)
    if not departs:
        quetz.uninstall("quetz-star")
    quetz.run("init-db", deployment).expect()
    del upgraded["star"]
    assert database.schema(ignore=BOOKKEEPING) == upgraded


def empty(database: Database) -> None:
    """Let nothing be left of *database*."""
    if database.path is not None:
        database.path.unlink()
        return
    database.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


def test_quetz_on_a_server_without_icu_stops_cleanly(
    quetz: Site, postgresql_database: Database, tmp_path: Path
) -> None:
    """Its second revision makes an ICU collation: the first stays, and the message says it all."""
    probe = "CREATE COLLATION probe (provider = icu, locale = 'und')"
    try:
        postgresql_database.execute(probe)
    except sa.exc.DBAPIError:
        pass
    else:
        pytest.skip("this server has ICU")
    env = {"QUETZ_SQLALCHEMY_DATABASE_URL": postgresql_database.url}
    deployment = tmp_path / "deployment"
    result = quetz.run("init-db", deployment, env=env).expect(5)
    assert "core@a3ffa287d074 failed" in result.err
    assert "ICU is not supported in this build" in result.err
    assert "1 revision before it stays applied, the last is core@a80fb051a659." in result.err
    assert postgresql_database.rows("alembic_version") == [{"version_num": CREATES_USERS}]


def initialize(quetz: Site, deployment: Path | None, project: Path) -> Written:
    """Let the plugin's first revision be written, with the options in Quetz's order."""
    options = ["--message", "initial revision", "--initialize", "--plugin", "quetz-plugin_name"]
    directory = [] if deployment is None else [deployment]
    result: Result = quetz.run("make-migrations", *directory, *options).expect()
    folder = project / "quetz_plugin_name" / "migrations" / "versions"
    (path,) = folder.glob("*_initial_revision.py")
    assert str(path) in result.out
    return Written(path)
