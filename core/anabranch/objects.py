"""Who created which table, and which column or index on a table, and by which revision.

Seen by watching the statements of a revision, whatever sent them: operations, raw SQL, a batch
rebuild with its renamed copy. Statements that hide what they do are followed by a look at the
database's tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import event

from anabranch.revision import RevisionKey

Kind = Literal["table", "column", "index"]

_NAME = r'(?:"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[^\s"`\[\].,(;]+)'
_TABLE = rf"((?:{_NAME}\s*\.\s*)?{_NAME})"
_FLAGS = re.IGNORECASE | re.DOTALL
_CREATE = re.compile(
    rf"\s*CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_TABLE}", _FLAGS
)
_DROP = re.compile(rf"\s*DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?({_TABLE}(?:\s*,\s*{_TABLE})*)", _FLAGS)
_ALTER = re.compile(
    rf"\s*ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?{_TABLE}\s+(?:RENAME\s+TO\s+{_TABLE})?",
    _FLAGS,
)
_INDEX = re.compile(
    r"\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"(?:{_TABLE}\s+)?ON\s+(?:ONLY\s+)?{_TABLE}",
    _FLAGS,
)
_PARTS = re.compile(_NAME)
_TEMPORARY = re.compile(r"\s*CREATE\s+(?:(?:GLOBAL|LOCAL)\s+)?TEMP(?:ORARY)?\b", _FLAGS)
# A rolled-back savepoint undoes what was seen; the others hide statements inside themselves.
_OPAQUE = re.compile(
    r"\s*(?:DO|CALL|EXECUTE|ROLLBACK)\b|\s*SELECT\b.*\bINTO\b|.*\bSET\s+SCHEMA\b|.*;\s*\S", _FLAGS
)
_DDL = re.compile(r"\s*(?:CREATE|DROP|ALTER)\b", _FLAGS)


class TableName(NamedTuple):
    """A table by schema (empty for the connection's own) and name."""

    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class OwnedObject:
    """A table, or a column or index that a later revision put on a table.

    The columns a table is created with are not listed: they came with the table.
    """

    kind: Kind
    table: TableName
    name: str
    owner: str
    revision: str

    @property
    def key(self) -> RevisionKey:
        return RevisionKey(self.owner, self.revision)


@dataclass(frozen=True, slots=True)
class ObjectChanges:
    """What one revision did to the record of owned objects."""

    removed: tuple[OwnedObject, ...] = ()
    added: tuple[OwnedObject, ...] = ()


@dataclass
class _Seen:
    """What the statements of the running revision did so far."""

    added: set[TableName] = field(default_factory=set)
    removed: set[TableName] = field(default_factory=set)
    renamed_from: dict[TableName, TableName] = field(default_factory=dict)
    before: dict[TableName, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    opaque: bool = False


class ObjectTracker:
    """Watches one connection; knows the tables there are and who owns them.

    :param objects: what is recorded so far.
    :param ignored: names of tables that are nobody's: the bookkeeping.
    """

    def __init__(
        self, connection: sa.Connection, objects: Iterable[OwnedObject], ignored: Iterable[str]
    ) -> None:
        self._connection = connection
        self._ignored = frozenset(ignored)
        self._schemas: set[str] = {""}
        self._objects: dict[TableName, dict[tuple[Kind, str], OwnedObject]] = {}
        for item in objects:
            self._objects.setdefault(item.table, {})[item.kind, item.name] = item
            self._schemas.add(item.table.schema)
        self._tables = self._look_up_tables()
        self._seen = _Seen()
        self._looking = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow the connection's statements while the block runs."""
        event.listen(self._connection, "before_cursor_execute", self._before)
        event.listen(self._connection, "after_cursor_execute", self._after)
        try:
            yield
        finally:
            event.remove(self._connection, "before_cursor_execute", self._before)
            event.remove(self._connection, "after_cursor_execute", self._after)

    def touched(self) -> frozenset[TableName]:
        """Return the tables that the running revision created, dropped or altered so far."""
        return frozenset({*self._seen.added, *self._seen.removed, *self._seen.before})

    def finish(self, key: RevisionKey) -> ObjectChanges:
        """Attribute everything since the last call to the revision *key*."""
        seen, self._seen = self._seen, _Seen()
        if seen.opaque:
            self._recount(seen)
        removed: list[OwnedObject] = []
        added: list[OwnedObject] = []
        created = {table for table in seen.added if table not in seen.removed}
        for table in sorted(seen.removed - seen.added):
            if table not in seen.renamed_from.values():
                removed += self._objects.pop(table, {}).values()
        for table in sorted(created):
            source = self._source(table, seen)
            if source is not None:
                moved = list(self._objects.pop(source, {}).values())
                removed += moved
                added += [self._moved(item, table, key) for item in moved]
            else:
                added.append(OwnedObject("table", table, table.name, key.owner, key.id))
        for table in sorted(seen.before):
            if table in self._tables and table not in created:
                gone, new = self._altered(table, seen.before[table], key)
                removed += gone
                added += new
        for item in added:
            self._objects.setdefault(item.table, {})[item.kind, item.name] = item
        return ObjectChanges(tuple(removed), tuple(added))

    def _source(self, table: TableName, seen: _Seen) -> TableName | None:
        """Return what *table* was called before the revision, if it is a renamed one."""
        name = table
        while name in seen.renamed_from:
            name = seen.renamed_from[name]
        return name if name != table and name in seen.removed else None

    @staticmethod
    def _moved(item: OwnedObject, table: TableName, key: RevisionKey) -> OwnedObject:
        if item.kind == "table":
            # The new name exists since this revision; the table stays its creator's.
            owned_here = item.owner == key.owner
            revision = key.id if owned_here else item.revision
            return replace(item, table=table, name=table.name, revision=revision)
        return replace(item, table=table)

    def _altered(
        self,
        table: TableName,
        before: tuple[frozenset[str], frozenset[str]],
        key: RevisionKey,
    ) -> tuple[list[OwnedObject], list[OwnedObject]]:
        recorded = self._objects.get(table, {})
        owner = recorded.get(("table", table.name))
        columns, indexes = self._shape(table)
        kinds: list[tuple[Kind, frozenset[str], frozenset[str]]] = [("column", before[0], columns)]
        if owner is None or owner.owner != key.owner:
            kinds.append(("index", before[1], indexes))
        removed: list[OwnedObject] = []
        added: list[OwnedObject] = []
        for kind, old, new in kinds:
            for name in sorted(old - new):
                if (item := recorded.pop((kind, name), None)) is not None:
                    removed.append(item)
            added += [
                OwnedObject(kind, table, name, key.owner, key.id) for name in sorted(new - old)
            ]
        for name in before[1] - indexes:
            if (item := recorded.pop(("index", name), None)) is not None:
                removed.append(item)
        return removed, added

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if self._looking or not _DDL.match(statement):
            return
        if match := _ALTER.match(statement):
            self._remember(self._name(match[1]))
        elif match := _INDEX.match(statement):
            self._remember(self._name(match[2]))
        elif match := _DROP.match(statement):
            for name in self._names(match[1]):
                self._remember(name)

    def _after(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if self._looking:
            return
        if _OPAQUE.match(statement):
            self._seen.opaque = True
        if not _DDL.match(statement) or _TEMPORARY.match(statement):
            return
        if match := _CREATE.match(statement):
            self._add(self._name(match[1]))
        elif match := _DROP.match(statement):
            for name in self._names(match[1]):
                self._remove(name)
        elif (match := _ALTER.match(statement)) and match[2]:
            source = self._name(match[1])
            target = TableName(source.schema, self._name(match[2]).name)
            self._remove(source)
            self._add(target)
            self._seen.renamed_from[target] = source

    def _add(self, table: TableName) -> None:
        if table not in self._tables and table.name not in self._ignored:
            self._tables.add(table)
            if table in self._seen.removed:
                self._seen.removed.discard(table)
            else:
                self._seen.added.add(table)

    def _remove(self, table: TableName) -> None:
        if table in self._tables:
            self._tables.discard(table)
            if table in self._seen.added:
                self._seen.added.discard(table)
            else:
                self._seen.removed.add(table)

    def _remember(self, table: TableName) -> None:
        """Keep the shape of *table* as it was before the running revision first touched it."""
        seen = self._seen
        if table in self._tables and table not in seen.added and table not in seen.before:
            seen.before[table] = self._shape(table)

    def _recount(self, seen: _Seen) -> None:
        """Take the tables from the database, after statements that cannot be read."""
        before = (self._tables - seen.added) | seen.removed
        self._tables = self._look_up_tables()
        seen.added = self._tables - before
        seen.removed = before - self._tables

    def _look_up_tables(self) -> set[TableName]:
        inspector = sa.inspect(self._connection)
        return {
            TableName(schema, name)
            for schema in self._schemas
            for name in inspector.get_table_names(schema or None)
            if name not in self._ignored
        }

    def _shape(self, table: TableName) -> tuple[frozenset[str], frozenset[str]]:
        """Return the names of the table's columns and of its indexes."""
        self._looking = True
        try:
            inspector = sa.inspect(self._connection)
            schema = table.schema or None
            columns = {column["name"] for column in inspector.get_columns(table.name, schema)}
            indexes = {
                str(index["name"])
                for index in inspector.get_indexes(table.name, schema)
                if not index.get("duplicates_constraint")
            }
        finally:
            self._looking = False
        return frozenset(columns), frozenset(indexes)

    def _names(self, text: str) -> list[TableName]:
        return [self._name(part) for part in re.findall(_TABLE, text)]

    def _name(self, text: str) -> TableName:
        parts = [self._unquoted(part) for part in _PARTS.findall(text)]
        schema = parts[0] if len(parts) > 1 else ""
        if schema == self._connection.dialect.default_schema_name:
            schema = ""
        if schema not in self._schemas:
            self._schemas.add(schema)
        return TableName(schema, parts[-1])

    def _unquoted(self, name: str) -> str:
        if name[0] in '"`[':
            return name[1:-1].replace('""', '"')
        # PostgreSQL folds what is not quoted; SQLite keeps it as written.
        return name.lower() if self._connection.dialect.name == "postgresql" else name
