"""From what is known and what is applied to the steps that would run.

Pure: a plan is the canonical order without what is applied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from anabranch.errors import UsageError
from anabranch.graph import Graph
from anabranch.names import HEADS, normalise
from anabranch.revision import Revision, RevisionKey
from anabranch.wording import did_you_mean

Direction = Literal["upgrade", "downgrade"]
"""Which function of the scripts is called."""

_SHORTEST = 4  # letters that may stand for an id, as with Alembic


@dataclass(frozen=True, slots=True)
class Step:
    """One revision of a plan: its place (from 1), and why it stands there."""

    number: int
    revision: Revision
    down: tuple[RevisionKey, ...]
    depends_on: tuple[RevisionKey, ...]

    @property
    def key(self) -> RevisionKey:
        return self.revision.key

    @property
    def reason(self) -> str:
        """Say in a few words what the step had to wait for."""
        parts: list[str] = []
        if self.down:
            parts.append("follows " + ", ".join(key.id for key in self.down))
        if self.depends_on:
            parts.append("needs " + ", ".join(str(key) for key in self.depends_on))
        return "; ".join(parts) or f"first of {self.key.owner}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Revisions in the order they run; ``applied`` counts those in place before."""

    steps: tuple[Step, ...]
    applied: int
    direction: Direction = "upgrade"

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def keys(self) -> tuple[RevisionKey, ...]:
        return tuple(step.key for step in self.steps)

    @property
    def digest(self) -> str:
        """Name the plan: equal digests mean the same scripts in the same order."""
        lines = (f"{step.key} {step.revision.checksum}\n" for step in self.steps)
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def make_plan(
    graph: Graph,
    applied: Collection[RevisionKey],
    target: str | Sequence[str] = HEADS,
    *,
    disabled: Collection[str] = (),
) -> Plan:
    """Work out which revisions would run to reach *target*, in order.

    :param applied: the revisions that are in place; a set, since each revision is looked up.
    :param target: ``heads``, ``owner@head``, ``owner@id`` or several of them; a target takes along
        whatever it needs.
    :param disabled: owners whose revisions are not applied, with all that needs them.
    :raises UsageError: if a target does not exist.
    """
    wanted = _targets(graph, target)
    left_out: set[RevisionKey] = set()
    steps: list[Step] = []
    for key in graph.order:
        if key in applied:
            continue
        if (
            key not in graph.installed
            or key.owner in disabled
            or any(parent in left_out for parent in graph.predecessors(key))
        ):
            left_out.add(key)
        elif wanted is None or key in wanted:
            edges = graph.edges
            depends_on = edges.depends.get(key, ()) + edges.implied.get(key, ())
            steps.append(
                Step(
                    number=len(steps) + 1,
                    revision=graph.revisions[key],
                    down=edges.down.get(key, ()),
                    depends_on=depends_on,
                )
            )
    return Plan(tuple(steps), applied=len(applied))


def _targets(graph: Graph, target: str | Sequence[str]) -> set[RevisionKey] | None:
    """Return everything the target needs, or None where it is simply everything."""
    names = [target] if isinstance(target, str) else target
    if HEADS in names:
        return None
    return graph.ancestors(key for name in names for key in revisions_named(graph, name))


def revisions_named(graph: Graph, name: str) -> tuple[RevisionKey, ...]:
    """Return what ``owner``, ``owner@head`` or ``owner@id`` means among the installed revisions.

    :raises UsageError: if that is nothing.
    """
    owner, _, id_ = name.partition("@")
    owner = normalise(owner)
    own = graph.of(owner)
    if own and (id_ in ("head", "heads") or "@" not in name):
        return graph.heads(owner)
    if (key := revision_of([key for key in own if key in graph.installed], id_)) is not None:
        return (key,)
    if own:
        raise UsageError(
            f"{owner} has no revision {id_!r}.{did_you_mean(id_, [key.id for key in own])}",
            remedy=f"Name one of its revisions, or {owner}@head.",
        )
    owners = sorted({key.owner for key in graph.installed})
    raise UsageError(
        f"No installed owner is called {owner!r}.{did_you_mean(owner, owners)}",
        remedy=f"A target reads owner@revision; owners with revisions: {', '.join(owners)}.",
    )


def revision_of(keys: Collection[RevisionKey], id_: str) -> RevisionKey | None:
    """Return the one of an owner's *keys* with that id, or the only one whose id begins so.

    :param id_: at least four letters of an id, unless it is all of it.
    :raises UsageError: if several begin so.
    """
    found = [key for key in keys if key.id == id_]
    if not found and len(id_) >= _SHORTEST:
        found = [key for key in keys if key.id.startswith(id_)]
    if len(found) > 1:
        raise UsageError(
            f"{id_!r} may mean {', '.join(sorted(map(str, found)))}.",
            remedy="Say more of the revision.",
        )
    return found[0] if found else None
