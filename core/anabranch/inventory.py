"""What hangs on a SQLite table: taken before a revision takes the table away, put back after."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from anabranch.catalogue import Catalogue, Item, speaking_of
from anabranch.definitions import Definition
from anabranch.statements import folded, quoted, tokens, trigger_columns


@dataclass
class Inventory:
    """A table, and what hangs on it.

    :ivar counter: the last id that AUTOINCREMENT gave; None without one.
    :ivar dependents: views, and triggers of other tables, that speak of it and work.
    :ivar works: whether its own triggers work.
    :ivar indexes_seen: its indexes as Alembic reflected them, by name; empty if it did not.
    :ivar uniques_seen: the columns, folded, of the unique constraints that Alembic reflected.
    :ivar actions_unseen: the columns, folded, of the foreign keys that Alembic reflected without
        anything that they do.
    :ivar computed_seen: the expressions of generated columns as Alembic reflected them, by name.
    :ivar by_alembic: whether Alembic makes its successor.
    :ivar renamed: new names of columns that the copy renamed, all of them folded.
    :ivar lost: what its definition lost that cannot be put back.
    """

    name: str
    definition: Definition | None
    counter: int | None
    indexes: list[Item] = field(default_factory=list)
    triggers: list[Item] = field(default_factory=list)
    dependents: list[Item] = field(default_factory=list)
    works: bool = True
    indexes_seen: dict[str, Any] = field(default_factory=dict)
    uniques_seen: frozenset[frozenset[str]] = frozenset()
    actions_unseen: frozenset[frozenset[str]] = frozenset()
    computed_seen: dict[str, str] = field(default_factory=dict)
    by_alembic: bool = False
    renamed: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @classmethod
    def take(cls, catalogue: Catalogue, name: str) -> Inventory:
        """Look at the table *name*, which need not exist."""
        taken = cls(name, catalogue.definition(name), catalogue.counter(name))
        others: list[Item] = []
        for item in catalogue.items(name):
            if item.kind == "index":
                taken.indexes.append(item)
            elif item.kind == "trigger" and folded(item.table) == folded(name):
                taken.triggers.append(item)
            else:
                others.append(item)
        spoken = speaking_of(name, others)
        # Views first: their own triggers go with them when they are made anew.
        taken.dependents = sorted(
            (item for item in spoken if not catalogue.fault(item)),
            key=lambda item: item.kind == "trigger",
        )
        try:
            catalogue.compile_writes(name)
        except sqlite3.Error:
            taken.works = False
        return taken

    def see(self, inspector: sa.Inspector) -> None:
        """Look at the table as Alembic does, to know what it carries over and what not."""
        self.indexes_seen = {
            str(found["name"]): found for found in inspector.get_indexes(self.name)
        }
        self.uniques_seen = frozenset(
            frozenset(folded(column) for column in unique["column_names"])
            for unique in inspector.get_unique_constraints(self.name)
        )
        self.actions_unseen = frozenset(
            frozenset(folded(column) for column in key["constrained_columns"])
            for key in inspector.get_foreign_keys(self.name)
            if not key.get("options")
        )
        self.computed_seen = {
            folded(column["name"]): column["computed"]["sqltext"]
            for column in inspector.get_columns(self.name)
            if "computed" in column
        }


class Restorer:
    """Puts back what hung on rebuilt tables, by the statements that made it.

    :param inspect: gives an inspector that nobody takes for the script's own.
    :ivar told: the indexes, triggers and views, folded, that the script dropped by a statement.
    :ivar restored: the indexes and triggers, folded, that were put back.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        inspect: Callable[[], AbstractContextManager[sa.Inspector]],
    ) -> None:
        self._catalogue = catalogue
        self._inspect = inspect
        self.told: set[str] = set()
        self.restored: set[str] = set()

    def put_back(self, table: str, before: Inventory) -> Iterator[str]:
        """Put back what is missing of *table*; yield, in words, what cannot be."""
        if self._catalogue.definition(table) is None:
            return
        yield from self.put_back_indexes(table, before)
        yield from self.put_back_triggers(table, before)
        for item in before.dependents:
            if folded(item.name) not in self.told and (fault := self._repair(item)):
                yield f"{item.kind} {item.name} ({fault})"

    def put_back_triggers(self, table: str, before: Inventory) -> Iterator[str]:
        for trigger in before.triggers:
            if fault := self._restore(trigger, table, compiles=before.works):
                yield f"trigger {trigger.name} ({fault})"

    def put_back_indexes(self, table: str, before: Inventory) -> Iterator[str]:
        new = self._catalogue.definition(table)
        for index in before.indexes if new else ():
            assert new is not None
            if folded(index.name) not in self.told:
                yield from self._put_back_index(index, table, new, before)

    def _put_back_index(
        self, index: Item, table: str, new: Definition, before: Inventory
    ) -> Iterator[str]:
        columns = set(before.definition.columns) if before.definition else set()
        used = {folded(token.name) for token in tokens(index.sql) if token.is_name} & columns
        moved = {name for name in used if before.renamed.get(name, name) != name}
        is_seen = index.name in before.indexes_seen
        now = self._catalogue.sql(index.name)
        if now is None:
            gone = used - moved - set(new.columns)
            is_meant = bool(gone) or (is_seen and before.by_alembic)
        else:
            is_meant = (
                not before.by_alembic
                or _normal(now) == _normal(index.sql, before.renamed)
                or not (is_seen and self._looks_alike(index.name, table, before))
            )
        if is_meant:
            return
        if moved:
            yield f"index {index.name} (a column was renamed)"
            return
        if now is not None:
            self._catalogue.rows(f"DROP INDEX {quoted(index.name)}")
        if fault := self._restore(index, table, compiles=False):
            yield f"index {index.name} ({fault})"

    def _looks_alike(self, index: str, table: str, before: Inventory) -> bool:
        """Tell whether reflection sees no difference, so that nobody can have meant one."""
        with self._inspect() as inspector:
            now = next((i for i in inspector.get_indexes(table) if i["name"] == index), None)
        return now is not None and _seen(now, {}) == _seen(
            before.indexes_seen[index], before.renamed
        )

    def _restore(self, item: Item, table: str, *, compiles: bool) -> str:
        """Run the original statement of a trigger or an index; return why that cannot be done.

        :param compiles: whether writes to *table* must compile then.
        """
        if self._catalogue.sql(item.name) or folded(item.name) in self.told:
            return ""
        definition = self._catalogue.definition(table)
        missing = trigger_columns(item.sql) - set(definition.columns if definition else ())
        if missing and compiles:
            return f"no such column: {min(missing)}"
        fault = self._catalogue.attempt(
            item.sql, check=lambda: self._catalogue.fault(item) if compiles else ""
        )
        if fault:
            return fault
        self.restored.add(folded(item.name))
        return ""

    def _repair(self, item: Item) -> str:
        """Let a view or a trigger that worked before work again; return why it does not."""
        now = self._catalogue.sql(item.name)
        if now is not None and (not (fault := self._catalogue.fault(item)) or now == item.sql):
            return fault
        # SQLite wrote another table's name into it when this one was renamed away.
        return self._catalogue.attempt(
            f"DROP {item.kind} IF EXISTS {quoted(item.name)}",
            item.sql,
            check=lambda: self._catalogue.fault(item),
        )


def led_astray(catalogue: Catalogue, gone: Collection[str]) -> Iterator[str]:
    """Yield the tables with a foreign key to one of the tables *gone*, all of them folded."""
    for name, sql in catalogue.tables() if gone else ():
        for token, following in itertools.pairwise(tokens(sql or "")):
            if token.word == "REFERENCES" and folded(following.name) in gone:
                yield name


def _normal(sql: str, renamed: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return what an index says, spelt one way."""
    found = [folded(token.name) for token in tokens(sql)]
    words = [(renamed or {}).get(word, word) for word in found if word != "asc"]
    return tuple(words[words.index("on") :])


def _seen(index: Any, renamed: Mapping[str, str]) -> tuple[Any, ...]:
    """Return what reflection says of an index, by the columns' new names."""
    columns = [folded(str(column)) for column in index["column_names"]]
    where = index.get("dialect_options", {}).get("sqlite_where")
    return [renamed.get(name, name) for name in columns], index["unique"], str(where)
