"""The base map that the page draws without any network: what is where, from which zoom on, with which name.

GeoJSON features in drawing order (water, parks, squares, buildings, roads, rails, places). Properties: `layer`,
`class`, `minzoom`, and `name` where there is one (local script).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import shapely
from shapely.geometry import LineString, Polygon

from twin.survey.box import closed_water, polygons_of, reaching, sea
from twin.survey.extract import Extract, Shape
from twin.survey.write import Feature, feature, pairs

LAYERS = ("water", "park", "square", "building", "road", "rail", "place")
MINZOOM = {
    "motorway": 9, "trunk": 9, "primary": 10, "secondary": 11, "tertiary": 12, "unclassified": 13, "residential": 13,
    "living_street": 14, "service": 15, "pedestrian": 14, "footway": 16, "cycleway": 15, "path": 16, "steps": 16,
    "track": 15, "bridleway": 16, "sea": 8, "water": 9, "river": 10, "stream": 14, "canal": 11, "rail": 11, "tram": 14,
    "light_rail": 12, "subway": 13, "city": 8, "town": 9, "borough": 10, "suburb": 11, "quarter": 12,
    "neighbourhood": 13, "village": 11,
}  # fmt: skip
USUAL = {"water": 12, "park": 12, "square": 14, "building": 14, "road": 13, "rail": 12, "place": 13}
SIMPLER_DEG = 2e-6  # of buildings and parks: a fifth of a metre


def basemap_of(extract: Extract) -> list[Feature]:
    """The whole base map of an extract, clipped to its box."""
    shapes: list[Feature] = []
    water = sea(extract.coast, extract.box)
    shapes += outlines("water", "sea", "", water)
    for name, pieces in extract.cut_water:
        shapes += outlines("water", "water", name, closed_water(pieces, extract.box))
    for road in extract.roads:
        shapes += line_of(extract, "road", road.cls, road.name, road.line, tunnel=road.tunnel)
    for shape in extract.shapes:
        shapes += drawn(extract, shape)
    return sorted(shapes, key=lambda told: LAYERS.index(told["properties"]["layer"]))


def drawn(extract: Extract, shape: Shape) -> Iterator[Feature]:
    """One shape of the extract as features."""
    if shape.layer == "place":
        yield feature(properties(shape.layer, shape.cls, shape.name), "Point", pairs(shape.line)[0])
    elif shape.line:
        yield from line_of(extract, shape.layer, shape.cls, shape.name, shape.line)
    else:
        box = shapely.box(*extract.box)
        for rings in shape.polygons:
            whole = shapely.make_valid(Polygon(rings[0], rings[1:]))
            yield from outlines(shape.layer, shape.cls, shape.name, whole.intersection(box))


def line_of(extract: Extract, layer: str, cls: str, name: str, line: Any, *, tunnel: bool = False) -> Iterator[Feature]:
    """A line, clipped to the box and drawn on to its edge where it leaves by less than 20 m."""
    cut = LineString(reaching(line, extract.box, 0.0002)).intersection(shapely.box(*extract.box))
    for piece in getattr(cut, "geoms", [cut]):
        if piece.geom_type == "LineString" and not piece.is_empty:
            told = properties(layer, cls, name)
            if tunnel:
                told["tunnel"] = True
            yield feature(told, "LineString", pairs(piece.coords))


def outlines(layer: str, cls: str, name: str, shape: Any) -> Iterator[Feature]:
    """A surface as Polygon features, outer ring first, without points that nobody could see."""
    for piece in polygons_of(shape):
        simple = piece.simplify(SIMPLER_DEG, preserve_topology=True)
        rings = [pairs(simple.exterior.coords), *(pairs(hole.coords) for hole in simple.interiors)]
        yield feature(properties(layer, cls, name), "Polygon", rings)


def properties(layer: str, cls: str, name: str) -> dict[str, Any]:
    """The properties of a feature."""
    told: dict[str, Any] = {"layer": layer, "class": cls, "minzoom": MINZOOM.get(cls, USUAL[layer])}
    if name:
        told["name"] = name
    return told
