"""Which revisions of a plan share a transaction. Pure: it asks no database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from anabranch.errors import UsageError

if TYPE_CHECKING:
    from anabranch.planning import Step

Mode = Literal["auto", "run", "revision"]
"""One transaction for the run, one for each revision, or what suits the database."""

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Unit:
    """Steps that become true together, in one transaction.

    :ivar shared: whether it is meant for more than one revision, however many it has.
    """

    steps: tuple[Step, ...]
    shared: bool

    def after(self, done: int) -> Unit:
        """Return what is left when its first *done* steps are through."""
        return Unit(self.steps[done:], self.shared)


def units_of(steps: Iterable[Step], mode: Mode, dialect: str) -> tuple[Unit, ...]:
    """Cut *steps* into units, in their order, which no unit changes.

    ``auto`` is the whole run on SQLite, and one revision elsewhere: on a server a transaction that
    holds the locks of all revisions stops its users, and some legal chains of revisions need a
    commit between them. A revision that needs autocommit is always a unit of its own.

    :raises UsageError: if the run is to be one transaction on a database that commits at each DDL
        statement.
    """
    if mode == "run" and dialect not in ("sqlite", "postgresql"):
        raise UsageError(
            f"A run cannot be one transaction: {dialect} commits at every DDL statement.",
            remedy="Run it without --atomic.",
        )
    whole = mode == "run" or (mode == "auto" and dialect == "sqlite")
    units: list[Unit] = []
    together: list[Step] = []
    for step in steps:
        if whole and not step.revision.autocommit:
            together.append(step)
            continue
        if together:
            units.append(Unit(tuple(together), shared=True))
            together = []
        units.append(Unit((step,), shared=False))
    if together:
        units.append(Unit(tuple(together), shared=True))
    return tuple(units)
