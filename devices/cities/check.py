"""What hangs on what in a city, and whether it can stand where it says: relations and positions of a whole draft."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from devices.cities.draft import Draft, key_line
from devices.cities.geometry import Plane, Streets, in_china, metres_between, metres_to_segment, wgs84_of_gcj02
from devices.cities.shifted import check_shifted
from devices.cities.tables import Complaint, line_of
from devices.kinds import KINDS
from devices.places import Area, Department, Device, LonLat, Node, Permit

FAR_M = 150_000.0  # a city's things stand within this distance of its centre
STREET_M = 60.0  # a pole stands this close to the middle line of some road
SHIFTED_STREET_M = 25.0  # ... and this close after undoing GCJ-02, if GCJ-02 is what it is written in
SHIFTED_SHARE = 0.8  # of the poles off every road that must fit after undoing GCJ-02 before it is suspected
AREA_M = 300.0  # a pole stands this close to the outline of the area that it is listed under
CARRIER_M = 200.0  # a cell stands this close to the pole that carries it
ROUTE_END_M = 1_000.0  # a route ends this close to its site and disposal site, beside their radius

MENDED_BY_SWAP = "longitude comes first: swap the two"
MENDED_BY_GCJ = "convert to WGS84: `citywhistle city import --from gcj02`"


def check_draft(draft: Draft, *, placed: bool = True) -> None:
    """Note everything in a draft that does not fit together; positions only where the city's centre is known."""
    check_areas(draft)
    check_nodes(draft)
    check_devices(draft)
    check_permits(draft)
    check_neighbours(draft)
    check_departments(draft)
    if placed and check_positions(draft):
        check_streets(draft)
        check_inside(draft)


def check_areas(draft: Draft) -> None:
    """Districts hold streets, streets hold grid cells, and codes start with the code above."""
    for area in draft.areas.values():
        for _, problem, fix in level_problems(draft, area):
            draft.problems.say("areas.csv", draft.line("areas.csv", area.code), problem, fix)
    if not any(area.level == "district" for area in draft.areas.values()) and not draft.problems:
        draft.problems.say("areas.csv", 1, "no district", "add at least one line with level district")


def level_problems(draft: Draft, area: Area) -> Iterator[Complaint]:
    """(field, problem, fix) of one area's place among the others."""
    wanted = {"district": "", "street": "district", "grid": "street"}[area.level]
    parent = draft.areas.get(area.parent)
    if wanted and (parent is None or parent.level != wanted):
        problem = f"{area.level} {area.code}: parent {area.parent[:40]!r} is no {wanted}"
        yield "parent", problem, f"name the code of the {wanted} that holds it"
    elif not wanted and area.parent:
        yield "parent", f"district {area.code} has a parent", "leave its parent empty"
    elif not area.code.startswith(area.parent):
        fix = f"its code starts with the {len(area.parent)} digits of its parent"
        yield "code", f"{area.level} {area.code} is not numbered under {area.parent}", fix


def check_nodes(draft: Draft) -> None:
    """Cabinets hang on feeders, sites have a place and a size, areas exist."""
    for node in draft.nodes.values():
        for _, problem, fix in node_problems(draft, node):
            draft.problems.say("nodes.csv", draft.line("nodes.csv", node.id), problem, fix)


def node_problems(draft: Draft, node: Node) -> Iterator[Complaint]:
    """(field, problem, fix) of one node's relations and place."""
    if node.cls == "cabinet" and not is_feeder(draft, node.parent):
        problem = f"cabinet {node.id}: feeder {node.parent[:60]!r} does not exist"
        yield "parent", problem, "name a node of class feeder or a device of kind feeder"
    if node.cls != "cabinet" and node.parent:
        yield "parent", f"{node.cls} {node.id} has a parent", "only cabinets have one: a feeder"
    if node.cls in ("site", "disposal") and (node.lon is None or node.radius_m <= 0):
        problem = f"{node.cls} {node.id} has no position or no radius"
        yield "lon" if node.lon is None else "radius_m", problem, "fill in lon, lat and radius_m"
    if node.area and node.area not in draft.areas:
        yield "area", f"{node.cls} {node.id}: area {node.area[:40]!r} does not exist", "use a code of areas.csv"


SHORTEST_PLATE = 4  # letters; what is shorter is found in many an id


def _bare(name: str) -> str:
    """A name without what people put between its parts."""
    return "".join(letter for letter in name.upper() if letter.isalnum())


def is_feeder(draft: Draft, name: str) -> bool:
    """Whether that id is a feeder, metered (a device) or not (a node)."""
    node, device = draft.nodes.get(name), draft.devices.get(name)
    return (node is not None and node.cls == "feeder") or (device is not None and device.kind == "feeder")


def check_devices(draft: Draft) -> None:
    """Every relation of every device leads to something of the right sort."""
    plates: dict[str, str] = {}
    for device in draft.devices.values():
        for _, problem, fix in device_problems(draft, device):
            draft.problems.say("devices.csv", draft.line("devices.csv", device.id), f"{device.id}: {problem}", fix)
        if len(device.plate) >= SHORTEST_PLATE and _bare(device.plate) in _bare(device.id):
            line = draft.line("devices.csv", device.id)
            draft.problems.say("devices.csv", line, "a truck's id holds its plate", "ids are public, plates are not")
        if device.plate:
            first = plates.setdefault(device.plate, device.id)
            if first != device.id:
                line = draft.line("devices.csv", device.id)
                draft.problems.say("devices.csv", line, f"{device.id}: its plate is {first}'s", "one plate, one truck")


def device_problems(draft: Draft, device: Device) -> Iterator[Complaint]:
    """(field, problem, fix) of one device's code, places and relations."""
    yield from area_problems(draft, device)
    if device.code16[:6] != device.district or device.code16[6:10] != KINDS[device.kind].object_class:
        wanted = device.district + KINDS[device.kind].object_class
        problem = f"code16 {device.code16} is not numbered by district and class"
        yield "code16", problem, f"it starts with {wanted}"
    if device.cabinet:
        cabinet = draft.nodes.get(device.cabinet)
        if cabinet is None or cabinet.cls != "cabinet":
            problem = f"cabinet {device.cabinet[:60]!r} does not exist"
            yield "cabinet", problem, "use an id of class cabinet in nodes.csv"
        elif device.feeder and device.feeder != cabinet.parent:
            problem = f"feeder {device.feeder!r} is not its cabinet's"
            yield "feeder", problem, f"write {cabinet.parent!r}, or mend the cabinet"
    if device.feeder and not is_feeder(draft, device.feeder):
        problem = f"feeder {device.feeder[:60]!r} does not exist"
        yield "feeder", problem, "use a device of kind feeder or a node of class feeder"
    for what, name, kind in (("pole", device.pole, "pole"), ("gateway", device.gateway, "gateway")):
        other = draft.devices.get(name)
        if name and (other is None or other.kind != kind):
            yield what, f"{what} {name[:60]!r} does not exist", f"use the id of a device of kind {kind}"
    if device.company:
        company = draft.nodes.get(device.company)
        if company is None or company.cls != "company":
            problem = f"company {device.company[:60]!r} does not exist"
            yield "company", problem, "use an id of class company in nodes.csv"
    yield from kind_problems(device)


def area_problems(draft: Draft, device: Device) -> Iterator[Complaint]:
    """District, street and grid cell exist, and lie within one another."""
    district = draft.areas.get(device.district)
    if district is None or district.level != "district":
        yield "district", f"district {device.district[:40]!r} does not exist", "use a district's code of areas.csv"
    for level, code, parent in (("street", device.street, device.district), ("grid", device.grid, device.street)):
        area = draft.areas.get(code)
        if code and (area is None or area.level != level):
            yield level, f"{level} {code[:40]!r} does not exist", f"use a code of level {level} in areas.csv"
        elif area is not None and area.parent != parent:
            yield (
                level,
                f"{level} {code} lies in {area.parent}, not in {parent or 'no area'}",
                "mend one of the two codes",
            )


def kind_problems(device: Device) -> Iterator[Complaint]:
    """What a device of its kind cannot be without."""
    if device.kind == "pole" and device.origin == "simulated" and not device.street:
        yield "street", "a pole on no street", "fill in the code of its street (areas.csv, level street)"
    if device.kind == "cell" and device.origin == "simulated" and not device.pole:
        yield "pole", "a cell on no pole", "fill in the id of the pole that carries it"
    if device.kind == "truck" and not device.company:
        yield "company", "a truck of no company", "fill in the id of its company (nodes.csv, class company)"
    if device.kind == "truck" and not device.plate:
        yield "plate", "a truck without a plate", "fill in its number plate; it is shown only to roles that may see it"
    if device.kind == "gateway" and device.gateway:
        yield "gateway", "a gateway behind a gateway", "leave its gateway empty"


def check_permits(draft: Draft) -> None:
    """Permits name things that exist, and their route leads from the site to the disposal site."""
    for permit in draft.permits.values():
        for _, problem, fix in permit_problems(draft, permit):
            draft.problems.say("permits.csv", draft.line("permits.csv", permit.id), f"{permit.id}: {problem}", fix)


def permit_problems(draft: Draft, permit: Permit) -> Iterator[Complaint]:
    """(field, problem, fix) of one permit."""
    ends: list[Node] = []
    for what, name in (("company", permit.company), ("site", permit.site), ("disposal", permit.disposal)):
        node = draft.nodes.get(name)
        if node is None or node.cls != what:
            yield what, f"{what} {name[:60]!r} does not exist", f"use an id of class {what} in nodes.csv"
        elif what != "company":
            ends.append(node)
    for name in permit.trucks:
        truck = draft.devices.get(name)
        if truck is None or truck.kind != "truck":
            fix = "use ids of devices of kind truck, separated by blanks"
            yield "trucks", f"truck {name[:60]!r} does not exist", fix
        elif truck.company != permit.company:
            problem = f"truck {name} belongs to {truck.company or 'no company'}"
            yield "trucks", problem, "name its own company's trucks only"
    line = draft.routes.get(permit.route)
    if not permit.route:
        yield "route", "a permit without a route", "fill in the id of a line in routes.geojson"
    elif line is None:
        fix = "add a LineString with that properties.id to routes.geojson"
        yield "route", f"route {permit.route[:60]!r} does not exist", fix
    elif len(ends) == 2:
        yield from route_problems(permit.route, line, *ends)


def route_problems(name: str, line: tuple[LonLat, ...], site: Node, disposal: Node) -> Iterator[Complaint]:
    """Whether a route touches the two places between which it runs."""
    for node in (site, disposal):
        if node.lon is None or node.lat is None:
            continue
        away = min(metres_between((node.lon, node.lat), end) for end in (line[0], line[-1]))
        if away > node.radius_m + ROUTE_END_M:
            problem = f"route {name} ends {away:.0f} m from {node.id}"
            yield "route", problem, "draw it from the site to the disposal site"


def check_neighbours(draft: Draft) -> None:
    """Neighbours are cells, and not a cell itself."""
    for cell, others in draft.neighbours.items():
        for _, problem, fix in neighbour_problems(draft, cell, others):
            draft.problems.say("neighbours.csv", draft.line("neighbours.csv", cell), problem, fix)


def neighbour_problems(draft: Draft, cell: str, others: Sequence[str]) -> Iterator[Complaint]:
    """(field, problem, fix) of one cell's neighbours."""
    for name in (cell, *others):
        device = draft.devices.get(name)
        if device is None or device.kind != "cell":
            fix = "use ids of devices of kind cell, separated by blanks"
            yield "neighbours" if name != cell else "cell", f"{name[:60]!r} is no cell", fix
    if cell in others:
        yield "neighbours", f"{cell} is its own neighbour", "drop it from its list"


def check_departments(draft: Draft) -> None:
    """Departments answer for areas that exist, and there is one at all."""
    path = draft.directory / "departments.toml"
    if not draft.departments and not any(p.file == path.name for p in draft.problems.found):
        draft.problems.say(path.name, 1, "no department", "add at least one [[department]]")
    for department in draft.departments.values():
        for _, problem, fix in office_problems(draft, department):
            draft.problems.say(path.name, line_of(path, "id", department.id), problem, fix)


def office_problems(draft: Draft, department: Department) -> Iterator[Complaint]:
    """(field, problem, fix) of the areas that a department answers for."""
    for code in department.areas:
        if code not in draft.areas:
            problem = f"{department.id}: area {code[:40]!r} does not exist"
            yield "areas", problem, "use codes of areas.csv; leave empty for everywhere"


def positions(draft: Draft) -> Iterator[tuple[str, str, LonLat]]:
    """(file, name, position) of everything that stands or runs somewhere."""
    for area in draft.areas.values():
        yield from (("areas.geojson", area.code, point) for point in area.ring)
    for node in draft.nodes.values():
        if node.lon is not None and node.lat is not None:
            yield "nodes.csv", node.id, (node.lon, node.lat)
    for device in draft.devices.values():
        yield "devices.csv", device.id, (device.lon, device.lat)
    for name, line in draft.routes.items():
        yield from (("routes.geojson", name, point) for point in line)
    for name, _, line in draft.roads:
        yield from (("roads.geojson", name, point) for point in line)


def check_positions(draft: Draft) -> bool:
    """Everything stands near the centre; False where swapped axes make further looks at positions pointless."""
    centre = draft.head.centre
    plane = Plane(centre)
    east, north = FAR_M / plane.east, FAR_M / 111_194.93
    wrong: dict[tuple[str, str], LonLat] = {}
    seen = swapped = 0
    for file, name, (lon, lat) in positions(draft):
        seen += 1
        if not (abs(lon - centre[0]) <= east and abs(lat - centre[1]) <= north):
            swapped += abs(lat - centre[0]) <= east and abs(lon - centre[1]) <= north
            wrong.setdefault((file, name), (lon, lat))
    if seen and swapped > 0.9 * seen:
        fix = "write centre = [longitude, latitude]; if it is right, swap the columns of the other files"
        draft.problems.say("city.toml", line_of_centre(draft), "centre and positions have swapped coordinates", fix)
        return False
    for (file, name), (lon, lat) in wrong.items():
        say_far(draft, file, name, (lon, lat), abs(lat - centre[0]) <= east and abs(lon - centre[1]) <= north)
    return not swapped


def line_of_centre(draft: Draft) -> int:
    """The line of `centre` in city.toml."""
    return key_line(draft.directory / "city.toml", "centre")


def say_far(draft: Draft, file: str, name: str, point: LonLat, swapped: bool) -> None:
    """Note a position that cannot be in this city."""
    key = {"areas.geojson": "code", "routes.geojson": "id", "roads.geojson": "name"}.get(file)
    line = line_of(draft.directory / file, key, name) if key else draft.line(file, name)
    where = json.dumps(point)
    if swapped:
        draft.problems.say(file, line, f"{name}: {where} has longitude and latitude swapped", MENDED_BY_SWAP)
    elif not (abs(point[0]) <= 180 and abs(point[1]) <= 90):
        draft.problems.say(file, line, f"{name}: {where} is not on the earth", "write WGS84 degrees, longitude first")
    else:
        away = metres_between(point, draft.head.centre) / 1000
        fix = "mend the position, or `centre` in city.toml"
        draft.problems.say(file, line, f"{name}: {where} is {away:.0f} km from the city's centre", fix)


def check_inside(draft: Draft) -> None:
    """Poles stand in the area that they are listed under, for cases are sent by it: nobody is far from its box."""
    plane = Plane(draft.head.centre)
    boxes: dict[str, tuple[float, float, float, float]] = {}
    for area in draft.areas.values():
        if area.ring:
            xs, ys = zip(*(plane.xy(*point) for point in area.ring), strict=True)
            boxes[area.code] = (min(xs), max(xs), min(ys), max(ys))
    for device in draft.devices.values():
        code = device.grid if device.grid in boxes else device.street
        if device.kind != "pole" or code not in boxes:
            continue
        (x, y), (west, east, south, north) = plane.xy(device.lon, device.lat), boxes[code]
        away = math.hypot(max(west - x, x - east, 0.0), max(south - y, y - north, 0.0))
        if away > AREA_M:
            problem = f"{device.id}: {away:.0f} m outside of {code}, under which it is listed"
            fix = "mend its position, or its street and grid"
            draft.problems.say("devices.csv", draft.line("devices.csv", device.id), problem, fix)


def check_streets(draft: Draft) -> None:
    """Poles stand on streets and cells at their poles; shifted by some hundred metres, they are likely in GCJ-02."""
    streets = Streets(Plane(draft.head.centre), (line for _, _, line in draft.roads)) if draft.roads else None
    off = list(poles_off_street(draft, streets)) if streets is not None else []
    fitting = [
        device
        for device in off
        if streets is not None
        and in_china(device.lon, device.lat)
        and streets.nearest_m(*wgs84_of_gcj02(device.lon, device.lat)) <= SHIFTED_STREET_M
    ]
    shifted = bool(fitting) and len(fitting) >= SHIFTED_SHARE * len(off)
    for device in off:
        line = draft.line("devices.csv", device.id)
        problem = f"{device.id}: a pole on no street (no road of roads.geojson within {STREET_M:.0f} m)"
        fix = "mend its position, or add the missing road"
        if shifted:
            problem, fix = f"{problem}; it would stand on one if its position is GCJ-02", MENDED_BY_GCJ
        draft.problems.say("devices.csv", line, problem, fix)
    for device in draft.devices.values():
        check_carrier(draft, device)
    if streets is not None:
        check_shifted(draft, streets)


def poles_off_street(draft: Draft, streets: Streets) -> Iterator[Device]:
    """Poles that are not recorded and stand further from every road than a pole can."""
    for device in draft.devices.values():
        if (
            device.kind == "pole"
            and device.origin != "recorded"
            and streets.nearest_m(device.lon, device.lat) > STREET_M
        ):
            yield device


def check_carrier(draft: Draft, device: Device) -> None:
    """A cell stands at the pole that carries it."""
    for _, problem, fix in carrier_problems(draft, device):
        draft.problems.say("devices.csv", draft.line("devices.csv", device.id), f"{device.id}: {problem}", fix)


def carrier_problems(draft: Draft, device: Device) -> Iterator[Complaint]:
    """(field, problem, fix) of a cell that does not stand at its pole."""
    pole = draft.devices.get(device.pole)
    if pole is None or metres_between((device.lon, device.lat), (pole.lon, pole.lat)) <= CARRIER_M:
        return
    away = metres_between((device.lon, device.lat), (pole.lon, pole.lat))
    problem, fix = f"{away:.0f} m from its pole {pole.id}", "mend one of the two positions"
    if metres_between(wgs84_of_gcj02(device.lon, device.lat), (pole.lon, pole.lat)) <= SHIFTED_STREET_M:
        problem, fix = f"{problem}; its position looks like GCJ-02", MENDED_BY_GCJ
    yield "lon", problem, fix


def place_problems(draft: Draft, point: LonLat) -> Iterator[Complaint]:
    """(field, problem, fix) of a position that cannot be in this city."""
    (lon, lat), centre = point, draft.head.centre
    east, north = FAR_M / Plane(centre).east, FAR_M / 111_194.93
    if abs(lon - centre[0]) <= east and abs(lat - centre[1]) <= north:
        return
    if abs(lat - centre[0]) <= east and abs(lon - centre[1]) <= north:
        yield "lon", f"{json.dumps(point)} has longitude and latitude swapped", MENDED_BY_SWAP
    elif not (abs(lon) <= 180 and abs(lat) <= 90):
        yield "lon", f"{json.dumps(point)} is not on the earth", "write WGS84 degrees, longitude first"
    else:
        away = metres_between(point, centre) / 1000
        yield "lon", f"{json.dumps(point)} is {away:.0f} km from the city's centre", "mend the position"


def street_problems(draft: Draft, device: Device) -> Iterator[Complaint]:
    """(field, problem, fix) of one pole that stands on no street; looks at the roads around it only."""
    if device.kind != "pole" or device.origin == "recorded" or not draft.roads:
        return
    plane, reach = Plane(draft.head.centre), 2 * STREET_M / 111_194.93
    wide = 2 * STREET_M / plane.east
    near = [
        (a, b)
        for _, _, line in draft.roads
        for a, b in pairwise(line)
        if min(a[0], b[0]) - wide <= device.lon <= max(a[0], b[0]) + wide
        and min(a[1], b[1]) - reach <= device.lat <= max(a[1], b[1]) + reach
    ]
    here = plane.xy(device.lon, device.lat)
    if any(metres_to_segment(here, plane.xy(*a), plane.xy(*b)) <= STREET_M for a, b in near):
        return
    problem = f"a pole on no street (no road of roads.geojson within {STREET_M:.0f} m)"
    yield "lon", problem, "mend its position, or add the missing road"
