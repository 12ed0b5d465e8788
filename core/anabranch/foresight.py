"""What the next run will meet, told to whoever looks before it."""

from __future__ import annotations

import sqlalchemy as sa

from anabranch import leftovers
from anabranch.forecast import sure_losses
from anabranch.occupied import find_occupied
from anabranch.planning import Plan
from anabranch.problems import Problem
from anabranch.reading import Reading
from anabranch.recorder import Recorder


def half_done(recorder: Recorder, connection: sa.Connection | None) -> tuple[Problem, ...]:
    """Say which revisions stopped in the middle that the next run goes on with."""
    rows = recorder.statements.half_done(connection) if connection is not None else ()
    return tuple(leftovers.half_done(row) for row in rows if row.direction == "upgrade")


def losses(
    recorder: Recorder, connection: sa.Connection | None, reading: Reading, plan: Plan
) -> tuple[Problem, ...]:
    """Say which rows *plan* is sure to lose, or is sure to find in its way."""
    if connection is None:
        return ()
    return tuple(
        Problem(
            code="AB431",
            owner=step.key.owner,
            text=f"{step.key} would {loss}.",
            remedy="Give these rows a value first."
            if loss.is_refusal
            else "init-db stops before it, unless it is told --allow-destructive.",
            path=step.revision.path,
            level="warning",
        )
        for step, loss in sure_losses(recorder, connection, reading, plan)
    )


def occupied(
    recorder: Recorder, connection: sa.Connection | None, plan: Plan
) -> tuple[Problem, ...]:
    """Say what *plan* is sure to find in its way."""
    return find_occupied(connection, recorder, plan) if connection is not None else ()
