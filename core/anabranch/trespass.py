"""What a downgrade must not do: take away, or change, what is another owner's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from anabranch.bystanders import Bystanders
from anabranch.events import listening
from anabranch.guards import Guard, GuardError
from anabranch.objects import OwnedObject, TableName
from anabranch.operations import read_operations
from anabranch.planning import Step
from anabranch.spelling import Spelling
from anabranch.statementlog import DIALECTS
from anabranch.statements import (
    changed_parts,
    dropped_parts,
    dropped_tables,
    renamed_tables,
    uncommented,
)
from anabranch.structure import shown

_CHILDREN = "SELECT EXISTS (SELECT FROM pg_inherits)"
_CONFINED = {
    "add_column",
    "alter_column",
    "bulk_insert",
    "create_check_constraint",
    "create_foreign_key",
    "create_index",
    "create_primary_key",
    "create_table",
    "create_table_comment",
    "create_unique_constraint",
    "drop_column",
    "drop_constraint",
    "drop_index",
    "drop_table",
    "drop_table_comment",
}


class TrespassGuard(Guard):
    """Stops a revision that is reverted with changes in it that are not its owner's.

    Revisions that were generated with other owners' models in sight hold such changes; on the way
    down they would narrow or drop what others still use. MariaDB and MySQL could take nothing back,
    so there what a statement says it drops or changes is judged before it is sent.

    :param objects: the record of owned objects.
    :param ignored: the names of the bookkeeping tables.
    """

    def __init__(
        self, connection: sa.Connection, objects: Iterable[OwnedObject], ignored: Collection[str]
    ) -> None:
        self._connection = connection
        self._objects = tuple(objects)
        self._ignored = ignored
        self._bystanders: Bystanders | None = None
        self._steps: list[Step] = []
        self._step: Step | None = None
        self._refused: GuardError | None = None
        self._is_finished: Callable[[], bool] = lambda: False

    def trust(self, is_finished: Callable[[], bool]) -> None:
        self._is_finished = is_finished

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        if self._connection.dialect.name not in DIALECTS:
            yield
            return
        self._spelling = Spelling.of(self._connection)
        with listening(self._connection, before_cursor_execute=self._before):
            yield

    @contextmanager
    def running(self, step: Step) -> Generator[None, None, None]:
        self.bystanders.settle(step.key.owner)
        self._step, self._refused = step, None
        try:
            yield
        finally:
            self._step = None

    @property
    def bystanders(self) -> Bystanders:
        """The tables as they were before the first revision."""
        if self._bystanders is None:
            self._bystanders = Bystanders(self._connection, self._objects, self._ignored)
        return self._bystanders

    def begin(self) -> None:
        self._steps = []
        assert self.bystanders

    def committing(self, step: Step, touched: frozenset[TableName]) -> None:  # noqa: ARG002
        self._judge(step, {each.key.owner for each in (*self._steps, step)}, None)

    def check(self, step: Step, touched: frozenset[TableName]) -> None:
        if self._refused is not None:
            raise self._refused  # which the script caught
        self._steps.append(step)
        self._judge(step, {step.key.owner}, touched)
        self.bystanders.accept(touched)

    def finish(self) -> None:
        """Look everywhere, if a revision may have changed more than the tables that it spoke of."""
        if not all(map(self._is_confined, self._steps)):
            self._judge(self._steps[-1], {step.key.owner for step in self._steps}, None)

    def _is_confined(self, step: Step) -> bool:
        """Tell whether *step* only has operations that change the table they name, and no other.

        Its children change with a parent of PostgreSQL's, and an index there is named without its
        table. SQLite reverts all in one transaction, so that one look costs nothing.
        """
        if self._connection.dialect.name == "sqlite" or self._has_children:
            return False
        operations = read_operations(step.revision, "downgrade")
        return bool(operations) and all(
            operation.verb in _CONFINED
            and "new_column_name" not in operation.options
            and (operation.verb != "drop_index" or operation.name in self._indexes)
            for operation in operations
        )

    @cached_property
    def _has_children(self) -> bool:
        is_postgresql = self._connection.dialect.name == "postgresql"
        return is_postgresql and self._connection.exec_driver_sql(_CHILDREN).scalar_one()

    @cached_property
    def _indexes(self) -> frozenset[str]:
        return frozenset(item.name for item in self._objects if item.kind == "index")

    def _judge(
        self, step: Step, owners: Collection[str], tables: Collection[TableName] | None
    ) -> None:
        if harm := self.bystanders.harm(owners, tables):
            raise GuardError(
                f"its downgrade() changes what is not {step.key.owner}'s: {'; '.join(harm)}.", step
            )

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        verb = uncommented(statement)[:5].upper()
        if self._step is None or self._is_finished() or verb not in ("DROP ", "ALTER", "RENAM"):
            return
        owner = self._step.key.owner
        moved = [was for was, _ in renamed_tables(statement)]
        for does, tables, parts in (
            ("drop", dropped_tables(statement), dropped_parts(statement)),
            ("change", moved, changed_parts(statement)),
        ):
            if harm := [*self._tables(tables, owner), *self._parts(parts, owner)]:
                self._refused = GuardError(
                    f"its downgrade() would {does} what is not {owner}'s: {'; '.join(harm)}.",
                    self._step,
                )
                raise self._refused

    def _tables(self, named: Iterable[tuple[str, str]], owner: str) -> Iterator[str]:
        """Say which of the tables *named* are there and others'."""
        for schema, name in named:
            table = self._known(schema, name)
            if table is not None and (maker := self.bystanders.keeper(owner, table)):
                yield f"the table {shown(table)} of {maker}"

    def _parts(self, spoken_of: tuple[str, str, Iterable[str]], owner: str) -> Iterator[str]:
        """Say which parts of a table are there and others'."""
        schema, name, parts = spoken_of
        if (table := self._known(schema, name)) is None:
            return
        for part in parts:
            if maker := self.bystanders.keeper(owner, table, part):
                yield f"{part} of {shown(table)} ({maker}'s table)"

    def _known(self, schema: str, name: str) -> TableName | None:
        """Return the table that a statement speaks of, as it is recorded, if it is there."""
        spelt = self._spelling.table(TableName(schema, name))
        tables = self.bystanders.tables
        return next((each for each in tables if self._spelling.table(each) == spelt), None)
