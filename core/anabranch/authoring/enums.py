"""PostgreSQL's enumerated types: Alembic creates one with its first table only, and drops none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops

from anabranch.authoring.ownership import Models
from anabranch.objects import TableName


@dataclass(frozen=True)
class Enums:
    """The enumerated types that a revision's new columns have, by name.

    :ivar apart: those that an added column needs, or that may exist: a line of their own creates
        them, and columns must not.
    :ivar dropped: those that nothing uses any more once the revision is taken back.
    """

    apart: Mapping[str, sa.Enum] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    @classmethod
    def of(cls, upgrade: ops.UpgradeOps, models: Models) -> Enums:
        new = list(new_columns(upgrade.ops, models))
        names = {(table, column.name) for table, column, _ in new}
        elsewhere = _types(
            column
            for name, table in models.by_name().items()
            for column in table.columns
            if (name, column.name) not in names
        )
        types = _types(column for _, column, _ in new)
        added = _types(column for _, column, alone in new if alone)
        return cls(
            {name: types[name] for name in types if name in added or name in elsewhere},
            tuple(name for name in types if name not in elsewhere),
        )

    def create(self) -> list[str]:
        """Return the first lines of ``upgrade()``."""
        return [
            f"sa.{type_!r}.create(op.get_bind(), checkfirst=True)" for type_ in self.apart.values()
        ]

    def drop(self) -> list[str]:
        """Return the last lines of ``downgrade()``."""
        return [
            f"sa.Enum(name={name!r}).drop(op.get_bind(), checkfirst=True)" for name in self.dropped
        ]

    def column_type(self, type_: Any, imports: set[str]) -> str | None:
        """Return how a column names *type_* if it must not create it, and add to *imports*."""
        if not isinstance(type_, sa.Enum) or type_.name not in self.apart:
            return None
        imports.add("from sqlalchemy.dialects import postgresql")
        existing = f"postgresql.ENUM(name={type_.name!r}, create_type=False)"
        return f"sa.{type_!r}.with_variant({existing}, 'postgresql')"


def new_columns(
    operations: Iterable[Any], models: Models
) -> Iterator[tuple[TableName, sa.Column[Any], bool]]:
    """Yield the columns that *operations* create, with their tables, and if they come alone."""
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from new_columns(operation.ops, models)
        elif isinstance(operation, ops.AddColumnOp):
            table = models.name_of(operation.schema, operation.table_name)
            yield table, operation.column, True
        elif isinstance(operation, ops.CreateTableOp):
            table = models.name_of(operation.schema, operation.table_name)
            for item in operation.columns:
                if isinstance(item, sa.Column):
                    yield table, item, False


def _types(columns: Iterable[sa.Column[Any]]) -> dict[str, sa.Enum]:
    return {
        column.type.name: column.type
        for column in columns
        if type(column.type) is sa.Enum and column.type.native_enum and column.type.name
    }
