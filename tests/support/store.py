"""An application called ``store`` with plugins, one deployment of it, and the database behind that.

Not called ``shop``: the examples may be installed where the tests run, and would be its plugins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anabranch import MigrationManager
from support.databases import BOOKKEEPING, Database, Schema
from support.sites import Result, Site
from support.trees import Revisions, host, plugin

NAME = "store"


def table(name: str, *columns: str) -> str:
    """The body of an ``upgrade()`` that creates the table *name* with an ``id``."""
    more = "".join(f", sa.Column({column!r}, sa.Integer)" for column in columns)
    return f"op.create_table({name!r}, sa.Column('id', sa.Integer, primary_key=True){more})"


class Store:
    """The application's site, its deployment directory and its database."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.site = Site(directory / "site", application=NAME)
        self.database = database
        self.deployment = directory / "deployment"
        self.deployment.mkdir()
        self.configure()

    @property
    def versions(self) -> Path:
        """Where the core's revision files are; a plugin's are in `versions_of`."""
        return self.versions_of(NAME)

    def versions_of(self, package: str) -> Path:
        return self.site.path / package / "migrations" / "versions"

    def configure(self, text: str = "", *, url: str | None = None) -> None:
        """Write the deployment's configuration: the database, and *text* after it."""
        config = f"[sqlalchemy]\ndatabase_url = {json.dumps(url or self.database.url)}\n{text}"
        (self.deployment / "config.toml").write_text(config)

    def core(self, *revisions: str, named: Mapping[str, str] | None = None, **options: Any) -> None:
        """Install the application with *revisions*, in place of an earlier version of it."""
        found: Revisions = named or revisions
        self.site.install(host(NAME, revisions=found, **options))

    def plugin(self, name: str, *revisions: str, **options: Any) -> None:
        """Install the plugin *name* with *revisions*, in place of an earlier version of it."""
        self.site.install(plugin(name, host=NAME, revisions=revisions, **options))

    def uninstall(self, name: str) -> None:
        """Uninstall the plugin *name*."""
        self.site.uninstall(f"{NAME}-{name}")

    # -- as processes

    def init_db(self, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
        return self.site.run("init-db", self.deployment, *arguments, env=env)

    def db(self, verb: str, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
        return self.site.run("db", verb, self.deployment, *arguments, env=env)

    # -- in this process

    @contextmanager
    def manager(self, **options: Any) -> Iterator[MigrationManager]:
        """The application's manager, while its site is on this process's path."""
        with self.site.on_path():
            yield MigrationManager(
                NAME, metadata="store.models:Base", migrations="store.migrations", **options
            )

    def upgrade(self, to: str | list[str] = "heads", **options: Any) -> list[str]:
        """Upgrade the deployment in this process; returns what ran, as ``owner@id``."""
        with self.manager() as manager:
            return [str(key) for key in manager.upgrade(self.deployment, to, **options).applied]

    def plan(self) -> list[str]:
        """What would run, as ``owner@id``."""
        with self.manager() as manager:
            return [str(key) for key in manager.plan(self.deployment).keys]

    def state_of(self, owner: str) -> str:
        """What the status says of *owner*: ``current``, ``orphaned`` and so on."""
        with self.manager() as manager:
            status = manager.status(self.deployment)
        return next(found.state for found in status.owners if found.name == owner)

    # -- the outcome

    @property
    def schema(self) -> Schema:
        """The tables of the owners."""
        return self.database.schema(ignore=BOOKKEEPING)

    @property
    def journal(self) -> list[str]:
        """The events of the journal in order, each with the revision it speaks of."""
        rows = self.database.execute("SELECT * FROM anabranch_journal ORDER BY seq")
        return [f"{row['event']} {row['owner']}@{row['revision']}".rstrip(" @") for row in rows]

    @property
    def applied(self) -> set[str]:
        """The applied revisions, as ``owner@id``."""
        rows = self.database.rows("anabranch_revision")
        return {f"{row['owner']}@{row['revision']}" for row in rows}

    @property
    def version_rows(self) -> list[str]:
        """What stands in Alembic's table."""
        return sorted(row["version_num"] for row in self.database.rows("alembic_version"))

    @property
    def objects(self) -> set[str]:
        """The recorded objects, as ``kind table.name owner@id``, the table's schema before it."""
        return {
            f"{row['kind']} "
            + ".".join(filter(None, (row["table_schema"], row["table_name"])))
            + (f".{row['name']}" if row["kind"] != "table" else "")
            + f" {row['owner']}@{row['revision']}"
            for row in self.database.rows("anabranch_object")
        }
