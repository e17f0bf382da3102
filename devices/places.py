"""The city's open files (TOML, CSV, GeoJSON) as records: what stands where and what hangs on what.

One directory is one city; its own staff can edit it. Server and simulator read the same files through here.
`load_city` validates and raises CityFileError naming file, line and fix. File by file: docs/city-files.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LonLat = tuple[float, float]  # WGS84 degrees, longitude first, as in GeoJSON


@dataclass(frozen=True, slots=True)
class Area:
    """A district, street or grid cell (单元网格). `parent` is the code of the area above, '' for a district."""

    code: str
    level: str  # "district" | "street" | "grid"
    parent: str
    name: str
    name_zh: str
    ring: tuple[LonLat, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A thing that is not a device: cabinet, feeder without meter, site, disposal site, company."""

    id: str
    cls: str  # "cabinet" | "feeder" | "site" | "disposal" | "company"
    name: str
    name_zh: str
    parent: str  # feeder -> "" ; cabinet -> feeder ; others ""
    lon: float | None = None
    lat: float | None = None
    radius_m: float = 0.0  # of a site or disposal site
    area: str = ""  # code of the smallest area that holds it
    work_hours: tuple[float, float] | None = None  # of a site: local, start > end spans midnight; None: not known


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the registry. Relations are ids; '' where there is none."""

    id: str
    kind: str
    code16: str  # 6 area + 4 class + 6 serial
    lon: float
    lat: float
    district: str
    street: str = ""
    grid: str = ""
    cabinet: str = ""  # of a pole
    feeder: str = ""  # of a pole
    pole: str = ""  # that carries a cell
    gateway: str = ""  # behind which it publishes
    company: str = ""  # of a truck
    plate: str = ""  # of a truck: personal data
    cadence_s: float = 0.0  # 0: the kind's
    attributes: Mapping[str, float] = field(default_factory=dict)  # ratedPower W, azimuth deg, tareWeight kg, axles...
    origin: str = "simulated"  # "simulated" | "recorded" | "real": shown on the page

    @property
    def urn(self) -> str:
        """The object's URN, from its 16-digit code."""
        return f"urn:citywhistle:{self.code16}"


@dataclass(frozen=True, slots=True)
class Permit:
    """A disposal permit (处置证): which trucks may carry laden, from where to where, on which days and hours."""

    id: str
    company: str
    trucks: tuple[str, ...]  # device ids
    site: str
    disposal: str
    route: str  # id of a line in routes.geojson
    start_hour: float  # local time, hours; start > end spans midnight
    end_hour: float
    valid_from: str  # ISO date, local
    valid_to: str
    corridor_m: float = 50.0


@dataclass(frozen=True, slots=True)
class Calendar:
    """When working hours run: weekdays (0 = Monday), pairs of local hours, days off and extra working days (调休)."""

    id: str
    days: tuple[int, ...]
    hours: tuple[tuple[float, float], ...]
    holidays: tuple[str, ...] = ()  # ISO dates that are off
    workdays: tuple[str, ...] = ()  # ISO dates that are worked although their weekday is not


@dataclass(frozen=True, slots=True)
class Shift:
    """Who is on call when: weekdays (0 = Monday), local hours (start > end spans midnight), and where to reach them."""

    days: tuple[int, ...]
    start_hour: float
    end_hour: float
    channel: str
    address: str


@dataclass(frozen=True, slots=True)
class Department:
    """Who must act: id, names, the case types and areas it answers for, and where a whistle reaches it."""

    id: str
    name: str
    name_zh: str
    types: tuple[str, ...]
    areas: tuple[str, ...]  # () = everywhere
    channel: str = "webhook"
    address: str = ""
    calendar: str = ""  # id of a Calendar, in which its deadlines count; '' = the city's working hours
    on_call: tuple[Shift, ...] = ()
    joins: tuple[str, ...] = ()  # case types in which it acts jointly with whoever answers for them, and never leads


class Road(NamedTuple):
    """A street or a piece of one, with its speed limit."""

    name: str
    limit_kmh: float
    line: tuple[LonLat, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """What city.toml says. basemap: SHA-256 of the base map's file, '' where the city has none."""

    name: str = ""
    name_zh: str = ""
    name_local: str = ""
    adcode: str = ""
    timezone: str = ""
    centre: LonLat = (0.0, 0.0)
    attribution: str = ""
    basemap_sha256: str = ""


@dataclass(frozen=True, slots=True)
class CityFiles:
    """One city as its files say. Orders are the files' orders."""

    name: str
    name_zh: str
    adcode: str
    timezone: str
    centre: LonLat
    attribution: str
    areas: tuple[Area, ...]
    nodes: tuple[Node, ...]
    devices: tuple[Device, ...]
    permits: tuple[Permit, ...]
    departments: tuple[Department, ...]
    neighbours: Mapping[str, tuple[str, ...]]  # cell id -> cell ids
    routes: Mapping[str, tuple[LonLat, ...]]  # corridor id -> line
    roads: tuple[Road, ...] = ()
    tunnels: tuple[tuple[LonLat, ...], ...] = ()  # those of the roads' lines that lie in one
    calendars: tuple[Calendar, ...] = ()
    name_local: str = ""
    folder: Path | None = None  # where the files are
    basemap: Path | None = None  # basemap.geojson.gz (docs/city-files.md), None where the city has none
    basemap_sha256: str = ""

    @property
    def head(self) -> Head:
        """Names, code, time zone, centre, credit and base map: one record of what has no table."""
        return Head(
            self.name, self.name_zh, self.name_local, self.adcode, self.timezone, self.centre, self.attribution,
            self.basemap_sha256,
        )  # fmt: skip

    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees: of the districts' rings, else of devices that stand still."""
        points = [p for area in self.areas if area.level == "district" for p in area.ring]
        points = points or [(d.lon, d.lat) for d in self.devices if d.kind != "truck"] or [self.centre]
        lons, lats = [p[0] for p in points], [p[1] for p in points]
        return min(lons), min(lats), max(lons), max(lats)
