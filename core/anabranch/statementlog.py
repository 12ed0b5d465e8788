"""Which statements of a half-done revision are done, where DDL cannot be rolled back.

Only MariaDB and MySQL have the table. A revision's rows go when it is recorded as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from anabranch.revision import RevisionKey

DIALECTS = ("mysql", "mariadb")


@dataclass(frozen=True, slots=True)
class Logged:
    """A statement of a revision that is not done as a whole.

    :ivar number: how many statements before it changed something, and one.
    :ivar kind: ``read``; or ``write``, for which there is one row a number.
    :ivar state: ``done``, or ``started`` where only a look at the database can tell.
    :ivar shown: its beginning, without what stands in quotes.
    :ivar before: what it speaks of, as that was before it started.
    :ivar answer: what the database answered; empty where that was too much to keep.
    """

    key: RevisionKey
    direction: str
    number: int
    kind: str
    sha256: str
    state: str
    shown: str = ""
    before: str = ""
    answer: str = ""


class StatementLog:
    """Reads and writes the rows of half-done revisions; commits nothing.

    :param name: the table's.
    :param schema: where the table is; None for the connection's own schema.
    """

    def __init__(self, name: str, schema: str | None) -> None:
        long = sa.Text(2**24 - 1)
        self.table = sa.Table(
            name,
            sa.MetaData(schema=schema),
            sa.Column("seq", sa.Integer, primary_key=True),
            sa.Column("owner", sa.String(100), nullable=False),
            sa.Column("revision", sa.String(32), nullable=False),
            sa.Column("direction", sa.String(10), nullable=False),
            sa.Column("number", sa.Integer, nullable=False),
            sa.Column("kind", sa.String(10), nullable=False),
            sa.Column("sha256", sa.String(64), nullable=False),
            sa.Column("state", sa.String(10), nullable=False),
            sa.Column("shown", sa.String(100), nullable=False),
            sa.Column("before", sa.Text, nullable=False),
            sa.Column("answer", long, nullable=False),
        )

    @property
    def name(self) -> str:
        return self.table.name

    def prepare(self, connection: sa.Connection, options: Mapping[str, Any]) -> None:
        """Create the table if it is missing, with *options* of its dialect."""
        self.table.dialect_kwargs.update(options)
        self.table.create(connection, checkfirst=True)

    def read(
        self, connection: sa.Connection, key: RevisionKey, direction: str
    ) -> tuple[Logged, ...]:
        """Return the rows of one revision, in the order they were written."""
        rows = connection.execute(
            sa.select(self.table).where(*self._of(key, direction)).order_by(self.table.c.seq)
        )
        return tuple(
            Logged(
                RevisionKey(row.owner, row.revision),
                row.direction,
                row.number,
                row.kind,
                row.sha256,
                row.state,
                row.shown,
                row.before,
                row.answer,
            )
            for row in rows
        )

    def half_done(self, connection: sa.Connection) -> tuple[Logged, ...]:
        """Return the last statement that is known of each half-done revision, without its answer.

        One that is ``started`` is only returned where none before it is done.
        """
        if connection.dialect.name not in DIALECTS:
            return ()
        table = self.table
        if not sa.inspect(connection).has_table(table.name, table.schema):
            return ()
        columns = (table.c.owner, table.c.revision, table.c.direction, table.c.number)
        rows = connection.execute(
            sa.select(*columns, table.c.kind, table.c.sha256, table.c.state, table.c.shown)
            .where(table.c.kind == "write")
            .order_by(table.c.number)
        )
        found: dict[RevisionKey, Logged] = {}
        for owner, id_, *rest in rows:
            row = Logged(RevisionKey(owner, id_), *rest)
            if row.state == "done" or row.key not in found:
                found[row.key] = row
        return tuple(found.values())

    def add(self, connection: sa.Connection, rows: Sequence[Logged]) -> None:
        """Append *rows*."""
        if rows:
            connection.execute(
                sa.insert(self.table),
                [
                    {
                        "owner": row.key.owner,
                        "revision": row.key.id,
                        "direction": row.direction,
                        "number": row.number,
                        "kind": row.kind,
                        "sha256": row.sha256,
                        "state": row.state,
                        "shown": row.shown,
                        "before": row.before,
                        "answer": row.answer,
                    }
                    for row in rows
                ],
            )

    def finish(self, connection: sa.Connection, row: Logged, answer: str) -> None:
        """Let the started statement *row* be done."""
        connection.execute(
            sa.update(self.table)
            .where(*self._of(row.key, row.direction))
            .where(self.table.c.number == row.number, self.table.c.kind == "write")
            .values(state="done", answer=answer)
        )

    def drop(self, connection: sa.Connection, key: RevisionKey, direction: str, at: int) -> None:
        """Forget what was to be the statement number *at*, and what was read for it."""
        connection.execute(
            sa.delete(self.table).where(*self._of(key, direction), self.table.c.number >= at)
        )

    def clear(self, connection: sa.Connection, keys: Iterable[RevisionKey]) -> None:
        """Forget the statements of revisions that are recorded as a whole now."""
        if connection.dialect.name in DIALECTS:
            table = self.table
            for key in keys:
                connection.execute(
                    sa.delete(table).where(table.c.owner == key.owner, table.c.revision == key.id)
                )

    def _of(self, key: RevisionKey, direction: str) -> tuple[sa.ColumnElement[bool], ...]:
        table = self.table
        return (
            table.c.owner == key.owner,
            table.c.revision == key.id,
            table.c.direction == direction,
        )
