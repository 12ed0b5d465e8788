"""Columns that take no NULL, on tables that may have rows: what to say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from alembic.operations import ops


def nulls_refused(operations: Iterable[Any]) -> Iterator[str]:
    """Yield a sentence or two for each column of *operations* that rows may stand against."""
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from nulls_refused(operation.ops)
        elif isinstance(operation, ops.AddColumnOp):
            column = operation.column
            # What computes its values, an identity too, counts as a server default here.
            if not column.nullable and column.server_default is None:
                yield (
                    f"{operation.table_name}.{column.name} is new, NOT NULL and without a "
                    "server_default (a default of the model alone is not the database's): if the "
                    "table has rows, the revision fails and is rolled back. Give the column a "
                    "server_default, or let the file add it nullable, fill it, and then alter it."
                )
        elif isinstance(operation, ops.AlterColumnOp) and operation.modify_nullable is False:
            yield (
                f"{operation.table_name}.{operation.column_name} becomes NOT NULL: if a row has "
                "NULL there, the revision fails and is rolled back. Fill such rows first, by a "
                "line before it in the file."
            )
