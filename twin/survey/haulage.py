"""Construction waste: sites, disposal sites, companies with trucks, and permits with routes on the road network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from devices.cities.geometry import Plane
from devices.places import Device, LonLat, Node, Permit
from twin.survey.errors import SurveyError
from twin.survey.furnish import Codes, Locate
from twin.survey.network import Network, Ways, simplified

SITE_RADIUS_M = 80.0
DISPOSAL_RADIUS_M = 100.0
SETBACK_M = 30.0  # a site's middle lies this far from the road at its gate
HOURS = ((6.0, 20.0), (19.0, 7.0), (8.0, 18.0))  # local; day, night, work day
WORK_HOURS = ((7.0, 18.0), (6.0, 21.0), (8.0, 17.0))  # of construction sites, local
ROUTE_M = 2.0  # a route's line keeps to the road's within this
WITH_SPARE = 4  # trucks of a company of which one has no permit
GATE_M = 150.0  # a known site stays where it is if its gate is this close
SAMPLE = 400  # candidate road nodes that are looked at when places are spread

# axles, tare kg, highest permitted gross kg
TRUCKS = ((4.0, 14_500.0, 31_000.0), (4.0, 15_200.0, 31_000.0), (2.0, 7_200.0, 18_000.0))


@dataclass(frozen=True, slots=True)
class Wishes:
    """How much haulage a city is to have."""

    sites: int
    disposals: int
    companies: int
    trucks: int
    valid_from: str
    valid_to: str
    platforms: bool = False  # each company's trucks report through a gateway of its own
    works: Sequence[tuple[str, LonLat]] = ()  # construction sites that are known


@dataclass(slots=True)
class Haulage:
    """What was set up."""

    devices: list[Device] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    permits: list[Permit] = field(default_factory=list)
    routes: dict[str, tuple[LonLat, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gate:
    """A site or disposal site and the road node at its gate."""

    node: Node
    row: int


def haul(network: Network, wishes: Wishes, plane: Plane, locate: Locate, codes: Codes, draw: Random) -> Haulage:
    """Set up haulage on the part of the network where trucks can get from anywhere to anywhere.

    Where that part is small there are fewer sites; raises SurveyError where it does not even hold one of each.
    """
    core = network.core()
    tips = max(1, min(wishes.disposals, len(core) // 6))
    wishes = replace(wishes, disposals=tips, sites=max(1, min(wishes.sites, len(core) // 2 - tips)))
    if len(core) < 2 * (wishes.sites + wishes.disposals):
        fix = "choose a larger extract, or one cut by complete ways"
        raise SurveyError(f"only {len(core)} connected road nodes for trucks", fix)
    made = Haulage()
    free = core if len(core) <= SAMPLE else sorted(draw.sample(core, SAMPLE))
    disposals = disposal_gates(network, free, wishes, plane, locate, draw)
    sites = site_gates(network, core, free, disposals, wishes, plane, locate, draw)
    made.nodes += [gate.node for gate in (*sites, *disposals)]
    fleets = companies(made, network, core, wishes, locate, codes, draw)
    permit(made, network, sites, disposals, fleets, wishes)
    return made


def disposal_gates(
    network: Network, free: Sequence[int], wishes: Wishes, plane: Plane, locate: Locate, draw: Random
) -> list[Gate]:
    """Disposal sites at the rim of the city, far from one another."""
    gates = []
    for i, row in enumerate(spread(network, plane, free, wishes.disposals, []), 1):
        lon, lat = beside(network.points[row], plane, draw)
        name = f"disposal-{i}"
        node = Node(
            name, "disposal", f"Disposal site {i}", f"消纳场{i}", "", lon, lat, DISPOSAL_RADIUS_M, locate(lon, lat)[2]
        )
        gates.append(Gate(node, row))
    return gates


def site_gates(
    network: Network,
    core: Sequence[int],
    free: Sequence[int],
    disposals: Sequence[Gate],
    wishes: Wishes,
    plane: Plane,
    locate: Locate,
    draw: Random,
) -> list[Gate]:
    """Construction sites: known ones first, then spread over the city, away from the disposal sites."""
    gates: list[Gate] = []
    known = list(wishes.works)[: wishes.sites]
    rows = [nearest(network, plane, core, at) for _, at in known]
    taken = [*rows, *(gate.row for gate in disposals)]
    rows += spread(network, plane, free, wishes.sites - len(rows), taken)
    for i, row in enumerate(rows, 1):
        label, at = known[i - 1] if i <= len(known) else ("", network.points[row])
        if i > len(known) or _metres(plane, at, network.points[row]) > GATE_M:
            at = beside(network.points[row], plane, draw)
        lon, lat = rounded(at)
        en, zh = f"Site {i} {label}".strip(), f"工地{i} {label}".strip()
        area, hours = locate(lon, lat)[2], WORK_HOURS[(i - 1) % len(WORK_HOURS)]
        gates.append(Gate(Node(f"site-{i}", "site", en, zh, "", lon, lat, SITE_RADIUS_M, area, hours), row))
    return gates


def spread(network: Network, plane: Plane, rows: Sequence[int], count: int, taken: Sequence[int]) -> list[int]:
    """`count` rows far from one another and from those taken: each the one whose nearest chosen row is furthest."""
    if count <= 0 or not rows:
        return []
    xy = {row: plane.xy(*network.points[row]) for row in (*rows, *taken)}
    away = dict.fromkeys(rows, math.inf)
    chosen: list[int] = []
    # The first choice is the row furthest from the middle, so that the rim is used.
    for row in taken or [max(rows, key=lambda r: (math.hypot(*xy[r]), r))]:
        if not taken:
            chosen.append(row)
        for other in rows:
            away[other] = min(away[other], math.dist(xy[row], xy[other]))
    while len(chosen) < min(count, len(rows)):
        best = max(rows, key=lambda row: (away[row], row))
        chosen.append(best)
        for other in rows:
            away[other] = min(away[other], math.dist(xy[best], xy[other]))
    return chosen


def nearest(network: Network, plane: Plane, rows: Sequence[int], at: LonLat) -> int:
    """The row nearest to a point."""
    return min(rows, key=lambda row: _metres(plane, network.points[row], at))


def _metres(plane: Plane, a: LonLat, b: LonLat) -> float:
    return math.dist(plane.xy(*a), plane.xy(*b))


def beside(at: LonLat, plane: Plane, draw: Random) -> LonLat:
    """A point SETBACK_M beside a gate."""
    x, y = plane.xy(*at)
    angle = draw.uniform(0, 2 * math.pi)
    lon, lat = plane.lonlat(x + SETBACK_M * math.cos(angle), y + SETBACK_M * math.sin(angle))
    return round(lon, 6), round(lat, 6)


def companies(
    made: Haulage, network: Network, core: Sequence[int], wishes: Wishes, locate: Locate, codes: Codes, draw: Random
) -> list[list[Device]]:
    """Companies, each with an equal share of the trucks parked around its depot."""
    fleets: list[list[Device]] = []
    wide, company_wide = max(3, len(str(wishes.trucks))), len(str(wishes.companies))
    number = 0
    for c in range(1, wishes.companies + 1):
        company = f"company-{c:0{company_wide}d}"
        depot = network.points[draw.choice(core)]
        district, street, grid = locate(*depot)
        made.nodes.append(
            Node(company, "company", f"Haulage company {c}", f"渣土运输公司{c}", "", *rounded(depot), 0.0, grid)
        )
        gateway = ""
        if wishes.platforms:
            gateway = f"gw-{company}"
            code = codes.next(district, "gateway")
            made.devices.append(Device(gateway, "gateway", code, *rounded(depot), district, street, grid))
        share = wishes.trucks * c // wishes.companies - wishes.trucks * (c - 1) // wishes.companies
        fleet = []
        for _ in range(share):
            number += 1
            axles, tare, most = draw.choice(TRUCKS)
            told = {"axles": axles, "tareWeight": tare, "grossLimit": most}
            fleet.append(Device(f"truck-{number:0{wide}d}", "truck", codes.next(district, "truck"), *rounded(depot),
                                district, street, grid, gateway=gateway, company=company,
                                plate=f"CW-{number:0{max(wide, 4)}d}", attributes=told))  # fmt: skip
        fleets.append(fleet)
        made.devices += fleet
    made.devices.sort(key=lambda device: (device.kind, device.id))
    return fleets


def rounded(point: LonLat) -> LonLat:
    """A position to 0.1 m."""
    return round(point[0], 6), round(point[1], 6)


def permit(
    made: Haulage,
    network: Network,
    sites: Sequence[Gate],
    disposals: Sequence[Gate],
    fleets: Sequence[Sequence[Device]],
    wishes: Wishes,
) -> None:
    """Permits for groups of at most ten trucks of one company, each from one site to one disposal site by one route.

    The last truck of a company has none, as it is with real ones: it stays in the yard, or ought to.
    """
    ways: dict[str, tuple[Ways, Ways]] = {
        gate.node.id: (network.ways_to(gate.row), network.ways_from(gate.row)) for gate in disposals
    }
    number = 0
    for whole in fleets:
        fleet = whole[:-1] if len(whole) >= WITH_SPARE else whole
        groups = -(-len(fleet) // 10)
        for g in range(groups):
            trucks = fleet[len(fleet) * g // groups : len(fleet) * (g + 1) // groups]
            site, disposal = sites[number % len(sites)], disposals[(number + number // len(sites)) % len(disposals)]
            number += 1
            route = f"{site.node.id}-{disposal.node.id}"
            if route not in made.routes:
                there, back = ways[disposal.node.id]
                made.routes[route] = driven(network, site, there.line(site.row), disposal)
                made.routes[f"{route}-back"] = driven(network, disposal, back.line(site.row), site)
            hours = HOURS[(number - 1) % len(HOURS)]
            made.permits.append(
                Permit(f"permit-{number}", trucks[0].company, tuple(truck.id for truck in trucks), site.node.id,
                       disposal.node.id, route, *hours, wishes.valid_from, wishes.valid_to)
            )  # fmt: skip


def driven(network: Network, start: Gate, line: Sequence[LonLat], end: Gate) -> tuple[LonLat, ...]:
    """A route from place to place, gates included, with no more points than its bends need."""
    ends = [(gate.node.lon or 0.0, gate.node.lat or 0.0) for gate in (start, end)]
    whole = [ends[0], *line, ends[1]]
    return tuple(rounded(point) for point in simplified(whole, network.plane, ROUTE_M))
