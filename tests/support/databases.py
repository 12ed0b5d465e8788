"""A database under test, looked at from outside.

Not the code under test: it shares no engine, pool or transaction with it, and keeps none open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGInspector
from sqlalchemy.pool import NullPool

#: The tables that record what is applied, for `Database.schema`'s *ignore*.
BOOKKEEPING = (
    "alembic_version",
    "anabranch_journal",
    "anabranch_object",
    "anabranch_revision",
    "anabranch_statement",
)

Row = dict[str, Any]
Schema = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Database:
    """One SQLite file, or database of a server, named by its URL. The file may not exist."""

    url: str

    @property
    def backend(self) -> str:
        """``sqlite``, ``postgresql`` or ``mariadb``."""
        return sa.make_url(self.url).get_backend_name()

    @property
    def path(self) -> Path | None:
        """The SQLite file; ``None`` on other databases."""
        name = sa.make_url(self.url).database
        return Path(name) if self.backend == "sqlite" and name else None

    @contextmanager
    def engine(self) -> Iterator[sa.Engine]:
        """An engine that keeps no connection."""
        engine = sa.create_engine(self.url, poolclass=NullPool)
        try:
            yield engine
        finally:
            engine.dispose()

    def execute(self, *statements: str) -> list[Row]:
        """Run *statements* as they are in one transaction; returns the rows of the last one."""
        rows: list[Row] = []
        with self.engine() as engine, engine.begin() as connection:
            for statement in statements:
                # Without parameters the driver leaves every % alone.
                result = connection.exec_driver_sql(
                    statement, execution_options={"no_parameters": True}
                )
                rows = [dict(row) for row in result.mappings()] if result.returns_rows else []
        return rows

    def rows(self, table: str) -> list[Row]:
        """Every row of *table*, sorted by its values."""
        with self.engine() as engine:
            quoted = engine.dialect.identifier_preparer.quote(table)
        rows = self.execute(f"SELECT * FROM {quoted}")
        return sorted(rows, key=lambda row: repr(sorted(row.items())))

    def schema(self, *, ignore: Collection[str] = ()) -> Schema:
        """All tables and views but *ignore*, reflected and sorted: equal if the schemas are.

        Says nothing of column order, triggers and sequences.
        """
        if self.path is not None and not self.path.exists():
            return {}  # a connection would create the file
        schema: Schema = {}
        with self.engine() as engine, engine.connect() as connection:
            inspector = sa.inspect(connection)
            for table in sorted(set(inspector.get_table_names()) - set(ignore)):
                schema[table] = _table(inspector, table)
            for view in sorted(set(inspector.get_view_names()) - set(ignore)):
                schema[view] = {"view": inspector.get_view_definition(view)}
            if isinstance(inspector, PGInspector):
                enums = {enum["name"]: enum["labels"] for enum in inspector.get_enums()}
                schema |= {f"type {name}": {"enum": enums[name]} for name in sorted(enums)}
        return schema

    def dump(self) -> str:
        """The whole database as text: equal before and after what must leave no trace."""
        if self.path is not None:
            if not self.path.exists():
                return ""
            with closing(sqlite3.connect(self.path)) as connection:
                return "\n".join(connection.iterdump())
        lines: list[str] = []
        for name, parts in self.schema().items():
            lines.append(name)
            for part, value in parts.items():
                items = value if isinstance(value, list) else [value]
                lines.extend(f"  {part} {item!r}" for item in items)
            if "columns" in parts:
                lines.extend(f"  row {row!r}" for row in self.rows(name))
        return "\n".join(lines)


def sqlite(path: Path) -> Database:
    """The database in the file *path*, which is not created here."""
    return Database(f"sqlite:///{path}")


def _table(inspector: sa.Inspector, table: str) -> dict[str, list[Any]]:
    primary_key = inspector.get_pk_constraint(table)
    return {
        "columns": _sorted(
            {key: _plain(value) for key, value in column.items() if key != "comment" or value}
            for column in inspector.get_columns(table)
        ),
        "primary_key": [
            {"name": primary_key["name"], "columns": primary_key["constrained_columns"]}
        ],
        "foreign_keys": _sorted(map(_plain, inspector.get_foreign_keys(table))),
        "uniques": _sorted(map(_plain, inspector.get_unique_constraints(table))),
        "indexes": _sorted(map(_plain, inspector.get_indexes(table))),
        "checks": _sorted(map(_plain, inspector.get_check_constraints(table))),
    }


def _plain(value: object) -> Any:
    """*value* as plain data: objects that do not compare, such as types, by what they print."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (str, int, bool)) else repr(value)


def _sorted(items: Iterable[Any]) -> list[Any]:
    return sorted(items, key=lambda item: (str(item.get("name")), repr(item)))
