"""What one run writes of itself: its rows in the applied set and its lines in the journal."""

from __future__ import annotations

import socket
import uuid
from contextlib import ExitStack

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.connections import is_usable
from anabranch.database import Database
from anabranch.errors import AnabranchError, BlockedError, LockError
from anabranch.failures import cause_of
from anabranch.ledger import Ledger
from anabranch.locking import user_name
from anabranch.objects import ObjectChanges
from anabranch.planning import Step
from anabranch.reading import Reading
from anabranch.recorder import Event, Recorder, now
from anabranch.revision import AppliedRevision


class Chronicle:
    """Notes in the ledger what a run does, and in the journal what ended it.

    :ivar run: the name of the run.
    :ivar actor: who started it, and where.
    :ivar begun: whether its first line is committed, before any revision is.
    """

    def __init__(
        self,
        database: Database,
        connection: sa.Connection,
        recorder: Recorder,
        reading: Reading,
        ledger: Ledger,
    ) -> None:
        self.run = uuid.uuid4().hex[:12]
        self.actor = f"{user_name()}@{socket.gethostname()}"
        self.begun = False
        self._database = database
        self._connection = connection
        self._recorder = recorder
        self._reading = reading
        self._ledger = ledger

    @property
    def has_journal(self) -> bool:
        """Whether there is a journal that stays."""
        return bool(self._reading.state.prepared or self._ledger.committed or self.begun)

    def note(self, name: str, detail: str) -> None:
        """Note an event of the run itself."""
        self._ledger.note(Event(name, now(), self.run, actor=self.actor, detail=detail))

    def note_applied(self, step: Step, duration: float, changes: ObjectChanges) -> None:
        """Note that *step* is applied, with what it did to the owned objects."""
        key, revision, edges = step.key, step.revision, self._reading.graph.edges
        entry = self.entry("applied", step, duration)
        applied = AppliedRevision(
            key=key,
            down_revisions=edges.down.get(key, ()),
            depends_on=edges.depends.get(key, ()),
            branch_labels=revision.branch_labels,
            checksum=revision.checksum,
            distribution=entry.distribution,
            version=entry.version,
            applied_at=entry.at,
            duration=duration,
            run=self.run,
        )
        self._ledger.note_applied(applied, entry, changes)

    def note_reverted(self, step: Step, duration: float, changes: ObjectChanges) -> None:
        """Note that *step* is applied no more, with what it did to the owned objects."""
        self._ledger.note_reverted(step.key, self.entry("reverted", step, duration), changes)

    def entry(
        self, name: str, step: Step, duration: float = 0.0, detail: str | None = None
    ) -> Event:
        """Make a line of the journal about *step*.

        :param detail: what it says; None for the revision's message, and why it loses rows if it
            says so.
        """
        owner = self._reading.installation.discovery.get(step.key.owner)
        return Event(
            name,
            now(),
            self.run,
            owner=step.key.owner,
            revision=step.key.id,
            distribution=owner.distribution if owner else "",
            version=owner.version if owner else "",
            duration=duration,
            actor=self.actor,
            detail=detail_of(step) if detail is None else detail,
        )

    def write_failure(self, step: Step, failure: AnabranchError) -> None:
        """Append a failure to the journal, where it can be written; else it says so itself."""
        if isinstance(failure, LockError) and not isinstance(failure, BlockedError):
            return  # whoever holds the lock is writing
        failure.state += self.write("failed", step, failure.what)

    def write(self, name: str, step: Step, detail: str) -> str:
        """Append what ended a run to the journal; return what an operator should know of that."""
        connection = self._connection
        if not self.has_journal:
            return ""
        try:
            with ExitStack() as stack:
                if not is_usable(connection):
                    if name != "interrupted":
                        return ""  # the server is gone
                    # A signal in the midst of a statement costs the connection.
                    connection = stack.enter_context(self._database.second())
                with connection.begin():
                    entry = self.entry(name, step, detail=detail)
                    self._recorder.record_events(connection, [entry])
        except exc.DBAPIError as error:
            # A full disk or a lost server: the failure itself is what must be told.
            return f" The journal could not be written: {cause_of(error, self._database)}"
        return ""


def detail_of(step: Step) -> str:
    """Return what the journal says of a revision: its message, and why it loses rows if it does."""
    reason = step.revision.destructive
    return step.revision.message + (f" (destructive: {reason})" if reason else "")
