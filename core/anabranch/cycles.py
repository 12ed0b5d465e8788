"""Find the shortest cycle of a digraph, to show a person the least they must look at."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Node = TypeVar("Node")


def shortest_cycle(edges: Mapping[Node, Iterable[Node]]) -> Sequence[Node]:
    """Return the nodes of a shortest cycle; each points to the next, the last to the first.

    An empty sequence says that there is no cycle. Targets that are not keys of *edges* are passed
    over.
    """
    best: list[Node] = []
    for start in edges:
        cycle = _cycle_through(start, edges, shorter_than=len(best) or len(edges) + 1)
        if cycle:
            best = cycle
            if len(best) <= 2:
                break
    return best


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
