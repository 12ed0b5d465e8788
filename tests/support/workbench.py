"""An application and its plugins under development: installed editable, revisions to be written.

The application is called ``market``, for a plain reason: tests may run where the documentation's
``shop`` and its plugins are installed, and those would take part.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import runpy
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from support import trees
from support.databases import BOOKKEEPING, Database, Schema
from support.distributions import Distribution
from support.sites import Result, Site
from support.trees import revision_file

APPLICATION = "market"

host = partial(trees.host, APPLICATION)
plugin = partial(trees.plugin, host=APPLICATION, migrations="declared")

CORE_MODELS = """
class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str | None] = mapped_column(sa.String(20), unique=True)
"""

_CREATE_CUSTOMER = """
op.create_table(
    "customer",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
)
"""
_CREATE_PRODUCT = 'op.create_table("product", sa.Column("id", sa.Integer, primary_key=True))'
_ADD_SKU = """
with op.batch_alter_table("product") as batch_op:
    batch_op.add_column(sa.Column("sku", sa.String(20)))
    batch_op.create_unique_constraint("uq_product_sku", ["sku"])
"""
_DROP_SKU = """
with op.batch_alter_table("product") as batch_op:
    batch_op.drop_column("sku")
"""

#: ``customer`` comes with c1, ``product`` with c2, its column ``sku`` with c3; c4 does nothing.
CORE_REVISIONS = (
    revision_file("c1", upgrade=_CREATE_CUSTOMER, downgrade='op.drop_table("customer")'),
    revision_file("c2", down="c1", upgrade=_CREATE_PRODUCT, downgrade='op.drop_table("product")'),
    revision_file("c3", down="c2", upgrade=_ADD_SKU, downgrade=_DROP_SKU),
    revision_file("c4", down="c3"),
)


def market(
    models: str = CORE_MODELS, *, revisions: trees.Revisions = CORE_REVISIONS, **options: Any
) -> Distribution:
    """The application with customers and products."""
    return host(models=models, revisions=revisions, **options)


def table(name: str, *columns: str) -> str:
    """The source of a model: an integer key and *columns*, each a line of a class body."""
    body = "".join(f"    {column}\n" for column in columns)
    return (
        f"\n\nclass {name.title().replace('_', '')}(Base):\n"
        f'    __tablename__ = "{name}"\n'
        f"    id: Mapped[int] = mapped_column(primary_key=True)\n{body}"
    )


@dataclass(frozen=True)
class Written:
    """A revision file, as Python runs it."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def upgrade(self) -> str:
        """The source of ``upgrade()``."""
        return self.text.partition("def upgrade()")[2].partition("def downgrade()")[0]

    @property
    def header(self) -> Mapping[str, Any]:
        """The module's variables, ``__doc__`` among them."""
        return runpy.run_path(str(self.path))

    @property
    def id(self) -> str:
        return str(self.header["revision"])

    @property
    def depends_on(self) -> Any:
        return self.header["depends_on"]

    @property
    def touches(self) -> set[str]:
        """The tables that ``upgrade()`` creates, drops or alters."""
        calls = r"(?:create_table|drop_table|batch_alter_table)\('(\w+)'"
        return set(re.findall(calls, self.upgrade))


class Workbench:
    """One site with everything installed editable, and one deployment on *database*.

    Commands run in this process, in which the site's modules live for one command only; for a
    process of its own use `site`.
    """

    def __init__(self, directory: Path, database: Database | None = None) -> None:
        self.site = Site(directory / "site", application=APPLICATION)
        self.deployment = directory / "deployment"
        self.database = database or Database(f"sqlite:///{self.deployment / 'market.sqlite'}")
        self._environment = {"MARKET_SQLALCHEMY_DATABASE_URL": database.url} if database else {}

    def develop(self, *distributions: Distribution) -> None:
        """Install *distributions* editable, or write the files that changed; deletes none."""
        for distribution in distributions:
            self.site.develop(distribution)

    def source(self, name: str = "") -> Path:
        """The package of the plugin *name*, or of the application."""
        project = f"{APPLICATION}-{name}" if name else APPLICATION
        return self.site.path.parent / "sources" / project / project.replace("-", "_")

    def revisions(self, name: str = "") -> list[Path]:
        """The revision files of the plugin *name*, or of the application."""
        folder = self.source(name) / "migrations" / "versions"
        return sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")

    def run(self, *arguments: str | Path, code: int = 0) -> Result:
        """Run a command of the application, which must end with *code*."""
        out, err = io.StringIO(), io.StringIO()
        with (
            self.site.on_path(),
            mock.patch.dict(os.environ, self._environment),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            cli = importlib.import_module(f"{APPLICATION}.cli").cli
            try:
                cli.main(list(map(str, arguments)), prog_name=APPLICATION)
            except SystemExit as end:
                ended = end.code
        return Result(int(ended or 0), out.getvalue(), err.getvalue()).expect(code)

    def init_db(self) -> Result:
        """Create the deployment, or upgrade its database."""
        return self.run("init-db", self.deployment)

    def make(self, plugin: str = "", *arguments: str | Path, code: int = 0) -> Result:
        """Run ``make-migrations`` for *plugin*, or for the core."""
        options = ("--plugin", plugin) if plugin else ()
        return self.run("make-migrations", *options, *arguments, code=code)

    def write(self, plugin: str = "", *arguments: str | Path) -> Written:
        """Run ``make-migrations``, which must write a revision."""
        before = set(self.revisions(plugin))
        result = self.make(plugin, *arguments)
        new = set(self.revisions(plugin)) - before
        if len(new) != 1:
            raise AssertionError(f"{len(new)} files were written, not one\n{result}")
        return Written(new.pop())

    def schema(self) -> Schema:
        """What is in the database, without the bookkeeping."""
        return self.database.schema(ignore=BOOKKEEPING)
