"""SQLite's own catalogue, asked through the driver: what there is, and whether it works."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from anabranch.definitions import Definition
from anabranch.statements import folded, quoted, tokens, trigger_event


@dataclass(frozen=True)
class Item:
    """An index, a trigger or a view, with the table it is on and its statement."""

    kind: str
    name: str
    table: str
    sql: str


class Catalogue:
    """What the main database of a connection holds; names are compared as SQLite does.

    No listener of the connection hears the statements that are sent here.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._numbers = itertools.count()

    def sql(self, name: str) -> str | None:
        """Return the statement of a table, view, index or trigger; None if there is none."""
        rows = self.rows("SELECT sql FROM sqlite_master WHERE name = ? COLLATE NOCASE", name)
        return rows[0][0] if rows else None

    def definition(self, table: str) -> Definition | None:
        sql = self.sql(table)
        return Definition.parse(sql) if sql else None

    def items(self, table: str) -> Iterator[Item]:
        """Yield the indexes of *table*, and all views and triggers."""
        rows = self.rows(
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL "
            "AND (type IN ('view', 'trigger') OR type = 'index' AND tbl_name = ? COLLATE NOCASE)",
            table,
        )
        for row in rows:
            yield Item(*row)

    def tables(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the statement of every table."""
        yield from self.rows("SELECT name, sql FROM sqlite_master WHERE type = 'table'")

    def indexes(self, table: str) -> set[str]:
        """Return the names of what CREATE INDEX made on *table*: also those on expressions."""
        rows = self.rows(f"PRAGMA index_list({quoted(table)})")
        return {row[1] for row in rows if row[3] == "c"}

    def counter(self, table: str) -> int | None:
        """Return the last id that AUTOINCREMENT gave; None if it gave none."""
        if not self.sql("sqlite_sequence"):
            return None
        rows = self.rows("SELECT seq FROM sqlite_sequence WHERE name = ? COLLATE NOCASE", table)
        return rows[0][0] if rows else None

    def set_counter(self, table: str, value: int) -> None:
        """Let AUTOINCREMENT give no id up to *value*."""
        now = self.counter(table)
        if now is None:
            self.rows("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", table, value)
        elif now < value:
            self.rows(
                "UPDATE sqlite_sequence SET seq = ? WHERE name = ? COLLATE NOCASE", value, table
            )

    def generated(self, table: str) -> set[str]:
        """Return the columns, folded, that SQLite computes."""
        rows = self.rows(f"PRAGMA table_xinfo({quoted(table)})")
        return {folded(row[1]) for row in rows if row[6] in (2, 3)}

    def stands_alone(self, table: str) -> bool:
        """Tell whether no view, no trigger and no table but itself speaks of *table*."""
        rows = self.rows(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'index'"
        )
        return all(
            _mentions(sql, table) <= (folded(item) == folded(table))
            for item, sql in rows
            if folded(table) in folded(sql)
        )

    def fault(self, item: Item) -> str:
        """Return why a view or a trigger does not work; empty if it does."""
        try:
            if item.kind == "view":
                self.compile(f"SELECT * FROM {quoted(item.name)}")  # noqa: S608
            else:
                self.compile_writes(item.table)
        except sqlite3.Error as error:
            return str(error)
        return ""

    def compile_writes(self, table: str) -> None:
        """Let SQLite compile the triggers of *table*: when they are created it looks at nothing.

        :raises sqlite3.Error: if one of them does not work.
        """
        name = quoted(table)
        triggers = self.rows(
            "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE",
            table,
        )
        events = {trigger_event(sql) for (sql,) in triggers}
        if "INSERT" in events:
            self.compile(f"INSERT INTO {name} DEFAULT VALUES")
        if "UPDATE" in events:
            columns = [
                quoted(row[1]) for row in self.rows(f"PRAGMA table_xinfo({name})") if not row[6]
            ]
            values = ", ".join(f"{column} = {column}" for column in columns)
            self.compile(f"UPDATE {name} SET {values}")  # noqa: S608
        if "DELETE" in events:
            self.compile(f"DELETE FROM {name}")  # noqa: S608

    def compile(self, statement: str) -> None:
        """Let SQLite compile *statement* and not run it.

        :raises sqlite3.Error: if it cannot be compiled.
        """
        # Never the same text twice: the driver would hand back what it compiled before.
        self.rows(f"EXPLAIN {statement} -- {next(self._numbers)}")

    def attempt(self, *statements: str, check: Callable[[], str]) -> str:
        """Run *statements*, or none of them; return why that cannot be done.

        :param check: says what is wrong after them, if something is.
        """
        self.rows("SAVEPOINT anabranch")
        try:
            for statement in statements:
                self.rows(statement)
            fault = check()
        except sqlite3.Error as error:
            fault = str(error)
        if fault:
            self.rows("ROLLBACK TO anabranch")
        self.rows("RELEASE anabranch")
        return fault

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        raw: Any = self._connection.connection.dbapi_connection
        rows: list[tuple[Any, ...]] = raw.execute(statement, parameters).fetchall()
        return rows


def speaking_of(name: str, items: Sequence[Item]) -> Iterator[Item]:
    """Yield those of *items* that name a table, or a view that does."""
    names = [name]
    waiting = list(items)
    for named in names:
        for item in list(waiting):
            if folded(named) in folded(item.sql) and _mentions(item.sql, named):
                waiting.remove(item)
                if item.kind == "view":
                    names.append(item.name)
                yield item


def _mentions(sql: str, name: str) -> int:
    """Count how often a statement names *name*."""
    folds = folded(name)
    return sum(token.is_name and folded(token.name) == folds for token in tokens(sql))
