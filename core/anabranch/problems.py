"""A fault found before anything ran, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: a stable code, whose it is, what is wrong, and the next move.

    An ``error`` stops a run before the database is touched; a ``warning`` is only said.
    """

    code: str
    owner: str
    text: str
    remedy: str = ""
    path: str = ""
    level: Literal["error", "warning"] = "error"
