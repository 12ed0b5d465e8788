"""Connections that are lent to us, and the state they are in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

_ABORTED = 3  # libpq's PQTRANS_INERROR


def is_usable(connection: sa.Connection) -> bool:
    """Tell whether *connection* can still be asked: it was not lost, nor closed by a script."""
    return not (connection.invalidated or connection.closed)


@contextmanager
def kept_usable(connection: sa.Connection) -> Generator[None, None, None]:
    """Find out whether the code of a plugin left *connection* so that others can go on with it.

    :raises RuntimeError: if it did not.
    """
    yield
    raw: Any = connection.connection.dbapi_connection if is_usable(connection) else None
    if raw is None:
        raise RuntimeError("it closed the connection")
    if _is_closed(raw):
        connection.invalidate()  # which nobody must roll back now
        raise RuntimeError("it closed the connection")
    # PostgreSQL's drivers know it without asking.
    if getattr(getattr(raw, "info", None), "transaction_status", None) == _ABORTED:
        raise RuntimeError("it went on after an error, which had ended the transaction")


def _is_closed(raw: Any) -> bool:
    """Tell whether a driver's connection was closed past SQLAlchemy, as far as it can be asked."""
    if not isinstance(raw, sqlite3.Connection):
        return bool(getattr(raw, "closed", False)) or not getattr(raw, "open", True)
    try:
        raw.in_transaction  # noqa: B018 - raises where it is closed
    except sqlite3.ProgrammingError:
        return True
    return False


def lender(engine: sa.Engine) -> Callable[[], Any]:
    """Return what opens connections of *engine* that its pool never sees again."""

    def lend() -> Any:
        borrowed = engine.raw_connection()
        connection = borrowed.dbapi_connection
        borrowed.detach()
        return connection

    return lend


@contextmanager
def transactions(connection: sa.Connection) -> Generator[None, None, None]:
    """Take a connection out of autocommit mode, in which a failed revision could not roll back."""
    autocommit = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    if not autocommit and not _commits_by_itself(connection):
        yield
        return
    connection.execution_options(isolation_level=connection.default_isolation_level)
    try:
        yield
    finally:
        if is_usable(connection):
            connection.rollback()
            connection.execution_options(isolation_level="AUTOCOMMIT")


def _commits_by_itself(connection: sa.Connection) -> bool:
    """Tell whether the driver's connection was opened in autocommit mode."""
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "postgresql":
        return bool(raw.autocommit)
    # MySQL's drivers disagree on how to ask them.
    asked = bool(connection.scalar(sa.text("SELECT @@SESSION.autocommit")))
    connection.rollback()
    return asked
