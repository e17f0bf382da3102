"""Lines that leave the extract, closed against its box: shores, cut lakes and boundaries. Planar, in degrees."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from typing import Any

import shapely
from shapely.geometry import Polygon

from devices.cities.geometry import metres_between
from devices.places import LonLat
from twin.survey.extract import Box, Line

STRAIGHT = 2.5  # a line is taken to go straight on if that is at most so much longer than the shortest way out
TOUCH = 1e-9  # degrees; nearer to an edge than this counts as on it


def polygons_of(shape: Any) -> list[Any]:
    """The polygons of any shapely geometry, however deeply collected; what clipping left of lines is dropped."""
    if shape.geom_type == "Polygon":
        return [] if shape.is_empty else [shape]
    return [polygon for part in getattr(shape, "geoms", ()) for polygon in polygons_of(part)]


def along_box(point: LonLat, box: Box) -> float:
    """Where the box's edge is nearest to a point: 0..4 clockwise from the south-west corner (W, N, E, S edges)."""
    west, south, east, north = box
    x, y = (point[0] - west) / (east - west), (point[1] - south) / (north - south)
    x, y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
    # In metres, or a degree of longitude would count as much as one of latitude.
    wide, high = (east - west) * math.cos(math.radians((south + north) / 2)), north - south
    away = (x * wide, (1 - y) * high, (1 - x) * wide, y * high)
    edge = away.index(min(away))
    return (edge + (y, x, 1 - y, 1 - x)[edge]) % 4


def leaving(line: Sequence[LonLat], box: Box) -> float:
    """Where a line whose further points are missing leaves the box: straight on, or by the nearest edge if that is
    much nearer."""
    end, nearest = line[-1], along_box(line[-1], box)
    before = next((point for point in reversed(line) if point != end), end)
    dx, dy = end[0] - before[0], end[1] - before[1]
    shares = [
        (edge - at) / step
        for at, step, edges in ((end[0], dx, (box[0], box[2])), (end[1], dy, (box[1], box[3])))
        for edge in edges
        if step and (edge - at) / step >= 0
    ]
    if not shares:
        return nearest
    ahead = (end[0] + dx * min(shares), end[1] + dy * min(shares))
    straight = metres_between(end, ahead) <= STRAIGHT * metres_between(end, on_box(nearest, box))
    return along_box(ahead, box) if straight else nearest


def on_box(place: float, box: Box) -> LonLat:
    """The point of the box's edge at a place as `along_box` counts it."""
    west, south, east, north = box
    edge, share = int(place) % 4, place % 1
    x, y = ((0.0, share), (share, 1.0), (1.0, 1 - share), (1 - share, 0.0))[edge]
    return west + x * (east - west), south + y * (north - south)


def walk(start: float, end: float, box: Box, *, clockwise: bool = True) -> list[LonLat]:
    """The box's edge from one place to another, corners included, both ends included."""
    if not clockwise:
        return walk(end, start, box)[::-1]
    if end < start:
        end += 4
    corners = [float(c) for c in range(int(start) + 1, int(end) + 1) if start < c < end]
    return [on_box(place, box) for place in (start, *corners, end)]


def joined(lines: Iterable[Line]) -> list[Line]:
    """Lines put end to start wherever they meet, directions kept."""
    pieces = list(lines)
    done: list[Line] = []
    while pieces:
        line = pieces.pop(0)
        grew = True
        while grew and line[0] != line[-1]:
            grew = False
            for i, other in enumerate(pieces):
                if other[0] == line[-1]:
                    line, grew = line + other[1:], True
                elif other[-1] == line[0]:
                    line, grew = other + line[1:], True
                if grew:
                    del pieces[i]
                    break
        done.append(line)
    return done


def sea(coast: Sequence[Line], box: Box) -> Any:
    """The sea inside the box as a shapely geometry (empty where there is no coast).

    OpenStreetMap draws the coast with land on the left and water on the right. So from the end of each open piece the
    shore goes on clockwise along the box to the nearest start of a piece; closed pieces are islands or lagoons.
    """
    pieces = joined(coast)
    islands = [Polygon(piece) for piece in pieces if piece[0] == piece[-1] and len(piece) > 3]
    opened = [piece for piece in pieces if piece[0] != piece[-1]]
    water = shapely.union_all([shapely.make_valid(Polygon(ring)) for ring in _closed(opened, box)])
    if not opened and islands:
        water = shapely.box(*box)
    for island in islands:
        land = island.exterior.is_ccw
        water = water.difference(shapely.make_valid(island)) if land else water.union(shapely.make_valid(island))
    return water.intersection(shapely.box(*box))


def _closed(opened: list[Line], box: Box) -> list[list[LonLat]]:
    starts = [leaving(piece[::-1], box) for piece in opened]
    left = set(range(len(opened)))
    rings: list[list[LonLat]] = []
    while left:
        first = at = min(left)
        shore: list[LonLat] = []
        while True:
            left.discard(at)
            shore += [on_box(starts[at], box), *opened[at]]
            end = leaving(opened[at], box)
            following = min([*left, first], key=lambda i: (starts[i] - end) % 4)
            shore += walk(end, starts[following], box)
            if following == first:
                break
            at = following
        rings.append(shore)
    return rings


def closed_water(pieces: Sequence[Line], box: Box) -> Any:
    """A lake that leaves the box: its runs in order, joined along the box by the shorter way."""
    shore: list[LonLat] = []
    for piece, following in zip(pieces, [*pieces[1:], pieces[0]], strict=True):
        end, start = leaving(piece, box), leaving(following[::-1], box)
        shore += [*piece, *walk(end, start, box, clockwise=(start - end) % 4 <= 2)]
    if len(shore) < 4:
        return Polygon()
    return shapely.make_valid(Polygon(shore)).intersection(shapely.box(*box))


def reaching(line: Line, box: Box, reach: float, fixed: Container[LonLat] = ()) -> Line:
    """A line whose ends are drawn on to the box where they stop at most `reach` degrees short of it.

    Ends at one of the `fixed` points (where it meets other lines) stay.
    """
    drawn = list(line)
    for end in (0, -1):
        edge = on_box(leaving(line[::-1] if end == 0 else line, box), box)
        away = max(abs(edge[0] - line[end][0]), abs(edge[1] - line[end][1]))
        if TOUCH < away <= reach and line[end] not in fixed:
            drawn = [edge, *drawn] if end == 0 else [*drawn, edge]
    return tuple(drawn)
