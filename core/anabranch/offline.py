"""A connection that is not there: takes statements and writes them down as a script.

What would have to be answered cannot be: whoever asks is noted, and gets no answer.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.sql import visitors

_ASKS = re.compile(
    r"\s*(?:SELECT|VALUES|SHOW|EXPLAIN|PRAGMA\s+\w+\s*(?:\(|;|$)|TABLE)\b|.*\bRETURNING\b",
    re.I | re.S,
)
# What the records call the time of an event: a script's is when it is applied, not when written.
_TIMES = ("at", "applied_at")
_NOW = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
    "postgresql": "to_char(clock_timestamp() AT TIME ZONE 'UTC', "
    """'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')""",
    "mysql": "concat(left(date_format(utc_timestamp(3), '%Y-%m-%dT%H:%i:%s.%f'), 23), 'Z')",
}


class NeedsDatabaseError(Exception):
    """A script asked the database something, and there is none to answer."""


class Output(io.TextIOBase):
    """What Alembic writes a script to: hands each statement on, without its terminator."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take

    def write(self, text: str) -> int:
        if statement := text.strip().removesuffix(";").rstrip():
            self._take(statement)
        return len(text)


class OfflineConnection(MockConnection):
    """Stands where a connection would, for scripts and for our records alike.

    :ivar asked: what was asked of it that only a database can answer.
    """

    def __init__(self, dialect: sa.Dialect, write: Callable[[Any], None]) -> None:
        super().__init__(dialect, self._take)
        self.asked: list[str] = []
        self._write = write

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            self.asked.append(f"connection.{name}")
        raise AttributeError(f"there is no database to ask for {name!r}")

    def exec_driver_sql(self, statement: str, parameters: Any = None) -> Any:
        if parameters:
            self._refuse(statement)
        return self._take(sa.text(statement.replace(":", "\\:")))

    def in_transaction(self) -> bool:
        return False

    @contextmanager
    def begin(self) -> Generator[None, None, None]:
        """Begin nothing: the script's transactions are not a revision's affair."""
        yield

    def _take(self, statement: Any, parameters: Any = None) -> Any:
        is_text = isinstance(statement, (str, sa.TextClause))
        if getattr(statement, "is_select", False) or (is_text and _ASKS.match(str(statement))):
            self._refuse(str(statement))
        if getattr(statement, "_returning", ()):
            self._refuse(str(statement))
        statement = sa.text(statement) if isinstance(statement, str) else statement
        rows: Sequence[Mapping[str, Any]]
        rows = parameters if isinstance(parameters, (list, tuple)) else [parameters or {}]
        for row in rows:
            self._write(self._filled(statement, row) if row else statement)

    def _filled(self, statement: Any, row: Mapping[str, Any]) -> Any:
        """Return *statement* with the values of *row* written into it."""
        if isinstance(statement, sa.Insert) and row.keys() <= set(statement.table.columns.keys()):
            times = {name: self._now for name in _TIMES if name in row}
            return statement.values({**row, **times}).inline()

        def fill(parameter: Any) -> None:
            if parameter.key in row:
                parameter.value, parameter.required = row[parameter.key], False
                parameter.callable = None

        return visitors.cloned_traverse(statement, {}, {"bindparam": fill})

    @property
    def _now(self) -> Any:
        return sa.literal_column(_NOW["mysql" if self.name == "mariadb" else self.name])

    def _refuse(self, statement: str) -> None:
        shown = " ".join(statement.split())[:100]
        self.asked.append(shown)
        raise NeedsDatabaseError(f"it reads the database: {shown}")
