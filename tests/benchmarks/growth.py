"""How the cost of planning grows: ``python -m benchmarks.growth --sizes 1000 2000 4000``.

Graph, order and plan in memory, of a fresh database and of one where all is applied; CPU seconds,
the best of some, and the power of the size that they grow with. The floor is Python's: the same
keys put into dictionaries and through a heap once.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from anabranch.graph import Graph
from anabranch.planning import make_plan
from anabranch.revision import AppliedRevision, Revision, RevisionKey
from benchmarks.figures import exponent, short
from benchmarks.results import store
from support.graphs import ran, revision

STATES = ("fresh", "applied", "floor")
SIZES = (1000, 2000, 4000, 8000, 16000)


def long_chain(size: int) -> list[Revision]:
    """One owner, one line."""
    return [revision(f"core@{n}", down=str(n - 1) if n else "") for n in range(size)]


def wide_fan(size: int) -> list[Revision]:
    """As many plugins as revisions, each of which needs the core's."""
    return [revision("core@0"), *(revision(f"p{n}@a", depends="core@0") for n in range(size - 1))]


def chained(size: int) -> list[Revision]:
    """A hundred plugins, each revision of which needs the same one of the plugin before."""
    found = [revision("core@0")]
    for n in range(size // 100):
        for owner in range(100):
            needs = f"p{owner - 1}@{n}" if owner else "core@0"
            found.append(revision(f"p{owner}@{n}", down=str(n - 1) if n else "", depends=needs))
    return found


SHAPES: dict[str, Callable[[int], list[Revision]]] = {
    "long chain": long_chain,
    "wide fan": wide_fan,
    "chained dependencies": chained,
}


@dataclass(frozen=True)
class Growth:
    """Seconds by size, of one shape in one state."""

    shape: str
    state: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        return exponent(self.sizes, self.seconds)


def measure(sizes: Sequence[int], rounds: int) -> list[Growth]:
    """Plan every shape in every size, in every state."""
    found: list[Growth] = []
    for name, shape in SHAPES.items():
        for state in STATES:
            seconds = [_seconds(shape(size), state, rounds) for size in sizes]
            found.append(Growth(name, state, tuple(sizes), tuple(seconds)))
    return found


def _seconds(revisions: list[Revision], state: str, rounds: int) -> float:
    applied: list[AppliedRevision] = []
    if state == "applied":
        graph = Graph.build(revisions)
        applied = ran(graph, graph.order)
    keys = {row.key for row in applied}

    def plan() -> None:
        graph = Graph.build(revisions, applied)
        make_plan(graph, keys)
        graph.maximal(keys)

    action = partial(_floor, revisions) if state == "floor" else plan
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        gc.disable()  # as it is while a command reads
        started = time.process_time()
        action()
        best = min(best, time.process_time() - started)
        gc.enable()
    return best


def _floor(revisions: list[Revision]) -> list[RevisionKey]:
    known = {each.key: each for each in revisions}
    keys = list(known)
    places = {key: place for place, key in enumerate(keys)}
    followers: dict[RevisionKey, list[int]] = {key: [] for key in keys}
    heap: list[tuple[float, int]] = []
    for each in revisions:
        followers[each.key].append(places[each.key])
        heapq.heappush(heap, (0.0, places[each.key]))
    order: list[RevisionKey] = []
    while heap:
        order.append(keys[heapq.heappop(heap)[1]])
    return order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", action="store_true", help="Keep the samples for the docs.")
    options = parser.parse_args()
    found = measure(options.sizes, options.rounds)
    if options.store:
        samples = {
            f"{each.shape}, {each.state}": [
                {"size": size, "cpu": seconds}
                for size, seconds in zip(each.sizes, each.seconds, strict=True)
            ]
            for each in found
        }
        store("growth", samples)
    for growth in found:
        cells = "".join(f"{short(each * 1000):>10}" for each in growth.seconds)
        print(f"{growth.shape:22}{growth.state:9}{cells} ms   exponent {growth.exponent:.2f}")


if __name__ == "__main__":
    main()
