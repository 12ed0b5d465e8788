"""Alembic's side of a run: ``op`` and ``context`` as revision scripts know them.

They are proxies with one process-wide target each, so one run at a time holds them; a script or a
hook that migrates another database has them for that while.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import sqlalchemy as sa
from alembic import op
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from anabranch.discovery import find_module

_PROXIES = threading.RLock()


@contextmanager
def _proxies() -> Generator[None, None, None]:
    """Hold Alembic's proxies, and give them back to whoever had them in this thread."""
    with _PROXIES:
        try:
            outer = op.get_context()
        except (NameError, AttributeError):  # nobody had, or has no more
            outer = None
        try:
            yield
        finally:
            if outer is not None:
                if outer.environment_context is not None:
                    outer.environment_context.__enter__()
                Operations.context(outer).__enter__()


@contextmanager
def _operations(context: MigrationContext) -> Generator[None, None, None]:
    """Let ``op`` work on *context* while the block runs, and no longer, even if it fails.

    Alembic's own leaves it there then.
    """
    manager = Operations.context(context)
    manager.__enter__()
    try:
        yield
    finally:
        with suppress(KeyError):  # a script took it away itself
            manager.__exit__(None, None, None)


@contextmanager
def script_environment(
    connection: sa.Connection, *, version_table: str, schema: str | None
) -> Generator[MigrationContext, None, None]:
    """Let revision scripts use ``op`` and ``context`` on *connection* while the block runs.

    The context begins no transaction by itself; its ``begin_transaction()`` does, and DDL is part
    of it. ``autocommit_block()`` works inside that.
    """
    url = connection.engine.url.render_as_string(hide_password=False)
    with _proxies(), _environment(url) as environment:
        environment.config.attributes["connection"] = connection
        environment.configure(
            connection=connection,
            transactional_ddl=True,
            version_table=version_table,
            version_table_schema=schema,
        )
        context = environment.get_context()
        with _operations(context):
            yield context


@contextmanager
def offline_environment(
    dialect: str, output: TextIO, *, version_table: str, schema: str | None
) -> Generator[MigrationContext, None, None]:
    """Let revision scripts write SQL for *dialect* to *output* while the block runs."""
    with _proxies(), _environment(f"{dialect}://", as_sql=True) as environment:
        environment.configure(
            dialect_name=dialect,
            dialect_opts={"paramstyle": "named"},
            literal_binds=True,
            output_buffer=output,
            transactional_ddl=True,
            version_table=version_table,
            version_table_schema=schema,
        )
        context = environment.get_context()
        with _operations(context):
            yield context


def _environment(url: str, **options: Any) -> EnvironmentContext:
    folder = str(find_module("anabranch_migrations"))
    config = Config()
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return EnvironmentContext(config, ScriptDirectory(folder), **options)


def use_metadata(context: MigrationContext, metadata: sa.MetaData) -> None:
    """Let operations name constraints by the naming convention of *metadata*."""
    context.opts["target_metadata"] = metadata
