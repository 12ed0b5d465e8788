"""Foreign keys on SQLite, which are off while it is migrated: what a run must not have broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.guards import Guard, GuardError
from anabranch.objects import TableName
from anabranch.planning import Step
from anabranch.tracking import ObjectTracker

Broken = Counter[tuple[str, str]]
"""How many rows refer to nothing, by their table and the table they refer to."""


class ReferenceGuard(Guard):
    """Refuses to commit foreign keys that the revisions broke; those found broken may stay."""

    def __init__(self, connection: sa.Connection, tracker: ObjectTracker) -> None:
        self._connection = connection
        self._tracker = tracker
        self._before: Broken = Counter()
        self._before_step: Broken = Counter()
        self._done: list[tuple[Step, frozenset[TableName]]] = []

    def begin(self) -> None:
        self._before = broken_references(self._connection)
        self._done = []

    @contextmanager
    def running(self, step: Step) -> Generator[None, None, None]:  # noqa: ARG002
        self._before_step = self._before
        yield

    def committing(self, step: Step, touched: frozenset[TableName]) -> None:
        self.check(step, touched)
        self.finish()

    def check(self, step: Step, touched: frozenset[TableName]) -> None:
        names = {was.name: table.name for was, table in self._tracker.renamed().items()}
        self._before = Counter(
            {
                (names.get(table, table), names.get(parent, parent)): count
                for (table, parent), count in self._before_step.items()
            }
        )
        self._done.append((step, touched))

    def finish(self) -> None:
        broken = broken_references(self._connection) - self._before
        if not broken:
            return
        tables = {name for pair in broken for name in pair}
        suspects = [step for step, touched in self._done if any(t.name in tables for t in touched)]
        *others, culprit = suspects or [self._done[-1][0]]
        also = ", ".join(dict.fromkeys(str(s.key) for s in others if s is not culprit))
        raise GuardError(
            f"foreign keys are broken: {in_words(broken)}."
            + (f" {also} of this run wrote to these tables before." if also else ""),
            culprit,
        )


def broken_references(connection: sa.Connection) -> Broken:
    """Count the rows whose foreign key leads nowhere; other databases than SQLite have none."""
    if connection.dialect.name != "sqlite":
        return Counter()
    try:
        rows = connection.exec_driver_sql("PRAGMA foreign_key_check").mappings().all()
    except exc.OperationalError:
        # A key that refers to columns without a unique index stops the check of all tables.
        tables = sa.inspect(connection).get_table_names()
        rows = [row for table in tables for row in _broken_in(connection, table)]
    return Counter((str(row["table"]), str(row["parent"])) for row in rows)


def in_words(broken: Broken) -> str:
    """Say which tables hold how many of the *broken* references."""
    return ", ".join(
        f"{count} rows of {table} refer to rows that {parent} does not have"
        for (table, parent), count in sorted(broken.items())
    )


def _broken_in(connection: sa.Connection, table: str) -> Sequence[sa.RowMapping]:
    quoted = connection.dialect.identifier_preparer.quote_identifier(table)
    try:
        return connection.exec_driver_sql(f"PRAGMA foreign_key_check({quoted})").mappings().all()
    except exc.OperationalError:
        return []
