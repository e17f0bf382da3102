"""Writing a city's files: plain CSV, TOML and GeoJSON (one feature a line), complete or not at all."""

from __future__ import annotations

import csv
import glob
import gzip
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from devices.cities.load import load_city
from devices.cities.read import AREA_COLUMNS, DEVICE_COLUMNS, FORMAT, NEIGHBOUR_COLUMNS, NODE_COLUMNS, PERMIT_COLUMNS
from devices.cities.tables import Column
from devices.places import CityFiles, Device, LonLat, Node
from twin.survey.errors import SurveyError

Feature = Mapping[str, Any]


@contextmanager
def new_directory(out: Path, *, force: bool) -> Iterator[Path]:
    """A directory beside `out` that takes its name when the block ends well, and vanishes when it does not.

    Raises SurveyError where `out` is there already and `force` is not given, or where it is no city. A link is
    followed: what it leads to is replaced.
    """
    if out.exists() and not force:
        raise SurveyError(f"{out} is there already", "choose another --out, or replace it with --force")
    if out.exists() and not out.is_dir():
        raise SurveyError(f"{out} is a file", "choose another --out: a city is a directory")
    if out.exists() and any(out.iterdir()) and not (out / "city.toml").is_file():
        raise SurveyError(f"{out} is no city directory", "choose another --out; only cities are replaced")
    out = out.resolve()
    if Path.cwd().is_relative_to(out):
        raise SurveyError(f"{out} is the directory that you are in", "go up (cd ..): a city is replaced as a whole")
    for left in out.parent.glob(f".{glob.escape(out.name)}.new-*"):  # of one that was killed
        pid = left.name.rpartition("-")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    aside, old = (out.with_name(f".{out.name}.{word}-{os.getpid()}") for word in ("new", "old"))
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise SurveyError(f"{out.parent} cannot be written: {error.strerror}", "choose another --out") from error
    try:
        yield aside
        if out.exists():
            out.rename(old)
        aside.rename(out)
    except OSError as error:
        raise SurveyError(
            f"{out} cannot be written: {error.strerror}", "is there room, and the right to write?"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(old, ignore_errors=True)


def write_city(city: CityFiles, out: Path, staff: str, basemap: Iterable[Feature], *, force: bool = False) -> CityFiles:
    """Write a whole city and return it as it reads back; `staff` is the text of its departments.toml.

    Raises SurveyError where `out` cannot be written, CityFileError where the city would not pass its own check; in
    both cases nothing is left behind.
    """
    with new_directory(out, force=force) as aside:
        (aside / "city.toml").write_text(head_of(city), encoding="utf-8")
        (aside / "departments.toml").write_text(staff, encoding="utf-8")
        write_table(
            aside / "areas.csv", AREA_COLUMNS, ([a.code, a.level, a.parent, a.name, a.name_zh] for a in city.areas)
        )
        write_table(aside / "nodes.csv", NODE_COLUMNS, map(node_cells, city.nodes))
        write_table(aside / "devices.csv", DEVICE_COLUMNS, map(device_cells, city.devices))
        write_table(
            aside / "permits.csv", PERMIT_COLUMNS,
            ([p.id, p.company, " ".join(p.trucks), p.site, p.disposal, p.route, f"{p.start_hour:g}", f"{p.end_hour:g}",
              p.valid_from, p.valid_to, f"{p.corridor_m:g}"] for p in city.permits),
        )  # fmt: skip
        write_table(aside / "neighbours.csv", NEIGHBOUR_COLUMNS, ([c, " ".join(n)] for c, n in city.neighbours.items()))
        outlines = ((a.code, a.ring) for a in city.areas if a.ring)
        write_features(aside / "areas.geojson", (feature({"code": c}, "Polygon", [pairs(r)]) for c, r in outlines))
        lines = city.routes.items()
        write_features(aside / "routes.geojson", (feature({"id": r}, "LineString", pairs(line)) for r, line in lines))
        tunnels = set(city.tunnels)
        write_features(
            aside / "roads.geojson",
            (
                feature({"name": name, "maxspeed": limit} | ({"tunnel": True} if line in tunnels else {}), "LineString",
                        pairs(line))
                for name, limit, line in city.roads
            ),
        )  # fmt: skip
        with (aside / "basemap.geojson.gz").open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
            packed.write(collection(basemap, city.attribution).encode())
        written = load_city(aside)
    return settled(written, out)


def settled(city: CityFiles, directory: Path) -> CityFiles:
    """A city whose directory has taken its last name."""
    return replace(city, basemap=directory / city.basemap.name) if city.basemap else city


def head_of(city: CityFiles) -> str:
    """The text of city.toml."""
    told = {
        "name": city.name, "name_zh": city.name_zh, "name_local": city.name_local, "adcode": city.adcode,
        "timezone": city.timezone, "attribution": city.attribution,
    }  # fmt: skip
    lines = [
        "# The city as a whole. The other files of this directory are described in docs/city-files.md.",
        f"format = {FORMAT}",
        *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in told.items()),
        'coordinates = "WGS84"  # degrees; longitude comes first everywhere',
        f"centre = [{city.centre[0]}, {city.centre[1]}]",
    ]
    return "\n".join(lines) + "\n"


def write_table(path: Path, columns: tuple[Column, ...], rows: Iterable[list[str]]) -> None:
    """Write a CSV table with its heading."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(column.name for column in columns)
        table.writerows(rows)


def node_cells(node: Node) -> list[str]:
    """One line of nodes.csv."""
    place = ["", ""] if node.lon is None or node.lat is None else [f"{node.lon:.6f}", f"{node.lat:.6f}"]
    hours = ["", ""] if node.work_hours is None else [f"{hour:g}" for hour in node.work_hours]
    return [node.id, node.cls, node.name, node.name_zh, node.parent, *place, f"{node.radius_m:g}", node.area, *hours]


def device_cells(device: Device) -> list[str]:
    """One line of devices.csv."""
    attributes = ";".join(f"{name}={value:g}" for name, value in device.attributes.items())
    return [
        device.id, device.kind, device.code16, f"{device.lon:.6f}", f"{device.lat:.6f}", device.district, device.street,
        device.grid, device.cabinet, device.feeder, device.pole, device.gateway, device.company, device.plate,
        f"{device.cadence_s:g}", attributes, device.origin,
    ]  # fmt: skip


def pairs(line: Iterable[LonLat]) -> list[list[float]]:
    """A line as GeoJSON positions, to 0.1 m."""
    return [[round(lon, 6), round(lat, 6)] for lon, lat in line]


def feature(properties: Mapping[str, Any], geometry: str, coordinates: Any) -> Feature:
    """One GeoJSON feature."""
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": geometry, "coordinates": coordinates},
    }


def collection(features: Iterable[Feature], attribution: str = "") -> str:
    """A FeatureCollection as text, one feature a line, so that a line number means something."""
    lines = ",\n".join(json.dumps(f, ensure_ascii=False, separators=(",", ":")) for f in features)
    credit = f'"attribution":{json.dumps(attribution, ensure_ascii=False)},' if attribution else ""
    return f'{{"type":"FeatureCollection",{credit}"features":[\n{lines}\n]}}\n'


def write_features(path: Path, features: Iterable[Feature]) -> None:
    """Write a GeoJSON file."""
    path.write_text(collection(features), encoding="utf-8")
