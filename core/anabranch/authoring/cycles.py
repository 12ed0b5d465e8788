"""Foreign keys in a cycle: no order of their tables lets each find its target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops

from anabranch.authoring.ownership import Models
from anabranch.errors import UsageError
from anabranch.objects import TableName


def part_cycles(upgrade: ops.UpgradeOps, models: Models) -> None:
    """Add keys to tables that are created later once these are there.

    A key that the models mark with ``use_alter`` is one too: CREATE TABLE would leave it out.
    """
    created = [item for item in upgrade.ops if isinstance(item, ops.CreateTableOp)]
    waiting = {models.name_of(item.schema, item.table_name) for item in created}
    for operation in created:
        own = models.name_of(operation.schema, operation.table_name)
        late = [
            key
            for key in _keys(operation.columns)
            if key.use_alter or _target(key, models) in waiting - {own}
        ]
        waiting.discard(own)
        if late:
            operation.columns = [
                item for item in operation.columns if not any(item is key for key in late)
            ]
            upgrade.ops.append(
                ops.ModifyTableOps(
                    operation.table_name,
                    [_added(key) for key in late],
                    schema=operation.schema,
                )
            )


def _added(key: sa.ForeignKeyConstraint) -> ops.CreateForeignKeyOp:
    operation = ops.CreateForeignKeyOp.from_constraint(key)
    operation.kw.pop("use_alter", None)
    return operation


def refuse_dropped_cycles(upgrade: ops.UpgradeOps, models: Models) -> None:
    """Refuse to write a revision that drops tables whose keys form a cycle.

    :raises UsageError: then.
    """
    gone: set[TableName] = set()
    for operation in upgrade.ops:
        if isinstance(operation, ops.DropTableOp):
            for key in _keys(operation.to_table().constraints):
                if _target(key, models) in gone:
                    raise UsageError(
                        f"The tables {operation.table_name!r} and {_target(key, models).name!r} "
                        "refer to each other, and no order lets both be dropped.",
                        remedy="Take the foreign key out of the models first and write a revision "
                        "for that, then take out the tables.",
                    )
            gone.add(models.name_of(operation.schema, operation.table_name))


def _keys(items: Any) -> Iterator[sa.ForeignKeyConstraint]:
    return (item for item in items if isinstance(item, sa.ForeignKeyConstraint))


def _target(key: sa.ForeignKeyConstraint, models: Models) -> TableName:
    *schema, table, _ = key.elements[0].target_fullname.split(".")
    return models.name_of(".".join(schema) or None, table)
