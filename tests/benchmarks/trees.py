"""Synthetic trees of revisions, grown from a seed, and written down for each tool that runs them.

A core of ten revisions and P plugins of R each; a plugin's first needs the core's last. The tools
that stand on Alembic run the very same files.
"""

from __future__ import annotations

import compileall
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal

from support.sites import Site
from support.trees import host, plugin, revision_file

Kind = Literal["empty", "table", "chained"]

APPLICATION = "mill"
COLUMNS = (("id", "Integer", "INTEGER"), ("name", "String(50)", "VARCHAR(50)"))
_CORE = 10


@dataclass(frozen=True)
class Planted:
    """One revision of a tree; *table* is what it creates, or empty."""

    owner: str
    id: str
    down: str | None
    depends: str | None
    table: str
    created: datetime

    @property
    def ddl(self) -> str:
        """The statement that it sends, as a person writes it."""
        return (
            f"CREATE TABLE {self.table} (id INTEGER NOT NULL, name VARCHAR(50) NOT NULL, "
            "PRIMARY KEY (id))"
        )


@dataclass(frozen=True)
class Tree:
    """*plugins* times *revisions* revisions and a core.

    :ivar kind: ``empty`` revisions, a ``table`` each, or empty and ``chained``: every revision
        depends on the one of the plugin before.
    """

    plugins: int
    revisions: int
    kind: Kind
    seed: int = 1

    def __str__(self) -> str:
        return f"{self.shape} {self.kind}"

    @property
    def shape(self) -> str:
        return f"{self.plugins}x{self.revisions}"

    def __len__(self) -> int:
        return len(self.planted)

    @cached_property
    def planted(self) -> tuple[Planted, ...]:
        """Every revision, in an order in which they can run: by date."""
        return tuple(sorted(self._grow(), key=lambda each: (each.created, each.owner)))

    @property
    def owners(self) -> list[str]:
        """The plugins by name."""
        return [f"p{number:04}" for number in range(self.plugins)]

    def of(self, owner: str) -> list[Planted]:
        return [each for each in self.planted if each.owner == owner]

    def _grow(self) -> Iterator[Planted]:
        chance = random.Random(self.seed)
        start = datetime(2020, 1, 1)
        # The rows of a plugin lie between those of its neighbours in time, a little unevenly.
        for owner, count in [("core", _CORE), *((name, self.revisions) for name in self.owners)]:
            base = start if owner == "core" else start + timedelta(days=1)
            number = int(owner[1:]) if owner != "core" else 0
            for place in range(count):
                depends = None
                if owner != "core" and place == 0:
                    depends = f"core_{_CORE - 1:05}"
                if self.kind == "chained" and number:
                    depends = f"p{number - 1:04}_{place:05}"
                id_ = f"{owner}_{place:05}"
                yield Planted(
                    owner,
                    id_,
                    f"{owner}_{place - 1:05}" if place else None,
                    depends,
                    f"t_{id_}" if self.kind == "table" else "",
                    base + timedelta(hours=place, seconds=number * 30 + chance.randrange(30)),
                )


def alembic_source(planted: Planted) -> str:
    """The file that Alembic, anabranch and their like run."""
    body = "pass"
    if planted.table:
        body = (
            f"op.create_table(\n    {planted.table!r},\n"
            "    sa.Column('id', sa.Integer, nullable=False),\n"
            "    sa.Column('name', sa.String(50), nullable=False),\n"
            "    sa.PrimaryKeyConstraint('id'),\n)"
        )
    return revision_file(
        planted.id,
        down=planted.down,
        depends=planted.depends,
        labels=planted.owner if planted.down is None and planted.owner != "core" else None,
        message=f"step {planted.id}",
        created=f"{planted.created:%Y-%m-%d %H:%M:%S}",
        upgrade=body,
    )


def write_site(tree: Tree, directory: Path) -> Site:
    """Install the application and its plugins in *directory*, compiled as installers do it."""
    site = Site(directory, application=APPLICATION)
    named = {
        owner: {f"{each.id}.py": alembic_source(each) for each in tree.of(owner)}
        for owner in ("core", *tree.owners)
    }
    site.install(
        host(APPLICATION, revisions=named["core"]),
        *(
            plugin(owner, host=APPLICATION, revisions=named[owner], models=None)
            for owner in tree.owners
        ),
    )
    compileall.compile_dir(str(directory), quiet=2)
    return site


def write_django(tree: Tree, directory: Path) -> None:
    """Write an app of Django per owner below *directory*."""
    for owner in ("core", *tree.owners):
        package = directory / f"d{owner}"
        (package / "migrations").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "models.py").touch()
        (package / "migrations" / "__init__.py").touch()
        for each in tree.of(owner):
            needs = [(f"d{name.split('_')[0]}", name) for name in (each.down, each.depends) if name]
            model = (
                f"migrations.CreateModel({each.table!r}, fields=[\n"
                "            ('id', models.IntegerField(primary_key=True)),\n"
                "            ('name', models.CharField(max_length=50)),\n"
                f"        ], options={{'db_table': {each.table!r}}}),"
                if each.table
                else ""
            )
            (package / "migrations" / f"{each.id}.py").write_text(
                "from django.db import migrations, models\n\n\n"
                "class Migration(migrations.Migration):\n"
                f"    initial = {each.down is None}\n"
                f"    dependencies = {needs!r}\n"
                f"    operations = [\n        {model}\n    ]\n"
            )
    compileall.compile_dir(str(directory), quiet=2)


def write_yoyo(tree: Tree, directory: Path) -> None:
    """Write a folder of yoyo's migrations per owner below *directory*."""
    for owner in ("core", *tree.owners):
        (directory / owner).mkdir(parents=True)
        for each in tree.of(owner):
            needs = [name for name in (each.down, each.depends) if name]
            step = f"step({each.ddl!r})" if each.table else ""
            (directory / owner / f"{each.id}.py").write_text(
                f"from yoyo import step\n\n__depends__ = {set(needs) or '{}'}\n\nsteps = [{step}]\n"
            )
