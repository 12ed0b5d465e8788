"""Who made which object, followed without a database: from the statements of a script alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from anabranch.objects import Kind, OwnedObject, Shape, TableName, unnamed
from anabranch.standing import Place, Standing
from anabranch.statements import Token, split, tokens, words
from anabranch.tracking import ObjectTracker

_NO_COLUMN = {
    "CONSTRAINT", "INDEX", "KEY", "PRIMARY", "FOREIGN", "CHECK", "UNIQUE", "FULLTEXT", "SPATIAL",
    "PARTITION",
}  # fmt: skip


class ScriptTracker(ObjectTracker):
    """An :class:`~anabranch.objects.ObjectTracker` that is fed statements and asks nobody.

    Of a table it knows what is recorded and what statements add or take: what a table came with
    is recorded nowhere.

    :param tables: the tables there are before the first statement.
    :ivar unread: statements whose effect could not be told.
    """

    def __init__(
        self,
        connection: Any,
        objects: Iterable[OwnedObject],
        ignored: Collection[str],
        tables: Collection[TableName],
    ) -> None:
        objects = tuple(objects)
        self._there = frozenset(tables)
        self._parts: dict[TableName, set[tuple[Kind, str]]] = defaultdict(set)
        for item in objects:
            if item.kind != "table":
                self._parts[item.table].add((item.kind, item.name))
        self.unread: list[str] = []
        super().__init__(connection, objects, ignored)

    def feed(self, statement: str) -> None:
        """Note what *statement* does."""
        for found in _statements(tokens(statement)):
            text = statement[found[0].start : found[-1].end]
            self._before(None, None, text)
            self._follow(found)
            self._after(None, None, text)
            # A semicolon in a string is no second statement.
            if self._seen.opaque and found[0].word not in ("INSERT", "UPDATE", "DELETE"):
                self.unread.append(text)
            self._seen.opaque = False

    def _look_up_tables(self) -> set[TableName]:
        return {table for table in self._there if not self._is_ignored(table)}

    def _is_there(self, found: Standing) -> bool:
        del found
        return False

    def _routines(self) -> None:
        """Return nothing: nobody knows their types."""

    def _table_of(self, trigger: Place) -> str:
        del trigger
        return ""

    def _shape(self, table: TableName) -> Shape:
        parts = self._parts[table]
        kinds: tuple[Kind, ...] = ("column", "index", "constraint")
        return {kind: frozenset(name for of, name in parts if of == kind) for kind in kinds}

    @cached_property
    def _keeps_case(self) -> bool:
        return self._connection.dialect.name != "sqlite"

    def _follow(self, found: Sequence[Token]) -> None:
        """Bring the parts of the tables that a statement speaks of up to date."""
        if words(found, "DROP", "TABLE"):
            for part in split(_without(found[2:], "IF", "EXISTS")):
                self._parts.pop(self._table(part)[0], None)
        elif words(found, "ALTER", "TABLE"):
            table, rest = self._table(_without(_without(found[2:], "IF", "EXISTS"), "ONLY"))
            for part in split(rest):
                self._alter(table, part)
        elif words(found, "DROP", "INDEX"):
            rest = _without(_without(found[2:], "CONCURRENTLY"), "IF", "EXISTS")
            name = self._table(rest)[0].name
            for parts in self._parts.values():
                self._drop_part(parts, name)
        elif words(found, "ALTER", "INDEX"):
            old, rest = self._table(_without(found[2:], "IF", "EXISTS"))
            if words(rest, "RENAME", "TO"):
                new = self._table(rest[2:])[0].name
                for parts in self._parts.values():
                    if ("index", old.name) in parts:
                        parts.discard(("index", old.name))
                        parts.add(("index", new))
        elif words(found, "CREATE") and (rest := _without(found[1:], "UNIQUE")):
            rest = _without(_without(rest[1:], "CONCURRENTLY"), "IF", "NOT", "EXISTS")
            if words(found[1:], "UNIQUE", "INDEX") or words(found[1:], "INDEX"):
                self._index(rest, unique=found[1].word == "UNIQUE")

    def _index(self, rest: Sequence[Token], *, unique: bool) -> None:
        place = next((place for place, token in enumerate(rest) if token.word == "ON"), None)
        if place:  # PostgreSQL finds a name where there is none
            table, _ = self._table(_without(rest[place + 1 :], "ONLY"))
            self._add_part(table, "index", self._table(rest[:place])[0].name, unique=unique)

    def _alter(self, table: TableName, part: Sequence[Token]) -> None:
        parts, verb, rest = self._parts[table], part[0].word, part[1:]
        if verb == "RENAME":
            rest = _without(rest, "COLUMN")
            if words(rest, "TO"):
                self._parts[TableName(table.schema, self._table(rest[1:])[0].name)] |= parts
                del self._parts[table]
            elif len(rest) > 2 and words(rest[1:], "TO"):
                parts.discard(("column", self._unquoted(rest[0].text)))
                parts.add(("column", self._unquoted(rest[2].text)))
        elif verb == "ADD" and rest and rest[0].word in _NO_COLUMN:
            self._constrain(table, rest)
        elif verb == "DROP" and rest and rest[0].word in _NO_COLUMN:
            if named := _without(_without(rest[1:], "KEY"), "IF", "EXISTS"):
                self._drop_part(parts, self._unquoted(named[0].text))
        elif verb in ("ADD", "DROP"):
            rest = _without(_without(rest, "COLUMN"), "IF", "EXISTS")
            column = self._unquoted(_without(rest, "IF", "NOT", "EXISTS")[0].text)
            (parts.add if verb == "ADD" else parts.discard)(("column", column))
        elif verb == "CHANGE" and len(_without(rest, "COLUMN")) > 1:
            old, new = _without(rest, "COLUMN")[:2]
            parts.discard(("column", self._unquoted(old.text)))
            parts.add(("column", self._unquoted(new.text)))

    def _constrain(self, table: TableName, rest: Sequence[Token]) -> None:
        name = self._unquoted(rest[1].text) if rest[0].word == "CONSTRAINT" else ""
        rest = rest[2:] if name else rest
        if rest and rest[0].word in ("UNIQUE", "FOREIGN", "CHECK"):
            name = name or self._unnamed(table, rest)
            self._add_part(table, "constraint", name, unique=rest[0].word == "UNIQUE")

    def _unnamed(self, table: TableName, rest: Sequence[Token]) -> str:
        """Return what a constraint without a name is called by the database, or recorded as."""
        end = next(place for place, token in enumerate(rest) if token.text == ")")
        columns = [
            self._unquoted(token.text)
            for token in rest[:end]
            if token.depth > rest[0].depth and token.is_name
        ]
        is_unique = rest[0].word == "UNIQUE"
        if self._connection.dialect.name == "postgresql":
            return "_".join([table.name, *columns, "key" if is_unique else "fkey"])
        return unnamed("uq" if is_unique else "fk", columns)

    @staticmethod
    def _drop_part(parts: set[tuple[Kind, str]], name: str) -> None:
        parts.discard(("index", name))
        parts.discard(("constraint", name))

    def _add_part(self, table: TableName, kind: Kind, name: str, *, unique: bool) -> None:
        self._parts[table].add((kind, name))
        if unique and self._connection.dialect.name in ("mysql", "mariadb"):
            # There a unique index and a unique constraint are one, and reflected as both.
            self._parts[table] |= {("index", name), ("constraint", name)}

    def _table(self, found: Sequence[Token]) -> tuple[TableName, Sequence[Token]]:
        """Read the name of a table, and return what follows it."""
        size = 3 if len(found) > 2 and found[1].text == "." else 1
        name = self._name("".join(token.text for token in found[:size]))
        return name, found[size:]


def _statements(found: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Cut what was sent in one piece at its semicolons."""
    start = 0
    for place, token in enumerate(found):
        if token.text == ";":
            if place > start:
                yield found[start:place]
            start = place + 1
    if start < len(found):
        yield found[start:]


def _without(found: Sequence[Token], *optional: str) -> Sequence[Token]:
    return found[len(optional) :] if words(found, *optional) else found
