"""Run a plan: transactions, scripts, and the record of what they did, committed together."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext

from anabranch.book_guard import BookGuard
from anabranch.chronicle import Chronicle
from anabranch.collecting import collection_eased
from anabranch.concluding import conclude
from anabranch.connections import kept_usable
from anabranch.contention import PAUSES, Blockers, is_contended
from anabranch.database import Database
from anabranch.environment import script_environment, use_metadata
from anabranch.errors import (
    AnabranchError,
    BlockedError,
    IntegrityError,
    PluginError,
    RunInterrupted,
)
from anabranch.failures import (
    Outcome,
    blocked_error,
    failure_of,
    is_failed_commit,
    is_interrupt,
    standing,
)
from anabranch.guards import NOTHING_AROUND, Guard, GuardError
from anabranch.hooks import Hooks
from anabranch.indexes import IndexGuard
from anabranch.ledger import Ledger
from anabranch.listening import SILENT, Listener, Progress
from anabranch.loading import load_scripts
from anabranch.lock_guard import lock_guards
from anabranch.locking import Lock
from anabranch.models import owner_metadata
from anabranch.occupied import holder_of
from anabranch.planning import Plan, Step
from anabranch.reading import Reading
from anabranch.rebuilds import RebuildGuard
from anabranch.recorder import Recorder
from anabranch.references import ReferenceGuard
from anabranch.replay import Replay
from anabranch.revision import RevisionKey
from anabranch.setbacks import Setbacks, ends_run
from anabranch.spelling import Spelling
from anabranch.tracking import ObjectTracker
from anabranch.transactions import Mode, Unit, units_of
from anabranch.verification import verify


@dataclass(frozen=True, slots=True)
class _Run:
    """What all units of a run need."""

    context: MigrationContext
    plan: Plan
    scripts: Mapping[RevisionKey, ModuleType]
    metadata: Mapping[str, sa.MetaData]
    tracker: ObjectTracker
    guards: Sequence[Guard]
    spelling: Spelling

    @property
    def total(self) -> int:
        return len(self.plan.steps)


class _BlockedUnitError(Exception):
    """A lock of another session stopped a unit; what that had done is rolled back."""

    def __init__(self, step: Step, failure: BlockedError) -> None:
        super().__init__(failure.what)
        self.step = step
        self.failure = failure


class Executor:
    """Runs plans, up or down, on one connection that already holds the migration lock.

    :param reading: what was read under the lock.
    :param metadata: the core's.
    :param hooks: of the plugins that take part; None for nobody's.
    :param lock: the run lock; None where nobody else can reach the database.
    :param finished: what the journal says once hooks and seeds are done; empty for nothing.
    :param closing: what is to be done in the transaction of the last revision, after it.
    :ivar sown: the seeds that were put in place, in words.
    :ivar setbacks: what went wrong in a run that kept going.
    """

    def __init__(
        self,
        *,
        database: Database,
        connection: sa.Connection,
        recorder: Recorder,
        reading: Reading,
        metadata: sa.MetaData,
        hooks: Hooks | None = None,
        listener: Listener = SILENT,
        lock: Lock | None = None,
        guards: Sequence[Guard] = (),
        finished: str = "",
        closing: Callable[[], None] | None = None,
    ) -> None:
        self.sown: tuple[str, ...] = ()
        self.setbacks = Setbacks()
        self._finished = finished
        self._database = database
        self._connection = connection
        self._recorder = recorder
        self._reading = reading
        self._hooks = hooks or Hooks()
        self._is_hooked = self._hooks.watch_revisions
        self._metadata = metadata
        self._listener = listener
        self._ledger = Ledger(connection, recorder, reading, lock)
        # Where DDL can be rolled back nothing is ever half done.
        self._replay = (
            Replay(connection, recorder, self._is_ours) if database.dialect == "mysql" else None
        )
        self._books = BookGuard(connection, recorder, self._is_ours)
        self._guards = (self._books, *lock_guards(lock), *guards)
        if self._replay is not None:
            for guard in self._guards:
                guard.trust(self._replay.is_finished)
        self._closing = closing
        self._rehearsing = False
        self._started: Progress | None = None
        self._blockers = Blockers(database.second, self._tell_of_blockers)
        self._chronicle = Chronicle(database, connection, recorder, reading, self._ledger)

    @property
    def run_id(self) -> str:
        """The name of the run."""
        return self._chronicle.run

    def run(
        self, plan: Plan, mode: Mode = "auto", *, keep_going: bool = False
    ) -> tuple[RevisionKey, ...]:
        """Run *plan* and return the revisions that are now applied, or are so no more.

        :param mode: which of them share a transaction.
        :param keep_going: let each have its own, and after a failure go on with what does not need
            the failed one; :attr:`setbacks` tells of it.
        :raises RevisionError: if one fails. What was committed before stays; the error says so.
        :raises IntegrityError: if a script cannot even be loaded; then nothing was run.
        """
        units = units_of(plan.steps, "revision" if keep_going else mode, self._database.dialect)
        with script_environment(
            self._connection,
            version_table=self._recorder.version_table.name,
            schema=self._recorder.schema,
        ) as context:
            scripts, damaged = load_scripts(plan, self._database)
            if damaged and not keep_going:
                raise IntegrityError(tuple(damaged.values()))
            metadata, broken = self._load_metadata(plan)
            for error in () if keep_going else broken.values():
                raise error
            tracker = ObjectTracker(
                self._connection,
                self._recorder.owned(self._connection),
                self._recorder.table_names,
            )
            spelling = Spelling.of(self._connection)
            self._connection.rollback()
            guards = (
                RebuildGuard(self._connection),
                ReferenceGuard(self._connection, tracker),
                IndexGuard(self._connection, self._recorder, tracker, self._chronicle.entry),
                *self._guards,
            )
            run = _Run(context, plan, scripts, metadata, tracker, guards, spelling)
            with (
                tracker.watching(),
                self._ledger.recording(),
                self._blockers.watching(self._connection),
                self._replay.watching() if self._replay else nullcontext(),
                collection_eased(),
                ExitStack() as watches,
            ):
                for guard in guards:
                    watches.enter_context(guard.watching())
                self._tell_of_boundaries(units, run)
                if keep_going:
                    unfit = {key: IntegrityError([damaged[key]]) for key in damaged}
                    self._keep_going(units, run, {**broken, **unfit})
                for unit in () if keep_going else units:
                    left = unit
                    while left.steps:
                        left = left.after(self._run_unit(left, run))
                if plan.direction == "upgrade" and not self._rehearsing:
                    self.sown = conclude(
                        database=self._database,
                        connection=self._connection,
                        recorder=self._recorder,
                        reading=self._reading,
                        hooks=self._hooks,
                        ledger=self._ledger,
                        chronicle=self._chronicle,
                        setbacks=self.setbacks,
                        finished=self._finished,
                        judge=self._judging,
                    )
        return tuple(self._ledger.committed)

    def rehearse(self, plan: Plan) -> None:
        """Run *plan* in one transaction and roll that back, so that nothing of it stays.

        Hooks that follow a run and seeds, which have transactions of their own, are left out.

        :raises RevisionError: if a revision fails.
        """
        self._rehearsing = True
        self.run(plan, "run")

    def _load_metadata(
        self, plan: Plan
    ) -> tuple[dict[str, sa.MetaData], dict[RevisionKey, AnabranchError]]:
        """Return what each owner's revisions run with, and those whose owner's cannot be had."""
        owners = {owner.name: owner for owner in self._reading.installation.discovery.owners}
        metadata: dict[str, sa.MetaData] = {}
        broken: dict[RevisionKey, AnabranchError] = {}
        failed: dict[str, AnabranchError] = {}  # a second import would meet what the first left
        for key in plan.keys:
            if key.owner not in metadata and key.owner not in failed:
                try:
                    metadata[key.owner] = owner_metadata(owners[key.owner], self._metadata)
                except PluginError as error:
                    failed[key.owner] = error
            if key.owner in failed:
                broken[key] = failed[key.owner]
        return metadata, broken

    def _tell_of_boundaries(self, units: Sequence[Unit], run: _Run) -> None:
        """Say which revisions keep a run from being one transaction, where it was to be one."""
        if len(units) > 1 and any(unit.shared for unit in units):
            alone = [unit.steps[0] for unit in units if not unit.shared]
            keys = ", ".join(str(step.key) for step in alone)
            note = f"This run has {len(units)} transactions, not one: {keys} cannot share one."
            self._tell(Progress("noted", alone[0], run.total, note=note))

    def _tell_of_blockers(self, blockers: str) -> None:
        if self._started is not None:
            note = f"{self._started.step.key} waits for {blockers}."
            self._tell(replace(self._started, event="noted", note=note))

    def _keep_going(
        self, units: Sequence[Unit], run: _Run, unfit: Mapping[RevisionKey, AnabranchError]
    ) -> None:
        """Run every unit, each of one revision, that needs none of those that failed.

        :param unfit: what cannot even be tried.
        """
        if units:
            with self._connection.begin():  # which must not go with the first revision
                self._begin_run(run.plan)
            self._chronicle.begun = True
        for unit in units:
            (step,) = unit.steps
            if skipped := self.setbacks.skips(step):
                self._tell(Progress("skipped", step, run.total, note=skipped.reason))
                continue
            try:
                if step.key in unfit:
                    self._tell(Progress("failed", step, run.total))
                    self._write_failure(step, unfit[step.key])
                    raise unfit[step.key]
                self._run_unit(unit, run)
            except AnabranchError as failure:
                if ends_run(failure, self._connection):
                    raise
                self.setbacks.fail(step, failure)
                run.tracker.reload(self._recorder.owned(self._connection))
                self._connection.rollback()

    def _run_unit(self, unit: Unit, run: _Run) -> int:
        """Run *unit* and return how many of its steps that were.

        A script that ends the transaction by itself ends the unit with it.
        """
        pauses, begun = iter(PAUSES), self._ledger.commits
        while True:
            try:
                return self._try_unit(unit, run)
            except _BlockedUnitError as blocked:
                pause = next(pauses, None)
                # What a revision before it committed by hand would be done twice.
                if pause is None or self._ledger.commits != begun:
                    self._tell(Progress("failed", blocked.step, run.total))
                    self._write_failure(blocked.step, blocked.failure)
                    raise blocked.failure from blocked.__cause__
                self._wait(blocked, pause, run)

    def _wait(self, blocked: _BlockedUnitError, pause: float, run: _Run) -> None:
        """Let a lock's holder go on for a moment, and forget what the unit had done."""
        note = f"{blocked.failure.what} It is tried again in {pause:g} s."
        self._tell(Progress("noted", blocked.step, run.total, note=note))
        try:
            time.sleep(pause)
        except KeyboardInterrupt as interrupt:
            what = f"{blocked.step.key} was interrupted while it waited."
            state = blocked.failure.state + self._write_interrupt(blocked.step, what)
            raise RunInterrupted(what, state=state) from interrupt
        run.tracker.reload(self._recorder.owned(self._connection))
        self._connection.rollback()

    def _try_unit(self, unit: Unit, run: _Run) -> int:
        ledger = self._ledger
        done: list[Progress] = []
        step, commits, rollbacks = unit.steps[0], ledger.commits, ledger.rollbacks
        try:
            with ledger.transaction(run.context):
                for guard in run.guards:
                    guard.begin()
                if step is run.plan.steps[0] and not self._chronicle.begun:
                    self._begin_run(run.plan)
                for step in unit.steps:
                    commits = ledger.commits
                    done.append(self._run_step(step, run, rollbacks, shared=unit.shared))
                    if unit.shared:
                        with run.tracker.looking():
                            self._check_deferred()
                        duration = done[-1].duration
                        self._tell(Progress("ran", step, run.total, duration, shared=True))
                    if (ledger.commits, ledger.rollbacks) != (commits, rollbacks):
                        break
                for guard in run.guards:
                    guard.finish()
                if self._closing is not None and step is run.plan.steps[-1]:
                    self._closing()
                ledger.write()
                if self._rehearsing:
                    self._connection.rollback()
        except BaseException as error:
            if isinstance(error, GuardError):
                step = error.step
            committed: bool | None = True
            if ledger.committing and is_failed_commit(error):
                committed = ledger.is_committed(self._database.second)
            if not committed:
                ledger.undo_commit()
            kept = self._replay.kept(step.key) if self._replay else ""
            partial = ledger.commits != commits or bool(kept) or committed is None
            ledger.discard()
            stay = [progress for progress in done if progress.step.key in ledger.committed]
            for progress in stay:
                self._tell(progress)
            outcome = Outcome(
                direction=run.plan.direction,
                partial=partial,
                kept=kept,
                undone=len({item.step.key for item in done} - {step.key}) - len(stay),
                committed=tuple(ledger.committed),
                lost=self._connection.invalidated,
                unknown=committed is None,
            )
            if (kept or not partial) and is_contended(error):
                blocked = blocked_error(step, self._blockers.take(), outcome)
                raise _BlockedUnitError(step, blocked) from error
            self._tell(Progress("failed", step, run.total))
            if is_interrupt(error):
                what = f"{step.key} was interrupted."
                state = standing(step, outcome) + self._write_interrupt(step, what)
                raise RunInterrupted(what, state=state) from error
            holder = holder_of(error, run.tracker.objects, run.spelling)
            failure = failure_of(step, error, self._database, outcome, holder)
            self._write_failure(step, failure)
            raise failure from error
        for progress in done:
            self._tell(progress)
        return len(done)

    def _run_step(self, step: Step, run: _Run, rollbacks: int, *, shared: bool) -> Progress:
        """Run one revision, with all that is asked and noted before and after it."""
        ledger, plan = self._ledger, run.plan
        self._started = Progress("started", step, run.total)
        self._tell(self._started)
        started = time.monotonic()
        ledger.make_ready(step.revision, hooked=self._is_hooked)
        use_metadata(run.context, run.metadata[step.key.owner])
        self._notify_of(plan, "anabranch_before_revision", step)
        script = run.scripts[step.key]
        ledger.mark(lambda: self._judge(step, run), step.revision, hooked=self._is_hooked)
        with ExitStack() as surroundings:
            surroundings.callback(ledger.reopen)
            for guard in run.guards:
                around = guard.running(step)
                if around is not NOTHING_AROUND:
                    surroundings.enter_context(around)
            if getattr(script, "transactional", True) is False:
                surroundings.enter_context(run.context.autocommit_block())
            if self._replay is not None:
                resumable = getattr(script, "resumable", True) is not False
                surroundings.enter_context(
                    self._replay.running(step.key, plan.direction, resumable=resumable)
                )
                run.tracker.restart()
            getattr(script, plan.direction)()
        ledger.settle()
        if ledger.rollbacks != rollbacks:
            ledger.check_rollback()
        self._notify_of(plan, "anabranch_after_revision", step)
        touched = run.tracker.touched()
        for guard in run.guards:
            guard.check(step, touched)
        if plan.direction == "upgrade":
            verify(script, step, self._connection)
        duration = time.monotonic() - started
        if plan.direction == "upgrade":
            self._chronicle.note_applied(step, duration, run.tracker.finish(step.key))
            return Progress("applied", step, run.total, duration, shared)
        # What a downgrade() puts back belongs to what stays applied.
        changes = run.tracker.finish(next(iter(step.down), step.key))
        self._chronicle.note_reverted(step, duration, changes)
        return Progress("reverted", step, run.total, duration, shared)

    def _check_deferred(self) -> None:
        """Ask PostgreSQL for what it defers until the commit, which would blame the last revision.

        The savepoint gives each constraint back when it is checked.
        """
        if self._database.dialect == "postgresql":
            nested = self._connection.begin_nested()
            self._connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
            nested.rollback()

    def _is_ours(self) -> bool:
        return self._ledger.is_writing or any(guard.is_asking for guard in self._guards)

    def _judge(self, step: Step, run: _Run) -> None:
        """Ask the guards before a script commits by hand."""
        touched = run.tracker.touched()
        for guard in run.guards:
            guard.committing(step, touched)

    @contextmanager
    def _judging(self) -> Generator[None, None, None]:
        """Surround a hook or a seed."""
        with self._books.judging(), kept_usable(self._connection):
            yield

    def _write_failure(self, step: Step, failure: AnabranchError) -> None:
        if not self._rehearsing:
            self._chronicle.write_failure(step, failure)

    def _write_interrupt(self, step: Step, what: str) -> str:
        return "" if self._rehearsing else self._chronicle.write("interrupted", step, what)

    def _notify_of(self, plan: Plan, hook: str, step: Step) -> None:
        if self._is_hooked:
            self._notify(plan, hook, revision=str(step.key))

    def _notify(self, plan: Plan, hook: str, **arguments: Any) -> None:
        """Call a hook of plugins; those that there are speak of upgrades."""
        if plan.direction == "upgrade":
            self._hooks.notify(hook, self._judging, connection=self._connection, **arguments)

    def _tell(self, progress: Progress) -> None:
        """Report, but let no reader who went away fail a revision."""
        with suppress(Exception):
            self._listener.progress(progress)

    def _begin_run(self, plan: Plan) -> None:
        self._recorder.prepare(self._connection)
        detail = f"plan {plan.digest} of {len(plan.steps)}"
        if plan.direction == "downgrade":
            detail += " downwards"
        self._chronicle.note("run", detail)
        self._ledger.write()
        self._notify(plan, "anabranch_before_run", revisions=[str(key) for key in plan.keys])
