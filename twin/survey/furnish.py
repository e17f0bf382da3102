"""Street furniture: feeders > cabinets > poles along streets, small cells on poles, gateways in front of both.

Everything is drawn from one random generator in a fixed order, so that equal streets and seed give an equal city.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import TypeVar

from devices.cities.geometry import XY, Plane
from devices.kinds import KINDS
from devices.places import Device, LonLat, Node

SPACING_M = (25.0, 40.0)
CLEAR_M = 18.0  # two poles never stand closer
CABINET_POLES = 12
FEEDER_POLES = 48
NEIGHBOURS = 6

LAMPS: dict[str, tuple[float, float, float]] = {
    # road class: lamp power W, height m, distance of the pole from the middle line m
    "motorway": (250, 12, 12), "trunk": (250, 12, 10), "primary": (180, 10, 8), "secondary": (150, 10, 7),
    "tertiary": (120, 8, 6), "unclassified": (90, 8, 5), "residential": (60, 6, 4.5), "living_street": (40, 5, 3.5),
}  # fmt: skip

Item = TypeVar("Item")
Locate = Callable[[float, float], tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of street that is lit."""

    name: str
    cls: str
    line: Sequence[LonLat]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a pole goes: position, street and class, and its number along the streets."""

    xy: XY
    lonlat: LonLat
    street: str
    cls: str
    order: int


@dataclass(slots=True)
class Codes:
    """16-digit object codes: 6 digits of the district, 4 of the class, 6 serial."""

    given: dict[str, int] = field(default_factory=dict)

    def next(self, district: str, kind: str) -> str:
        """The next free code of a kind in a district."""
        prefix = district + KINDS[kind].object_class
        self.given[prefix] = self.given.get(prefix, 0) + 1
        return f"{prefix}{self.given[prefix]:06d}"


@dataclass(slots=True)
class Furniture:
    """What was put up."""

    devices: list[Device] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    neighbours: dict[str, tuple[str, ...]] = field(default_factory=dict)


def anywhere(_lon: float, _lat: float) -> bool:
    """Every place may hold a pole."""
    return True


def spots_along(
    stretches: Iterable[Stretch],
    plane: Plane,
    draw: Random,
    most: int,
    free: Callable[[float, float], bool] = anywhere,
) -> list[Spot]:
    """Pole positions 25-40 m apart along the stretches, never two within CLEAR_M; at most `most` of them.

    Where a place is not `free` (lon, lat) the pole stands across the street; where neither is, there is none.
    """
    taken: dict[tuple[int, int], list[XY]] = {}
    spots: list[Spot] = []
    for stretch in stretches:
        if len(spots) >= most:
            break
        off = LAMPS[stretch.cls][2]
        side = 1 if draw.random() < 0.5 else -1
        both = stretch.cls in ("motorway", "trunk", "primary", "secondary")
        for i, (at, normal) in enumerate(steps_along([plane.xy(*p) for p in stretch.line], draw)):
            turn = off * side * (1 if not both or i % 2 == 0 else -1)
            for across in (turn, -turn):
                xy = (at[0] + normal[0] * across, at[1] + normal[1] * across)
                lon, lat = plane.lonlat(*xy)
                if free(lon, lat):
                    if is_clear(taken, xy):
                        spots.append(Spot(xy, (round(lon, 6), round(lat, 6)), stretch.name, stretch.cls, len(spots)))
                    break
    return spots[:most]


def steps_along(line: Sequence[XY], draw: Random) -> Iterator[tuple[XY, XY]]:
    """Points every 25-40 m (one even step per line) along a line in metres, each with the unit normal to its left."""
    total = sum(math.dist(a, b) for a, b in pairwise(line))
    if total < CLEAR_M:
        return
    wanted = draw.uniform(*SPACING_M)
    count = max(1, round(total / wanted))
    step = total / count
    ahead = step / 2
    for a, b in pairwise(line):
        length = math.dist(a, b)
        if length == 0:
            continue
        while ahead <= length:
            share = ahead / length
            normal = (-(b[1] - a[1]) / length, (b[0] - a[0]) / length)
            yield (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share), normal
            ahead += step
        ahead -= length


def is_clear(taken: dict[tuple[int, int], list[XY]], xy: XY) -> bool:
    """Whether nothing stands within CLEAR_M; if so the place is taken from now on."""
    i, j = math.floor(xy[0] / CLEAR_M), math.floor(xy[1] / CLEAR_M)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            if any(math.dist(xy, other) < CLEAR_M for other in taken.get((i + di, j + dj), ())):
                return False
    taken.setdefault((i, j), []).append(xy)
    return True


def halved(items: Sequence[Item], xy: Callable[[Item], XY], groups: int) -> list[list[Item]]:
    """Items in `groups` compact groups of about equal size: cut across the longer side until there are enough."""
    if groups <= 1 or len(items) <= 1:
        return [list(items)]
    points = [xy(item) for item in items]
    wide = max(p[0] for p in points) - min(p[0] for p in points)
    high = max(p[1] for p in points) - min(p[1] for p in points)
    axis = 0 if wide >= high else 1
    ordered = sorted(items, key=lambda item: (xy(item)[axis], xy(item)[1 - axis]))
    left = groups // 2
    cut = round(len(ordered) * left / groups)
    return halved(ordered[:cut], xy, left) + halved(ordered[cut:], xy, groups - left)


def light(spots: Sequence[Spot], locate: Locate, codes: Codes, draw: Random) -> Furniture:
    """Poles at the spots, wired to cabinets and metered feeders."""
    made = Furniture()
    feeders = halved(spots, lambda spot: spot.xy, math.ceil(len(spots) / FEEDER_POLES)) if spots else []
    wide = max(2, len(str(len(feeders))))
    pole_wide = max(4, len(str(len(spots))))
    number = 0
    for f, fed in enumerate(feeders, 1):
        feeder = f"feeder-{f:0{wide}d}"
        poles: list[Device] = []
        for c, wired in enumerate(halved(fed, lambda spot: spot.xy, math.ceil(len(fed) / CABINET_POLES)), 1):
            cabinet = f"cabinet-{f:0{wide}d}{c}"
            wired.sort(key=lambda spot: spot.order)
            made.nodes.append(cabinet_at(cabinet, feeder, wired[0], locate))
            for spot in wired:
                number += 1
                poles.append(pole_at(f"pole-{number:0{pole_wide}d}", cabinet, feeder, spot, locate, codes, draw))
        made.devices.append(meter_of(feeder, poles, locate, codes))
        made.devices += poles
    made.devices.sort(key=lambda device: (device.kind != "pole", device.id))
    return made


def cabinet_at(name: str, feeder: str, spot: Spot, locate: Locate) -> Node:
    """A cabinet beside the first pole that it feeds."""
    lon, lat = spot.lonlat
    street = f" {spot.street}" if spot.street else ""
    digits = name.removeprefix("cabinet-")
    return Node(name, "cabinet", f"Cabinet {digits}{street}", f"配电箱{digits}{street}", feeder,
                round(lon + 0.00003, 6), lat, 0.0, locate(lon, lat)[2])  # fmt: skip


def pole_at(name: str, cabinet: str, feeder: str, spot: Spot, locate: Locate, codes: Codes, draw: Random) -> Device:
    """A smart pole; one in five measures air, one in ten noise, one in twenty charges cars."""
    power, height, _ = LAMPS[spot.cls]
    told = {"ratedPower": power, "height": height}
    for extra, share in (("airSensor", 0.2), ("noiseSensor", 0.1), ("charger", 0.05)):
        if draw.random() < share:
            told[extra] = 1.0
    district, street, grid = locate(*spot.lonlat)
    return Device(name, "pole", codes.next(district, "pole"), *spot.lonlat, district, street, grid,
                  cabinet=cabinet, feeder=feeder, attributes=told)  # fmt: skip


def meter_of(feeder: str, poles: Sequence[Device], locate: Locate, codes: Codes) -> Device:
    """The meter of a feeder, beside its first pole; rated at what its lamps draw together."""
    lon, lat = round(poles[0].lon + 0.00005, 6), poles[0].lat
    district, street, grid = locate(lon, lat)
    told = {"ratedPower": sum(pole.attributes["ratedPower"] for pole in poles), "lamps": float(len(poles))}
    return Device(feeder, "feeder", codes.next(district, "feeder"), lon, lat, district, street, grid, attributes=told)


def mount_cells(
    poles: Sequence[Device], cells: int, plane: Plane, codes: Codes, draw: Random
) -> tuple[list[Device], dict[str, tuple[str, ...]]]:
    """Small cells in sectors of three (a fourth where more are wanted) on evenly spread poles, and their neighbours."""
    if not poles or cells <= 0:
        return [], {}
    sites = min(len(poles), math.ceil(cells / 3))
    chosen = [group[len(group) // 2] for group in halved(poles, lambda p: plane.xy(p.lon, p.lat), sites)]
    wide, made, carried = max(4, len(str(cells))), list[Device](), list[list[Device]]()
    for i, pole in enumerate(chosen):
        sectors = cells * (i + 1) // len(chosen) - cells * i // len(chosen)
        first, own = draw.randrange(0, 120, 5), list[Device]()
        for s in range(sectors):
            told = {
                "azimuth": float((first + s * 360 // max(sectors, 1)) % 360),
                "height": pole.attributes["height"] - 1,
                "txPowerSetting": float(draw.choice((33, 37, 40))),
            }
            name, code = f"cell-{len(made) + s + 1:0{wide}d}", codes.next(pole.district, "cell")
            areas = (pole.district, pole.street, pole.grid)
            own.append(Device(name, "cell", code, pole.lon, pole.lat, *areas, pole=pole.id, attributes=told))
        made += own
        carried.append(own)
    return made, neighbours_of(carried, plane)


def neighbours_of(carried: Sequence[Sequence[Device]], plane: Plane) -> dict[str, tuple[str, ...]]:
    """For each cell the NEIGHBOURS cells to which it most likely hands over.

    Cost of a cell: its distance times (1.5 - cos of the angle between the azimuth and the way to it); the other
    sectors of the same pole count as 30 m away.
    """
    places = [plane.xy(own[0].lon, own[0].lat) for own in carried if own]
    carried = [own for own in carried if own]
    near = nearest_sites(places, 8)
    found: dict[str, tuple[str, ...]] = {}
    for i, own in enumerate(carried):
        for cell in own:
            costs = [(30.0 * 1.5, other.id) for other in own if other.id != cell.id]
            for j in near[i]:
                east, north = places[j][0] - places[i][0], places[j][1] - places[i][1]
                away = math.hypot(east, north)
                turn = math.atan2(east, north) - math.radians(cell.attributes["azimuth"])
                for other in carried[j]:
                    facing = math.atan2(-east, -north) - math.radians(other.attributes["azimuth"])
                    costs.append((away * (1.5 - math.cos(turn)) * (1.5 - math.cos(facing)), other.id))
            found[cell.id] = tuple(name for _, name in sorted(costs)[:NEIGHBOURS])
    return found


def nearest_sites(places: Sequence[XY], most: int) -> list[list[int]]:
    """For each place the `most` nearest others, nearest first, through a grid of squares that grows as needed."""
    if len(places) < 2:
        return [[] for _ in places]
    xs, ys = [p[0] for p in places], [p[1] for p in places]
    area = max((max(xs) - min(xs)) * (max(ys) - min(ys)), 1.0)
    side = max(10.0, math.sqrt(area / len(places) * most))
    squares: dict[tuple[int, int], list[int]] = {}
    for i, (x, y) in enumerate(places):
        squares.setdefault((math.floor(x / side), math.floor(y / side)), []).append(i)
    wanted = min(most, len(places) - 1)
    return [_nearest(i, places, squares, side, wanted) for i in range(len(places))]


def _nearest(
    i: int, places: Sequence[XY], squares: dict[tuple[int, int], list[int]], side: float, wanted: int
) -> list[int]:
    x, y = places[i]
    column, row = math.floor(x / side), math.floor(y / side)
    reach = 1
    while True:
        inside = [
            (math.dist(places[i], places[j]), j)
            for a in range(column - reach, column + reach + 1)
            for b in range(row - reach, row + reach + 1)
            for j in squares.get((a, b), ())
            if j != i
        ]
        sure = [found for found in inside if found[0] <= reach * side]
        if len(sure) >= wanted or len(inside) == len(places) - 1:
            return [j for _, j in sorted(inside)[:wanted]]
        reach *= 2


def connect(furniture: Furniture, gateways: int, plane: Plane, codes: Codes, draw: Random) -> None:
    """Gateways at poles, and every pole, cell and feeder meter behind the one of its neighbourhood."""
    poles = [device for device in furniture.devices if device.kind == "pole"]
    groups = halved(poles, lambda pole: plane.xy(pole.lon, pole.lat), min(gateways, len(poles)))
    wide, behind, made = max(2, len(str(len(groups)))), dict[str, str](), list[Device]()
    for g, group in enumerate(groups, 1):
        name = f"gw-{g:0{wide}d}"
        behind.update((pole.id, name) for pole in group)
        home = central(group, plane)
        made.append(
            Device(name, "gateway", codes.next(home.district, "gateway"), round(home.lon - 0.00004, 6), home.lat,
                   home.district, home.street, home.grid,
                   attributes={"backhaulMbps": float(draw.choice((100, 300, 1000)))})
        )  # fmt: skip
    first_of: dict[str, str] = {}
    for pole in poles:
        first_of.setdefault(pole.feeder, pole.id)
    for i, device in enumerate(furniture.devices):
        near = {"pole": device.id, "cell": device.pole, "feeder": first_of.get(device.id, "")}.get(device.kind, "")
        if near:
            furniture.devices[i] = replace(device, gateway=behind[near])
    furniture.devices += made


def central(group: Sequence[Device], plane: Plane) -> Device:
    """The device nearest to the middle of a group."""
    xy = [plane.xy(device.lon, device.lat) for device in group]
    middle = (sum(p[0] for p in xy) / len(xy), sum(p[1] for p in xy) / len(xy))
    return min(zip(xy, group, strict=True), key=lambda pair: math.dist(pair[0], middle))[1]
