"""Fresh installs: ``python -m benchmarks.fresh --tree 10x100 --kind table --pairs 5``.

Each tool runs the same tree on an empty database, in turns with anabranch and with the floors.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import tools
from benchmarks.databases import Dialect, fresh_urls
from benchmarks.figures import Sample, Spread, in_process, interleaved, ratios
from benchmarks.results import store
from benchmarks.trees import Kind, Tree

OURS = "anabranch"
FLOORS = ("raw", "core-bare", "core", "scripts")
RIVALS = ("alembic", "alembic-per-migration", "quetz", "flask-alembic", "django", "yoyo")


@dataclass(frozen=True)
class Fresh:
    """What fresh installs of one tree took, by tool."""

    tree: Tree
    dialect: Dialect
    samples: dict[str, list[Sample]]

    def seconds(self, tool: str, measure: str) -> Spread:
        return Spread.of([sample[measure] for sample in self.samples[tool]])

    def times_ours(self, tool: str, measure: str) -> Spread:
        """How many times as long as anabranch *tool* took."""
        return ratios(self.samples[tool], self.samples[OURS], measure)

    def ours_times(self, floor: str, measure: str) -> Spread:
        """How many times as long as *floor* anabranch took."""
        return ratios(self.samples[OURS], self.samples[floor], measure)


def measure(tree: Tree, dialect: Dialect, names: Sequence[str], pairs: int) -> Fresh:
    """Install *tree* with each of the tools *names*, *pairs* times."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, fresh_urls(dialect) as url:
        directory = Path(folder)
        tools.write(tree, directory)
        count = iter(range(10**9))

        def sample(tool: str) -> Sample:
            # A cache of its own each time: a first install finds none.
            cache = directory / "caches" / str(next(count))
            return in_process(tool, directory, url(), {"XDG_CACHE_HOME": str(cache)})

        for name in names:
            sample(name)  # what comes first pays for bytecode and cold files
        samplers = {name: partial(sample, name) for name in names}
        return Fresh(tree, dialect, interleaved(samplers, pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", default="10x100", metavar="PxR")
    parser.add_argument("--kind", default="table", choices=("empty", "table", "chained"))
    parser.add_argument("--database", default="sqlite", choices=("sqlite", "postgresql"))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tools", nargs="*", default=[*FLOORS, OURS, *RIVALS])
    parser.add_argument("--store", action="store_true", help="Keep the samples for the docs.")
    options = parser.parse_args()
    plugins, revisions = map(int, options.tree.split("x"))
    kind: Kind = options.kind
    tree = Tree(plugins, revisions, kind, options.seed)
    found = measure(tree, options.database, options.tools, options.pairs)
    if options.store:
        store(f"fresh {tree} {options.database}", found.samples)
    print(f"{tree}, {len(tree)} revisions, {options.database}, {options.pairs} pairs")
    print(f"{'tool':24}{'CPU s':24}{'wall s':24}{'CPU / ours':24}{'ours / it':24}{'MiB':>6}")
    for name in options.tools:
        memory = found.seconds(name, "memory").median / 1024
        cpu, wall = found.seconds(name, "cpu"), found.seconds(name, "wall")
        more, less = found.times_ours(name, "cpu"), found.ours_times(name, "cpu")
        columns = "".join(str(each).ljust(24) for each in (cpu, wall, more, less))
        print(f"{name:24}{columns}{memory:6.0f}")


if __name__ == "__main__":
    main()
