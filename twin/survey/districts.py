"""Districts > streets > grid cells of an extract: its administrative boundaries, else an even division of its box."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry import LineString, Point

from devices.cities.geometry import METRES_PER_DEGREE, Plane
from devices.places import Area, LonLat
from twin.survey.box import polygons_of, reaching
from twin.survey.extract import Border, Box, Extract

REACH_DEG = 0.003  # a boundary that stops this short of the box is drawn on to it
SLIVER = 0.002  # of the box: smaller pieces are joined to their neighbour
COMMUNITY = "001"  # digits 10-12 of a grid code; OpenStreetMap knows no communities (社区)


@dataclass(frozen=True, slots=True)
class Named:
    """A piece of ground with a name."""

    name: str
    name_zh: str
    shape: Any


@dataclass(frozen=True, slots=True)
class Division:
    """A city's areas, and where a point belongs."""

    areas: tuple[Area, ...]
    locate: Callable[[float, float], tuple[str, str, str]]  # lon, lat -> codes of district, street, grid cell


def divide(extract: Extract, adcode: str, plane: Plane, grid_m: float, zh: Mapping[str, str]) -> Division:
    """Divide an extract. Codes: district adcode[:4] + 2 digits, street + 3, grid cell + 3 (community) + 3."""
    box = shapely.box(*extract.box)
    places = [(s.name, s.name_zh, s.line[0]) for s in extract.shapes if s.layer == "place" and s.cls != "city"]
    levels = sorted({border.level for border in extract.borders}, reverse=True)
    by_level = {level: _faces(extract, level) for level in levels}
    streets = next((faces for level in levels if len(faces := by_level[level]) > 1), [])
    used = next((level for level in levels if by_level[level] is streets), 0)
    above = next((faces for level in levels if level < used and len(faces := by_level[level]) > 1), [])
    streets = _placed(streets or _even(extract.box), places)
    districts = above or [Named("", "", box)]
    return _numbered(_owned(streets, districts), adcode, plane, grid_m, zh)


def _faces(extract: Extract, level: int) -> list[Named]:
    """The pieces into which the boundaries of one level cut the box, each with the name of its area."""
    borders = [border for border in extract.borders if border.level == level]
    met = Counter(point for border in borders for point in {border.line[0], border.line[-1]})
    junctions = {point for point, count in met.items() if count > 1}
    lines = [LineString(reaching(border.line, extract.box, REACH_DEG, junctions)) for border in borders]
    box = shapely.box(*extract.box)
    pieces = list(shapely.polygonize([shapely.union_all([box.exterior, *lines])]).geoms)
    pieces = _without_slivers(
        [piece for piece in pieces if box.covers(piece.representative_point())], box.area * SLIVER
    )
    pieces.sort(key=lambda piece: -piece.area)
    named: list[Named] = []
    for piece in pieces:
        named.append(Named(*_name(piece, borders, lines, named), piece))
    return _together(named)


def _together(pieces: list[Named]) -> list[Named]:
    """Pieces of one name as one area, in the order of their first pieces."""
    made: dict[tuple[str, str], Named] = {}
    for i, piece in enumerate(pieces):
        key = (piece.name, piece.name_zh) if piece.name else ("", str(i))
        whole = made[key].shape.union(piece.shape) if key in made else piece.shape
        made[key] = Named(piece.name, piece.name_zh, whole)
    return list(made.values())


def _placed(pieces: list[Named], places: Sequence[tuple[str, str, LonLat]]) -> list[Named]:
    """Pieces without a name called after a place inside."""
    told = []
    for piece in pieces:
        inside = [(name, name_zh) for name, name_zh, at in places if piece.shape.covers(Point(at))]
        told.append(Named(*inside[0], piece.shape) if inside and not piece.name else piece)
    return told


def _without_slivers(pieces: list[Any], least: float) -> list[Any]:
    """Pieces smaller than `least` joined to the neighbour with the longest common edge."""
    small = [piece for piece in pieces if piece.area < least]
    large = [piece for piece in pieces if piece.area >= least]
    tree = shapely.STRtree(large)
    for piece in small:
        shared = {int(i): piece.intersection(large[i]).length for i in sorted(tree.query(piece))}
        if shared and max(shared.values()) > 0:
            i = max(shared, key=lambda at: shared[at])
            large[i] = large[i].union(piece)
    return large or pieces


def _name(piece: Any, borders: list[Border], lines: list[Any], named: list[Named]) -> tuple[str, str]:
    """The area with most of this piece's edge, unless a neighbour across that edge has its name; ('', '') for none."""
    shared: dict[tuple[str, str], float] = {}
    for border, line in zip(borders, lines, strict=True):
        length = line.intersection(piece.boundary.buffer(1e-7)).length
        for area in border.areas:
            shared[area] = shared.get(area, 0.0) + length
    for area in sorted(shared, key=lambda area: (-shared[area], area)):
        taken = any(other.name == area[0] and other.shape.intersection(piece).length > 0 for other in named)
        if shared[area] > 0 and not taken:
            return area
    return "", ""


def _even(box: Box) -> list[Named]:
    """The box in 2 x 2 to 6 x 6 equal pieces of about 1.5 km, where there are no boundaries."""
    west, south, east, north = box
    wide = (east - west) * METRES_PER_DEGREE * math.cos(math.radians((south + north) / 2))
    columns = min(6, max(2, round(wide / 1500)))
    rows = min(6, max(2, round((north - south) * METRES_PER_DEGREE / 1500)))
    pieces = []
    for j in range(rows):
        for i in range(columns):
            shape = shapely.box(
                west + (east - west) * i / columns, south + (north - south) * j / rows,
                west + (east - west) * (i + 1) / columns, south + (north - south) * (j + 1) / rows,
            )  # fmt: skip
            pieces.append(Named("", "", shape))
    return pieces


def _owned(streets: list[Named], districts: list[Named]) -> list[tuple[Named, list[Named]]]:
    """Each street in the district that holds most of it; a district without a name takes its largest street's."""
    owned: list[list[Named]] = [[] for _ in districts]
    for street in streets:
        shares = [street.shape.intersection(district.shape).area for district in districts]
        owned[shares.index(max(shares))].append(street)
    told = []
    for district, own in zip(districts, owned, strict=True):
        if not own:
            continue
        largest = max(own, key=lambda street: street.shape.area)
        name, name_zh = (district.name, district.name_zh) if district.name else (largest.name, largest.name_zh)
        told.append((Named(name, name_zh, shapely.union_all([s.shape for s in own])), own))
    return told


def _numbered(
    owned: list[tuple[Named, list[Named]]], adcode: str, plane: Plane, grid_m: float, zh: Mapping[str, str]
) -> Division:
    areas: list[Area] = []
    cells: list[tuple[Any, tuple[str, str, str]]] = []
    for d, (district, streets) in enumerate(owned, 1):
        code = f"{adcode[:4]}{d:02d}"
        areas.append(_area(code, "district", "", district, f"District {d}", f"第{d}区", zh))
        for s, street in enumerate(streets, 1):
            below = f"{code}{s:03d}"
            areas.append(_area(below, "street", code, street, f"Street {s}", f"第{s}街道", zh))
            top = areas[-1]
            for g, shape in enumerate(_squares(street.shape, plane, grid_m), 1):
                grid = f"{below}{COMMUNITY}{g:03d}"
                cell = Named(f"{top.name} {g:03d}", f"{top.name_zh}第{g:03d}网格", shape)
                areas.append(_area(grid, "grid", below, cell, "", "", zh))
                cells.append((shape, (code, below, grid)))
    tree = shapely.STRtree([shape for shape, _ in cells])

    def locate(lon: float, lat: float) -> tuple[str, str, str]:
        """Codes of the cell at a point, or of the nearest one."""
        return cells[int(tree.nearest(Point(lon, lat)))][1]

    return Division(tuple(areas), locate)


def _area(code: str, level: str, parent: str, named: Named, name: str, name_zh: str, zh: Mapping[str, str]) -> Area:
    outline = tuple((round(x, 6), round(y, 6)) for x, y in _one(named.shape).exterior.coords)
    told = named.name or name
    return Area(code, level, parent, told, named.name_zh or zh.get(told) or (told if named.name else name_zh), outline)


def _squares(shape: Any, plane: Plane, grid_m: float) -> list[Any]:
    """A street cut into squares of `grid_m`, row by row from the north-west; scraps join the cell beside them."""
    west, south, east, north = shape.bounds
    (x0, y0), (x1, y1) = plane.xy(west, south), plane.xy(east, north)
    columns = range(math.floor(x0 / grid_m), math.floor(x1 / grid_m) + 1)
    rows = range(math.floor(y1 / grid_m), math.floor(y0 / grid_m) - 1, -1)
    square = shapely.box(*plane.lonlat(0, 0), *plane.lonlat(grid_m, grid_m)).area
    pieces = []
    for j in rows:
        for i in columns:
            low, high = plane.lonlat(i * grid_m, j * grid_m), plane.lonlat((i + 1) * grid_m, (j + 1) * grid_m)
            cut = shape.intersection(shapely.box(*low, *high))
            pieces += polygons_of(cut)
    return [_one(piece) for piece in _without_slivers(pieces, square * 0.2)]


def _one(shape: Any) -> Any:
    return max(polygons_of(shape), key=lambda piece: piece.area)
