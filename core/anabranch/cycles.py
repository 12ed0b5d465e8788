"""Find the shortest cycle of a digraph, to show a person the least they must look at."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Node = TypeVar("Node")


def shortest_cycle(edges: Mapping[Node, Iterable[Node]]) -> Sequence[Node]:
    """Return the nodes of a shortest cycle; each points to the next, the last to the first.

    An empty sequence says that there is no cycle. Targets that are not keys of *edges* are passed
    over.
    """
    best: list[Node] = []
    edges = _between_cycles(edges)
    for start in edges:
        cycle = _cycle_through(start, edges, shorter_than=len(best) or len(edges) + 1)
        if cycle:
            best = cycle
    return best


def _between_cycles(edges: Mapping[Node, Iterable[Node]]) -> Mapping[Node, Iterable[Node]]:
    """Leave out what only leads to a cycle or only comes from one: there may be thousands."""
    backward: dict[Node, list[Node]] = defaultdict(list)
    for node, targets in edges.items():
        for target in targets:
            backward[target].append(node)
    ends = _ends(edges) | _ends({node: backward[node] for node in edges})
    return {node: targets for node, targets in edges.items() if node not in ends}


def _ends(edges: Mapping[Node, Iterable[Node]]) -> set[Node]:
    """Return the nodes from which no path leads into a cycle."""
    sources: dict[Node, list[Node]] = defaultdict(list)
    left: dict[Node, int] = {}
    for node, targets in edges.items():
        inside = [target for target in targets if target in edges]
        left[node] = len(inside)
        for target in inside:
            sources[target].append(node)
    waiting = [node for node, count in left.items() if count == 0]
    ends: set[Node] = set()
    while waiting:
        node = waiting.pop()
        ends.add(node)
        for source in sources[node]:
            left[source] -= 1
            if left[source] == 0:
                waiting.append(source)
    return ends


def _cycle_through(
    start: Node, edges: Mapping[Node, Iterable[Node]], *, shorter_than: int
) -> list[Node]:
    came_from: dict[Node, Node] = {}
    distance = {start: 0}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if distance[node] + 1 >= shorter_than:
            return []
        for target in edges[node]:
            if target == start:
                path = [node]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if target in edges and target not in distance:
                distance[target] = distance[node] + 1
                came_from[target] = node
                queue.append(target)
    return []
