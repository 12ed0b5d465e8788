"""Run a plan: transactions, scripts, and the record of what they did, committed together."""

from __future__ import annotations

import re
import socket
import time
import traceback
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import sqlalchemy as sa
from alembic.migration import MigrationContext
from sqlalchemy import event

from anabranch.database import Database
from anabranch.discovery import Discovery
from anabranch.environment import script_environment, use_metadata
from anabranch.errors import AnabranchError, HookError, IntegrityError, LockError, RevisionError
from anabranch.graph import Graph
from anabranch.hooks import Hooks
from anabranch.locking import user_name
from anabranch.models import owner_metadata
from anabranch.objects import ObjectChanges, ObjectTracker, TableName
from anabranch.planning import Plan, Step
from anabranch.problems import Problem
from anabranch.recorder import Event, Recorder, State, now, shown_ids
from anabranch.revision import AppliedRevision, RevisionKey
from anabranch.scripts import load_script
from anabranch_plugins_api import Seed

_COMMIT = re.compile(r"\s*(?:COMMIT|END)\b", re.IGNORECASE)
_ROLLBACK = re.compile(r"\s*(?:ROLLBACK|ABORT)\b(?!.*\bTO\b)", re.IGNORECASE)
# What SQLite does differently, or not at all, inside a transaction.
_OUTSIDE = re.compile(r"\s*(?:BEGIN|VACUUM|PRAGMA|ATTACH|DETACH)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Progress:
    """What is reported while a plan runs; *duration* is in seconds and 0 at the start."""

    event: Literal["started", "applied", "failed"]
    step: Step
    total: int
    duration: float = 0.0


@dataclass
class _Records:
    """What is done and waits for the commit that makes it true."""

    applied: list[AppliedRevision] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    changes: list[ObjectChanges] = field(default_factory=list)


class Executor:
    """Runs plans on one connection that already holds the migration lock.

    On SQLite all revisions share one transaction, on PostgreSQL each has its own; a revision that
    commits by itself, as ``autocommit_block()`` does, always ends the one it is in.
    """

    def __init__(
        self,
        *,
        database: Database,
        connection: sa.Connection,
        recorder: Recorder,
        discovery: Discovery,
        graph: Graph,
        state: State,
        hooks: Hooks,
        metadata: sa.MetaData,
        report: Callable[[Progress], None],
    ) -> None:
        self.run_id = uuid.uuid4().hex[:12]
        self._database = database
        self._connection = connection
        self._recorder = recorder
        self._discovery = discovery
        self._graph = graph
        self._state = state
        self._hooks = hooks
        self._metadata = metadata
        self._report = report
        self._applied = set(state.applied)
        self._heads = graph.maximal(self._applied & graph.installed)
        self._needed = {parent for key in self._applied for parent in graph.declared(key)}
        self._shown: tuple[frozenset[RevisionKey], frozenset[str]] = (
            state.projected,
            state.version_rows or frozenset(),
        )
        self._records = _Records()
        self._committed: list[RevisionKey] = []
        self._commits = 0
        self._rollbacks = 0
        self._lost: list[RevisionKey] = []
        self._before_flush = (self._shown, 0)
        self._actor = f"{user_name()}@{socket.gethostname()}"

    def run(self, plan: Plan) -> tuple[RevisionKey, ...]:
        """Run *plan* and return the revisions that are now applied.

        :raises RevisionError: if one fails. What was committed before stays; the error says so.
        :raises IntegrityError: if a script cannot even be loaded; then nothing was run.
        """
        with script_environment(
            self._connection,
            version_table=self._recorder.version_table.name,
            schema=self._recorder.schema,
        ) as context:
            scripts = self._load(plan)
            metadata = self._load_metadata(plan)
            tracker = ObjectTracker(
                self._connection,
                self._recorder.objects(self._connection),
                self._recorder.table_names,
            )
            self._connection.rollback()
            with tracker.watching(), self._recording():
                waiting = deque(plan.steps)
                while waiting:
                    self._run_unit(context, waiting, plan, scripts, metadata, tracker)
                self._finish(plan)
        return tuple(self._committed)

    def _load(self, plan: Plan) -> dict[RevisionKey, ModuleType]:
        """Import every script, so that a damaged one is found before the first runs."""
        scripts: dict[RevisionKey, ModuleType] = {}
        problems: list[Problem] = []
        for step in plan.steps:
            try:
                script = load_script(step.revision)
            except (Exception, SystemExit) as error:
                cause = self._cause(error)
                if line := _line_in(step.revision.path, error):
                    cause += f" (line {line})"
            else:
                if callable(getattr(script, "upgrade", None)):
                    scripts[step.key] = script
                    continue
                cause = "it has no function upgrade()"
            problems.append(
                Problem(
                    code="AB118",
                    owner=step.key.owner,
                    text=f"{step.key} ({step.revision.path}) cannot be loaded: {cause}.",
                    remedy=f"Mend or reinstall {step.key.owner}, or disable it.",
                    path=step.revision.path,
                )
            )
        if problems:
            raise IntegrityError(problems)
        return scripts

    def _load_metadata(self, plan: Plan) -> dict[str, sa.MetaData]:
        names = dict.fromkeys(step.key.owner for step in plan.steps)
        owners = {owner.name: owner for owner in self._discovery.owners}
        return {name: owner_metadata(owners[name], self._metadata) for name in names}

    def _run_unit(
        self,
        context: MigrationContext,
        waiting: deque[Step],
        plan: Plan,
        scripts: dict[RevisionKey, ModuleType],
        metadata: dict[str, sa.MetaData],
        tracker: ObjectTracker,
    ) -> None:
        """Run the first of the *waiting* steps, as many as belong into one transaction."""
        connection = self._connection
        done: list[tuple[Step, frozenset[TableName]]] = []
        step, commits, rollbacks = waiting[0], self._commits, self._rollbacks
        try:
            with self._transaction(context):
                broken_before = self._broken_references()
                if step is plan.steps[0]:
                    self._begin_run(plan)
                while waiting and not (done and self._stands_alone(waiting[0])):
                    step, commits = waiting.popleft(), self._commits
                    self._report(Progress("started", step, len(plan.steps)))
                    started = time.monotonic()
                    use_metadata(context, metadata[step.key.owner])
                    self._hooks.notify(
                        "anabranch_before_revision", connection=connection, revision=str(step.key)
                    )
                    try:
                        scripts[step.key].upgrade()
                    finally:
                        self._reopen()
                    if self._rollbacks != rollbacks:
                        self._check_rollback()
                    self._hooks.notify(
                        "anabranch_after_revision", connection=connection, revision=str(step.key)
                    )
                    done.append((step, tracker.touched()))
                    duration = time.monotonic() - started
                    self._record(step, duration, tracker.finish(step.key))
                    self._report(Progress("applied", step, len(plan.steps), duration))
                    ended = (self._commits, self._rollbacks) != (commits, rollbacks)
                    if ended or self._stands_alone(step):
                        break
                self._check_references(broken_before, done)
        except (Exception, SystemExit) as error:
            if isinstance(error, _BrokenReferencesError):
                step = error.step
            if _is_failed_commit(error):
                self._unflush()
            partial = self._commits != commits
            self._records = _Records()
            self._report(Progress("failed", step, len(plan.steps)))
            failure = self._failure(step, error, partial=partial)
            self._journal_failure(step, failure)
            raise failure from error

    def _stands_alone(self, step: Step) -> bool:
        """Tell whether *step* has a transaction of its own."""
        return self._database.dialect != "sqlite" or step.revision.autocommit

    @contextmanager
    def _transaction(self, context: MigrationContext) -> Iterator[None]:
        """Hold a transaction in a way that ``autocommit_block()`` and a script's own commit keep.

        After a script committed by itself, the rest of it runs in a transaction that SQLAlchemy
        began; that one is ended here.
        """
        connection = self._connection
        try:
            with context.begin_transaction():
                yield
        except BaseException:
            if not connection.invalidated:
                connection.rollback()
            raise
        if connection.in_transaction():
            connection.commit()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Write what is done into whichever commit comes next, a script's own included."""
        connection = self._connection
        event.listen(connection, "commit", self._flush)
        event.listen(connection, "rollback", self._note_rollback)
        event.listen(connection, "before_cursor_execute", self._before_statement)
        try:
            yield
        finally:
            event.remove(connection, "commit", self._flush)
            event.remove(connection, "rollback", self._note_rollback)
            event.remove(connection, "before_cursor_execute", self._before_statement)

    def _before_statement(self, connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if _COMMIT.match(statement):
            self._flush(connection)
        elif _ROLLBACK.match(statement):
            self._note_rollback(connection)
        elif not _OUTSIDE.match(statement):
            self._reopen()

    def _reopen(self) -> None:
        """Begin again where a script ended the transaction in a way SQLAlchemy does not see.

        By a text, or through the driver, whose ``executescript()`` commits first.
        """
        connection = self._connection
        if self._database.dialect != "sqlite" or not connection.in_transaction():
            return
        raw: Any = connection.connection.dbapi_connection
        options = connection.get_execution_options()
        if raw.in_transaction or options.get("isolation_level") == "AUTOCOMMIT":
            return
        raw.execute("BEGIN IMMEDIATE")
        if self._records.applied:
            self._flush(connection)
            raw.execute("COMMIT")
            raw.execute("BEGIN IMMEDIATE")

    def _note_rollback(self, _connection: sa.Connection) -> None:
        self._rollbacks += 1
        if self._records.applied:
            self._lost = [revision.key for revision in self._records.applied]
            self._records = _Records()
            self._applied -= set(self._lost)
            self._heads = self._graph.maximal(self._applied & self._graph.installed)

    def _check_rollback(self) -> None:
        """Go on after a script rolled back by itself, unless others' work is lost with its own."""
        if self._lost:
            lost = ", ".join(map(str, self._lost))
            raise _LostWorkError(f"it rolled back the transaction that it shares with {lost}")
        self._recorder.prepare(self._connection)

    def _flush(self, connection: sa.Connection) -> None:
        self._commits += 1
        self._before_flush = self._shown, len(self._committed)
        records, self._records = self._records, _Records()
        self._recorder.record_applied(connection, records.applied)
        self._recorder.record_events(connection, records.events)
        for changes in records.changes:
            self._recorder.record_objects(connection, changes)
        projected = frozenset(self._heads)
        ids = shown_ids(projected, self._applied)
        was, rows = self._shown
        if (projected, ids) != self._shown:
            self._recorder.project(connection, projected, was=was, rows=rows, ids=ids)
            self._shown = (projected, ids)
        self._committed += [revision.key for revision in records.applied]

    def _unflush(self) -> None:
        """Take back what the last flush noted as done: the commit after it failed."""
        self._commits -= 1
        self._shown, count = self._before_flush
        del self._committed[count:]

    def _begin_run(self, plan: Plan) -> None:
        self._recorder.prepare(self._connection)
        self._records.events.append(
            Event("run", now(), self.run_id, actor=self._actor, detail=f"plan {plan.digest}")
        )
        self._hooks.notify(
            "anabranch_before_run",
            connection=self._connection,
            revisions=[str(key) for key in plan.keys],
        )

    def _finish(self, plan: Plan) -> None:
        """Let plugins know, and put their seeds in place, each in a transaction of its own."""
        connection, revisions = self._connection, [str(key) for key in plan.keys]
        try:
            with connection.begin():
                self._hooks.notify(
                    "anabranch_after_run", connection=connection, revisions=revisions
                )
            for owner, seed in self._hooks.seeds():
                self._sow(owner, seed)
        except AnabranchError as error:
            error.state = f"All {len(revisions)} revisions of this run are applied and stay so."
            error.exit_code = 6
            raise

    def _sow(self, owner: str, seed: Seed) -> None:
        """Put the rows of *seed* in place, if not done yet in this version or a later one."""
        connection = self._connection
        try:
            with connection.begin():
                seeded = [
                    event.detail.rpartition(" ")
                    for event in self._recorder.events(connection)
                    if event.event == "seeded" and event.owner == owner
                ]
                if any(name == seed.name and int(v) >= seed.version for name, _, v in seeded):
                    return
                seed.run(connection)
                detail = f"{seed.name} {seed.version}"
                self._records.events.append(
                    Event("seeded", now(), self.run_id, owner, actor=self._actor, detail=detail)
                )
        except (Exception, SystemExit) as error:
            raise HookError(
                f"The seed {seed.name!r} of {owner} failed: {self._cause(error)}",
                owner=owner,
                remedy=f"Mend or disable the plugin {owner}.",
            ) from error

    def _record(self, step: Step, duration: float, changes: ObjectChanges) -> None:
        key, revision, edges = step.key, step.revision, self._graph.edges
        owner = self._discovery.get(key.owner)
        at = now()
        applied = AppliedRevision(
            key=key,
            down_revisions=edges.down.get(key, ()),
            depends_on=edges.depends.get(key, ()),
            branch_labels=revision.branch_labels,
            checksum=revision.checksum,
            distribution=owner.distribution if owner else "",
            version=owner.version if owner else "",
            applied_at=at,
            duration=duration,
            run=self.run_id,
        )
        self._records.applied.append(applied)
        self._records.events.append(self._event("applied", applied, revision.message))
        self._records.changes.append(changes)
        self._applied.add(key)
        self._heads -= set(self._graph.declared(key))
        if key not in self._needed:
            self._heads.add(key)

    def _event(self, name: str, applied: AppliedRevision, detail: str) -> Event:
        return Event(
            name,
            applied.applied_at,
            self.run_id,
            owner=applied.key.owner,
            revision=applied.key.id,
            distribution=applied.distribution,
            version=applied.version,
            duration=applied.duration,
            actor=self._actor,
            detail=detail,
        )

    def _broken_references(self) -> Counter[tuple[str, str]]:
        """Count the rows whose foreign key leads nowhere, by table and referred table."""
        if self._database.dialect != "sqlite":
            return Counter()
        try:
            rows = self._connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        except sa.exc.OperationalError:
            # A key that refers to columns without a unique index stops the check of all tables.
            tables = sa.inspect(self._connection).get_table_names()
            rows = [row for table in tables for row in self._broken_in(table)]
        return Counter((row[0], row[2]) for row in rows)

    def _broken_in(self, table: str) -> Sequence[sa.Row[Any]]:
        quoted = self._connection.dialect.identifier_preparer.quote_identifier(table)
        try:
            return self._connection.exec_driver_sql(f"PRAGMA foreign_key_check({quoted})").all()
        except sa.exc.OperationalError:
            return []

    def _check_references(
        self,
        before: Counter[tuple[str, str]],
        done: list[tuple[Step, frozenset[TableName]]],
    ) -> None:
        """Refuse to commit foreign keys that this unit broke; those it found broken may stay."""
        broken = self._broken_references() - before
        if not broken:
            return
        tables = {name for pair in broken for name in pair}
        suspects = [step for step, touched in done if any(t.name in tables for t in touched)]
        *others, culprit = suspects or [done[-1][0]]
        found = ", ".join(
            f"{count} rows of {table} refer to rows that {parent} does not have"
            for (table, parent), count in sorted(broken.items())
        )
        also = ", ".join(str(step.key) for step in others)
        raise _BrokenReferencesError(
            f"foreign keys are broken: {found}."
            + (f" {also} of this run wrote to these tables before." if also else ""),
            culprit,
        )

    def _failure(self, step: Step, error: BaseException, *, partial: bool) -> AnabranchError:
        if isinstance(error, sa.exc.DBAPIError) and self._database.is_locked(error):
            return self._database.in_use(error, state=self._standing(step, partial=partial))
        path = step.revision.path
        line = _line_in(path, error)
        place = f"{path}, line {line}" if line else path
        return RevisionError(
            f"{step.key} failed ({place}): {self._cause(error)}",
            revision=step.key,
            path=path,
            line=line,
            partial=partial,
            state=self._standing(step, partial=partial),
        )

    def _cause(self, error: BaseException) -> str:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
        text = self._database.scrub(" ".join(str(cause).split()))
        if isinstance(error, AnabranchError | _BrokenReferencesError | _LostWorkError):
            return text
        statement = getattr(error, "statement", None)
        shown = f" [{' '.join(str(statement).split())[:300]}]" if statement else ""
        return f"{type(cause).__name__}: {text}{shown}"

    def _standing(self, step: Step, *, partial: bool) -> str:
        if partial:
            rolled_back = f"{step.key} had committed by itself, so a part of it may have stayed."
        elif self._database.dialect == "sqlite":
            rolled_back = "Rolled back."
        else:
            rolled_back = f"{step.key} was rolled back."
        if not self._committed:
            return f"{rolled_back} Nothing else was changed."
        return (
            f"{rolled_back} {len(self._committed)} revisions before it stay applied, "
            f"the last is {self._committed[-1]}."
        )

    def _journal_failure(self, step: Step, failure: AnabranchError) -> None:
        """Append the failure to the journal, where there is one and it can be reached."""
        connection = self._connection
        if connection.invalidated or not (self._state.prepared or self._committed):
            return
        if isinstance(failure, LockError):
            return
        entry = Event(
            "failed",
            now(),
            self.run_id,
            owner=step.key.owner,
            revision=step.key.id,
            actor=self._actor,
            detail=failure.what,
        )
        self._applied = set(self._state.applied) | set(self._committed)
        self._heads = set(self._shown[0])
        try:
            with connection.begin():
                self._recorder.record_events(connection, [entry])
        except sa.exc.DBAPIError as error:
            # A full disk or a lost server: the failure itself is what must be told.
            failure.state += f" The journal could not be written: {self._cause(error)}"


class _LostWorkError(Exception):
    pass


class _BrokenReferencesError(Exception):
    def __init__(self, what: str, step: Step) -> None:
        super().__init__(what)
        self.step = step


def _is_failed_commit(error: BaseException) -> bool:
    """Tell whether the database refused to commit, because of a deferred constraint perhaps."""
    return isinstance(error, sa.exc.DBAPIError) and (
        error.statement is None or _COMMIT.match(error.statement) is not None
    )


def _line_in(path: str, error: BaseException) -> int | None:
    """Return the last line of the file *path* that the error passed through."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == path
    ]
    return lines[-1] if lines else None
