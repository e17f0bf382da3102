"""Reading an OpenStreetMap extract: streets, outlines, shores and boundaries inside its box. Needs the extra [city]."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.places import LonLat
from twin.survey.errors import SurveyError

Box = tuple[float, float, float, float]  # west, south, east, north
Line = tuple[LonLat, ...]

DRIVEN = {
    "motorway": 80.0, "trunk": 70.0, "primary": 50.0, "secondary": 50.0, "tertiary": 40.0, "unclassified": 30.0,
    "residential": 30.0, "living_street": 20.0, "motorway_link": 50.0, "trunk_link": 50.0, "primary_link": 40.0,
    "secondary_link": 40.0, "tertiary_link": 30.0,
}  # fmt: skip
"""Road classes that trucks drive, with the speed limit in km/h where none is tagged."""

WALKED = ("service", "pedestrian", "track", "footway", "cycleway", "path", "steps", "bridleway")
GREEN = {
    "leisure": ("park", "garden", "pitch", "playground", "nature_reserve", "golf_course"),
    "landuse": ("grass", "forest", "cemetery", "recreation_ground", "village_green", "meadow", "orchard", "allotments"),
    "natural": ("wood", "scrub", "grassland", "heath"),
}
WET = {"natural": ("water", "bay"), "landuse": ("reservoir", "basin"), "waterway": ("riverbank", "dock")}
LAYERED: tuple[tuple[str, Mapping[str, tuple[str, ...]]], ...] = (("water", WET), ("park", GREEN))
PLACES = ("city", "borough", "suburb", "quarter", "neighbourhood", "town", "village")
HIGHEST_LEVEL = 10  # admin_level of the smallest areas that are used
MOST_M = 280_000.0  # a city's things stand within 150 km of its centre
M_PER_DEG = 111_195.0
MISSING = "use an extract made by `osmium extract --strategy complete_ways`, or a larger box"


@dataclass(frozen=True, slots=True)
class Road:
    """One way of the road network: the run of it that lies in the extract."""

    refs: tuple[int, ...]  # OpenStreetMap node ids
    line: Line
    cls: str
    name: str
    maxspeed: float  # km/h
    oneway: int  # 1 along the line, -1 against it, 0 both
    tunnel: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """One thing of the base map: layer, class, name, outer rings with holes, or a line."""

    layer: str  # "water" | "park" | "building" | "road" | "rail" | "place"
    cls: str
    name: str
    name_zh: str
    polygons: tuple[tuple[Line, ...], ...] = ()  # of rings: outer, then holes
    line: Line = ()


@dataclass(frozen=True, slots=True)
class Border:
    """The line of one administrative boundary, and the names of the areas that it bounds."""

    level: int
    line: Line
    areas: tuple[tuple[str, str], ...]  # (name, name_zh)


@dataclass(slots=True)
class Extract:
    """What was found in an extract."""

    box: Box
    roads: list[Road] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    coast: list[Line] = field(default_factory=list)  # water on the right
    cut_water: list[tuple[str, list[Line]]] = field(default_factory=list)  # closed waters that leave the box
    borders: list[Border] = field(default_factory=list)
    works: list[tuple[str, LonLat]] = field(default_factory=list)  # construction sites: name, middle
    nodes: int = 0


def read_extract(path: Path, progress: Callable[[str], None] = lambda _: None) -> Extract:
    """Read an .osm.pbf (or any format that osmium knows). Raises SurveyError for anything that is no usable extract."""
    osmium = _osmium(path)
    with _readable(path):
        progress("boundaries")
        bounded = _boundaries(osmium, path)
        progress("ways and outlines")
        sight = _Sight(bounded)
        _handler(osmium, sight).apply_file(str(path), locations=True)
        box = _box(osmium, path, sight.seen)
    found = sight.found
    found.box, found.nodes = box, sight.nodes
    if not sight.nodes:
        raise SurveyError(f"{path.name}: the extract holds no nodes", MISSING)
    _check_box(path, box)
    if not found.roads:
        raise SurveyError(f"{path.name}: the extract has no roads", "choose an extract of a place with streets")
    return found


def _size_m(box: Box) -> tuple[float, float]:
    """Width and height of a box in metres."""
    west, south, east, north = box
    return (east - west) * M_PER_DEG * math.cos(math.radians((south + north) / 2)), (north - south) * M_PER_DEG


def _check_box(path: Path, box: Box) -> None:
    """Raise SurveyError for an extract that is wider or higher than a city can be."""
    wide_m, high_m = _size_m(box)
    if max(wide_m, high_m) <= MOST_M:
        return
    if box[0] < -179 and box[2] > 179:
        problem, fix = "the extract crosses the antimeridian (180 degrees)", "cut it there and build one side"
    else:
        problem = f"the extract is {wide_m / 1000:.0f} km wide and {high_m / 1000:.0f} km high"
        fix = f"cut out one city of at most {MOST_M / 1000:.0f} km: `osmium extract --bbox WEST,SOUTH,EAST,NORTH`"
    raise SurveyError(f"{path.name}: {problem}", fix)


def middle_of(path: Path) -> LonLat:
    """The middle of an extract's box by its header; its first node where the header has none. Raises SurveyError."""
    osmium = _osmium(path)
    with _readable(path):
        nodes = osmium.FileProcessor(str(path), osmium.osm.NODE)
        lon, lat = next(((n.location.lon, n.location.lat) for n in nodes if n.location.valid()), (0.0, 0.0))
        west, south, east, north = _box(osmium, path, [lon, lat, lon, lat])
    return (west + east) / 2, (south + north) / 2


def _osmium(path: Path) -> Any:
    if not path.is_file():
        raise SurveyError(
            f"{path}: no such file", "name an OpenStreetMap extract, such as one of download.geofabrik.de"
        )
    try:
        import osmium
    except ImportError as error:
        raise SurveyError("reading extracts needs osmium", "pip install 'citywhistle[city]'") from error
    return osmium


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What osmium says about a broken file as a SurveyError."""
    try:
        yield
    except (RuntimeError, ValueError, OSError, EOFError) as error:
        fix = "is it complete, and an .osm.pbf? download it again and compare its checksum"
        raise SurveyError(f"{path.name}: not a readable OpenStreetMap extract: {error}", fix) from error


def _boundaries(osmium: Any, path: Path) -> dict[int, list[tuple[int, str, str]]]:
    """Way id -> (admin_level, name, name_zh) of the areas that it bounds."""
    bounded: dict[int, list[tuple[int, str, str]]] = {}
    for relation in osmium.FileProcessor(str(path), osmium.osm.RELATION):
        tags = relation.tags
        level = tags.get("admin_level", "")
        if tags.get("boundary") != "administrative" or not level.isdecimal() or int(level) > HIGHEST_LEVEL:
            continue
        name = tags.get("name", "")
        for member in relation.members:
            if member.type == "w" and member.role in ("outer", "inner", "") and name:
                bounded.setdefault(member.ref, []).append((int(level), name, zh_of(tags)))
    return bounded


def _box(osmium: Any, path: Path, seen: list[float]) -> Box:
    """The box of the file's header, else (or where that is a whole country's) that of its road nodes."""
    with osmium.io.Reader(str(path)) as reader:
        told = reader.header().box()
    if told.valid() and told.bottom_left.lon < told.top_right.lon and told.bottom_left.lat < told.top_right.lat:
        box = told.bottom_left.lon, told.bottom_left.lat, told.top_right.lon, told.top_right.lat
        if max(_size_m(box)) <= MOST_M or seen[0] >= seen[2]:
            return box
    return seen[0], seen[1], seen[2], seen[3]


def _handler(osmium: Any, sight: _Sight) -> Any:
    """An osmium handler that shows everything to `sight`."""

    class Handler(osmium.SimpleHandler):  # type: ignore[misc]
        def node(self, node: Any) -> None:
            sight.node(node)

        def way(self, way: Any) -> None:
            sight.way(way)

        def area(self, area: Any) -> None:
            sight.area(area)

    return Handler()


class _Sight:
    """Takes what osmium shows and keeps what a city needs."""

    def __init__(self, bounded: dict[int, list[tuple[int, str, str]]]) -> None:
        self.bounded = bounded
        self.found = Extract((0, 0, 0, 0))
        self.seen = [180.0, 90.0, -180.0, -90.0]
        self.nodes = 0

    def node(self, node: Any) -> None:
        self.nodes += 1
        if not len(node.tags):
            return
        cls, name = node.tags.get("place"), node.tags.get("name")
        if cls in PLACES and name and node.location.valid():
            point = (node.location.lon, node.location.lat)
            self.found.shapes.append(Shape("place", cls, name, zh_of(node.tags), line=(point,)))

    def way(self, way: Any) -> None:
        tags = way.tags
        told = self.bounded.get(way.id)
        if told:
            self.border(way, told)
        highway, coast = tags.get("highway"), tags.get("natural") == "coastline"
        if highway in DRIVEN and tags.get("area") != "yes":
            self.road(way, highway)
        elif highway in WALKED and tags.get("area") != "yes":
            self.lines("road", highway, way)
        elif tags.get("railway") in ("rail", "tram", "light_rail", "subway") and tags.get("tunnel") != "yes":
            self.lines("rail", tags.get("railway"), way)
        elif tags.get("waterway") in ("river", "stream", "canal"):
            self.lines("water", tags.get("waterway"), way)
        elif coast:
            self.found.coast += [line for _, line in runs(way.nodes)]
        elif way.is_closed() and class_in(tags, WET):
            pieces = [line for _, line in runs(way.nodes)]
            if pieces and sum(len(piece) for piece in pieces) < len(way.nodes):
                if len(pieces) > 1 and pieces[-1][-1] == pieces[0][0]:
                    pieces = [pieces.pop() + pieces[0][1:], *pieces[1:]]
                self.found.cut_water.append((tags.get("name", ""), pieces))

    def border(self, way: Any, told: list[tuple[int, str, str]]) -> None:
        for level in {level for level, _, _ in told}:
            areas = tuple((name, name_zh) for at, name, name_zh in told if at == level)
            self.found.borders += [Border(level, line, areas) for _, line in runs(way.nodes)]

    def road(self, way: Any, cls: str) -> None:
        tags = way.tags
        told = tags.get("oneway", "yes" if tags.get("junction") == "roundabout" or cls == "motorway" else "no")
        oneway = {"yes": 1, "1": 1, "true": 1, "-1": -1, "reverse": -1}.get(told, 0)
        speed = speed_of(tags.get("maxspeed", ""), DRIVEN[cls])
        tunnel = tags.get("tunnel", "no") not in ("no", "")
        for refs, line in runs(way.nodes):
            self.found.roads.append(Road(refs, line, cls, tags.get("name", ""), speed, oneway, tunnel))
            for lon, lat in (line[0], line[-1]):
                self.seen = [
                    min(self.seen[0], lon),
                    min(self.seen[1], lat),
                    max(self.seen[2], lon),
                    max(self.seen[3], lat),
                ]

    def lines(self, layer: str, cls: str, way: Any) -> None:
        name, name_zh = way.tags.get("name", ""), zh_of(way.tags)
        self.found.shapes += [Shape(layer, cls, name, name_zh, line=line) for _, line in runs(way.nodes)]

    def area(self, area: Any) -> None:
        tags = area.tags
        layer, cls = layer_of(tags)
        if not layer:
            return
        polygons = tuple(
            (ring(outer), *(ring(inner) for inner in area.inner_rings(outer))) for outer in area.outer_rings()
        )
        if not polygons:
            return
        if layer == "works":
            lons, lats = [p[0] for p in polygons[0][0]], [p[1] for p in polygons[0][0]]
            middle = ((min(lons) + max(lons)) / 2, (min(lats) + max(lats)) / 2)
            self.found.works.append((tags.get("name", ""), middle))
        else:
            self.found.shapes.append(Shape(layer, cls, tags.get("name", ""), zh_of(tags), polygons=polygons))


def runs(nodes: Iterable[Any]) -> Iterator[tuple[tuple[int, ...], Line]]:
    """The unbroken runs (>= 2 nodes) of a way whose nodes are partly missing, as (node ids, positions)."""
    refs: list[int] = []
    line: list[LonLat] = []
    for node in nodes:
        if node.location.valid():
            refs.append(node.ref)
            line.append((node.location.lon, node.location.lat))
            continue
        if len(refs) > 1:
            yield tuple(refs), tuple(line)
        refs, line = [], []
    if len(refs) > 1:
        yield tuple(refs), tuple(line)


def ring(nodes: Iterable[Any]) -> Line:
    """A closed ring's positions."""
    return tuple((node.location.lon, node.location.lat) for node in nodes)


def layer_of(tags: Any) -> tuple[str, str]:
    """(layer, class) of an area; ('', '') for one that is not drawn."""
    if tags.get("building", "no") != "no":
        return "building", tags.get("building")
    if tags.get("landuse") == "construction":
        return "works", "construction"
    for layer, table in LAYERED:
        cls = class_in(tags, table)
        if cls:
            return layer, cls
    if tags.get("highway") in ("pedestrian", "footway"):
        return "square", tags.get("highway")
    return "", ""


def class_in(tags: Any, table: Mapping[str, tuple[str, ...]]) -> str:
    """The value of the first key of `table` which the tags have with one of its values."""
    return next((str(tags.get(key)) for key, values in table.items() if tags.get(key) in values), "")


def speed_of(text: str, usual: float) -> float:
    """A maxspeed tag in km/h (mph converted); `usual` where it says no number."""
    figure, _, unit = text.partition(" ")
    try:
        speed = float(figure) * (1.609344 if unit == "mph" else 1.0)
    except ValueError:
        return usual
    return speed if 5 <= speed <= 140 else usual


def zh_of(tags: Any) -> str:
    """A thing's Chinese name, simplified first; '' where it has none."""
    return str(tags.get("name:zh-Hans") or tags.get("name:zh") or "")
