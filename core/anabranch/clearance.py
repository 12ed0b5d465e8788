"""Take what an owner has out of a database, by the record of what it made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import exc

from anabranch.errors import RefusedError
from anabranch.estate import Estate
from anabranch.objects import OwnedObject, TableName, unnamed
from anabranch.rebuilds import RebuildGuard
from anabranch.structure import read_structures

_KINDS = {
    "foreign key": "foreignkey",
    "index": "",
    "unique constraint": "unique",
    "check": "check",
}
"""What is on a table, in the order in which it goes, and Alembic's word for it."""
_OTHERS = ("function", "procedure", "sequence", "type")


def clear(connection: sa.Connection, estates: Iterable[Estate]) -> None:
    """Drop what is in *estates*: on others' tables first, then the tables, referring ones first.

    Rows and everything else of other owners stay. Commits nothing, and touches no bookkeeping.
    """
    estates = tuple(estates)
    standing = [item for estate in estates for item in estate.standing]
    for item in standing:
        if item.kind == "trigger":
            _drop_trigger(connection, item)
    _drop_views(connection, [item.table for item in standing if item.kind == "view"])
    tables = [table for estate in estates for table in estate.tables]
    parts: dict[TableName, list[OwnedObject]] = defaultdict(list)
    for estate in estates:
        for part in estate.parts:
            if part.table not in tables:
                parts[part.table].append(part)
    for table in sorted(parts):
        _strip(connection, table, parts[table])
    # A function may return a table's rows, and a table may call a function.
    others = [_dropping(connection, item) for item in standing if item.kind in _OTHERS]
    left, _ = _drop_each(connection, others)
    _drop_tables(connection, tables)
    left, failure = _drop_each(connection, left)
    if failure is not None:
        raise failure


def _drop_trigger(connection: sa.Connection, item: OwnedObject) -> None:
    name = _quoted(connection, TableName("", item.name))
    if connection.dialect.name == "postgresql":
        name += f" ON {_quoted(connection, item.table)}"
    elif item.table.schema:
        name = _quoted(connection, TableName(item.table.schema, item.name))
    connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")


def _dropping(connection: sa.Connection, item: OwnedObject) -> str:
    """Return the statement that drops a function, a procedure, a sequence or a type."""
    name, kind = _quoted(connection, item.table), item.kind.upper()
    if connection.dialect.name == "postgresql" and item.kind in ("function", "procedure"):
        kind = "ROUTINE"  # an aggregate is one too
        name += item.name.removeprefix(item.table.name)  # the types of its arguments
    return f"DROP {kind} IF EXISTS {name}"


def _drop_views(connection: sa.Connection, views: Sequence[TableName]) -> None:
    """Drop *views*, those that others of them build on last."""
    inspector = sa.inspect(connection)
    stored = {
        TableName(schema, name)
        for schema in {view.schema for view in views}
        if connection.dialect.name == "postgresql"
        for name in inspector.get_materialized_view_names(schema or None)
    }
    statements = [
        f"DROP {'MATERIALIZED ' * (view in stored)}VIEW IF EXISTS {_quoted(connection, view)}"
        for view in views
    ]
    _, failure = _drop_each(connection, statements)
    if failure is not None:
        raise failure


def _drop_each(
    connection: sa.Connection, statements: Sequence[str]
) -> tuple[list[str], exc.DBAPIError | None]:
    """Run *statements* in an order in which they can; return those that cannot, and why."""
    left, is_mysql = list(statements), connection.dialect.name in ("mysql", "mariadb")
    while True:
        refused: list[str] = []
        failure: exc.DBAPIError | None = None
        for statement in left:
            try:
                # MariaDB commits at DDL, and with that forgets its savepoints.
                with nullcontext() if is_mysql else connection.begin_nested():
                    connection.exec_driver_sql(statement)
            except exc.DBAPIError as error:
                refused.append(statement)
                failure = error
        if len(refused) in (0, len(left)):
            return refused, failure
        left = refused


def _quoted(connection: sa.Connection, name: TableName) -> str:
    quote = connection.dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in name if part)


def _strip(connection: sa.Connection, table: TableName, parts: Sequence[OwnedObject]) -> None:
    """Take *parts* off *table*, which is somebody else's."""
    operations = Operations(MigrationContext.configure(connection))
    schema = table.schema or None
    columns = [part.name for part in parts if part.kind == "column"]
    constraints = [part.name for part in parts if part.kind == "constraint"]
    indexes = [part.name for part in parts if part.kind == "index"]
    is_sqlite = connection.dialect.name == "sqlite"
    # MariaDB needs an index for a foreign key, and has one more for a unique constraint.
    for kind, type_ in _KINDS.items():
        structure = read_structures(connection, [table]).get(table, {})
        for name in sorted(name for of, name in structure if of == kind):
            if kind == "index" and name in indexes:
                operations.drop_index(name, table_name=table.name, schema=schema)
            elif kind != "index" and name in constraints and not is_sqlite:
                operations.drop_constraint(name, table.name, type_=type_, schema=schema)
    if not is_sqlite:
        # One may be computed from another.
        altered, quote = _quoted(connection, table), connection.dialect.identifier_preparer.quote
        _, failure = _drop_each(
            connection, [f"ALTER TABLE {altered} DROP COLUMN {quote(name)}" for name in columns]
        )
        if failure is not None:
            raise failure
    elif constraints or columns:
        _strip_on_sqlite(connection, operations, table, columns, constraints)


def _strip_on_sqlite(
    connection: sa.Connection,
    operations: Operations,
    table: TableName,
    columns: Sequence[str],
    constraints: Sequence[str],
) -> None:
    """Drop columns as SQLite itself can, which keeps the table's text; else rebuild the table."""
    if _drop_columns(connection, operations, table, columns, constraints):
        return
    guard = RebuildGuard(connection)
    with guard.watching(), guard.running(None):
        reflected = sa.Table(table.name, sa.MetaData(), autoload_with=connection, resolve_fks=False)
        for constraint in list(reflected.constraints):
            if _name_of(constraint) in constraints or (
                not isinstance(constraint, sa.PrimaryKeyConstraint)
                and {column.name for column in getattr(constraint, "columns", ())}.intersection(
                    columns
                )
            ):
                reflected.constraints.remove(constraint)
        with operations.batch_alter_table(
            table.name, copy_from=reflected, recreate="always"
        ) as batch:
            for column in columns:
                batch.drop_column(column)
    if lost := guard.losses():
        raise RefusedError(
            f"Without what was put on it a table would lose what is its own: {'; '.join(lost)}.",
            remedy="Drop that by hand, then run the same command again.",
            state="Rolled back. Nothing was changed.",
        )


def _drop_columns(
    connection: sa.Connection,
    operations: Operations,
    table: TableName,
    columns: Sequence[str],
    constraints: Sequence[str],
) -> bool:
    """Drop *columns*; tell whether *constraints* went with them, and change nothing if not."""
    quote = connection.dialect.identifier_preparer.quote
    savepoint = connection.begin_nested()
    try:
        for column in columns:
            operations.execute(f"ALTER TABLE {quote(table.name)} DROP COLUMN {quote(column)}")
    except exc.OperationalError:  # a constraint of the table, or a trigger, speaks of it
        is_done = False
    else:
        left = {name for _, name in read_structures(connection, [table])[table]}
        is_done = left.isdisjoint(constraints)
    (savepoint.commit if is_done else savepoint.rollback)()
    return is_done


def _name_of(constraint: sa.Constraint) -> str:
    """Return what *constraint* is recorded as."""
    if constraint.name:
        return str(constraint.name)
    columns = [column.name for column in getattr(constraint, "columns", ())]
    if isinstance(constraint, sa.ForeignKeyConstraint):
        return unnamed("fk", constraint.column_keys)
    return unnamed("uq", columns) if isinstance(constraint, sa.UniqueConstraint) else ""


def _drop_tables(connection: sa.Connection, tables: Iterable[TableName]) -> None:
    operations = Operations(MigrationContext.configure(connection))
    left = dict.fromkeys(sorted(tables))
    inspector = sa.inspect(connection)
    targets = {
        table: {
            (key["name"] or "", TableName(key["referred_schema"] or "", key["referred_table"]))
            for key in inspector.get_foreign_keys(table.name, table.schema or None)
        }
        for table in left
    }
    while left:
        free = [
            table
            for table in left
            if not any(
                target == table for other in left if other != table for _, target in targets[other]
            )
        ]
        if not free:
            # They refer to each other in a circle.
            for table in left:
                for name, target in sorted(targets[table]):
                    if target in left and target != table and connection.dialect.name != "sqlite":
                        operations.drop_constraint(
                            name, table.name, type_="foreignkey", schema=table.schema or None
                        )
                targets[table] = set()
            continue
        # A partition goes with the table that it is one of, which goes after those that inherit it.
        statements = [f"DROP TABLE IF EXISTS {_quoted(connection, table)}" for table in free]
        _, failure = _drop_each(connection, statements)
        if failure is not None:
            raise failure
        for table in free:
            del left[table]
