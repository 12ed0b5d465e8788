"""The verbs ``purge`` and ``forget``: a plugin leaves a database, or only our records of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.access import Access
from anabranch.backup import backed_up
from anabranch.bookkeeping import actor, record_position
from anabranch.bystanders import Bystanders
from anabranch.catalogue import Catalogue
from anabranch.claims import Claim, find_claims, handed_over, handover
from anabranch.clearance import clear
from anabranch.downgrading import Host, executor_of, guard_of, models_of
from anabranch.errors import AnabranchError, DependedOnError, RefusedError, UsageError
from anabranch.estate import Estate, named, read_estates
from anabranch.listening import Listener
from anabranch.names import normalise
from anabranch.objects import ObjectChanges, OwnedObject
from anabranch.reading import Reading, read_database
from anabranch.recorder import Event, now
from anabranch.reversal import Reversal, reversal_of
from anabranch.revision import CORE, RevisionKey
from anabranch.spelling import Spelling
from anabranch.structure import shown
from anabranch.transactions import Mode
from anabranch.wording import did_you_mean

_TRANSACTIONAL = ("sqlite", "postgresql")
"""The databases whose transactions cover DDL."""


@dataclass(frozen=True, slots=True)
class Departure:
    """What goes when a plugin does.

    :ivar estates: what each owner has that would go: dependants first, the plugin asked for last.
    :ivar revisions: what is taken off the applied set, the last applied first.
    :ivar unrecorded: those of them that made what nobody saw: they ran without us.
    :ivar claims: what was theirs and stays, because others count on it.
    :ivar reversal: what the plugins' own downgrades would do first.
    :ivar packages: the distribution and version last seen of each owner.
    :ivar reasons: for each owner but the one asked for, why it would go too.
    :ivar obstacles: why nothing can go, in sentences.
    """

    owner: str
    estates: tuple[Estate, ...]
    revisions: tuple[RevisionKey, ...]
    unrecorded: tuple[RevisionKey, ...]
    claims: tuple[Claim, ...]
    reversal: Reversal
    packages: Mapping[str, tuple[str, str]]
    reasons: tuple[tuple[str, str], ...]
    obstacles: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(estate.owner for estate in self.estates)

    @property
    def reverts(self) -> bool:
        """Whether there are downgrades to run, and all of them can: what stays they would drop."""
        return bool(self.reversal.plan) and not (self.reversal.irreversible or self.claims)

    def same_as(self, other: Departure) -> bool:
        """Tell whether the same things would go, however many rows they have by now."""
        return self._things() == other._things()

    def _things(self) -> object:
        things = [
            (estate.owner, estate.tables, estate.parts, estate.standing) for estate in self.estates
        ]
        return things, self.revisions, self.claims, self.reasons, self.obstacles


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartureOptions:
    """How a purge is asked to run; see :meth:`MigrationManager.purge`."""

    cascade: bool
    downgrades: bool
    lock_timeout: float | None
    backup: bool | None
    agree: Callable[[Departure], None]
    listener: Listener


def run_purge(access: Access, host: Host, name: str, options: DepartureOptions) -> Departure:
    """Take what *name* made, and its state, out of the database of *access*.

    Where every revision has a downgrade(), those run first; what they leave, or else everything,
    is dropped by the record. All of it is one transaction where the database has such.
    """
    owner = normalise(name)
    with access.look() as (reading, connection):
        shown_before = _departure(access, reading, connection, owner, host)
    _allow(shown_before, cascade=options.cascade)
    _require_knowledge(shown_before, downgrades=options.downgrades)
    options.agree(shown_before)
    with access.locked(timeout=options.lock_timeout, listener=options.listener) as connection:
        reading = access.read_locked(connection, owners=())
        departure = _departure(access, reading, connection, owner, host)
        connection.rollback()
        if not departure.same_as(shown_before):
            raise RefusedError(
                f"What {owner} has in this database changed while it was looked at.",
                remedy="Run the same command again, and look again.",
            )
        run = uuid.uuid4().hex[:12]
        with backed_up(
            access, connection, asked=options.backup, run=run, notice=options.listener.notice
        ):
            _purge(access, connection, host, reading, departure, run, options)
    return departure


def _purge(
    access: Access,
    connection: sa.Connection,
    host: Host,
    reading: Reading,
    departure: Departure,
    run: str,
    options: DepartureOptions,
) -> None:
    working = _Working(connection)
    connection.rollback()
    if options.downgrades and departure.reverts:
        guard = guard_of(access, connection, reading, host, departure.reversal.plan)
        executor = executor_of(
            access,
            connection,
            reading,
            host,
            options.listener,
            guard,
            closing=lambda: _remove(access, connection, departure, guard.bystanders, working, run),
        )
        whole: Mode = "run" if connection.dialect.name in _TRANSACTIONAL else "auto"
        try:
            executor.run(departure.reversal.plan, whole)
        except AnabranchError as error:
            if not isinstance(error, RefusedError):  # which the rest of the purge raises
                error.remedy += " Or say --no-downgrades: what is recorded is dropped without them."
            raise
    else:
        with connection.begin():
            objects = handed_over(access.recorder.objects(connection), departure.claims)
            others = Bystanders(connection, objects, access.recorder.table_names)
            _remove(access, connection, departure, others, working, run)


def run_forget(access: Access, name: str, options: DepartureOptions) -> Departure:
    """Take *name* out of our records in the database of *access*; its tables stay."""
    owner = normalise(name)
    with access.look() as (reading, connection):
        departure = _departure(access, reading, connection, owner)
    _allow(departure, cascade=False)
    options.agree(departure)
    with access.locked(timeout=options.lock_timeout, listener=options.listener) as connection:
        reading = access.read_locked(connection, owners=())
        departure = _departure(access, reading, connection, owner)
        connection.rollback()
        _allow(departure, cascade=False)
        with connection.begin():
            _record(access, connection, reading, departure, "forgotten", uuid.uuid4().hex[:12])
    return departure


def _departure(
    access: Access,
    reading: Reading,
    connection: sa.Connection | None,
    owner: str,
    host: Host | None = None,
) -> Departure:
    """Work out what would go with *owner*.

    :param host: whose models tell what is the core's by now; None where everything stays.
    :raises UsageError: if it has nothing in this database, or is the core.
    """
    if owner == CORE:
        raise UsageError(
            "The core cannot be taken out of its own database.", remedy="Name a plugin."
        )
    objects = () if connection is None else access.recorder.objects(connection)
    standing = () if connection is None else access.recorder.standing(connection)
    owners = {key.owner for key in reading.applied}
    owners |= {item.owner for item in (*objects, *standing)}
    if connection is None or owner not in owners:
        known = sorted(owners - {CORE})
        raise UsageError(
            f"Nothing in this database is of {owner!r}.{did_you_mean(owner, known)}",
            remedy=f"Plugins with something in it: {', '.join(known) or 'none'}.",
        )
    ignored = access.recorder.table_names
    models = None if host is None else models_of(access, connection, host)
    spelling = Spelling.of(connection)
    reasons: dict[str, str] = {}
    while True:
        going = (owner, *reasons)
        claims = find_claims(reading, models, objects, going, spelling) if models else ()
        left = handed_over(objects, claims)
        estates = read_estates(connection, left, going, ignored, standing)
        new = _dependants(reading, left, estates)
        new = {name: reason for name, reason in new.items() if name not in going}
        if not new:
            break
        reasons |= new
        if CORE in new:
            break
    makers = {item.table: item.owner for item in left if item.kind == "table"}
    obstacles = [
        f"The foreign key {key.name} of {shown(key.table)}, which is nobody's, refers to "
        f"{shown(key.target)} of {estate.owner}."
        for estate in estates
        for key in estate.incoming
        if key.table not in makers
    ]
    if CORE in reasons:
        obstacles.append(reasons.pop(CORE))
    last = {key.owner: place for place, key in enumerate(reading.graph.order)}
    keys = {key for key in reading.applied if key.owner in (owner, *reasons)}
    rows = (reading.state.applied[key] for key in keys if key in reading.state.applied)
    return Departure(
        owner,
        tuple(sorted(estates, key=lambda e: (e.owner == owner, -last.get(e.owner, -1)))),
        tuple(key for key in reversed(reading.graph.order) if key in keys),
        _unrecorded(reading, objects, keys),
        claims,
        reversal_of(reading.graph, reading.applied, owner, keys),
        {
            row.key.owner: (row.distribution, row.version)
            for row in sorted(rows, key=lambda row: row.applied_at)
        },
        tuple(reasons.items()),
        tuple(obstacles),
    )


def _unrecorded(
    reading: Reading, objects: Collection[OwnedObject], keys: Iterable[RevisionKey]
) -> tuple[RevisionKey, ...]:
    """Return which of *keys* another tool ran, or a stamp stands for, and what they made is open.

    Where something is recorded of one of them, ``adopt`` recorded all that its owner has.
    """
    rows = reading.state.applied
    unseen = {key for key in keys if key not in rows or not rows[key].applied_at}
    adopted = {item.owner for item in objects if item.key in unseen}
    return tuple(sorted(key for key in unseen if key.owner not in adopted))


def _dependants(
    reading: Reading, objects: Iterable[OwnedObject], estates: Collection[Estate]
) -> dict[str, str]:
    """Return whom *estates* cannot go without, each with a sentence that says why."""
    graph, going = reading.graph, {estate.owner for estate in estates}
    own = {key for key in reading.applied if key.owner in going}
    reasons: dict[str, str] = {}
    later = graph.descendants(own, reading.applied) - own
    for key in graph.order:
        if key in later and key.owner not in reasons:
            needs = graph.ancestors([key]) & own
            of = next(parent for parent in reversed(graph.order) if parent in needs)
            reasons[key.owner] = f"{key} of {key.owner} needs {of}."
    makers = {item.table: item.owner for item in objects if item.kind == "table"}
    for estate in estates:
        for guest in estate.guests:
            reasons.setdefault(
                guest.owner,
                f"{guest.owner} has the {guest.kind} {guest.name} on {shown(guest.table)} "
                f"of {estate.owner}.",
            )
        for foreign in estate.incoming:
            if (maker := makers.get(foreign.table)) is not None:
                reasons.setdefault(
                    maker, f"{shown(foreign.table)} of {maker} refers to {shown(foreign.target)}."
                )
    return {name: reason for name, reason in reasons.items() if name not in going}


def _allow(departure: Departure, *, cascade: bool) -> None:
    """Refuse what would harm somebody who was not asked for.

    :raises DependedOnError: which names everybody.
    """
    owner = departure.owner
    if departure.obstacles:
        raise DependedOnError(
            f"{owner} cannot go: {' '.join(departure.obstacles)}",
            remedy="Drop what is in the way, then run the same command again.",
        )
    if departure.reasons and not cascade:
        names = ", ".join(name for name, _ in departure.reasons)
        raise DependedOnError(
            f"{names} would not work without {owner}: "
            + " ".join(reason for _, reason in departure.reasons),
            remedy=f"Purge {names} first, or all of them with --cascade.",
        )


def _require_knowledge(departure: Departure, *, downgrades: bool) -> None:
    """Refuse a purge that would leave tables and say that they are gone.

    :raises RefusedError: if it is not known what revisions made, and no downgrade will run.
    """
    if not departure.unrecorded or (downgrades and departure.reverts):
        return
    owners = ", ".join(dict.fromkeys(key.owner for key in departure.unrecorded))
    raise RefusedError(
        f"What {', '.join(map(str, departure.unrecorded))} made in this database is not recorded: "
        "another tool ran it, or it was stamped. Only downgrades could take it out, and none would "
        "run.",
        remedy=f"Purge it with its package installed and downgrades that work, record its tables "
        f"first with 'db adopt DIR --plugin {departure.unrecorded[0].owner}', or drop them by hand "
        f"and run 'db forget' for {owners}.",
    )


def _remove(
    access: Access,
    connection: sa.Connection,
    departure: Departure,
    others: Bystanders,
    working: _Working,
    run: str,
) -> None:
    """Drop what is still there of *departure*, in the transaction that is open.

    :param others: everybody's tables as they were before.
    :param working: the views and triggers that work.
    """
    recorder = access.recorder
    state = (
        "Rolled back. Nothing was changed."
        if connection.dialect.name in _TRANSACTIONAL
        else "What was dropped until then is gone, for this database takes no DDL back; "
        f"{departure.owner} stays recorded."
    )
    objects = handed_over(recorder.objects(connection), departure.claims)
    estates = read_estates(
        connection, objects, departure.names, recorder.table_names, recorder.standing(connection)
    )
    try:
        clear(connection, estates)
    except exc.DBAPIError as error:
        cause = access.database.scrub(" ".join(str(error.orig).split()))
        raise RefusedError(
            f"{departure.owner} cannot go: {cause}",
            remedy="Drop what is in the way, then run the same command again.",
            state=state,
        ) from error
    if broken := working.broken():
        raise RefusedError(
            f"Without {departure.owner} something of others would not work: {'; '.join(broken)}.",
            remedy="Drop it by hand, then run the same command again.",
            state=state,
        )
    if harm := others.harm(departure.names):
        raise RefusedError(
            f"Without {departure.owner} something of others would change: {'; '.join(harm)}.",
            remedy="Take it off by hand, then run the same command again.",
            state=state,
        )
    reading = read_database(access.installation, recorder, connection)
    _record(access, connection, reading, departure, "purged", run)


class _Working:
    """SQLite's views and triggers as they are now; a server does not let them break."""

    def __init__(self, connection: sa.Connection) -> None:
        is_sqlite = connection.dialect.name == "sqlite"
        self._catalogue = Catalogue(connection) if is_sqlite else None
        self._before = {name for name, _ in self._faults()}

    def broken(self) -> list[str]:
        """Say which of them do not work any more, and why."""
        return [f"{name}: {fault}" for name, fault in self._faults() if name not in self._before]

    def _faults(self) -> list[tuple[str, str]]:
        if (catalogue := self._catalogue) is None:
            return []
        found = [
            (f"{item.kind} {item.name}", catalogue.fault(item)) for item in catalogue.items("")
        ]
        return [(name, fault) for name, fault in found if fault]


def _record(
    access: Access,
    connection: sa.Connection,
    reading: Reading,
    departure: Departure,
    event: str,
    run: str,
) -> None:
    """Write that *departure* is over into the transaction that is open."""
    recorder, names = access.recorder, departure.names
    at = now()
    last = departure.packages
    record_position(
        recorder,
        connection,
        reading,
        reading.applied.difference(departure.revisions),
        [
            Event(
                event,
                at,
                run,
                owner=estate.owner,
                distribution=last[estate.owner][0] if estate.owner in last else "",
                version=last[estate.owner][1] if estate.owner in last else "",
                actor=actor(),
                detail=", ".join(described(estate)),
            )
            for estate in departure.estates
        ],
    )
    recorder.record_objects(connection, handover(recorder.objects(connection), departure.claims))
    gone = {table for estate in departure.estates for table in estate.tables}
    recorder.record_objects(
        connection,
        ObjectChanges(
            removed=tuple(
                item
                for item in (*recorder.objects(connection), *recorder.standing(connection))
                if item.owner in names or (event == "purged" and item.table in gone)
            )
        ),
    )


def described(estate: Estate) -> tuple[str, ...]:
    """Say in a few words each what is in *estate*."""
    return (
        *(f"table {shown(table)} ({rows} rows)" for table, rows in estate.rows.items()),
        *(f"{part.kind} {shown(part.table)}.{part.name}" for part in estate.parts),
        *(named(item) for item in estate.standing),
    )
