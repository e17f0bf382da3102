"""The objects of a city as JSON and as records, field by field; every complaint names its field. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from devices.cities.read import (
    AREA_CODE,
    AREA_COLUMNS,
    DEVICE_COLUMNS,
    NAME_FIX,
    NODE_COLUMNS,
    PERMIT_COLUMNS,
    area_of,
    device_of,
    node_of,
    one_line,
    permit_of,
    ring_of,
)
from devices.cities.staff import DAYS, KEYS, WORD, calendar_of, department_of
from devices.cities.tables import Column, Wrong, is_day
from devices.places import Area, Calendar, Department, Device, Head, LonLat, Node, Permit, Road
from devices.topics import NAME

Value = Mapping[str, Any]
NUMBERS = ("lon", "lat", "cadence_s", "radius_m", "start_hour", "end_hour", "corridor_m")
LONGEST = 2000  # characters of a text
MOST = 10_000  # entries of a list


def _only(value: Value, known: Sequence[str]) -> None:
    for name in value:
        if name not in known:
            raise Wrong(f"unknown field {str(name)[:60]!r}", f"known fields are {', '.join(known)}", str(name)[:60])


def _cells(value: Value, columns: tuple[Column, ...], more: Sequence[str] = ()) -> list[str]:
    """An object's fields as the cells of a line, in the order of `columns`. Raises Wrong."""
    _only(value, [*(column.name for column in columns), *more])
    return [_cell(column, value.get(column.name)) for column in columns]


def _cell(column: Column, told: Any) -> str:
    name = column.name
    if told is None or told == "":
        if column.default is None:
            raise Wrong(f"{name} is missing", "fill it in", name)
        return column.default
    if name in NUMBERS:
        if isinstance(told, bool) or not isinstance(told, int | float):
            raise Wrong(f"{name} {str(told)[:40]!r} is no number", "write a plain number", name)
        return repr(float(told))
    if not isinstance(told, str):
        raise Wrong(f"{name} {str(told)[:40]!r} is no text", "write text in quotation marks", name)
    if len(told) > LONGEST or any(ord(c) < 32 for c in told):
        raise Wrong(f"{name} is too long or holds control characters", f"at most {LONGEST} characters", name)
    return told.strip()


def _names(value: Value, field: str) -> list[str]:
    told = value.get(field, [])
    if not isinstance(told, Sequence) or isinstance(told, str) or not all(isinstance(one, str) for one in told):
        raise Wrong(f"{field} is no list of texts", f'write {field}: ["...", "..."]', field)
    if len(told) > MOST:
        raise Wrong(f"{field} has {len(told)} entries", f"at most {MOST}", field)
    return list(told)


def device_from(value: Value) -> Device:
    """A device. Raises Wrong."""
    attributes = value.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        raise Wrong("attributes is no object", 'write {"name": number}', "attributes")
    for name, number in attributes.items():
        good = isinstance(number, int | float) and not isinstance(number, bool)
        if not good or not str(name).isidentifier():
            raise Wrong(f"attribute {str(name)[:40]!r} is no number with a plain name", 'write {"name": number}',
                        "attributes")  # fmt: skip
    text = ";".join(f"{name}={float(number)!r}" for name, number in attributes.items())
    device = device_of(_cells({**value, "attributes": text}, DEVICE_COLUMNS))
    for field in ("cabinet", "feeder", "pole", "gateway", "company"):
        _relation(field, getattr(device, field))
    return device


def _relation(field: str, name: str) -> None:
    if name and not NAME.match(name):
        raise Wrong(f"{field} {name[:60]!r} is no id", NAME_FIX, field)


def device_told(_name: str, device: Device) -> dict[str, Any]:
    told = {column.name: getattr(device, column.name) for column in DEVICE_COLUMNS}
    return told | {"attributes": dict(device.attributes)}


def node_from(value: Value) -> Node:
    """A node. Raises Wrong."""
    return node_of(_cells(value, NODE_COLUMNS))


def node_told(_name: str, node: Node) -> dict[str, Any]:
    start, end = node.work_hours or (None, None)
    others = {"class": node.cls, "start_hour": start, "end_hour": end}
    return {c.name: others[c.name] if c.name in others else getattr(node, c.name) for c in NODE_COLUMNS}


def area_from(value: Value) -> Area:
    """An area. Raises Wrong."""
    cells = _cells({k: v for k, v in value.items() if k != "ring"}, AREA_COLUMNS)
    told = value.get("ring") or ()
    ring = ring_of(told) if told else ()
    if told and not ring:
        raise Wrong("ring is no closed outline", "write [[longitude, latitude], ...], first point = last", "ring")
    return area_of(cells, ring)


def area_told(_name: str, area: Area) -> dict[str, Any]:
    told: dict[str, Any] = {column.name: getattr(area, column.name) for column in AREA_COLUMNS}
    return told | {"ring": [list(point) for point in area.ring]}


def permit_from(value: Value) -> Permit:
    """A permit. Raises Wrong."""
    trucks = _names(value, "trucks")
    for truck in trucks:
        _relation("trucks", truck)
    for field in ("valid_from", "valid_to"):
        if not is_day(str(value.get(field, ""))):
            raise Wrong(f"{field} {str(value.get(field, ''))[:20]!r} is no date", "write dates as 2026-03-31", field)
    columns = tuple(Column(c.name, "" if c.name == "trucks" else c.default) for c in PERMIT_COLUMNS)
    return permit_of(_cells({**value, "trucks": " ".join(trucks)}, columns))


def permit_told(_name: str, permit: Permit) -> dict[str, Any]:
    told: dict[str, Any] = {column.name: getattr(permit, column.name) for column in PERMIT_COLUMNS}
    return told | {"trucks": list(permit.trucks)}


def neighbours_from(value: Value) -> tuple[str, ...]:
    """The neighbours of a cell. Raises Wrong."""
    _only(value, ("cell", "neighbours"))
    names = _names(value, "neighbours")
    for name in (str(value.get("cell", "")), *names):
        _relation("neighbours", name)
    return tuple(names)


def neighbours_told(name: str, others: Sequence[str]) -> dict[str, Any]:
    return {"cell": name, "neighbours": list(others)}


def route_from(value: Value) -> tuple[LonLat, ...]:
    """A permitted way. Raises Wrong."""
    _only(value, ("id", "line"))
    if not NAME.match(str(value.get("id", ""))):
        raise Wrong(f"id {str(value.get('id'))[:60]!r}", NAME_FIX, "id")
    line = one_line(value.get("line"))
    if line is None or len(line) > MOST:
        raise Wrong("line is no line", "write [[longitude, latitude], ...] with at least two points", "line")
    return line


def route_told(name: str, line: Sequence[LonLat]) -> dict[str, Any]:
    return {"id": name, "line": [list(point) for point in line]}


CITY = "city"  # the id of the one object of table `city`
HEAD = ("name", "name_zh", "name_local", "adcode", "timezone", "attribution", "basemap_sha256")
MUST = ("name", "adcode", "timezone")


def head_from(value: Value) -> Head:
    """What city.toml says. Raises Wrong."""
    _only(value, ("id", *HEAD, "centre"))
    text = {name: _cell(Column(name, None if name in MUST else ""), value.get(name)) for name in HEAD}
    if not AREA_CODE["district"].match(text["adcode"]):
        raise Wrong(f"adcode {text['adcode'][:40]!r} is not six digits", "use the city's administrative code", "adcode")
    try:
        ZoneInfo(text["timezone"])
    except (KeyError, ValueError, OSError):
        problem = f"unknown time zone {text['timezone'][:60]!r}"
        raise Wrong(problem, "use an IANA name such as Asia/Shanghai", "timezone") from None
    line = one_line([value.get("centre")] * 2)
    if line is None or abs(line[0][0]) > 180 or abs(line[0][1]) > 85:
        raise Wrong("centre is missing or not on the map", "write [longitude, latitude] in degrees", "centre")
    return Head(centre=line[0], **text)


def head_told(name: str, head: Head) -> dict[str, Any]:
    told: dict[str, Any] = {"id": name} | {field: getattr(head, field) for field in HEAD}
    return told | {"centre": list(head.centre)}


def road_id(line: Sequence[LonLat]) -> str:
    """The id of a road: made of where it runs, so that it stays while name and limit change."""
    return "road-" + hashlib.sha256(repr([tuple(point) for point in line]).encode()).hexdigest()[:16]


def road_from(value: Value) -> Road:
    """A road. Raises Wrong."""
    _only(value, ("id", "name", "maxspeed", "line"))
    line = one_line(value.get("line"))
    if line is None or len(line) > MOST:
        raise Wrong("line is no line", "write [[longitude, latitude], ...] with at least two points", "line")
    limit = value.get("maxspeed")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit <= 200:
        raise Wrong(f"maxspeed {str(limit)[:40]!r}", "write its speed limit in km/h as a number", "maxspeed")
    name, wanted = str(value.get("id", "")), road_id(line)
    if name.partition("~")[0] != wanted:
        raise Wrong(f"id {name[:60]!r} is not that of this line", f"a road is named by its line: {wanted}", "id")
    return Road(_cell(Column("name", ""), value.get("name")), float(limit), line)


def road_told(name: str, road: Road) -> dict[str, Any]:
    return {"id": name, "name": road.name, "maxspeed": road.limit_kmh, "line": [list(point) for point in road.line]}


def _staff(value: Value, what: str) -> dict[str, Any]:
    _only(value, sorted(KEYS[what]))
    name = value.get("id")
    if not isinstance(name, str) or not WORD.match(name):
        raise Wrong(f"id {str(name)[:40]!r}", "use small letters, digits and _", "id")
    return dict(value)


def department_from(value: Value) -> Department:
    """A department. Raises Wrong."""
    return department_of(_staff(value, "department"))


def department_told(_name: str, office: Department) -> dict[str, Any]:
    shifts = [
        {"days": [DAYS[d] for d in shift.days], "hours": [shift.start_hour, shift.end_hour], "channel": shift.channel,
         "address": shift.address}
        for shift in office.on_call
    ]  # fmt: skip
    return {
        "id": office.id, "name": office.name, "name_zh": office.name_zh, "types": list(office.types),
        "joins": list(office.joins),
        "areas": list(office.areas), "channel": office.channel, "address": office.address, "calendar": office.calendar,
        "on_call": shifts,
    }  # fmt: skip


def calendar_from(value: Value) -> Calendar:
    """A calendar. Raises Wrong."""
    return calendar_of(_staff(value, "calendar"))


def calendar_told(_name: str, calendar: Calendar) -> dict[str, Any]:
    return {
        "id": calendar.id, "days": [DAYS[d] for d in calendar.days], "hours": [list(pair) for pair in calendar.hours],
        "holidays": list(calendar.holidays), "workdays": list(calendar.workdays),
    }  # fmt: skip
