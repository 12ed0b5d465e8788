"""A SQLite database without rows that stands in for a real one, so that a script can be written.

A batch rebuild reads the table that it rebuilds, so it cannot be written down blindly. It is run
here instead, under the same guard as in a real run, and what SQLite was sent is the script.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from anabranch.catalogue import Catalogue
from anabranch.environment import script_environment, use_metadata
from anabranch.events import listening
from anabranch.objects import ObjectChanges, OwnedObject, TableName
from anabranch.offline import NeedsDatabaseError
from anabranch.planning import Step
from anabranch.rebuilds import RebuildGuard
from anabranch.statements import dropped_tables, folded, quoted, renamed_table, tokens
from anabranch.tracking import ObjectTracker

_SCHEMA = (
    "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' ESCAPE '~' "
    "ORDER BY sql NOT LIKE 'CREATE VIRTUAL%', "
    "CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid"
)
_CHANGES = {
    *("CREATE", "DROP", "ALTER", "INSERT", "UPDATE", "DELETE", "REPLACE"),
    *("SAVEPOINT", "RELEASE", "ROLLBACK"),
}
_QUERIES = {"SELECT", "VALUES", "WITH", "EXPLAIN"}
_COUNTERS = "anabranch_counters"


class StandInError(Exception):
    """It cannot stand in: something of the real database cannot be made here."""


def schema_of(connection: sa.Connection) -> tuple[str, ...]:
    """Return the statements that make the tables, indexes, views and triggers there are."""
    return tuple(sql for (sql,) in Catalogue(connection).rows(_SCHEMA))


@contextmanager
def stand_in(schema: Sequence[str]) -> Generator[StandIn, None, None]:
    """Make a database of *schema* that lasts as long as the block.

    :raises StandInError: if SQLite cannot.
    """
    with tempfile.TemporaryDirectory(prefix="anabranch-") as folder:
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(Path(folder, "stand-in.sqlite"))),
            poolclass=StaticPool,
        )
        try:
            with engine.connect() as connection:
                yield StandIn(connection, schema)
        finally:
            engine.dispose()


class StandIn:
    """Follows a script that is being written, and runs what cannot be written blindly."""

    def __init__(self, connection: sa.Connection, schema: Sequence[str]) -> None:
        self._connection = connection
        raw: Any = connection.connection.dbapi_connection
        raw.isolation_level = None
        raw.execute("PRAGMA synchronous = OFF")
        self._raw = raw
        self._schema = tuple(schema)
        _build(self._raw, schema)

    def follow(self, statement: str) -> None:
        """Run *statement*, which the script has.

        :raises StandInError: if it fails here.
        """
        try:
            self._raw.execute(statement)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise StandInError(_told(error, statement)) from error

    def run(
        self,
        step: Step,
        upgrade: Callable[[], None],
        metadata: sa.MetaData,
        tracker: ObjectTracker,
        *,
        version_table: str,
        ignored: Collection[str],
    ) -> tuple[list[str], ObjectChanges, tuple[OwnedObject, ...]]:
        """Run *upgrade* of *step*; return the statements, and what it made.

        :param tracker: what knows the objects that are recorded so far.
        :raises NeedsDatabaseError: if it reads rows, which are not here, or ends the transaction.
        :raises GuardError: if a rebuild loses what it does not say it would.
        """
        own = ObjectTracker(self._connection, tracker.owned, ignored)
        guard = RebuildGuard(self._connection)
        counted = self._counted()
        sent: list[str] = []
        with (
            script_environment(
                self._connection, version_table=version_table, schema=None
            ) as context,
            own.watching(),
            guard.watching(),
            self._written_out(),
            self._traced(sent),
        ):
            use_metadata(context, metadata)
            with guard.running(step):
                upgrade()
            guard.check(step, own.touched())
        changes = own.finish(step.key)
        statements = list(_changing(sent))
        rebuilt = sorted(counted & self._counted() & set(_taken(statements)))
        return _with_counters(statements, rebuilt), changes, own.owned

    def verify(self, script: str) -> None:
        """Apply *script* to the schema of the beginning: it must lead to what is here now.

        :raises StandInError: if it does not.
        """
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as other:
            _build(other, self._schema)
            try:
                other.executescript(script)
            except sqlite3.Error as error:
                raise StandInError(str(error)) from error
            if sorted(other.execute(_SCHEMA)) != sorted(self._raw.execute(_SCHEMA)):
                raise StandInError("the script leaves another schema than its revisions")

    def tables(self) -> set[TableName]:
        """Return the tables there are."""
        return {TableName("", name) for name, _ in Catalogue(self._connection).tables()}

    def _counted(self) -> set[str]:
        """Return the tables whose ids AUTOINCREMENT counts."""
        catalogue = Catalogue(self._connection)
        return {
            folded(name)
            for name, sql in catalogue.tables()
            if any(token.word == "AUTOINCREMENT" for token in tokens(sql or ""))
        }

    @contextmanager
    def _traced(self, sent: list[str]) -> Generator[None, None, None]:
        """Let *sent* have all that SQLite is sent, by the guard too, which no listener hears."""
        self._raw.set_trace_callback(sent.append)
        try:
            yield
        finally:
            self._raw.set_trace_callback(None)

    @contextmanager
    def _written_out(self) -> Generator[None, None, None]:
        """Let every statement be sent with its values written into it, and none read rows."""

        def one(cursor: Any, statement: str, parameters: Any, _context: Any = None) -> bool:
            self._refuse_reading(statement)
            cursor.execute(self._filled(statement, parameters))
            return True

        def many(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
            for each in parameters:
                one(cursor, statement, each)
            return True

        def bare(cursor: Any, statement: str, _context: Any) -> bool:
            return one(cursor, statement, ())

        engine = self._connection.engine
        with listening(engine, do_execute=one, do_executemany=many, do_execute_no_params=bare):
            yield

    def _refuse_reading(self, statement: str) -> None:
        found = tokens(statement)
        returns = any(token.word == "RETURNING" for token in found)
        if not found or not (found[0].word in _QUERIES or returns):
            return
        rows = Catalogue(self._connection).rows(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
        )
        names = {folded(name) for (name,) in rows}
        named = {folded(token.name) for token in found if token.is_name}
        if returns or ("sqlite_master" not in named and named & names):
            shown = " ".join(statement.split())[:100]
            raise NeedsDatabaseError(f"it reads the database: {shown}")

    def _filled(self, statement: str, parameters: Sequence[Any]) -> str:
        """Return *statement* with the values of *parameters* in place of the question marks."""
        if not parameters:
            return statement
        places = [token for token in tokens(statement) if token.text == "?"]
        for token, value in reversed(list(zip(places, parameters, strict=True))):
            ((text,),) = self._raw.cursor().execute("SELECT quote(?)", (value,)).fetchall()
            statement = statement[: token.start] + text + statement[token.end :]
        return statement


def _build(raw: Any, schema: Sequence[str]) -> None:
    for statement in schema:
        try:
            raw.execute(statement)
        except sqlite3.Error as error:
            # A virtual table makes tables of its own.
            if "already exists" not in str(error):
                raise StandInError(_told(error, statement)) from error


def _told(error: Exception, statement: str) -> str:
    return f"{error} [{' '.join(statement.split())[:100]}]"


def _changing(sent: Sequence[str]) -> Iterator[str]:
    """Yield what of *sent* changes a database, or how one is changed."""
    for statement in sent:
        found = tokens(statement)
        word = found[0].word if found else ""
        if word in {"BEGIN", "COMMIT", "END"} or (word == "ROLLBACK" and len(found) == 1):
            raise NeedsDatabaseError("it begins or ends a transaction")
        is_setting = word == "PRAGMA" and any(token.text == "=" for token in found)
        if word in _CHANGES or is_setting:
            yield statement


def _taken(statements: Sequence[str]) -> Iterator[str]:
    """Yield the tables, folded, that were dropped or took another name."""
    for statement in statements:
        for _, name in dropped_tables(statement):
            yield folded(name)
        (_, name), _ = renamed_table(statement)
        if name:
            yield folded(name)


def _with_counters(statements: list[str], rebuilt: Sequence[str]) -> list[str]:
    """Return *statements* so that AUTOINCREMENT of *rebuilt* tables gives no id twice."""
    if not rebuilt:
        return statements
    after: list[str] = []
    for table in rebuilt:
        name = "'" + table.replace("'", "''") + "'"
        was = f"SELECT seq FROM temp.{_COUNTERS} WHERE name = {name} COLLATE NOCASE"  # noqa: S608
        there = f"SELECT 1 FROM sqlite_sequence WHERE name = {name} COLLATE NOCASE"  # noqa: S608
        after += [
            f"INSERT INTO sqlite_sequence (name, seq) SELECT name, seq FROM temp.{_COUNTERS} "  # noqa: S608
            f"WHERE name = {name} COLLATE NOCASE AND NOT EXISTS ({there})",
            f"UPDATE sqlite_sequence SET seq = max(seq, coalesce(({was}), 0)) "  # noqa: S608
            f"WHERE name = {name} COLLATE NOCASE",
        ]
    counters = quoted(_COUNTERS)
    return [
        f"CREATE TEMP TABLE {counters} AS SELECT name, seq FROM sqlite_sequence",  # noqa: S608
        *statements,
        *after,
        f"DROP TABLE temp.{counters}",
    ]
