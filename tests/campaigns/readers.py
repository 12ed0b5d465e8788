"""Upgrade a table that a long transaction reads, and see how long that holds up other readers.

``python -m campaigns.readers --database postgresql --rounds 50 --hold 3 30 --seed 1`` (in
``tests``). One session reads the table and stays in its transaction; then ``mill init-db`` alters
the table, while others go on reading it, again and again.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from campaigns.command import arguments, conclude
from campaigns.targets import fresh_databases
from support.databases import Database
from support.store import Store
from support.trees import revision_file

LIMITS = {"postgresql": 2.0, "mariadb": 5.0}
"""Seconds that a migration waits for a lock, and whoever comes after it too."""

_CREATE = """
op.create_table(
    "item",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(40)),
    mysql_engine="InnoDB",
)
op.execute("INSERT INTO item (id, name) VALUES (1, 'Pen'), (2, 'Ink')")
"""
_ALTER = """
with op.batch_alter_table("item") as batch:
    batch.add_column(sa.Column("price", sa.Integer))
"""
_LOOK = sa.text("SELECT count(*) FROM item")


@dataclass
class Figures:
    """What became of the runs, and the waits of the other readers in seconds."""

    counts: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    over: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.counts['rounds']} rounds, {self.counts['succeeded']} succeeded; "
            f"{self.counts['reads']} reads by others, {self.counts['refused']} refused, the "
            f"longest took {self.longest:.2f} s, {self.over} over the limit"
        )


@dataclass
class _Reader:
    """Reads *database* again and again until it is told to stop."""

    database: Database
    figures: Figures
    limit: float
    stop: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        with self.database.engine() as engine:
            while not self.stop.is_set():
                started = time.monotonic()
                try:
                    with engine.connect() as connection:
                        connection.execute(_LOOK).scalar_one()
                except exc.DBAPIError:
                    self.figures.counts["refused"] += 1
                took = time.monotonic() - started
                self.figures.counts["reads"] += 1
                self.figures.longest = max(self.figures.longest, took)
                self.figures.over += took > self.limit
                self.stop.wait(0.02)


def run(
    dialect: str, rounds: int, hold: tuple[float, float], seed: int, *, wal: bool = False
) -> Figures:
    """Run the campaign and return its figures.

    :param hold: between how many seconds the long transaction takes.
    :param wal: whether SQLite keeps a write-ahead log.
    """
    chance = random.Random(seed)
    figures = Figures()
    with fresh_databases(dialect) as fresh:
        for number in range(rounds):
            with fresh() as database, tempfile.TemporaryDirectory() as folder:
                if wal:
                    database.execute("PRAGMA journal_mode = WAL")
                seconds = chance.uniform(*hold)
                _round(Store(Path(folder), database), seconds, figures, f"round {number}")
    return figures


def _round(store: Store, seconds: float, figures: Figures, where: str) -> None:
    first = revision_file("c1", upgrade=_CREATE)
    store.core(first)
    store.upgrade()
    store.core(first, revision_file("c2", down="c1", upgrade=_ALTER))
    limit = LIMITS.get(store.database.backend, 0.0) + 0.05
    figures.counts["rounds"] += 1
    holder = _hold(store.database, seconds)
    with _reading(_Reader(store.database, figures, limit)):
        process = store.site.start("init-db", store.deployment)
        os.waitpid(holder, 0)
        out, err = process.communicate(timeout=120)
    if process.returncode != 0:
        figures.faults.append(f"exit code {process.returncode}: {where}: {out[-500:]}{err[-500:]}")
    elif [column["name"] for column in store.schema["item"]["columns"]] != ["id", "name", "price"]:
        figures.faults.append(f"wrong schema: {where}")
    else:
        figures.counts["succeeded"] += 1
    store.site.close()


def _hold(database: Database, seconds: float) -> int:
    """Let a process of its own read the table and stay in its transaction; return its id.

    The readers of one process share SQLite's locks.
    """
    begun, begin = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with database.engine() as engine, engine.connect() as long:
                long.exec_driver_sql("BEGIN")
                long.execute(_LOOK).all()
                os.write(begin, b".")
                time.sleep(seconds)
                long.rollback()
        finally:
            os._exit(0)
    os.read(begun, 1)
    os.close(begun)
    os.close(begin)
    return pid


@contextmanager
def _reading(reader: _Reader) -> Generator[None, None, None]:
    thread = threading.Thread(target=reader.read)
    thread.start()
    try:
        yield
    finally:
        reader.stop.set()
        thread.join()


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if a run did not succeed."""
    parser = arguments(__doc__, default="postgresql", rounds=50)
    parser.add_argument("--hold", type=float, nargs=2, default=[3, 30], metavar=("MIN", "MAX"))
    parser.add_argument("--wal", action="store_true", help="SQLite with a write-ahead log")
    options = parser.parse_args()
    low, high = options.hold
    figures = run(options.database, options.rounds, (low, high), options.seed, wal=options.wal)
    conclude(f"{options.database}, seed {options.seed}", {"anabranch": figures})


if __name__ == "__main__":
    main()
