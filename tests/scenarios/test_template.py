"""The template: what it bakes is installed by pip, migrated, and passes its own tests unedited."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException  # type: ignore[import-untyped]

from support.databases import BOOKKEEPING, Database
from support.distributions import Distribution
from support.environments import Environment
from support.template import bake
from support.workbench import Workbench, Written, market

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_baked_plugin_lives_through_its_readme(
    tmp_path: Path, postgresql_database: Database
) -> None:
    """Bake, install, --initialize, test, init-db: every step of the README, on both databases."""
    project = bake(tmp_path, host="market", plugin_name="wishes", description='Lists of "wishes"')
    environment = Environment(tmp_path / "venv")
    environment.install(market().wheel(tmp_path / "dist"))
    environment.install("-e", project)

    # Before there is a revision the tests say what to do.
    pytest_run = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    early = environment.run("python", *pytest_run, cwd=project).expect(1)
    assert "market make-migrations --plugin wishes --initialize" in early.out
    assert "2 failed, 2 passed" in early.out

    make = ("make-migrations", "--plugin", "wishes")
    environment.run("market", *make, "--initialize", cwd=project).expect()
    (path,) = (project / "wishes/migrations/versions").glob("*_initial_revision.py")
    assert Written(path).touches == {"wishes_item"}
    assert "4 passed" in environment.run("python", *pytest_run, cwd=project).expect().out

    deployment = tmp_path / "deployment"
    url = {"MARKET_SQLALCHEMY_DATABASE_URL": postgresql_database.url}
    environment.run("market", "init-db", deployment, cwd=project, **url).expect()
    schema = postgresql_database.schema(ignore=BOOKKEEPING)
    assert set(schema) == {"customer", "product", "wishes_item"}
    assert schema["wishes_item"]["primary_key"][0]["name"] == "pk_wishes_item"
    result = environment.run("market", make[0], deployment, *make[1:], cwd=project, **url)
    assert "No change" in result.expect().out

    # A change of the models is noticed by the tests, which leave no file behind.
    models = project / "wishes" / "db_models.py"
    models.write_text(models.read_text() + "    note = sa.Column(sa.Text)\n")
    late = environment.run("python", *pytest_run, cwd=project).expect(1)
    assert "The models have changes that no revision makes." in late.out
    assert "1 failed, 3 passed" in late.out
    environment.run("market", *make, "-m", "notes", cwd=project).expect()
    assert "4 passed" in environment.run("python", *pytest_run, cwd=project).expect().out


NAMES = {
    "wishes": "wishes",
    "Foo.Bar_baz": "foo-bar-baz",
    "quetz-plugin_name": "quetz-plugin-name",
    "A--b..c": "a-b-c",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_follow_from_the_plugins(tmp_path: Path, name: str) -> None:
    """Distribution, entry points, package and table agree, in a project that parses."""
    slug = NAMES[name]
    project = bake(tmp_path, host="market", plugin_name=name)
    assert project.name == slug
    content = tomllib.loads((project / "pyproject.toml").read_text())
    package = slug.replace("-", "_")
    assert content["project"]["name"] == slug
    assert content["project"]["entry-points"] == {
        "market.models": {slug: f"{package}.db_models"},
        "market.migrations": {slug: f"{package}.migrations"},
    }
    assert (project / package / "migrations" / "versions" / "__init__.py").is_file()
    for path in project.rglob("*.py"):
        ast.parse(path.read_text())
    assert f'__tablename__ = "{package}_item"' in (project / package / "db_models.py").read_text()


def test_answers_are_text_whatever_they_hold(tmp_path: Path) -> None:
    """Quotes and backslashes in an answer break neither TOML nor Python."""
    project = bake(
        tmp_path,
        plugin_name="wishes",
        author_name='Ada "Countess" Lovelace \\ Co',
        author_email="ada@example.org",
        description='A "list" of \\wishes\\',
    )
    content = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert content["description"] == 'A "list" of \\wishes\\'
    assert content["authors"] == [
        {"name": 'Ada "Countess" Lovelace \\ Co', "email": "ada@example.org"}
    ]
    for path in project.rglob("*.py"):
        ast.parse(path.read_text())


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"plugin_name": "1st"}, "plugin_name must be a letter"),
        ({"plugin_name": "core"}, "is taken by market or by Python"),
        ({"plugin_name": "json"}, "try 'market-json'"),
        ({"plugin_name": "market"}, "is taken by market or by Python"),
        ({"plugin_name": "a" * 41}, "at most 40 characters; got 41"),
        ({"host": "my shop"}, "host must be letters, digits and underscores"),
        ({"host_base": "market.models"}, "host_base must be module:attribute"),
        ({"host_base": "market.class:Base"}, "the Python keyword 'class'"),
        ({"author_email": "nobody"}, "author_email must be one e-mail address"),
        ({"description": "two\nlines"}, "description must be one line"),
    ],
)
def test_answer_that_cannot_work_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], answers: dict[str, str], reason: str
) -> None:
    """Nothing is left on the disk, and the reason is said."""
    output = tmp_path / "output"
    output.mkdir()
    with pytest.raises(FailedHookException):
        bake(output, **{"host": "market", "plugin_name": "wishes", **answers})
    assert reason in capfd.readouterr().err
    assert list(output.iterdir()) == []


def test_base_may_be_an_attribute_of_an_object(tmp_path: Path) -> None:
    """``module:db.Model``, as Flask-SQLAlchemy has it."""
    project = bake(
        tmp_path, host="market", plugin_name="wishes", host_base="market.extensions:db.Model"
    )
    models = (project / "wishes" / "db_models.py").read_text()
    assert "from market.extensions import db\n" in models
    assert "class WishesItem(db.Model):" in models
    workbench = Workbench(tmp_path / "bench")
    extensions = (
        "from types import SimpleNamespace\nfrom market.models import Base\n"
        "db = SimpleNamespace(Model=Base)\n"
    )
    workbench.develop(market(files={"market/extensions.py": extensions}))
    entry_points = {"models": "wishes.db_models", "migrations": "wishes.migrations"}
    Distribution(
        "wishes",
        entry_points={f"market.{kind}": {"wishes": value} for kind, value in entry_points.items()},
    ).develop(workbench.site.path, project)
    workbench.make("wishes", "--initialize")
    workbench.init_db()
    assert "wishes_item" in workbench.schema()
