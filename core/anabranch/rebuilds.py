"""SQLite's table rebuilds: what they lose unasked is put back, or the revision is refused.

SQLite cannot alter much of a table, so a new one is made, filled, and takes the old one's name:
Alembic's batch mode does that, or a script by hand. With the old table go its triggers, its indexes
and its counter; what reflection does not see (COLLATE, AUTOINCREMENT, ON CONFLICT, constraints
without a name, what a column's foreign key does, DESC, expressions) goes too; and a view on the
table makes the last step fail.

What a script drops by a statement of its own is meant, and so is what goes with a dropped column.
A table definition that a script writes out is meant as it is; one that Alembic reflects is not.
"""

from __future__ import annotations

import re
import sqlite3
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from anabranch.actions import lost_actions, with_actions
from anabranch.catalogue import Catalogue
from anabranch.connections import is_usable
from anabranch.definitions import Definition, completed, losses, ordered
from anabranch.events import listening
from anabranch.guards import NOTHING_AROUND, Guard, GuardError
from anabranch.inventory import Inventory, Restorer, led_astray
from anabranch.leftovers import PREFIX
from anabranch.objects import TableName
from anabranch.planning import Step
from anabranch.statements import (
    Token,
    created,
    dropped,
    dropped_tables,
    folded,
    quoted,
    read_name,
    renamed_table,
    split,
    tokens,
)

_VERB = re.compile(
    r"(?:\s+|--[^\n]*\n|/\*.*?\*/)*(CREATE|DROP|ALTER|INSERT|PRAGMA)\b", re.IGNORECASE | re.DOTALL
)
_REFLECTION = re.compile(r"""index_list\(["']?(.+?)["']?\)""", re.IGNORECASE)
_LONGEST = 50  # characters of a temporary name that Alembic keeps
_WARNINGS = (
    "Unnamed CHECK constraint on reflected table",
    "Skipped unsupported reflection of expression-based index",
)


@dataclass
class _Seen:
    """What the running revision did so far, by folded names.

    :ivar made: the tables it made, while they have a name of their own.
    :ivar taken: the tables of before that it dropped or renamed away.
    :ivar aside: what those are called that it renamed away, and what they were called.
    :ivar emptied: the new names of those that it then dropped.
    :ivar copies: the tables that Alembic's temporary ones are made for.
    :ivar moved: for tables that were filled from another, the columns whose names differ there.
    :ivar rebuilt: the tables of before whose names new ones took.
    :ivar reflected: the tables whose indexes were looked up since the last statement of another
        kind: Alembic reflects a table right before it makes its successor.
    """

    made: set[str] = field(default_factory=set)
    taken: dict[str, Inventory] = field(default_factory=dict)
    aside: dict[str, str] = field(default_factory=dict)
    emptied: set[str] = field(default_factory=set)
    copies: dict[str, Inventory] = field(default_factory=dict)
    moved: dict[str, dict[str, str]] = field(default_factory=dict)
    rebuilt: dict[str, Inventory] = field(default_factory=dict)
    reflected: set[str] = field(default_factory=set)


class RebuildGuard(Guard):
    """Watches the revisions of a run for rebuilt tables; does nothing on other databases.

    A table is looked at when a revision takes it away, and at no other time.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._catalogue = Catalogue(connection)
        self._is_looking = False
        self._is_unchecked = False
        self._is_running = False
        self._step: Step | None = None
        self._begin()

    def _begin(self) -> None:
        self._seen = _Seen()
        self._refused: GuardError | None = None
        self._restorer = Restorer(self._catalogue, self._inspect)

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        if self._connection.dialect.name != "sqlite":
            yield
            return
        with (
            listening(self._connection, retval=True, before_cursor_execute=self._before),
            listening(self._connection, after_cursor_execute=self._after),
            _unwarned(),
        ):
            yield

    def running(self, step: Step | None) -> AbstractContextManager[None]:
        """Surround the statements of *step*; without one they are nobody's script's."""
        if self._connection.dialect.name != "sqlite":
            return NOTHING_AROUND
        return self._watched(step)

    @contextmanager
    def _watched(self, step: Step | None) -> Generator[None, None, None]:
        self._begin()
        self._step = step
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            if is_usable(self._connection):
                self._check_renames()

    def committing(self, step: Step, touched: frozenset[TableName]) -> None:
        self.check(step, touched)

    def check(self, step: Step, touched: frozenset[TableName]) -> None:  # noqa: ARG002
        if self._refused is not None:  # the script caught it, and goes on as if it had dropped
            raise self._refused
        if lost := self.losses():
            raise GuardError(
                f"it rebuilds a table and loses what it does not say it would: {'; '.join(lost)}.",
                step,
                code="AB231",
                remedy="Its author drops what is meant to go by a statement of its own, before the "
                "rebuild, and restates what is to stay; ALTER TABLE ... RENAME COLUMN keeps all.",
            )

    def losses(self) -> list[str]:
        """Put back what rebuilt tables lost; say what of it cannot be."""
        seen = self._seen
        if not seen.rebuilt:
            return []
        with _unwarned():
            lost = [
                f"table {before.name}: {', '.join(found)}"
                for table, before in seen.rebuilt.items()
                if (found := [*before.lost, *self._restorer.put_back(table, before)])
            ]
        return lost + [
            f"table {child}: its foreign key" for child in led_astray(self._catalogue, seen.emptied)
        ]

    # -- before a statement

    def _before(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any
    ) -> tuple[str, Any]:
        if self._is_looking or not self._is_running:
            return statement, parameters
        self._check_renames()
        verb = _verb(statement)
        if verb == "PRAGMA":
            if found := _REFLECTION.search(statement):
                self._before_reflection(folded(found[1]))
            return statement, parameters
        if verb == "CREATE":
            statement = self._before_create(statement)
        elif verb == "DROP":
            self._before_drop(statement)
        elif verb == "ALTER":
            self._before_rename(statement)
        elif verb == "INSERT" and self._seen.made:
            statement = self._before_copy(statement)
        if verb:
            self._seen.reflected.clear()
        return statement, parameters

    def _before_reflection(self, table: str) -> None:
        """Put back the indexes of a table that is looked at again, to be rebuilt once more."""
        self._seen.reflected.add(table)
        if before := self._seen.rebuilt.get(table):
            # What cannot be put back now is judged when the revision is done.
            deque(self._restorer.put_back_indexes(table, before), maxlen=0)

    def _before_create(self, statement: str) -> str:
        kind, schema, made = created(statement)
        if kind in {"TRIGGER", "INDEX"} and folded(made) in self._restorer.restored:
            # The script makes anew what it knows to be lost.
            self._restorer.restored.discard(folded(made))
            self._catalogue.rows(f"DROP {kind} IF EXISTS {quoted(made)}")
        name = _main((schema, made))
        if kind != "TABLE" or not name.startswith(PREFIX):
            return statement
        sources = self._catalogue.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' "
            "AND substr(? || name, 1, ?) = ? COLLATE NOCASE",
            PREFIX,
            _LONGEST,
            name,
        )
        if len(sources) != 1:
            return statement
        before = self._seen.copies[name] = Inventory.take(self._catalogue, sources[0][0])
        before.by_alembic = True
        if folded(before.name) in self._seen.reflected:
            with self._inspect() as inspector:
                before.see(inspector)
        return self._completed(statement, before)

    def _completed(self, statement: str, before: Inventory) -> str:
        """Return Alembic's CREATE TABLE with what its reflection left out."""
        if before.definition is None:
            return statement
        for name, seen in before.computed_seen.items():
            # SQLAlchemy takes what follows a generated column for a part of its expression.
            expression = before.definition.columns[name].expression
            statement = statement.replace(f"({seen})", f"({expression})", 1)
        statement = ordered(statement, before.definition)
        new = Definition.parse(statement)
        if new is None:
            return statement
        complete = completed(new, before.definition, uniques=before.uniques_seen)
        complete = with_actions(complete, before.definition, before.actions_unseen)
        if complete == new:
            return statement
        try:
            self._catalogue.compile(complete.render())
        except sqlite3.Error:
            return statement  # what is lost so is found when the table is in place
        return complete.render()

    def _before_copy(self, statement: str) -> str:
        """Note which columns a copy renames; leave out those that SQLite computes."""
        found = tokens(statement)
        into = next((i for i, token in enumerate(found) if token.word == "INTO"), 0)
        schema, name, rest = read_name(found[into + 1 :])
        table = _main((schema, name))
        select = next((i for i, token in enumerate(rest) if token.word == "SELECT"), 0)
        source = next((i for i, t in enumerate(rest) if t.word == "FROM" and not t.depth), 0)
        if table not in self._seen.made or not 0 < select < source or rest[0].text != "(":
            return statement
        columns, values = list(split(rest[1 : select - 1])), list(split(rest[select + 1 : source]))
        if len(columns) != len(values):
            return statement
        moved = self._seen.moved[table] = {}
        for column, value in zip(columns, values, strict=True):
            if (was := _copied(value)) and was != folded(column[0].name):
                moved[was] = folded(column[0].name)
        if table not in self._seen.copies:
            return statement
        generated = self._catalogue.generated(name)
        kept = [
            (_written(column, statement), _written(value, statement))
            for column, value in zip(columns, values, strict=True)
            if folded(column[0].name) not in generated
        ]
        if len(kept) == len(columns):
            return statement
        start, end = statement[: rest[0].start], statement[rest[source].start :]
        into_columns, from_values = (", ".join(part) for part in zip(*kept, strict=True))
        return f"{start}({into_columns}) SELECT {from_values} {end}"

    def _before_drop(self, statement: str) -> None:
        kind, name = dropped(tokens(statement))
        if kind in {"INDEX", "TRIGGER", "VIEW"}:
            self._restorer.told.add(folded(name))
        for table in map(_main, dropped_tables(statement)):
            if table not in self._seen.made and table not in self._seen.aside:
                self._take(table)
            if table not in self._seen.made:
                self._spare_children(table)

    def _spare_children(self, table: str) -> None:
        """Stop a drop that would take along the rows that refer to *table*.

        A run has foreign keys off; with them on, which a script can do between two transactions,
        SQLite deletes the rows of a table before it drops it.
        """
        if self._step is None or not self._catalogue.rows("PRAGMA foreign_keys")[0][0]:
            return
        children = self._catalogue.rows(
            "SELECT DISTINCT m.name FROM sqlite_master m, pragma_foreign_key_list(m.name) k "
            "WHERE m.type = 'table' AND m.name <> ? COLLATE NOCASE "
            "AND k.\"table\" = ? COLLATE NOCASE AND k.on_delete NOT IN ('NO ACTION', 'RESTRICT')",
            table,
            table,
        )
        losers = [
            str(name)
            for (name,) in children
            if self._catalogue.rows(f"SELECT 1 FROM {quoted(name)} LIMIT 1")  # noqa: S608
        ]
        if losers:
            self._refused = GuardError(
                f"it drops {table} with foreign keys on, which deletes or changes rows of "
                f"{', '.join(losers)} too.",
                self._step,
                code="AB231",
                remedy="Its author leaves PRAGMA foreign_keys off.",
            )
            raise self._refused

    def _before_rename(self, statement: str) -> None:
        name, target = renamed_table(statement)
        source = _main(name)
        if not source:
            return
        if source not in self._seen.made:
            self._take(source)
        elif folded(target) in self._seen.taken and self._catalogue.stands_alone(source):
            # The new table takes the old one's name. SQLite would look through all views and
            # triggers, which find nothing under that name yet; nothing speaks of the other.
            self._is_unchecked = True
            self._catalogue.rows("PRAGMA legacy_alter_table = ON")

    def _take(self, table: str) -> None:
        seen = self._seen
        if table in seen.taken:
            return
        earlier = seen.rebuilt.pop(table, None)
        lost = [*earlier.lost, *self._restorer.put_back(table, earlier)] if earlier else []
        copied = (copy for copy in seen.copies.values() if folded(copy.name) == table)
        before = next(copied, None) or Inventory.take(self._catalogue, table)
        if earlier:  # rebuilt once more by the same revision
            before.lost += lost
            known = {item.name for item in before.dependents}
            before.dependents += [i for i in earlier.dependents if i.name not in known]
        seen.taken[table] = before

    # -- after a statement

    def _after(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not self._is_running:
            return
        verb = _verb(statement)
        if verb == "CREATE":
            kind, *made = created(statement)
            if kind == "TABLE" and (name := _main((made[0], made[1]))):
                self._seen.made.add(name)
        elif verb == "DROP":
            for name in map(_main, dropped_tables(statement)):
                self._dropped(name)
        elif verb == "ALTER":
            self._check_renames()
            was, target = renamed_table(statement)
            if source := _main(was):
                self._renamed(source, folded(target))

    def _dropped(self, table: str) -> None:
        seen = self._seen
        seen.made.discard(table)
        seen.rebuilt.pop(table, None)
        if was := seen.aside.pop(table, None):
            seen.emptied.add(table)
            if was in seen.made:
                self._replaced(was)

    def _renamed(self, source: str, target: str) -> None:
        seen = self._seen
        if source in seen.rebuilt:
            seen.rebuilt[target] = seen.rebuilt.pop(source)
        elif source not in seen.made:
            seen.aside[target] = seen.aside.pop(source, source)
        else:
            seen.made.discard(source)
            seen.made.add(target)
            seen.copies.pop(source, None)
            seen.moved[target] = seen.moved.pop(source, {})
            if target in seen.taken:
                self._replaced(target)

    def _replaced(self, table: str) -> None:
        """Take note that a new table has the name of one that was taken away."""
        self._seen.made.discard(table)
        before = self._seen.rebuilt[table] = self._seen.taken.pop(table)
        before.renamed = self._seen.moved.pop(table, {})
        new = self._catalogue.definition(table)
        if new and before.definition and before.by_alembic:
            before.lost += losses(
                new, before.definition, before.renamed, uniques=before.uniques_seen
            )
            before.lost += lost_actions(
                new, before.definition, before.actions_unseen, before.renamed
            )
        if new and new.autoincrement and before.counter is not None:
            self._catalogue.set_counter(before.name, before.counter)
        # At once: what the script writes from here on fires them, as if nothing had happened.
        deque(self._restorer.put_back_triggers(table, before), maxlen=0)

    def _check_renames(self) -> None:
        """Let SQLite look through views and triggers at a RENAME again."""
        if self._is_unchecked:
            self._is_unchecked = False
            self._catalogue.rows("PRAGMA legacy_alter_table = OFF")

    @contextmanager
    def _inspect(self) -> Generator[sa.Inspector, None, None]:
        """Look without taking that for the script's looking."""
        self._is_looking = True
        try:
            yield sa.inspect(self._connection)
        finally:
            self._is_looking = False


@contextmanager
def _unwarned() -> Generator[None, None, None]:
    """Let nobody warn of losses that do not happen here."""
    with warnings.catch_warnings():
        for message in _WARNINGS:
            warnings.filterwarnings("ignore", message)
        yield


def _verb(statement: str) -> str:
    match = _VERB.match(statement)
    return match[1].upper() if match else ""


def _main(name: tuple[str, str]) -> str:
    """Return a table's name, folded; empty if it is in another database file."""
    return folded(name[1]) if folded(name[0]) in ("", "main") else ""


def _written(found: Sequence[Token], statement: str) -> str:
    return statement[found[0].start : found[-1].end]


def _copied(value: Sequence[Token]) -> str:
    """Return the column, folded, that an expression is, or a CAST of it; else nothing."""
    end = next((i for i, token in enumerate(value) if token.word == "AS"), len(value))
    found = value[2:end] if value[0].word == "CAST" else value[:end]
    if len(found) in (1, 3) and found[-1].is_name:
        return folded(found[-1].name)
    return ""
