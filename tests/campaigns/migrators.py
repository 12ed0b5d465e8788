"""Start many migrators at once on an empty database, and kill some of them.

``python -m campaigns.migrators --database sqlite --sizes 4 16 64 --rounds 50 --seed 1`` (in
``tests``).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

from campaigns.command import arguments, conclude, so_far
from campaigns.processes import Application, application, wait
from campaigns.targets import Fresh, Outcome, fresh_databases, outcome, workload


@dataclass
class Figures:
    """What became of the migrators."""

    counts: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        codes = ", ".join(f"{count} with {code}" for code, count in sorted(self.codes.items()))
        return (
            f"{self.counts['rounds']} rounds, {self.counts['migrators']} migrators, "
            f"{self.counts['killed']} killed, the others ended {codes}; "
            f"{self.counts['twice']} rounds with a revision that did not run exactly once, "
            f"{self.counts['wrong']} wrong"
        )


def run(
    dialect: str, sizes: list[int], rounds: int, seed: int, *, kill: float = 0.2
) -> dict[int, Figures]:
    """Run the campaign and return its figures by how many migrators there were.

    :param kill: how many of them are killed, as a part of 1, in every other round.
    """
    chance = random.Random(seed)
    figures = {size: Figures() for size in sizes}
    with fresh_databases(dialect) as fresh:
        for size, of in figures.items():
            work_seed = chance.randrange(10**6)
            with application(workload(work_seed)) as app:
                with fresh() as database:
                    assert app.run(database) == 0, f"workload {work_seed} does not run"
                    golden = outcome(database)
                for number in range(rounds):
                    killed = round(size * kill) if number % 2 else 0
                    where = f"{size} migrators, workload {work_seed}, round {number}"
                    _round(app, fresh, size, killed, chance, golden, of, where)
                so_far(f"{size} at once", of)
    return figures


def _round(
    app: Application,
    fresh: Fresh,
    size: int,
    killed: int,
    chance: random.Random,
    golden: Outcome,
    figures: Figures,
    where: str,
) -> None:
    counts = figures.counts
    counts["rounds"] += 1
    counts["migrators"] += size
    counts["killed"] += killed
    with fresh() as database:
        pids = [app.start(database) for _ in range(size)]
        victims = set(chance.sample(pids, killed))
        for pid in victims:
            time.sleep(chance.uniform(0, 0.3))
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            code, _ = wait(pid, 300)
            if pid in victims:
                continue
            figures.codes[code] += 1
            if code not in (0, 7):
                figures.faults.append(f"exit code {code}: {where}")
        rows = database.execute("SELECT * FROM anabranch_journal WHERE event = 'applied'")
        ran = Counter((row["owner"], row["revision"]) for row in rows)
        if set(ran.values()) != {1}:
            counts["twice"] += 1
            figures.faults.append(f"not exactly once: {where}")
        if outcome(database) != golden:
            counts["wrong"] += 1
            figures.faults.append(f"wrong: {where}")


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if they are not all right."""
    parser = arguments(__doc__, rounds=50)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 16, 64])
    options = parser.parse_args()
    figures = run(options.database, options.sizes, options.rounds, options.seed)
    conclude(
        f"{options.database}, seed {options.seed}",
        {f"anabranch, {size} at once": found for size, found in figures.items()},
    )


if __name__ == "__main__":
    main()
