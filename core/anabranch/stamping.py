"""The verb ``stamp``: record that revisions are applied, or are not, without running any."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anabranch.access import Access
from anabranch.adoption import UNKNOWN_POSITION, taken_for_granted
from anabranch.bookkeeping import actor, record_position
from anabranch.errors import DependedOnError, RefusedError
from anabranch.listening import Listener
from anabranch.names import HEADS, normalise
from anabranch.planning import make_plan, revisions_named
from anabranch.reading import Reading, read_database
from anabranch.recorder import Event, now
from anabranch.revision import RevisionKey


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a stamp changes in the applied set: revisions in canonical order."""

    added: tuple[RevisionKey, ...]
    removed: tuple[RevisionKey, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class StampOptions:
    """How a stamp is asked to run; see :meth:`MigrationManager.stamp`."""

    lock_timeout: float | None
    agree: Callable[[Stamp], None]
    listener: Listener


def run_stamp(access: Access, targets: Sequence[str], options: StampOptions) -> Stamp:
    """Record in the database of *access* that it stands at *targets*."""
    with access.look() as (reading, _):
        seen, _ = _stamp(reading, targets)
    if seen:
        options.agree(seen)
    with access.locked(timeout=options.lock_timeout, listener=options.listener) as connection:
        reading = read_database(access.installation, access.recorder, connection)
        connection.rollback()
        stamp, applied = _stamp(reading, targets)
        if stamp != seen:
            raise RefusedError(
                "What would be recorded changed while it was looked at.",
                remedy="Run the same command again, and look again.",
            )
        at, run = now(), uuid.uuid4().hex[:12]
        words = (("recorded as applied", stamp.added), ("recorded as not applied", stamp.removed))
        events = [
            Event("stamped", at, run, key.owner, key.id, actor=actor(), detail=detail)
            for detail, keys in words
            for key in keys
        ]
        with connection.begin():
            record_position(access.recorder, connection, reading, applied, events)
    return stamp


def _stamp(reading: Reading, targets: Sequence[str]) -> tuple[Stamp, frozenset[RevisionKey]]:
    """Work out what changes, and the applied set that comes of it.

    What nobody can tell from Alembic's table counts as not applied, unless it is stamped.

    :raises UsageError: if a target does not exist.
    :raises DependedOnError: if something stays applied that needs what would not be.
    """
    graph, before = reading.graph, reading.applied
    if any(problem.code in UNKNOWN_POSITION for problem in reading.problems):
        before = taken_for_granted(graph, reading.state)
    added: set[RevisionKey] = set()
    removed: set[RevisionKey] = set()
    for target in targets:
        owner, id_ = (normalise(target.partition("@")[0]), target.partition("@")[2])
        own = {key for key in before if key.owner == owner}
        if target == HEADS:
            added.update(make_plan(graph, before, disabled=reading.installation.disabled).keys)
        elif id_ == "base" and own:
            removed |= own
        else:
            places = revisions_named(graph, target)
            added |= graph.ancestors(places)
            removed |= graph.descendants(places, own).difference(places)
    removed -= added
    after = before.difference(removed).union(added)
    harmed = graph.descendants(removed, after) - removed
    if harmed:
        raise DependedOnError(
            f"{', '.join(map(str, sorted(harmed)))} would stay applied and needs what would not.",
            remedy="Stamp those back too, in the same command.",
        )
    stamp = Stamp(
        tuple(key for key in graph.order if key in after - before),
        tuple(key for key in graph.order if key in before - after),
    )
    return stamp, after
