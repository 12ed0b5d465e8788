"""What stands beside tables, followed by the statements that make and drop it.

Views and types, triggers, functions, procedures and sequences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from anabranch.objects import Kind, ObjectChanges, OwnedObject, TableName
from anabranch.revision import CORE, RevisionKey

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
    r"(VIEW|TYPE|DOMAIN|TRIGGER|FUNCTION|PROCEDURE|SEQUENCE|AGGREGATE)\s+(IF\s+NOT\s+EXISTS\s+)?"
    rf"{QUALIFIED}",
    _FLAGS,
)
_DROP = re.compile(
    r"DROP\s+(?:MATERIALIZED\s+)?(VIEW|TYPE|DOMAIN|TRIGGER|FUNCTION|PROCEDURE|SEQUENCE)\s+"
    rf"(?:IF\s+EXISTS\s+)?({QUALIFIED}(?:\s*,\s*{QUALIFIED})*)",
    _FLAGS,
)
ROUTINE = re.compile(
    r"(?:CREATE|DROP|ALTER)\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE|ROUTINE|AGGREGATE)\b",
    _FLAGS,
)
"""What PostgreSQL is told of functions and procedures, which may share a name."""
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
    "AGGREGATE": "function",
}


class Standing(NamedTuple):
    """A view, a type or the like.

    :ivar name: what it is called; of a trigger the table that it is on.
    :ivar part: its name without the schema; of PostgreSQL's routines with the arguments' types,
        where those are known.
    """

    kind: Kind
    name: Place
    part: str


class StandingTracker:
    """Notes what stands beside tables that the running revision makes and drops.

    One that it drops and makes again stays whose it was. What a statement hides, as a block of
    procedural code does, is not seen.

    :param recorded: what is recorded; of that it follows the triggers, whose tables get new names.
    """

    def __init__(self, recorded: Iterable[OwnedObject]) -> None:
        self._triggers = {item for item in recorded if item.kind == "trigger"}
        self._made: dict[Standing, None] = {}
        self._gone: dict[Standing, None] = {}
        self._found: dict[Standing, None] = {}

    @property
    def triggers(self) -> frozenset[OwnedObject]:
        """The triggers that are recorded by now."""
        return frozenset(self._triggers)

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

    def compare(
        self,
        statement: str,
        read: Callable[[str], Place],
        before: Collection[Standing],
        now: Collection[Standing],
    ) -> None:
        """Take note of what *statement* did to routines: it has run."""
        made = [each for each in now if each not in before]
        self._made |= dict.fromkeys(made)
        for each in before:
            if each not in now and self._made.pop(each, self) is self:
                self._gone[each] = None
        if not made and (match := _CREATE.match(statement)):
            replaced = [each for each in now if each.name == read(match[4])]
            self._found |= dict.fromkeys(replaced if len(replaced) == 1 else [])

    def rename(self, old: Place, new: Place) -> None:
        """Follow the triggers that the running revision put on a table, which it renames."""
        for each in [each for each in self._made if each[:2] == ("trigger", old)]:
            del self._made[each]
            self._made[each._replace(name=new)] = None

    def __bool__(self) -> bool:
        """Whether :meth:`finish` would return anything."""
        return bool(self._made or self._gone or self._found)

    def finish(self, key: RevisionKey, renamed: Mapping[TableName, TableName]) -> ObjectChanges:
        """Attribute everything since the last call to the revision *key*.

        What is the core's, or a trigger's that follows its table, is recorded as well.

        :param renamed: the new names of tables that *key* renamed, by the old ones.
        """
        made, gone = self._made, self._gone
        if key.owner == CORE:
            made |= self._found  # what the core counts on is not a plugin's any more
        self._made, self._gone, self._found = {}, {}, {}
        came = [_owned(each, key) for each in made if each not in gone]
        went = [_owned(each, key) for each in gone if each not in made]
        dropped = {(item.kind, item.table, item.name) for item in went}
        moved = {
            item: replace(item, table=renamed[item.table])
            for item in self._triggers
            if item.table in renamed
        }
        stay = [
            now
            for was, now in moved.items()
            if dropped.isdisjoint((item.kind, item.table, item.name) for item in (was, now))
        ]
        # What another tool dropped unseen is recorded still: the new one takes its place.
        removed, added = (*came, *went, *moved), (*came, *stay)
        places = {(item.kind, item.table, item.name) for item in removed}
        self._triggers = {
            item for item in self._triggers if (item.kind, item.table, item.name) not in places
        }
        self._triggers |= {item for item in added if item.kind == "trigger"}
        return ObjectChanges(removed, added)


def _owned(each: Standing, key: RevisionKey) -> OwnedObject:
    return OwnedObject(each.kind, TableName(*each.name), each.part, key.owner, key.id)
