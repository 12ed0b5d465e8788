"""The verb ``check``: models, revisions and database, three ways, owner by owner.

What the models say is compared with the database as ``make-migrations`` does, within what is the
owner's. Where the two differ, what the revisions make tells which of them is to be set right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from anabranch.authoring.command import strangers
from anabranch.authoring.comparison import Scope, compare
from anabranch.authoring.history import written_values
from anabranch.authoring.ownership import Models
from anabranch.authoring.scratch import scratch_database
from anabranch.authoring.values import NewValues, new_values
from anabranch.errors import IntegrityError, PendingError, PluginError, UsageError
from anabranch.estate import is_there
from anabranch.names import normalise
from anabranch.objects import OwnedObject, TableName, unnamed
from anabranch.problems import Problem
from anabranch.reading import Reading
from anabranch.structure import Structure, all_tables, read_structures, shown
from anabranch.wording import did_you_mean

if TYPE_CHECKING:
    from anabranch.manager import MigrationManager, Target

FindingKind = Literal["unwritten", "lost", "unrecorded", "different"]
CheckState = Literal["same", "pending", "drift", "unknown"]

_NAMED = {
    *("add_index", "remove_index", "add_constraint", "remove_constraint", "add_fk", "remove_fk"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in which models, revisions and database are not one.

    :ivar kind: ``unwritten``: models and revisions differ; ``lost``: what a revision made is gone
        from the database; ``unrecorded``: neither models nor revisions know it; ``different``: it
        is another thing in the models than in the database.
    :ivar object: ``table``, ``column``, ``index``, ``constraint``, or ``type`` for an enumerated
        type, whose name is then the table's too.
    """

    kind: FindingKind
    object: str
    table: TableName
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class OwnerCheck:
    """What was found of one owner.

    :ivar state: ``pending`` where its own revisions are, whose effect the models have already:
        they are not compared then; ``unknown`` where its models cannot be had.
    :ivar note: what could not be looked at, and why.
    """

    owner: str
    state: CheckState
    findings: tuple[Finding, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of every owner that was looked at."""

    database: str
    owners: tuple[OwnerCheck, ...]
    problems: tuple[Problem, ...]

    @property
    def state(self) -> CheckState:
        """The gravest state of an owner; a fault is as grave as drift."""
        states: set[CheckState] = {owner.state for owner in self.owners}
        if any(problem.level == "error" for problem in self.problems):
            states.add("drift")
        order: tuple[CheckState, ...] = ("drift", "unknown", "pending")
        for state in order:
            if state in states:
                return state
        return "same"


def check_models(manager: MigrationManager, target: Target, owner: str | None) -> Check:
    """Do what :meth:`MigrationManager.check` says."""
    access = manager.open(target)
    with access.look() as (reading, connection):
        owners = _wanted(reading, owner)
        problems = tuple(
            problem for problem in reading.problems if owner is None or problem.owner in owners
        )
        title = access.database.title
        if connection is None:
            return Check(title, tuple(OwnerCheck(name, "pending") for name in owners), problems)
        checker = _Checker(manager, reading, connection)
        return Check(title, tuple(checker.check(name) for name in owners), problems)


def _wanted(reading: Reading, owner: str | None) -> list[str]:
    """Return the owners to look at: one, or all that take part or left something."""
    known = [status.name for status in reading.owners() if status.state != "empty"]
    if owner is None:
        return known
    name = normalise(owner)
    if name not in [status.name for status in reading.owners()]:
        raise UsageError(
            f"No owner is called {owner!r}.{did_you_mean(name, known)}",
            remedy=f"Owners here: {', '.join(known) or 'none'}.",
        )
    return [name]


class _Checker:
    def __init__(
        self, manager: MigrationManager, reading: Reading, connection: sa.Connection
    ) -> None:
        self._manager = manager
        self._reading = reading
        self._connection = connection
        self._recorded = manager.recorder.objects(connection)
        discovery = reading.installation.discovery
        self._models = Models.load(
            discovery, manager.metadata, wanted="", core_modules=manager.core_modules
        )
        self._models.default_schema = connection.dialect.default_schema_name or ""
        self._strangers = strangers(discovery, reading, self._models)
        schemas = {item.table.schema for item in self._recorded}
        self._there = all_tables(connection, schemas, manager.recorder.table_names)

    def check(self, owner: str) -> OwnerCheck:
        lost = list(self._lost(owner))
        discovery = self._reading.installation.discovery
        if discovery.get(owner) is None or owner in self._reading.installation.disabled:
            return _result(owner, "same", lost, "It takes no part: only what is recorded of it.")
        failed = [str(each) for each in self._models.failures if each.owner == owner]
        if failed:
            return _result(owner, "unknown", lost, " ".join(failed))
        graph = self._reading.graph
        if any(key not in self._reading.applied for key in graph.of(owner)):
            return _result(owner, "pending", lost, "Its models are compared once it is applied.")
        scope = Scope.of(owner, self._models, self._recorded, self._strangers)
        try:
            upgrade, _ = compare(self._connection, scope)
            values = new_values(self._connection, self._reading, scope, upgrade, _unreported)
        except (PendingError, PluginError) as error:
            return _result(owner, "unknown", lost, error.what)
        note = ""
        if scope.withheld:
            others = ", ".join(sorted(scope.strangers))
            note = f"It may be of {others}: {', '.join(sorted(scope.withheld))}."
        diffs = [diff for diff in _flat(upgrade.as_diffs()) if _place(diff) is not None]
        if diffs:
            made = _Made(self._manager, owner, self._recorded)
            known = {(found.object, found.table, found.name) for found in lost}
            found = [_finding(diff, made) for diff in diffs]
            lost += [f for f in found if (f.object, f.table, f.name) not in known]
        lost += map(self._lacking, values)
        return _result(owner, "same", lost, note)

    def _lacking(self, values: NewValues) -> Finding:
        graph, applied = self._reading.graph, self._reading.applied
        keys = [key for key in graph.order if key in applied and key in graph.installed]
        written = written_values(graph.revisions[key] for key in keys).get(str(values.type.name))
        name = TableName(values.type.schema or "", str(values.type.name))
        added = ", ".join(map(repr, values.added))
        if written is not None and set(values.added) <= set(written):
            text = f"type {shown(name)}: revisions gave it {added}, and the database lacks that"
            return Finding("lost", "type", name, name.name, text)
        text = f"type {shown(name)}: the models give it {added}, and no revision does"
        return Finding("unwritten", "type", name, name.name, text)

    def _lost(self, owner: str) -> Iterator[Finding]:
        """Yield what is recorded as the owner's and is gone from the database."""
        own = [item for item in self._recorded if item.owner == owner]
        parts = {item.table for item in own if item.kind != "table"} & self._there
        structures = read_structures(self._connection, parts)
        for item in sorted(own, key=lambda item: (item.table, item.kind, item.name)):
            if item.kind == "table":
                is_lost = item.table not in self._there
            else:
                is_lost = item.table in self._there and not is_there(item, structures)
            if is_lost:
                yield Finding(
                    "lost",
                    item.kind,
                    item.table,
                    item.name,
                    f"{_called(item.kind, item.table, item.name)}: {item.key} made it, "
                    "and the database lacks it",
                )


def _unreported(line: str) -> None:
    """Say nothing of values that the models lack: rows may have them, and no revision is due."""


def _result(owner: str, state: CheckState, findings: Sequence[Finding], note: str) -> OwnerCheck:
    # A table that is found as a whole says all there is to say of its parts.
    whole = {found.table for found in findings if found.object == "table"}
    kept = tuple(f for f in findings if f.object == "table" or f.table not in whole)
    return OwnerCheck(owner, "drift" if kept else state, kept, note)


class _Made:
    """What an owner's revisions make, by the record and by replaying them where they run."""

    def __init__(
        self, manager: MigrationManager, owner: str, recorded: Iterable[OwnedObject]
    ) -> None:
        self._tables = {item.table for item in recorded if item.kind == "table"}
        self._parts = {(item.table, item.kind, item.name) for item in recorded}
        self._structures: dict[TableName, Structure] | None = None
        try:
            with scratch_database(manager, owner) as (scratch, _):
                there = all_tables(scratch, (), manager.recorder.table_names)
                self._structures = read_structures(scratch, there)
        except (UsageError, IntegrityError):
            return  # a script that SQLite cannot run: the record has to do

    def has(self, kind: str, table: TableName, name: str) -> bool | None:
        """Tell whether a revision makes it; None where nothing tells."""
        if self._structures is not None and not table.schema:
            structure = self._structures.get(table)
            if kind == "table" or structure is None:
                return structure is not None
            if kind == "constraint":
                return any(name == of for part, of in structure if part not in ("column", "index"))
            return any((kind, name) == part for part in structure)
        if kind == "table":
            return table in self._tables
        return True if (table, kind, name) in self._parts else None


def _flat(diffs: Iterable[Any]) -> Iterator[Any]:
    """Yield every difference: those of one column come in a list."""
    for diff in diffs:
        yield from diff if isinstance(diff, list) else [diff]


def _place(diff: Any) -> tuple[str, TableName, str] | None:
    """Return the kind of object that *diff* speaks of, its table and its name."""
    verb = diff[0]
    if verb.startswith("modify_"):
        return "column", TableName(diff[1] or "", diff[2]), diff[3]
    if verb.endswith("_column"):
        return "column", TableName(diff[1] or "", diff[2]), diff[3].name
    if verb in ("add_table", "remove_table"):
        return "table", TableName(diff[1].schema or "", diff[1].name), diff[1].name
    if verb in _NAMED:
        item = diff[1]
        kind = "index" if verb.endswith("_index") else "constraint"
        columns = [column.name for column in item.columns]
        name = item.name or unnamed("fk" if verb.endswith("_fk") else "uq", columns)
        return kind, TableName(item.table.schema or "", item.table.name), str(name)
    return None


def _finding(diff: Any, made: _Made) -> Finding:
    place = _place(diff)
    assert place is not None
    kind, table, name = place
    called = _called(kind, table, name)
    if diff[0].startswith("modify_"):
        aspect = diff[0].removeprefix("modify_")
        here, there = (_said(value) for value in (diff[6], diff[5]))
        says = f"its {aspect} is {here} in the models and {there} in the database"
        return Finding("different", kind, table, name, f"{called}: {says}")
    has = made.has(kind, table, name)
    if diff[0].startswith("add_"):
        if has:
            says = "a revision made it, and the database lacks it"
            return Finding("lost", kind, table, name, f"{called}: {says}")
        says = "the models have it, and no revision makes it"
        return Finding("unwritten", kind, table, name, f"{called}: {says}")
    if has is False:
        return Finding("unrecorded", kind, table, name, f"{called}: only the database has it")
    says = "the database has it, and the models do not"
    return Finding("unwritten", kind, table, name, f"{called}: {says}")


def _said(value: Any) -> str:
    if isinstance(value, sa.Enum):
        return f"one of {', '.join(map(repr, value.enums))}"
    return str(value)


def _called(kind: str, table: TableName, name: str) -> str:
    if kind == "table":
        return f"table {shown(table)}"
    if kind == "column":
        return f"column {shown(table)}.{name}"
    return f"{kind} {name} on {shown(table)}"
