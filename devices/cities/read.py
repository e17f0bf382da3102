"""From the files of one city to its records: each file by itself here, what hangs on what in check.py."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from sys import intern
from typing import Any
from zoneinfo import ZoneInfo

from devices.cities import city_directory
from devices.cities.check import check_draft
from devices.cities.draft import Draft, key_line
from devices.cities.staff import read_departments
from devices.cities.tables import Column, Wrong, is_day, line_of, number, read_features, read_table, read_toml
from devices.errors import CityFileError
from devices.kinds import KINDS
from devices.places import Area, CityFiles, Device, Head, LonLat, Node, Permit, Road
from devices.topics import NAME

LEVELS = ("district", "street", "grid")
CLASSES = ("feeder", "cabinet", "site", "disposal", "company")
ORIGINS = ("simulated", "recorded", "real")
FORMAT = 1

AREA_COLUMNS = (Column("code"), Column("level"), Column("parent", ""), Column("name"), Column("name_zh", ""))
NODE_COLUMNS = (
    Column("id"), Column("class"), Column("name"), Column("name_zh", ""), Column("parent", ""), Column("lon", ""),
    Column("lat", ""), Column("radius_m", "0"), Column("area", ""), Column("start_hour", ""), Column("end_hour", ""),
)  # fmt: skip
DEVICE_COLUMNS = (
    Column("id"), Column("kind"), Column("code16"), Column("lon"), Column("lat"), Column("district"),
    Column("street", ""), Column("grid", ""), Column("cabinet", ""), Column("feeder", ""), Column("pole", ""),
    Column("gateway", ""), Column("company", ""), Column("plate", ""), Column("cadence_s", "0"),
    Column("attributes", ""), Column("origin", "simulated"),
)  # fmt: skip
PERMIT_COLUMNS = (
    Column("id"), Column("company"), Column("trucks"), Column("site"), Column("disposal"), Column("route", ""),
    Column("start_hour"), Column("end_hour"), Column("valid_from"), Column("valid_to"), Column("corridor_m", "50"),
)  # fmt: skip
NEIGHBOUR_COLUMNS = (Column("cell"), Column("neighbours"))
HEAD_TEXTS = ("name", "name_zh", "name_local", "adcode", "timezone", "attribution")
HEAD_KEYS = ("format", *HEAD_TEXTS, "coordinates", "centre")

NAME_FIX = "1-64 letters a-z, digits and _ . : - ; a letter or digit first"
CODE16 = re.compile(r"\d{16}\Z", re.ASCII)
AREA_CODE = {
    level: re.compile(rf"\d{{{digits}}}\Z", re.ASCII)
    for level, digits in (("district", "6"), ("street", "9"), ("grid", "12,18"))
}


def read_city(path: str | Path) -> tuple[CityFiles | None, list[CityFileError]]:
    """Read and check a whole city: (city, []) or (None, everything that is wrong)."""
    draft = Draft(city_directory(path))
    if not draft.directory.is_dir():
        draft.problems.say(
            str(path),
            1,
            "no such city directory",
            "name a directory with a city.toml; `citywhistle city build` makes one",
        )
        return None, draft.problems.all()
    placed = read_head(draft)
    read_areas(draft)
    read_nodes(draft)
    read_devices(draft)
    read_lines(draft)
    read_permits(draft)
    read_neighbours(draft)
    draft.calendars, draft.departments = read_departments(draft.directory / "departments.toml", draft.problems)
    check_draft(draft, placed=placed)
    if draft.problems:
        return None, draft.problems.all()
    return finish(draft), []


def finish(draft: Draft) -> CityFiles:
    """The records of a draft in which nothing is wrong."""
    head, basemap = draft.head, draft.directory / "basemap.geojson.gz"
    return CityFiles(
        name=head.name, name_zh=head.name_zh, name_local=head.name_local, adcode=head.adcode, timezone=head.timezone,
        centre=head.centre, attribution=head.attribution,
        areas=tuple(draft.areas.values()), nodes=tuple(draft.nodes.values()), devices=tuple(draft.devices.values()),
        permits=tuple(draft.permits.values()), departments=tuple(draft.departments.values()),
        neighbours=draft.neighbours, routes=draft.routes, roads=tuple(draft.roads),
        tunnels=tuple(draft.tunnels), calendars=tuple(draft.calendars.values()),
        basemap=basemap if basemap.is_file() else None, basemap_sha256=_sha256(basemap) if basemap.is_file() else "",
        folder=draft.directory,
    )  # fmt: skip


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_head(draft: Draft) -> bool:
    """city.toml: names, code, time zone, centre, attribution; whether it says where the city is."""
    path = draft.directory / "city.toml"
    told = read_toml(path, draft.problems)
    if told is None:
        return False

    def wrong(key: str, problem: str, fix: str) -> None:
        draft.problems.say(path.name, key_line(path, key), problem, fix)

    for key in sorted(told.keys() - set(HEAD_KEYS)):
        wrong(key, f"unknown key {key[:60]!r}", f"known keys are: {', '.join(HEAD_KEYS)}")
    if told.get("format") != FORMAT:
        wrong("format", f"format is {told.get('format')!r}", f"this version reads `format = {FORMAT}`")
    text = {key: told.get(key, "") for key in HEAD_TEXTS}
    for key, value in text.items():
        if not isinstance(value, str) or (not value.strip() and key in ("name", "adcode", "timezone")):
            wrong(key, f"{key} is missing or no text", f'write {key} = "..."')
            text[key] = ""
        else:
            text[key] = " ".join(value.split())
    if text["adcode"] and not AREA_CODE["district"].match(text["adcode"]):
        wrong(
            "adcode", f"adcode {text['adcode'][:40]!r} is not six digits", "use the city's 6-digit administrative code"
        )
    try:
        ZoneInfo(text["timezone"] or "UTC")
    except (KeyError, ValueError, OSError):
        wrong("timezone", f"unknown time zone {text['timezone'][:60]!r}", "use an IANA name such as Asia/Shanghai")
    if str(told.get("coordinates", "WGS84")).upper() != "WGS84":
        fix = "convert the files to WGS84 (`citywhistle city import --from gcj02`), then write WGS84"
        wrong("coordinates", f"coordinates are {told['coordinates']!r}", fix)
    centre = told.get("centre")
    if not (isinstance(centre, list) and len(centre) == 2 and all(type(c) in (int, float) for c in centre)):
        wrong("centre", "centre is missing or not a pair of numbers", "write centre = [longitude, latitude] in degrees")
    elif not (-180 <= centre[0] <= 180 and -85 <= centre[1] <= 85):
        wrong("centre", f"centre {centre} is not on the map", "longitude comes first: centre = [longitude, latitude]")
    else:
        draft.head = Head(centre=(float(centre[0]), float(centre[1])), **text)
        return True
    return False


def read_areas(draft: Draft) -> None:
    """areas.csv and, where it is there, areas.geojson."""
    rings = read_rings(draft)
    for line, cells in read_table(draft.directory / "areas.csv", AREA_COLUMNS, draft.problems):
        try:
            area = area_of(cells, rings.get(cells[0], ()))
        except Wrong as error:
            draft.problems.say("areas.csv", line, error.problem, error.fix)
            continue
        if area.code in draft.areas:
            twice(draft, "areas.csv", line, "code", area.code)
            continue
        rings.pop(area.code, None)
        draft.areas[area.code] = area
        draft.lines["areas.csv", area.code] = line
    path = draft.directory / "areas.geojson"
    for code in rings:
        problem = f"area {code[:40]!r} is not in areas.csv"
        draft.problems.say(path.name, line_of(path, "code", code), problem, "add it there, or drop the outline here")


def area_of(cells: list[str], ring: tuple[LonLat, ...]) -> Area:
    """One line of areas.csv, in the order of AREA_COLUMNS, as a record. Raises Wrong."""
    code, level, parent, name, name_zh = cells
    if level not in LEVELS:
        raise Wrong(f"level {level[:40]!r}", f"use one of {', '.join(LEVELS)}", "level")
    if not AREA_CODE[level].match(code):
        fix = "a district has 6 digits, a street 9, a grid cell 15"
        raise Wrong(f"code {code[:40]!r} is no {level} code", fix, "code")
    return Area(code, level, parent, name, name_zh or name, ring)


def ring_of(told: Any, known: dict[LonLat, LonLat] | None = None) -> tuple[LonLat, ...]:
    """A closed outline of at least three corners, () for anything else."""
    try:
        ring = points(told, known)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        return ()
    return ring if len(ring) >= 4 and ring[0] == ring[-1] else ()


def read_rings(draft: Draft) -> dict[str, tuple[LonLat, ...]]:
    """Outlines by area code; of several polygons the one with the most points."""
    rings: dict[str, tuple[LonLat, ...]] = {}
    path = draft.directory / "areas.geojson"
    for feature in read_features(path, draft.problems, optional=True):
        code = str(feature.properties.get("code", ""))
        shapes = feature.coordinates if feature.geometry == "MultiPolygon" else [feature.coordinates]
        try:
            ring = ring_of(max((shape[0] for shape in shapes), key=len), draft.points)
        except (TypeError, ValueError, IndexError, KeyError):
            ring = ()
        if feature.geometry not in ("Polygon", "MultiPolygon") or not ring:
            problem = f"the outline of area {code[:40]!r} is no closed polygon"
            draft.problems.say(
                path.name, line_of(path, "code", code), problem, "draw it as a Polygon, first point = last"
            )
        else:
            rings[code] = ring
    return rings


def points(told: Any, known: dict[LonLat, LonLat] | None = None) -> tuple[LonLat, ...]:
    """A coordinate list as pairs; those that are `known` are there once. Raises TypeError, ValueError, KeyError,
    IndexError or OverflowError for anything else."""
    found = tuple([(float(p[0]), float(p[1])) for p in told])
    if known is not None:
        found = tuple([known.setdefault(p, p) for p in found])
    if not all(abs(x) <= 1e6 and abs(y) <= 1e6 for x, y in found):  # neither infinite nor NaN
        raise ValueError("coordinates out of all proportion")
    return found


def read_nodes(draft: Draft) -> None:
    """nodes.csv: feeders without a meter, cabinets, sites, disposal sites, companies."""
    for line, cells in read_table(draft.directory / "nodes.csv", NODE_COLUMNS, draft.problems):
        if cells[0] in draft.nodes and NAME.match(cells[0]):
            twice(draft, "nodes.csv", line, "id", cells[0])
            continue
        try:
            node = node_of(cells)
        except Wrong as error:
            draft.problems.say("nodes.csv", line, error.problem, error.fix)
            continue
        draft.nodes[node.id] = node
        draft.lines["nodes.csv", node.id] = line


def node_of(cells: list[str]) -> Node:
    """One line of nodes.csv, in the order of NODE_COLUMNS, as a record. Raises Wrong."""
    name, cls, en, zh, parent, lon, lat, radius, area, start, end = cells
    place, radius_m = (number(lon), number(lat)) if lon or lat else (None, None), number(radius)
    if not NAME.match(name):
        raise Wrong(f"id {name[:60]!r} cannot be used in topics", NAME_FIX, "id")
    if cls not in CLASSES:
        raise Wrong(f"class {cls[:40]!r}", f"use one of {', '.join(CLASSES)}", "class")
    if ((lon or lat) and None in place) or radius_m is None or not 0 <= radius_m <= 20_000:
        fix = "write degrees (WGS84) and metres (0..20000) as plain numbers"
        where = (
            "lon" if (lon or lat) and place[0] is None else "lat" if (lon or lat) and place[1] is None else "radius_m"
        )
        raise Wrong(f"{name}: lon, lat or radius_m is no number", fix, where)
    if (start or end) and (cls != "site" or not (is_hour(start) and is_hour(end))):
        fix = "only sites have work hours: both as local hours within 0..24, such as 6 and 22"
        where = "end_hour" if is_hour(start) and not is_hour(end) else "start_hour"
        raise Wrong(f"{name}: work hours {start[:20]!r} to {end[:20]!r}", fix, where)
    hours = (float(start), float(end)) if start else None
    return Node(name, cls, en, zh or en, parent, *place, radius_m, area, hours)


def is_hour(text: str) -> bool:
    """Whether a cell is an hour of the day."""
    hour = number(text)
    return hour is not None and 0 <= hour <= 24


def read_devices(draft: Draft) -> None:
    """devices.csv: the registry. A device whose line names its cabinet alone hangs on the cabinet's feeder."""
    codes: dict[str, str] = {}
    cabinet_at, feeder_at = (i for i, c in enumerate(DEVICE_COLUMNS) if c.name in ("cabinet", "feeder"))
    for line, cells in read_table(draft.directory / "devices.csv", DEVICE_COLUMNS, draft.problems):
        name, code16 = cells[0], cells[2]
        if cells[cabinet_at] in draft.nodes and not cells[feeder_at]:
            cells[feeder_at] = draft.nodes[cells[cabinet_at]].parent
        if name in draft.devices or name in draft.nodes:
            twice(draft, "devices.csv", line, "id", name)
            continue
        try:
            if code16 in codes:
                raise Wrong(f"code16 {code16} is {codes[code16]}'s", "give each object its own serial")
            draft.devices[name] = device_of(cells)
        except Wrong as error:
            draft.problems.say("devices.csv", line, f"{name[:60]}: {error.problem}", error.fix)
            continue
        codes[code16] = name
        draft.lines["devices.csv", name] = line


def device_of(cells: list[str]) -> Device:
    """One line of devices.csv, in the order of DEVICE_COLUMNS, as a record; names that many devices share are there
    once. Raises Wrong."""
    name, kind, code16, lon, lat, district, street, grid, cabinet, feeder, pole, gateway, company, plate = cells[:14]
    cadence, attributes, origin = cells[14:]
    x, y, cadence_s = number(lon), number(lat), number(cadence)
    told = read_attributes(attributes)
    if not NAME.match(name):
        raise Wrong(f"id {name[:60]!r} cannot be used in topics", NAME_FIX, "id")
    if kind not in KINDS:
        raise Wrong(f"kind {kind[:40]!r}", f"use one of {', '.join(KINDS)}", "kind")
    if not CODE16.match(code16):
        raise Wrong(
            f"code16 {code16[:40]!r} is not sixteen digits", "6 of the district, 4 of class, 6 of serial", "code16"
        )
    if x is None or y is None or cadence_s is None or not 0 <= cadence_s <= 86_400:
        fix = "write degrees (WGS84), and seconds within 0..86400, as plain numbers"
        raise Wrong(
            "lon, lat or cadence_s is no number", fix, "lon" if x is None else "lat" if y is None else "cadence_s"
        )
    if told is None:
        raise Wrong(f"attributes {attributes[:60]!r}", "write name=number;name=number", "attributes")
    if origin not in ORIGINS:
        raise Wrong(f"origin {origin[:40]!r}", f"use one of {', '.join(ORIGINS)}", "origin")
    return Device(
        intern(name), intern(kind), code16, x, y, intern(district), intern(street), intern(grid), intern(cabinet),
        intern(feeder), intern(pole), intern(gateway), intern(company), plate, cadence_s, told, intern(origin),
    )  # fmt: skip


@lru_cache(maxsize=8192)
def read_attributes(text: str) -> Mapping[str, float] | None:
    """`ratedPower=60;azimuth=120` as numbers, None for anything else. Equal texts share one mapping, which is final."""
    told: dict[str, float] = {}
    for pair in text.split(";") if text else ():
        name, _, value = pair.partition("=")
        figure = number(value)
        if figure is None or not name.strip().isidentifier():
            return None
        told[name.strip()] = figure
    return told


def read_lines(draft: Draft) -> None:
    """routes.geojson (permitted ways) and roads.geojson (streets with their speed limits)."""
    path = draft.directory / "routes.geojson"
    for feature in read_features(path, draft.problems, optional=True):
        name = str(feature.properties.get("id", ""))
        line = one_line(feature.coordinates, draft.points) if feature.geometry == "LineString" else None
        if not NAME.match(name) or line is None:
            problem = f"route {name[:40]!r} (feature {feature.number}) is no line with an id"
            draft.problems.say(path.name, line_of(path, "id", name), problem, "draw a LineString with properties.id")
        elif name in draft.routes:
            twice(draft, path.name, line_of(path, "id", name), "id", name)
        else:
            draft.routes[name] = line
    path = draft.directory / "roads.geojson"
    for feature in read_features(path, draft.problems, optional=True):
        limit = feature.properties.get("maxspeed")
        pieces = [feature.coordinates] if feature.geometry == "LineString" else feature.coordinates
        lines = [one_line(piece, draft.points) for piece in pieces] if isinstance(pieces, list) else [None]
        good = [line for line in lines if line is not None]
        if len(good) != len(lines) or feature.geometry not in ("LineString", "MultiLineString"):
            draft.problems.say(path.name, 1, f"road {feature.number} is no line", "draw it as a LineString")
        elif not isinstance(limit, int | float) or not 0 < limit <= 200:
            problem = f"road {feature.number} ({str(feature.properties.get('name', ''))[:60]}): maxspeed {limit!r}"
            draft.problems.say(path.name, 1, problem, "write its speed limit in km/h as a number")
        else:
            name = " ".join(str(feature.properties.get("name") or "").split())
            draft.roads += [Road(name, float(limit), line) for line in good]
            draft.tunnels += good if feature.properties.get("tunnel") is True else []


def one_line(told: Any, known: dict[LonLat, LonLat] | None = None) -> tuple[LonLat, ...] | None:
    """A line of at least two points, None for anything else."""
    try:
        line = points(told, known)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        return None
    return line if len(line) >= 2 else None


def read_permits(draft: Draft) -> None:
    """permits.csv: disposal permits (处置证)."""
    for line, cells in read_table(draft.directory / "permits.csv", PERMIT_COLUMNS, draft.problems, optional=True):
        if cells[0] in draft.permits:
            twice(draft, "permits.csv", line, "id", cells[0])
            continue
        try:
            draft.permits[cells[0]] = permit_of(cells)
        except Wrong as error:
            draft.problems.say("permits.csv", line, f"{cells[0][:60]}: {error.problem}", error.fix)
        draft.lines["permits.csv", cells[0]] = line


def permit_of(cells: list[str]) -> Permit:
    """One line of permits.csv, in the order of PERMIT_COLUMNS, as a record. Raises Wrong."""
    name, company, trucks, site, disposal, route, start, end, first, last, corridor = cells
    start_hour, end_hour, corridor_m = number(start), number(end), number(corridor)
    if not NAME.match(name):
        raise Wrong(f"id {name[:60]!r} cannot be used in topics", NAME_FIX, "id")
    if start_hour is None or end_hour is None or not (0 <= start_hour <= 24 and 0 <= end_hour <= 24):
        fix = "local time as a number of hours within 0..24; a night permit starts at 20 and ends at 6"
        raise Wrong(f"hours {start[:20]}-{end[:20]}", fix, "start_hour" if start_hour is None else "end_hour")
    if not is_day(first) or not is_day(last) or first > last:
        raise Wrong(
            f"valid {first[:20]} to {last[:20]}", "write dates as 2026-03-31, the first one first", "valid_from"
        )
    if corridor_m is None or not 5 <= corridor_m <= 2000:
        raise Wrong(f"corridor_m {corridor[:20]!r}", "metres within 5..2000", "corridor_m")
    return Permit(
        name, company, tuple(trucks.split()), site, disposal, route, start_hour, end_hour, first, last, corridor_m
    )


def read_neighbours(draft: Draft) -> None:
    """neighbours.csv: which cells hand over to which."""
    for line, (cell, others) in read_table(
        draft.directory / "neighbours.csv", NEIGHBOUR_COLUMNS, draft.problems, optional=True
    ):
        if cell in draft.neighbours:
            twice(draft, "neighbours.csv", line, "cell", cell)
        else:
            draft.neighbours[intern(cell)] = tuple(map(intern, others.split()))
            draft.lines["neighbours.csv", cell] = line


def twice(draft: Draft, file: str, line: int, what: str, name: str) -> None:
    """Note a name that is there already, with the line of the first."""
    first: Sequence[tuple[str, int]] = [
        (f, draft.lines[f, name]) for f in (file, "nodes.csv", "devices.csv") if (f, name) in draft.lines
    ]
    where = f" (first at {first[0][0]}:{first[0][1]})" if first else ""
    draft.problems.say(
        file, line, f"{what} {name[:60]!r} is there twice{where}", "every object needs a name of its own"
    )
