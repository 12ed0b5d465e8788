"""Send SIGINT or SIGTERM to a migrating process at a random moment, then run it again.

``python -m campaigns.signals --database postgresql --rounds 300 --seed 1`` (in ``tests``).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

from campaigns.command import arguments, conclude, so_far
from campaigns.processes import Application, application, backends, wait
from campaigns.targets import Fresh, Outcome, fresh_databases, outcome, workload
from support.databases import Database

EXPECTED = {signal.SIGINT: 130, signal.SIGTERM: 143}
EARLY = {signal.SIGINT: 1, signal.SIGTERM: -signal.SIGTERM}
"""How the process ends before the command has begun: by click, or by the system."""
PROMISED = 1.0  # seconds


@dataclass
class Figures:
    """What became of the rounds; *slowest* is in seconds."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"{counts['rounds']} rounds, {counts['stopped']} stopped, the slowest after "
            f"{self.slowest:.3f} s, {counts['early']} before the command began, "
            f"{counts['late']} late, {counts['code']} with another code, "
            f"{counts['left']} backends left, {counts['wrong']} wrong after the next run"
        )


def run(dialect: str, rounds: int, seed: int) -> Figures:
    """Run the campaign and return its figures."""
    chance = random.Random(seed)
    figures = Figures()
    with fresh_databases(dialect) as fresh:
        while figures.counts["rounds"] < rounds:
            work_seed = chance.randrange(10**6)
            with application(workload(work_seed)) as app:
                with fresh() as database:
                    started = time.monotonic()
                    assert app.run(database) == 0, f"workload {work_seed} does not run"
                    duration = time.monotonic() - started
                    golden = outcome(database)
                for _ in range(min(25, rounds - figures.counts["rounds"])):
                    moment = chance.uniform(0.03, duration)
                    number = chance.choice(sorted(EXPECTED))
                    where = f"workload {work_seed}, {number.name} after {moment:.4f} s"
                    _round(app, fresh, moment, number, golden, figures, where)
            so_far(dialect, figures)
    return figures


def _round(
    app: Application,
    fresh: Fresh,
    moment: float,
    number: signal.Signals,
    golden: Outcome,
    figures: Figures,
    where: str,
) -> None:
    counts = figures.counts
    counts["rounds"] += 1

    def fault(kind: str, text: str) -> None:
        counts[kind] += 1
        figures.faults.append(f"{text}: {where}")

    with fresh() as database:
        pid = app.start(database)
        time.sleep(moment)
        os.kill(pid, number)
        code, took = wait(pid, 30)
        if code == EXPECTED[number]:
            counts["stopped"] += 1
            figures.slowest = max(figures.slowest, took)
            if took > PROMISED:
                fault("late", f"ended after {took:.2f} s")
            if database.backend != "sqlite" and not _is_alone(database):
                fault("left", "its backend is there after a second")
        elif code == EARLY[number] and not database.schema():
            counts["early"] += 1
        elif code != 0:  # it may have been done by then
            fault("code", f"exit code {code}")
        if app.run(database) != 0 or outcome(database) != golden:
            fault("wrong", "the next run did not reach the same state")


def _is_alone(database: Database) -> bool:
    """Tell whether no migrator's backend is left within a second."""
    deadline = time.monotonic() + PROMISED
    while backends(database):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if they are not all right."""
    options = arguments(__doc__, rounds=300).parse_args()
    figures = run(options.database, options.rounds, options.seed)
    conclude(f"{options.database}, seed {options.seed}", {"anabranch": figures})


if __name__ == "__main__":
    main()
