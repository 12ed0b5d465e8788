"""What a revision would create and is there already, by the record as somebody's.

A table that a purge left to whoever counts on it is one, when the plugin that made it comes back.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.claims import Thing, changed_by, thing_of
from anabranch.estate import is_there
from anabranch.mysql import number_of
from anabranch.objects import OwnedObject
from anabranch.operations import CODE, SQL, Operation, read_operations, written_out
from anabranch.planning import Plan, Step
from anabranch.problems import Problem
from anabranch.recorder import Recorder
from anabranch.revision import CORE, RevisionKey
from anabranch.spelling import Spelling
from anabranch.statements import folded, tokens
from anabranch.structure import read_structures, shown

OCCUPIED = "AB127"

_WORDS = re.compile(rb"[\w$\x80-\xff]+")
_THERE = {"42P07", "42701"}  # PostgreSQL's: a table, a column that is there already
_THERE_NUMBERS = {1050, 1060}  # MariaDB's


def find_occupied(
    connection: sa.Connection, recorder: Recorder, plan: Plan, *, taking_up: bool = False
) -> tuple[Problem, ...]:
    """Say what *plan* is sure to find in its way; each of these would fail its revision.

    By what sources say for certain. What an earlier step may take away first is left out.

    :param taking_up: whether what a purge left is no fault where it can be taken up.
    """
    objects = recorder.objects(connection) if plan else ()
    if not objects or recorder.statements.half_done(connection):
        return ()  # a half-done revision finds its own
    spelling = Spelling.of(connection)
    recorded = {thing_of(item, spelling): item for item in objects}
    found = list(_candidates(plan, recorded, spelling))
    there = read_structures(connection, {item.table for _, item in found})
    returning = {step.key.owner for step, item in found if is_left(item)} - {CORE}
    can_take_up = took_part(recorder, connection, returning)
    return tuple(
        Problem(
            code=OCCUPIED,
            owner=step.key.owner,
            text=f"{step.key} would create {described(item)}, which is there: {reason(item)}.",
            remedy=way_out(step.key, item, can_take_up=step.key in can_take_up),
            path=step.revision.path,
        )
        for step, item in found
        if (item.table in there if item.kind == "table" else is_there(item, there))
        and not (taking_up and is_left(item) and step.key in can_take_up)
    )


def is_left(item: OwnedObject) -> bool:
    """Tell whether a purge left *item* to its owner, whose revisions did not make it."""
    return not item.revision


def took_part(
    recorder: Recorder, connection: sa.Connection, owners: Iterable[str]
) -> frozenset[RevisionKey]:
    """Return the revisions of *owners* that had run when these were purged last.

    What they did to a thing that the purge left is in it, and so they can take it up as it is.
    """
    found: set[RevisionKey] = set()
    for owner in owners:
        ran: set[RevisionKey] = set()
        purged: frozenset[RevisionKey] = frozenset()
        for event in recorder.events(connection, owner=owner):
            key = RevisionKey(owner, event.revision)
            if event.event in ("applied", "adopted"):
                ran.add(key)
            elif event.event == "reverted":
                ran.discard(key)
            elif event.event == "purged":
                purged, ran = frozenset(ran), set()
        found |= purged
    return frozenset(found)


def holder_of(
    error: BaseException, objects: Iterable[OwnedObject], spelling: Spelling
) -> OwnedObject | None:
    """Return what is recorded of a thing that a statement could not create: it was there."""
    if not is_there_already(error) or not isinstance(error, exc.DBAPIError):
        return None
    sql = error.statement or ""
    recorded = {thing_of(item, spelling): item for item in objects}
    for operation in (*written_out(sql, certain=True), Operation(SQL, "", "", "", True, sql=sql)):
        for verb, thing in changed_by(operation, spelling):
            if verb != "drop" and thing in recorded:
                return recorded[thing]
    return None


def is_there_already(error: BaseException) -> bool:
    """Tell whether the database refused to create what is there already."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return (
        (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) in _THERE
        or number_of(cause) in _THERE_NUMBERS
        or (
            isinstance(cause, sqlite3.OperationalError)
            and re.search("table .* already exists|duplicate column name", str(cause)) is not None
        )
    )


def described(item: OwnedObject) -> str:
    if item.kind == "table":
        return f"table {shown(item.table)}"
    return f"{item.kind} {item.name} of {shown(item.table)}"


def reason(item: OwnedObject) -> str:
    """Say whose it is."""
    if not is_left(item):
        return f"{item.key} made it"
    return f"it stayed for {item.owner} when the plugin that made it was purged"


def way_out(key: RevisionKey, item: OwnedObject, *, can_take_up: bool = False) -> str:
    """Say what to do where *key* would create *item*.

    :param can_take_up: whether *key* had run before a purge left that.
    """
    plugin = "" if key.owner == CORE else f" --plugin {key.owner}"
    adopt = f"'db adopt DIR{plugin}' compares that and records it"
    if key.owner == item.owner:
        return f"If what {key.owner} makes is all there, {adopt}; else drop what is left of it."
    if can_take_up and is_left(item):
        return (
            f"'init-db DIR --take-up' leaves it as it is, and makes the rest of {key.owner}; or "
            f"leave the plugin out ([plugins] disabled = [{key.owner!r}])."
        )
    of = "the application" if key.owner == CORE else key.owner
    ways = [f"Install a release of {of} that takes it as it is"]
    if plugin:
        ways.append(f"leave the plugin out ([plugins] disabled = [{key.owner!r}])")
    if item.owner != CORE:
        ways.append(f"remove what is {item.owner}'s with 'db purge DIR {item.owner}'")
    return f"{', or '.join(ways)}. If all else that {of} makes is there too, {adopt}."


def _candidates(
    plan: Plan, recorded: dict[Thing, OwnedObject], spelling: Spelling
) -> Iterable[tuple[Step, OwnedObject]]:
    names = {folded(table.name).encode() for table, _, _ in recorded}
    touched: set[str] = set()
    for step in plan.steps:
        if not _speaks(step, names):
            continue
        for operation in read_operations(step.revision):
            if operation.verb == CODE or (operation.verb == SQL and not operation.sql):
                return  # it may do anything
            changes = list(changed_by(operation, spelling))
            for verb, thing in changes if _is_sure(operation) else ():
                if verb != "drop" and thing in recorded and folded(thing[0].name) not in touched:
                    yield step, recorded[thing]
            touched |= {folded(table.name) for verb, (table, _, _) in changes if verb == "drop"}
            if operation.verb == SQL:
                touched |= {folded(token.name) for token in tokens(operation.sql) if token.is_name}


def _speaks(step: Step, names: Collection[bytes]) -> bool:
    """Tell whether the file has one of *names* in it, which is cheaper than to take it apart."""
    with suppress(OSError):
        source = Path(step.revision.path).read_bytes().lower()
        return not set(_WORDS.findall(source)).isdisjoint(names)
    return False


def _is_sure(operation: Operation) -> bool:
    asks = re.search(r"\bif\s+not\s+exists\b", operation.sql, re.IGNORECASE)
    given = operation.options.get("if_not_exists", "False")
    return operation.certain and not asks and given == "False"
