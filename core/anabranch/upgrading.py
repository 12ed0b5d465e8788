"""The verb ``upgrade``: look, lock, look again, and run what is pending then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from anabranch.access import Access
from anabranch.bookkeeping import refresh_projection
from anabranch.errors import LockError, RefusedError, RequirementError
from anabranch.planning import HEADS, Plan
from anabranch.problems import Problem
from anabranch.reading import Reading
from anabranch.revision import RevisionKey
from anabranch.transactions import Mode

if TYPE_CHECKING:
    from anabranch.executor import Progress


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What a run did: the revisions it applied, in order, and the plan's digest."""

    applied: tuple[RevisionKey, ...]
    digest: str
    duration: float
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeOptions:
    """How an upgrade is asked to run; see :meth:`MigrationManager.upgrade`."""

    to: str | Sequence[str] = HEADS
    lock_timeout: float | None = None
    strict: bool = False
    digest: str | None = None
    transaction: Mode = "auto"
    backup: bool | None = None
    report: Callable[[Progress], None]
    waiting: Callable[[str], None]
    notice: Callable[[str], None]


def run_upgrade(
    access: Access, metadata: Any, plugins: Sequence[object], options: UpgradeOptions
) -> Upgrade:
    """Apply what is pending in the database of *access*.

    :param metadata: the core's, as ``MigrationManager`` was given it.
    :param plugins: plugin objects that no entry point declares.
    """
    started = time.monotonic()
    with suppress(LockError):  # a migrator that is about to commit; the lock waits for it
        reading = access.read()
        reading.require_sound(strict=options.strict)
        plan = reading.plan(options.to)
        if not plan and not reading.stale:
            return Upgrade((), plan.digest, time.monotonic() - started, reading.problems)
    with access.locked(timeout=options.lock_timeout, waiting=options.waiting) as connection:
        reading = access.read_locked(connection)
        reading.require_sound(strict=options.strict)
        plan = reading.plan(options.to)
        if options.digest is not None and plan.digest != options.digest:
            raise RefusedError(
                f"The plan has the digest {plan.digest}, not {options.digest}.",
                remedy="Look at the plan again; packages or the database changed since.",
            )
        applied: tuple[RevisionKey, ...] = ()
        if plan:
            applied = _run(access, connection, reading, plan, metadata, plugins, options)
        elif reading.stale:
            refresh_projection(access.recorder, connection, reading)
    return Upgrade(applied, plan.digest, time.monotonic() - started, reading.problems)


def _run(
    access: Access,
    connection: sa.Connection,
    reading: Reading,
    plan: Plan,
    metadata: Any,
    plugins: Sequence[object],
    options: UpgradeOptions,
) -> tuple[RevisionKey, ...]:
    # Not needed where nothing is pending, which is most starts.
    from anabranch.backup import backed_up
    from anabranch.executor import Executor
    from anabranch.hooks import Hooks
    from anabranch.models import core_metadata

    installation = access.installation
    hooks = Hooks(plugins)
    hooks.load(installation.discovery.owners, disabled=installation.disabled)
    unmet = hooks.requirements(connection)
    connection.rollback()
    if unmet:
        raise RequirementError(
            "Requirements are not met:\n" + "\n".join(f"  {text}" for text in unmet),
            remedy="Provide them, or disable the plugins that ask for them.",
        )
    executor = Executor(
        database=access.database,
        connection=connection,
        recorder=access.recorder,
        discovery=installation.discovery,
        graph=reading.graph,
        state=reading.state,
        hooks=hooks,
        metadata=core_metadata(metadata),
        report=options.report,
    )
    if not access.wants_backup(options.backup):
        return executor.run(plan, options.transaction)
    with backed_up(access, connection, plan, run=executor.run_id, notice=options.notice):
        return executor.run(plan, options.transaction)
