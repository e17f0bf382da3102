"""The road network as a graph: where trucks can get from anywhere to anywhere, and the fastest ways."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from devices.cities.geometry import XY, Plane, metres_to_segment
from devices.places import LonLat

Arcs = list[list[tuple[int, float]]]  # node -> (node, seconds)


@dataclass(slots=True)
class Network:
    """Nodes with positions, and arcs with driving times in both directions of search."""

    plane: Plane
    points: list[LonLat] = field(default_factory=list)
    ahead: Arcs = field(default_factory=list)
    back: Arcs = field(default_factory=list)
    _rows: dict[Hashable, int] = field(default_factory=dict)

    def node(self, ref: Hashable, point: LonLat) -> int:
        """The row of a node, made at its first mention."""
        row = self._rows.get(ref)
        if row is None:
            row = self._rows[ref] = len(self.points)
            self.points.append(point)
            self.ahead.append([])
            self.back.append([])
        return row

    def add(self, refs: Sequence[Hashable], line: Sequence[LonLat], speed_kmh: float, oneway: int = 0) -> None:
        """Add one road: equal refs are equal nodes. `oneway` 1 along the line, -1 against it, 0 both ways."""
        rows = [self.node(ref, point) for ref, point in zip(refs, line, strict=True)]
        for a, b in pairwise(rows):
            (ax, ay), (bx, by) = self.plane.xy(*self.points[a]), self.plane.xy(*self.points[b])
            seconds = math.hypot(ax - bx, ay - by) / (speed_kmh / 3.6)
            if oneway >= 0:
                self.ahead[a].append((b, seconds))
                self.back[b].append((a, seconds))
            if oneway <= 0:
                self.ahead[b].append((a, seconds))
                self.back[a].append((b, seconds))

    def core(self) -> list[int]:
        """The largest set of nodes that can all reach each other (strongly connected), in ascending order."""
        order, group = self._finished(), [-1] * len(self.points)
        sizes: list[int] = []
        for root in reversed(order):
            if group[root] >= 0:
                continue
            members, stack = 0, [root]
            group[root] = len(sizes)
            while stack:
                members += 1
                for other, _ in self.back[stack.pop()]:
                    if group[other] < 0:
                        group[other] = len(sizes)
                        stack.append(other)
            sizes.append(members)
        best = sizes.index(max(sizes)) if sizes else -1
        return [row for row, at in enumerate(group) if at == best]

    def _finished(self) -> list[int]:
        """Nodes in the order in which a depth-first search leaves them (first half of Kosaraju's algorithm)."""
        seen, order = [False] * len(self.points), list[int]()
        for root in range(len(self.points)):
            if seen[root]:
                continue
            seen[root] = True
            stack = [(root, iter(self.ahead[root]))]
            while stack:
                row, arcs = stack[-1]
                following = next((other for other, _ in arcs if not seen[other]), None)
                if following is None:
                    order.append(row)
                    stack.pop()
                else:
                    seen[following] = True
                    stack.append((following, iter(self.ahead[following])))
        return order

    def ways_to(self, target: int) -> Ways:
        """Fastest ways from every node to `target`."""
        return Ways(self, _tree(self.back, target), toward=True)

    def ways_from(self, source: int) -> Ways:
        """Fastest ways from `source` to every node."""
        return Ways(self, _tree(self.ahead, source), toward=False)


@dataclass(frozen=True, slots=True)
class Ways:
    """A tree of fastest ways to (or from) one node."""

    network: Network
    next: list[int]
    toward: bool

    def line(self, row: int) -> list[LonLat]:
        """The way between `row` and the root as positions in driving order; empty where there is none."""
        if self.next[row] == -1:
            return []
        rows = [row]
        while self.next[rows[-1]] != rows[-1]:
            rows.append(self.next[rows[-1]])
        if not self.toward:
            rows.reverse()
        return [self.network.points[at] for at in rows]


def _tree(arcs: Arcs, root: int) -> list[int]:
    """Dijkstra's algorithm: for each node the next one towards the root (itself at the root, -1 unreachable)."""
    seconds, following = [math.inf] * len(arcs), [-1] * len(arcs)
    seconds[root], following[root] = 0.0, root
    queue = [(0.0, root)]
    while queue:
        so_far, row = heapq.heappop(queue)
        if so_far > seconds[row]:
            continue
        for other, cost in arcs[row]:
            if so_far + cost < seconds[other]:
                seconds[other], following[other] = so_far + cost, row
                heapq.heappush(queue, (so_far + cost, other))
    return following


def simplified(line: Sequence[LonLat], plane: Plane, tolerance_m: float) -> tuple[LonLat, ...]:
    """Douglas and Peucker's line: no dropped point lies further than `tolerance_m` from it."""
    xy: list[XY] = [plane.xy(*point) for point in line]
    keep, stack = {0, len(line) - 1}, [(0, len(line) - 1)]
    while stack:
        first, last = stack.pop()
        away = [metres_to_segment(xy[i], xy[first], xy[last]) for i in range(first + 1, last)]
        if away and max(away) > tolerance_m:
            middle = first + 1 + away.index(max(away))
            keep.add(middle)
            stack += [(first, middle), (middle, last)]
    return tuple(line[i] for i in sorted(keep))


def length_m(line: Iterable[LonLat], plane: Plane) -> float:
    """Length of a line in metres."""
    return sum(math.dist(plane.xy(*a), plane.xy(*b)) for a, b in pairwise(line))
