"""Rebuild random SQLite tables with all that hangs on them, and compare with what was asked for.

``python -m campaigns.rebuild --schemas 1000 --seed 1`` (in ``tests``). Each schema is changed by a
batch of Alembic's, or a rebuild by hand. What comes out must be the schema that has this change and
no other, built anew, with every row; or the change is refused and the database as it was. Stock
Alembic runs the same scripts in the same rounds, with foreign keys off (SQLite's default) and on
(what most applications set).
"""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from anabranch import MigrationManager
from campaigns.command import OURS, arguments, conclude
from campaigns.schemas import Change, Schema, facts, random_change, random_schema
from support.trees import revision_file

_ENV = """\
import sqlalchemy as sa
from alembic import context

engine = sa.create_engine(context.config.attributes["url"], poolclass=sa.pool.NullPool)

@sa.event.listens_for(engine, "connect")
def connected(connection, _record):
    connection.execute("PRAGMA foreign_keys=" + context.config.attributes["foreign_keys"])

with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""

Migrate = Callable[[Path, Path], None]


@dataclass
class Figures:
    """What became of the changes: as asked, refused with nothing changed, or otherwise."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"{sum(counts[o] for o in ('exact', 'refused', 'lost', 'broken'))} changes, "
            f"{counts['exact']} exactly as asked, {counts['refused']} refused with nothing "
            f"changed, {counts['lost']} silently with losses ({counts['rows']} of them lost rows), "
            f"{counts['broken']} failed and left changed"
        )


def run(seeds: Iterable[int], *, rival: bool = True) -> dict[str, Figures]:
    """Try the schemas of *seeds* and return the figures by what ran the scripts."""
    runners: dict[str, Migrate] = {OURS: _anabranch}
    if rival:
        runners["stock Alembic"] = _alembic("OFF")
        runners["stock Alembic, foreign keys on"] = _alembic("ON")
    figures = {name: Figures() for name in runners}
    with tempfile.TemporaryDirectory() as folder:
        for work_seed in seeds:
            for name, migrate in runners.items():
                outcome, what = one(work_seed, Path(folder, f"{work_seed}"), migrate)
                figures[name].counts[outcome.split()[0]] += 1
                figures[name].counts["rows"] += outcome == "lost rows"
                if outcome == "refused":
                    figures[name].refusals.append(f"schema {work_seed}: {what}")
                elif outcome != "exact":
                    figures[name].faults.append(f"schema {work_seed}: {outcome}: {what}")
    return figures


def work(seed: int) -> tuple[Schema, Change]:
    """Return the schema and the change of *seed*."""
    chance = random.Random(seed)
    schema = random_schema(chance)
    return schema, random_change(schema, chance)


def one(seed: int, folder: Path, migrate: Migrate) -> tuple[str, str]:
    """Try the change of *seed*; return the outcome and what differs."""
    schema, change = work(seed)
    versions_folder = folder / "versions"
    versions_folder.mkdir(parents=True)
    try:
        first = "\n".join(f"op.execute({text!r})" for text in schema.statements())
        database = folder / "database.sqlite"
        (versions_folder / "r1.py").write_text(revision_file("r1", upgrade=first))
        migrate(folder, database)
        before = _dump(database)
        (versions_folder / "r2.py").write_text(
            revision_file("r2", down="r1", upgrade=change.script)
        )
        try:
            migrate(folder, database)
        except Exception as error:
            left = _dump(database)
            return ("refused" if left == before else "broken"), str(error)[:300]
        reference = folder / "reference.sqlite"
        with closing(sqlite3.connect(reference)) as connection:
            for statement in change.schema.statements():
                connection.execute(statement)
            connection.commit()
        found, expected = facts(database), facts(reference)
        if found == expected:
            return "exact", ""
        missing, extra = sorted(map(str, expected - found)), sorted(map(str, found - expected))
        rows = any(item[0] == "rows" for item in found ^ expected)
        return ("lost rows" if rows else "lost"), f"not {missing[:3]} but {extra[:3]}"
    finally:
        shutil.rmtree(folder)


def _dump(database: Path) -> list[str]:
    """Return the whole database as text, without the journal that a failure is noted in."""
    with closing(sqlite3.connect(database)) as connection:
        return [line for line in connection.iterdump() if "anabranch_journal" not in line]


def _anabranch(folder: Path, database: Path) -> None:
    manager = MigrationManager("mill", metadata=sa.MetaData(), migrations=folder)
    manager.upgrade(f"sqlite:///{database}", allow_destructive=True)


def _alembic(foreign_keys: str) -> Migrate:
    import alembic.command
    from alembic.config import Config

    def migrate(folder: Path, database: Path) -> None:
        (folder / "env.py").write_text(_ENV, encoding="utf-8")
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.attributes["url"] = f"sqlite:///{database}"
        config.attributes["foreign_keys"] = foreign_keys
        alembic.command.upgrade(config, "heads")

    return migrate


def show(seed: int) -> None:
    """Print the schema, the change and the outcome of one seed, to mend what it found."""
    schema, change = work(seed)
    print(*schema.statements(), change.script, sep=";\n")
    with tempfile.TemporaryDirectory() as folder:
        print(*one(seed, Path(folder, "one"), _anabranch), sep=": ")


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if ours are not all right."""
    parser = arguments(__doc__, databases=["sqlite"])
    parser.add_argument("--schemas", type=int, default=1000)
    parser.add_argument("--no-rival", action="store_true")
    parser.add_argument("--only", type=int, nargs="+", metavar="SCHEMA", help="try these alone")
    parser.add_argument("--show", type=int, metavar="SCHEMA", help="print what one of them is")
    parser.add_argument("--refusals", action="store_true", help="say what ours refused, and why")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    if options.show is not None:
        show(options.show)
        return
    chance = random.Random(options.seed)
    seeds = options.only or [chance.randrange(10**9) for _ in range(options.schemas)]
    figures = run(seeds, rival=not options.no_rival)
    if options.refusals:
        print(*figures[OURS].refusals, sep="\n")
    conclude(f"seed {options.seed}, SQLite {sqlite3.sqlite_version}", figures)


if __name__ == "__main__":
    main()
