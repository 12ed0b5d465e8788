"""Commands with nothing to do, as whole processes: ``python -m benchmarks.idle --trees 2x5``.

Beside the floor, which imports SQLAlchemy and click and connects, and the program ``alembic
upgrade heads``. CPU seconds and peak memory of the process, Python's start included.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks import tools
from benchmarks.figures import Sample, Spread, in_process, interleaved, ratios, whole_process
from benchmarks.results import store
from benchmarks.trees import APPLICATION, Tree, write_site

IMPORTS = "imports and a connect"
COMMANDS = {
    "init-db": ["init-db"],
    "db status": ["db", "status"],
    "db plan": ["db", "plan"],
    "db history": ["db", "history"],
}
_CONNECT = "import sqlalchemy, click; sqlalchemy.create_engine({url!r}).connect().close()"

Samplers = dict[str, Callable[[], Sample]]


def measure(trees: Sequence[Tree], pairs: int, *, rival: bool = True) -> dict[str, list[Sample]]:
    """Install each of *trees*, then run each command *pairs* times, all of them in turns."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        samplers: Samplers = {}
        for tree in trees:
            samplers |= _samplers(tree, Path(folder) / f"{tree.shape}", rival=rival)
        for sampler in samplers.values():
            sampler()
        return interleaved(samplers, pairs)


def _samplers(tree: Tree, directory: Path, *, rival: bool) -> Samplers:
    site = write_site(tree, directory / "site")
    deployment = directory / "deployment"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [*site.paths, Path(__file__).parents[1]])),
        "XDG_CACHE_HOME": str(directory / "cache"),
    }
    ours: list[str | Path] = [sys.executable, "-m", APPLICATION]
    whole_process([*ours, "init-db", deployment], environment)
    time.sleep(2.1)  # until an edit could not pass unnoticed, nothing is cached
    url = f"sqlite:///{deployment / f'{APPLICATION}.sqlite'}"
    commands: dict[str, list[str | Path]] = {
        f"{tree.shape} {name}": [*ours, *words, deployment] for name, words in COMMANDS.items()
    }
    commands[IMPORTS] = [sys.executable, "-c", _CONNECT.format(url=url)]
    if rival:
        stock = f"sqlite:///{directory / 'stock.sqlite'}"
        ini = tools.write_program(directory, stock)
        commands[f"{tree.shape} alembic"] = [
            *(sys.executable, "-m", "alembic", "-c", ini, "upgrade", "heads")
        ]
    return {
        **{name: partial(whole_process, words, environment) for name, words in commands.items()},
        f"{tree.shape} check_current": partial(_check, directory, url, environment),
    }


def _check(directory: Path, url: str, environment: Mapping[str, str]) -> Sample:
    return in_process("anabranch-check", directory, url, environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", nargs="*", default=["2x5"], metavar="PxR")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-rival", action="store_true")
    parser.add_argument("--store", action="store_true", help="Keep the samples for the docs.")
    options = parser.parse_args()
    shapes = [map(int, name.split("x")) for name in options.trees]
    trees = [Tree(plugins, each, "empty", options.seed) for plugins, each in shapes]
    found = measure(trees, options.pairs, rival=not options.no_rival)
    if options.store:
        store("idle", found)
    print(f"{options.pairs} pairs\n{'':24}{'CPU s':26}{'/ imports':26}MiB")
    for name, samples in found.items():
        cpu = Spread.of([each["cpu"] for each in samples])
        memory = Spread.of([each["memory"] / 1024 for each in samples])
        cells = (cpu, ratios(samples, found[IMPORTS], "cpu"), memory)
        print(f"{name:24}{''.join(str(cell).ljust(26) for cell in cells)}")


if __name__ == "__main__":
    main()
