"""Tables, columns, indexes and constraints, and which revision of which owner made them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from anabranch.revision import RevisionKey

Kind = Literal[
    "table",
    "column",
    "index",
    "constraint",
    "view",
    "type",
    "trigger",
    "function",
    "procedure",
    "sequence",
]
STANDING: frozenset[Kind] = frozenset(
    {"view", "type", "trigger", "function", "procedure", "sequence"}
)
"""The kinds of what stands beside tables."""
Shape = Mapping[Kind, frozenset[str]]
"""The names of what a table has, by kind."""


class TableName(NamedTuple):
    """A table by schema (empty for the connection's own) and name."""

    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class OwnedObject:
    """A table, what stands beside tables, or what a later revision put on one.

    What a table is created with is not listed: it came with the table. Indexes and constraints are
    listed only on tables of other owners.
    """

    kind: Kind
    table: TableName
    name: str
    owner: str
    revision: str

    @property
    def key(self) -> RevisionKey:
        return RevisionKey(self.owner, self.revision)


@dataclass(frozen=True, slots=True)
class ObjectChanges:
    """What one revision did to the record of owned objects."""

    removed: tuple[OwnedObject, ...] = ()
    added: tuple[OwnedObject, ...] = ()


def unnamed(prefix: Literal["fk", "uq"], columns: Iterable[str]) -> str:
    """Return what a constraint without a name is recorded as: SQLite keeps such ones."""
    return f"{prefix}({', '.join(columns)})"
