"""Indexes of PostgreSQL built or dropped CONCURRENTLY, and what else commits by itself there.

No transaction keeps what they leave. An index that fails leaves one that is INVALID: it is of no
use, and in the way of the next try. One that is done may be there without a record, since the run
was killed in between. Before such a statement runs the journal says so, so that the next run knows
what it finds. So it does before any other change in an ``autocommit_block()``; of those only a
type's new value can be told to be done.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.events import listening
from anabranch.guards import NOTHING_AROUND, Guard, GuardError
from anabranch.objects import TableName
from anabranch.planning import Step
from anabranch.recorder import Event, Recorder
from anabranch.statements import uncommented
from anabranch.tracking import ObjectTracker
from anabranch.wording import text_of

_PART = r'(?:"(?:[^"]|"")+"|[^\s".,(;]+)'
_NAME = rf"(?:({_PART})\s*\.\s*)?({_PART})"
_CREATE = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+(CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"({_PART})\s+ON\s+(?:ONLY\s+)?{_NAME}",
    re.IGNORECASE,
)
_DROP = re.compile(
    rf"DROP\s+INDEX\s+CONCURRENTLY\s+(?:IF\s+EXISTS\s+)?({_NAME})\s*(?:CASCADE|RESTRICT)?\s*;?\s*$",
    re.IGNORECASE,
)
_VALUE = re.compile(
    rf"ALTER\s+TYPE\s+({_NAME})\s+ADD\s+VALUE\s+(?:IF\s+NOT\s+EXISTS\s+)?'((?:[^']|'')*)'",
    re.IGNORECASE,
)
_CHANGE = re.compile(r"(?:CREATE|ALTER|DROP)\b", re.IGNORECASE)
_VALID = sa.text(
    "SELECT i.indisvalid OR c.relkind = 'I' FROM pg_index i "
    "JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indexrelid = to_regclass(:name)"
)
_HAS_VALUE = sa.text(
    "SELECT count(*) FROM pg_enum WHERE enumtypid = to_regtype(:name) AND enumlabel = :label"
)
_NOTHING = "DO $$ BEGIN END $$"

# What says that there is already, or no more, what a statement would make or drop.
_DONE = {"42P07", "42P06", "42710", "42701", "42P01", "42703", "42704", "3F000"}

STARTED = "building"


class MakeEntry(Protocol):
    """Makes a line of the journal."""

    def __call__(self, name: str, step: Step, *, detail: str) -> Event: ...


class IndexGuard(Guard):
    """Puts right what an interrupted run left of an index, and records none that is INVALID.

    :param entry: makes the lines that it adds to the journal.
    """

    def __init__(
        self,
        connection: sa.Connection,
        recorder: Recorder,
        tracker: ObjectTracker,
        entry: MakeEntry,
    ) -> None:
        self._connection = connection
        self._recorder = recorder
        self._tracker = tracker
        self._entry = entry
        self._names: list[str] = []
        self._lock_timeout = ""
        self._aside = False
        self._doubtful = ""
        self._step: Step | None = None

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        if self._connection.dialect.name != "postgresql":
            yield
            return

        def before(
            _connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any
        ) -> tuple[str, Any]:
            if self._step is not None and not self._aside:
                statement = self._before(self._step, statement)
            return statement, parameters

        with (
            listening(self._connection, retval=True, before_cursor_execute=before),
            listening(self._connection, after_cursor_execute=self._after),
        ):
            yield

    def running(self, step: Step) -> AbstractContextManager[None]:
        if self._connection.dialect.name != "postgresql":
            return NOTHING_AROUND
        return self._watched(step)

    @contextmanager
    def _watched(self, step: Step) -> Generator[None, None, None]:
        self._names = []
        self._doubtful = ""
        self._step = step
        try:
            yield
        except exc.DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
            if not self._doubtful or state not in _DONE:
                raise
            raise GuardError(
                f"{text_of(error.orig or error)} [{self._doubtful[:300]}] A run that did not come "
                "to its end had begun this, outside any transaction, and may have done it.",
                step,
                remedy="Look whether it is done. Then let the script leave it out where it is (IF "
                "NOT EXISTS, IF EXISTS), or undo it by hand.",
            ) from error
        finally:
            self._step = None

    def check(self, step: Step, touched: frozenset[TableName]) -> None:  # noqa: ARG002
        for name in self._names:
            if self._is_valid(name) is False:
                raise GuardError(
                    f"the index {name} is INVALID: it was begun and never completed.",
                    step,
                    code="AB115",
                    remedy=f"Drop it if it is another's: DROP INDEX CONCURRENTLY {name};",
                )

    def _before(self, step: Step, statement: str) -> str:
        """Return the statement to run in the place of *statement*."""
        text = _plain(statement)
        create, drop = _CREATE.match(text), _DROP.match(text)
        alone, name = drop is not None, drop[1] if drop is not None else ""
        if create is not None:
            keyword, index, schema, _ = create.groups()
            alone = keyword is not None
            name = f"{schema}.{index}" if schema else index
            self._names.append(name)
        options = self._connection.get_execution_options()
        if not _CHANGE.match(text) or options.get("isolation_level") != "AUTOCOMMIT":
            return statement  # what is refused inside a transaction leaves nothing
        self._aside, self._doubtful = True, ""
        try:
            done = self._prepare(step, text, name, create) if alone else self._begin(step, text)
        finally:
            self._aside = False
        return _NOTHING if done else statement

    def _begin(self, step: Step, text: str) -> bool:
        """Note that *text* is begun; tell whether an interrupted run has done it already."""
        if text not in self._began(step):
            entry = self._entry(STARTED, step, detail=text)
            self._recorder.record_events(self._connection, [entry])
            return False
        self._doubtful = text
        value = _VALUE.match(text)
        if value is None:
            return False
        label = value[value.lastindex or 0].replace("''", "'")
        return bool(self._connection.scalar(_HAS_VALUE, {"name": value[1], "label": label}))

    def _prepare(self, step: Step, text: str, name: str, create: re.Match[str] | None) -> bool:
        """Make way for the statement *text*; tell whether an interrupted run has done it already.

        :param create: what it was read as if it creates the index *name*; None if it drops it.
        """
        began, valid = self._began(step), self._is_valid(name)
        if create is not None and valid is False and any(_builds(name, was) for was in began):
            self._connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
        elif text in began and valid is (True if create is not None else None):
            if create is not None:
                self._tracker.claim(create[2].strip('"'))
            return True
        self._recorder.record_events(self._connection, [self._entry(STARTED, step, detail=text)])
        # It holds up nobody while it waits, as long as an old transaction takes.
        self._lock_timeout = str(self._connection.exec_driver_sql("SHOW lock_timeout").scalar_one())
        self._connection.exec_driver_sql("SET lock_timeout = 0")
        return False

    def _after(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if self._doubtful and _plain(statement) == self._doubtful:
            self._doubtful = ""  # it was not done yet
        if self._lock_timeout and "CONCURRENTLY" in statement.upper():
            value, self._lock_timeout = self._lock_timeout, ""
            self._connection.execute(
                sa.text("SELECT set_config('lock_timeout', :value, false)"), {"value": value}
            )

    def _is_valid(self, name: str) -> bool | None:
        """Tell whether the index *name*, as it is written, is valid; None if there is none."""
        found = self._connection.scalar(_VALID, {"name": name})
        return None if found is None else bool(found)

    def _began(self, step: Step) -> set[str]:
        """Return the statements of *step* that runs began since it was last applied or reverted."""
        began: set[str] = set()
        for entry in self._recorder.events(self._connection):
            if (entry.owner, entry.revision) == step.key:
                if entry.event == STARTED:
                    began.add(entry.detail)
                elif entry.event in {"applied", "reverted"}:
                    began.clear()
        return began


def _plain(statement: str) -> str:
    """Return *statement* as it is compared: without comments, and with single blanks."""
    return " ".join(uncommented(statement).split())


def _builds(name: str, statement: str) -> bool:
    match = _CREATE.match(statement)
    return match is not None and name in {match[2], f"{match[3]}.{match[2]}"}
