"""What a run that was cut off can leave in a database, outside any transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from anabranch.books import BookTables
from anabranch.names import CORE
from anabranch.problems import Problem

if TYPE_CHECKING:
    from anabranch.objects import TableName
    from anabranch.recorder import Recorder
    from anabranch.statementlog import Logged

_CODES = {"AB114", "AB115"}
PREFIX = "_alembic_tmp_"
"""How Alembic names the copy of a table that it rebuilds."""

_REVERTING = "SELECT 1 FROM {} WHERE direction = 'downgrade' LIMIT 1"
# One that is being built just now is no leftover.
_INVALID = """
SELECT CASE n.nspname WHEN current_schema() THEN '' ELSE n.nspname END AS table_schema,
       t.relname AS table_name, i.relname AS index_name
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE NOT x.indisvalid AND i.relkind = 'i'
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.oid)
ORDER BY 1, 2, 3
"""


def has_leftovers(connection: sa.Connection, tables: BookTables) -> bool:
    """Tell whether :func:`find_leftovers` would find any.

    :raises sqlalchemy.exc.DBAPIError: if one of our *tables* is missing.
    """
    if connection.dialect.name == "postgresql":
        return connection.exec_driver_sql(_INVALID).first() is not None
    if connection.dialect.name != "sqlite":
        log = tables.quoted(connection, f"{tables.prefix}_statement")
        if connection.exec_driver_sql(_REVERTING.format(log)).first() is not None:
            return True
    return bool(_copies(connection))


def find_leftovers(connection: sa.Connection, recorder: Recorder) -> tuple[Problem, ...]:
    """Find what was cut off: rebuilds of tables, the building of indexes, downgrades.

    An upgrade that is half done is no leftover: the next run goes on with it.
    """
    # Not needed where there are none, which is most databases.
    from anabranch.objects import TableName

    if connection.dialect.name == "postgresql":
        rows = connection.execute(sa.text(_INVALID)).all()
        found = [(TableName(schema, table), str(index)) for schema, table, index in rows]
        owners = _owners(connection, recorder) if found else {}
        return tuple(_invalid(table, index, owners.get(table, CORE)) for table, index in found)
    reverting = tuple(
        half_done(row)
        for row in recorder.statements.half_done(connection)
        if row.direction == "downgrade"
    )
    copies = _copies(connection)
    if not copies:
        return reverting
    owners, there = _owners(connection, recorder), set(sa.inspect(connection).get_table_names())
    return reverting + tuple(
        _copy(name, is_there=name in there, owner=owners.get(TableName("", name), CORE))
        for name in copies
    )


def half_done(row: Logged) -> Problem:
    """Say that a revision stopped in the middle, at *row*, and what goes on from there."""
    where = "after" if row.state == "done" else "in"
    command = "db downgrade" if row.direction == "downgrade" else "init-db"
    return Problem(
        code="AB306",
        owner=row.key.owner,
        text=f"{row.key} is half done: it stopped {where} its statement {row.number} "
        f"({row.shown}).",
        remedy=f"The same command as before ({command}) goes on from there.",
        level="warning",
    )


def _copies(connection: sa.Connection) -> list[str]:
    """Return the tables whose rebuild left a copy behind."""
    query = "SHOW TABLES"
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    names = connection.exec_driver_sql(query).scalars()
    return sorted(name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX))


def remaining(
    problems: tuple[Problem, ...], connection: sa.Connection, recorder: Recorder
) -> tuple[Problem, ...]:
    """Return *problems* without the leftovers that are gone since, by a run perhaps."""
    if not any(problem.code in _CODES for problem in problems):
        return problems
    left = find_leftovers(connection, recorder)
    connection.rollback()
    return tuple(each for each in problems if each.code not in _CODES or each in left)


def _owners(connection: sa.Connection, recorder: Recorder) -> dict[TableName, str]:
    return {o.table: o.owner for o in recorder.objects(connection) if o.kind == "table"}


def _copy(table: str, *, is_there: bool, owner: str) -> Problem:
    copy = f"{PREFIX}{table}"
    if is_there:
        return Problem(
            code="AB114",
            owner=owner,
            text=f"The table {copy} was left behind by a rebuild of {table} that was cut off; the "
            f"next rebuild of {table} would stop at it.",
            remedy=f"{table} is as it was: 'db repair DIR --leftover {copy} --reason TEXT' drops "
            "the copy, if no row is only there.",
            level="warning",
        )
    return Problem(
        code="AB114",
        owner=owner,
        text=f"The table {table} is gone, and {copy} is there: its rebuild was cut off after the "
        "old table was dropped. The rows are in the copy.",
        remedy=f"'db repair DIR --leftover {copy} --reason TEXT' lets the copy be {table} again.",
    )


def _invalid(table: TableName, index: str, owner: str) -> Problem:
    shown = ".".join(filter(None, table))
    return Problem(
        code="AB115",
        owner=owner,
        text=f"The index {index} of the table {shown} is not valid: CREATE INDEX CONCURRENTLY was "
        "cut off or failed. It costs writes, and no query uses it.",
        remedy=f"DROP INDEX CONCURRENTLY {index}, and let what creates it run again; or "
        f"REINDEX INDEX CONCURRENTLY {index}.",
        level="warning",
    )
