"""The shortest cycle is the least a person must look at."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.cycles import shortest_cycle

Edges = Mapping[int, Sequence[int]]


def _length_by_walking(edges: Edges) -> int:
    """The length of a shortest cycle, found by walks of every length; 0 if there is none."""
    reached = {node: {node} for node in edges}
    for length in range(1, len(edges) + 1):
        reached = {
            node: {target for step in steps for target in edges.get(step, ())}
            for node, steps in reached.items()
        }
        if any(node in steps for node, steps in reached.items()):
            return length
    return 0


@given(
    st.dictionaries(
        st.integers(0, 7), st.lists(st.integers(0, 8), max_size=3, unique=True), max_size=8
    )
)
@settings(max_examples=200)
def test_cycle_is_real_and_none_is_shorter(edges: dict[int, list[int]]) -> None:
    """Each node points to the next, the last to the first; walking finds nothing shorter."""
    cycle = shortest_cycle(edges)
    assert len(cycle) == _length_by_walking(edges)
    assert len(set(cycle)) == len(cycle)
    for node, target in zip(cycle, [*cycle[1:], *cycle[:1]], strict=True):
        assert target in edges[node]


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ({}, []),
        ({1: [2], 2: [3], 3: []}, []),
        ({1: [2, 3], 2: [4], 3: [4], 4: []}, []),
        ({1: [99], 2: [1]}, []),
        ({1: [1]}, [1]),
        ({1: [2], 2: [1], 3: [3]}, [3]),
        ({1: [2], 2: [3], 3: [4], 4: [1, 5], 5: [4]}, [4, 5]),
    ],
    ids=[
        "nothing",
        "chain",
        "diamond",
        "unknown target",
        "self",
        "self after two",
        "short in long",
    ],
)
def test_shortest_of_several_is_found(edges: Edges, cycle: list[int]) -> None:
    """A node that needs itself beats a pair, a pair beats a long round; a diamond is no cycle."""
    assert list(shortest_cycle(edges)) == cycle


def test_long_history_around_a_cycle_costs_little() -> None:
    """Ten thousand revisions that lead to a cycle, and as many that come from it, are passed over.

    0 <- 1 <- ... <- 9999      10000 <-> 10001 <- 10002 <- ...
    """
    edges = {node: [node - 1] if node else [] for node in range(20_000)}
    edges[10_000] = [9_999, 10_001]
    started = time.monotonic()
    assert sorted(shortest_cycle(edges)) == [10_000, 10_001]
    assert time.monotonic() - started < 5  # searching from every node takes minutes
