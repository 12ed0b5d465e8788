"""What Alembic's table shows of a run, followed at the cost of what changes.

Pure: it works out what to write; the ledger writes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from anabranch.graph import Graph
from anabranch.recorder import AMBIGUOUS
from anabranch.revision import RevisionKey


@dataclass(frozen=True, slots=True)
class Shift:
    """A step from what is shown to what should be: of the revisions, and of the ids in the table.

    They differ where an id says nothing, because two applied owners have it.
    """

    hidden: frozenset[RevisionKey] = frozenset()
    shown: frozenset[RevisionKey] = frozenset()
    ids_gone: frozenset[str] = frozenset()
    ids_new: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.hidden or self.shown or self.ids_gone or self.ids_new)


class Projection:
    """The maximal applied revisions of installed owners, while revisions are applied.

    :param applied: what is applied before the run.
    :param shown: the revisions that the database shows, and *ids* what stands in Alembic's table.
    """

    def __init__(
        self,
        graph: Graph,
        applied: Collection[RevisionKey],
        shown: Collection[RevisionKey],
        ids: Collection[str],
    ) -> None:
        self._graph = graph
        self._shown = set(shown)
        self._ids = set(ids)
        self._since_commit: list[Shift] = []
        self._committed: list[Shift] = []
        self.reset(applied)

    def reset(self, applied: Collection[RevisionKey]) -> None:
        """Start again from *applied*: a transaction was rolled back, and with it what it showed."""
        self._undo(self._since_commit)
        graph = self._graph
        self._heads = graph.maximal({key for key in applied if key in graph.installed})
        self._applied = set(applied)
        self._needed = Counter(parent for key in applied for parent in graph.declared(key))
        self._owners_of = Counter(key.id for key in applied)
        self._doubles = sum(1 for count in self._owners_of.values() if count > 1)
        self._unsettled = self._heads ^ self._shown
        self._is_whole = False

    def add(self, key: RevisionKey) -> None:
        """Take *key* for applied."""
        self._owners_of[key.id] += 1
        if self._owners_of[key.id] == 2:
            self._is_whole = self._is_whole and self._doubles > 0
            self._doubles += 1
        parents = self._graph.declared(key)
        self._applied.add(key)
        self._heads.difference_update(parents)
        self._unsettled.update(parents)
        self._needed.update(parents)
        if not self._needed[key]:
            self._heads.add(key)
            self._unsettled.add(key)

    def remove(self, key: RevisionKey) -> None:
        """Take *key*, which nothing applied needs, for reverted."""
        parents = self._graph.declared(key)
        self._owners_of[key.id] -= 1
        if self._owners_of[key.id] == 1:
            self._doubles -= 1
            self._is_whole = self._is_whole and self._doubles > 0
        self._applied.discard(key)
        self._heads.discard(key)
        self._needed.subtract(parents)
        for parent in parents:
            if (
                parent in self._applied
                and parent in self._graph.installed
                and not self._needed[parent]
            ):
                self._heads.add(parent)
        self._unsettled.update(parents)
        self._unsettled.add(key)

    def shift(self) -> Shift:
        """Return what is to be written now, and take it for written."""
        shown = frozenset(
            key for key in self._unsettled if key in self._heads and key not in self._shown
        )
        hidden = frozenset(
            key for key in self._unsettled if key in self._shown and key not in self._heads
        )
        self._unsettled = set()
        if self._is_whole:
            # An id that moves from one revision to another stays where it is.
            new, gone = {key.id for key in shown}, {key.id for key in hidden}
            shift = Shift(hidden, shown, frozenset(gone - new), frozenset(new - gone))
            if self._doubles:
                shift = Shift(hidden, shown)
        else:
            wanted = {AMBIGUOUS} if self._doubles else {key.id for key in self._heads}
            shift = Shift(
                hidden, shown, frozenset(self._ids - wanted), frozenset(wanted - self._ids)
            )
            self._is_whole = True
        if shift:
            self._take(shift)
            self._since_commit.append(shift)
        return shift

    def commit(self) -> None:
        """Keep what was written; :meth:`undo_commit` takes it back once."""
        self._committed, self._since_commit = self._since_commit, []

    def undo_commit(self) -> None:
        """Let the last commit not have happened."""
        self._since_commit = [*self._committed, *self._since_commit]
        self._committed = []

    def _undo(self, shifts: list[Shift]) -> None:
        while shifts:
            done = shifts.pop()
            self._take(Shift(done.shown, done.hidden, done.ids_new, done.ids_gone))

    def _take(self, shift: Shift) -> None:
        self._shown -= shift.hidden
        self._shown |= shift.shown
        self._ids -= shift.ids_gone
        self._ids |= shift.ids_new
