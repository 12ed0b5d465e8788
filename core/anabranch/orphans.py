"""Owners that take no part any more, and what pending revisions would run into because of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from anabranch.estate import Estate, read_estates
from anabranch.objects import TableName
from anabranch.operations import Operation, read_operations
from anabranch.problems import Problem
from anabranch.structure import shown

if TYPE_CHECKING:
    from anabranch.reading import Reading
    from anabranch.recorder import Recorder

_OF_COLUMNS = ("drop_column", "alter_column")
_OF_TABLES = ("drop_table", "rename_table")


def find_obstacles(
    reading: Reading, recorder: Recorder, connection: sa.Connection
) -> tuple[Problem, ...]:
    """Warn of pending revisions that take away or alter what an owner that is away still uses.

    By what their source says: a computed name, or a statement of SQL, is not seen.
    """
    taking_part = {owner.name for owner in reading.installation.discovery.owners}
    taking_part -= reading.installation.disabled
    away = sorted({key.owner for key in reading.applied} - taking_part)
    steps = reading.plan().steps if away else ()
    if not steps:
        return ()
    estates = read_estates(connection, recorder.objects(connection), away, recorder.table_names)
    return tuple(
        Problem(
            code="AB125",
            owner=step.key.owner,
            text=f"{step.key} will {operation.words}, and {use} of {estate.owner}, which takes no "
            "part, is in the way.",
            remedy=f"Remove what it left with 'db purge DIR {estate.owner}', or install it again, "
            "before that revision runs.",
            path=step.revision.path,
            level="warning",
        )
        for step in steps
        for operation in read_operations(step.revision)
        for estate in estates
        if (use := _use(estate, operation))
    )


def _use(estate: Estate, operation: Operation) -> str:
    """Say what of *estate* stands in the way of *operation*; nothing if nothing does."""
    table = TableName(operation.schema, operation.table)
    for key in estate.outgoing:
        if key.target == table and (
            operation.verb in _OF_TABLES
            or (operation.verb in _OF_COLUMNS and operation.name in key.target_columns)
        ):
            return f"the foreign key {key}"
    for part in estate.parts:
        if part.table == table and operation.verb == "drop_table":
            return f"the {part.kind} {part.name} on {shown(table)}"
    return ""
