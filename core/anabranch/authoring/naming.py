"""Names for constraints that the models leave unnamed: one without a name cannot be dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops

_LONGEST = 63  # PostgreSQL's NAMEDATALEN less one; MySQL allows 64


@contextmanager
def constraints_named(upgrade: ops.UpgradeOps) -> Generator[None, None, None]:
    """Give every unnamed constraint in *upgrade* a name while the block runs.

    The constraints are the models' own objects, so their names are taken back afterwards.
    """
    named: list[tuple[Any, Any]] = []
    try:
        for operation in _flat(upgrade.ops):
            if isinstance(operation, ops.CreateTableOp):
                for item in operation.columns:
                    if not isinstance(item, sa.Constraint) or isinstance(item.name, str):
                        continue
                    if name := _name(operation.table_name, item):
                        named.append((item, item.name))
                        item.name = name
            elif isinstance(operation, ops.CreateForeignKeyOp):
                if not isinstance(operation.constraint_name, str):
                    operation.constraint_name = _join(
                        "fk", operation.source_table, *operation.local_cols
                    )
            elif isinstance(operation, ops.CreateUniqueConstraintOp) and not isinstance(
                operation.constraint_name, str
            ):
                operation.constraint_name = _join("uq", operation.table_name, *operation.columns)
        yield
    finally:
        for item, name in named:
            item.name = name


def _flat(operations: Any) -> Iterator[Any]:
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from operation.ops
        else:
            yield operation


def _name(table: str, item: sa.Constraint) -> str | None:
    columns = [column.name for column in getattr(item, "columns", ())]
    if isinstance(item, sa.PrimaryKeyConstraint):
        return _join("pk", table) if columns else None
    if isinstance(item, sa.ForeignKeyConstraint):
        return _join("fk", table, *columns)
    if isinstance(item, sa.UniqueConstraint):
        return _join("uq", table, *columns)
    if isinstance(item, sa.CheckConstraint):
        text = hashlib.sha256(str(item.sqltext).encode()).hexdigest()[:8]
        return _join("ck", table, text)
    return None


def _join(*parts: str) -> str:
    name = "_".join(parts)
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
