"""Routes and sites that were drawn on a Chinese web map: hundreds of metres off, and in place once GCJ-02 is undone."""

from __future__ import annotations

from collections.abc import Iterator

from devices.cities.draft import Draft
from devices.cities.geometry import Streets, in_china, metres_between, wgs84_of_gcj02
from devices.cities.tables import line_of
from devices.places import LonLat, Node

OFF_M = 60.0  # a route that runs so far from every road runs on none
ON_M = 25.0  # ... and is shifted if it runs this close to one after undoing GCJ-02
GATE_M = 150.0  # a site farther than this beyond its radius from where its routes end is off ...
HOME_M = 60.0  # ... and shifted if it is within this after undoing GCJ-02
SHARE = 0.8  # of what is off must fit after undoing it
MENDED = "convert to WGS84: `citywhistle city import --from gcj02` does it for points"


def check_shifted(draft: Draft, streets: Streets) -> None:
    """Note what looks like GCJ-02 in a city of China whose roads are in WGS84."""
    if not in_china(*draft.head.centre):
        return
    for name, line in draft.routes.items():
        if _is_shifted(line, streets):
            problem = f"{name}: it runs beside every road, and along them if its points are GCJ-02"
            path = draft.directory / "routes.geojson"
            draft.problems.say(path.name, line_of(path, "id", name), problem, MENDED)
    off = list(_sites_off(draft))
    fitting = [node for node, away, mended in off if mended <= HOME_M < away]
    if fitting and len(fitting) >= SHARE * len(off):
        for node in fitting:
            problem = f"{node.id}: none of its routes ends there; they do if its position is GCJ-02"
            draft.problems.say("nodes.csv", draft.line("nodes.csv", node.id), problem, MENDED)


def _is_shifted(line: tuple[LonLat, ...], streets: Streets) -> bool:
    """Whether points of a line lie off the roads as they are, and on them after undoing GCJ-02."""
    points = [line[len(line) * part // 4] for part in (1, 2, 3)]
    if len(line) < 4 or any(streets.nearest_m(*point) <= OFF_M for point in points):
        return False
    return all(streets.nearest_m(*wgs84_of_gcj02(*point)) <= ON_M for point in points)


def _sites_off(draft: Draft) -> Iterator[tuple[Node, float, float]]:
    """(site, metres beyond its radius to the nearest end of its routes, the same after undoing GCJ-02)."""
    ends: dict[str, list[LonLat]] = {}
    for permit in draft.permits.values():
        line = draft.routes.get(permit.route)
        if line is not None:
            for name in (permit.site, permit.disposal):
                ends.setdefault(name, []).extend((line[0], line[-1]))
    for name, points in ends.items():
        node = draft.nodes.get(name)
        if node is None or node.lon is None or node.lat is None:
            continue
        here = node.lon, node.lat
        away = min(metres_between(here, end) for end in points) - node.radius_m
        if away > GATE_M:
            mended = wgs84_of_gcj02(*here)
            yield node, away, min(metres_between(mended, end) for end in points) - node.radius_m
