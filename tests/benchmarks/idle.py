"""Commands with nothing to do, as whole processes: ``python -m benchmarks.idle --tree 100x100``.

Beside the floor, which imports SQLAlchemy and click and connects, and stock Alembic's
``upgrade heads`` and ``current``. CPU seconds and peak memory of the process, Python's start
included.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import tools
from benchmarks.figures import Sample, Spread, in_process, interleaved, ratios, whole_process
from benchmarks.trees import APPLICATION, Tree, write_site

IMPORTS = "imports and a connect"
COMMANDS = {
    "init-db": ["init-db"],
    "db status": ["db", "status"],
    "db plan": ["db", "plan"],
    "db history": ["db", "history"],
}
_CONNECT = "import sqlalchemy, click; sqlalchemy.create_engine({url!r}).connect().close()"
_ALEMBIC = (
    "import sys; from pathlib import Path; from benchmarks import tools; "
    "tools.alembic(Path({directory!r}), {url!r})()"
)


@dataclass(frozen=True)
class Idle:
    """What commands with nothing to do took."""

    tree: Tree
    samples: dict[str, list[Sample]]

    def seconds(self, name: str) -> Spread:
        return Spread.of([sample["cpu"] for sample in self.samples[name]])

    def megabytes(self, name: str) -> Spread:
        return Spread.of([sample["memory"] / 1024 for sample in self.samples[name]])

    def times(self, name: str, other: str, measure: str = "cpu") -> Spread:
        """How many times what *other* took *name* took."""
        return ratios(self.samples[name], self.samples[other], measure)


def measure(tree: Tree, pairs: int, *, rival: bool = True) -> Idle:
    """Install *tree*, then run each command *pairs* times."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        directory = Path(folder)
        site = write_site(tree, directory / "site")
        tools.write_environment(directory)
        stock = f"sqlite:///{directory / 'stock.sqlite'}"
        deployment = directory / "deployment"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [*site.paths, Path(__file__).parents[1]])),
            "XDG_CACHE_HOME": str(directory / "cache"),
        }
        ours = [sys.executable, "-m", APPLICATION]
        whole_process([*ours, "init-db", deployment], environment)
        time.sleep(2.1)  # until an edit could not pass unnoticed, nothing is cached
        url = f"sqlite:///{deployment / f'{APPLICATION}.sqlite'}"
        commands: dict[str, list[str | Path]] = {
            IMPORTS: [sys.executable, "-c", _CONNECT.format(url=url)],
            **{name: [*ours, *words, deployment] for name, words in COMMANDS.items()},
        }
        if rival:
            in_process("alembic", directory, stock, {})
            text = _ALEMBIC.format(directory=str(directory), url=stock)
            commands["alembic upgrade heads"] = [sys.executable, "-c", text]
        for command in commands.values():
            whole_process(command, environment)
        samplers = {
            name: partial(whole_process, command, environment) for name, command in commands.items()
        }
        samplers["check_current"] = partial(_check, directory, url, environment)
        return Idle(tree, interleaved(samplers, pairs))


def _check(directory: Path, url: str, environment: Mapping[str, str]) -> Sample:
    return in_process("anabranch-check", directory, url, environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", default="2x5", metavar="PxR")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-rival", action="store_true")
    options = parser.parse_args()
    plugins, revisions = map(int, options.tree.split("x"))
    tree = Tree(plugins, revisions, "empty", options.seed)
    found = measure(tree, options.pairs, rival=not options.no_rival)
    print(f"{tree}, {len(tree)} revisions, {options.pairs} pairs")
    print(f"{'':24}{'CPU s':26}{'/ imports':26}{'/ init-db':26}MiB")
    for name in found.samples:
        cells = (
            found.seconds(name),
            found.times(name, IMPORTS),
            found.times(name, "init-db"),
            found.megabytes(name),
        )
        print(f"{name:24}{''.join(str(cell).ljust(26) for cell in cells)}")


if __name__ == "__main__":
    main()
