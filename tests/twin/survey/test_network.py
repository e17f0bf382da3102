"""Ways on the road graph against a plain search over all paths."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.cities.geometry import Plane
from twin.survey.network import Network, length_m, simplified

PLANE = Plane((0.0, 0.0))
ARCS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from((20.0, 50.0)), st.sampled_from((0, 1, -1)))
)


def network_of(arcs: list[tuple[int, int, float, int]]) -> Network:
    """Six nodes on a line 100 m apart, with the given roads."""
    network = Network(PLANE)
    at = [PLANE.lonlat(100.0 * i, 7.0 * i * i) for i in range(6)]
    for i in range(6):
        network.node(i, at[i])
    for a, b, speed, oneway in arcs:
        if a != b:
            network.add((a, b), (at[a], at[b]), speed, oneway)
    return network


def seconds(network: Network, rows: tuple[int, ...]) -> float:
    """Driving time of a path by the fastest arc of each step; inf where there is none."""
    return sum(
        min((cost for other, cost in network.ahead[a] if other == b), default=float("inf")) for a, b in pairwise(rows)
    )


def best(network: Network, start: int, end: int) -> float:
    """The fastest of all simple paths."""
    between = [row for row in range(6) if row not in (start, end)]
    paths = ((start, *middle, end) for n in range(5) for middle in permutations(between, n))
    return min(seconds(network, path) for path in paths)


@settings(max_examples=60, deadline=None)
@given(ARCS)
def test_ways_are_the_fastest(arcs: list[tuple[int, int, float, int]]) -> None:
    """Ways to and from a node take as long as the best of all paths, and obey one-way roads."""
    network = network_of(arcs)
    to, since = network.ways_to(0), network.ways_from(0)
    for row in range(1, 6):
        for ways, start, end in ((to, row, 0), (since, 0, row)):
            line = ways.line(row)
            quickest = best(network, start, end)
            if not line:
                assert quickest == float("inf")
                continue
            rows = tuple(network.points.index(point) for point in line)
            assert (rows[0], rows[-1]) == (start, end)
            assert seconds(network, rows) == pytest.approx(quickest)


@settings(max_examples=60, deadline=None)
@given(ARCS)
def test_the_core_is_the_largest_set_of_mutual_ways(arcs: list[tuple[int, int, float, int]]) -> None:
    """Within the core everything reaches everything, and no other node's mutual set is larger."""
    network = network_of(arcs)
    reach = [{row for row in range(6) if network.ways_from(start).line(row)} for start in range(6)]
    mutual = [{b for b in range(6) if b in reach[a] and a in reach[b]} for a in range(6)]
    core = network.core()
    assert set(core) in mutual
    assert len(core) == max(len(group) for group in mutual)


def test_simplified_lines_stay_close() -> None:
    """Points within the tolerance are dropped, corners and ends stay, and the length hardly changes."""
    line = [PLANE.lonlat(x, y) for x, y in ((0, 0), (50, 0.5), (100, 0), (100, 50), (100.4, 80), (100, 100))]
    kept = simplified(line, PLANE, 1.0)
    assert kept == (line[0], line[2], line[5])
    assert length_m(kept, PLANE) == pytest.approx(length_m(line, PLANE), rel=0.01)
