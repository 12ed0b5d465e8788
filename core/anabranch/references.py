"""Foreign keys on SQLite, which are off while it is migrated: what a run must not have broken."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import itemgetter

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.guards import NOTHING_AROUND, Guard, GuardError
from anabranch.objects import TableName
from anabranch.planning import Step
from anabranch.tracking import ObjectTracker
from anabranch.wording import counted

_NAMED = 5  # rows


@dataclass(frozen=True, slots=True)
class Dangling:
    """Rows of a table that refer to nothing.

    :ivar rows: their rowids, once for each reference; None where a table has none.
    :ivar are_ids: whether these are the rows' own ids. If not, a rebuild may number them anew, and
        only how many there are can be compared.
    """

    rows: tuple[int | None, ...]
    are_ids: bool


Broken = Mapping[tuple[str, str], Dangling]
"""The rows that refer to nothing, by their table and the table they refer to."""


class ReferenceGuard(Guard):
    """Refuses to commit foreign keys that the revisions broke; those found broken may stay."""

    def __init__(self, connection: sa.Connection, tracker: ObjectTracker) -> None:
        self._connection = connection
        self._tracker = tracker
        self._before: Broken = {}
        self._before_step: Broken = {}
        self._done: list[tuple[Step, frozenset[TableName]]] = []

    def begin(self) -> None:
        self._before = broken_references(self._connection)
        self._done = []

    def running(self, step: Step) -> AbstractContextManager[None]:  # noqa: ARG002
        self._before_step = self._before
        return NOTHING_AROUND

    def committing(self, step: Step, touched: frozenset[TableName]) -> None:
        self.check(step, touched)
        self.finish()

    def check(self, step: Step, touched: frozenset[TableName]) -> None:
        names = {was.name: table.name for was, table in self._tracker.renamed().items()}
        self._before = {
            (names.get(table, table), names.get(parent, parent)): dangling
            for (table, parent), dangling in self._before_step.items()
        }
        self._done.append((step, touched))

    def finish(self) -> None:
        broken = added(broken_references(self._connection), self._before)
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
    """Find the rows whose foreign key leads nowhere; other databases than SQLite have none."""
    if connection.dialect.name != "sqlite":
        return {}
    try:
        rows = connection.exec_driver_sql("PRAGMA foreign_key_check").mappings().all()
    except exc.OperationalError:
        # A key that refers to columns without a unique index stops the check of all tables.
        tables = sa.inspect(connection).get_table_names()
        rows = [row for table in tables for row in _broken_in(connection, table)]
    found: dict[tuple[str, str], list[int | None]] = defaultdict(list)
    for row in rows:
        found[str(row["table"]), str(row["parent"])].append(row["rowid"])
    return {key: Dangling(tuple(ids), _are_ids(connection, key[0])) for key, ids in found.items()}


def added(now: Broken, before: Broken) -> Broken:
    """Return what is broken *now* and was not *before*.

    Where the rows cannot be told apart, it is as many as there are more than there were.
    """
    found: dict[tuple[str, str], Dangling] = {}
    for key, dangling in now.items():
        was = before.get(key, Dangling((), are_ids=True))
        new = sorted(
            (Counter(dangling.rows) - Counter(was.rows)).elements(), key=lambda id_: id_ or 0
        )
        if not (was.are_ids and dangling.are_ids):
            new = new[: max(0, len(dangling.rows) - len(was.rows))]
        if new:
            found[key] = Dangling(tuple(new), dangling.are_ids)
    return found


def in_words(broken: Broken) -> str:
    """Say which tables hold how many of the *broken* references, and name some of the rows."""
    return ", ".join(
        f"{counted(len(dangling.rows), 'row', 'rows')} of {table}{_named(dangling.rows)} "
        f"{'refers' if len(dangling.rows) == 1 else 'refer'} to rows that {parent} does not have"
        for (table, parent), dangling in sorted(broken.items(), key=itemgetter(0))
    )


def _named(rows: Sequence[int | None]) -> str:
    numbers = [str(row) for row in rows if row is not None]
    if not numbers:
        return ""
    return f" (rowid {', '.join(numbers[:_NAMED])}{', ...' if len(numbers) > _NAMED else ''})"


def _broken_in(connection: sa.Connection, table: str) -> Sequence[sa.RowMapping]:
    quoted = connection.dialect.identifier_preparer.quote_identifier(table)
    try:
        return connection.exec_driver_sql(f"PRAGMA foreign_key_check({quoted})").mappings().all()
    except exc.OperationalError:
        return []


def _are_ids(connection: sa.Connection, table: str) -> bool:
    """Tell whether the rowids of *table* are its INTEGER PRIMARY KEY."""
    quoted = connection.dialect.identifier_preparer.quote_identifier(table)
    columns = connection.exec_driver_sql(f"PRAGMA table_info({quoted})").mappings().all()
    return [str(column["type"]).upper() for column in columns if column["pk"]] == ["INTEGER"]
