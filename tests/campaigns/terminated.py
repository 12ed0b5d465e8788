"""Let PostgreSQL end the migrating session at every statement, then run again.

``python -m campaigns.terminated --workloads 3 --seed 1`` (in ``tests``).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from campaigns.command import add_places, arguments, conclude
from campaigns.processes import Application, application, terminate, wait
from campaigns.targets import Fresh, Outcome, fresh_databases, outcome, workload
from support.databases import Database


@dataclass
class Figures:
    """How the runs ended whose session was terminated, and what the next made of it."""

    places: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        codes = ", ".join(f"{count} with {code}" for code, count in sorted(self.codes.items()))
        return f"{self.places} places, ended {codes}; {len(self.faults)} faults"


def run(workloads: int, seed: int, *, least: int = 10, most: int = 14, stride: int = 1) -> Figures:
    """Run the campaign and return its figures.

    :param stride: take every so many-th statement only.
    """
    chance = random.Random(seed)
    figures = Figures()
    with fresh_databases("postgresql") as fresh:
        for _ in range(workloads):
            work_seed = chance.randrange(10**6)
            with application(workload(work_seed, least=least, most=most)) as app:
                with fresh() as database:
                    assert app.run(database) == 0, f"workload {work_seed} does not run"
                    golden = outcome(database)
                place = chance.randint(1, stride)
                while _place(app, fresh, place, golden, figures, work_seed):
                    place += stride
    return figures


def _place(
    app: Application, fresh: Fresh, place: int, golden: Outcome, figures: Figures, seed: int
) -> bool:
    """Terminate at one statement; tell whether the run came to it."""
    where = f"workload {seed}, statement {place}"
    reading, writing = os.pipe()
    with fresh() as database:
        code, _ = wait(app.start(database, partial(_terminate_at, place, database, writing)), 60)
        os.close(writing)
        with os.fdopen(reading, "rb") as reached:
            if not reached.read():
                return False
        figures.places += 1
        figures.codes[code] += 1
        # Before the run begins no revision can fail: the database cannot be reached. After the last
        # one's commit only what follows can be cut off, and all revisions stay.
        follows = code == 6 and outcome(database) == golden
        if code not in (0, 5, 9) and not follows:
            figures.faults.append(f"exit code {code}: {where}")
        if app.run(database) != 0 or outcome(database) != golden:
            figures.faults.append(f"the next run did not reach the same state: {where}")
    return True


def _terminate_at(place: int, database: Database, reached: int) -> None:
    """End the session before its statement number *place*, and say so to *reached*."""
    seen = 0

    def before(connection: Any, *_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == place:
            terminate(connection, database)  # whose own statement is a later one
            os.write(reached, b"x")

    event.listen(sa.Engine, "before_cursor_execute", before)


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if they are not all right."""
    parser = arguments(__doc__, databases=["postgresql"], default="postgresql")
    add_places(parser, workloads=3)
    options = parser.parse_args()
    least, most = options.revisions
    figures = run(options.workloads, options.seed, least=least, most=most, stride=options.stride)
    conclude(f"postgresql, seed {options.seed}", {"anabranch": figures})


if __name__ == "__main__":
    main()
