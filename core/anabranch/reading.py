"""One reading of an installation and a database together: what every command starts from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import sqlalchemy as sa

from anabranch.adoption import UNKNOWN_POSITION, Adoption, adopt
from anabranch.cache import HeaderCache
from anabranch.collecting import collection_paused
from anabranch.discovery import Discovery, Owner
from anabranch.errors import IntegrityError, UsageError
from anabranch.estate import Estate
from anabranch.graph import Graph
from anabranch.integrity import check_integrity
from anabranch.leftovers import find_leftovers
from anabranch.names import HEADS, normalise
from anabranch.planning import Plan, make_plan
from anabranch.problems import Problem
from anabranch.recorder import EMPTY, Event, Recorder, State, shown_ids
from anabranch.revision import CORE, AppliedRevision, Revision, RevisionKey
from anabranch.scripts import read_location
from anabranch.wording import did_you_mean

OwnerState = Literal["current", "pending", "blocked", "empty", "disabled", "orphaned"]


@dataclass(frozen=True)
class Installation:
    """The owners and their revision headers; the same for every database.

    :ivar problems: faults found so far, those of disabled plugins left out.
    """

    discovery: Discovery
    revisions: tuple[Revision, ...]
    disabled: frozenset[str]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class OwnerStatus:
    """Where one owner stands in a database.

    :ivar heads: its last applied revisions.
    :ivar version: the installed version, or for an orphaned owner the one last seen.
    """

    name: str
    state: OwnerState
    distribution: str
    version: str
    applied: int
    pending: int
    heads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Where a database stands: its owners, what is pending, and what is wrong.

    :ivar estates: what the owners that take no part have in it.
    :ivar lock: who holds the migration lock, in words; empty if nobody does.
    :ivar last_event: the last line of the journal.
    """

    database: str
    owners: tuple[OwnerStatus, ...]
    plan: Plan
    problems: tuple[Problem, ...]
    estates: tuple[Estate, ...] = ()
    lock: str = ""
    last_event: Event | None = None

    @property
    def orphaned(self) -> tuple[str, ...]:
        """The owners that are in the database and not installed."""
        return tuple(owner.name for owner in self.owners if owner.state == "orphaned")

    @property
    def state(self) -> Literal["current", "pending", "faulty"]:
        if any(problem.level == "error" for problem in self.problems):
            return "faulty"
        return "pending" if self.plan else "current"


@dataclass(frozen=True)
class Reading:
    """An installation, a database's state, and what follows from the two."""

    installation: Installation
    graph: Graph
    state: State
    adoption: Adoption
    problems: tuple[Problem, ...]

    @cached_property
    def applied(self) -> frozenset[RevisionKey]:
        """The applied set, with what was adopted and without what was reverted elsewhere."""
        return (frozenset(self.state.applied) | self.adoption.added) - self.adoption.removed

    def is_of(self, installation: Installation, state: State) -> bool:
        """Tell whether the graph is that of *installation* and what *state* says is applied."""
        return (
            self.installation is installation
            and not self.adoption
            and self.state.applied == state.applied
        )

    def require_sound(self, owners: Collection[str] | None = None, *, strict: bool = False) -> None:
        """Raise every error-level problem at once, if there is one.

        :param strict: whether warnings count too.
        :param owners: only these owners' faults count, and that it is known what is applied.
        :raises IntegrityError: which holds them all.
        """
        errors = [
            problem
            for problem in self.problems
            if (strict or problem.level == "error")
            and (owners is None or problem.owner in owners or problem.code in UNKNOWN_POSITION)
        ]
        if errors:
            raise IntegrityError(errors)

    def plan(self, target: str | Sequence[str] = HEADS) -> Plan:
        """Work out which revisions would run to reach *target*, in order.

        :raises UsageError: if a target does not exist, or is of a plugin that is left out.
        """
        for name in [target] if isinstance(target, str) else target:
            if (owner := normalise(name.partition("@")[0])) in self.installation.disabled:
                raise UsageError(
                    f"The configuration leaves {owner} out, so {name} cannot be reached.",
                    remedy="Correct [plugins] in config.toml, or name another target.",
                )
        return make_plan(self.graph, self.applied, target, disabled=self.installation.disabled)

    @cached_property
    def projection(self) -> frozenset[RevisionKey]:
        """What Alembic's table should show."""
        return frozenset(self.graph.maximal(self.applied & self.graph.installed))

    @cached_property
    def blocked(self) -> dict[RevisionKey, tuple[RevisionKey, ...]]:
        """The pending revisions of owners that take part, kept back by those that do not."""
        disabled = self.installation.disabled
        held: dict[RevisionKey, tuple[RevisionKey, ...]] = {}
        for key in self.graph.order:
            if key in self.applied or key not in self.graph.installed or key.owner in disabled:
                continue
            needs = tuple(
                parent
                for parent in self.graph.predecessors(key)
                if parent not in self.applied and (parent.owner in disabled or parent in held)
            )
            if needs:
                held[key] = needs
        return held

    @property
    def stale(self) -> bool:
        """Whether bookkeeping is to be written although no revision is pending."""
        if self.adoption:
            return True
        shown = shown_ids(self.projection, self.applied)
        return self.state.prepared and (
            self.projection != self.state.projected or shown != self.state.version_rows
        )

    def owners(self) -> tuple[OwnerStatus, ...]:
        """Return the status of every installed owner and of those only the database knows."""
        own: dict[str, set[RevisionKey]] = defaultdict(set)
        for key in self.applied:
            own[key.owner].add(key)
        pending = Counter(key.owner for key in self.plan().keys)
        blocked = {key.owner for key in self.blocked}
        known = {owner.name for owner in self.installation.discovery.owners}
        orphans = (self._orphan(name) for name in sorted(own.keys() - known))
        return tuple(
            self._owner_status(
                owner, own[owner.name], pending[owner.name], is_blocked=owner.name in blocked
            )
            for owner in (*self.installation.discovery.owners, *orphans)
        )

    def _orphan(self, name: str) -> Owner:
        rows = [row for key, row in self.state.applied.items() if key.owner == name]
        last = max(rows, key=lambda row: row.applied_at, default=None)
        if last is None:
            return Owner(name)
        return Owner(name, distribution=last.distribution, version=last.version)

    def _owner_status(
        self, owner: Owner, own: Collection[RevisionKey], pending: int, *, is_blocked: bool
    ) -> OwnerStatus:
        state: OwnerState = "pending" if pending else "current"
        if is_blocked:
            state = "blocked"
        if owner.name in self.installation.disabled:
            state = "disabled"
        elif self.installation.discovery.get(owner.name) is None:
            state = "orphaned"
        elif not own and not pending:
            state = "empty"
        return OwnerStatus(
            name=owner.name,
            state=state,
            distribution=owner.distribution,
            version=owner.version,
            applied=len(own),
            pending=pending,
            heads=tuple(sorted(key.id for key in self.graph.last_of(own))),
        )


@collection_paused()
def read_installation(
    discovery: Discovery,
    disabled: frozenset[str] = frozenset(),
    named: Iterable[str] = (),
    cache: HeaderCache | None = None,
) -> Installation:
    """Read the headers of every owner's revisions; the faults of owners left out do not count.

    :param disabled: the plugins that the configuration leaves out.
    :param named: the plugins that the deployment's configuration speaks of.
    :param cache: what may know the headers already; by default the user's.
    """
    cache = cache or HeaderCache.beside(None)
    revisions: list[Revision] = []
    problems = [*discovery.problems, *_unknown_names(discovery, named)]
    for owner in discovery.owners:
        if owner.location is not None:
            found, faults = read_location(owner.name, owner.location, cache)
            revisions += found
            problems += faults
    return Installation(
        discovery,
        tuple(revisions),
        disabled,
        tuple(problem for problem in problems if problem.owner not in disabled),
    )


def _unknown_names(discovery: Discovery, named: Iterable[str]) -> list[Problem]:
    """Say which names of the configuration nobody has: slips, or plugins that are not installed."""
    plugins = [owner.name for owner in discovery.owners if owner.name != CORE]
    return [
        Problem(
            code="AB123",
            owner=name,
            text=f"The configuration names the plugin {name!r}, which is not installed."
            f"{did_you_mean(name, plugins)}",
            remedy=f"Installed plugins: {', '.join(plugins) or 'none'}.",
            level="warning",
        )
        for name in sorted(named)
        if name not in plugins
    ]


@collection_paused()
def read_database(
    installation: Installation,
    recorder: Recorder,
    connection: sa.Connection | None,
    before: Reading | None = None,
) -> Reading:
    """Read the state of a database and put it beside what is installed.

    :param connection: None for a database that does not exist yet.
    :param before: what was read before; its graph still holds if as much is applied.
    """
    state = EMPTY if connection is None else recorder.read(connection)
    revisions = installation.revisions
    if before is not None and before.is_of(installation, state):
        graph = before.graph
    else:
        graph = Graph.build(revisions, state.applied.values())
    adoption = Adoption()
    faults: tuple[Problem, ...] = ()
    try:
        adoption = adopt(graph, state)
    except IntegrityError as error:
        faults = error.problems
    if adoption:
        graph = Graph.build(revisions, adopted_rows(graph, state, adoption))
    ignored = installation.disabled
    problems = (
        *installation.problems,
        *(problem for problem in graph.problems if problem.owner not in ignored),
        *faults,
        *(find_leftovers(connection, recorder) if connection is not None else ()),
        *(
            problem
            for problem in check_integrity(graph, state.applied, installation.discovery)
            if problem.owner not in ignored
        ),
    )
    reading = Reading(installation, graph, state, adoption, problems)
    problems = (*problems, *_blocked_problems(reading))
    if connection is not None and (state.applied.keys() - graph.installed or ignored):
        # Not needed where everybody who was ever applied takes part, which is most databases.
        from anabranch.orphans import find_obstacles

        problems = (*problems, *find_obstacles(reading, recorder, connection))
    return replace(reading, problems=problems)


def _blocked_problems(reading: Reading) -> list[Problem]:
    return [
        Problem(
            code="AB124",
            owner=key.owner,
            text=f"{key} is not applied: it needs {', '.join(map(str, needs))} of a plugin that "
            "the configuration leaves out.",
            remedy=f"Let that plugin take part, or leave out {key.owner} too.",
            path=reading.graph.revisions[key].path,
            level="warning",
        )
        for key, needs in reading.blocked.items()
    ]


def adopted_rows(graph: Graph, state: State, adoption: Adoption) -> tuple[AppliedRevision, ...]:
    """Return the rows of the applied set as they are once *adoption* is recorded."""
    kept = [row for key, row in state.applied.items() if key not in adoption.removed]
    return (*kept, *(new_row(graph, key) for key in sorted(adoption.added)))


def new_row(
    graph: Graph, key: RevisionKey, distribution: str = "", version: str = "", at: str = ""
) -> AppliedRevision:
    """Describe *key* as applied by another tool, which may not say by which package and when."""
    revision = graph.revisions.get(key, Revision(key))
    return AppliedRevision(
        key=key,
        down_revisions=graph.edges.down.get(key, ()),
        depends_on=graph.edges.depends.get(key, ()),
        branch_labels=revision.branch_labels,
        checksum=revision.checksum,
        distribution=distribution,
        version=version,
        applied_at=at,
    )
