"""What is said of a revision that failed: the cause, the place in its script, what stands now."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from sqlalchemy import exc

from anabranch.database import Database
from anabranch.errors import AnabranchError, RevisionError
from anabranch.guards import GuardError
from anabranch.ledger import LostWorkError, is_commit
from anabranch.planning import Direction, Step
from anabranch.revision import CORE, RevisionKey
from anabranch.wording import counted


def failure_of(
    step: Step,
    error: BaseException,
    database: Database,
    committed: Sequence[RevisionKey],
    direction: Direction,
    *,
    partial: bool,
) -> AnabranchError:
    """Return the error that tells an operator of *step*, which *error* ended.

    :param committed: the revisions of this run that stay applied, or reverted.
    :param partial: whether a part of *step* may stay too.
    """
    path = step.revision.path
    line = line_in(path, error)
    state = standing(step, database, committed, direction, partial=partial)
    # What a script is refused is its own affair, a second connection of its own perhaps.
    if line is None and isinstance(error, exc.DBAPIError) and database.is_locked(error):
        return database.in_use(error, state=state)
    place = f"{path}, line {line}" if line else path
    remedy = "Mend the revision, then run the same command again."
    if (owner := step.key.owner) != CORE and direction == "upgrade":
        remedy += f" Or leave the plugin out: [plugins] disabled = [{owner!r}]."
    return RevisionError(
        f"{step.key} failed ({place}): {cause_of(error, database)}",
        revision=step.key,
        path=path,
        line=line,
        partial=partial,
        remedy=remedy,
        state=state,
    )


def cause_of(error: BaseException, database: Database) -> str:
    """Return *error* in one line, with its statement and without a secret."""
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig else error
    text = database.scrub(" ".join(str(cause).split()))
    if isinstance(error, AnabranchError | GuardError | LostWorkError):
        return text
    statement = getattr(error, "statement", None)
    shown = f" [{' '.join(str(statement).split())[:300]}]" if statement else ""
    return f"{type(cause).__name__}: {text}{database.scrub(shown)}"


def standing(
    step: Step,
    database: Database,
    committed: Sequence[RevisionKey],
    direction: Direction,
    *,
    partial: bool,
) -> str:
    """Say where the database stands after *step* did not end well."""
    if partial:
        rolled_back = f"{step.key} had committed by itself, so a part of it may have stayed."
    elif database.dialect == "sqlite":
        rolled_back = "Rolled back."
    else:
        rolled_back = f"{step.key} was rolled back."
    if not committed:
        return f"{rolled_back} Nothing else was changed."
    kept = counted(len(committed), "revision before it stays", "revisions before it stay")
    now = "applied" if direction == "upgrade" else "reverted"
    return f"{rolled_back} {kept} {now}, the last is {committed[-1]}."


def is_failed_commit(error: BaseException) -> bool:
    """Tell whether the database refused to commit, because of a deferred constraint perhaps."""
    return isinstance(error, exc.DBAPIError) and (
        error.statement is None or is_commit(error.statement)
    )


def is_interrupt(error: BaseException) -> bool:
    """Tell whether a signal stopped the run; SQLite says it in its own way."""
    return isinstance(error, KeyboardInterrupt) or (
        isinstance(error, exc.OperationalError) and str(error.orig) == "interrupted"
    )


def line_in(path: str, error: BaseException) -> int | None:
    """Return the last line of the file *path* that the error passed through."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == path
    ]
    return lines[-1] if lines else None
