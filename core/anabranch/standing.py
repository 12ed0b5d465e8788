"""Views and types: what stands beside tables, followed by the statements that make and drop it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

NAME = r'(?:"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[^\s"`\[\].,(;]+)'
"""One name in a statement, quoted or not."""
QUALIFIED = rf"((?:{NAME}\s*\.\s*)?{NAME})"
"""A name with or without its schema."""

Place = tuple[str, str]
"""A schema (empty for the connection's own) and a name."""

_FLAGS = re.IGNORECASE | re.DOTALL
_CREATE = re.compile(
    r"CREATE\s+(OR\s+REPLACE\s+)?(?:ALGORITHM\s*=\s*\w+\s+|DEFINER\s*=\s*\S+\s+|SQL\s+SECURITY\s+\w+\s+)*"
    r"(?:MATERIALIZED\s+|RECURSIVE\s+)?(VIEW|TYPE|DOMAIN)\s+(IF\s+NOT\s+EXISTS\s+)?"
    rf"{QUALIFIED}",
    _FLAGS,
)
_DROP = re.compile(
    rf"DROP\s+(?:MATERIALIZED\s+)?(VIEW|TYPE|DOMAIN)\s+(?:IF\s+EXISTS\s+)?({QUALIFIED}(?:\s*,\s*{QUALIFIED})*)",
    _FLAGS,
)


class Standing(NamedTuple):
    """A view or a type."""

    kind: Literal["view", "type"]
    name: Place


class StandingTracker:
    """Notes the views and types that the running revision makes and drops.

    One that it drops and makes again stays whose it was. What a statement hides, as a block of
    procedural code does, is not seen.
    """

    def __init__(self) -> None:
        self._made: dict[Standing, None] = {}
        self._gone: dict[Standing, None] = {}

    def note(
        self,
        statement: str,
        read: Callable[[str], Place],
        is_there: Callable[[Place], bool],
    ) -> None:
        """Take note of *statement*, which is about to run.

        :param read: tells what a name in a statement means.
        :param is_there: tells whether there is a view of that name.
        """
        if match := _CREATE.match(statement):
            found = Standing("view" if match[2].upper() == "VIEW" else "type", read(match[4]))
            may_be_there = match[1] or match[3]
            if not (may_be_there and is_there(found.name)):
                self._made[found] = None
        elif match := _DROP.match(statement):
            kind: Literal["view", "type"] = "view" if match[1].upper() == "VIEW" else "type"
            for text in re.findall(QUALIFIED, match[2]):
                found = Standing(kind, read(text))
                if found in self._made:
                    del self._made[found]
                else:
                    self._gone[found] = None

    def finish(self) -> tuple[list[Standing], list[Standing]]:
        """Return what came and what went since the last call."""
        made, gone = self._made, self._gone
        self._made, self._gone = {}, {}
        return [each for each in made if each not in gone], [
            each for each in gone if each not in made
        ]
