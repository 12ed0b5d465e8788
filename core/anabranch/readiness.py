"""What must hold before a plan runs: hooks that load, requirements that are met, a clear way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from anabranch.access import Access
from anabranch.destructive import loss_guards
from anabranch.errors import IntegrityError, RequirementError
from anabranch.executor import Executor
from anabranch.guards import Guard
from anabranch.hooks import Hooks
from anabranch.models import core_metadata
from anabranch.occupied import find_occupied
from anabranch.planning import Plan, make_plan
from anabranch.problems import Problem
from anabranch.reading import Reading
from anabranch.taking import guard_of_taking
from anabranch.upgrading import UpgradeOptions, require_digest


@dataclass(frozen=True, slots=True)
class ReadyRun:
    """A plan and what runs it; without the owners of *broken* hooks."""

    executor: Executor
    plan: Plan
    broken: tuple[Problem, ...]


def make_ready(
    access: Access,
    connection: sa.Connection,
    reading: Reading,
    plan: Plan,
    metadata: Any,
    plugins: Sequence[object],
    options: UpgradeOptions,
) -> ReadyRun:
    """Load the hooks of who takes part in *plan*, and ask for their requirements.

    :raises RequirementError: if one is not met.
    :raises IntegrityError: if it is sure that something is in the way of *plan*.
    :raises DestructiveError: if it is sure that *plan* would lose rows, and that is not allowed.
    """
    installation = access.installation
    hooks = Hooks(plugins)
    broken = tuple(
        replace(problem, text=access.database.scrub(problem.text))
        for problem in hooks.load(installation.discovery.owners, disabled=installation.disabled)
    )
    if broken:
        left_out = installation.disabled | {problem.owner for problem in broken}
        plan = make_plan(reading.graph, reading.applied, options.to, disabled=left_out)
        require_digest(plan, options.digest)
    unmet = hooks.requirements(connection)
    connection.rollback()
    if unmet:
        raise RequirementError(
            "Requirements are not met:\n" + "\n".join(f"  {text}" for text in unmet),
            remedy="Provide them, or disable the plugins that ask for them.",
        )
    in_the_way = (
        ()
        if options.keep_going
        else find_occupied(connection, access.recorder, plan, taking_up=options.take_up)
    )
    connection.rollback()
    if in_the_way:
        raise IntegrityError(in_the_way)
    guards: tuple[Guard, ...] = ()
    if plan and not options.allow_destructive:
        guards = loss_guards(access.recorder, connection, reading, plan)
    if options.take_up:
        guards += guard_of_taking(connection, access.recorder, plan, options.listener.notice)
    finishes = not broken and (plugins or access.hooking)
    executor = Executor(
        database=access.database,
        connection=connection,
        recorder=access.recorder,
        reading=reading,
        metadata=core_metadata(metadata),
        hooks=hooks,
        listener=options.listener,
        finished=access.hooks_digest if finishes else "",
        lock=access.lock,
        guards=guards,
    )
    return ReadyRun(executor, plan, broken)
