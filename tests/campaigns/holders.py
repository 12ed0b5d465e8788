"""Let the holder of the migration lock hang, kill it, and see how soon another migrator goes on.

``python -m campaigns.holders --database postgresql --rounds 10 --seed 1`` (in ``tests``). The
holder hangs between two statements, in the midst of one, or is stopped as by Ctrl-Z.
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from anabranch.listening import Listener
from campaigns.command import arguments, conclude
from campaigns.processes import Application, application, wait
from campaigns.targets import Fresh, Outcome, fresh_databases, outcome, workload
from support.databases import Database

PROMISED = {"idle": 1.0, "in a statement": 3.0, "stopped": 1.0}  # seconds after the kill
# MariaDB asks after the client of a statement that sleeps every 5 s, and of no other: whatever else
# it was sent runs to its end, and the lock is held as long as it does.
NOTICED = {"mariadb": 5.0}
_LONG = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
    "SELECT sum(x) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
    "mariadb": "SELECT SLEEP(600)",
}


@dataclass
class Figures:
    """How long the next migrator took to go on, in seconds."""

    waits: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.waits)} rounds, the slowest went on after {max(self.waits):.3f} s"


def run(dialect: str, rounds: int, seed: int) -> dict[str, Figures]:
    """Run the campaign and return its figures by how the holder hung."""
    chance = random.Random(seed)
    figures = {how: Figures() for how in PROMISED}
    work_seed = chance.randrange(10**6)
    with fresh_databases(dialect) as fresh, application(workload(work_seed)) as app:
        with fresh() as database:
            assert app.run(database) == 0, f"workload {work_seed} does not run"
            golden = outcome(database)
        for number in range(rounds):
            for how, of in figures.items():
                where = f"{how}, workload {work_seed}, round {number}"
                _round(app, fresh, how, chance.uniform(0.5, 1.5), golden, of, where)
    return figures


def _round(
    app: Application,
    fresh: Fresh,
    how: str,
    pause: float,
    golden: Outcome,
    figures: Figures,
    where: str,
) -> None:
    with fresh() as database:
        hanging, tell = os.pipe()
        holder = app.start(database, partial(_hang, how, database.backend, tell))
        if not _told(hanging, 60):
            raise AssertionError(f"the holder never hung: {where}")
        if how == "stopped":
            os.kill(holder, signal.SIGSTOP)
        going, go = os.pipe()
        following = _follow(app, database, go)
        time.sleep(pause)
        if _told(going, 0):
            figures.faults.append(f"the lock did not hold: {where}")
        os.kill(holder, signal.SIGKILL)
        killed = time.monotonic()
        went_on = _told(going, 60)
        figures.waits.append(time.monotonic() - killed)
        wait(holder, 10)
        code, _ = wait(following, 120)
        for descriptor in (hanging, tell, going, go):
            os.close(descriptor)
        promised = PROMISED[how]
        if how == "in a statement":
            promised += NOTICED.get(database.backend, 0.0)
        if not went_on or figures.waits[-1] > promised:
            figures.faults.append(f"went on after {figures.waits[-1]:.2f} s: {where}")
        if code != 0 or outcome(database) != golden:
            figures.faults.append(f"exit code {code}, or another state: {where}")


def _hang(how: str, dialect: str, tell: int) -> None:
    """Hang at the first statement that changes something, which comes under the lock."""
    hung = False

    def before(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal hung
        if hung or not statement.lstrip().upper().startswith(("INSERT", "UPDATE")):
            return
        hung = True
        os.write(tell, b"x")
        if how == "in a statement":
            connection.exec_driver_sql(_LONG[dialect])
        time.sleep(600)

    event.listen(sa.Engine, "before_cursor_execute", before)


def _follow(app: Application, database: Database, go: int) -> int:
    """Start another migrator, which says when its first revision starts."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            listener = Listener(progress=lambda _progress: os.write(go, b"x"))
            app.manager.upgrade(database.url, listener=listener)
            code = 0
        finally:
            os._exit(code)
    return pid


def _told(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if they are not all right."""
    options = arguments(__doc__, rounds=10).parse_args()
    figures = run(options.database, options.rounds, options.seed)
    conclude(
        f"{options.database}, seed {options.seed}",
        {f"anabranch, holder {how}": found for how, found in figures.items()},
    )


if __name__ == "__main__":
    main()
