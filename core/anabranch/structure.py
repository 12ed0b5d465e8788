"""What tables really look like, as plain data that can be compared and put into words."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine.reflection import ObjectKind

from anabranch.catalogue import Catalogue
from anabranch.objects import TableName, unnamed
from anabranch.statements import tokens

PartKind = Literal["column", "primary key", "foreign key", "unique constraint", "check", "index"]


class Part(NamedTuple):
    """All that the database says of a part of a table, and the columns it is about."""

    text: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


Structure = Mapping[tuple[PartKind, str], Part]
"""The parts of one table by kind and name."""

CONSTRAINTS: frozenset[PartKind] = frozenset({"foreign key", "unique constraint", "check"})
"""What the record of owned objects calls a constraint."""


def read_structures(
    connection: sa.Connection, tables: Iterable[TableName]
) -> dict[TableName, Structure]:
    """Reflect those of *tables* that are there: columns, keys, constraints, indexes.

    Triggers, comments and privileges are not looked at.
    """
    by_schema: dict[str, list[str]] = defaultdict(list)
    for table in tables:
        by_schema[table.schema].append(table.name)
    inspector = sa.inspect(connection)
    return {
        TableName(schema, name): structure
        for schema, names in sorted(by_schema.items())
        for name, structure in _read(inspector, schema, names).items()
    }


def all_tables(
    connection: sa.Connection, schemas: Collection[str], ignored: Collection[str]
) -> set[TableName]:
    """Return the tables in *schemas* (empty for the connection's own) but those *ignored*."""
    inspector = sa.inspect(connection)
    return {
        TableName(schema, name)
        for schema in {"", *schemas}
        for name in inspector.get_table_names(schema or None)
        if name not in ignored
    }


def differences(
    table: TableName, expected: Structure | None, found: Structure | None
) -> tuple[str, ...]:
    """Say in words in what *found* differs from what is *expected* of *table*."""
    if expected is None or found is None:
        if expected is found:
            return ()
        return (f"the table {shown(table)} is {'missing' if found is None else 'not expected'}",)
    lines: list[str] = []
    for kind, name in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get((kind, name)), found.get((kind, name))
        what = f"{shown(table)}: the {kind} {name}".rstrip()
        if there is None:
            lines.append(f"{what} is missing: {wanted}")
        elif wanted is None:
            lines.append(f"{what} is not expected: {there}")
        elif wanted != there:
            lines.append(f"{what} is {there}, expected {wanted}")
    return tuple(lines)


def shown(table: TableName) -> str:
    """Return the name of *table* for a person."""
    return f"{table.schema}.{table.name}" if table.schema else table.name


def _read(inspector: sa.Inspector, schema: str, names: list[str]) -> dict[str, Structure]:
    def read(aspect: str) -> dict[str, Any]:
        try:
            with warnings.catch_warnings():
                # Of indexes on expressions, which SQLite's reflection leaves out.
                warnings.simplefilter("ignore", exc.SAWarning)
                found = getattr(inspector, f"get_multi_{aspect}")(
                    schema=schema or None, filter_names=names, kind=ObjectKind.TABLE
                )
        except exc.NoSuchTableError:
            return {}
        return {key[1]: value for key, value in found.items()}

    parts: dict[str, dict[tuple[PartKind, str], Part]] = {}
    dialect = inspector.dialect
    for name, columns in read("columns").items():
        parts[name] = {("column", each["name"]): Part(_column(each, dialect)) for each in columns}
    for name, key in read("pk_constraint").items():
        if name in parts and key["constrained_columns"]:
            parts[name]["primary key", key["name"] or ""] = _part(key["constrained_columns"])
    for name, keys in read("foreign_keys").items():
        for key in keys if name in parts else ():
            called = key["name"] or unnamed("fk", key["constrained_columns"])
            parts[name]["foreign key", called] = Part(
                _foreign_key(key), tuple(key["constrained_columns"])
            )
    for name, uniques in read("unique_constraints").items():
        for unique in uniques if name in parts else ():
            called = unique["name"] or unnamed("uq", unique["column_names"])
            parts[name]["unique constraint", called] = _part(unique["column_names"])
    for name, checks in read("check_constraints").items():
        for check in checks if name in parts else ():
            text = f"({_closed(check['sqltext'])})"
            parts[name]["check", check["name"] or text] = Part(text)
    for name, indexes in read("indexes").items():
        for index in indexes if name in parts else ():
            if not index.get("duplicates_constraint"):
                parts[name]["index", index["name"] or ""] = Part(
                    _index(index), tuple(filter(None, index["column_names"]))
                )
    if isinstance(inspector.bind, sa.Connection) and dialect.name == "sqlite":
        catalogue = Catalogue(inspector.bind)
        for name, found in parts.items():  # reflection leaves out indexes on expressions
            for index in catalogue.indexes(name):
                if ("index", index) not in found:
                    found["index", index] = Part(" ".join((catalogue.sql(index) or "").split()))
    return dict(parts)


def _part(columns: Iterable[str]) -> Part:
    columns = tuple(columns)
    return Part(_list(columns), columns)


def _column(column: Any, dialect: sa.Dialect) -> str:
    words = [_type(column["type"], dialect)]
    if not column["nullable"]:
        words.append("NOT NULL")
    if column.get("default") is not None:
        words.append(f"DEFAULT {_default(column['default'])}")
    if identity := column.get("identity"):
        words.append(f"identity {_options(identity)}")
    if computed := column.get("computed"):
        words.append(f"computed {_options({**computed, 'sqltext': _closed(computed['sqltext'])})}")
    return " ".join(words)


def _closed(expression: str) -> str:
    """Return *expression* up to its end: on SQLite what follows is reflected as a part of it."""
    end = next((token.start for token in tokens(expression) if token.depth < 0), None)
    return expression[:end]


def _type(of: Any, dialect: sa.Dialect) -> str:
    try:
        text = str(of.compile(dialect=dialect))
    except exc.CompileError:
        return repr(of)
    labels = getattr(of, "enums", None)
    return f"{text} {_list(labels)}" if labels and text.isidentifier() else text


def _default(text: str) -> str:
    """Return *text* as one spelling: SQLite keeps what was written, parentheses and all."""
    text = text.strip()
    while text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    return text


def _foreign_key(key: Any) -> str:
    target = shown(TableName(key["referred_schema"] or "", key["referred_table"]))
    text = f"{_list(key['constrained_columns'])} to {target} {_list(key['referred_columns'])}"
    return " ".join(filter(None, (text, _options(key.get("options") or {}))))


def _index(index: Any) -> str:
    columns = index.get("expressions") or index["column_names"]
    unique = "UNIQUE " if index["unique"] else ""
    options = {
        name: str(value) for name, value in (index.get("dialect_options") or {}).items() if value
    }
    return " ".join(filter(None, (f"{unique}{_list(columns)}", _options(options))))


def _options(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(options.items()))


def _list(names: Iterable[object]) -> str:
    return f"({', '.join(map(str, names))})"
