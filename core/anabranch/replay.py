"""Let a revision go on after its last finished statement, where DDL commits by itself.

On MariaDB and MySQL every statement of a revision is logged. One that a rollback undoes is logged
in its own transaction, so both are true or neither. One that commits is logged before it starts and
when it is done; of the one that was under way when a run was killed, the database itself tells
whether it was done. The next run calls the script again, and answers what is finished out of the
log.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.answers import Answer, answer_in
from anabranch.effects import Thing, effect_of, passing_names, things_of
from anabranch.events import listening
from anabranch.ledger import LostWorkError
from anabranch.mysql import LOCK_ERRORS, number_of
from anabranch.recorder import Recorder
from anabranch.resumption import Resumption
from anabranch.revision import RevisionKey
from anabranch.statementlog import Logged

_MOST_READS = 5000  # kept for one statement; more are asked again
_MOST_WAITING = 1000
# Errors by the servers' numbers.
_UNKNOWN_TABLE = 1051
_LOST = frozenset({1053, 1317, 1927, 2006, 2013, 2055, 4031})
_COUNTER = re.compile(r"\bAUTO_INCREMENT=\d+ ?")


class Replay:
    """Follows the statements that scripts send on one connection, and keeps their log.

    :param is_ours: whether what is sent right now is not the script's.
    """

    def __init__(
        self, connection: sa.Connection, recorder: Recorder, is_ours: Callable[[], bool]
    ) -> None:
        self._connection = connection
        self._recorder = recorder
        self._log = recorder.statements
        self._is_ours = is_ours
        self._aside = False
        self._run: Resumption | None = None
        self._kept: dict[RevisionKey, str] = {}

    def kept(self, key: RevisionKey) -> str:
        """Say what stays of the revision *key*, which failed; empty if it was rolled back."""
        return self._kept.get(key, "")

    def is_finished(self) -> bool:
        """Tell whether the next statement that writes was finished by an earlier run."""
        return self._run is not None and self._run.is_behind

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        """Stand between the scripts and the database while the block runs."""
        engine = self._connection.engine
        with (
            listening(
                engine,
                do_execute=self._execute,
                do_executemany=self._execute_many,
                do_execute_no_params=self._execute_plain,
            ),
            listening(self._connection, commit=self._before_commit, rollback=self._before_rollback),
        ):
            yield

    @contextmanager
    def running(
        self, key: RevisionKey, direction: str, *, resumable: bool
    ) -> Generator[None, None, None]:
        """Log what is sent while the block runs as the statements of *key*.

        :param resumable: False for a script that sees for itself what it has done before.
        :raises ResumeError: if it is not what was sent when *key* ran before.
        """
        with self._ours():
            run = Resumption(self._connection, self._log, key, direction, resumable=resumable)
        self._run = run
        try:
            yield
            run.check_end()
        finally:
            self._run = None
            self._kept[key] = run.kept

    # -- SQLAlchemy's events: True where the statement is not to be sent again

    def _execute(self, cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        def send() -> None:
            context.dialect.do_execute(cursor, statement, parameters, context)

        return self._handle(cursor, statement, parameters, context, send)

    def _execute_many(self, cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        def send() -> None:
            context.dialect.do_executemany(cursor, statement, parameters, context)

        return self._handle(cursor, statement, None, context, send)

    def _execute_plain(self, cursor: Any, statement: str, context: Any) -> bool:
        def send() -> None:
            context.dialect.do_execute_no_params(cursor, statement, context)

        return self._handle(cursor, statement, None, context, send)

    def _handle(
        self,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        send: Callable[[], None],
    ) -> bool:
        run = self._run
        if run is None or self._aside or self._is_ours():
            return False
        if context.root_connection is not self._connection:
            return False
        if run.is_over:
            raise LostWorkError("it went on after a lock that it did not get")
        effect = effect_of(statement, run.temporary)
        if not run.resumable:
            if effect in {"call", "commit"}:
                run.kept = (
                    f"{run.key} is not resumable, and what it did before it failed may have "
                    "stayed; the next run begins it again."
                )
            return False
        if effect == "passing":
            return self._passing(run, statement, context)
        if run.lost and not run.is_behind:
            run.check_lost(statement)
        if effect == "session":
            with self._ours():
                run.write()
            run.was_rolled_back |= statement.lstrip()[:8].upper() == "ROLLBACK"
            return False
        if effect == "read":
            return self._read(run, cursor, statement, parameters, context, send)
        run.number += 1
        row = run.row(run.number, "write", _digest(statement), _shown(statement))
        if run.number in run.done:
            return self._again(run, row, context)
        if effect == "write":
            self._settle(run, row)
            self._transactional(run, row, cursor, context, send)
        elif effect == "call":
            self._settle(run, row)
            with self._ours():
                run.make_durable()
            self._transactional(run, row, cursor, context, send)
            with self._ours():
                run.make_durable()
        else:
            self._committing(run, row, statement, cursor, context, send)
        return True

    def _before_commit(self, _connection: sa.Connection) -> None:
        run = self._run
        if run is not None and not self._aside:
            with self._ours():
                run.write()
            run.stays(run.latest())

    def _before_rollback(self, _connection: sa.Connection) -> None:
        if self._run is not None:
            self._run.was_rolled_back = True

    # -- each kind of statement

    def _read(
        self,
        run: Resumption,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        send: Callable[[], None],
    ) -> bool:
        number, sha256 = run.number + 1, _digest(statement, parameters)
        if known := run.reads.get((number, sha256)):
            row = known.popleft()
            if row.answer:
                self._give(context, answer_in(row.answer))
                return True
        if context.execution_options.get("stream_results"):
            return False
        row = run.row(number, "read", sha256)
        answer = self._ask(run, row, cursor, send)
        _replace(context, cursor, answer)
        if len(run.waiting) < _MOST_READS:
            run.waiting.append((row, answer))
        return True

    def _passing(self, run: Resumption, statement: str, context: Any) -> bool:
        """Send what lives in the session only, unless it was for statements that are finished."""
        names = passing_names(statement)
        if run.is_behind:
            run.lost |= names
            context.cursor = Answer()
            return True
        if statement.lstrip()[:6].upper() in {"CREATE", "SELECT"} or names.isdisjoint(run.lost):
            run.lost -= names
            return False
        run.check_lost(statement)
        return False

    def _again(self, run: Resumption, row: Logged, context: Any) -> bool:
        """Answer a finished statement out of the log."""
        known = run.done[row.number]
        if known.sha256 != row.sha256:
            run.refuse(known, f"the script now says {row.shown}")
        answer = answer_in(known.answer) if known.answer else Answer()
        if _returns_many(context):
            run.refuse(known, "what it returned for many rows is not kept")
        self._give(context, answer)
        return True

    def _transactional(
        self, run: Resumption, row: Logged, cursor: Any, context: Any, send: Callable[[], None]
    ) -> None:
        """Send what a rollback undoes, and log it in the same transaction."""
        options = self._connection.get_execution_options()
        alone = options.get("isolation_level") == "AUTOCOMMIT"
        with self._transaction() if alone else nullcontext():
            answer = self._ask(run, row, cursor, send, fetch=not _returns_many(context))
            _replace(context, cursor, answer)
            run.waiting.append((row, answer))
            if alone:
                with self._ours():
                    run.write()
        if alone:
            run.stays(row)
        elif len(run.waiting) >= _MOST_WAITING:
            with self._ours():
                run.write()

    def _committing(
        self,
        run: Resumption,
        row: Logged,
        statement: str,
        cursor: Any,
        context: Any,
        send: Callable[[], None],
    ) -> None:
        """Send what commits by itself, between two lines of the log."""
        started, run.started = run.started, None
        half = False
        if started is not None:
            was = _before(started)
            same = [old == new for old, new in zip(was, self._look(was), strict=True)]
            half = any(same) and not all(same) and started.shown.upper().startswith("DROP")
            if not all(same) and not half:
                if started.sha256 != row.sha256:
                    run.refuse(started, f"the script now says {row.shown}")
                self._finish(run, started, Answer())
                return
            if started.sha256 != row.sha256:
                with self._ours():
                    run.drop(row.number)
                started = None
        waiting = list(run.waiting)
        with self._ours():
            if started is None:
                before = json.dumps(self._look([(*thing, "") for thing in things_of(statement)]))
                run.write(replace(row, state="started", before=before))
            else:
                run.write()
            run.commit()
        run.stays(run.latest(row.number - 1))
        try:
            answer = self._ask(run, row, cursor, send)
        except Exception as error:
            number = number_of(error)
            if half and number == _UNKNOWN_TABLE:
                answer = Answer()
            else:
                if number is not None and number not in _LOST:
                    with self._ours():
                        run.drop(row.number)
                        run.commit()
                    # Should the script catch this, the next line of the log is to have them.
                    run.waiting[:0] = [one for one in waiting if one[0].number == row.number]
                raise
        _replace(context, cursor, answer)
        self._finish(run, row, answer)

    def _finish(self, run: Resumption, row: Logged, answer: Answer) -> None:
        with self._ours():
            run.finish(row, answer)

    def _settle(self, run: Resumption, row: Logged) -> None:
        """See to it that what was under way was not done: something else is asked for now."""
        started, run.started = run.started, None
        if started is not None:
            was = _before(started)
            if was != self._look(was):
                run.refuse(started, f"the script now says {row.shown}")
            with self._ours():
                run.drop(row.number)

    # -- the means

    def _ask(
        self,
        run: Resumption,
        row: Logged,
        cursor: Any,
        send: Callable[[], None],
        *,
        fetch: bool = True,
    ) -> Answer:
        try:
            send()
            rows = cursor.fetchall() if fetch and cursor.description else ()
        except Exception as error:
            number = number_of(error)
            if number in LOCK_ERRORS:
                run.is_over = True  # the server may have rolled back
            elif number is not None and number not in _LOST:
                # A script may catch it, and must meet it again.
                run.waiting.append((row, Answer(error=(type(error).__name__, error.args))))
            raise
        return Answer(
            description=cursor.description if fetch else None,
            rowcount=cursor.rowcount,
            lastrowid=getattr(cursor, "lastrowid", None),
            rows=list(rows),
        )

    def _give(self, context: Any, answer: Answer) -> None:
        if answer.error is not None:
            name, arguments = answer.error
            raise getattr(self._connection.dialect.dbapi, name)(*arguments)
        context.cursor = answer

    def _look(self, things: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        """Say what each of *things* is like now."""
        with self._ours():
            return [(kind, name, self._likeness((kind, name))) for kind, name, _ in things]

    def _likeness(self, thing: Thing) -> str:
        kind, name = thing
        try:
            row = self._connection.exec_driver_sql(
                f"SHOW CREATE {kind} {name}", execution_options={"no_parameters": True}
            ).one()
        except exc.DBAPIError as error:
            return f"none: {number_of(error.orig)}"
        # Other sessions may add rows meanwhile.
        text = "\0".join(_COUNTER.sub("", str(value)) for value in row)
        return hashlib.sha256(text.encode()).hexdigest()

    @contextmanager
    def _transaction(self) -> Generator[None, None, None]:
        """Hold a transaction in autocommit mode; nothing that fails in it may stay.

        The end of ``autocommit_block()`` would commit what is open.
        """
        self._say("START TRANSACTION")
        try:
            yield
            self._say("COMMIT")
        except BaseException:
            with suppress(Exception):  # a lost server, whose transaction is gone
                self._say("ROLLBACK")
            raise

    def _say(self, statement: str) -> None:
        with self._ours():
            self._connection.exec_driver_sql(statement)

    @contextmanager
    def _ours(self) -> Generator[None, None, None]:
        before, self._aside = self._aside, True
        try:
            yield
        finally:
            self._aside = before


def _digest(statement: str, parameters: Any = None) -> str:
    # White space is SQLAlchemy's affair; parameters of a write may be the time, or random.
    text = " ".join(statement.split())
    if parameters:
        text += f"\0{parameters!r}"
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(statement: str) -> str:
    """Return the beginning of *statement*, and nothing that may be somebody's data."""
    return " ".join(re.split(r"['\"]", statement, maxsplit=1)[0].split())[:80]


def _before(started: Logged) -> list[tuple[str, str, str]]:
    return [tuple(item) for item in json.loads(started.before)]


def _replace(context: Any, cursor: Any, answer: Answer) -> None:
    """Let SQLAlchemy read rows that were fetched already."""
    if answer.description is not None:
        cursor.close()
        context.cursor = answer


def _returns_many(context: Any) -> bool:
    """Tell whether SQLAlchemy itself will fetch the rows that an INSERT of many returns."""
    style = getattr(context.execute_style, "name", "")
    return style == "INSERTMANYVALUES" and bool(context.compiled.effective_returning)
