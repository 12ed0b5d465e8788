"""What is written into our tables, as rows by the names of their columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from anabranch.objects import OwnedObject
from anabranch.revision import AppliedRevision, RevisionKey

if TYPE_CHECKING:
    from anabranch.recorder import Event


def revision_row(revision: AppliedRevision, projected: Collection[RevisionKey]) -> dict[str, Any]:
    """Return the row of *revision*, which Alembic's table shows if it is *projected*."""
    return {
        "owner": revision.key.owner,
        "revision": revision.key.id,
        "down_revision": _text(revision.down_revisions),
        "depends_on": _text(revision.depends_on),
        "branch_labels": " ".join(revision.branch_labels),
        "checksum": revision.checksum,
        "distribution": revision.distribution,
        "version": revision.version,
        "applied_at": revision.applied_at,
        "duration": revision.duration,
        "run": revision.run,
        "projected": revision.key in projected,
    }


def event_row(event: Event) -> dict[str, Any]:
    """Return a line of the journal."""
    return {name: getattr(event, name) for name in event.__slots__}


def object_row(item: OwnedObject) -> dict[str, Any]:
    """Return the row of an owned object."""
    return {**object_key(item), "owner": item.owner, "revision": item.revision}


def object_key(item: OwnedObject) -> dict[str, Any]:
    """Return the primary key of an owned object's row."""
    return {
        "kind": item.kind,
        "table_schema": item.table.schema,
        "table_name": item.table.name,
        "name": item.name,
    }


def changed_flags(
    shown: Iterable[RevisionKey], was: Iterable[RevisionKey]
) -> list[tuple[RevisionKey, bool]]:
    """Return whose flag changes, and to what, where *was* is flagged and *shown* is to be."""
    new, old = set(shown), set(was)
    return [(key, False) for key in sorted(old - new)] + [(key, True) for key in sorted(new - old)]


def _text(keys: Iterable[RevisionKey]) -> str:
    return " ".join(map(str, keys))
