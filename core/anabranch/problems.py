"""A fault found before anything ran, as data."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a closing sentence that offers the known word closest to *word*, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
