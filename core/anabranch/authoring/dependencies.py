"""Infer what a revision depends on: the oldest revision that provides each thing it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy.sql import visitors

from anabranch.authoring.ownership import Models
from anabranch.graph import Graph
from anabranch.objects import OwnedObject, TableName
from anabranch.revision import RevisionKey


class Need(NamedTuple):
    """A table that must exist and, unless empty, a column of it."""

    table: TableName
    column: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in (*self.table, self.column) if part)


def needs(upgrade: ops.UpgradeOps, models: Models) -> frozenset[Need]:
    """Return the tables and columns that *upgrade* refers to and does not itself create."""
    created = {
        models.name_of(operation.schema, operation.table_name)
        for operation in upgrade.ops
        if isinstance(operation, ops.CreateTableOp)
    }
    found = {need for operation in upgrade.ops for need in _needs(operation, models)}
    return frozenset(need for need in found if need.table not in created)


def _needs(operation: Any, models: Models) -> Iterator[Need]:
    if isinstance(operation, ops.CreateTableOp):
        for item in operation.columns:
            if isinstance(item, sa.ForeignKeyConstraint):
                yield from _referred(item.elements, models)
    elif isinstance(operation, ops.ModifyTableOps):
        for part in operation.ops:
            yield from _needs(part, models)
    elif isinstance(operation, ops.AddColumnOp):
        yield Need(models.name_of(operation.schema, operation.table_name))
        yield from _referred(operation.column.foreign_keys, models)
    elif isinstance(operation, ops.CreateForeignKeyOp):
        source = models.name_of(operation.kw.get("source_schema"), operation.source_table)
        yield from (Need(source, name) for name in operation.local_cols)
        target = models.name_of(operation.kw.get("referent_schema"), operation.referent_table)
        yield from (Need(target, name) for name in operation.remote_cols)
    elif isinstance(operation, (ops.CreateIndexOp, ops.CreateUniqueConstraintOp)):
        table = models.name_of(operation.schema, operation.table_name)
        yield Need(table)
        for column in operation.columns:
            yield from (Need(table, name) for name in _names(column))


def _names(item: Any) -> Iterator[str]:
    """Yield the columns that *item*, a name or an expression, speaks of."""
    if isinstance(item, str):
        yield item
    else:
        yield from (part.name for part in visitors.iterate(item) if isinstance(part, sa.Column))


def _referred(foreign_keys: Iterable[sa.ForeignKey], models: Models) -> Iterator[Need]:
    for foreign_key in foreign_keys:
        table = foreign_key.column.table
        yield Need(models.name_of(table.schema, table.name), foreign_key.column.name)


def foreign_needs(wanted: Iterable[Need], owner: str, models: Models) -> dict[Need, str]:
    """Return those of *wanted* that are another owner's, and whose."""
    tables = models.by_name()
    found: dict[Need, str] = {}
    for need in wanted:
        table = tables.get(need.table)
        if table is None:
            continue
        column = table.columns.get(need.column) if need.column else None
        of = models.owner_of(column) if column is not None else models.owner_of_table(table)
        if of != owner:
            found[need] = of
    return found


def present(connection: sa.Connection, wanted: Iterable[Need]) -> set[Need]:
    """Return those of *wanted* that the database has."""
    inspector = sa.inspect(connection)
    found: set[Need] = set()
    for need in wanted:
        schema, name = need.table
        if inspector.has_table(name, schema or None):
            columns = {column["name"] for column in inspector.get_columns(name, schema or None)}
            if need.column in {"", *columns}:
                found.add(need)
    return found


def provider(need: Need, recorded: Iterable[OwnedObject]) -> RevisionKey | None:
    """Return the revision that first provided *need*; None if that was not recorded."""
    table: RevisionKey | None = None
    for item in recorded:
        if item.table == need.table:
            if item.kind == "column" and item.name == need.column:
                return item.key
            if item.kind == "table":
                table = item.key
    return table


def minimal(
    wanted: Iterable[RevisionKey], down: Iterable[RevisionKey], graph: Graph
) -> tuple[RevisionKey, ...]:
    """Return those of *wanted* that neither *down* nor the others already need."""
    down = set(down)
    return tuple(key for key in graph.reduce({*wanted, *down}) if key not in down)


def reference(key: RevisionKey, graph: Graph) -> str:
    """Return how a file names *key* of another owner: by id, with the owner where it must be."""
    names = [other for other in graph.installed if other.id == key.id]
    labels = [other for other in graph.installed if key.id in graph.revisions[other].branch_labels]
    return key.id if len(names) == 1 and not labels else str(key)
