"""What rows a change would cost, asked of the database: never guessed, never by type alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.wording import counted

_SIZED = re.compile(
    r"\s*(\w+(?:\s+varying)?)\s*(?:\((\d+)(?:,\s*(\d+))?\))?\s*(\w*)", re.IGNORECASE
)
_PARTITIONS = sa.text(
    "SELECT partition_name FROM information_schema.partitions "
    "WHERE table_schema = coalesce(:schema, DATABASE()) AND table_name = :table"
)
_TEXTS = {"char", "character", "varchar", "character varying", "text", "nvarchar", "nchar"}
_SYNONYMS = {
    **dict.fromkeys(("bool", "boolean", "int1"), "tinyint"),
    "int2": "smallint",
    "int3": "mediumint",
    "int4": "int",
    "int8": "bigint",
    **dict.fromkeys(("dec", "fixed", "number", "numeric"), "decimal"),
    "real": "double",
    "timestamp": "datetime",
}  # of MariaDB
_INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "integer": 32, "bigint": 64}


@dataclass(frozen=True, slots=True)
class Loss:
    """What a change would take away from rows that exist, or what they would not let it do.

    :ivar does: the change, in words: ``drop column item.price``.
    :ivar rows: how many rows it concerns.
    :ivar why: what is with them.
    :ivar is_refusal: whether the database itself would refuse the change, and nothing be lost.
    """

    table: str
    column: str
    does: str
    rows: int
    why: str
    is_refusal: bool = False

    def __str__(self) -> str:
        return f"{self.does}: {self.why}"


class Asker:
    """Asks one database what a change would cost; names are found in any spelling of theirs."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._quote = connection.dialect.identifier_preparer.quote_identifier

    def columns(self, schema: str, table: str) -> dict[str, Any]:
        """Return what is known of the columns of *table*, by name; nothing if it is not there."""
        inspector = sa.inspect(self._connection)
        for name in dict.fromkeys((table, table.lower())):
            try:
                found = inspector.get_columns(name, schema or None)
            except exc.NoSuchTableError:
                continue
            return {column["name"]: {**column, "table": name, "schema": schema} for column in found}
        return {}

    def is_there(self, schema: str, table: str) -> bool:
        """Tell whether there is a table of just this name."""
        return sa.inspect(self._connection).has_table(table, schema=schema or None)

    def tables(self, schema: str) -> list[str]:
        """Return the names of the tables in *schema*; nothing if it is not there."""
        inspector = sa.inspect(self._connection)
        names = inspector.get_schema_names()
        found = next((name for name in (schema, schema.lower()) if name in names), None)
        return inspector.get_table_names(schema=found) if found else []

    def dropped_partitions(
        self, schema: str, table: str, partitions: Collection[str]
    ) -> Iterator[Loss]:
        """Say what is lost with *partitions* of a table of MariaDB or MySQL."""
        known = self._connection.execute(_PARTITIONS, {"schema": schema or None, "table": table})
        wanted = {name.lower() for name in partitions}
        for name in dict.fromkeys(known.scalars()):
            if name and name.lower() in wanted:
                source = ".".join(self._quote(part) for part in (schema, table) if part)
                rows = self._number(f"{source} PARTITION ({self._quote(name)})")
                if rows:
                    does = f"drop partition {name} of {table}"
                    yield Loss(table, "", does, rows, f"it has {_rows(rows)}")

    def dropped_table(self, schema: str, table: str) -> Loss | None:
        """Say what is lost with *table*."""
        columns = self.columns(schema, table)
        rows = self._count(columns, "") if columns else 0
        if not rows:
            return None
        return Loss(table, "", f"drop table {table}", rows, f"it has {_rows(rows)}")

    def copied_table(
        self, schema: str, table: str, *, copied: int, names: Collection[str] | None
    ) -> list[Loss]:
        """Say what is lost with *table*, of which rows were copied before.

        :param copied: how many rows were.
        :param names: what the copy speaks of, in lower case; None if of every column.
        """
        columns = self.columns(schema, table)
        rows = self._count(columns, "") if columns else 0
        if rows > copied:
            left = rows - copied
            return [Loss(table, "", f"drop table {table}", left, f"{_rows(left)} are not copied")]
        lost = (
            self.dropped_column(schema, table, name)
            for name, column in columns.items()
            if names is not None and name.lower() not in names and "computed" not in column
        )
        return [loss for loss in lost if loss]

    def dropped_column(self, schema: str, table: str, column: str) -> Loss | None:
        """Say what is lost with a column; one that SQL computes holds nothing."""
        columns = self.columns(schema, table)
        name = _find(columns, column)
        if not name or "computed" in columns[name]:
            return None
        rows = self._count(columns, f"{self._quote(name)} IS NOT NULL")
        if not rows:
            return None
        has = "row has" if rows == 1 else "rows have"
        return Loss(table, name, f"drop column {table}.{name}", rows, f"{rows} {has} a value")

    def required_column(self, schema: str, table: str, column: str) -> Loss | None:
        """Say which rows are in the way of NOT NULL."""
        columns = self.columns(schema, table)
        name = _find(columns, column)
        rows = self._count(columns, f"{self._quote(name)} IS NULL") if name else 0
        if not rows:
            return None
        does, has = f"set {table}.{name} not null", "row has" if rows == 1 else "rows have"
        return Loss(table, name, does, rows, f"{rows} {has} no value", is_refusal=True)

    def added_column(self, schema: str, table: str, column: str) -> Loss | None:
        """Say which rows are in the way of a new column that takes no NULL and has no default."""
        columns = self.columns(schema, table)
        rows = self._count(columns, "") if columns and not _find(columns, column) else 0
        if not rows:
            return None
        does = f"add column {table}.{column}, not null and without a server default"
        return Loss(table, column, does, rows, f"there are {_rows(rows)}", is_refusal=True)

    def narrowed_column(self, schema: str, table: str, column: str, type_: str) -> Loss | None:
        """Say which values another type would change without a word."""
        columns = self.columns(schema, table)
        name = _find(columns, column)
        where = name and self._changed(name, columns[name]["type"], type_)
        if not where:
            return None
        try:
            with self._apart():
                rows = self._count(columns, where)
        except exc.DBAPIError:
            return None  # a value that cannot be cast: the database refuses the change itself
        if not rows:
            return None
        would = "value would" if rows == 1 else "values would"
        does = f"change column {table}.{name} to {type_}"
        return Loss(table, name, does, rows, f"{rows} {would} not stay what it is")

    def _apart(self) -> AbstractContextManager[Any]:
        """Surround a question that may fail; what commits by itself needs no savepoint."""
        options = self._connection.get_execution_options()
        is_autocommit = options.get("isolation_level") == "AUTOCOMMIT"
        return nullcontext() if is_autocommit else self._connection.begin_nested()

    def _changed(self, name: str, was: sa.types.TypeEngine[Any], type_: str) -> str:
        """Return the condition for a value that *type_* does not hold; empty if it holds all."""
        column, dialect = self._quote(name), self._connection.dialect
        if _holds_all(was, type_) and dialect.name != "sqlite":
            return ""
        if dialect.name == "sqlite":
            cast = f"CAST({column} AS {type_})"
            return (
                f"CASE typeof({column}) WHEN 'text' THEN CAST({cast} AS TEXT) <> {column} "
                f"ELSE {cast} <> {column} END"
            )
        if dialect.name == "postgresql":
            old = was.compile(dialect)
            return f"CAST(CAST({column} AS {type_}) AS {old}) IS DISTINCT FROM {column}"
        return _changed_on_mariadb(column, was, type_)

    def _count(self, columns: dict[str, Any], where: str) -> int:
        """Count rows, after a look whether there is one at all."""
        any_column = next(iter(columns.values()))
        parts = filter(None, (any_column["schema"], any_column["table"]))
        return self._number(
            ".".join(map(self._quote, parts)) + (f" WHERE {where}" if where else "")
        )

    def _number(self, source: str) -> int:
        ask = self._connection.exec_driver_sql
        options = {"no_parameters": True}
        if not ask(f"SELECT 1 FROM {source} LIMIT 1", execution_options=options).first():  # noqa: S608
            return 0
        counted_rows = ask(f"SELECT count(*) FROM {source}", execution_options=options)  # noqa: S608
        return int(counted_rows.scalar_one())


def _holds_all(was: sa.types.TypeEngine[Any], type_: str) -> bool:
    """Tell whether a text type is at least as long as the one before."""
    match = _SIZED.match(type_)
    name, size = (match[1].lower(), match[2]) if match else ("", None)
    if name not in _TEXTS or not isinstance(was, sa.String) or isinstance(was, sa.Enum):
        return False
    if size is None:
        return name in {"text", "varchar", "character varying"}
    return was.length is not None and was.length <= int(size)


def _changed_on_mariadb(column: str, was: sa.types.TypeEngine[Any], type_: str) -> str:
    match = _SIZED.match(type_)
    if match is None:
        return ""
    name, size, scale, more = match[1].lower(), match[2], match[3] or "0", match[4].lower()
    name = _SYNONYMS.get(name, name)
    is_text = isinstance(was, sa.String) and not isinstance(was, sa.Enum)
    if name in _TEXTS and size:
        return f"CHAR_LENGTH({column}) > {size}"
    if name in _INTEGERS:
        bits = _INTEGERS[name]
        low, high = (0, 2**bits) if more == "unsigned" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        beyond = f"{column} <> ROUND({column}) OR {column} < {low} OR {column} >= {high}"
        if is_text:  # a number is what it was, a code such as 007 is not
            beyond += f" OR CAST(CAST({column} AS SIGNED) AS CHAR) <> {column}"
        elif isinstance(was, sa.Enum):
            beyond += f" OR CAST({column} + 0 AS CHAR) <> CAST({column} AS CHAR)"
        return beyond
    if name == "decimal":
        return f"{column} <> CAST({column} AS DECIMAL({size or 10}, {scale}))"
    if name in {"float", "double"} and size and match[3]:
        return f"{column} <> ROUND({column}, {scale})"
    if name in {"float", "double"}:
        if name == "double" and isinstance(was, sa.Float):
            return ""
        exact = f"CAST({column} AS DECIMAL(65, 30))"
        return f"{exact} <> CAST(CAST({column} AS {name}) AS DECIMAL(65, 30))"
    if name in {"date", "time", "datetime"}:
        digits = "" if name == "date" else f"({size or 0})"
        return f"{column} <> CAST({column} AS {name}{digits})"
    return ""


def _find(columns: Collection[str], name: str) -> str:
    """Return *name* as the database spells it; empty if there is no such column."""
    if name in columns:
        return name
    return next((column for column in columns if column.lower() == name.lower()), "")


def _rows(number: int) -> str:
    return counted(number, "row", "rows")
