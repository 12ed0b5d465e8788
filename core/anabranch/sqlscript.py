"""The merged run as a script of SQL: for those who may not let a program change their database.

It holds what a run would do and record, in the run's transactions, and nothing that only a
connection can do: hooks, seeds, locks and the checks of rows are left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import exc

from anabranch.access import Access
from anabranch.bookkeeping import write_adoption
from anabranch.chronicle import detail_of
from anabranch.database import Database
from anabranch.environment import offline_environment, use_metadata
from anabranch.errors import IntegrityError, RefusedError, UsageError
from anabranch.failures import cause_of
from anabranch.loading import load_scripts
from anabranch.models import core_metadata, owner_metadata
from anabranch.objects import ObjectChanges, OwnedObject, TableName
from anabranch.occupied import find_occupied
from anabranch.offline import OfflineConnection, Output
from anabranch.offline_objects import ScriptTracker
from anabranch.planning import Plan, Step
from anabranch.projection import Projection
from anabranch.reading import Reading, adopted_rows, read_database
from anabranch.recorder import Event, State, shown_ids
from anabranch.revision import AppliedRevision, RevisionKey
from anabranch.standin import StandIn, StandInError, schema_of, stand_in
from anabranch.statementlog import DIALECTS as STATEMENT_DIALECTS
from anabranch.structure import all_tables
from anabranch.transactions import Unit, units_of
from anabranch.wording import one_line

DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb")

_ACTOR = "SQL script"


@dataclass(frozen=True, slots=True)
class SqlScript:
    """A script, and what is to be said of it.

    :ivar source: the database it was written for the state of; empty for an empty one.
    :ivar warnings: what the script leaves open.
    """

    text: str
    dialect: str
    source: str
    plan: Plan
    warnings: tuple[str, ...]


def write_sql(
    access: Access, metadata: Any, *, dialect: str | None, from_nothing: bool
) -> SqlScript:
    """Do what :meth:`MigrationManager.sql` says."""
    own = access.database.dialect
    if dialect is not None and dialect not in DIALECTS:
        raise UsageError(
            f"anabranch writes no SQL for {dialect!r}.",
            remedy=f"Use one of: {', '.join(DIALECTS)}.",
        )
    if dialect not in (None, own) and not from_nothing:
        raise UsageError(
            f"The database is {own}; its state is not that of one of {dialect}.",
            remedy="Add --from-nothing for a script that creates a new database.",
        )
    objects: tuple[OwnedObject, ...] = ()
    tables: Collection[TableName] = ()
    schema: tuple[str, ...] = ()
    if from_nothing:
        reading = read_database(access.installation, access.recorder, None)
    else:
        with access.look() as (reading, connection):
            if connection is not None:
                objects = access.recorder.owned(connection)
                schemas = {item.table.schema for item in objects}
                tables = all_tables(connection, schemas, access.recorder.table_names)
                schema = schema_of(connection) if own == "sqlite" else ()
                if in_the_way := find_occupied(connection, access.recorder, reading.plan()):
                    raise IntegrityError(in_the_way)
    reading.require_sound()

    def write(there: StandIn | None, lacking: str = "") -> tuple[_Writer, str]:
        writer = _Writer(access, reading, metadata, dialect or own, objects, tables, there, lacking)
        return writer, writer.write("" if from_nothing else access.database.title)

    try:
        with stand_in(schema) if (dialect or own) == "sqlite" else nullcontext() as there:
            writer, text = write(there)
    except StandInError as error:
        writer, text = write(None, access.database.scrub(str(error)))
    return SqlScript(
        text=text,
        dialect=dialect or own,
        source="" if from_nothing else access.database.title,
        plan=writer.plan,
        warnings=tuple(writer.warnings),
    )


class _Writer:
    """Writes one script.

    :param there: what revisions may be run on that look at the database.
    :param lacking: why there is none.
    :ivar warnings: what the script leaves open.
    """

    def __init__(
        self,
        access: Access,
        reading: Reading,
        metadata: Any,
        dialect: str,
        objects: Iterable[OwnedObject],
        tables: Collection[TableName],
        there: StandIn | None,
        lacking: str,
    ) -> None:
        self.plan = reading.plan()
        self.warnings: list[str] = []
        self._reading = reading
        self._recorder = access.recorder
        self._database: Database = access.database
        self._discovery = access.installation.discovery
        self._core_metadata = core_metadata(metadata)
        self._owners: dict[str, sa.MetaData] = {}
        self._dialect = dialect
        self._objects = tuple(objects)
        self._tables = tables
        self._lines: list[str] = []
        self._tracker: ScriptTracker | None = None
        self._stand_in = there
        self._lacking = lacking
        self._stood_in = False
        self._is_refused = False
        self._held: list[str] | None = None
        self._run = uuid.uuid4().hex[:12]

    def write(self, source: str) -> str:
        """Write the whole script.

        :raises RefusedError: if revisions need a database to talk to; all are named.
        """
        self._say(*_head(self._dialect, source, self.plan))
        if not self.plan and not self._reading.adoption:
            return "\n".join(self._lines) + "\n"
        scripts, damaged = load_scripts(self.plan, self._database)
        if damaged:
            raise IntegrityError(tuple(damaged.values()))
        recorder = self._recorder
        with offline_environment(
            self._dialect,
            cast(Any, Output(self._take)),
            version_table=recorder.version_table.name,
            schema=recorder.schema,
        ) as context:
            connection = OfflineConnection(context.dialect, context.impl.execute)
            context.connection = context.impl.connection = cast(Any, connection)
            if self._dialect == "postgresql":
                context.dialect.default_schema_name = "public"
            self._tracker = ScriptTracker(
                connection, self._objects, recorder.table_names, self._tables
            )
            self._units(context, cast(Any, connection), scripts)
        text = "\n".join(self._lines) + "\n"
        if self._stand_in is not None and self._stood_in:
            self._stand_in.verify(text)
        return text

    def _units(
        self,
        context: MigrationContext,
        connection: sa.Connection,
        scripts: dict[RevisionKey, ModuleType],
    ) -> None:
        if self._dialect == "sqlite":
            self._take("PRAGMA foreign_keys = OFF")
        state = self._adopted()
        projection = Projection(
            self._reading.graph, state.applied, state.projected, state.version_rows or ()
        )
        refused: list[str] = []
        units = units_of(self.plan.steps, "auto", self._dialect) or (Unit((), shared=False),)
        for number, unit in enumerate(units):
            context.impl.emit_begin()
            if number == 0:
                self._begin(connection)
            for step in unit.steps:
                self._say("", f"-- [{step.number}/{len(self.plan.steps)}] {_title(step)}")
                cause = self._step(step, context, connection, scripts[step.key], projection)
                if cause:
                    refused.append(f"{step.key} ({step.revision.path}): {cause}")
                    self._is_refused = True
            context.impl.emit_commit()
        if refused:
            raise RefusedError(
                "Revisions that need a database to talk to cannot be written as a script:\n"
                + "\n".join(f"  {line}" for line in refused),
                remedy="Let init-db run them, or let them write what they do where "
                "context.is_offline_mode() is true.",
            )

    def _adopted(self) -> State:
        """Return the state once what another tool did is taken over."""
        reading = self._reading
        if not reading.adoption:
            return reading.state
        rows = adopted_rows(reading.graph, reading.state, reading.adoption)
        return State(
            {row.key: row for row in rows},
            prepared=True,
            projected=reading.projection,
            version_rows=shown_ids(reading.projection, reading.applied),
        )

    def _begin(self, connection: sa.Connection) -> None:
        tables = [*self._recorder.version_table.metadata.sorted_tables]
        if self._dialect in STATEMENT_DIALECTS:
            tables.append(self._recorder.statements.table)
        for table in tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
        if self._reading.adoption:
            write_adoption(self._recorder, connection, self._reading)
        if self.plan:
            detail = f"plan {self.plan.digest} of {len(self.plan.steps)}"
            run = Event("run", "", self._run, actor=_ACTOR, detail=detail)
            self._recorder.record_events(connection, [run])

    def _step(
        self,
        step: Step,
        context: MigrationContext,
        connection: Any,
        script: ModuleType,
        projection: Projection,
    ) -> str:
        """Write what one revision does and is recorded as; return why that cannot be."""
        tracker = self._tracker
        assert tracker is not None
        owner = self._discovery.get(step.key.owner)
        assert owner is not None
        if owner.name not in self._owners:
            self._owners[owner.name] = owner_metadata(owner, self._core_metadata)
        use_metadata(context, self._owners[owner.name])
        connection.asked.clear()
        held: list[str] = []
        self._held = held
        try:
            script.upgrade()
        except (CommandError, exc.NoInspectionAvailable) as error:
            # A batch rebuild, or a look at what there is.
            self._held = None
            if self._stand_in is None:
                cause = cause_of(error, self._database)
                if self._lacking:
                    cause += f"; and no copy without rows can stand in for it: {self._lacking}"
                return cause
            if self._is_refused:
                return ""  # what it would look at is not there, and there will be no script
            return self._stand(step, connection, script, projection)
        except (Exception, SystemExit) as error:
            return cause_of(error, self._database)
        finally:
            self._held = None
        if connection.asked:
            return f"it asked for {connection.asked[0]}"
        for statement in held:
            self._take(statement)
            tracker.feed(statement)
        for statement in tracker.unread:
            shown = " ".join(statement.split())[:100]
            self.warnings.append(f"{step.key}: what this makes is not recorded: {shown}")
        tracker.unread.clear()
        changes = tracker.finish(step.key)
        self._record(step, connection, owner.distribution, owner.version, changes, projection)
        return ""

    def _stand(
        self, step: Step, connection: Any, script: ModuleType, projection: Projection
    ) -> str:
        """Write what a revision does that must look at the database, by running it elsewhere."""
        there, tracker, recorder = self._stand_in, self._tracker, self._recorder
        owner = self._discovery.get(step.key.owner)
        assert there is not None and tracker is not None and owner is not None
        try:
            statements, changes, objects = there.run(
                step,
                script.upgrade,
                self._owners[owner.name],
                tracker,
                version_table=recorder.version_table.name,
                ignored=recorder.table_names,
            )
        except (Exception, SystemExit) as error:
            return cause_of(error, self._database)
        self._stood_in = True
        self._say(*(f"{statement};" for statement in statements))
        self._tracker = ScriptTracker(connection, objects, recorder.table_names, there.tables())
        self._record(step, connection, owner.distribution, owner.version, changes, projection)
        return ""

    def _record(
        self,
        step: Step,
        connection: sa.Connection,
        distribution: str,
        version: str,
        changes: ObjectChanges,
        projection: Projection,
    ) -> None:
        key, revision, edges = step.key, step.revision, self._reading.graph.edges
        entry = Event(
            "applied",
            "",
            self._run,
            owner=key.owner,
            revision=key.id,
            distribution=distribution,
            version=version,
            actor=_ACTOR,
            detail=detail_of(step),
        )
        row = AppliedRevision(
            key=key,
            down_revisions=edges.down.get(key, ()),
            depends_on=edges.depends.get(key, ()),
            branch_labels=revision.branch_labels,
            checksum=revision.checksum,
            distribution=distribution,
            version=version,
            run=self._run,
        )
        recorder = self._recorder
        projection.add(key)
        shift = projection.shift()
        recorder.record_applied(connection, [row], projected=shift.shown)
        recorder.record_events(connection, [entry])
        recorder.record_objects(connection, changes)
        if shift:
            recorder.project(
                connection,
                shift.shown - {key},
                was=shift.hidden,
                rows=shift.ids_gone,
                ids=shift.ids_new,
            )

    def _take(self, statement: str) -> None:
        if statement == "BEGIN" and self._dialect == "sqlite":
            statement = "BEGIN IMMEDIATE"
        if self._held is not None:
            self._held.append(statement)
            return
        self._say(f"{statement};")
        if self._stand_in is not None and not self._is_refused:
            self._stand_in.follow(statement)

    def _say(self, *lines: str) -> None:
        self._lines.extend(lines)


def _head(dialect: str, source: str, plan: Plan) -> list[str]:
    """Return the comment that a script begins with."""
    state = f"For the state of {source}." if source else "For an empty database."
    if not plan:
        return [f"-- {state} Nothing is pending."]
    client = {
        "sqlite": "sqlite3 -bail FILE < SCRIPT",
        "postgresql": "psql -X -v ON_ERROR_STOP=1 -f SCRIPT",
    }.get(dialect, "mysql DATABASE < SCRIPT")
    return [
        f"-- {len(plan.steps)} revisions for {dialect}, plan {plan.digest}.",
        f"-- {state} Apply it once, with a client that stops at the first error:",
        f"--   {client}",
        "-- Hooks and seeds of plugins are not part of it.",
    ]


def _title(step: Step) -> str:
    return one_line(f"{step.key} {step.revision.message}")
