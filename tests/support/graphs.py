"""Revisions as short text, for the rooms that never see a file.

Not a parser: a name is always ``owner@id``, a reference is whatever the test says.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from anabranch.graph import Graph
from anabranch.revision import AppliedRevision, Revision, RevisionKey

key = RevisionKey.parse


def revision(
    name: str,
    *,
    down: str = "",
    depends: str = "",
    labels: str = "",
    created: datetime | str | None = None,
    checksum: str = "",
    path: str = "",
) -> Revision:
    """A revision; references and labels are words in one string."""
    return Revision(
        key(name),
        tuple(down.split()),
        tuple(depends.split()),
        tuple(labels.split()),
        created=datetime.fromisoformat(created) if isinstance(created, str) else created,
        path=path or f"{name.replace('@', '/')}.py",
        checksum=checksum,
    )


def applied(
    name: str,
    *,
    down: str = "",
    depends: str = "",
    labels: str = "",
    checksum: str = "",
    version: str = "",
) -> AppliedRevision:
    """A row of the applied set; its references are full names."""
    return AppliedRevision(
        key(name),
        tuple(map(key, down.split())),
        tuple(map(key, depends.split())),
        tuple(labels.split()),
        checksum=checksum,
        version=version,
    )


def ran(graph: Graph, keys: Iterable[RevisionKey]) -> list[AppliedRevision]:
    """What a database records when *keys* of *graph* run."""
    return [
        AppliedRevision(
            each,
            graph.edges.down.get(each, ()),
            graph.edges.depends.get(each, ()),
            graph.revisions[each].branch_labels,
            graph.revisions[each].checksum,
        )
        for each in keys
    ]


def names(keys: Iterable[RevisionKey]) -> str:
    """The keys as words in one string, in their order."""
    return " ".join(map(str, keys))


def faults(graph: Graph) -> list[tuple[str, str]]:
    """Code and owner of every problem."""
    return [(problem.code, problem.owner) for problem in graph.problems]
