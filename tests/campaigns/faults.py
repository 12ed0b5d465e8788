"""Fail at every statement and commit k = 1…N of a run, run it again, and look.

``python -m campaigns.faults --database sqlite --workloads 5 --seed 1`` (in ``tests``). A fault is
an exception before the statement, or SIGKILL before or after it. On MariaDB a place is any command
that is sent to the server, and SIGKILL comes before it, or when it is sent and not answered.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy import event

from campaigns.command import add_places, arguments, conclude, so_far
from campaigns.targets import (
    Fresh,
    Outcome,
    Target,
    Watched,
    anabranch_target,
    fresh_databases,
    in_child,
    outcome,
    workload,
)
from support import wire
from support.databases import Database

Fault = Literal["raise", "kill before", "kill after"]
FAULTS: tuple[Fault, ...] = ("raise", "kill before", "kill after")

AnyFault = Fault | wire.Fault


class InjectedError(Exception):
    """The fault of a child process that is not killed."""


@dataclass
class Figures:
    """How many faults were injected, and after how many the second run went wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"{counts['injected']} faults at {counts['places']} places, {counts['stuck']} stuck, "
            f"{counts['wrong']} wrong, {counts['half']} with a half-done unit left behind"
        )


def run(
    dialect: str,
    workloads: int,
    seed: int,
    *,
    least: int = 10,
    most: int = 14,
    stride: int = 1,
) -> Figures:
    """Run the campaign on *workloads* applications and return its figures.

    :param stride: take every so many-th place only, beginning at a random one.
    """
    chance = random.Random(seed)
    figures = Figures()
    with fresh_databases(dialect) as fresh:
        for _ in range(workloads):
            work_seed = chance.randrange(10**6)
            with anabranch_target(workload(work_seed, least=least, most=most)) as target:
                first = chance.randint(1, stride)
                _every_place(target, fresh, figures, work_seed, dialect, first=first, stride=stride)
    return figures


def _every_place(
    target: Watched,
    fresh: Fresh,
    figures: Figures,
    seed: int,
    dialect: str,
    *,
    first: int,
    stride: int,
) -> None:
    with fresh() as database:
        units = [outcome(database)]
        target.watch(database, lambda: units.append(outcome(database)))
        assert outcome(database) == units[-1], f"workload {seed} does not run"
    place = first
    while True:
        codes = [
            _one_place(target, fresh, figures, seed, dialect, place, fault, units)
            for fault in (wire.FAULTS if dialect == "mariadb" else FAULTS)
        ]
        if not any(codes):
            return
        figures.counts["places"] += 1
        so_far(f"workload {seed}", figures)
        place += stride


def _one_place(
    target: Target,
    fresh: Fresh,
    figures: Figures,
    seed: int,
    dialect: str,
    place: int,
    fault: AnyFault,
    units: list[Outcome],
) -> int:
    """Inject one fault, run again and note what is wrong; return the exit code of the first run.

    :param units: what the database may hold in between: nothing, and what each commit left.
    """
    with fresh() as database:
        code = in_child(partial(_faulty, target, database, place, fault))
        if code == 0:
            return code
        figures.counts["injected"] += 1
        where = f"workload {seed}, place {place}, {fault}"
        if dialect != "mariadb" and outcome(database) not in units:
            figures.counts["half"] += 1
            figures.faults.append(f"half done: {where}")
        if in_child(partial(target.migrate, database)) != 0:
            figures.counts["stuck"] += 1
            figures.faults.append(f"stuck: {where}")
        elif outcome(database) != units[-1]:
            figures.counts["wrong"] += 1
            figures.faults.append(f"wrong: {where}")
    return code


def _faulty(target: Target, database: Database, place: int, fault: AnyFault) -> None:
    """Migrate, with *fault* at the statement or commit number *place*."""
    seen = 0
    if database.backend == "mariadb":
        wire.inject(place, cast(wire.Fault, fault))
        target.migrate(database)
        return

    def count(kind: Fault) -> bool:
        nonlocal seen
        seen += 1
        return seen == place and fault == kind

    def before(*_: Any) -> None:
        if count("raise"):
            raise InjectedError
        if seen == place and fault == "kill before":
            os.kill(os.getpid(), signal.SIGKILL)

    def after(*_: Any) -> None:
        if seen == place and fault == "kill after":
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(sa.Engine, "before_cursor_execute", before)
    event.listen(sa.Engine, "after_cursor_execute", after)
    event.listen(sa.Engine, "commit", before)
    target.migrate(database)


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if they are not all right."""
    parser = arguments(__doc__)
    add_places(parser, workloads=5)
    options = parser.parse_args()
    least, most = options.revisions
    figures = run(
        options.database,
        options.workloads,
        options.seed,
        least=least,
        most=most,
        stride=options.stride,
    )
    conclude(f"{options.database}, seed {options.seed}", {"anabranch": figures})


if __name__ == "__main__":
    main()
