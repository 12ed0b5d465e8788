"""What one owner has in a database: its tables, what it put on others', and what ties them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from anabranch.objects import OwnedObject, TableName, unnamed
from anabranch.presence import is_there as stands
from anabranch.structure import CONSTRAINTS, Structure, all_tables, read_structures, shown

ROW_LIMIT = 1_000_000
"""Rows are counted up to here: to look must not take minutes."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key from one table to another."""

    name: str
    table: TableName
    columns: tuple[str, ...]
    target: TableName
    target_columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{shown(self.table)}({', '.join(self.columns)}) to {shown(self.target)}"


@dataclass(frozen=True, slots=True)
class Estate:
    """What is recorded as one owner's, and is there.

    :ivar rows: its tables, each with the number of its rows, at most one more than
        :data:`ROW_LIMIT`.
    :ivar missing: the tables it made that are there no more.
    :ivar parts: its columns, indexes and constraints on tables that are not its own.
    :ivar guests: what others put on its tables.
    :ivar outgoing: foreign keys from its tables and columns to tables that are not its own.
    :ivar incoming: foreign keys from what is not its own to its tables.
    :ivar standing: its views and types, as far as they are recorded, and its triggers, functions,
        procedures and sequences that are there.
    """

    owner: str
    rows: Mapping[TableName, int]
    missing: tuple[TableName, ...]
    parts: tuple[OwnedObject, ...]
    guests: tuple[OwnedObject, ...]
    outgoing: tuple[ForeignKey, ...]
    incoming: tuple[ForeignKey, ...]
    standing: tuple[OwnedObject, ...] = ()

    @property
    def tables(self) -> tuple[TableName, ...]:
        return tuple(self.rows)


def read_estates(
    connection: sa.Connection,
    objects: Iterable[OwnedObject],
    owners: Collection[str],
    ignored: Collection[str],
    standing: Iterable[OwnedObject] = (),
) -> tuple[Estate, ...]:
    """Look up what *owners* have, by the record of owned *objects*.

    :param ignored: the names of the bookkeeping tables.
    :param standing: the record of what stands beside tables.
    """
    standing = sorted(
        (
            item
            for item in standing
            if item.owner in owners
            and (
                item.kind in ("view", "type")
                or stands(connection, item.kind, item.table, item.name)
            )
        ),
        key=lambda item: (item.kind, item.table, item.name),
    )
    objects = sorted(objects, key=lambda item: (item.table, item.kind, item.name))
    there = all_tables(connection, {item.table.schema for item in objects}, ignored)
    keys = _foreign_keys(connection, there)
    shared = {item.table for item in objects if item.kind != "table"}
    structures = read_structures(connection, shared & there)
    return tuple(
        replace(
            _estate(connection, owner, objects, there, keys, structures),
            standing=tuple(item for item in standing if item.owner == owner),
        )
        for owner in owners
    )


def named(item: OwnedObject) -> str:
    """Say what of :attr:`Estate.standing` *item* is."""
    if item.kind == "trigger":
        return f"trigger {item.name} of {shown(item.table)}"
    return f"{item.kind} {shown(item.table._replace(name=item.name))}"


def is_there(item: OwnedObject, structures: Mapping[TableName, Structure]) -> bool:
    """Tell whether a recorded column, index or constraint is in the database."""
    structure = structures.get(item.table, {})
    if item.kind == "constraint":
        return any((kind, item.name) in structure for kind in CONSTRAINTS)
    return any((kind, name) == (item.kind, item.name) for kind, name in structure)


def _estate(
    connection: sa.Connection,
    owner: str,
    objects: list[OwnedObject],
    there: Collection[TableName],
    keys: tuple[ForeignKey, ...],
    structures: Mapping[TableName, Structure],
) -> Estate:
    made = [item.table for item in objects if item.kind == "table" and item.owner == owner]
    own = {table for table in made if table in there}
    present = [item for item in objects if item.kind != "table" and is_there(item, structures)]
    parts = tuple(item for item in present if item.owner == owner and item.table not in own)
    columns: dict[TableName, set[str]] = defaultdict(set)
    names: set[tuple[TableName, str]] = set()
    for part in parts:
        if part.kind == "column":
            columns[part.table].add(part.name)
        elif part.kind == "constraint":
            names.add((part.table, part.name))
    is_mine = {
        key
        for key in keys
        if key.table in own
        or columns[key.table].intersection(key.columns)
        or (key.table, key.name) in names
    }
    return Estate(
        owner=owner,
        rows={table: count_rows(connection, table) for table in sorted(own)},
        missing=tuple(sorted(set(made) - own)),
        parts=parts,
        guests=tuple(item for item in present if item.owner != owner and item.table in own),
        outgoing=tuple(key for key in keys if key in is_mine and key.target not in own),
        incoming=tuple(key for key in keys if key not in is_mine and key.target in own),
    )


def count_rows(connection: sa.Connection, table: TableName) -> int:
    """Count the rows of *table*, up to one more than :data:`ROW_LIMIT`."""
    some = (
        sa.select(sa.literal(1))
        .select_from(sa.table(table.name, schema=table.schema or None))
        .limit(ROW_LIMIT + 1)
        .subquery()
    )
    return connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0


def _foreign_keys(connection: sa.Connection, tables: Iterable[TableName]) -> tuple[ForeignKey, ...]:
    inspector = sa.inspect(connection)
    found: list[ForeignKey] = []
    for schema in sorted({table.schema for table in tables}):
        for (_, name), keys in inspector.get_multi_foreign_keys(schema=schema or None).items():
            found += [
                ForeignKey(
                    key["name"] or unnamed("fk", key["constrained_columns"]),
                    TableName(schema, name),
                    tuple(key["constrained_columns"]),
                    TableName(key["referred_schema"] or "", key["referred_table"]),
                    tuple(key["referred_columns"]),
                )
                for key in keys
            ]
    return tuple(sorted(found, key=lambda key: (key.table, key.name)))
