"""What stands beside tables, followed by the statements that make and drop it.

Views and types, triggers, functions, procedures and sequences.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from anabranch.objects import Kind

NAME = r'(?:"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[^\s"`\[\].,(;]+)'
"""One name in a statement, quoted or not."""
QUALIFIED = rf"((?:{NAME}\s*\.\s*)?{NAME})"
"""A name with or without its schema."""

Place = tuple[str, str]
"""A schema (empty for the connection's own) and a name."""

_FLAGS = re.IGNORECASE | re.DOTALL
_CREATE = re.compile(
    r"CREATE\s+(OR\s+REPLACE\s+)?(?:ALGORITHM\s*=\s*\w+\s+|DEFINER\s*=\s*\S+\s+|SQL\s+SECURITY\s+\w+\s+)*"
    r"(?:MATERIALIZED\s+|RECURSIVE\s+|CONSTRAINT\s+|AGGREGATE\s+)?"
    r"(VIEW|TYPE|DOMAIN|TRIGGER|FUNCTION|PROCEDURE|SEQUENCE)\s+(IF\s+NOT\s+EXISTS\s+)?"
    rf"{QUALIFIED}",
    _FLAGS,
)
_DROP = re.compile(
    r"DROP\s+(?:MATERIALIZED\s+)?(VIEW|TYPE|DOMAIN|TRIGGER|FUNCTION|PROCEDURE|SEQUENCE)\s+"
    rf"(?:IF\s+EXISTS\s+)?({QUALIFIED}(?:\s*,\s*{QUALIFIED})*)",
    _FLAGS,
)
_ON = re.compile(rf"\bON\s+{QUALIFIED}", _FLAGS)
_ARGUMENTS = re.compile(r"\([^()]*\)")
_KINDS: dict[str, Kind] = {
    "VIEW": "view",
    "TYPE": "type",
    "DOMAIN": "type",
    "TRIGGER": "trigger",
    "FUNCTION": "function",
    "PROCEDURE": "procedure",
    "SEQUENCE": "sequence",
}


class Standing(NamedTuple):
    """A view, a type or the like.

    :ivar name: what it is called; of a trigger the table that it is on.
    :ivar part: its name without the schema.
    """

    kind: Kind
    name: Place
    part: str


class StandingTracker:
    """Notes what stands beside tables that the running revision makes and drops.

    One that it drops and makes again stays whose it was. What a statement hides, as a block of
    procedural code does, is not seen.
    """

    def __init__(self) -> None:
        self._made: dict[Standing, None] = {}
        self._gone: dict[Standing, None] = {}
        self._found: dict[Standing, None] = {}

    def note(
        self,
        statement: str,
        read: Callable[[str], Place],
        is_there: Callable[[Standing], bool],
        table_of: Callable[[Place], str],
    ) -> None:
        """Take note of *statement*, which is about to run.

        :param read: tells what a name in a statement means.
        :param is_there: tells whether there is one already.
        :param table_of: tells which table a trigger is on; nothing where there is none.
        """

        def standing(kind: Kind, text: str, rest: str) -> Standing:
            name = read(text)
            place = name
            if kind == "trigger":
                on = _ON.search(rest)
                place = read(on[1]) if on else (name[0], table_of(name))
            return Standing(kind, place, name[1])

        if match := _CREATE.match(statement):
            found = standing(_KINDS[match[2].upper()], match[4], statement[match.end() :])
            may_be_there = match[1] or match[3]
            if may_be_there and is_there(found):
                self._found[found] = None
            else:
                self._made[found] = None
        elif match := _DROP.match(_ARGUMENTS.sub("", statement)):
            for text in re.findall(QUALIFIED, match[2]):
                found = standing(_KINDS[match[1].upper()], text, match.string[match.end() :])
                if found in self._made:
                    del self._made[found]
                else:
                    self._gone[found] = None

    def __bool__(self) -> bool:
        """Whether :meth:`finish` would return anything."""
        return bool(self._made or self._gone or self._found)

    def finish(self, *, takes: bool) -> tuple[list[Standing], list[Standing]]:
        """Return what came and what went since the last call.

        :param takes: whether that came too which was replaced, or was to be made and was there.
        """
        made, gone = self._made, self._gone
        if takes:
            made |= self._found
        self._made, self._gone, self._found = {}, {}, {}
        return [each for each in made if each not in gone], [
            each for each in gone if each not in made
        ]
