"""Shores, lakes and boundaries that leave the box."""

from __future__ import annotations

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from twin.survey.box import along_box, closed_water, joined, leaving, on_box, reaching, sea, walk

Shape = shapely.geometry.base.BaseGeometry


def same(a: Shape, b: Shape) -> bool:
    """Whether two shapes cover the same ground."""
    return bool(a.symmetric_difference(b).area < 1e-9)


BOX = (0.0, 0.0, 10.0, 10.0)


def test_places_along_the_box() -> None:
    """Places count clockwise from the south-west corner."""
    assert [along_box(p, BOX) for p in ((0, 5), (5, 10), (10, 5), (5, 0))] == [0.5, 1.5, 2.5, 3.5]


@given(st.floats(0, 3.999))
def test_a_place_is_found_again(place: float) -> None:
    """The point at a place is at that place (corners belong to either edge)."""
    again = on_box(along_box(on_box(place, BOX), BOX), BOX)
    assert again == pytest.approx(on_box(place, BOX), abs=1e-9)


def test_walking_takes_the_corners() -> None:
    """The way along the edge holds every corner between, clockwise or not."""
    assert walk(0.5, 1.5, BOX) == [(0, 5), (0, 10), (5, 10)]
    assert walk(0.5, 1.5, BOX, clockwise=False) == [(0, 5), (0, 0), (10, 0), (10, 10), (5, 10)]
    assert walk(1.5, 1.5, BOX) == [(5, 10), (5, 10)]


def test_water_lies_on_the_right() -> None:
    """A coast drawn eastwards has the sea in the south, drawn westwards in the north."""
    assert same(sea([((0, 4), (10, 4))], BOX), shapely.box(0, 0, 10, 4))
    assert same(sea([((10, 4), (0, 4))], BOX), shapely.box(0, 4, 10, 10))


def test_a_strait_between_two_coasts() -> None:
    """Two coasts that face each other enclose the water between them, whatever their order."""
    south, north = ((10, 4), (0, 4)), ((0, 6), (10, 6))
    for coast in ([south, north], [north, south]):
        assert same(sea(coast, BOX), shapely.box(0, 4, 10, 6))


def test_islands_and_pieces() -> None:
    """An island is land in the sea, also where it is drawn in two pieces; alone, it has sea all around."""
    island = ((4, 1), (6, 1), (6, 3), (4, 3), (4, 1))
    assert sea([((0, 5), (10, 5)), island], BOX).area == pytest.approx(50 - 4)
    assert sea([island[:3], island[2:]], BOX).area == pytest.approx(100 - 4)
    lagoon = tuple(reversed(island))
    assert sea([((10, 5), (0, 5)), lagoon], BOX).area == pytest.approx(50 + 4)


def test_no_coast_is_no_sea() -> None:
    """Inland there is no sea."""
    assert sea([], BOX).is_empty


def test_pieces_are_joined_in_their_direction() -> None:
    """Pieces become one line wherever one ends at another's start, never the wrong way round."""
    assert joined([((2, 0), (3, 0)), ((0, 0), (1, 0)), ((1, 0), (2, 0))]) == [((0, 0), (1, 0), (2, 0), (3, 0))]
    assert len(joined([((0, 0), (1, 0)), ((2, 0), (1, 0))])) == 2


def test_a_cut_line_goes_straight_on() -> None:
    """A line that stops short leaves in its own direction unless the nearest edge is much nearer."""
    assert leaving([(5, 9), (8, 9)], BOX) == pytest.approx(along_box((10, 9), BOX))
    assert leaving([(1, 9.9), (2, 9.9)], BOX) == pytest.approx(along_box((2, 10), BOX))
    assert leaving([(5, 5), (5, 5)], BOX) == along_box((5, 5), BOX)


def test_a_cut_lake_closes_by_the_shorter_way() -> None:
    """A lake in a corner is closed through that corner."""
    lake = closed_water([((0, 7), (3, 7), (3, 10))], BOX)
    assert same(lake, shapely.box(0, 7, 3, 10))
    assert closed_water([((0, 7), (0, 7.1))], BOX).area < 0.01


def test_ends_reach_the_box_but_junctions_stay() -> None:
    """A loose end is drawn on to the box, a far one and one where lines meet stay."""
    assert reaching(((5, 5), (9.8, 5)), BOX, 0.5) == ((5, 5), (9.8, 5), (10, 5))
    assert reaching(((5, 5), (9.8, 5)), BOX, 0.5, {(9.8, 5)}) == ((5, 5), (9.8, 5))
