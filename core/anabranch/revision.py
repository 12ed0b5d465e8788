"""What is known of one revision, from its file or from the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from anabranch.names import CORE as CORE

if TYPE_CHECKING:
    from datetime import datetime


class RevisionKey(NamedTuple):
    """A revision's identity: ids are only unique within their owner.

    A tuple and not a dataclass: every set and heap of the graph hashes and compares it.
    """

    owner: str
    id: str

    def __str__(self) -> str:
        return f"{self.owner}@{self.id}"

    @classmethod
    def parse(cls, text: str) -> RevisionKey:
        """Read ``owner@id``."""
        owner, _, id_ = text.partition("@")
        return cls(owner, id_)


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision file's header, its references as the author wrote them.

    :ivar plain: whether nothing in the file could end a transaction unseen: it has no way to the
        driver, imports nothing but Alembic's operations and SQLAlchemy, and speaks of no commit.
    :ivar destructive: why it loses rows on purpose; empty if it does not say so.
    """

    key: RevisionKey
    down_revisions: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    branch_labels: tuple[str, ...] = ()
    message: str = ""
    created: datetime | None = None
    path: str = ""
    checksum: str = ""
    autocommit: bool = False
    plain: bool = False
    destructive: str = ""

    @property
    def owner(self) -> str:
        return self.key.owner

    @property
    def id(self) -> str:
        return self.key.id


@dataclass(frozen=True, slots=True)
class AppliedRevision:
    """A revision as the database recorded it when it ran, its references resolved."""

    key: RevisionKey
    down_revisions: tuple[RevisionKey, ...] = ()
    depends_on: tuple[RevisionKey, ...] = ()
    branch_labels: tuple[str, ...] = ()
    checksum: str = ""
    distribution: str = ""
    version: str = ""
    applied_at: str = ""
    duration: float = 0.0
    run: str = ""
