"""What is not an owner's while that owner's things are taken away: it must stay as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from anabranch.objects import OwnedObject, TableName
from anabranch.structure import (
    CONSTRAINTS,
    PartKind,
    Structure,
    all_tables,
    differences,
    read_structures,
    shown,
)

_Owned = dict[tuple[TableName, str, str], str]


class Bystanders:
    """The tables as they are when this is made, and whose they are by the record.

    :param objects: the record of owned objects.
    :param ignored: the names of the bookkeeping tables.
    """

    def __init__(
        self, connection: sa.Connection, objects: Iterable[OwnedObject], ignored: Collection[str]
    ) -> None:
        self._connection = connection
        self._owned: _Owned = {(item.table, item.kind, item.name): item.owner for item in objects}
        schemas = {table.schema for table, _, _ in self._owned}
        self._before = read_structures(connection, all_tables(connection, schemas, ignored))
        self._unread: set[TableName] = set()

    def harm(
        self, owners: Collection[str], tables: Collection[TableName] | None = None
    ) -> tuple[str, ...]:
        """Say in words what else changed than what is one of *owners*'.

        A table that nobody is recorded to own counts as theirs: a database taken over from another
        tool has no record. What is added harms nobody.

        :param tables: where to look; None for everywhere.
        """
        lines: list[str] = []
        looked_at = self._before.keys() if tables is None else self._before.keys() & set(tables)
        kept = {
            table: owner
            for table in sorted(looked_at)
            if (owner := self._owner(table)) is not None and owner not in owners
        }
        after = read_structures(self._connection, kept)
        for table, owner in kept.items():
            found = after.get(table)
            if found is None:
                lines.append(f"the table {shown(table)} of {owner} is gone")
                continue
            expected = self._without(table, owners, self._before[table], found)
            extra = {part: found[part] for part in found.keys() - expected.keys()}
            lines += [
                f"{line} ({owner}'s table)"
                for line in differences(table, {**expected, **extra}, found)
            ]
        return tuple(lines)

    @property
    def tables(self) -> Collection[TableName]:
        """The tables that there were."""
        return self._before.keys()

    def keeper(self, owner: str, table: TableName, name: str | None = None) -> str | None:
        """Return whose *table* is, or what is called *name* on it, if it is not *owner*'s.

        As :meth:`harm` sees it: what is on a table of *owner*, or of nobody, counts as its own.
        """
        holder = self._owner(table)
        if holder in (None, owner) or name is None:
            return None if holder == owner else holder
        kinds: list[PartKind] = [kind for kind, part in self._before[table] if part == name]
        is_own = any(self._is_of({owner}, table, kind, name) for kind in kinds)
        return holder if kinds and not is_own else None

    def accept(self, tables: Collection[TableName]) -> None:
        """Take *tables* as they are now for what must stay; :meth:`settle` reads them."""
        for table in tables:
            self._before.pop(table, None)
        self._unread.update(tables)

    def settle(self, owner: str) -> None:
        """Read what was accepted, before something of *owner*'s runs: all but its own tables."""
        unread = {table for table in self._unread if self._owner(table) not in (None, owner)}
        if unread:
            self._unread -= unread
            self._before |= read_structures(self._connection, unread)

    def _owner(self, table: TableName) -> str | None:
        return self._owned.get((table, "table", table.name))

    def _without(
        self, table: TableName, owners: Collection[str], before: Structure, found: Structure
    ) -> Structure:
        """Return *before* without the parts of *owners* that are gone or changed."""

        def is_theirs(kind: PartKind, name: str) -> bool:
            return self._is_of(owners, table, kind, name)

        columns = {name for kind, name in before if kind == "column" and is_theirs(kind, name)}
        return {
            (kind, name): part
            for (kind, name), part in before.items()
            if found.get((kind, name)) == part
            or not (is_theirs(kind, name) or columns.intersection(part.columns))
        }

    def _is_of(self, owners: Collection[str], table: TableName, kind: PartKind, name: str) -> bool:
        recorded = "constraint" if kind in CONSTRAINTS else kind
        return self._owned.get((table, recorded, name)) in owners
