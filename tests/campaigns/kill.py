"""Kill a migrating process at a random moment with SIGKILL, run it again, and look.

``python -m campaigns.kill --database sqlite --rounds 1000 --seed 1`` (in ``tests``). Stock Alembic
runs the same scripts in the same rounds.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from campaigns.command import arguments, conclude, so_far
from campaigns.targets import (
    Fresh,
    Target,
    alembic_target,
    anabranch_target,
    fresh_databases,
    in_child,
    outcome,
    workload,
)


@dataclass
class Figures:
    """What became of the rounds: killed while running, and then stuck, wrong or right."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"{counts['rounds']} rounds, {counts['killed']} killed while running, "
            f"{counts['stuck']} stuck, {counts['wrong']} wrong schema or rows"
        )


def run(dialect: str, rounds: int, seed: int, *, rival: bool = True) -> dict[str, Figures]:
    """Run the campaign and return its figures by what was killed."""
    chance = random.Random(seed)
    figures: dict[str, Figures] = {}
    with fresh_databases(dialect) as fresh:
        done = 0
        while done < rounds:
            work_seed = chance.randrange(10**6)
            work = workload(work_seed)
            batch = min(25, rounds - done)
            targets = [anabranch_target(work), *([alembic_target(work)] if rival else [])]
            for manager in targets:
                with manager as target:
                    of = figures.setdefault(target.name, Figures())
                    _rounds(target, fresh, batch, random.Random(work_seed), of, work_seed)
                    so_far(target.name, of)
            done += batch
    return figures


def _rounds(
    target: Target, fresh: Fresh, rounds: int, chance: random.Random, figures: Figures, seed: int
) -> None:
    with fresh() as database:
        started = time.monotonic()
        assert in_child(partial(target.migrate, database)) == 0, f"workload {seed} does not run"
        duration = time.monotonic() - started
        golden = outcome(database)
    for number in range(rounds):
        with fresh() as database:
            moment = chance.uniform(0, duration)
            killed = in_child(partial(target.migrate, database), kill_after=moment)
            figures.counts["rounds"] += 1
            figures.counts["killed"] += killed == -9
            if in_child(partial(target.migrate, database)) != 0:
                figures.counts["stuck"] += 1
                figures.faults.append(f"stuck: workload {seed}, round {number}, {moment:.4f} s")
            elif outcome(database) != golden:
                figures.counts["wrong"] += 1
                figures.faults.append(f"wrong: workload {seed}, round {number}, {moment:.4f} s")


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if ours are not all right."""
    parser = arguments(__doc__, rounds=1000)
    parser.add_argument("--no-rival", action="store_true")
    options = parser.parse_args()
    figures = run(options.database, options.rounds, options.seed, rival=not options.no_rival)
    conclude(f"{options.database}, seed {options.seed}", figures)


if __name__ == "__main__":
    main()
