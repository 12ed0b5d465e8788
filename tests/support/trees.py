"""Revision scripts, host applications and plugins, written the way people write them.

Only text comes out of here: a distribution must be installed, and a script run, by somebody else.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

from support.distributions import Distribution

#: Sources in Alembic's shape, which name their own files; or file names and sources, as they are.
Revisions = Sequence[str] | Mapping[str, str]

_REVISION = '''\
"""{message}

Revision ID: {revision}
Revises: {revises}
Create Date: {created}

"""
{typing}from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
{header}


def upgrade(){returns}:
{upgrade}


def downgrade(){returns}:
{downgrade}
'''

_HEADER_TYPES = {
    "revision": "str",
    "down_revision": "Union[str, Sequence[str], None]",
    "branch_labels": "Union[str, Sequence[str], None]",
    "depends_on": "Union[str, Sequence[str], None]",
}

_HOST_MODELS = '''\
"""The tables of {name}."""

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """What every model of {name} and of its plugins derives from."""


'''

_PLUGIN_MODELS = '''\
"""The tables of {name}."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from {host}.models import Base


'''

_CLI = '''\
"""The command line of {name}."""

import click

from anabranch import MigrationManager

manager = MigrationManager(
    "{name}", metadata="{name}.models:Base", migrations="{name}.migrations"{options}
)


@click.group()
def cli():
    """Run the {name}."""


manager.add_commands(cli)
'''

_MAIN = """\
from {name}.cli import cli

cli(prog_name="{name}")
"""


def revision_file(
    revision: str,
    *,
    down: str | Sequence[str] | None = None,
    depends: str | Sequence[str] | None = None,
    labels: str | Sequence[str] | None = None,
    message: str = "a change",
    created: str = "2024-01-01 00:00:00",
    upgrade: str = "pass",
    downgrade: str = "pass",
    annotated: bool = False,
) -> str:
    """The source of one revision script in the shape of Alembic's template.

    *annotated* writes the header as newer Alembic does (``revision: str = ...``). For a header that
    is not literal write the source by hand.
    """
    values = {
        "revision": revision,
        "down_revision": _plain(down),
        "branch_labels": _plain(labels),
        "depends_on": _plain(depends),
    }
    header = [
        f"{name}: {_HEADER_TYPES[name]} = {value!r}" if annotated else f"{name} = {value!r}"
        for name, value in values.items()
    ]
    parents = (down,) if isinstance(down, str) else down or ()
    return _REVISION.format(
        message=message,
        revision=revision,
        revises=", ".join(parents),
        created=created,
        typing="from typing import Sequence, Union\n\n" if annotated else "",
        header="\n".join(header),
        returns=" -> None" if annotated else "",
        upgrade=_body(upgrade),
        downgrade=_body(downgrade),
    )


def host(
    name: str = "shop",
    *,
    revisions: Revisions = (),
    models: str = "",
    options: str = "",
    version: str = "1.0",
    files: Mapping[str, str] | None = None,
) -> Distribution:
    """A host application: package, models, migrations and a command line, ``python -m NAME``.

    *models* follows a ready ``Base``, or stands alone if it defines one; *options* are further
    arguments for the ``MigrationManager``; *files* are added, or replace what is written here.
    """
    models = textwrap.dedent(models)
    if not re.search(r"^(class )?Base\b", models, re.MULTILINE):
        models = _HOST_MODELS.format(name=name) + models
    return Distribution(
        name,
        version=version,
        files={
            f"{name}/__init__.py": "",
            f"{name}/models.py": models,
            f"{name}/cli.py": _CLI.format(name=name, options=options and f", {options}"),
            f"{name}/__main__.py": _MAIN.format(name=name),
            **_migrations(name, revisions),
            **(files or {}),
        },
        entry_points={"console_scripts": {name: f"{name}.cli:cli"}},
    )


def plugin(
    name: str,
    *,
    host: str = "shop",
    revisions: Revisions = (),
    models: str | None = "",
    hooks: str = "",
    migrations: bool | Literal["declared"] = True,
    version: str = "1.0",
    distribution: str | None = None,
    package: str | None = None,
    files: Mapping[str, str] | None = None,
) -> Distribution:
    """A plugin of *host*: distribution ``HOST-NAME``, package ``HOST_NAME``, entry points NAME.

    ``models=None`` leaves the models and their entry point out. ``migrations="declared"`` writes
    the entry point without the package, as a plugin has it before ``--initialize``.
    """
    package = package or re.sub(r"\W", "_", f"{host}_{name}")
    contents = {f"{package}/__init__.py": ""}
    entry_points: dict[str, dict[str, str]] = {}
    if models is not None:
        contents[f"{package}/db_models.py"] = _PLUGIN_MODELS.format(
            name=name, host=host
        ) + textwrap.dedent(models)
        entry_points[f"{host}.models"] = {name: f"{package}.db_models"}
    if migrations:
        entry_points[f"{host}.migrations"] = {name: f"{package}.migrations"}
    if migrations is True:
        contents |= _migrations(package, revisions)
    elif revisions:
        raise ValueError("revisions need a package to live in: migrations=True")
    if hooks:
        contents[f"{package}/hooks.py"] = textwrap.dedent(hooks)
        entry_points[host] = {name: f"{package}.hooks"}
    return Distribution(
        distribution or f"{host}-{name}",
        version=version,
        files={**contents, **(files or {})},
        entry_points=entry_points,
    )


def _migrations(package: str, revisions: Revisions) -> dict[str, str]:
    if not isinstance(revisions, Mapping):
        named = {_file_name(source): source for source in revisions}
        if len(named) != len(revisions):
            raise ValueError("two revisions give one file name: name the files, with a mapping")
        revisions = named
    versions = f"{package}/migrations/versions"
    return {
        f"{package}/migrations/__init__.py": "",
        # A wheel holds files, so the folder exists only if something is in it.
        **({} if revisions else {f"{versions}/.gitkeep": ""}),
        **{f"{versions}/{name}": textwrap.dedent(source) for name, source in revisions.items()},
    }


def _file_name(source: str) -> str:
    match = re.search(r"^\s*revision\b[^=\n]*=\s*(['\"].*['\"])", source, re.MULTILINE)
    if match is None:
        raise ValueError(f"no literal revision id: name the file, with a mapping\n{source}")
    docstring = ast.get_docstring(ast.parse(textwrap.dedent(source))) or ""
    words = f"{ast.literal_eval(match[1])} {docstring.partition(chr(10))[0]}"
    return re.sub(r"\W+", "_", words).strip("_").lower()[:80] + ".py"


def _plain(value: str | Sequence[str] | None) -> str | tuple[str, ...] | None:
    return value if value is None or isinstance(value, str) else tuple(value)


def _body(source: str) -> str:
    return textwrap.indent(textwrap.dedent(source).strip("\n"), "    ")
