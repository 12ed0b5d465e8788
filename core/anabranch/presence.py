"""Tables, triggers, functions, procedures and sequences: which are in a database."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from anabranch.objects import Kind, TableName
from anabranch.standing import Standing

_ROUTINE = (
    "SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace "
    "WHERE :name IN (proname, proname || '(' || oidvectortypes(proargtypes) || ')') "
    "AND nspname = coalesce(:schema, current_schema()) AND prokind "
)
_ROUTINES = sa.text(
    "SELECT CASE prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, nspname, proname, "
    "proname || '(' || oidvectortypes(proargtypes) || ')' "
    "FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace "
    "WHERE nspname NOT IN ('pg_catalog', 'information_schema')"
)
_MARIADBS_TABLES = sa.text(
    "SELECT table_name FROM information_schema.tables WHERE table_schema = :schema "
    "AND table_type = 'BASE TABLE' AND table_name IN :names"
).bindparams(sa.bindparam("names", expanding=True))
_LONGEST = 128  # characters of a name in the record
_MARIADBS_ROUTINE = (
    "SELECT routine_name FROM information_schema.routines WHERE routine_name = :name "
    "AND routine_schema = coalesce(:schema, database()) AND routine_type = "
)
_QUESTIONS = {
    ("sqlite", "trigger"): (
        "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name = :name COLLATE NOCASE"
    ),
    ("postgresql", "trigger"): (
        "SELECT relname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid "
        "JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE NOT tgisinternal AND tgname = :name "
        "AND nspname = coalesce(:schema, current_schema())"
    ),
    ("mysql", "trigger"): (
        "SELECT event_object_table FROM information_schema.triggers "
        "WHERE trigger_name = :name AND trigger_schema = coalesce(:schema, database())"
    ),
    ("postgresql", "function"): f"{_ROUTINE} <> 'p'",
    ("postgresql", "procedure"): f"{_ROUTINE} = 'p'",
    ("mysql", "function"): f"{_MARIADBS_ROUTINE} 'FUNCTION'",
    ("mysql", "procedure"): f"{_MARIADBS_ROUTINE} 'PROCEDURE'",
}


def tables_among(connection: sa.Connection, names: Iterable[TableName]) -> set[TableName]:
    """Return those of *names* that are tables of MariaDB or MySQL, without reading all others."""
    found: set[TableName] = set()
    by_schema: dict[str, list[str]] = {}
    for schema, name in sorted(names):
        by_schema.setdefault(schema, []).append(name)
    for schema, asked in by_schema.items():
        where = {"schema": schema or connection.dialect.default_schema_name, "names": asked}
        there = connection.scalars(_MARIADBS_TABLES, where)
        found |= {TableName(schema, name) for name in there}
    return found


def is_there(connection: sa.Connection, kind: Kind, place: TableName, name: str) -> bool:
    """Tell whether something beside tables is in the database.

    :param place: its schema and name; of a trigger the table that it is on.
    """
    if kind == "trigger":
        return place.name.lower() in map(str.lower, tables_of(connection, place.schema, name))
    if kind in ("function", "procedure"):
        return bool(_found(connection, kind, place.schema, name))
    inspector = sa.inspect(connection)
    if kind == "sequence":
        return connection.dialect.supports_sequences and inspector.has_sequence(
            place.name, place.schema or None
        )
    return inspector.has_table(place.name, place.schema or None)


def tables_of(connection: sa.Connection, schema: str, trigger: str) -> tuple[str, ...]:
    """Return the tables that have a trigger of that name; but for PostgreSQL at most one."""
    return _found(connection, "trigger", schema, trigger)


def routines(connection: sa.Connection) -> frozenset[Standing] | None:
    """Return PostgreSQL's functions and procedures; None where a name tells them apart."""
    if connection.dialect.name != "postgresql":
        return None
    own = connection.dialect.default_schema_name
    return frozenset(
        Standing(
            kind, ("" if schema == own else schema, name), part if len(part) <= _LONGEST else name
        )
        for kind, schema, name, part in connection.execute(_ROUTINES)
    )


def _found(connection: sa.Connection, kind: Kind, schema: str, name: str) -> tuple[str, ...]:
    dialect = connection.dialect.name.replace("mariadb", "mysql")
    question = _QUESTIONS.get((dialect, kind))
    if question is None:
        return ()
    values = {"name": name, "schema": schema or None}
    text = sa.text(question)
    for each in values:
        if f":{each}" in question:  # PostgreSQL must be told the type of a NULL
            text = text.bindparams(sa.bindparam(each, values[each], sa.String))
    return tuple(str(row[0]) for row in connection.execute(text))
