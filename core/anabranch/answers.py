"""What a database answered to a statement, kept as text and given again.

A revision that goes on after a crash is told the same as before it: what it decided then, it
decides again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

_LONGEST = 1_000_000  # characters; more is asked again
_MICROSECOND = timedelta(microseconds=1)

_WRITERS: dict[type, tuple[str, Callable[[Any], str]]] = {
    bytes: ("bytes", lambda value: base64.b64encode(value).decode()),
    Decimal: ("decimal", str),
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: ("timedelta", lambda value: str(value // _MICROSECOND)),
}
_READERS: dict[str, Callable[[str], Any]] = {
    "bytes": base64.b64decode,
    "decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda text: timedelta(microseconds=int(text)),
}


@dataclass
class Answer:
    """A cursor of the Python database API that has all its rows, or the error in their place.

    :ivar error: the class and the arguments of the driver's error.
    """

    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None
    rows: Sequence[tuple[Any, ...]] = ()
    error: tuple[str, Sequence[Any]] | None = None
    arraysize: int = 1
    _fetched: int = 0

    def fetchone(self) -> Any:
        found = self.fetchmany(1)
        return found[0] if found else None

    def fetchmany(self, size: int | None = None) -> Sequence[tuple[Any, ...]]:
        start = self._fetched
        self._fetched += self.arraysize if size is None else size
        return self.rows[start : self._fetched]

    def fetchall(self) -> Sequence[tuple[Any, ...]]:
        return self.fetchmany(len(self.rows))

    def close(self) -> None:
        """Do nothing: the driver's own cursor has been closed."""

    def text(self) -> str:
        """Return this as text; empty if it is too long, or holds what text cannot hold."""
        try:
            text = json.dumps(
                {
                    "description": self.description,
                    "rowcount": self.rowcount,
                    "lastrowid": self.lastrowid,
                    "rows": [[_written(value) for value in row] for row in self.rows],
                    "error": self.error,
                }
            )
        except (KeyError, TypeError, ValueError):
            return ""
        return text if len(text) <= _LONGEST else ""


def answer_in(text: str) -> Answer:
    """Read what :meth:`Answer.text` wrote."""
    content = json.loads(text)
    description, error = content["description"], content["error"]
    return Answer(
        description=description and [tuple(column) for column in description],
        rowcount=content["rowcount"],
        lastrowid=content["lastrowid"],
        rows=[tuple(_read(value) for value in row) for row in content["rows"]],
        error=error and (error[0], error[1]),
    )


def _written(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    tag, write = _WRITERS[type(value)]
    return [tag, write(value)]


def _read(value: Any) -> Any:
    return _READERS[value[0]](value[1]) if isinstance(value, list) else value
