"""What pending revisions are sure to lose, asked before any of them runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from anabranch.errors import DestructiveError
from anabranch.losses import Asker, Loss
from anabranch.operations import CODE, SQL, Operation, read_operations
from anabranch.planning import Plan, Step
from anabranch.reading import Reading
from anabranch.recorder import Recorder
from anabranch.statements import tokens

_HINTS = re.compile(rb"drop|nullable|\bnot\s+null\b", re.IGNORECASE)


def sure_losses(
    recorder: Recorder, connection: sa.Connection, reading: Reading, plan: Plan
) -> tuple[tuple[Step, Loss], ...]:
    """Say what *plan* is sure to lose; nothing where a run has not come to its end yet."""
    if not reading.applied or not recorder.was_complete(connection, len(plan.steps)):
        return ()
    if recorder.statements.half_done(connection):
        return ()  # what a half-done revision has dropped may be there again, filled anew
    return forecast(connection, plan)


def forecast(connection: sa.Connection, plan: Plan) -> tuple[tuple[Step, Loss], ...]:
    """Ask what is sure to be lost by the pending revisions, before any of them runs.

    Sources are read, not run. Whatever another pending step may touch before is left out, and
    judged when it is its turn.
    """
    places = [number for number, step in enumerate(plan.steps) if _hints(step.revision.path)]
    asker = Asker(connection)
    found: list[tuple[Step, Loss]] = []
    touched: set[str] = set()
    for step in plan.steps[: places[-1] + 1 if places else 0]:
        for operation in read_operations(step.revision):
            if operation.verb == CODE or (operation.verb == SQL and not operation.sql):
                return tuple(found)  # it may do anything
            if (
                operation.certain
                and not step.revision.destructive
                and operation.table.lower() not in touched
                and (loss := _ask(asker, operation))
            ):
                found.append((step, loss))
            touched |= _touches(operation)
    return tuple(found)


def refusal(step: Step, losses: Sequence[Loss]) -> DestructiveError:
    """Return the error that stops *step* because of *losses*."""
    remedy = "If that is meant, run the same command again with --allow-destructive."
    if all(loss.is_refusal for loss in losses):
        remedy = "Give these rows a value first."
    first = losses[0]
    return DestructiveError(
        f"{step.key} would {'; '.join(map(str, losses))}.",
        revision=step.key,
        table=first.table,
        column=first.column,
        rows=first.rows,
        remedy=remedy,
    )


def _hints(path: str) -> bool:
    """Tell whether a source speaks of anything that could be lost; cheaper than to read it."""
    with suppress(OSError):
        return _HINTS.search(Path(path).read_bytes()) is not None
    return False


def _ask(asker: Asker, operation: Operation) -> Loss | None:
    schema, table, name = operation.schema, operation.table, operation.name
    options = operation.options
    if operation.verb == "drop_table":
        return asker.dropped_table(schema, table)
    if operation.verb == "drop_column":
        return asker.dropped_column(schema, table, name)
    if options.get("nullable") != "False":
        return None
    if operation.verb == "alter_column":
        return asker.required_column(schema, table, name)
    if operation.verb == "add_column" and not {"server_default", "identity"} & options.keys():
        return asker.added_column(schema, table, name)
    return None


def _touches(operation: Operation) -> set[str]:
    """Return the tables, in lower case, whose rows or names *operation* may change."""
    if operation.sql:
        return {token.name.lower() for token in tokens(operation.sql) if token.is_name}
    if operation.verb in {"bulk_insert", "create_table", "drop_table"}:
        return {operation.table.lower()}
    if operation.verb == "rename_table":
        return {operation.table.lower(), operation.name.lower()}
    if operation.verb in {"add_column", "alter_column"}:
        # Its defaults and new names; what is said of NULLs before holds no more.
        return {operation.table.lower()}
    return set()
