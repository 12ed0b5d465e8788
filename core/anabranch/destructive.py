"""Rows that a revision would lose stop the run, unless somebody said that this is meant.

Each statement is judged in the revision's own transaction, right before it runs: only there is it
known what an earlier revision moved, renamed or emptied, and what a script computed. A refusal
rolls back, so on SQLite the database is as it was. Elsewhere the revisions before it are committed
by then, so what can be known for sure from the sources is asked before anything runs as well; that
forecast leaves out whatever another pending step may touch first.

Nothing is asked of a table that the running revision itself made, and of no table that migrations
made in a database that was never yet at the end of a plan: nobody's rows can be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from anabranch.errors import DestructiveError
from anabranch.events import listening
from anabranch.guards import Guard
from anabranch.losses import Asker, Loss
from anabranch.objects import TableName
from anabranch.operations import CODE, SQL, Operation, read_operations
from anabranch.planning import Plan, Step
from anabranch.reading import Reading
from anabranch.recorder import Recorder
from anabranch.statementlog import DIALECTS
from anabranch.statements import (
    Token,
    altered_table,
    created,
    dropped_tables,
    read_name,
    renamed_table,
    split,
    tokens,
)
from anabranch.unseen import UnseenGuard, refuse_unseen

_VERB = re.compile(
    r"(?:\s+|--[^\n]*\n|/\*.*?\*/)*(CREATE|DROP|ALTER|INSERT)\b", re.IGNORECASE | re.DOTALL
)
_SELECT = re.compile(r"\bSELECT\b", re.IGNORECASE)
_PLAIN_CAST = re.compile(
    r"""\s*(?:CAST\s*\(\s*["\w.]+\s+AS\b.*\)|\(?\s*["\w.]+\s*\)?\s*::.*)\s*""",
    re.IGNORECASE | re.DOTALL,
)

_HINTS = re.compile(rb"drop|nullable|\bnot\s+null\b", re.IGNORECASE)

_Table = tuple[str, str]


@dataclass
class _Copy:
    """Rows that were copied out of a table: where to, what it speaks of, and how many."""

    target: _Table
    names: set[str] | None
    rows: int


@dataclass
class _Seen:
    """What the running revision made itself, and copied; names in lower case."""

    made: set[_Table] = field(default_factory=set)
    added: set[tuple[_Table, str]] = field(default_factory=set)
    copies: dict[_Table, list[_Copy]] = field(default_factory=dict)


def loss_guards(
    recorder: Recorder, connection: sa.Connection, reading: Reading, plan: Plan
) -> tuple[Guard, ...]:
    """Return the guards of the rows there are; refuse at once what is sure to lose some.

    :raises DestructiveError: if a revision is sure to lose rows, or rows are in its way.
    """
    made: Iterable[_Table] | None = None
    if not reading.applied:
        made = ()
    elif not recorder.was_complete(connection):
        made = [item.table for item in recorder.objects(connection) if item.kind == "table"]
    else:
        for step, loss in sure_losses(recorder, connection, reading, plan)[:1]:
            raise refusal(step, [loss])
        if connection.dialect.name in DIALECTS:
            refuse_unseen(plan)
    connection.rollback()
    return (DestructionGuard(connection, made), UnseenGuard(connection, made))


def sure_losses(
    recorder: Recorder, connection: sa.Connection, reading: Reading, plan: Plan
) -> tuple[tuple[Step, Loss], ...]:
    """Say what *plan* is sure to lose; nothing where a run has not come to its end yet."""
    if not reading.applied or not recorder.was_complete(connection):
        return ()
    if recorder.statements.half_done(connection):
        return ()  # what a half-done revision has dropped may be there again, filled anew
    return forecast(connection, plan)


class DestructionGuard(Guard):
    """Watches the statements of revisions that do not say they are destructive.

    :param made: tables that hold nobody's rows, by schema and name; for a database that was never
        at the end of a plan those that migrations made, and then also what this run makes.
    """

    def __init__(self, connection: sa.Connection, made: Iterable[_Table] | None) -> None:
        self._connection = connection
        self._asker = Asker(connection)
        self._is_fresh = made is not None
        self._seen = _Seen(made={_key(*table) for table in made or ()})
        self._step: Step | None = None
        self._copying: tuple[_Table, _Copy] | None = None
        self._refused: DestructiveError | None = None
        self._is_finished: Callable[[], bool] | None = None
        self.is_asking = False

    def trust(self, is_finished: Callable[[], bool]) -> None:
        self._is_finished = is_finished

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        with listening(
            self._connection,
            before_cursor_execute=self._before,
            after_cursor_execute=self._after,
        ):
            yield

    @contextmanager
    def running(self, step: Step) -> Generator[None, None, None]:
        seen = self._seen
        self._seen = _Seen(made=seen.made, added=seen.added) if self._is_fresh else _Seen()
        self._step, self._refused = step, None
        try:
            yield
        finally:
            self._step = None

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if self.is_asking:
            return
        self._copying = None
        match = _VERB.match(statement)
        if match is None or self._step is None:
            return
        is_finished = self._is_finished is not None and self._is_finished()
        if is_finished and match[1].upper() in {"DROP", "ALTER"}:
            return  # what has its name now came in its place
        self.is_asking = True
        try:
            losses = list(self._losses(match[1].upper(), statement))
        finally:
            self.is_asking = False
        if losses and not is_finished and not self._step.revision.destructive:
            self._refused = refusal(self._step, losses)
            raise self._refused

    def committing(self, step: Step, touched: frozenset[TableName]) -> None:
        self.check(step, touched)

    def check(self, step: Step, touched: frozenset[TableName]) -> None:  # noqa: ARG002
        """Refuse also where the script caught the refusal: without the statement it did not run."""
        if self._refused is not None:
            raise self._refused

    def _losses(self, verb: str, statement: str) -> Iterator[Loss]:
        if verb == "DROP":
            for table in dropped_tables(statement):
                yield from self._dropped(table)
        elif verb == "ALTER":
            schema, name, parts = altered_table(statement)
            for part in parts if _key(schema, name) not in self._seen.made else ():
                if (loss := self._altered((schema, name), part)) is not None:
                    yield loss
        elif _SELECT.search(statement):
            yield from self._copied(verb, statement)

    def _dropped(self, table: _Table) -> Iterator[Loss]:
        if _key(*table) in self._seen.made:
            return
        copies = self._seen.copies.get(_key(*table))
        if not copies:
            if loss := self._asker.dropped_table(*table):
                yield loss
            return
        best = max(copies, key=lambda copy: copy.rows)
        everything = any(copy.names is None for copy in copies)
        names = None if everything else set[str]().union(*(copy.names or () for copy in copies))
        yield from self._asker.copied_table(*table, copied=best.rows, names=names)

    def _altered(self, table: _Table, part: Any) -> Loss | None:
        if (_key(*table), part.column.lower()) in self._seen.added:
            return None
        if part.change == "drop":
            return self._asker.dropped_column(*table, part.column)
        if part.change == "add":
            if not part.not_null or part.default:
                return None
            return self._asker.added_column(*table, part.column)
        if part.not_null and (loss := self._asker.required_column(*table, part.column)):
            return loss
        # A conversion that is written out is meant; a plain cast is only what the server asks for.
        if part.type and (not part.using or _PLAIN_CAST.fullmatch(part.using)):
            return self._asker.narrowed_column(*table, part.column, part.type)
        return None

    def _copied(self, verb: str, statement: str) -> Iterator[Loss]:
        """Take note of rows copied to another table; look at what the copy casts."""
        found = tokens(statement)
        select = next((i for i, token in enumerate(found) if token.word == "SELECT"), len(found))
        start = next(
            (i for i in range(select, len(found)) if _is_from(found, i, found[select].depth)), 0
        )
        if verb == "CREATE":
            kind, *made = created(statement)
            target = (made[0], made[1]) if kind == "TABLE" else ("", "")
        else:
            into = next((i for i, token in enumerate(found) if token.word == "INTO"), len(found))
            target = read_name(found[into + 1 :])[:2] if into < select else ("", "")
        if not start or start + 1 >= len(found) or not target[1]:
            return
        if not found[start + 1].is_name:
            return
        source = read_name(found[start + 1 :])[:2]
        values = found[select + 1 : start]
        names = {token.name.lower() for token in values if token.is_name}
        takes_all = any(token.text == "*" for token in values)
        copy = _Copy(_key(*target), None if takes_all else names, 0)
        self._copying = _key(*source), copy
        if _key(*source) not in self._seen.made:
            yield from self._cast(source, list(split(values)), statement)
            if target[1].startswith("_alembic_tmp_"):
                yield from self._required(source, target, found[:select], list(split(values)))

    def _cast(
        self, source: _Table, values: Sequence[Sequence[Token]], statement: str
    ) -> Iterator[Loss]:
        """Look at values that a copy casts, as Alembic's does for a column of another type."""
        for value in values:
            as_ = next((i for i, token in enumerate(value) if token.word == "AS"), 0)
            if value[0].word == "CAST" and as_ > 2 and value[as_ - 1].is_name:
                end = next(i for i, t in enumerate(value) if t.text == ")" and t.depth == 0)
                type_ = statement[value[as_ + 1].start : value[end - 1].end]
                column = value[as_ - 1].name
                if loss := self._asker.narrowed_column(*source, column, type_):
                    yield loss

    def _required(
        self,
        source: _Table,
        target: _Table,
        into: Sequence[Token],
        values: Sequence[Sequence[Token]],
    ) -> Iterator[Loss]:
        """Look for NULLs that the table that Alembic makes does not take."""
        columns = self._asker.columns(*target)
        named = [part for part in split([token for token in into if token.depth == 1]) if part]
        for (column,), value in zip(named, values, strict=False):
            new = columns.get(column.name, {"nullable": True})
            if len(value) in (1, 3) and not new["nullable"] and not new.get("primary_key"):
                loss = self._asker.required_column(*source, value[-1].name)
                if loss:
                    yield loss

    def _after(self, _connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        if self.is_asking or self._step is None:
            return
        match = _VERB.match(statement)
        if match is None:
            return
        verb, seen = match[1].upper(), self._seen
        if verb == "CREATE":
            kind, *made = created(statement)
            if kind == "TABLE":
                seen.made.add(_key(*made))
        elif verb == "ALTER":
            self._noted(statement)
        elif verb == "DROP":
            for table in dropped_tables(statement):
                # What was copied is all there is of it from now on.
                seen.made -= {copy.target for copy in seen.copies.get(_key(*table), ())}
        if self._copying is not None:
            source, copy = self._copying
            copy.rows = self._rows_of(cursor, copy.target)
            seen.copies.setdefault(source, []).append(copy)
            self._copying = None

    def _noted(self, statement: str) -> None:
        seen = self._seen
        (schema, name), new = renamed_table(statement)
        if name:
            was, now = _key(schema, name), _key(schema, new)
            if was in seen.made:
                seen.made.discard(was)
                # A copy that takes the place of an older table holds that one's rows.
                copied = {copy.target for found in seen.copies.values() for copy in found}
                if now in seen.made or was not in copied:
                    seen.made.add(now)
            return
        schema, name, parts = altered_table(statement)
        seen.added |= {
            (_key(schema, name), part.column.lower()) for part in parts if part.change == "add"
        }

    def _rows_of(self, cursor: Any, target: _Table) -> int:
        if cursor.rowcount >= 0:
            return int(cursor.rowcount)
        self.is_asking = True
        try:
            loss = self._asker.dropped_table(*target)
        finally:
            self.is_asking = False
        return loss.rows if loss else 0


def forecast(connection: sa.Connection, plan: Plan) -> tuple[tuple[Step, Loss], ...]:
    """Ask what is sure to be lost by the pending revisions, before any of them runs.

    Sources are read, not run. Whatever another pending step may touch before is left out, and
    judged when it is its turn.
    """
    places = [number for number, step in enumerate(plan.steps) if _hints(step.revision.path)]
    asker = Asker(connection)
    found: list[tuple[Step, Loss]] = []
    touched: set[str] = set()
    for step in plan.steps[: places[-1] + 1 if places else 0]:
        for operation in read_operations(step.revision):
            if operation.verb == CODE or (operation.verb == SQL and not operation.sql):
                return tuple(found)  # it may do anything
            if (
                operation.certain
                and not step.revision.destructive
                and operation.table.lower() not in touched
                and (loss := _ask(asker, operation))
            ):
                found.append((step, loss))
            touched |= _touches(operation)
    return tuple(found)


def refusal(step: Step, losses: Sequence[Loss]) -> DestructiveError:
    """Return the error that stops *step* because of *losses*."""
    remedy = "If that is meant, run the same command again with --allow-destructive."
    if all(loss.is_refusal for loss in losses):
        remedy = "Give these rows a value first."
    first = losses[0]
    return DestructiveError(
        f"{step.key} would {'; '.join(map(str, losses))}.",
        revision=step.key,
        table=first.table,
        column=first.column,
        rows=first.rows,
        remedy=remedy,
    )


def _hints(path: str) -> bool:
    """Tell whether a source speaks of anything that could be lost; cheaper than to read it."""
    with suppress(OSError):
        return _HINTS.search(Path(path).read_bytes()) is not None
    return False


def _ask(asker: Asker, operation: Operation) -> Loss | None:
    schema, table, name = operation.schema, operation.table, operation.name
    options = operation.options
    if operation.verb == "drop_table":
        return asker.dropped_table(schema, table)
    if operation.verb == "drop_column":
        return asker.dropped_column(schema, table, name)
    if options.get("nullable") != "False":
        return None
    if operation.verb == "alter_column":
        return asker.required_column(schema, table, name)
    if operation.verb == "add_column" and not {"server_default", "identity"} & options.keys():
        return asker.added_column(schema, table, name)
    return None


def _touches(operation: Operation) -> set[str]:
    """Return the tables, in lower case, whose rows or names *operation* may change."""
    if operation.sql:
        return {token.name.lower() for token in tokens(operation.sql) if token.is_name}
    if operation.verb in {"bulk_insert", "create_table", "drop_table"}:
        return {operation.table.lower()}
    if operation.verb == "rename_table":
        return {operation.table.lower(), operation.name.lower()}
    if operation.verb in {"add_column", "alter_column"}:
        # Its defaults and new names; what is said of NULLs before holds no more.
        return {operation.table.lower()}
    return set()


def _is_from(found: Sequence[Token], place: int, depth: int) -> bool:
    return found[place].word == "FROM" and found[place].depth == depth


def _key(schema: str, name: str) -> _Table:
    return schema.lower(), name.lower()
