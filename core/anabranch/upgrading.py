"""The verb ``upgrade``: look, lock, look again, and run what is pending then."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from anabranch.access import Access
from anabranch.errors import (
    UNTOUCHED,
    AnabranchError,
    LockError,
    RefusedError,
    UsageError,
)
from anabranch.listening import SILENT, Listener
from anabranch.names import HEADS, NOTHING
from anabranch.outcomes import Upgrade

if TYPE_CHECKING:
    from anabranch.planning import Plan
    from anabranch.problems import Problem
    from anabranch.reading import Reading
    from anabranch.transactions import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeOptions:
    """How an upgrade is asked to run; see :meth:`MigrationManager.upgrade`."""

    to: str | Sequence[str] = HEADS
    lock_timeout: float | None = None
    strict: bool = False
    digest: str | None = None
    transaction: Mode = "auto"
    backup: bool | None = None
    allow_destructive: bool = False
    rehearse: bool = False
    keep_going: bool = False
    take_up: bool = False
    listener: Listener = SILENT


def run_upgrade(
    access: Access, metadata: Any, plugins: Sequence[object], options: UpgradeOptions
) -> Upgrade:
    """Apply what is pending in the database of *access*.

    :param metadata: the core's, as ``MigrationManager`` was given it.
    :param plugins: plugin objects that no entry point declares.
    """
    if options.keep_going and options.transaction == "run":
        raise UsageError(
            "A run that is one transaction cannot keep going: what failed takes the rest along.",
            remedy="Leave out --keep-going, or --atomic and --transaction run.",
        )
    started = time.monotonic()
    adopts = False
    with suppress(LockError):  # a migrator that is about to commit; the lock waits for it
        looked = access.glance() if options.to == HEADS else access.look()
        with looked as (found, looking):
            problems: tuple[Problem, ...] = ()
            idle = not _is_unfinished(access, looking, plugins)
            if found is not None:
                found.require_sound(strict=options.strict)
                problems, pending = found.problems, found.plan(options.to)
                adopts = bool(found.adoption)
                idle = idle and not pending and not found.stale
                # A server may be halfway through that very plan, which the lock waits for. A file
                # is not, and taking its lock would leave files behind.
                if access.database.file is not None:
                    require_digest(pending, options.digest)
        if idle:
            return Upgrade((), NOTHING, time.monotonic() - started, problems)
    with access.locked(timeout=options.lock_timeout, listener=options.listener) as connection:
        if options.rehearse:
            from anabranch.rehearsing import rehearse

            rehearse(access, connection, metadata, plugins, options)
        reading = access.read_locked(connection)
        reading.require_sound(strict=options.strict)
        plan = reading.plan(options.to)
        require_digest(plan, options.digest)
        done = Upgrade((), plan.digest, 0.0, reading.problems)
        if not plan and reading.stale:
            from anabranch.bookkeeping import refresh_projection

            refresh_projection(access.recorder, connection, reading)
            reading = access.read_locked(connection)
        if plan or _is_unfinished(access, connection, plugins):
            connection.rollback()
            for problem in reading.problems:
                if problem.code == "AB125":  # of the run that begins: not only afterwards
                    options.listener.notice(
                        f"Warning {problem.code}: {problem.text} {problem.remedy}"
                    )
            try:
                done = _run(access, connection, reading, plan, metadata, plugins, options, started)
            except AnabranchError as error:
                if adopts and error.state == UNTOUCHED:
                    error.state = "What another tool had done is recorded; nothing else changed."
                raise
    return replace(done, duration=time.monotonic() - started)


def _is_unfinished(
    access: Access, connection: sa.Connection | None, plugins: Sequence[object]
) -> bool:
    """Tell whether hooks or seeds of plugins wait for their turn, without importing them.

    Because a run did not come to its end, or other plugins take part than in the last one.
    """
    if connection is None or not (plugins or access.hooking):
        return False
    finished = access.recorder.finished(connection)
    return finished is not None and finished != access.hooks_digest


def require_digest(plan: Plan, digest: str | None) -> None:
    """Refuse to run another plan than the one that was asked for; where none is left, it is done.

    :raises RefusedError: if *plan* has another digest.
    """
    if plan and digest is not None and plan.digest != digest:
        raise RefusedError(
            f"The plan has the digest {plan.digest}, not {digest}.",
            remedy="Look at the plan again; packages or the database changed since.",
        )


def _run(
    access: Access,
    connection: sa.Connection,
    reading: Reading,
    plan: Plan,
    metadata: Any,
    plugins: Sequence[object],
    options: UpgradeOptions,
    started: float,
) -> Upgrade:
    # Not needed where nothing is pending, which is most starts.
    from anabranch.backup import backed_up, only_creates
    from anabranch.leftovers import remaining
    from anabranch.readiness import make_ready
    from anabranch.setbacks import incomplete

    run = make_ready(access, connection, reading, plan, metadata, plugins, options)
    executor, plan = run.executor, run.plan
    backup: AbstractContextManager[object] = nullcontext()
    if plan and not only_creates(access, connection, plan):
        backup = backed_up(
            access,
            connection,
            asked=options.backup,
            run=executor.run_id,
            notice=options.listener.notice,
        )
    with backup:
        applied = executor.run(plan, options.transaction, keep_going=options.keep_going)
        upgrade = Upgrade(
            applied,
            plan.digest,
            time.monotonic() - started,
            (*remaining(reading.problems, connection, access.recorder), *run.broken),
            executor.sown,
            tuple(executor.setbacks.failed),
            tuple(executor.setbacks.skipped),
        )
        if upgrade.failed:
            raise incomplete(upgrade)
    return upgrade
