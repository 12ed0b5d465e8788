"""What a pending revision does, for those who look before they run it."""

from __future__ import annotations

from dataclasses import dataclass

from anabranch.operations import CODE, SQL, Operation, read_operations
from anabranch.revision import Revision

_TAKES_AWAY = ("drop_table", "drop_column")


@dataclass(frozen=True, slots=True)
class Outline:
    """The operations of a revision's ``upgrade()``, as its source names them."""

    operations: tuple[Operation, ...]
    reverse: tuple[Operation, ...]

    @property
    def is_destructive(self) -> bool:
        """Whether it drops a table or a column, and what is in it."""
        return any(operation.verb in _TAKES_AWAY for operation in self.operations)

    @property
    def is_irreversible(self) -> bool:
        """Whether it changes the schema, and its ``downgrade()`` does nothing."""
        changes = any(operation.verb not in (CODE, SQL) for operation in self.operations)
        return changes and not self.reverse


def read_outline(revision: Revision) -> Outline:
    """Read what *revision* does from its source, without running it."""
    return Outline(read_operations(revision), read_operations(revision, "downgrade"))
