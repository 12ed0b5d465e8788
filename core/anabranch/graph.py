"""Revisions as a digraph: what follows what, and the one order they all run in.

Pure: it reads no disk and no database. What is in the database reaches it as
:class:`~anabranch.revision.AppliedRevision` objects.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property

from anabranch.cycles import shortest_cycle
from anabranch.problems import Problem
from anabranch.resolution import Edges, resolve
from anabranch.revision import CORE, AppliedRevision, Revision, RevisionKey


@dataclass(frozen=True)
class Graph:
    """All known revisions of all owners, in one canonical order.

    ``revisions`` holds the installed ones and, where a package or file is gone, those the
    database recorded. ``order`` leaves out what a fault makes impossible to order, with all that
    needs it; ``problems`` says why.
    """

    revisions: Mapping[RevisionKey, Revision]
    installed: frozenset[RevisionKey]
    edges: Edges
    order: tuple[RevisionKey, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def build(cls, revisions: Iterable[Revision], applied: Iterable[AppliedRevision] = ()) -> Graph:
        """Resolve, validate and order *revisions*, with what the database says was *applied*.

        An applied revision depends on what was recorded when it ran, whatever its header says
        today. The order of the arguments does not matter.
        """
        resolution = resolve(revisions, applied)
        known, edges = resolution.revisions, resolution.edges
        problems = list(resolution.problems)
        order = _canonical_order(known, edges, resolution.unresolved)
        problems += _cycle_problems(known, edges, order)
        problems += _head_problems(known, resolution.installed, edges, order)
        return cls(known, resolution.installed, edges, order, tuple(problems))

    def predecessors(self, key: RevisionKey) -> tuple[RevisionKey, ...]:
        """Return every revision that must be applied directly before *key*."""
        return self.edges.all(key)

    def declared(self, key: RevisionKey) -> tuple[RevisionKey, ...]:
        """Return the predecessors the file of *key* names: the ones stock Alembic knows."""
        return self.edges.declared(key)

    def ancestors(self, keys: Iterable[RevisionKey]) -> set[RevisionKey]:
        """Return *keys* and everything they need, directly or not."""
        return _closure(keys, self.edges.all)

    def declared_ancestors(self, keys: Iterable[RevisionKey]) -> set[RevisionKey]:
        """Return *keys* and what they need by the edges that their files declare."""
        return _closure(keys, self.edges.declared)

    def descendants(
        self, keys: Iterable[RevisionKey], within: Iterable[RevisionKey]
    ) -> set[RevisionKey]:
        """Return *keys* and what of *within* needs any of them, directly or not."""
        followers: dict[RevisionKey, list[RevisionKey]] = defaultdict(list)
        for key in within:
            for parent in self.edges.all(key):
                followers[parent].append(key)
        return _closure(keys, lambda key: tuple(followers.get(key, ())))

    def reduce(self, keys: Iterable[RevisionKey]) -> tuple[RevisionKey, ...]:
        """Return those of *keys* that no other of them already needs, in canonical order.

        Redundant dependencies crash stock Alembic, so none is ever written to a file.
        """
        wanted = set(keys)
        implied = self.ancestors(parent for key in wanted for parent in self.edges.all(key))
        return tuple(key for key in self.order if key in wanted and key not in implied)

    def maximal(self, keys: Iterable[RevisionKey]) -> set[RevisionKey]:
        """Return those of *keys* that none of the others declares, through any path, to need."""
        kept = set(keys)
        needed: set[RevisionKey] = set()
        for key in kept:
            needed.update(self.edges.down.get(key, ()), self.edges.depends.get(key, ()))
        # What is among them names its own parents; a path through others is followed.
        return kept - needed - self.declared_ancestors(needed - kept)

    def of(self, owner: str) -> tuple[RevisionKey, ...]:
        """Return the installed revisions of *owner*, in canonical order."""
        return tuple(self._by_owner.get(owner, ()))

    @cached_property
    def _by_owner(self) -> Mapping[str, list[RevisionKey]]:
        found: dict[str, list[RevisionKey]] = defaultdict(list)
        for key in self.order:
            if key in self.installed:
                found[key.owner].append(key)
        return found

    def heads(self, owner: str) -> tuple[RevisionKey, ...]:
        """Return the installed revisions of *owner* that no other of its own follows."""
        return self.last_of(self.of(owner))

    def last_of(self, keys: Iterable[RevisionKey]) -> tuple[RevisionKey, ...]:
        """Return those of *keys* that no other of them follows in its owner's tree."""
        own = tuple(keys)
        return _heads(own, own, self.revisions, self.edges)


def _closure(
    keys: Iterable[RevisionKey],
    predecessors: Callable[[RevisionKey], tuple[RevisionKey, ...]],
) -> set[RevisionKey]:
    found: set[RevisionKey] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting.extend(predecessors(key))
    return found


def _timestamp(created: datetime | None) -> float:
    # Alembic writes local times without a zone unless told otherwise; an order that depended on
    # the zone of the machine that reads it would not be one order.
    if created is None:
        return -math.inf
    return created.replace(tzinfo=created.tzinfo or timezone.utc).timestamp()


def _canonical_order(
    known: Mapping[RevisionKey, Revision], edges: Edges, unresolved: frozenset[RevisionKey]
) -> tuple[RevisionKey, ...]:
    """Sort topologically (Kahn), ties by effective date, core first, owner and id.

    The effective date of a revision is the latest of its own and its predecessors', so that a
    fresh database replays the history that the older ones went through.
    """
    # By their places among all: lists of numbers are much faster than dictionaries of keys.
    keys = [key for key in known if key.owner == CORE]
    keys += [key for key in known if key.owner != CORE]
    places = {key: place for place, key in enumerate(keys)}
    effective = [_timestamp(known[key].created) for key in keys]
    waiting_for: list[int] = []
    followers: list[list[int]] = [[] for _ in keys]
    for place, key in enumerate(keys):
        parents = edges.all(key)
        waiting_for.append(len(parents) + (key in unresolved))  # who is named twice counts twice
        for parent in parents:
            followers[places[parent]].append(place)
    ready = [(effective[place], place) for place, count in enumerate(waiting_for) if count == 0]
    heapq.heapify(ready)
    order: list[RevisionKey] = []
    while ready:
        date, place = heapq.heappop(ready)
        order.append(keys[place])
        for follower in followers[place]:
            effective[follower] = max(effective[follower], date)
            waiting_for[follower] -= 1
            if waiting_for[follower] == 0:
                heapq.heappush(ready, (effective[follower], follower))
    return tuple(order)


def _cycle_problems(
    known: Mapping[RevisionKey, Revision], edges: Edges, order: tuple[RevisionKey, ...]
) -> list[Problem]:
    ordered = set(order)
    left = {key: edges.all(key) for key in sorted(known.keys() - ordered)}
    cycle = shortest_cycle(left)
    if not cycle:
        return []
    lines = [
        f"  {key} ({known[key].path}) needs {parent}"
        for key, parent in zip(cycle, [*cycle[1:], cycle[0]], strict=True)
    ]
    return [
        Problem(
            code="AB107",
            owner=cycle[0].owner,
            text="Revisions need each other in a circle:\n" + "\n".join(lines),
            remedy="Remove one of these depends_on or down_revision references.",
            path=known[cycle[0]].path,
        )
    ]


def _heads(
    own: Iterable[RevisionKey],
    followers: Iterable[RevisionKey],
    known: Mapping[RevisionKey, Revision],
    edges: Edges,
) -> tuple[RevisionKey, ...]:
    # The header counts beside what was recorded: a revision put behind an applied one is no head.
    followed: set[str] = set()
    for key in followers:
        followed.update(known[key].down_revisions)
        followed.update([parent.id for parent in edges.down.get(key, ())])
    return tuple(key for key in own if key.id not in followed)


def _head_problems(
    known: Mapping[RevisionKey, Revision],
    installed: frozenset[RevisionKey],
    edges: Edges,
    order: tuple[RevisionKey, ...],
) -> list[Problem]:
    """Find the owners with several heads that no branch label tells apart."""
    by_owner: dict[str, list[RevisionKey]] = defaultdict(list)
    for key in order:
        if key in installed:
            by_owner[key.owner].append(key)
    followers: dict[str, list[RevisionKey]] = defaultdict(list)
    for key in known:
        followers[key.owner].append(key)
    problems: list[Problem] = []
    for owner, own in sorted(by_owner.items()):
        # A revision that cannot be ordered, or whose file is gone, may well be what merges two.
        heads = _heads(own, followers[owner], known, edges)
        if len(heads) < 2:
            continue
        labels = [
            {
                label
                for key in _closure([head], lambda key: edges.down.get(key, ()))
                for label in known[key].branch_labels
            }
            for head in heads
        ]
        unlabelled = [
            head
            for position, head in enumerate(heads)
            if not labels[position].difference(*labels[:position], *labels[position + 1 :])
        ]
        if len(unlabelled) > 1:
            files = "\n".join(f"  {head} ({known[head].path})" for head in unlabelled)
            ids = ", ".join(repr(head.id) for head in unlabelled)
            problems.append(
                Problem(
                    code="AB108",
                    owner=owner,
                    text=f"{owner} has {len(unlabelled)} heads and no label tells them apart:\n"
                    f"{files}",
                    remedy=f"Add a revision with down_revision = ({ids}) that merges them.",
                    path=known[unlabelled[1]].path,
                )
            )
    return problems
