"""Taking a city's own tables (CSV or GeoJSON) into its files: devices, construction sites, disposal sites, companies.

Either every row fits and the whole city passes its check, or nothing is changed.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from devices.cities import city_directory
from devices.cities.geometry import in_ring, wgs84_of_bd09, wgs84_of_gcj02
from devices.cities.load import check_city, load_city
from devices.cities.read import DEVICE_COLUMNS, NODE_COLUMNS, read_attributes
from devices.cities.tables import Problems, number, read_features, read_text
from devices.errors import CityFileError
from devices.kinds import KINDS
from devices.places import Area, CityFiles, Device, LonLat, Node
from devices.topics import NAME
from twin.survey.errors import SurveyError
from twin.survey.write import device_cells, new_directory, node_cells, settled, write_table

NODES = ("site", "disposal", "company")
DATUMS: dict[str, Callable[[float, float], LonLat]] = {
    "wgs84": lambda lon, lat: (lon, lat),
    "gcj02": wgs84_of_gcj02,
    "bd09": wgs84_of_bd09,
}
USUAL = {
    "id": ("id", "device_id", "site_id", "facility_id", "code", "name"),
    "lon": ("lon", "lng", "long", "longitude", "x", "lng_wgs84", "lon_wgs84", "经度"),
    "lat": ("lat", "latitude", "y", "lat_wgs84", "纬度"),
    "area": ("area", "grid", "street", "district_code", "district"),
    "name": ("name", "title", "名称"),
}
NEAR_DEG = 2.0  # a position so far from the centre may be this city's
RADIUS_M = {"site": 80.0, "disposal": 150.0, "company": 0.0}


class Refused(SurveyError):
    """A table that cannot be taken in; `problems` names each line. Nothing was changed."""

    def __init__(self, problems: Sequence[CityFileError]) -> None:
        first = problems[0]
        super().__init__(f"{first.file}:{first.line}: {first.problem}", first.fix)
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Import:
    """What a table holds and how to read it. Columns that are not named are guessed from their usual names."""

    what: str  # a device kind, or "site", "disposal", "company"
    datum: str = "wgs84"
    columns: Mapping[str, str] = field(default_factory=dict)  # id, lon, lat, area, name -> column
    prefix: str = ""  # put before each id
    origin: str = "real"
    radius_m: float | None = None
    credit: str = ""  # to be shown with the city: whose data this is, under which licence


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    line: int
    cells: Mapping[str, str]


def take(table: Path, city: Path, order: Import, out: Path | None = None, *, force: bool = False) -> CityFiles:
    """Add the rows of `table` to the city in `city` (or write the result to `out`), and return what it then is.

    Raises Refused naming every wrong line, CityFileError if the city is wrong itself, SurveyError if `out` cannot be.
    """
    if order.what not in (*KINDS, *NODES):
        known = ", ".join((*KINDS, *NODES))
        raise SurveyError(f"cannot import {order.what!r}", f"import one of {known}")
    if order.datum not in DATUMS:
        raise SurveyError(f"unknown datum {order.datum!r}", f"use one of {', '.join(DATUMS)}")
    source, before = city_directory(city), load_city(city)
    problems = Problems()
    rows = list(rows_of(table, problems))
    if not rows and not problems:
        problems.say(table.name, 1, "no rows", "is it the right file?")
    said = len(problems.found)
    columns = columns_of(table.name, rows, order, problems) if rows else {}
    after = before
    if columns and len(problems.found) == said:  # what is wrong with other lines hides nothing
        after = added(before, table.name, rows, columns, order, problems)
    if problems:
        raise Refused(problems.all())
    with new_directory(out or source, force=force or out is None) as aside:
        shutil.copytree(source, aside, dirs_exist_ok=True)
        write_table(aside / "nodes.csv", NODE_COLUMNS, map(node_cells, after.nodes))
        write_table(aside / "devices.csv", DEVICE_COLUMNS, map(device_cells, after.devices))
        write_credit(aside / "city.toml", order.credit)
        wrong = check_city(aside)
        if wrong:
            lines = {order.prefix + row.cells[columns["id"]]: row.line for row in rows}
            raise Refused([in_table(problem, table.name, lines) for problem in wrong])
        taken = load_city(aside)
    return settled(taken, out or source)


def in_table(problem: CityFileError, file: str, lines: Mapping[str, int]) -> CityFileError:
    """What is wrong with a device or place that came from the table is told by its line there."""
    line = lines.get(problem.problem.partition(":")[0])
    return problem if line is None else CityFileError(file, line, problem.problem, problem.fix)


def write_credit(path: Path, credit: str) -> None:
    """Add to a city's attribution in its city.toml, whose other lines stay as they are."""
    text = path.read_text(encoding="utf-8")
    told = str(tomllib.loads(text).get("attribution", ""))
    if not credit or credit in told:
        return
    line = "attribution = " + json.dumps("; ".join(filter(None, (told, credit))), ensure_ascii=False)
    found = re.search(r"^attribution\s*=.*$", text, re.MULTILINE)
    changed = f"{line}\n{text}" if found is None else text[: found.start()] + line + text[found.end() :]
    path.write_text(changed, encoding="utf-8")


def rows_of(table: Path, problems: Problems) -> Iterator[Row]:
    """Lines of a CSV table, or point features of a GeoJSON file with `lon` and `lat` put among their properties."""
    if table.suffix.lower() in (".geojson", ".json"):
        for feature in read_features(table, problems, lined=True):
            at = feature.coordinates if feature.geometry == "Point" else None
            told = {
                key: value if isinstance(value, str) else json.dumps(value) for key, value in feature.properties.items()
            }
            if not isinstance(at, list) or len(at) < 2:
                problem = f"feature {feature.number} is no Point but {feature.geometry[:40]}"
                problems.say(table.name, feature.line, problem, "export points (a polygon's middle will do)")
                continue
            yield Row(feature.line, {**told, "lon": str(at[0]), "lat": str(at[1])})
        return
    text = read_text(table, problems)
    lines = csv.DictReader(io.StringIO(text or ""), restkey="", strict=True)
    try:
        for cells in lines:
            if "" in cells or None in cells.values():
                problems.say(table.name, lines.line_num, "more or fewer cells than the heading", "one cell per column")
                continue
            yield Row(lines.line_num, {str(key).strip(): str(value).strip() for key, value in cells.items()})
    except csv.Error as error:
        problems.say(table.name, lines.line_num, f"not CSV: {error}", "close every quotation mark; separate by commas")


def columns_of(file: str, rows: Sequence[Row], order: Import, problems: Problems) -> dict[str, str]:
    """Which column holds id, lon, lat, area and name; '' for the last two where there is none."""
    there = list(dict.fromkeys(name for row in rows for name in row.cells))
    found: dict[str, str] = {}
    for key, usual in USUAL.items():
        told = order.columns.get(key, "")
        lowered = {name.lower(): name for name in there}
        found[key] = told or next((lowered[name] for name in usual if name in lowered), "")
        if (told and told not in there) or (not found[key] and key in ("id", "lon", "lat")):
            listed = ", ".join(there)[:200]
            problems.say(file, 1, f"no column for {key} {told!r}", f"name it by --{key}; there are: {listed}")
    for datum in ("gcj02", "bd09", "wgs84"):
        if any(datum in found[key].lower() for key in ("lon", "lat")) and order.datum != datum:
            problem = f"columns {found['lon']}, {found['lat']} say {datum}, the import says {order.datum}"
            problems.say(file, 1, problem, f"add --from {datum}, or name other columns")
    return found


def added(
    before: CityFiles, file: str, rows: Sequence[Row], columns: Mapping[str, str], order: Import, problems: Problems
) -> CityFiles:
    """The city with every row as a device or node; what is wrong with a row is noted."""
    taken = {device.id for device in before.devices} | {node.id for node in before.nodes}
    serials = highest_serials(before.devices)
    nodes, devices = list[Node](), list[Device]()
    for row in rows:
        name = order.prefix + row.cells.get(columns["id"], "")
        lon, lat = number(row.cells.get(columns["lon"], "")), number(row.cells.get(columns["lat"], ""))
        if not NAME.match(name):
            problems.say(file, row.line, f"id {name[:60]!r} cannot be used in topics", "letters, digits and _ . : -")
        elif name in taken:
            problems.say(file, row.line, f"id {name!r} is in the city already", "drop the line, or use --prefix")
        elif lon is None or lat is None:
            problems.say(file, row.line, f"{name}: position is no number", "write degrees as plain numbers")
        elif _near(before, lat, lon) and not _near(before, lon, lat):
            fix = "longitude comes first: swap the two, or name the columns by --lon and --lat"
            problems.say(file, row.line, f"{name}: {lon}, {lat} has longitude and latitude swapped", fix)
        else:
            taken.add(name)
            at = DATUMS[order.datum](lon, lat)
            codes = area_of(before.areas, at, row.cells.get(columns["area"], ""))
            if not codes[0]:
                problem = f"{name}: {lon}, {lat} lies in no area of the city"
                fix = "name a column of area codes by --area, or draw the area in areas.geojson"
                problems.say(file, row.line, problem, fix)
            elif order.what in NODES:
                nodes.append(node_of(name, at, codes, row, columns, order))
            else:
                devices.append(device_of(name, at, codes, row, order, serials, file, problems))
    return replace(before, nodes=(*before.nodes, *nodes), devices=(*before.devices, *devices))


def _near(city: CityFiles, lon: float, lat: float) -> bool:
    return abs(lon - city.centre[0]) < NEAR_DEG and abs(lat - city.centre[1]) < NEAR_DEG


def highest_serials(devices: Sequence[Device]) -> dict[str, int]:
    """Highest serial number given so far, by the first ten digits of the code."""
    highest: dict[str, int] = {}
    for device in devices:
        prefix = device.code16[:10]
        highest[prefix] = max(highest.get(prefix, 0), int(device.code16[10:]))
    return highest


def area_of(areas: Sequence[Area], at: LonLat, code: str) -> tuple[str, str, str]:
    """Codes of district, street and grid cell: by the row's own area code where the city has it, else by outline.

    A longer code counts by its first 15, 9 or 6 digits (a township code of 12 digits names its street).
    """
    known = {area.code: area for area in areas}
    smallest = next((known[code[:n]] for n in (15, 12, 9, 6) if len(code) >= n and code[:n] in known), None)
    if smallest is None:
        ranks = {"district": 0, "street": 1, "grid": 2}
        around = [area for area in areas if area.ring and in_ring(at, area.ring)]
        smallest = max(around, key=lambda area: ranks[area.level], default=None)
    found = {"district": "", "street": "", "grid": ""}
    while smallest is not None:
        found[smallest.level] = smallest.code
        smallest = known.get(smallest.parent)
    return found["district"], found["street"], found["grid"]


def node_of(
    name: str, at: LonLat, codes: tuple[str, str, str], row: Row, columns: Mapping[str, str], order: Import
) -> Node:
    """A row as a site, disposal site or company."""
    label = row.cells.get(columns["name"], "") or name
    radius = RADIUS_M[order.what] if order.radius_m is None else order.radius_m
    area = next(code for code in reversed(codes) if code)
    return Node(name, order.what, label, row.cells.get("name_zh", "") or label, "", *at, radius, area)


def device_of(
    name: str,
    at: LonLat,
    codes: tuple[str, str, str],
    row: Row,
    order: Import,
    serials: dict[str, int],
    file: str,
    problems: Problems,
) -> Device:
    """A row as a device; columns named like those of devices.csv are taken over, a missing code is given."""
    cells = row.cells
    attributes = read_attributes(cells.get("attributes", ""))
    cadence = number(cells.get("cadence_s", "") or "0")
    if attributes is None or cadence is None:
        problems.say(file, row.line, f"{name}: attributes or cadence_s", "write name=number;name=number, and seconds")
    prefix = codes[0] + KINDS[order.what].object_class
    code16 = cells.get("code16", "")
    if not code16:
        serials[prefix] = serials.get(prefix, 0) + 1
        code16 = f"{prefix}{serials[prefix]:06d}"
    return Device(
        name, order.what, code16, *at, *codes, cabinet=cells.get("cabinet", ""), feeder=cells.get("feeder", ""),
        pole=cells.get("pole", ""), gateway=cells.get("gateway", ""), company=cells.get("company", ""),
        plate=cells.get("plate", ""), cadence_s=cadence or 0.0, attributes=dict(attributes or {}), origin=order.origin,
    )  # fmt: skip
