"""What is said of a revision that failed: the cause, the place in its script, what stands now."""

from __future__ import annotations

import sqlite3
import traceback
from dataclasses import dataclass

from sqlalchemy import exc

from anabranch.database import Database
from anabranch.errors import (
    AnabranchError,
    BlockedError,
    LockLostError,
    RefusedError,
    ResumeError,
    RevisionError,
)
from anabranch.guards import GuardError
from anabranch.ledger import LostWorkError, is_commit
from anabranch.mysql import number_of
from anabranch.objects import OwnedObject
from anabranch.occupied import OCCUPIED, described, is_there_already, reason, way_out
from anabranch.planning import Direction, Step
from anabranch.revision import CORE, RevisionKey
from anabranch.wording import counted, text_of

_DISK_FULL = "53100"  # PostgreSQL's
_NO_ROOM = {1021, 1114}  # MariaDB's: the disk, the table or its tablespace is full


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a unit that did not end well.

    :ivar partial: whether a part of the revision that failed may have stayed.
    :ivar kept: what of it did, and how it goes on; empty if that is not known.
    :ivar undone: how many others had run in its transaction, and were rolled back with it.
    :ivar committed: the revisions of this run that stay applied, or reverted, in order.
    :ivar lost: whether the connection is gone, so that nobody but the next run can ask.
    :ivar unknown: whether it went before the database answered a commit.
    """

    direction: Direction
    partial: bool
    kept: str = ""
    undone: int
    committed: tuple[RevisionKey, ...]
    lost: bool = False
    unknown: bool = False


def failure_of(
    step: Step,
    error: BaseException,
    database: Database,
    outcome: Outcome,
    holder: OwnedObject | None = None,
) -> AnabranchError:
    """Return the error that tells an operator of *step*, which *error* ended.

    :param holder: what is recorded of a thing that was in its way.
    """
    path = step.revision.path
    line = line_in(path, error)
    state = standing(step, outcome)
    if isinstance(error, LockLostError | ResumeError):
        error.state = state
        return error
    # What a script is refused is its own affair, a second connection of its own perhaps.
    if line is None and isinstance(error, exc.DBAPIError) and database.is_locked(error):
        return database.in_use(error, state=state)
    if isinstance(error, RefusedError):
        error.state = state
        return error
    place = f"{path}, line {line}" if line else path
    is_lost = outcome.lost and is_disconnect(error)
    remedy = "Mend the revision, then run the same command again."
    if step.key in outcome.committed:
        remedy = "Run the same command again; it goes on from there."
    elif is_out_of_room(error):
        remedy = "Make room where the database is, then run the same command again."
    elif is_lost:
        remedy = "See that the server can be reached, and run the same command again; it goes on."
    elif (owner := step.key.owner) != CORE and outcome.direction == "upgrade":
        remedy += f" Or leave the plugin out: [plugins] disabled = [{owner!r}]."
    failed = "lost the connection to the server" if is_lost else "failed"
    failure = RevisionError(
        f"{step.key} {failed} ({place}): {cause_of(error, database)}",
        revision=step.key,
        path=path,
        line=line,
        partial=outcome.partial,
        remedy=remedy,
        state=state,
    )
    if is_lost:
        failure.code = "AB305"
    if holder is not None:
        failure.code = OCCUPIED
        failure.what += f". There is a {described(holder)} already: {reason(holder)}."
        failure.remedy = way_out(step.key, holder)
    elif is_there_already(error) and outcome.direction == "upgrade" and not outcome.partial:
        failure.remedy += " If another tool made what is there, 'db adopt DIR' takes it over."
    if isinstance(error, GuardError):
        failure.code = error.code
        failure.remedy = f"{error.remedy} {remedy}".strip()
    return failure


def blocked_error(step: Step, blockers: str, outcome: Outcome) -> BlockedError:
    """Return the error that tells whose lock *step* waited for.

    :param blockers: who held it, in words.
    """
    return BlockedError(
        f"{step.key} waited for a lock that {blockers} holds.",
        remedy="End that session, or let it end; then run the same command again.",
        state=standing(step, outcome),
    )


def cause_of(error: BaseException, database: Database) -> str:
    """Return *error* in one line, with its statement and without a secret."""
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig else error
    text = database.scrub(text_of(cause))
    if isinstance(error, AnabranchError | GuardError | LostWorkError):
        return text
    statement = getattr(error, "statement", None)
    shown = f" [{' '.join(str(statement).split())[:300]}]" if statement else ""
    return f"{type(cause).__name__}: {text}{database.scrub(shown)}"


def standing(step: Step, outcome: Outcome) -> str:
    """Say where the database stands after *step* did not end well."""
    committed = outcome.committed
    if step.key in committed:
        return f"{step.key} and all before it are committed: the connection was lost after that."
    if outcome.unknown:
        others = counted(outcome.undone, "other revision", "other revisions")
        also = f" with {others}" if outcome.undone else ""
        said = (
            f"The connection was lost while {step.key} was committed{also}, which is done as a "
            "whole or not at all; the next run sees which."
        )
    elif outcome.kept:
        said = outcome.kept
    elif outcome.partial:
        said = f"{step.key} had committed by itself, so a part of it may have stayed."
    elif outcome.undone:
        others = counted(outcome.undone, "revision that had run", "revisions that had run")
        said = f"Rolled back: {step.key}, and with it {others} in the same transaction."
    else:
        said = f"{step.key} was rolled back."
    if not committed:
        return f"{said} Nothing else was changed."
    kept = counted(len(committed), "revision before it stays", "revisions before it stay")
    now = "applied" if outcome.direction == "upgrade" else "reverted"
    return f"{said} {kept} {now}, the last is {committed[-1]}."


def is_failed_commit(error: BaseException) -> bool:
    """Tell whether the database refused to commit, because of a deferred constraint perhaps."""
    return isinstance(error, exc.DBAPIError) and (
        error.statement is None or is_commit(error.statement)
    )


def is_disconnect(error: BaseException | None) -> bool:
    """Tell whether *error* came of a lost connection, however a script wrapped it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
            return True
        error = error.__cause__ or error.__context__
    return False


def is_out_of_room(error: BaseException) -> bool:
    """Tell whether the database had no room left on its disk."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return (
        (isinstance(cause, sqlite3.OperationalError) and "disk is full" in str(cause))
        or (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) == _DISK_FULL
        or number_of(cause) in _NO_ROOM
    )


def is_interrupt(error: BaseException) -> bool:
    """Tell whether a signal stopped the run; SQLite says it in its own way."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return isinstance(error, KeyboardInterrupt) or (
        isinstance(cause, sqlite3.OperationalError) and str(cause) == "interrupted"
    )


def line_in(path: str, error: BaseException) -> int | None:
    """Return the last line of the file *path* that the error passed through."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == path
    ]
    return lines[-1] if lines else None
