"""What a downgrade must not do: take away, or change, what is another owner's."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from anabranch.bystanders import Bystanders
from anabranch.guards import Guard, GuardError
from anabranch.objects import OwnedObject, TableName
from anabranch.planning import Step


class TrespassGuard(Guard):
    """Stops a revision that is reverted with changes in it that are not its owner's.

    Revisions that were generated with other owners' models in sight hold such changes; on the way
    down they would narrow or drop what others still use.

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

    @property
    def bystanders(self) -> Bystanders:
        """The tables as they were before the first revision."""
        if self._bystanders is None:
            self._bystanders = Bystanders(self._connection, self._objects, self._ignored)
        return self._bystanders

    def begin(self) -> None:
        self._steps = []
        assert self.bystanders

    def check(self, step: Step, touched: frozenset[TableName]) -> None:
        self._steps.append(step)
        self._judge(step, {step.key.owner}, touched)
        self.bystanders.accept(touched)

    def finish(self) -> None:
        """Look everywhere: a statement may hide what it does."""
        self._judge(self._steps[-1], {step.key.owner for step in self._steps}, None)

    def _judge(
        self, step: Step, owners: Collection[str], tables: Collection[TableName] | None
    ) -> None:
        if harm := self.bystanders.harm(owners, tables):
            raise GuardError(
                f"its downgrade() changes what is not {step.key.owner}'s: {'; '.join(harm)}.", step
            )
