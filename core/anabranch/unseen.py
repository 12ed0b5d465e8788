"""Rows that a revision would lose in a way that no statement tells: by the driver itself, say.

What a script sends through the driver's own connection passes by SQLAlchemy, and by whoever listens
to it; so does what a block of SQL or a procedure does on the server. Only revisions that could do
so are looked at, where the rows are somebody's.

SQLite asks before it drops something: there it is refused before anything is lost, whatever became
of the transaction. On PostgreSQL the catalogue tells afterwards what is gone, and the revision is
rolled back. MariaDB and MySQL could take nothing back, so there what the text speaks of has to do.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.connections import is_usable
from anabranch.errors import DestructiveError
from anabranch.events import listening
from anabranch.guards import NOTHING_AROUND, Guard
from anabranch.losses import Asker
from anabranch.objects import TableName
from anabranch.planning import Plan, Step
from anabranch.statements import altered_table, dropped_tables, folded, quoted
from anabranch.wording import counted

_DRIVER = re.compile(
    rb"\.\s*(?:\w*connection|cursor)\b|\bexecutescript\b|\braw_connection\b", re.IGNORECASE
)
_DOWNGRADE = re.compile(rb"^def downgrade\b.*?(?=^[A-Za-z_@]|\Z)", re.MULTILINE | re.DOTALL)
_DROP = re.compile(rb"\bdrop\b", re.IGNORECASE)
# What the server does by itself, or takes along.
_BLOCK = re.compile(
    r"\bdo\s+(?:\$|language\b|e?')|\bcall\s+\w|\bdrop\s+(?:schema|owned)\b"
    r"|\bdrop\s+\w+[^;]*\bcascade\b|\bcreate\s[^;]*\b(?:function|procedure)\b.*\bdrop\b",
    re.IGNORECASE | re.DOTALL,
)
_CREATES = (sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_VTABLE)
_DROPS = (sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_VTABLE)
_MOST = 500  # tables that one question is about
_TABLES = """
    SELECT c.oid, n.nspname, c.relname,
        array_agg(a.attnum) AS numbers, array_agg(CAST(a.attname AS text)) AS names
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND pg_has_role(c.relowner, 'USAGE')
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    GROUP BY c.oid, n.nspname, c.relname
"""
_TAKEN = """
    SELECT relation FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE d.datname = current_database() AND pid <> pg_backend_pid()
    AND locktype = 'relation' AND mode = 'AccessExclusiveLock'
"""
_WITH_PARTS = """
    WITH RECURSIVE part AS (
        SELECT CAST(to_regclass(:table) AS oid) AS oid
        UNION SELECT i.inhrelid FROM pg_inherits i JOIN part ON i.inhparent = part.oid
    ) SELECT part.oid, a.attnum, a.attname
    FROM part JOIN pg_attribute a ON a.attrelid = part.oid AND a.attnum > 0
"""


@dataclass(frozen=True, slots=True)
class _Known:
    """A table of PostgreSQL: its columns by their numbers, which no renaming changes."""

    schema: str
    name: str
    columns: dict[int, str]


@dataclass
class _Seen:
    """What is known of the running revision.

    :ivar empty: SQLite's tables that may go: they were empty, or the revision made them.
    :ivar heard: what a statement that everybody heard is about to drop.
    :ivar rows: PostgreSQL's tables with rows, before it, by their oid.
    :ivar dropped: what was dropped so that everybody heard it: tables, and columns by number.
    """

    empty: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)
    rows: dict[int, _Known] = field(default_factory=dict)
    dropped: set[tuple[int, int]] = field(default_factory=set)


class UnseenGuard(Guard):
    """Watches the revisions that could lose rows unheard, and do not say that they do.

    On SQLite an authorizer that a lent connection may have is replaced while such a one runs.

    :param made: as for :class:`~anabranch.destructive.DestructionGuard`.
    """

    def __init__(self, connection: sa.Connection, made: Iterable[tuple[str, str]] | None) -> None:
        self._connection = connection
        self._made = None if made is None else {folded(name) for _, name in made}
        self._others: set[str] | None = None
        self._seen = _Seen()
        self._is_askable = False
        self._is_open = False
        self._unheard: tuple[str, str] | None = None
        self.is_asking = False

    def begin(self) -> None:
        """Find out, in a database that is still to be installed, whether rows are in it already."""
        if self._made is not None and self._others is None:
            self._others = self._names_with_rows() - self._made

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        with listening(
            self._connection,
            before_cursor_execute=self._before,
            after_cursor_execute=self._after,
        ):
            yield

    def running(self, step: Step) -> AbstractContextManager[None]:
        self._unheard = None
        self._is_askable = self._could_lose(step)
        self._is_open = self._is_askable and not step.revision.plain
        return self._watched(step) if self._is_open else NOTHING_AROUND

    @contextmanager
    def _watched(self, step: Step) -> Generator[None, None, None]:
        self._seen = _Seen()
        raw: Any = self._connection.connection.dbapi_connection
        is_sqlite = self._connection.dialect.name == "sqlite"
        try:
            if is_sqlite:
                names = self._names()
                self._seen.empty = names - self._protected(self._names_with_rows(names))
                raw.set_authorizer(self._authorize)
            else:
                self._seen.rows = self._tables_with_rows()
            yield
        except Exception as error:
            if self._unheard is not None and is_usable(self._connection):
                self._refuse(step, error)
            raise
        finally:
            if is_sqlite and is_usable(self._connection):
                raw.set_authorizer(_allow)  # None takes it away only since Python 3.11

    def committing(self, step: Step, touched: frozenset[TableName]) -> None:  # noqa: ARG002
        """Refuse also what the script went on after."""
        if self._unheard is not None:
            self._refuse(step, None)
        if self._is_open and self._connection.dialect.name == "postgresql":
            self._compare(step)

    def check(self, step: Step, touched: frozenset[TableName]) -> None:
        self.committing(step, touched)
        self._is_askable = self._is_open = False

    def _could_lose(self, step: Step) -> bool:
        """Tell whether somebody has to be asked about rows that *step* loses unheard."""
        return (
            self._connection.dialect.name in {"sqlite", "postgresql"}
            and (self._made is None or bool(self._others))
            and not step.revision.destructive
        )

    def _protected(self, names: set[str]) -> set[str]:
        return names if self._others is None else names & self._others

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not self._is_askable or self.is_asking:
            return
        is_sqlite = self._connection.dialect.name == "sqlite"
        if not self._is_open and not is_sqlite and _BLOCK.search(statement):
            # Most revisions have none, and are spared the look.
            self._seen = _Seen(rows=self._tables_with_rows())
            self._is_open = True
        if not self._is_open:
            return
        tables = [(table, "") for table in dropped_tables(statement)]
        schema, name, parts = altered_table(statement)
        tables += [((schema, name), part.column) for part in parts if part.change == "drop"]
        for table, column in tables:
            if is_sqlite:
                self._seen.heard.add(folded(table[1]))
            else:
                self._hear(table, column)

    def _after(self, *_event: Any) -> None:
        self._seen.heard.clear()

    @contextmanager
    def _asking(self) -> Generator[None, None, None]:
        self.is_asking = True
        try:
            yield
        finally:
            self.is_asking = False

    # -- SQLite

    def _names(self) -> set[str]:
        with self._asking():
            names = self._connection.exec_driver_sql(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).scalars()
            return {folded(name) for name in names}

    def _names_with_rows(self, names: Iterable[str] | None = None) -> set[str]:
        """Return which tables have rows: of *names* in SQLite, of all in PostgreSQL."""
        if self._connection.dialect.name == "postgresql":
            return {folded(known.name) for known in self._tables_with_rows().values()}
        if self._connection.dialect.name != "sqlite":
            return set()
        found: set[str] = set()
        for name in self._names() if names is None else names:
            with self._asking(), suppress(exc.DBAPIError):  # a module that is not there
                question = f"SELECT 1 FROM {quoted(name)} LIMIT 1"  # noqa: S608
                if self._connection.exec_driver_sql(question).first():
                    found.add(name)
        return found

    def _authorize(self, action: int, first: str | None, second: str | None, *more: Any) -> int:
        """Answer SQLite, which asks before each statement that it is given, whoever gives it."""
        seen = self._seen
        table, column = (second, more[0]) if action == sqlite3.SQLITE_ALTER_TABLE else (first, "")
        name = folded(table or "")
        if action in _CREATES:
            seen.empty.add(name)
        elif action in _DROPS or (action == sqlite3.SQLITE_ALTER_TABLE and column):
            # A virtual table takes those along that it is made of.
            is_heard = any(name == heard or name.startswith(f"{heard}_") for heard in seen.heard)
            if name not in seen.empty and not is_heard:
                self._unheard = self._unheard or (table or "", column or "")
                return sqlite3.SQLITE_DENY
            if not column:
                seen.empty.discard(name)
        return sqlite3.SQLITE_OK

    # -- PostgreSQL

    def _tables(self) -> dict[int, _Known]:
        with self._asking():
            rows = self._connection.exec_driver_sql(_TABLES).all()
        return {
            row.oid: _Known(
                row.nspname, row.relname, dict(zip(row.numbers, row.names, strict=True))
            )
            for row in rows
        }

    def _tables_with_rows(self) -> dict[int, _Known]:
        known = self._tables()
        quote = self._connection.dialect.identifier_preparer.quote_identifier
        protected = {oid for oid, t in known.items() if self._protected({folded(t.name)})}
        with self._asking():
            # Who has one of these for itself may keep it for long: it is taken to have rows.
            full = protected & set(self._connection.exec_driver_sql(_TAKEN).scalars())
            questions = [
                f"SELECT {oid} WHERE EXISTS "  # noqa: S608
                f"(SELECT 1 FROM {quote(known[oid].schema)}.{quote(known[oid].name)})"
                for oid in sorted(protected - full)
            ]
            options = self._connection.get_execution_options()
            is_autocommit = options.get("isolation_level") == "AUTOCOMMIT"
            # Which holds the locks of the look.
            nested = None if is_autocommit else self._connection.begin_nested()
            for start in range(0, len(questions), _MOST):
                text = " UNION ALL ".join(questions[start : start + _MOST])
                ask = self._connection.exec_driver_sql
                full |= set(ask(text, execution_options={"no_parameters": True}).scalars())
            if nested is not None:
                nested.rollback()
        return {oid: known[oid] for oid in full}

    def _hear(self, table: tuple[str, str], column: str) -> None:
        """Note what a statement drops, which has been judged by its text."""
        quote = self._connection.dialect.identifier_preparer.quote_identifier
        name = ".".join(quote(part) for part in table if part)
        with self._asking():
            rows = self._connection.execute(sa.text(_WITH_PARTS), {"table": name}).all()
        self._seen.dropped |= {
            (row.oid, row.attnum if column else 0)
            for row in rows
            if not column or row.attname == column
        }

    def _compare(self, step: Step) -> None:
        """Find what had rows before *step* and is gone, without a statement that said so."""
        after = self._tables()
        by_name = {(known.schema, known.name): oid for oid, known in after.items()}
        full: dict[int, _Known] | None = None
        for oid, before in self._seen.rows.items():
            if (oid, 0) in self._seen.dropped:
                continue
            now = after.get(oid)
            if now is not None:
                gone = [
                    name
                    for number, name in before.columns.items()
                    if number not in now.columns and (oid, number) not in self._seen.dropped
                ]
            else:
                # Another may have taken its place, with its rows.
                full = self._tables_with_rows() if full is None else full
                now = full.get(by_name.get((before.schema, before.name), 0))
                gone = (
                    sorted(set(before.columns.values()) - set(now.columns.values()))
                    if now
                    else [""]
                )
            for name in gone:
                self._unheard = before.name, name
                self._refuse(step, None)

    def _refuse(self, step: Step, error: Exception | None) -> NoReturn:
        table, column = self._unheard or ("", "")
        rows = 0
        if self._connection.dialect.name == "sqlite":
            with self._asking():
                loss = Asker(self._connection).dropped_table("", table)
            rows = loss.rows if loss else 0
        what = f"column {table}.{column}" if column else f"table {table}"
        has = counted(rows, "row", "rows") if rows else "rows"
        raise DestructiveError(
            f"{step.key} would drop {what} past SQLAlchemy: the table has {has}.",
            revision=step.key,
            table=table,
            column=column,
            rows=rows,
            remedy="What becomes of them cannot be told. If that is meant, run the same command "
            "again with --allow-destructive.",
        ) from error


def refuse_unseen(plan: Plan) -> None:
    """Refuse what speaks to the driver of MariaDB or MySQL, and of a drop.

    There it would be done at once.

    :raises DestructiveError: for the first such revision that does not say it is destructive.
    """
    for step in plan.steps:
        revision = step.revision
        if revision.destructive or revision.plain:
            continue
        if _speaks(step, _DRIVER) and _speaks(step, _DROP):
            raise DestructiveError(
                f"{step.key} speaks to the database's driver itself, and of a drop: what it "
                "would lose cannot be told, nor taken back.",
                revision=step.key,
                table="",
                column="",
                rows=0,
                remedy="Read it. If nothing is lost, or that is meant, run the same command "
                "again with --allow-destructive.",
            )


def _speaks(step: Step, of: re.Pattern[bytes]) -> bool:
    """Tell whether what an upgrade runs speaks *of* something; a ``downgrade()`` often drops."""
    with suppress(OSError):
        text = _DOWNGRADE.sub(b"", Path(step.revision.path).read_bytes())
        return of.search(text) is not None
    return False


def _allow(*_question: Any) -> int:
    return sqlite3.SQLITE_OK
