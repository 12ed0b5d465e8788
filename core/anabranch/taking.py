"""A plugin comes back to what its purge left to others, and takes it up as it is.

What its revisions had done to that before the purge is done: they run again for all the rest.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from anabranch.answers import Answer
from anabranch.claims import thing_of
from anabranch.ddl import CREATED_INDEX, DROPPED_INDEX, WRITE
from anabranch.estate import is_there
from anabranch.events import listening
from anabranch.guards import Guard, GuardError
from anabranch.leftovers import PREFIX
from anabranch.objects import OwnedObject, TableName
from anabranch.occupied import OCCUPIED, is_left, took_part
from anabranch.planning import Plan, Step
from anabranch.recorder import Recorder
from anabranch.revision import CORE, RevisionKey
from anabranch.spelling import Spelling
from anabranch.standing import NAME
from anabranch.statements import (
    altered_table,
    created,
    dropped_parts,
    dropped_tables,
    tokens,
    uncommented,
    unquoted,
)
from anabranch.structure import read_structures, shown

_CHANGE = re.compile(r"(?:CREATE|DROP|ALTER|WITH|INSERT|REPLACE|UPDATE|DELETE)\b", re.IGNORECASE)


def guard_of_taking(
    connection: sa.Connection, recorder: Recorder, plan: Plan, notice: Callable[[str], object]
) -> tuple[Guard, ...]:
    """Return what lets revisions of *plan* take up what is there; nothing if none has to.

    :param notice: told what was left out.
    """
    left = [item for item in recorder.objects(connection) if is_left(item)]
    there = read_structures(connection, {item.table for item in left})
    left = [
        item
        for item in left
        if (item.table in there if item.kind == "table" else is_there(item, there))
    ]
    keys = took_part(recorder, connection, {key.owner for key in plan.keys} - {CORE})
    guards = (_Taking(connection, left, keys, notice),) if left and keys else ()
    connection.rollback()
    return guards


class _Taking(Guard):
    """Leaves out what a revision had done, before its owner was purged, to what that left."""

    def __init__(
        self,
        connection: sa.Connection,
        left: Iterable[OwnedObject],
        keys: Collection[RevisionKey],
        notice: Callable[[str], object],
    ) -> None:
        self._connection = connection
        self._spelling = Spelling.of(connection)
        self._left = tuple((thing_of(item, self._spelling), item) for item in left)
        self._keys = keys
        self._notice = notice
        self._tables: set[TableName] = set()
        self._parts: dict[TableName, set[str]] = {}
        self._indexes: set[str] = set()
        self._taken: dict[str, None] = {}
        self.is_asking = False
        self._refused: GuardError | None = None
        self._step: Step | None = None

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        engine = self._connection.engine
        with (
            listening(self._connection, before_cursor_execute=self._before),
            listening(
                engine,
                do_execute=self._send,
                do_executemany=self._send,
                do_execute_no_params=self._send,
            ),
        ):
            yield

    @contextmanager
    def running(self, step: Step) -> Generator[None, None, None]:
        others = [(thing, item) for thing, item in self._left if item.owner != step.key.owner]
        self._tables = {thing[0] for thing, item in others if item.kind == "table"}
        self._parts = {}
        for (table, _, name), item in others:
            if item.kind != "table" and table not in self._tables:
                self._parts.setdefault(table, set()).add(name)
        self._taken, self._refused = {}, None
        self._step = step if step.key in self._keys else None
        try:
            yield
        finally:
            self._step = None

    def check(self, step: Step, touched: frozenset[TableName]) -> None:  # noqa: ARG002
        if self._refused is not None:
            raise self._refused  # which the script caught
        if self._taken:
            self._notice(f"{step.key} takes up {', '.join(self._taken)} as it is.")

    def _send(self, _cursor: Any, _statement: str, *rest: Any) -> bool:
        """Tell SQLAlchemy that a statement has been sent, where it is left out."""
        context = rest[-1]
        if not self.is_asking or context.root_connection is not self._connection:
            return False
        self.is_asking = False
        context.cursor = Answer()
        return True

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statement = uncommented(statement)
        # What is left out is not the script's: it is not in the log of what was sent either.
        self.is_asking = (
            self._step is not None
            and _CHANGE.match(statement) is not None
            and self._is_done(statement, self._step)
        )

    def _is_done(self, statement: str, step: Step) -> bool:
        """Tell whether *statement* did before the purge what it does.

        :raises GuardError: if it cannot be left out, and must not run.
        """
        table, names = self._subject(statement)
        left = self._parts.get(table, set())
        of = table._replace(name=table.name.removeprefix(PREFIX))
        if of != table and (of in self._tables or of in self._parts):
            self._refuse(
                step, f"it rebuilds {shown(of)}, of which a purge left something to others"
            )
        if table in self._tables:
            self._taken[f"table {shown(table)}"] = None
        elif left.intersection(names):
            if more := ", ".join(sorted(names - left)):
                self._refuse(step, f"one statement changes {more} and what a purge left to others")
            self._taken |= dict.fromkeys(f"{name} of {shown(table)}" for name in sorted(names))
        elif table.name or not names or not names <= self._indexes:
            return False
        if CREATED_INDEX.match(statement):
            self._indexes |= names
        return True

    def _refuse(self, step: Step, what: str) -> None:
        self._refused = GuardError(f"{what}: that cannot be left out.", step, code=OCCUPIED)
        raise self._refused

    def _subject(self, statement: str) -> tuple[TableName, set[str]]:
        """Return the table that *statement* changes, and what of it, where that is not all.

        The table of a dropped index need not be known.
        """
        if index := CREATED_INDEX.match(statement):
            return self._table(index[2], statement), self._names([index[1] or ""], statement)
        if write := WRITE.match(statement):
            table = self._table(write[1], statement)
            spoken = [token.name for token in tokens(statement) if token.is_name]
            return table, self._names(spoken, statement) & self._parts.get(table, set())
        kind, *created_name = created(statement)
        if kind == "TABLE":
            return self._spelling.table(TableName(*created_name), statement), set()
        if len(tables := dropped_tables(statement)) == 1:
            return self._spelling.table(TableName(*tables[0]), statement), set()
        schema, name, changes = altered_table(statement)
        columns = [change.column for change in changes if change.column]
        _, _, dropped = dropped_parts(statement)
        named = [
            after.name
            for before, after in itertools.pairwise(tokens(statement))
            if before.word == "CONSTRAINT"
        ]
        if not name and (index := DROPPED_INDEX.match(statement)):
            dropped = (unquoted(re.findall(NAME, index[1])[-1]),)
        table = self._spelling.table(TableName(schema, name), statement)
        return table, self._names(columns or dropped or named, statement)

    def _table(self, text: str, statement: str) -> TableName:
        *schema, name = (unquoted(part) for part in re.findall(NAME, text))
        return self._spelling.table(TableName("".join(schema), name), statement)

    def _names(self, names: Iterable[str], statement: str) -> set[str]:
        return {self._spelling.part(name, statement) for name in names if name}
