"""A city of any size on a generated road network: for full-size runs where no extract is large enough.

Roads are a grid of blocks bent by a few long waves, with local streets missing here and there. Equal orders give equal
files. Nothing in it is a real place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from devices.cities.geometry import XY, Plane
from devices.places import Area, CityFiles, LonLat, Road
from twin.survey.errors import SurveyError
from twin.survey.furnish import Codes, Furniture, Locate, Stretch, connect, light, mount_cells, spots_along
from twin.survey.haulage import Wishes, haul
from twin.survey.network import Network
from twin.survey.staff import staff_of
from twin.survey.write import Feature, feature, pairs, write_city

CELLS, POLES, TRUCKS = 51, 15, 10  # the mix of the full city, per 76 devices
BLOCK_M = 250.0
MOST_BLOCKS = 160  # along one side; larger cities get larger blocks
PRIMARY, SECONDARY = 8, 4  # every eighth line is a primary road, every fourth a secondary one
LIMITS = {"primary": 60.0, "secondary": 50.0, "residential": 30.0}  # km/h
TUNNELS = 3  # every third avenue goes under the river, the others over it
GAPS = 0.12  # share of local streets' blocks that are missing
DISTRICTS, STREETS, GRIDS = 3, 4, 5  # along one side: of the city, of a district, of a street
TRUCKS_PER_PLATFORM = 125
CENTRE_KM = 7.0  # pole density falls to 1/e this far from the middle
ATTRIBUTION = "Generated city: no real places, devices or people"


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the generated city is."""

    devices: int = 76_000
    area_km2: float = 900.0
    seed: int = 1
    gateways: int = 500
    name: str = "Generated city"
    name_zh: str = "合成城市"
    adcode: str = "990000"
    timezone: str = "Asia/Shanghai"
    centre: LonLat = (121.5, 30.0)
    valid_from: str = "2010-01-01"
    valid_to: str = "2039-12-31"

    @property
    def side_m(self) -> float:
        """Side of the square city in metres."""
        return math.sqrt(self.area_km2) * 1000

    @property
    def blocks(self) -> int:
        """Blocks along one side."""
        return max(8, min(MOST_BLOCKS, round(self.side_m / BLOCK_M)))


@dataclass(frozen=True, slots=True)
class River:
    """A river through the middle from west to east; only main roads cross it."""

    bend_m: float
    side_m: float
    half_width_m: float = 150.0

    def covers(self, x: float, y: float, block: float) -> bool:
        """Whether the block around a point given in metres lies at the river."""
        return abs(y - self.middle_m(x)) < self.half_width_m + block / 2

    def middle_m(self, x: float) -> float:
        """Metres north of the centre at `x` metres east of it."""
        return self.bend_m * math.sin(x / self.side_m * 5)


@dataclass(frozen=True, slots=True)
class Street:
    """One unbroken line of the grid: its crossings as (column, row), class and name."""

    crossings: tuple[tuple[int, int], ...]
    cls: str
    name: str
    name_zh: str


def synthesise(
    plan: Plan, out: Path, *, force: bool = False, progress: Callable[[str], None] = lambda _: None
) -> CityFiles:
    """Make the city in directory `out` and return it as it reads back. Raises SurveyError for an impossible plan."""
    check_plan(plan)
    draw, plane, codes = Random(plan.seed), Plane(plan.centre), Codes()  # noqa: S311 - a seeded city, not a secret
    progress("roads")
    at = crossings_of(plan, plane, draw)
    river = River(draw.uniform(0.05, 0.15) * plan.side_m, plan.side_m)
    streets = list(streets_of(plan, river, draw))
    pieces = [(street, *piece) for street in streets for piece in pieces_of(plan, river, street)]
    tunnels = {step for _, crossings, below in pieces if below for step in pairwise(crossings)}
    network = Network(plane)
    for street in streets:
        network.add(street.crossings, [at[c] for c in street.crossings], LIMITS[street.cls])
    areas, locate = areas_of(plan, plane)
    trucks = plan.devices * TRUCKS // (CELLS + POLES + TRUCKS)
    platforms = min(plan.gateways // 5, math.ceil(trucks / TRUCKS_PER_PLATFORM))
    progress("poles, cells, gateways")
    stretches = lit(streets, at, plane, draw, tunnels)
    furniture = furnish(plan, plane, stretches, locate, codes, draw, plan.gateways - platforms)
    progress("sites, trucks, permits")
    places = max(4, min(300, len(at) // 40))
    wishes = Wishes(places, max(2, places // 10), platforms, trucks, plan.valid_from, plan.valid_to, platforms=True)
    haulage = haul(network, wishes, plane, locate, codes, draw)
    progress("files")
    city = CityFiles(
        name=plan.name, name_zh=plan.name_zh, name_local=plan.name_zh, adcode=plan.adcode, timezone=plan.timezone,
        centre=plan.centre, attribution=ATTRIBUTION, areas=tuple(areas), nodes=(*furniture.nodes, *haulage.nodes),
        devices=(*furniture.devices, *haulage.devices), permits=tuple(haulage.permits), departments=(),
        neighbours=furniture.neighbours, routes=haulage.routes,
        roads=tuple(Road(s.name, LIMITS[s.cls], tuple(at[c] for c in piece)) for s, piece, _ in pieces),
        tunnels=tuple(tuple(at[c] for c in piece) for _, piece, below in pieces if below),
    )  # fmt: skip
    return write_city(city, out, staff_of(areas), basemap_of(plan, plane, river, pieces, at, areas, draw), force=force)


def check_plan(plan: Plan) -> None:
    """Raise SurveyError for a plan that cannot be built."""
    if not 200 <= plan.devices <= 1_000_000:
        raise SurveyError(f"{plan.devices} devices", "order 200 to 1000000")
    if not 4 <= plan.area_km2 <= 10_000:
        raise SurveyError(f"{plan.area_km2:g} km2", "order 4 to 10000 km2")
    if not 10 <= plan.gateways <= 500:
        raise SurveyError(f"{plan.gateways} gateways", "order 10 to 500")
    roads_km = plan.area_km2 * 2000 / (plan.side_m / plan.blocks) * (1 / SECONDARY)
    poles = plan.devices * POLES // (CELLS + POLES + TRUCKS)
    if poles * 0.033 > roads_km * 0.8:
        raise SurveyError(f"{poles} poles do not fit on {roads_km:.0f} km of main roads", "order a larger area")


def crossings_of(plan: Plan, plane: Plane, draw: Random) -> dict[tuple[int, int], LonLat]:
    """Positions of all crossings: a square grid bent by three waves in each direction."""
    block = plan.side_m / plan.blocks
    waves = [
        (draw.uniform(0.1, 0.25) * block, draw.uniform(3e3, 9e3), draw.uniform(0, 7), draw.uniform(0, 7))
        for _ in range(3)
    ]
    found: dict[tuple[int, int], LonLat] = {}
    for i in range(plan.blocks + 1):
        for j in range(plan.blocks + 1):
            x, y = i * block - plan.side_m / 2, j * block - plan.side_m / 2
            east = sum(high * math.sin(y / long * 2 * math.pi + turn) for high, long, turn, _ in waves)
            north = sum(high * math.sin(x / long * 2 * math.pi + turn) for high, long, _, turn in waves)
            lon, lat = plane.lonlat(x + east, y + north)
            found[i, j] = (round(lon, 6), round(lat, 6))
    return found


def streets_of(plan: Plan, river: River, draw: Random) -> Iterator[Street]:
    """Lines of the grid, local ones in pieces where blocks are missing or would need a bridge."""
    block = plan.side_m / plan.blocks

    def wet(step: float, k: int) -> bool:
        x, y = (step, k) if lengthwise else (k, step)
        return river.covers(x * block - plan.side_m / 2, y * block - plan.side_m / 2, block)

    for lengthwise in (True, False):
        for k in range(plan.blocks + 1):
            cls = "primary" if k % PRIMARY == 0 else "secondary" if k % SECONDARY == 0 else "residential"
            word = {"primary": "Avenue", "secondary": "Road", "residential": "Street"}[cls]
            word_zh = {"primary": "大道", "secondary": "路", "residential": "街"}[cls]
            name, name_zh = (
                f"{'East' if lengthwise else 'North'} {word} {k}",
                f"{'东' if lengthwise else '北'}{k}{word_zh}",
            )
            run = [0]
            for step in range(1, plan.blocks + 1):
                if cls == "residential" and (draw.random() < GAPS or wet(step - 0.5, k)):
                    if len(run) > 1:
                        yield Street(_line(run, k, lengthwise=lengthwise), cls, name, name_zh)
                    run = []
                run.append(step)
            if len(run) > 1:
                yield Street(_line(run, k, lengthwise=lengthwise), cls, name, name_zh)


def _line(run: list[int], k: int, *, lengthwise: bool) -> tuple[tuple[int, int], ...]:
    return tuple((step, k) if lengthwise else (k, step) for step in run)


def pieces_of(plan: Plan, river: River, street: Street) -> Iterator[tuple[tuple[tuple[int, int], ...], bool]]:
    """A street's crossings in pieces, each with whether it is a tunnel: some avenues go under the river."""
    block, column = plan.side_m / plan.blocks, street.crossings[0][0]
    if street.cls != "primary" or column != street.crossings[1][0] or column // PRIMARY % TUNNELS:
        yield street.crossings, False
        return
    run, below = [street.crossings[0]], False
    for a, b in pairwise(street.crossings):
        x, y = a[0] * block - plan.side_m / 2, (a[1] + b[1]) / 2 * block - plan.side_m / 2
        if (wet := river.covers(x, y, block)) != below and len(run) > 1:
            yield tuple(run), below
            run = [a]
        below = wet
        run.append(b)
    yield tuple(run), below


def areas_of(plan: Plan, plane: Plane) -> tuple[list[Area], Locate]:
    """Square districts, streets and grid cells, and where a point belongs."""
    per_side = DISTRICTS * STREETS * GRIDS
    cell = plan.side_m / per_side
    codes = {(i, j): grid_code(plan, i, j) for i in range(per_side) for j in range(per_side)}
    areas: list[Area] = []
    for d in range(DISTRICTS * DISTRICTS):
        square = (d % DISTRICTS * STREETS * GRIDS, d // DISTRICTS * STREETS * GRIDS, STREETS * GRIDS)
        code = codes[square[0], square[1]][0]
        areas.append(Area(code, "district", "", f"District {d + 1}", f"第{d + 1}区", outline(plan, plane, square)))
    for s in range((DISTRICTS * STREETS) ** 2):
        square = (s % (DISTRICTS * STREETS) * GRIDS, s // (DISTRICTS * STREETS) * GRIDS, GRIDS)
        district, street, _ = codes[square[0], square[1]]
        en, zh = f"Street {int(district[4:])}-{int(street[6:])}", f"第{int(district[4:])}区{int(street[6:])}街道"
        areas.append(Area(street, "street", district, en, zh, outline(plan, plane, square)))
    for (i, j), (_, street, grid) in codes.items():
        en, zh = f"Grid {grid[6:9]}-{grid[12:]}", f"网格{grid[6:9]}-{grid[12:]}"
        areas.append(Area(grid, "grid", street, en, zh, outline(plan, plane, (i, j, 1))))

    def locate(lon: float, lat: float) -> tuple[str, str, str]:
        """Codes of the cell at a point; of the outermost one beyond the edge."""
        x, y = plane.xy(lon, lat)
        i, j = (min(per_side - 1, max(0, math.floor((v + plan.side_m / 2) / cell))) for v in (x, y))
        return codes[i, j]

    return areas, locate


def grid_code(plan: Plan, i: int, j: int) -> tuple[str, str, str]:
    """Codes of district, street and grid cell in column i and row j of the smallest squares."""
    d = j // (STREETS * GRIDS) * DISTRICTS + i // (STREETS * GRIDS) + 1
    s = j // GRIDS % STREETS * STREETS + i // GRIDS % STREETS + 1
    g = j % GRIDS * GRIDS + i % GRIDS + 1
    district = f"{plan.adcode[:4]}{d:02d}"
    return district, f"{district}{s:03d}", f"{district}{s:03d}001{g:03d}"


def outline(plan: Plan, plane: Plane, square: tuple[int, int, int]) -> tuple[LonLat, ...]:
    """The ring of a square given as (column, row, cells along a side)."""
    cell = plan.side_m / (DISTRICTS * STREETS * GRIDS)
    i, j, n = square
    corners = ((i, j), (i + n, j), (i + n, j + n), (i, j + n), (i, j))
    ring = (plane.lonlat(a * cell - plan.side_m / 2, b * cell - plan.side_m / 2) for a, b in corners)
    return tuple((round(lon, 6), round(lat, 6)) for lon, lat in ring)


def furnish(
    plan: Plan,
    plane: Plane,
    stretches: Iterator[Stretch],
    locate: Locate,
    codes: Codes,
    draw: Random,
    gateways: int,
) -> Furniture:
    """Poles along pieces of the main roads, denser towards the middle, with everything that hangs on them."""
    whole = CELLS + POLES + TRUCKS
    cells, trucks = plan.devices * CELLS // whole, plan.devices * TRUCKS // whole
    spots = spots_along(stretches, plane, draw, plan.devices - cells - trucks)
    made = light(spots, locate, codes, draw)
    poles = [device for device in made.devices if device.kind == "pole"]
    mounted, made.neighbours = mount_cells(poles, cells, plane, codes, draw)
    made.devices += mounted
    connect(made, gateways, plane, codes, draw)
    return made


def lit(
    streets: list[Street],
    at: dict[tuple[int, int], LonLat],
    plane: Plane,
    draw: Random,
    tunnels: set[tuple[tuple[int, int], tuple[int, int]]],
) -> Iterator[Stretch]:
    """Pieces of the main roads between secondary crossings, those near the middle likely first; none with a tunnel."""
    pieces: list[tuple[float, Stretch]] = []
    for street in streets:
        if street.cls == "residential":
            continue
        ends = list(range(0, len(street.crossings) - 1, SECONDARY))
        for start, end in pairwise([*ends, len(street.crossings) - 1]):
            if any(step in tunnels for step in pairwise(street.crossings[start : end + 1])):
                continue
            line = [at[c] for c in street.crossings[start : end + 1]]
            away_km = math.hypot(*plane.xy(*line[len(line) // 2])) / 1000
            # The smallest of exponential waiting times comes first: sampling without replacement by weight.
            rank = draw.expovariate(1.0) / math.exp(-away_km / CENTRE_KM)
            pieces.append((rank, Stretch(street.name, street.cls, line)))
    for _, piece in sorted(pieces, key=lambda pair: pair[0]):
        yield piece


def basemap_of(
    plan: Plan,
    plane: Plane,
    river: River,
    pieces: list[tuple[Street, tuple[tuple[int, int], ...], bool]],
    at: dict[tuple[int, int], LonLat],
    areas: list[Area],
    draw: Random,
) -> Iterator[Feature]:
    """A river, parks, roads and district names."""
    half, wide = plan.side_m / 2, river.half_width_m
    middle = [(x, river.middle_m(x)) for x in _even_steps(-half, half, 60)]
    bank = [(x, y + wide) for x, y in middle] + [(x, y - wide) for x, y in reversed(middle)]
    yield _polygon(plane, bank, {"layer": "water", "class": "river", "minzoom": 8})
    for _ in range(max(3, round(plan.area_km2 / 15))):
        x, y, size = draw.uniform(-half, half * 0.95), draw.uniform(-half, half * 0.95), draw.uniform(150, 600)
        corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]
        yield _polygon(plane, corners, {"layer": "park", "class": "park", "minzoom": 11})
    for street, crossings, below in pieces:
        told = {"layer": "road", "class": street.cls, "name": street.name_zh} | ({"tunnel": True} if below else {})
        zoom = {"primary": 9, "secondary": 10, "residential": 13}[street.cls]
        yield feature({**told, "minzoom": zoom}, "LineString", pairs(at[c] for c in crossings))
    for area in areas:
        if area.level == "district":
            (west, south), (east, north) = area.ring[0], area.ring[2]
            label = {"layer": "place", "class": "borough", "name": area.name_zh, "minzoom": 9}
            yield feature(label, "Point", pairs([((west + east) / 2, (south + north) / 2)])[0])


def _even_steps(low: float, high: float, count: int) -> list[float]:
    return [low + (high - low) * i / count for i in range(count + 1)]


def _polygon(plane: Plane, corners: list[XY], told: dict[str, str | int]) -> Feature:
    return feature(told, "Polygon", [pairs(plane.lonlat(x, y) for x, y in (*corners, corners[0]))])
