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
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from anabranch.errors import DestructiveError
from anabranch.events import listening
from anabranch.forecast import refusal, sure_losses
from anabranch.guards import Guard
from anabranch.leftovers import PREFIX
from anabranch.losses import Asker, Loss
from anabranch.objects import TableName
from anabranch.planning import Plan, Step
from anabranch.reading import Reading
from anabranch.recorder import Recorder
from anabranch.spoken import spoken
from anabranch.statementlog import DIALECTS
from anabranch.statements import (
    Alteration,
    Token,
    altered_table,
    created,
    dropped_partitions,
    dropped_schemas,
    dropped_tables,
    is_cautious,
    read_name,
    renamed_tables,
    replaced_table,
    split,
    temporary_table,
    tokens,
)
from anabranch.unseen import UnseenGuard, refuse_unseen

_VERB = re.compile(
    r"(?:\s+|--[^\n]*\n|/\*.*?\*/)*(CREATE|DROP|ALTER|INSERT|RENAME|DELETE|TRUNCATE)\b",
    re.IGNORECASE | re.DOTALL,
)
_SELECT = re.compile(r"\bSELECT\b", re.IGNORECASE)
_PLAIN_CAST = re.compile(
    r"""\s*(?:CAST\s*\(\s*["\w.]+\s+AS\b.*\)|\(?\s*["\w.]+\s*\)?\s*::.*)\s*""",
    re.IGNORECASE | re.DOTALL,
)

_Table = tuple[str, str]


@dataclass
class _Copy:
    """Rows that were copied out of a table: where to, what it speaks of, and how many."""

    target: _Table
    names: set[str] | None
    rows: int


@dataclass
class _Seen:
    """What the running revision made itself, and copied; tables as :meth:`_key` names them.

    :ivar temporary: which of *made* go with the session.
    """

    made: set[_Table] = field(default_factory=set)
    temporary: set[_Table] = field(default_factory=set)
    added: set[tuple[_Table, str]] = field(default_factory=set)
    copies: dict[_Table, list[_Copy]] = field(default_factory=dict)

    def copy(self) -> _Seen:
        copies = {table: list(found) for table, found in self.copies.items()}
        return _Seen(set(self.made), set(self.temporary), set(self.added), copies)


def loss_guards(
    recorder: Recorder, connection: sa.Connection, reading: Reading, plan: Plan
) -> tuple[Guard, ...]:
    """Return the guards of the rows there are; refuse at once what is sure to lose some.

    :raises DestructiveError: if a revision is sure to lose rows, or rows are in its way.
    """
    made: Iterable[_Table] | None = None
    if not reading.applied:
        made = ()
    elif not recorder.was_complete(connection, len(plan.steps)):
        made = [item.table for item in recorder.objects(connection) if item.kind == "table"]
    else:
        for step, loss in sure_losses(recorder, connection, reading, plan)[:1]:
            raise refusal(step, [loss])
        if connection.dialect.name in DIALECTS:
            refuse_unseen(plan)
    connection.rollback()
    return (DestructionGuard(connection, made), UnseenGuard(connection, made))


@dataclass
class _Sent:
    """What is known of a text before it is sent, to be noted when it has run.

    :ivar copying: the table that rows are copied out of, and where to.
    :ivar emptied: tables that earlier statements of the same text empty.
    :ivar kept: tables, and columns, that it would make if they were not there.
    :ivar moving: tables that it renames: what they were called, and what they will be.
    """

    copying: tuple[_Table, _Copy] | None = None
    emptied: set[_Table] = field(default_factory=set)
    kept: set[tuple[_Table, str]] = field(default_factory=set)
    moving: list[tuple[_Table, _Table]] = field(default_factory=list)


class DestructionGuard(Guard):
    """Watches the statements of revisions that do not say they are destructive.

    :param made: tables that hold nobody's rows, by schema and name; for a database that was never
        at the end of a plan those that migrations made, and then also what this run makes.
    """

    def __init__(self, connection: sa.Connection, made: Iterable[_Table] | None) -> None:
        self._connection = connection
        self._asker = Asker(connection)
        self._is_fresh = made is not None
        is_sqlite = connection.dialect.name == "sqlite"
        self._seen = _Seen(
            made={_folded(*table) if is_sqlite else (table[0], table[1]) for table in made or ()}
        )
        self._step: Step | None = None
        self._sent = _Sent()
        self._under_way: dict[int, tuple[_Sent, _Seen]] = {}
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
        self._step, self._refused, self._under_way = step, None, {}
        try:
            yield
        finally:
            self._step = None

    def _before(self, _connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        if self.is_asking or self._step is None:
            return
        self._sent = _Sent()
        is_finished = self._is_finished is not None and self._is_finished()
        losses: list[Loss] = []
        with self._asking():
            *firsts, last = spoken(statement, self._connection.dialect.name)
            done = self._seen
            if firsts:
                self._seen = done.copy()  # none of it is true if the text fails
            for part in firsts:
                losses += self._judged(part, is_finished)
                self._note(part, None)  # done when the next comes
            losses += self._judged(last, is_finished)
            # Others are sent before this one has run: what is written down of it, say.
            self._under_way[id(cursor)] = self._sent, self._seen
            self._seen = done
        if losses and not is_finished and not self._step.revision.destructive:
            self._refused = refusal(self._step, losses)
            raise self._refused

    def _judged(self, statement: str, is_finished: bool) -> list[Loss]:
        match = _VERB.match(statement)
        self._sent = replace(self._sent, copying=None, kept=set(), moving=[])
        if match is None:
            return []
        verb = match[1].upper()
        if verb in {"ALTER", "RENAME"}:
            self._sent.moving = [(self._key(*was), now) for was, now in renamed_tables(statement)]
        if is_finished and verb in {"DROP", "ALTER"}:
            return []  # what has its name now came in its place
        return list(self._losses(verb, statement))

    @contextmanager
    def _asking(self) -> Generator[None, None, None]:
        self.is_asking = True
        try:
            yield
        finally:
            self.is_asking = False

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
            for schema in dropped_schemas(statement):
                for name in self._asker.tables(schema):
                    yield from self._dropped((schema, name))
        elif verb == "ALTER":
            schema, name, parts = altered_table(statement)
            if name and self._key(schema, name) not in self._seen.made:
                yield from self._alterations((schema, name), parts, statement)
        elif verb == "CREATE":
            _, *made = created(statement)
            if (replaced := replaced_table(statement))[1]:
                yield from self._dropped(replaced)
            elif made[1] and is_cautious(statement) and self._asker.columns(made[0], made[1]):
                self._sent.kept.add((self._key(made[0], made[1]), ""))
        if verb in {"CREATE", "INSERT"} and _SELECT.search(statement):
            yield from self._copied(verb, statement)

    def _alterations(
        self, table: _Table, parts: Sequence[Alteration], statement: str
    ) -> Iterator[Loss]:
        if is_cautious(statement):
            there = self._asker.columns(*table)
            self._sent.kept = {(self._key(*table), self._column(name)) for name in there}
        for part in parts:
            if (loss := self._altered(table, part)) is not None:
                yield loss
        if partitions := dropped_partitions(statement)[2]:
            yield from self._asker.dropped_partitions(*table, partitions)

    def _dropped(self, table: _Table) -> Iterator[Loss]:
        if self._key(*table) in self._seen.made | self._sent.emptied:
            return
        copies = self._seen.copies.get(self._key(*table))
        if not copies:
            if loss := self._asker.dropped_table(*table):
                yield loss
            return
        best = max(copies, key=lambda copy: copy.rows)
        everything = any(copy.names is None for copy in copies)
        names = None if everything else set[str]().union(*(copy.names or () for copy in copies))
        yield from self._asker.copied_table(*table, copied=best.rows, names=names)

    def _altered(self, table: _Table, part: Alteration) -> Loss | None:
        if (self._key(*table), self._column(part.column)) in self._seen.added:
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
        if self._key(*target) not in self._seen.temporary:
            copy = _Copy(self._key(*target), None if takes_all else names, 0)
            # How many is not known before, unless nothing stands in the way of any.
            if len(read_name(found[start + 1 :])[2]) == 0:
                copy.rows = -1
            self._sent.copying = self._key(*source), copy
        if self._key(*source) not in self._seen.made:
            yield from self._cast(source, list(split(values)), statement)
            if target[1].startswith(PREFIX):
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
        if not self.is_asking and self._step is not None:
            self._sent, self._seen = self._under_way.pop(id(cursor), (_Sent(), self._seen))
            with self._asking():
                self._note(spoken(statement, self._connection.dialect.name)[-1], cursor)

    def _note(self, statement: str, cursor: Any) -> None:
        """Note what *statement* did, or will have done if there is no *cursor*."""
        match = _VERB.match(statement)
        if match is None:
            return
        verb, seen = match[1].upper(), self._seen
        if verb == "CREATE":
            self._note_made(statement)
        elif verb in {"ALTER", "RENAME"}:
            self._note_altered(statement)
        elif verb == "DROP":
            for table in map(self._key_of, dropped_tables(statement)):
                seen.temporary.discard(table)
                copies = seen.copies.pop(table, ())
                if table in seen.made:
                    seen.made.discard(table)
                else:  # what was copied is all there is of it from now on
                    seen.made -= {copy.target for copy in copies}
        elif cursor is None and "WHERE" not in statement.upper():
            self._sent.emptied |= {self._key_of(read_name(tokens(statement)[2:])[:2])}
        if self._sent.copying is not None:
            source, copy = self._sent.copying
            copy.rows = self._rows_of(cursor, source if cursor is None else copy.target, copy.rows)
            seen.copies.setdefault(source, []).append(copy)
            self._sent.copying = None

    def _note_made(self, statement: str) -> None:
        kind, schema, name = created(statement)
        temporary = "" if kind else temporary_table(statement)
        if temporary or kind == "TABLE":
            made = self._key(schema, temporary or name)
            if (made, "") not in self._sent.kept:
                self._seen.made.add(made)
            if temporary:
                self._seen.temporary.add(made)

    def _note_altered(self, statement: str) -> None:
        seen = self._seen
        for was, new in self._sent.moving:
            now = self._key(*new)
            # A copy that takes the place of an older table holds that one's rows.
            copies = [copy for found in seen.copies.values() for copy in found]
            if was in seen.made:
                seen.made.discard(was)
                if now in seen.made or was not in {copy.target for copy in copies}:
                    seen.made.add(now)
            if was in seen.copies:
                seen.copies[now] = seen.copies.pop(was)
        schema, name, parts = altered_table(statement)
        table = self._key(schema, name) if name else ("", "")
        for part in parts:
            column = table, self._column(part.column)
            if part.change == "add" and column not in self._sent.kept:
                seen.added.add(column)
            elif part.change == "drop":
                seen.added.discard(column)

    def _rows_of(self, cursor: Any, table: _Table, known: int) -> int:
        if cursor is None and known == 0:
            return 0
        if cursor is not None and cursor.rowcount >= 0:
            return int(cursor.rowcount)
        loss = self._asker.dropped_table(*table)
        return loss.rows if loss else 0

    def _key(self, schema: str, name: str) -> _Table:
        """Return a table as the database itself calls it, as far as that tells tables apart."""
        if self._connection.dialect.name == "sqlite":
            return _folded(schema, name)
        if name != name.lower() and not self._asker.is_there(schema, name):
            name = name.lower()
        return schema, name

    def _key_of(self, table: _Table) -> _Table:
        return self._key(*table)

    def _column(self, name: str) -> str:
        return name if self._connection.dialect.name == "postgresql" else name.lower()


def _is_from(found: Sequence[Token], place: int, depth: int) -> bool:
    return found[place].word == "FROM" and found[place].depth == depth


def _folded(schema: str, name: str) -> _Table:
    return schema.lower(), name.lower()
