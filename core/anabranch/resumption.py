"""How far a revision has come whose statements commit one by one, now and in earlier runs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from dataclasses import replace
from typing import NoReturn

import sqlalchemy as sa

from anabranch.answers import Answer
from anabranch.errors import ResumeError
from anabranch.revision import RevisionKey
from anabranch.statementlog import Logged, StatementLog

_PUT_BACK = (
    "Put back what the script said up to that statement, and mend only what follows; "
    "then run the same command again."
)


class Resumption:
    """One revision that runs, and its lines of the log.

    Statements have numbers: how many before it were to change something, and one.

    :ivar done: the finished writes, by number.
    :ivar started: the write that was under way when an earlier run ended.
    :ivar reads: what was read before, for each write and by what was asked.
    :ivar lost: temporary tables and variables that an earlier session took with it.
    :ivar number: how many writes the script has asked for.
    :ivar waiting: what is done and not yet logged.
    :ivar was_rolled_back: whether lines may have gone with a rollback since they were written.
    :ivar temporary: the temporary tables that there are.
    :ivar is_over: whether the server may have rolled back, so that nothing may follow.
    :ivar kept: what stays of it, in words, should it fail now; empty if nothing does.
    """

    def __init__(
        self,
        connection: sa.Connection,
        log: StatementLog,
        key: RevisionKey,
        direction: str,
        *,
        resumable: bool,
    ) -> None:
        self.key = key
        self.direction = direction
        self.resumable = resumable
        self.done: dict[int, Logged] = {}
        self.started: Logged | None = None
        self.reads: dict[tuple[int, str], deque[Logged]] = defaultdict(deque)
        self.lost: set[str] = set()
        self.number = 0
        self.waiting: list[tuple[Logged, Answer]] = []
        self.was_rolled_back = False
        self.temporary: set[str] = set()
        self.is_over = False
        self.kept = ""
        self._connection = connection
        self._log = log
        self._logged: list[Logged] = []  # since the last commit, and may go with a rollback
        self._refusal: ResumeError | None = None
        for row in log.read(connection, key, direction):
            if row.kind == "read":
                self.reads[row.number, row.sha256].append(row)
            elif row.state == "started":
                self.started = row
            else:
                self.done[row.number] = row
        self._last = max(self.done, default=0)
        self.stays(self.latest())

    @property
    def is_behind(self) -> bool:
        """Whether the next statement that writes was finished by an earlier run."""
        return self.number < self._last

    def row(self, number: int, kind: str, sha256: str, shown: str = "") -> Logged:
        """Return the line of a statement of this revision."""
        return Logged(self.key, self.direction, number, kind, sha256, "done", shown)

    def latest(self, most: int | None = None) -> Logged | None:
        """Return the last finished write, or the last one up to number *most*."""
        numbers = [number for number in self.done if most is None or number <= most]
        return self.done[max(numbers)] if numbers else None

    def stays(self, row: Logged | None) -> None:
        """Note that everything up to *row* is in the database for good."""
        if row is not None:
            self.kept = (
                f"{self.key} stopped after its statement {row.number} ({row.shown}); what it did "
                f"up to there stays, and the next run goes on at statement {row.number + 1}."
            )

    # -- the log

    def write(self, *more: Logged) -> None:
        """Log what waits, and *more*, in the transaction that is open."""
        rows = [*self._rolled_back(), *(replace(row, answer=a.text()) for row, a in self.waiting)]
        for row, _ in self.waiting:
            if row.kind == "write":
                self.done[row.number] = row
        self.waiting = []
        self._log.add(self._connection, [*rows, *more])
        self._logged += rows

    def finish(self, row: Logged, answer: Answer) -> None:
        """Let the started statement *row* be done, for good."""
        self._log.finish(self._connection, row, answer.text())
        self.commit()
        self.done[row.number] = row
        self.stays(row)

    def drop(self, at: int) -> None:
        """Forget what was to be the statement number *at*, and what was read for it."""
        self._log.drop(self._connection, self.key, self.direction, at)

    def make_durable(self) -> None:
        """Log what waits, for good."""
        self.write()
        self.commit()
        self.stays(self.latest())

    def commit(self) -> None:
        """Commit through the driver: to SQLAlchemy and our ledger, the transaction goes on."""
        self._connection.connection.commit()
        self._logged = []

    def _rolled_back(self) -> list[Logged]:
        """Return what a rollback took out of the log: it is done all the same, and undone."""
        if not self.was_rolled_back:
            return []
        self.was_rolled_back = False
        there = Counter(
            (row.kind, row.number, row.sha256)
            for row in self._log.read(self._connection, self.key, self.direction)
        )
        logged, self._logged = self._logged, []
        there.subtract((row.kind, row.number, row.sha256) for row in logged)
        lost = +Counter({key: -count for key, count in there.items()})
        found: list[Logged] = []
        for row in reversed(logged):
            key = (row.kind, row.number, row.sha256)
            if lost[key] > 0:
                lost[key] -= 1
                found.insert(0, row)
            else:
                self._logged.insert(0, row)
        return found

    # -- what cannot go on

    def check_lost(self, statement: str) -> None:
        """Refuse what needs a temporary table or a variable of a session that is gone."""
        for name in sorted(self.lost):
            if re.search(rf"(?<![\w@]){re.escape(name)}\b", statement):
                self.refuse(
                    self.done[self._last],
                    f"what follows needs {name}, which went with its session",
                    remedy=f"Let the script make {name} once more, by a statement of its own right "
                    "after that one; then run the same command again.",
                )

    def check_end(self) -> None:
        """Refuse a script that ended before what is done, or that caught a refusal.

        :raises ResumeError: then.
        """
        if self.is_behind:
            self.refuse(self.done[self._last], "the script ends before it")
        if self._refusal is not None:
            raise self._refusal

    def refuse(self, row: Logged, why: str, remedy: str = _PUT_BACK) -> NoReturn:
        """Say that the revision cannot go on after its statement *row*."""
        self._refusal = ResumeError(
            f"{self.key} cannot go on where it stopped: its statement {row.number} is done "
            f"({row.shown}), and {why}.",
            revision=self.key,
            remedy=remedy,
        )
        raise self._refusal
