"""The verb ``adopt``: tables that are there already are taken over, once they were compared."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from anabranch.access import Access
from anabranch.adoption import UNKNOWN_POSITION, taken_for_granted
from anabranch.blank import blank_database
from anabranch.bookkeeping import actor, record_position
from anabranch.errors import DifferenceError, IntegrityError, RevisionError, UsageError
from anabranch.estate import is_there
from anabranch.listening import Listener
from anabranch.names import HEADS, normalise
from anabranch.objects import ObjectChanges, OwnedObject, TableName
from anabranch.planning import Plan, make_plan, revisions_named
from anabranch.reading import Reading, read_database
from anabranch.recorder import EMPTY, Event, now
from anabranch.revision import CORE, RevisionKey
from anabranch.structure import CONSTRAINTS, Structure, differences, read_structures, shown

if TYPE_CHECKING:
    from anabranch.downgrading import Host


@dataclass(frozen=True, slots=True)
class Takeover:
    """What was taken over.

    :ivar added: the revisions that are applied from now on.
    :ivar tables: the tables that were compared.
    :ivar differences: in what they are not as expected, in words.
    """

    added: tuple[RevisionKey, ...]
    tables: tuple[TableName, ...]
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptOptions:
    """How tables are asked to be taken over; see :meth:`MigrationManager.adopt`."""

    plugin: str | None
    revision: str | None
    accept_differences: bool
    scratch: sa.URL | None
    lock_timeout: float | None
    listener: Listener


@dataclass(frozen=True)
class _Expected:
    """What revisions make of an empty database."""

    objects: tuple[OwnedObject, ...]
    structures: Mapping[TableName, Structure]


def run_adopt(access: Access, host: Host, options: AdoptOptions) -> Takeover:
    """Compare tables in the database of *access* with what revisions make, and record these."""
    with access.locked(timeout=options.lock_timeout, listener=options.listener) as connection:
        reading = read_database(access.installation, access.recorder, connection)
        connection.rollback()
        before = reading.applied
        if any(problem.code in UNKNOWN_POSITION for problem in reading.problems):
            before = taken_for_granted(reading.graph, reading.state)
        wanted = _wanted(reading, before, options)
        after = before | wanted
        owners = {key.owner for key in after - before}
        if options.plugin is not None:
            owners.add(normalise(options.plugin))
        _require_sound(reading, owners)
        expected = _build(access, host, reading, after, options)
        takeover, objects = _compare(access, connection, expected, owners)
        takeover = Takeover(
            tuple(key for key in reading.graph.order if key in after - before),
            takeover.tables,
            takeover.differences,
        )
        connection.rollback()
        if takeover.differences and not options.accept_differences:
            raise DifferenceError(takeover.differences)
        _record(access, connection, reading, after, takeover, objects)
    return takeover


def _require_sound(reading: Reading, owners: Collection[str]) -> None:
    """Raise the faults of *owners*, but not that a position is unknown: that is settled here."""
    errors = [
        problem
        for problem in reading.problems
        if problem.level == "error"
        and problem.owner in owners
        and problem.code not in UNKNOWN_POSITION
    ]
    if errors:
        raise IntegrityError(errors)


def _wanted(
    reading: Reading, before: Collection[RevisionKey], options: AdoptOptions
) -> set[RevisionKey]:
    """Return what is to be recorded as applied, with all it needs."""
    graph = reading.graph
    if options.plugin is None and options.revision is None:
        disabled = reading.installation.disabled
        keys = set(make_plan(graph, frozenset(), HEADS, disabled=disabled).keys)
        return keys | (graph.installed & set(before))
    owner = CORE if options.plugin is None else normalise(options.plugin)
    return graph.ancestors(revisions_named(graph, f"{owner}@{options.revision or 'head'}"))


def _build(
    access: Access,
    host: Host,
    reading: Reading,
    applied: Collection[RevisionKey],
    options: AdoptOptions,
) -> _Expected:
    """Run *applied*, as far as it is installed, in a blank database, and look at that."""
    from anabranch.executor import Executor
    from anabranch.models import core_metadata

    recorder = access.recorder
    every = make_plan(reading.graph, frozenset(), HEADS)
    plan = Plan(tuple(step for step in every.steps if step.key in applied), applied=0)
    with (
        blank_database(access.database, options.scratch) as database,
        database.migrate() as connection,
    ):
        executor = Executor(
            database=database,
            connection=connection,
            recorder=recorder,
            reading=replace(reading, state=EMPTY),
            metadata=core_metadata(host.metadata),
        )
        try:
            if plan:
                executor.run(plan)
        except RevisionError as error:
            raise UsageError(
                f"What is expected could not be built: {error.what}",
                remedy="If you know where the database stands, say it with 'db stamp'.",
            ) from error
        objects = recorder.objects(connection)
        return _Expected(objects, read_structures(connection, {item.table for item in objects}))


def _compare(
    access: Access, connection: sa.Connection, expected: _Expected, owners: Collection[str]
) -> tuple[Takeover, tuple[OwnedObject, ...]]:
    """Compare what *owners* should have with what is there, and return what of it is."""
    mine = [item for item in expected.objects if item.owner in owners]
    tables = {item.table for item in mine if item.kind == "table"}
    found = read_structures(connection, {item.table for item in mine})
    others = {item.owner for item in expected.objects}
    strangers = {
        (item.table, item.kind, item.name)
        for item in access.recorder.objects(connection)
        if item.kind != "table" and item.owner not in others
    }
    lines: list[str] = []
    for table in sorted(tables):
        lines += differences(
            table, expected.structures.get(table), _known(table, found.get(table), strangers)
        )
    for item in mine:
        if item.kind != "table" and item.table not in tables:
            lines += differences(
                item.table,
                _only(item, expected.structures.get(item.table, {})),
                _only(item, found.get(item.table, {})),
            )
    there = tuple(
        item
        for item in mine
        if (item.table in found if item.kind == "table" else is_there(item, found))
    )
    return Takeover((), tuple(sorted(tables)), tuple(lines)), there


def _known(
    table: TableName,
    structure: Structure | None,
    strangers: Collection[tuple[TableName, str, str]],
) -> Structure | None:
    """Leave out what is recorded as put there by owners that nobody can build."""
    if structure is None:
        return None
    return {
        (kind, name): part
        for (kind, name), part in structure.items()
        if (table, "constraint" if kind in CONSTRAINTS else kind, name) not in strangers
    }


def _only(item: OwnedObject, structure: Structure) -> Structure:
    """Return the part of a table that *item* is."""
    return {
        (kind, name): part
        for (kind, name), part in structure.items()
        if name == item.name and item.kind == ("constraint" if kind in CONSTRAINTS else kind)
    }


def _record(
    access: Access,
    connection: sa.Connection,
    reading: Reading,
    applied: frozenset[RevisionKey],
    takeover: Takeover,
    objects: tuple[OwnedObject, ...],
) -> None:
    at, run = now(), uuid.uuid4().hex[:12]
    detail = f"compared: {', '.join(map(shown, takeover.tables)) or 'no table'}"
    if takeover.differences:
        detail += f"; accepted: {'; '.join(takeover.differences)}"
    with connection.begin():
        record_position(
            access.recorder,
            connection,
            reading,
            applied,
            [
                Event("adopted", at, run, key.owner, key.id, actor=actor(), detail=detail)
                for key in takeover.added
            ],
        )
        access.recorder.record_objects(connection, ObjectChanges(removed=objects, added=objects))
