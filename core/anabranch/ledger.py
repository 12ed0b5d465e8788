"""What a run has done and not yet recorded, written into whichever commit comes next.

A revision's row, its journal line, its objects and Alembic's table become true in the commit that
makes its changes true, also where a script commits or rolls back by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from sqlalchemy import exc

from anabranch.connections import is_usable
from anabranch.events import listening
from anabranch.inscribing import Inscription
from anabranch.locking import Lock
from anabranch.objects import ObjectChanges, OwnedObject
from anabranch.postgresql import AdvisoryLock, Tenure
from anabranch.projection import Projection, Shift
from anabranch.reading import Reading
from anabranch.recorder import Event, Recorder
from anabranch.revision import AppliedRevision, Revision, RevisionKey
from anabranch.sqlite import begin_without_foreign_keys
from anabranch.statements import uncommented

_COMMIT = re.compile(r"\s*(?:COMMIT|END)\b", re.IGNORECASE)
_ROLLBACK = re.compile(r"\s*(?:ROLLBACK|ABORT)\b(?!.*\bTO\b)", re.IGNORECASE)
# What SQLite does differently, or not at all, inside a transaction.
_OUTSIDE = re.compile(r"\s*(?:BEGIN|VACUUM|PRAGMA|ATTACH|DETACH)\b", re.IGNORECASE)

_BATCH = 500  # revisions whose records are written together at most


class LostWorkError(Exception):
    """A script rolled back what other revisions had done in the same transaction."""


@dataclass
class _Waiting:
    applied: list[AppliedRevision] = field(default_factory=list)
    reverted: list[RevisionKey] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    changes: list[ObjectChanges] = field(default_factory=list)


class Ledger:
    """Keeps the records of one run on one connection in step with its transactions.

    :param lock: the run lock. PostgreSQL is asked for it when a revision begins and when its
        records are written, which is refused without it; other locks have a guard of their own.
    :ivar committed: the revisions whose commit is done, in order, whichever way they ran.
    :ivar commits: how many commits there were, whoever asked for them.
    :ivar rollbacks: how many rollbacks there were.
    :ivar is_writing: whether what is sent right now is the ledger's own.
    :ivar committing: whether nothing was asked of the database since it was asked to commit.
    """

    def __init__(
        self,
        connection: sa.Connection,
        recorder: Recorder,
        reading: Reading,
        lock: Lock | None = None,
    ) -> None:
        state = reading.state
        self.committed: list[RevisionKey] = []
        self.commits = 0
        self.rollbacks = 0
        self.committing = False
        self.is_writing = False
        self._connection = connection
        self._recorder = recorder
        self._applied_before = frozenset(state.applied)
        self._projection = Projection(
            reading.graph, state.applied, state.projected, state.version_rows or ()
        )
        self._waiting = _Waiting()
        self._written: list[RevisionKey] = []
        self._lost: list[RevisionKey] = []
        self._rolled_back = False
        self._before_commit = 0
        self._judge: Callable[[], None] = _nothing
        self._mark: tuple[int, int, int] | None = None
        self._unasked: tuple[int, int, int] | None = None
        self._is_plain = False
        self._transaction: int | None = None
        self._tenure: Tenure | None = None
        self._inscription: Inscription | None = None
        if connection.dialect.name == "postgresql":
            self._tenure = Tenure(connection, lock if isinstance(lock, AdvisoryLock) else None)
            self._inscription = recorder.inscription(self._tenure.questions)
        self._notes: list[Event] = []
        self._line = 0
        self._following = False

    @contextmanager
    def recording(self) -> Generator[None, None, None]:
        """Follow the connection's commits and rollbacks while the block runs."""
        self._following = True
        try:
            with listening(
                self._connection,
                begin=self._note_begin,
                commit=self._note_commit,
                rollback=self._note_rollback,
                before_cursor_execute=self._before_statement,
            ):
                yield
        finally:
            self._following = False

    def note(self, entry: Event) -> None:
        """Let *entry* be a line of the journal from the next commit on."""
        self._waiting.events.append(entry)

    def note_applied(self, row: AppliedRevision, entry: Event, changes: ObjectChanges) -> None:
        """Let a revision be applied from the next commit on."""
        self._waiting.applied.append(row)
        self._waiting.events.append(entry)
        self._waiting.changes.append(changes)
        self._projection.add(row.key)
        if self._connection.dialect.name != "sqlite" or len(self._waiting.applied) >= _BATCH:
            self.write()

    @contextmanager
    def transaction(self, context: MigrationContext) -> Generator[None, None, None]:
        """Hold a transaction in a way that ``autocommit_block()`` and a script's own commit keep.

        After a script committed by itself, the rest of it runs in a transaction that SQLAlchemy
        began; that one is ended here.
        """
        connection = self._connection
        try:
            with context.begin_transaction():
                try:
                    yield
                except BaseException:
                    if is_usable(connection):
                        with suppress(Exception):  # a lost server, whose transaction is gone
                            self.settle(failed=True)
                    raise
        except BaseException:
            if is_usable(connection):
                connection.rollback()
                # Where an error came up in a commit, SQLAlchemy takes the transaction for ended and
                # sends nothing; the next commit would then keep what must go.
                connection.connection.rollback()
            raise
        if connection.in_transaction():
            connection.commit()

    def make_ready(self, revision: Revision, *, hooked: bool) -> None:
        """Write what waits before *revision* runs, if a commit in it could pass unseen.

        :param hooked: whether code of plugins runs before or after it.
        """
        if hooked or not revision.plain:
            self.write()

    def note_reverted(self, key: RevisionKey, entry: Event, changes: ObjectChanges) -> None:
        """Let a revision be applied no more from the next commit on."""
        self._waiting.reverted.append(key)
        self._waiting.events.append(entry)
        self._waiting.changes.append(changes)
        self._projection.remove(key)
        self.write()

    def write(self) -> None:
        """Write what waits into the transaction that is open."""
        self.is_writing = True
        try:
            self._write()
        finally:
            self.is_writing = False

    def _write(self) -> None:
        connection, recorder = self._connection, self._recorder
        waiting, self._waiting = self._waiting, _Waiting()
        shift = self._projection.shift()
        if self._tenure is not None and self._inscription is not None:
            self._write_at_once(waiting, shift, self._tenure, self._inscription)
            return
        keys = [row.key for row in waiting.applied]
        recorder.record_applied(connection, waiting.applied, projected=shift.shown)
        recorder.forget(connection, waiting.reverted)
        recorder.record_events(connection, waiting.events)
        self._notes += [entry for entry in waiting.events if not entry.revision]
        if waiting.events and self._following and connection.dialect.name == "sqlite":
            self._line = recorder.last_event(connection)
        for changes in _joined(waiting.changes):
            recorder.record_objects(connection, changes)
        if shift:
            recorder.project(
                connection,
                shift.shown.difference(keys),
                was=shift.hidden.difference(waiting.reverted),
                rows=shift.ids_gone,
                ids=shift.ids_new,
            )
        self._written += [*keys, *waiting.reverted]

    def _write_at_once(
        self, waiting: _Waiting, shift: Shift, tenure: Tenure, inscription: Inscription
    ) -> None:
        """Write what waits in one statement, which also says how the transaction stands."""
        if not (waiting.events or shift):
            return
        connection, recorder = self._connection, self._recorder
        recorder.forget(connection, waiting.reverted)
        added: list[OwnedObject] = []
        for changes in _joined(waiting.changes):
            # What removes something has to come in its turn.
            if changes.removed:
                recorder.record_objects(connection, ObjectChanges((), tuple(added)))
                recorder.record_objects(connection, changes)
                added = []
            else:
                added += changes.added
        answers = inscription.write(
            connection,
            revisions=waiting.applied,
            events=waiting.events,
            objects=added,
            shift=Shift(
                shift.hidden.difference(waiting.reverted),
                shift.shown,
                shift.ids_gone,
                shift.ids_new,
            ),
        )
        self._require_same(tenure.learn(answers), tenure)
        self._notes += [entry for entry in waiting.events if not entry.revision]
        self._written += [*(row.key for row in waiting.applied), *waiting.reverted]

    def _require_same(self, transaction: int, tenure: Tenure) -> None:
        """Compare the open *transaction* with the one that a script began in, if it ended none.

        One that it ended unseen kept all but the records, which the next commit adds.

        :raises LostWorkError: if it was rolled back.
        """
        mark, self._unasked = self._unasked, None
        if mark is None or mark[1:] != (self.commits, self.rollbacks):
            return
        if transaction == mark[0]:
            self._transaction = transaction
            return
        if tenure.status(mark[0]) != "committed":
            raise LostWorkError("it rolled back its transaction in a way that nobody could see")
        self._count_commit()
        self.committing = False

    def discard(self) -> None:
        """Forget what is not committed: the transaction it was done in is gone."""
        self._waiting = _Waiting()
        self._notes = []
        self._written = []
        self._lost = []
        self._projection.reset(self._applied_before.symmetric_difference(self.committed))

    def undo_commit(self) -> None:
        """Take back what the last commit was noted to do: the database refused it."""
        self.commits -= 1
        del self.committed[self._before_commit :]
        self._projection.undo_commit()

    def is_committed(self, connect: Callable[[], sa.Connection]) -> bool | None:
        """Tell whether the last commit was done; None if its answer was lost and nobody knows.

        :param connect: opens another connection; only PostgreSQL can be asked.
        """
        if not self._connection.invalidated:
            return False  # the database refused it
        if self._transaction is None:
            return None
        try:
            with connect() as other:
                asked = other.exec_driver_sql(f"SELECT txid_status({self._transaction})")
                status = asked.scalar_one()
        except exc.DBAPIError:  # a server that is gone: the next run will see
            return None
        return None if status == "in progress" else bool(status == "committed")

    def reopen(self) -> None:
        """Begin again where the transaction was ended in a way SQLAlchemy does not see.

        By a text; through the driver, whose ``executescript()`` commits first; or by SQLite, which
        rolls back by itself where the disk is full. Only SQLite needs that: PostgreSQL's driver
        begins by itself.
        """
        connection = self._connection
        if connection.dialect.name != "sqlite" or not connection.in_transaction():
            return
        raw: Any = connection.connection.dbapi_connection
        options = connection.get_execution_options()
        if raw.in_transaction or options.get("isolation_level") == "AUTOCOMMIT":
            return
        begin_without_foreign_keys(raw)
        raw.execute("BEGIN IMMEDIATE")
        if not self._rolled_back and self._is_undone():
            self._note_rollback(connection)
        elif not self._rolled_back:
            self.write()
            self._count_commit()
            raw.execute("COMMIT")
            begin_without_foreign_keys(raw)
            raw.execute("BEGIN IMMEDIATE")
            self.committing = False
            self._judge()
        self._rolled_back = False

    def mark(self, judge: Callable[[], None], doing: Revision, *, hooked: bool) -> None:
        """Note that the script of *doing* begins, and which transaction of PostgreSQL is open.

        :param judge: asked before a commit of the script's, which it may refuse by raising.
        :param hooked: whether code of plugins runs after it, before it is recorded.
        :raises LockLostError: without the run lock, if the ledger asks for it.
        """
        self._judge = judge
        self._mark = self._unasked = self._transaction = None
        self._is_plain = doing.plain and not hooked
        if self._tenure is not None:
            self._mark = (self._tenure.begin(str(doing.key)), self.commits, self.rollbacks)

    def settle(self, *, failed: bool = False) -> None:
        """Note that the script has ended, and how a transaction did that ended unseen.

        PostgreSQL's driver says nothing of a COMMIT within a string of several statements, nor of
        one that a script sends through it. Where a script speaks of no such thing it is asked along
        with the records.

        :param failed: whether the transaction is to be rolled back, whatever has become of it.
        """
        self._judge = _nothing
        mark, self._mark = self._mark, None
        tenure = self._tenure
        if tenure is None or mark is None or mark[1:] != (self.commits, self.rollbacks):
            return
        if self._is_plain and not failed:
            self._unasked = mark
            return
        if failed:
            self._connection.connection.rollback()
        if tenure.holds(mark[0]):
            self._transaction = mark[0]
        elif tenure.status(mark[0]) == "committed":
            self._count_commit()
            self.committing = False
        elif not failed:
            self._note_rollback(self._connection)

    def _is_undone(self) -> bool:
        """Tell whether what was written into the transaction that ended is gone."""
        try:
            return self._recorder.last_event(self._connection) < self._line
        except exc.DBAPIError:  # the journal itself is gone
            return self._line > 0

    def check_rollback(self) -> None:
        """Let a run go on after a script rolled back by itself.

        :raises LostWorkError: if the work of other revisions is lost with its own.
        """
        if self._lost:
            lost = ", ".join(map(str, self._lost))
            raise LostWorkError(f"it rolled back the transaction that it shares with {lost}")
        self._recorder.prepare(self._connection)

    def _before_statement(self, connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self.committing = False
        statement = uncommented(statement)
        if _COMMIT.match(statement):
            self._note_commit(connection)
        elif _ROLLBACK.match(statement):
            self._note_rollback(connection)
            self._rolled_back = True
        elif not _OUTSIDE.match(statement):
            self.reopen()

    def _note_begin(self, _connection: sa.Connection) -> None:
        self.committing = self._rolled_back = False
        self._line = 0

    def _note_rollback(self, _connection: sa.Connection) -> None:
        self.rollbacks += 1
        self._line = 0
        self._waiting.events[:0], self._notes = self._notes, []
        waiting = self._waiting
        lost = [*self._written, *(row.key for row in waiting.applied), *waiting.reverted]
        if lost:
            self._lost = lost
            self._waiting = _Waiting(events=[e for e in waiting.events if not e.revision])
            self._written = []
            self._projection.reset(self._applied_before.symmetric_difference(self.committed))

    def _note_commit(self, _connection: sa.Connection) -> None:
        """Write what waits before a commit, whoever asked for that, and count it as done."""
        self._judge()
        self.write()
        self._count_commit()

    def _count_commit(self) -> None:
        self._before_commit = len(self.committed)
        self._projection.commit()
        self.commits += 1
        self.committed += self._written
        self._written = []
        self._notes = []
        self._line = 0
        self.committing = True


def _joined(changes: list[ObjectChanges]) -> Iterator[ObjectChanges]:
    """Make one of changes that only add; what removes something has to come in its turn."""
    added: list[OwnedObject] = []
    for each in changes:
        if each.removed:
            yield ObjectChanges((), tuple(added))
            added = []
            yield each
        else:
            added += each.added
    yield ObjectChanges((), tuple(added))


def is_commit(statement: str) -> bool:
    """Tell whether *statement* ends a transaction by committing it."""
    return _COMMIT.match(uncommented(statement)) is not None


def _nothing() -> None:
    """Have no objection to a commit."""
