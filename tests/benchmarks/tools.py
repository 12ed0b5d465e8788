"""The tools that are compared: each function prepares a run and returns what is then measured.

A directory holds what :func:`write` put there. The floors send what anabranch sends without
reading, ordering or watching anything.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import logging
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy as sa

from benchmarks.trees import APPLICATION, Tree, write_django, write_site, write_yoyo

Action = Callable[[], object]
Maker = Callable[[str, str], None]
"""Does what the revision with an id does, to the table with a name."""

_ENV = """\
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, **context.config.attributes["options"])
    with context.begin_transaction():
        context.run_migrations()
"""


def write(tree: Tree, directory: Path) -> None:
    """Write *tree* for every tool into *directory*."""
    write_site(tree, directory / "site")
    write_environment(directory)
    write_django(tree, directory / "django")
    write_yoyo(tree, directory / "yoyo")
    rows = [(each.owner, each.id, each.down, each.table, each.ddl) for each in tree.planted]
    (directory / "tree.json").write_text(json.dumps(rows))


def write_environment(directory: Path) -> None:
    """Write what stock Alembic needs beside the revisions."""
    (directory / "alembic").mkdir()
    (directory / "alembic" / "env.py").write_text(_ENV)


def write_program(directory: Path, url: str) -> Path:
    """Set up the program ``alembic`` as ``alembic init`` does it; returns its ``alembic.ini``."""
    from alembic import command
    from alembic.config import Config

    ini = directory / "alembic.ini"
    with redirect_stdout(io.StringIO()):
        command.init(Config(str(ini)), str(directory / "program"))
    text = re.sub(r"^sqlalchemy.url = .*", f"sqlalchemy.url = {url}", ini.read_text(), flags=re.M)
    locations = "\n    ".join(_locations(directory))
    text = re.sub(r"^path_separator *=.*", "path_separator = newline", text, flags=re.M)
    text = text.replace("[alembic]", f"[alembic]\nversion_locations =\n    {locations}", 1)
    ini.write_text(text)
    return ini


def _rows(directory: Path) -> list[list[str]]:
    rows: list[list[str]] = json.loads((directory / "tree.json").read_text())
    return rows


# -- ours


def anabranch(directory: Path, url: str) -> Action:
    """A fresh install or a run with nothing to do, as ``init-db`` does it."""
    import alembic.command

    import anabranch.executor
    from anabranch import MigrationManager

    assert alembic.command and anabranch.executor
    sys.path.insert(0, str(directory / "site"))
    manager = MigrationManager(
        APPLICATION, metadata=f"{APPLICATION}.models:Base", migrations=f"{APPLICATION}.migrations"
    )
    return lambda: manager.upgrade(url)


def anabranch_check(directory: Path, url: str) -> Action:
    """What an application asks at its start, the second time in one process."""
    from anabranch import MigrationManager

    sys.path.insert(0, str(directory / "site"))
    engine = sa.create_engine(url)
    manager = MigrationManager(
        APPLICATION, metadata=f"{APPLICATION}.models:Base", migrations=f"{APPLICATION}.migrations"
    )
    manager.check_current(engine)
    return lambda: manager.check_current(engine)


# -- the floors


_BOOKKEEPING = {
    "revision": "owner revision down_revision depends_on branch_labels checksum distribution "
    "version applied_at duration run projected",
    "journal": "event at run owner revision distribution version duration actor detail",
    "object": "kind table_schema table_name name owner revision",
}


def _bookkeeping(metadata: sa.MetaData) -> list[sa.Table]:
    return [
        sa.Table(
            f"anabranch_{name}",
            metadata,
            sa.Column("seq", sa.Integer, primary_key=True),
            *(sa.Column(column, sa.String(100)) for column in columns.split()),
        )
        for name, columns in _BOOKKEEPING.items()
    ]


def raw(directory: Path, url: str) -> Action:
    """The driver alone: the DDL, and an UPDATE of one row per revision, in one transaction."""
    rows = _rows(directory)

    def run() -> None:
        if url.startswith("sqlite"):
            connection: Any = sqlite3.connect(sa.make_url(url).database or "", isolation_level=None)
            connection.execute("BEGIN")
            mark = "?"
        else:
            import psycopg

            connection = psycopg.connect(url.replace("postgresql+psycopg", "postgresql"))
            mark = "%s"
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE version (num VARCHAR(32))")
        cursor.execute("INSERT INTO version VALUES ('')")
        for _owner, id_, _down, table, ddl in rows:
            if table:
                cursor.execute(ddl)
            cursor.execute(f"UPDATE version SET num = {mark}", (id_,))
        connection.commit()
        connection.close()

    return run


def core_bare(directory: Path, url: str) -> Action:
    """SQLAlchemy Core: the DDL, and an UPDATE of one row per revision, in one transaction."""
    rows = _rows(directory)
    version = sa.Table("version", sa.MetaData(), sa.Column("num", sa.String(32)))

    def run() -> None:
        with sa.create_engine(url).begin() as connection:
            version.create(connection)
            connection.execute(sa.insert(version).values(num=""))
            for _owner, id_, _down, table, _ddl in rows:
                if table:
                    _table(table).create(connection, checkfirst=False)
                connection.execute(sa.update(version).values(num=id_))

    return run


def core(directory: Path, url: str) -> Action:
    """SQLAlchemy Core: the DDL and the rows that anabranch writes; transactions as it has them."""

    def connected(connection: sa.Connection) -> Maker:
        def make(_id: str, table: str) -> None:
            if table:
                _table(table).create(connection, checkfirst=False)

        return make

    return _recorded(directory, url, connected)


def scripts(directory: Path, url: str) -> Action:
    """As ``core``, but running the revision files: their text is read, as a checksum needs it,
    the module imported and its upgrade() called with Alembic's operations.
    """
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    files = {path.stem: str(path) for path in directory.glob("site/*/migrations/versions/*.py")}

    def connected(connection: sa.Connection) -> Maker:
        context = MigrationContext.configure(connection)

        def make(id_: str, _table: str) -> None:
            loader = SourceFileLoader(id_, files[id_])
            hashlib.sha256(loader.get_data(loader.path)).hexdigest()
            module = ModuleType(id_)
            loader.exec_module(module)
            with Operations.context(context):
                module.upgrade()

        return make

    return _recorded(directory, url, connected)


def _recorded(directory: Path, url: str, connected: Callable[[sa.Connection], Maker]) -> Action:
    """Make each revision with what *connected* returns, and write the rows that anabranch does."""
    rows = _rows(directory)
    metadata = sa.MetaData()
    revision, journal, item = _bookkeeping(metadata)

    def record(
        connection: sa.Connection, owner: str, id_: str, down: str | None, table: str
    ) -> None:
        about = {"owner": owner, "revision": id_, "distribution": "mill", "version": "1.0"}
        connection.execute(
            sa.insert(revision),
            {
                **about,
                "down_revision": down or "",
                "depends_on": "",
                "branch_labels": "",
                "checksum": "v1:" + "0" * 64,
                "applied_at": "2024-01-01T00:00:00.000Z",
                "duration": "0.0",
                "run": "0" * 12,
                "projected": "0",
            },
        )
        connection.execute(
            sa.insert(journal),
            {
                **about,
                "event": "applied",
                "at": "2024-01-01T00:00:00.000Z",
                "run": "0" * 12,
                "duration": "0.0",
                "actor": "me@here",
                "detail": "a change",
            },
        )
        if table:
            connection.execute(
                sa.insert(item),
                {
                    "kind": "table",
                    "table_schema": "",
                    "table_name": table,
                    "name": table,
                    "owner": owner,
                    "revision": id_,
                },
            )

    def run() -> None:
        with sa.create_engine(url).connect() as connection:
            metadata.create_all(connection)
            connection.commit()
            make = connected(connection)
            for owner, id_, down, table, _ddl in rows:
                make(id_, table)
                record(connection, owner, id_, down, table)
                if connection.dialect.name != "sqlite":
                    connection.commit()
            connection.commit()

    return run


def _table(name: str) -> sa.Table:
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


# -- the rivals


def _locations(directory: Path) -> list[str]:
    return sorted(map(str, (directory / "site").glob("*/migrations/versions")))


def _alembic(directory: Path, url: str, **options: Any) -> Action:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(directory / "alembic"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(_locations(directory)))
    config.attributes |= {"url": url, "options": options}
    return lambda: command.upgrade(config, "heads")


def alembic(directory: Path, url: str) -> Action:
    """Stock Alembic, ``upgrade heads`` as its own template sets it up."""
    return _alembic(directory, url)


def alembic_per_migration(directory: Path, url: str) -> Action:
    """Stock Alembic with a transaction per revision."""
    return _alembic(directory, url, transaction_per_migration=True)


def quetz(directory: Path, url: str) -> Action:
    """Quetz's recipe: version locations from entry points, the core's last, models loaded."""
    sys.path.insert(0, str(directory / "site"))

    def run() -> None:
        from alembic import command
        from alembic.config import Config

        for entry_point in importlib.metadata.entry_points(group=f"{APPLICATION}.models"):
            entry_point.load()
        models = importlib.import_module(f"{APPLICATION}.models")
        packages = [
            entry_point.value
            for entry_point in importlib.metadata.entry_points(group=f"{APPLICATION}.migrations")
        ]
        locations = [f"{package}:versions" for package in packages]
        config = Config()
        config.set_main_option("script_location", str(directory / "alembic"))
        config.set_main_option("path_separator", "space")
        config.set_main_option(
            "version_locations", " ".join([*locations, f"{APPLICATION}.migrations:versions"])
        )
        options = {"target_metadata": models.Base.metadata, "render_as_batch": True}
        config.attributes |= {"url": url, "options": options}
        command.upgrade(config, "heads")

    return run


def flask_alembic(directory: Path, url: str) -> Action:
    """Flask-Alembic, as Invenio uses it: one location per package."""
    from flask import Flask
    from flask_alembic import Alembic

    logging.getLogger("alembic").setLevel(logging.WARNING)
    app = Flask("bench", root_path=str(directory))
    app.config["ALEMBIC"] = {
        "script_location": str(directory / "flask"),
        "version_locations": _locations(directory),
    }
    extension = Alembic(app, metadatas=sa.MetaData(), engines=sa.create_engine(url))

    def run() -> None:
        with app.app_context():
            extension.upgrade()

    return run


def django(directory: Path, url: str) -> Action:
    """Django's ``migrate`` with as many apps and migrations."""
    from django import setup
    from django.conf import settings
    from django.core.management import call_command

    sys.path.insert(0, str(directory / "django"))
    found = sa.make_url(url)
    if found.get_backend_name() == "sqlite":
        database: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": found.database}
    else:
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": found.database,
            "USER": found.username,
            "HOST": found.query.get("host", found.host),
        }
    apps = sorted(path.name for path in (directory / "django").iterdir() if path.is_dir())
    settings.configure(INSTALLED_APPS=apps, DATABASES={"default": database}, USE_TZ=True)
    setup()
    return lambda: call_command("migrate", verbosity=0)


def yoyo(directory: Path, url: str) -> Action:
    """yoyo-migrations, ``apply`` over all folders."""
    from yoyo import get_backend, read_migrations

    folders = sorted(map(str, (directory / "yoyo").iterdir()))

    def run() -> None:
        backend = get_backend(url)
        with backend.lock():
            backend.apply_migrations(backend.to_apply(read_migrations(*folders)))

    return run
