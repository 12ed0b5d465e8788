"""The plugin is found, its tables are made, and its revisions match its models."""

import os
import shlex
import shutil
import sqlite3
import subprocess
import sysconfig
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from {{ cookiecutter.__package }} import db_models
from {{ cookiecutter.__package }}.migrations import versions

HOST = "{{ cookiecutter.host }}"
COMMAND = "{{ cookiecutter.host_command }}"
PLUGIN = "{{ cookiecutter.__project_slug }}"
PACKAGE = "{{ cookiecutter.__package }}"


def run(*arguments: object) -> None:
    """Run the application's command, and show what it printed if it fails."""
    program, *options = shlex.split(COMMAND)
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which(program, path=path)
    if found is None:
        pytest.fail(f"No command {program!r}: install {HOST}, or correct COMMAND.", pytrace=False)
    result = subprocess.run(
        [found, *options, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        line = " ".join([COMMAND, *map(str, arguments)])
        pytest.fail(f"{line} exited with {result.returncode}:\n{result.stdout}", pytrace=False)


def revisions() -> set[Path]:
    """List the revision files; there must be one."""
    package = Path(versions.__file__)
    found = set(package.parent.glob("*.py")) - {package}
    if not found:
        pytest.fail(
            f"{PLUGIN} has no revision yet. "
            f"Run: {COMMAND} make-migrations --plugin {PLUGIN} --initialize",
            pytrace=False,
        )
    return found


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the application a deployment of its own, with an empty SQLite database."""
    # The environment wins over config.toml: a database set there must stay out of the tests.
    monkeypatch.delenv(f"{HOST.upper()}_SQLALCHEMY_DATABASE_URL", raising=False)
    url = f"sqlite:///{(tmp_path / 'test.sqlite').as_posix()}"
    config = f'[sqlalchemy]\ndatabase_url = "{url}"\n'
    (tmp_path / "config.toml").write_text(config, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("group, module", [("models", "db_models"), ("migrations", "migrations")])
def test_plugin_is_discovered_by_its_entry_points(group: str, module: str) -> None:
    """The application learns of the plugin from what pip installed."""
    found = entry_points(group=f"{HOST}.{group}", name=PLUGIN)
    assert [entry.value for entry in found] == [f"{PACKAGE}.{module}"]


def test_fresh_deployment_has_every_table(deployment: Path) -> None:
    """One command makes the tables, and running it again changes nothing."""
    revisions()
    run("init-db", deployment)
    run("init-db", deployment)

    models = [model for model in vars(db_models).values() if hasattr(model, "__table__")]
    tables = {model.__table__.name for model in models if model.__module__ == db_models.__name__}
    with closing(sqlite3.connect(deployment / "test.sqlite")) as database:
        made = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert tables <= made


def test_models_match_the_migrations(deployment: Path) -> None:
    """A change to the models comes with its revision."""
    before = revisions()
    run("init-db", deployment)
    run("make-migrations", deployment, "--plugin", PLUGIN)

    written = {path: path.read_text(encoding="utf-8") for path in revisions() - before}
    for path in written:  # or the next run would pass, with a revision that nobody has read
        path.unlink()
    if written:
        pytest.fail(
            "The models have changes that no revision makes. "
            f"Run: {COMMAND} make-migrations --plugin {PLUGIN} -m 'what changed'\n\n"
            + "\n".join(written.values()),
            pytrace=False,
        )
