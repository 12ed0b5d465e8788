"""What a pending revision does, for those who look before they run it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from anabranch.operations import CODE, SQL, Operation, read_operations
from anabranch.revision import Revision

_TAKES_AWAY = ("drop_table", "drop_column")
# Calls whose answer only a database has.
_ASKS = {
    "inspect", "reflect", "has_table", "get_table_names", "get_columns", "get_indexes",
    "get_foreign_keys", "get_unique_constraints", "get_check_constraints", "get_pk_constraint",
    "fetchall", "fetchone", "fetchmany", "mappings", "first", "one", "one_or_none", "scalar",
    "scalars", "scalar_one", "scalar_one_or_none",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outline:
    """The operations of a revision's ``upgrade()``, as its source names them.

    :ivar reads: whether it asks the database for rows or tables, so that what it does may depend
        on them.
    """

    operations: tuple[Operation, ...]
    reverse: tuple[Operation, ...]
    reads: bool

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
    return Outline(
        read_operations(revision), read_operations(revision, "downgrade"), _reads(revision)
    )


def _reads(revision: Revision) -> bool:
    """Tell whether anything but ``downgrade()`` in the file asks for rows or tables."""
    try:
        tree = ast.parse(Path(revision.path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    calls = [
        node
        for function in functions
        if function.name != "downgrade"
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
    ]
    return any(_name(call.func) in _ASKS or _reflects(call) for call in calls)


def _name(called: ast.expr) -> str:
    if isinstance(called, ast.Attribute):
        return called.attr
    return called.id if isinstance(called, ast.Name) else ""


def _reflects(call: ast.Call) -> bool:
    return any(word.arg == "autoload_with" for word in call.keywords)
