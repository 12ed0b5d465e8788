"""``make-migrations`` for a small plugin in a large database: ``python -m benchmarks.authoring``.

A plugin of ten tables, the core has all others. Ours is the whole of ``make-migrations`` where the
models say nothing new; the rival is stock Alembic's comparison alone, of the same models.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from benchmarks.databases import Dialect, fresh_urls
from benchmarks.figures import Sample, Spread, in_process, interleaved, ratios
from benchmarks.results import store
from benchmarks.trees import APPLICATION
from support.sites import Site
from support.trees import host, plugin, revision_file

PLUGIN = "small"
_OWN = 10

Action = Callable[[], object]


def write(directory: Path, tables: int) -> Site:
    """Install an application with *tables* tables, ten of them its plugin's."""
    site = Site(directory / "site", application=APPLICATION)
    core, own = tables - _OWN, _OWN
    site.develop(
        host(
            APPLICATION,
            models=_models(core, "core"),
            revisions=[revision_file("c1", labels=APPLICATION, upgrade=_upgrade(core, "core"))],
        )
    )
    site.develop(
        plugin(
            PLUGIN,
            host=APPLICATION,
            models=_models(own, PLUGIN),
            revisions=[
                revision_file("s1", labels=PLUGIN, depends="c1", upgrade=_upgrade(own, PLUGIN))
            ],
        )
    )
    return site


def _models(count: int, prefix: str) -> str:
    return f"""
for number in range({count}):
    type(
        f"{prefix.title()}{{number}}",
        (Base,),
        {{
            "__tablename__": f"{prefix}_{{number}}",
            "__module__": __name__,
            "id": mapped_column(sa.Integer, primary_key=True),
            "name": mapped_column(sa.String(50), nullable=False),
        }},
    )
"""


def _upgrade(count: int, prefix: str) -> str:
    return f"""
for number in range({count}):
    op.create_table(
        f"{prefix}_{{number}}",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
"""


def ours(directory: Path, url: str) -> Action:
    """All of ``make-migrations --plugin small``."""
    from anabranch import MigrationManager

    _see(directory)
    manager = MigrationManager(
        APPLICATION, metadata=f"{APPLICATION}.models:Base", migrations=f"{APPLICATION}.migrations"
    )
    __import__(f"{APPLICATION}_{PLUGIN}.db_models")
    import anabranch.authoring

    assert anabranch.authoring

    def run() -> None:
        assert manager.revision(url, plugin=PLUGIN) is None

    return run


def stock(directory: Path, url: str) -> Action:
    """Alembic's comparison of all models with the database, as ``--autogenerate`` does it."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    _see(directory)
    models = __import__(f"{APPLICATION}_{PLUGIN}.db_models", fromlist=["Base"])

    def run() -> None:
        with sa.create_engine(url).connect() as connection:
            compare_metadata(MigrationContext.configure(connection), models.Base.metadata)

    return run


def _see(directory: Path) -> None:
    site = Site(directory / "site", application=APPLICATION)
    sys.path[:0] = map(str, site.paths)


def measure(dialect: Dialect, tables: int, pairs: int) -> dict[str, list[Sample]]:
    """Take *pairs* samples of both."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, fresh_urls(dialect) as fresh:
        directory, url = Path(folder), fresh()
        site = write(directory, tables)
        (directory / "deployment").mkdir()
        (directory / "deployment" / "config.toml").touch()
        variable = f"{APPLICATION.upper()}_SQLALCHEMY_DATABASE_URL"
        site.run("init-db", directory / "deployment", env={variable: url}, timeout=600).expect(0)
        environment = {**os.environ, "XDG_CACHE_HOME": str(directory / "cache")}
        samplers = {
            name: partial(in_process, f"authoring:{name}", directory, url, environment)
            for name in ("ours", "stock")
        }
        for sampler in samplers.values():
            sampler()
        return interleaved(samplers, pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", default="sqlite", choices=("sqlite", "postgresql"))
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--store", action="store_true", help="Keep the samples for the docs.")
    options = parser.parse_args()
    found = measure(options.database, options.tables, options.pairs)
    if options.store:
        store(f"authoring {options.tables} {options.database}", found)
    for name, samples in found.items():
        print(f"{name:8} {Spread.of([each['cpu'] for each in samples])} s CPU")
    print(f"ours / stock: {ratios(found['ours'], found['stock'], 'cpu')} CPU")
    print(f"ours / stock: {ratios(found['ours'], found['stock'], 'wall')} wall")


if __name__ == "__main__":
    main()
