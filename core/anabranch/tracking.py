"""Seeing who creates which table, and which column, index or constraint on it.

By watching the statements of a revision, whatever sent them: operations, raw SQL, a batch rebuild
with its renamed copy. Statements that hide what they do are followed by a look at the database's
tables.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.catalogue import Catalogue
from anabranch.ddl import (
    ALTERED_TABLE,
    CREATED_INDEX,
    CREATED_TABLE,
    DDL,
    DROPPED_INDEX,
    DROPPED_TABLES,
    OPAQUE,
    TEMPORARY,
    WRITE,
)
from anabranch.events import listening
from anabranch.objects import (
    STANDING,
    Kind,
    ObjectChanges,
    OwnedObject,
    Shape,
    TableName,
    unnamed,
)
from anabranch.presence import is_there, routines, tables_among, tables_of
from anabranch.revision import RevisionKey
from anabranch.spelling import Spelling
from anabranch.standing import NAME, QUALIFIED, ROUTINE, Place, Standing, StandingTracker
from anabranch.statements import uncommented

_PARTS = re.compile(NAME)


@dataclass
class _Seen:
    """What the statements of the running revision did so far.

    :ivar now: what the tables that it created or renamed were called before it; None if new.
    :ivar gone: the tables of before that it dropped.
    :ivar shapes: what the tables of before that it touched had before it.
    :ivar indexes: the indexes that it dropped by a statement of their own.
    """

    now: dict[TableName, TableName | None] = field(default_factory=dict)
    gone: set[TableName] = field(default_factory=set)
    shapes: dict[TableName, Shape] = field(default_factory=dict)
    indexes: set[str] = field(default_factory=set)
    written: set[TableName] = field(default_factory=set)
    opaque: bool = False


class _Tables:
    """The tables there are; most databases find them in any spelling."""

    def __init__(self, names: Iterable[TableName]) -> None:
        self.names = set(names)
        self._spellings = {_folded(name): name for name in self.names}

    def __contains__(self, table: TableName) -> bool:
        return table in self.names

    def add(self, table: TableName) -> None:
        self.names.add(table)
        self._spellings[_folded(table)] = table

    def discard(self, table: TableName) -> None:
        self.names.discard(table)
        self._spellings.pop(_folded(table), None)

    def spelt(self, table: TableName) -> TableName:
        """Return *table* in the spelling that it was created with, if it is there."""
        return table if table in self.names else self._spellings.get(_folded(table), table)


def _folded(table: TableName) -> TableName:
    return TableName(table.schema, table.name.lower())


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
        self._is_looking = False
        self.reload(objects)

    def reload(self, objects: Iterable[OwnedObject]) -> None:
        """Begin from what is recorded and there: what was seen before was rolled back."""
        self._objects: dict[TableName, dict[tuple[Kind, str], OwnedObject]] = {}
        self._standing = StandingTracker(objects := tuple(objects))
        for item in objects:
            if item.kind not in STANDING:
                self._objects.setdefault(item.table, {})[item.kind, item.name] = item
                self._schemas.add(item.table.schema)
        self._tables = _Tables(self._look_up_tables())
        self._seen = _Seen()
        self._routines_before: frozenset[Standing] | None = None
        self._asked: set[TableName] | None = None

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        """Follow the connection's statements while the block runs."""
        with listening(
            self._connection,
            before_cursor_execute=self._before,
            after_cursor_execute=self._after,
            rollback=self._undone,
        ):
            yield

    @property
    def objects(self) -> tuple[OwnedObject, ...]:
        """What is recorded by now; views and types are not among it."""
        return tuple(item for items in self._objects.values() for item in items.values())

    @property
    def owned(self) -> tuple[OwnedObject, ...]:
        """What is recorded by now, and a new tracker can begin from."""
        return (*self.objects, *self._standing.triggers)

    def claim(self, index: str) -> None:
        """Take *index*, which is there already, for one that the running revision creates."""
        for table, shape in self._seen.shapes.items():
            self._seen.shapes[table] = {**shape, "index": shape["index"] - {index}}

    def renamed(self) -> dict[TableName, TableName]:
        """Return what the tables that the running revision renamed are called now."""
        now = self._seen.now.items()
        return {was: table for table, was in now if was is not None and was != table}

    def restart(self) -> None:
        """Ask anew for each table that the next revision speaks of: it may have begun before.

        What is read before its first statement on a table is then answered as it was at first.
        """
        self._asked = set()

    def touched(self) -> frozenset[TableName]:
        """Return the tables that the running revision created, dropped, altered or wrote to."""
        seen = self._seen
        return frozenset({*seen.now, *seen.gone, *seen.shapes, *seen.written})

    def finish(self, key: RevisionKey) -> ObjectChanges:
        """Attribute everything since the last call to the revision *key*."""
        self._recount()
        seen = self._seen
        if not (seen.now or seen.gone or seen.shapes or self._standing):
            seen.indexes.clear()
            seen.written.clear()
            return ObjectChanges()
        self._seen = _Seen()
        # Dropped and created again under the same name, as a rebuild does: the same table.
        kept = {table for table, was in seen.now.items() if was is None and table in seen.gone}
        moved = {table: was for table, was in seen.now.items() if was not in (None, table)}
        old = {
            table: list(self._objects.pop(table, {}).values())
            for table in sorted((seen.gone - kept) | set(moved.values()))
        }
        removed = [item for items in old.values() for item in items]
        added: list[OwnedObject] = []
        for table, was in sorted(moved.items()):
            added += [self._moved(item, table, key) for item in old[was]]
        for table in sorted(seen.now):
            if seen.now[table] is None and table not in kept:
                added.append(OwnedObject("table", table, table.name, key.owner, key.id))
        removed += self._take(added)
        names = {was: table for table, was in moved.items()}
        for was in sorted(seen.shapes):
            if was not in seen.gone or was in kept:
                lost, new = self._altered(names.get(was, was), seen.shapes[was], key, seen.indexes)
                removed += lost
                added = [item for item in added if item not in lost] + new
        beside = self._standing.finish(key, names)
        return ObjectChanges((*removed, *beside.removed), (*added, *beside.added))

    @staticmethod
    def _moved(item: OwnedObject, table: TableName, key: RevisionKey) -> OwnedObject:
        if item.kind == "table":
            # The new name exists since this revision; the table stays its creator's.
            owned_here = item.owner == key.owner
            revision = key.id if owned_here else item.revision
            return replace(item, table=table, name=table.name, revision=revision)
        return replace(item, table=table)

    def _altered(
        self, table: TableName, before: Shape, key: RevisionKey, dropped: set[str]
    ) -> tuple[list[OwnedObject], list[OwnedObject]]:
        recorded = self._objects.setdefault(table, {})
        owner = recorded.get(("table", table.name))
        is_own = owner is not None and owner.owner == key.owner
        removed: list[OwnedObject] = []
        added: list[OwnedObject] = []
        for kind, names in self._shape(table).items():
            anew: frozenset[str] = frozenset()
            if kind == "index":
                # Dropped and there again, it is whose revision made it, as if it were another.
                of_others = {item.name for item in recorded.values() if item.owner != key.owner}
                anew = names & before[kind] & dropped & of_others
            lost: list[tuple[Kind, str]] = [
                (kind, name) for name in sorted((before[kind] - names) | anew)
            ]
            removed += [recorded.pop(item) for item in lost if item in recorded]
            if kind == "column" or not is_own:
                added += [
                    OwnedObject(kind, table, name, key.owner, key.id)
                    for name in sorted((names - before[kind]) | anew)
                ]
        return removed + self._take(added), added

    def _take(self, items: Iterable[OwnedObject]) -> list[OwnedObject]:
        """Record *items*; return what stood in their places, which another tool dropped."""
        stale: list[OwnedObject] = []
        for item in items:
            recorded = self._objects.setdefault(item.table, {})
            if (other := recorded.get((item.kind, item.name))) is not None:
                stale.append(other)
            recorded[item.kind, item.name] = item
        return stale

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if self._is_looking:
            return
        statement = uncommented(statement)
        if self._asked is not None and not self._seen.opaque and OPAQUE.match(statement):
            self._tables = _Tables(self._look_up_tables())
        if not DDL.match(statement):
            return
        self._recount()
        self._ask_for(statement)
        if match := ALTERED_TABLE.match(statement):
            self._remember(self._name(match[1]))
        elif match := CREATED_INDEX.match(statement):
            self._remember(self._name(match[2]))
        elif match := DROPPED_TABLES.match(statement):
            for name in self._names(match[1]):
                self._remember(name)
        elif match := DROPPED_INDEX.match(statement):
            if statement[:4].upper() == "DROP":
                self._seen.indexes.add(self._name(match[1]).name)
            for table in self._indexed(match[1]):
                self._remember(table)
        elif ROUTINE.match(statement) and (found := self._routines()) is not None:
            self._routines_before = found
        elif not TEMPORARY.match(statement):
            self._standing.note(statement, self._new_name, self._is_there, self._table_of)

    def _after(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if self._is_looking:
            return
        statement = uncommented(statement)
        if match := WRITE.match(statement):
            self._seen.written.add(self._name(match[1]))
        if OPAQUE.match(statement):
            self._seen.opaque = True
        if not DDL.match(statement) or TEMPORARY.match(statement):
            return
        if self._routines_before is not None and (now := self._routines()) is not None:
            self._standing.compare(statement, self._new_name, self._routines_before, now)
            self._routines_before = None
        elif match := CREATED_TABLE.match(statement):
            self._add(self._new_name(match[1]))
        elif match := DROPPED_TABLES.match(statement):
            for name in self._names(match[1]):
                self._remove(name)
        elif match := ALTERED_TABLE.match(statement):
            source = self._name(match[1])
            if match[2]:
                self._rename(source, TableName(source.schema, self._new_name(match[2]).name))
            elif match[3]:
                self._rename(source, TableName(self._schema(match[3]), source.name))

    def _spoken_of(self, statement: str) -> set[TableName]:
        """Return the tables, there or not, that *statement* makes, drops or changes."""
        if match := CREATED_TABLE.match(statement):
            return {self._new_name(match[1])}
        if match := DROPPED_TABLES.match(statement):
            return set(self._names(match[1]))
        if match := ALTERED_TABLE.match(statement):
            new = {self._new_name(match[2])} if match[2] else set[TableName]()
            return {self._name(match[1]), *new}
        if match := CREATED_INDEX.match(statement):
            return {self._name(match[2])}
        match = DROPPED_INDEX.match(statement)
        return self._indexed(match[1]) if match else set()

    def _ask_for(self, statement: str) -> None:
        """Ask which of the tables are there that *statement* is the first to speak of."""
        if self._asked is None:
            return
        tables = self._spoken_of(statement) - self._asked
        if not tables:
            return
        self._asked |= tables
        with self.looking():
            there = tables_among(self._connection, tables)
        for table in tables:
            if table in there and not self._is_ignored(table):
                self._tables.add(table)
            else:
                self._tables.discard(table)

    def _indexed(self, name: str) -> set[TableName]:
        """Return the tables that an index of that name is recorded on."""
        index: tuple[Kind, str] = "index", self._name(name).name
        return {table for table, items in self._objects.items() if index in items}

    def _is_there(self, found: Standing) -> bool:
        """Tell whether there is such a view, or a table of its name, a trigger and so on."""
        with self.looking():
            return is_there(self._connection, found.kind, TableName(*found.name), found.part)

    def _routines(self) -> frozenset[Standing] | None:
        """Return the functions and procedures; None where a name tells them apart."""
        with self.looking():
            return routines(self._connection)

    def _table_of(self, trigger: Place) -> str:
        """Return the table that a trigger is on; nothing where there is none."""
        with self.looking():
            return next(iter(tables_of(self._connection, *trigger)), "")

    def _undone(self, _connection: Any) -> None:
        self._seen.opaque = True

    def _add(self, table: TableName) -> None:
        if table not in self._tables and not self._is_ignored(table):
            self._tables.add(table)
            self._seen.now[table] = None

    def _remove(self, table: TableName) -> None:
        if table in self._tables:
            self._tables.discard(table)
            was = self._seen.now.pop(table, table)
            if was is not None:
                self._seen.gone.add(was)

    def _rename(self, table: TableName, target: TableName) -> None:
        if table in self._tables:
            self._tables.discard(table)
            self._tables.add(target)
            was = self._seen.now.pop(table, table)
            if was != target:
                self._seen.now[target] = was
            self._standing.rename(table, target)

    def _remember(self, table: TableName) -> None:
        """Keep the shape of *table* as it was before the running revision first touched it."""
        was = self._seen.now.get(table, table)
        if table in self._tables and was is not None and was not in self._seen.shapes:
            self._seen.shapes[was] = self._shape(table)

    def _recount(self) -> None:
        """Take the tables from the database if statements ran that cannot be read."""
        seen = self._seen
        if not seen.opaque:
            return
        seen.opaque = False
        renamed = {was for was in seen.now.values() if was is not None}
        before = (self._tables.names - set(seen.now)) | renamed | seen.gone
        self._tables = _Tables(self._look_up_tables())
        tables = self._tables.names
        seen.now = {table: was for table, was in seen.now.items() if table in tables}
        seen.now |= dict.fromkeys(tables - before - set(seen.now))
        here = (tables - set(seen.now)) | set(filter(None, seen.now.values()))
        seen.gone = before - here

    def _look_up_tables(self) -> set[TableName]:
        with self.looking():
            inspector = sa.inspect(self._connection)
            return {
                TableName(schema, name)
                for schema in self._schemas
                for name in inspector.get_table_names(schema or None)
                if name not in self._ignored
            }

    @contextmanager
    def looking(self) -> Generator[None, None, None]:
        """Do not take our own statements for the revision's."""
        self._is_looking = True
        try:
            with warnings.catch_warnings():
                # Of indexes on expressions, which have names like all others.
                warnings.simplefilter("ignore", exc.SAWarning)
                yield
        finally:
            self._is_looking = False

    def _shape(self, table: TableName) -> Shape:
        with self.looking():
            inspector = sa.inspect(self._connection)
            name, schema = table.name, table.schema or None
            uniques = inspector.get_unique_constraints(name, schema)
            keys = inspector.get_foreign_keys(name, schema)
            checks = inspector.get_check_constraints(name, schema)
            is_sqlite = self._connection.dialect.name == "sqlite"
            # Reflection leaves out SQLite's indexes on expressions.
            indexes = Catalogue(self._connection).indexes(name) if is_sqlite else ()
            return {
                "column": frozenset(each["name"] for each in inspector.get_columns(name, schema)),
                "index": frozenset(
                    [
                        *indexes,
                        *(
                            str(each["name"])
                            for each in inspector.get_indexes(name, schema)
                            if not each.get("duplicates_constraint")
                        ),
                    ]
                ),
                "constraint": frozenset(
                    [
                        *(each["name"] or unnamed("uq", each["column_names"]) for each in uniques),
                        *(
                            each["name"] or unnamed("fk", each["constrained_columns"])
                            for each in keys
                        ),
                        *(str(each["name"]) for each in checks if each["name"]),
                    ]
                ),
            }

    def _names(self, text: str) -> list[TableName]:
        return [self._name(part) for part in re.findall(QUALIFIED, text)]

    def _name(self, text: str) -> TableName:
        """Read the name of a table that should be there, in the spelling it was created with."""
        name = self._new_name(text)
        if self._keeps_case:
            return name
        return self._tables.spelt(name)

    def _new_name(self, text: str) -> TableName:
        *schema, name = _PARTS.findall(text)
        return TableName(self._schema(schema[0]) if schema else "", self._unquoted(name))

    def _schema(self, name: str) -> str:
        """Return the schema as it is recorded, and look into it from now on."""
        name = self._unquoted(name)
        if name == self._connection.dialect.default_schema_name:
            return ""
        if not _is_temporary(name):
            self._schemas.add(name)
        return name

    def _is_ignored(self, table: TableName) -> bool:
        return _is_temporary(table.schema) or table.name in self._ignored

    def _unquoted(self, name: str) -> str:
        if name[0] in '"`[':
            return name[1:-1].replace('""', '"')
        # PostgreSQL folds what is not quoted; the others keep it as written.
        return name.lower() if self._connection.dialect.name == "postgresql" else name

    @cached_property
    def _keeps_case(self) -> bool:
        """Whether two names that differ in case only are two tables."""
        with self.looking():
            return Spelling.of(self._connection).keeps_tables


def _is_temporary(schema: str) -> bool:
    return schema == "temp" or schema.startswith("pg_temp")
