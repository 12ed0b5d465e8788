"""From references as authors write them to edges between revisions.

Pure, like the graph it serves. Every reference that leads nowhere, or to two places, becomes a
problem that names the owner, the file and the remedy.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from anabranch.problems import Problem
from anabranch.revision import CORE, AppliedRevision, Revision, RevisionKey
from anabranch.wording import did_you_mean

# Alembic keeps an id in VARCHAR(32) and reads @, +, - and : in it as operators.
FITTING_ID = re.compile(r"[A-Za-z0-9_.]{1,32}")
_RESERVED = ("head", "heads", "base")
_FITTING_LABEL = re.compile(r"[^\s@]{1,100}")

_Adjacency = dict[RevisionKey, tuple[RevisionKey, ...]]


@dataclass(frozen=True, slots=True)
class Edges:
    """The predecessors of each revision, by where they come from.

    ``implied`` holds what no file says: a plugin's base that names nothing needs the core's base.
    """

    down: _Adjacency = field(default_factory=dict)
    depends: _Adjacency = field(default_factory=dict)
    implied: _Adjacency = field(default_factory=dict)

    def declared(self, key: RevisionKey) -> tuple[RevisionKey, ...]:
        down, depends = self.down.get(key, ()), self.depends.get(key)
        return down + depends if depends else down

    def all(self, key: RevisionKey) -> tuple[RevisionKey, ...]:
        declared, implied = self.declared(key), self.implied.get(key)
        return declared + implied if implied else declared


@dataclass(frozen=True)
class Resolution:
    """Known revisions, by owner and id, their edges, and those with a reference to nowhere."""

    revisions: Mapping[RevisionKey, Revision]
    installed: frozenset[RevisionKey]
    edges: Edges
    unresolved: frozenset[RevisionKey]
    problems: tuple[Problem, ...]


def resolve(revisions: Iterable[Revision], applied: Iterable[AppliedRevision]) -> Resolution:
    """Resolve the references of *revisions*; of the *applied* ones, take what was recorded."""
    return _Resolver(revisions, applied).resolve()


class _Resolver:
    def __init__(self, revisions: Iterable[Revision], applied: Iterable[AppliedRevision]) -> None:
        self.problems: list[Problem] = []
        self.recorded = {revision.key: revision for revision in applied}
        self.known: dict[RevisionKey, Revision] = {}
        for revision in sorted(revisions, key=_place):
            self._add(revision)
        self.installed = frozenset(self.known)
        if gone := self.recorded.keys() - self.known.keys():
            for key in gone:
                labels = self.recorded[key].branch_labels
                self.known[key] = Revision(key=key, branch_labels=labels)
            self.known = {key: self.known[key] for key in sorted(self.known)}
        self.ids: dict[str, list[RevisionKey]] = defaultdict(list)
        self.labels: dict[str, list[RevisionKey]] = defaultdict(list)
        for key, revision in self.known.items():
            self.ids[key.id].append(key)
            for label in revision.branch_labels:
                self.labels[label].append(key)

    def _add(self, revision: Revision) -> None:
        key = revision.key
        if not FITTING_ID.fullmatch(key.id) or key.id in _RESERVED:
            self._fault(
                "AB111",
                revision,
                f"has the id {key.id!r}, which does not fit.",
                "An id has 1 to 32 letters, digits, underscores or dots; head, heads and base mean "
                "other things.",
            )
        elif key in self.known:
            self._fault(
                "AB104",
                revision,
                f"has the same id as {self.known[key].path}.",
                "Give one of the two files another id.",
            )
        else:
            self.known[key] = revision

    def _fault(self, code: str, revision: Revision, text: str, remedy: str) -> None:
        self.problems.append(
            Problem(
                code=code,
                owner=revision.owner,
                text=f"{revision.key} ({revision.path}) {text}",
                remedy=remedy,
                path=revision.path,
            )
        )

    def resolve(self) -> Resolution:
        self._check_labels()
        edges = Edges()
        unresolved: set[RevisionKey] = set()
        for key, revision in self.known.items():
            if (recorded := self.recorded.get(key)) is not None:
                edges.down[key] = self._present(recorded.down_revisions)
                edges.depends[key] = self._present(recorded.depends_on)
                continue
            down = [self._find(revision, name, "down_revision") for name in revision.down_revisions]
            depends = [self._find(revision, name, "depends_on") for name in revision.depends_on]
            if None in down or None in depends:
                unresolved.add(key)
            parents = [parent for parent in down if parent is not None]
            own = [parent for parent in parents if parent.owner == key.owner]
            foreign = [parent for parent in parents if parent.owner != key.owner]
            for parent in foreign:
                self._warn_of_fork(revision, parent)
            needed = [*foreign, *(parent for parent in depends if parent is not None)]
            edges.down[key] = tuple(dict.fromkeys(own))
            edges.depends[key] = tuple(dict.fromkeys(needed))
        self._imply_core_base(edges, unresolved)
        return Resolution(
            self.known, self.installed, edges, frozenset(unresolved), tuple(self.problems)
        )

    def _present(self, keys: tuple[RevisionKey, ...]) -> tuple[RevisionKey, ...]:
        present = [self.known.get(key) for key in keys]
        return tuple([found.key for found in present if found is not None]) if keys else keys

    def _check_labels(self) -> None:
        for label, keys in sorted(self.labels.items()):
            if not _FITTING_LABEL.fullmatch(label):
                self._fault(
                    "AB111",
                    self.known[keys[0]],
                    f"carries the branch label {label!r}, which does not fit.",
                    "A label has up to 100 characters, no blanks and no @.",
                )
            by_owner: dict[str, list[RevisionKey]] = defaultdict(list)
            for key in keys:
                if key in self.installed:
                    by_owner[key.owner].append(key)
            for owner, own in by_owner.items():
                revision = self.known[own[-1]]
                if len(own) > 1:
                    self._fault(
                        "AB105",
                        revision,
                        f"carries the branch label {label!r}, as {self.known[own[0]].path} does.",
                        "A label names one revision of its owner: remove it from one of them.",
                    )
                if RevisionKey(owner, label) in self.installed:
                    self._fault(
                        "AB105",
                        revision,
                        f"carries the branch label {label!r}, which is also an id of {owner}.",
                        "Choose another label.",
                    )

    def _find(self, revision: Revision, name: str, attribute: str) -> RevisionKey | None:
        """Find what *name* means to *revision*: its owner's own first, then the only other."""
        owner, at, rest = name.rpartition("@")
        if at:
            candidates = self._of_owner(owner, rest)
        else:
            own = self._of_owner(revision.owner, name)
            # Nothing can need itself, so that is meant only where nothing else has the name.
            candidates = [key for key in own if key != revision.key]
            if not candidates:
                everywhere = {*self.ids.get(name, ()), *self.labels.get(name, ())}
                candidates = sorted(everywhere - {revision.key}) or own
        present = [key for key in candidates if key in self.installed]
        candidates = present or candidates
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            choices = ", ".join(f"'{key}'" for key in candidates)
            self._fault(
                "AB117",
                revision,
                f"names {name!r} in {attribute}, and several owners have that.",
                f"Write out which one is meant: {choices}.",
            )
        else:
            self._missing(revision, name, attribute)
        return None

    def _of_owner(self, owner: str, name: str) -> list[RevisionKey]:
        if (found := self.known.get(RevisionKey(owner, name))) is not None:
            return [found.key]
        return [key for key in self.labels.get(name, ()) if key.owner == owner]

    def _missing(self, revision: Revision, name: str, attribute: str) -> None:
        if attribute == "down_revision":
            known = [key.id for key in self.installed if key.owner == revision.owner]
            remedy = (
                f"The file of {name} is missing from the package of {revision.owner}: "
                "reinstall it, or correct down_revision."
            )
        else:
            known = [*self.labels, *(str(key) for key in self.installed)]
            remedy = "Install the plugin that provides it, or correct depends_on."
        owners = ", ".join(sorted({key.owner for key in self.installed}))
        self._fault(
            "AB106",
            revision,
            f"names {name!r} in {attribute}, which no installed owner provides."
            f"{did_you_mean(name, known)} Installed owners: {owners}.",
            remedy,
        )

    def _warn_of_fork(self, revision: Revision, parent: RevisionKey) -> None:
        self.problems.append(
            Problem(
                code="AB120",
                owner=revision.owner,
                text=f"{revision.key} ({revision.path}) has {parent} of another owner as its "
                "down_revision; it is taken as a base that depends on it.",
                remedy=f"Write down_revision = None and depends_on = {parent.id!r}.",
                path=revision.path,
                level="warning",
            )
        )

    def _imply_core_base(self, edges: Edges, unresolved: set[RevisionKey]) -> None:
        bases = [
            key
            for key, down in edges.down.items()
            if not down and not edges.depends[key] and key not in unresolved
        ]
        core_bases = tuple(key for key in bases if key.owner == CORE)
        edges.implied.update((key, core_bases) for key in bases if key.owner != CORE)


def _place(revision: Revision) -> str:
    """Return what sorts as owner, id and path do: texts are compared faster than tuples of them."""
    return "\0".join((*revision.key, revision.path))
