"""From an OpenStreetMap extract to a city: areas, street furniture, haulage, departments and base map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from zoneinfo import available_timezones

from devices.cities.geometry import METRES_PER_DEGREE, Plane
from devices.places import CityFiles, Device, LonLat
from devices.places import Road as Street
from twin.survey.errors import SurveyError
from twin.survey.extract import DRIVEN, Extract, Road, read_extract
from twin.survey.furnish import LAMPS, Codes, Furniture, Locate, Stretch, connect, light, mount_cells, spots_along
from twin.survey.haulage import Wishes, haul
from twin.survey.network import Network
from twin.survey.staff import staff_of
from twin.survey.write import write_city

ATTRIBUTION = "© OpenStreetMap contributors (ODbL 1.0, openstreetmap.org/copyright); devices and sites are generated"
ROW_M = 90.0  # between recorded stations, which stand in a row along the southern edge
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What kind of city is wanted. Numbers are upper bounds: a small extract holds fewer."""

    name: str
    timezone: str
    adcode: str = "000000"
    name_zh: str = ""
    name_local: str = ""
    seed: int = 1
    poles: int = 1_000_000
    cells: int = 150
    trucks: int = 60
    gateways: int = 15
    sites: int = 6
    disposals: int = 3
    companies: int = 5
    grid_m: float = 200.0
    recorded: Sequence[str] = ()  # ids of poles that stand for recordings
    zh: Mapping[str, str] = field(default_factory=dict)  # Chinese names by local name
    valid_from: str = "2010-01-01"  # of the permits: any day on which a demonstration may run
    valid_to: str = "2039-12-31"
    departments: Path | None = None


def build_city(
    extract: Path, out: Path, order: Order, *, force: bool = False, progress: Progress = lambda _: None
) -> CityFiles:
    """Build the city of an extract in directory `out`, and return it as it reads back.

    Raises SurveyError (nothing is written) for an extract or an order that cannot become a city.
    """
    from twin.survey.basemap import basemap_of
    from twin.survey.districts import divide

    check_order(order)
    found = read_extract(extract, progress)
    progress("districts, streets, grid cells")
    west, south, east, north = found.box
    centre = (round((west + east) / 2, 6), round((south + north) / 2, 6))
    plane = Plane(centre)
    division = divide(found, order.adcode, plane, order.grid_m, order.zh)
    progress("poles, cells, gateways")
    draw, codes = Random(order.seed), Codes()  # noqa: S311 - a seeded city, not a secret
    furniture = furnish(found, plane, division.locate, order, codes, draw)
    progress("sites, trucks, permits")
    wishes = Wishes(order.sites, order.disposals, order.companies, order.trucks, order.valid_from, order.valid_to,
                    works=found.works)  # fmt: skip
    haulage = haul(network_of(found, plane), wishes, plane, division.locate, codes, draw)
    stations = recorded_row(found, plane, order.recorded, division.locate, codes)
    progress("base map and files")
    city = CityFiles(
        name=order.name, name_zh=order.name_zh or order.name, name_local=order.name_local or order.name,
        adcode=order.adcode, timezone=order.timezone, centre=centre, attribution=ATTRIBUTION, areas=division.areas,
        nodes=(*furniture.nodes, *haulage.nodes), devices=(*furniture.devices, *stations, *haulage.devices),
        permits=tuple(haulage.permits), departments=(), neighbours=furniture.neighbours, routes=haulage.routes,
        roads=tuple(Street(road.name, road.maxspeed, road.line) for road in found.roads),
        tunnels=tuple(road.line for road in found.roads if road.tunnel),
    )  # fmt: skip
    return write_city(city, out, staff_of(division.areas, order.departments), basemap_of(found), force=force)


def check_order(order: Order) -> None:
    """Raise SurveyError for an order that no extract could fulfil."""
    if not (len(order.adcode) == 6 and order.adcode.isascii() and order.adcode.isdigit()):
        raise SurveyError(f"adcode {order.adcode!r} is not six digits", "use the city's administrative code")
    if order.timezone not in available_timezones():
        raise SurveyError(f"unknown time zone {order.timezone!r}", "use an IANA name such as Asia/Shanghai")
    if not 1 <= order.gateways <= 500:
        raise SurveyError(f"{order.gateways} gateways", "order 1 to 500")
    if not 50 <= order.grid_m <= 2000:
        raise SurveyError(f"grid cells of {order.grid_m:g} m", "order 50 to 2000 m")
    if min(order.sites, order.disposals, order.companies) < 1 or order.trucks < order.companies:
        raise SurveyError("too few sites, disposal sites, companies or trucks", "order one of each, a truck a company")


def furnish(extract: Extract, plane: Plane, locate: Locate, order: Order, codes: Codes, draw: Random) -> Furniture:
    """Poles along the streets of an extract, with everything that hangs on them."""
    spots = spots_along(stretches_of(extract.roads), plane, draw, order.poles, open_ground(extract))
    if not spots:
        raise SurveyError("no street is long enough for a pole", "choose a larger extract")
    made = light(spots, locate, codes, draw)
    poles = [device for device in made.devices if device.kind == "pole"]
    cells, made.neighbours = mount_cells(poles, order.cells, plane, codes, draw)
    made.devices += cells
    connect(made, order.gateways, plane, codes, draw)
    return made


def open_ground(extract: Extract) -> Callable[[float, float], bool]:
    """Whether a place lies inside the box and outside every building."""
    from shapely import Point, Polygon, STRtree, make_valid

    built = [polygon for shape in extract.shapes if shape.layer == "building" for polygon in shape.polygons]
    houses = STRtree([make_valid(Polygon(rings[0], rings[1:])) for rings in built])
    west, south, east, north = extract.box

    def free(lon: float, lat: float) -> bool:
        inside = west <= lon <= east and south <= lat <= north
        return inside and not len(houses.query(Point(lon, lat), predicate="within"))

    return free


def stretches_of(roads: Sequence[Road]) -> list[Stretch]:
    """Streets that are lit: runs of one name and class put together, wide streets first, none in tunnels."""
    from shapely import line_merge
    from shapely.geometry import MultiLineString

    order = list(DRIVEN)
    groups: dict[tuple[int, str], list[Sequence[LonLat]]] = {}
    for road in roads:
        if road.cls in LAMPS and not road.tunnel:
            groups.setdefault((order.index(road.cls), road.name), []).append(road.line)
    made = []
    for (rank, name), lines in sorted(groups.items()):
        merged = line_merge(MultiLineString(lines))
        pieces = sorted(tuple(piece.coords) for piece in getattr(merged, "geoms", [merged]))
        made += [Stretch(name, order[rank], piece) for piece in pieces]
    return made


def network_of(extract: Extract, plane: Plane) -> Network:
    """The graph of everything that trucks may drive."""
    network = Network(plane)
    for road in extract.roads:
        network.add(road.refs, road.line, road.maxspeed, road.oneway)
    return network


def recorded_row(extract: Extract, plane: Plane, names: Sequence[str], locate: Locate, codes: Codes) -> list[Device]:
    """Stations known by recordings alone: a row just inside the southern edge, since they stand elsewhere in truth."""
    west, south, _, _ = extract.box
    made = []
    for i, name in enumerate(names, 1):
        lon = round(west + i * ROW_M / plane.east, 6)
        lat = round(south + 20 / METRES_PER_DEGREE, 6)
        district, street, grid = locate(lon, lat)
        code = codes.next(district, "pole")
        made.append(Device(name, "pole", code, lon, lat, district, street, grid, cadence_s=3600.0, origin="recorded"))
    return made
