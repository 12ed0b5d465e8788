"""Which spellings of a name are the same thing to a database."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from anabranch.objects import TableName
from anabranch.statements import folded


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one database takes names. What it returns is for comparing, not for showing.

    :ivar schema: the connection's own, which is recorded as none.
    :ivar keeps_tables: whether the names of two tables may differ in case only.
    :ivar keeps_parts: whether those of two columns or indexes may.
    :ivar lowers: whether a name that SQL does not quote is one in lower case.
    """

    schema: str
    keeps_tables: bool
    keeps_parts: bool
    lowers: bool

    @classmethod
    def of(cls, connection: sa.Connection) -> Spelling:
        """Ask the database of *connection*."""
        dialect = connection.dialect
        keeps = dialect.name != "sqlite"
        if is_mysql := dialect.name in ("mysql", "mariadb"):
            keeps = connection.scalar(sa.text("SELECT @@lower_case_table_names")) == 0
        return cls(
            dialect.default_schema_name or "",
            keeps,
            keeps and not is_mysql,
            dialect.name == "postgresql",
        )

    def table(self, table: TableName, sql: str = "") -> TableName:
        """Spell the name of a table.

        :param sql: the statement that it was read from; empty for a name that is meant as it is.
        """
        schema, name = (self._meant(part, sql) for part in table)
        schema = "" if schema == self.schema else schema
        return TableName(schema, name) if self.keeps_tables else TableName(schema, folded(name))

    def part(self, name: str, sql: str = "") -> str:
        """Spell the name of a column, an index or a constraint; *sql* as for :meth:`table`."""
        name = self._meant(name, sql)
        return name if self.keeps_parts else folded(name)

    def _meant(self, name: str, sql: str) -> str:
        is_bare = self.lowers and sql and f'"{name}"' not in sql
        return name.lower() if is_bare else name
