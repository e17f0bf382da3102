"""Whether a city still fits together after changes: the checks of `city check`, for what was touched and what hangs on
it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from devices.cities.change import TABLES, Change, ChangeRefused, Found, ObjectError, applied, read, records_of, tell
from devices.cities.check import (
    carrier_problems,
    device_problems,
    level_problems,
    neighbour_problems,
    node_problems,
    office_problems,
    permit_problems,
    place_problems,
    street_problems,
)
from devices.cities.draft import Draft
from devices.cities.forms import CITY
from devices.cities.tables import Complaint
from devices.kinds import KINDS
from devices.places import CityFiles, Device

MOST_ERRORS = 500
Touched = Mapping[str, set[str]]  # table -> ids


def judged(files: CityFiles, changes: Sequence[Change]) -> CityFiles:
    """The city after the changes. Raises ChangeRefused naming every object and field that does not fit."""
    errors: list[ObjectError] = []
    seen: set[tuple[str, str]] = set()
    found = Found(files)
    for change in changes:
        if (change.table, change.id) in seen:
            errors.append(ObjectError(change.table, change.id, "", "is changed twice", "say it once"))
        seen.add((change.table, change.id))
        try:
            if change.value is not None:
                read(change)
        except ChangeRefused as refused:
            errors += refused.errors
        errors += _unknown(found, change)
    if errors:
        raise ChangeRefused(errors[:MOST_ERRORS])
    after = applied(files, changes)
    touched: dict[str, set[str]] = {table: set() for table in TABLES}
    for change in changes:
        touched[change.table].add(change.id)
    errors = list(islice(_problems(after, touched), MOST_ERRORS))
    if errors:
        raise ChangeRefused(sorted(errors, key=lambda error: (error.table, error.id) not in seen))
    return after


def _unknown(found: Found, change: Change) -> Iterator[ObjectError]:
    """A change that drops or replaces what is not there, or gives a device another kind; a second city, or none."""
    before = found.find(change.table, change.id)
    if change.value is None and before is None:
        yield ObjectError(change.table, change.id, "", "there is no such object", "see the registry for the ids")
    if change.table == "city" and (change.id != CITY or change.value is None):
        yield ObjectError("city", change.id, "id", "there is one city, and it stays", f"change the object {CITY!r}")
    if change.replaces and found.find("devices", change.replaces) is None:
        problem = f"there is no device {change.replaces[:60]!r}"
        yield ObjectError(change.table, change.id, "replaces", problem, "name the device whose place it takes")
    kind = (change.value or {}).get("kind")
    if isinstance(before, Device) and change.value is not None and kind != before.kind:
        problem = f"{change.id} is a {before.kind} and cannot become a {str(kind)[:40]}"
        yield ObjectError(change.table, change.id, "kind", problem, "retire it, and give the new device another id")


def consequences(files: CityFiles, changes: Sequence[Change]) -> list[Change]:
    """The changes, and what follows from them: neighbour lists and permits forget a device that goes, and what hung on
    a replaced one hangs on its successor."""
    named = {(change.table, change.id) for change in changes}
    gone = {change.id for change in changes if change.table == "devices" and change.value is None}
    renamed = {c.replaces: c.id for c in changes if c.replaces and c.replaces != c.id}
    gone -= renamed.keys()
    done = list(changes)

    def also(table: str, name: str, record: Any, **fields: Any) -> None:
        if (table, name) not in named:
            done.append(Change(table, name, tell(table, name, record) | fields))

    if not gone and not renamed:
        return done
    for cell, others in files.neighbours.items():
        if cell in gone or cell in renamed:
            if ("neighbours", cell) not in named:
                done.append(Change("neighbours", cell, None))
            if cell in renamed:
                done.append(Change("neighbours", renamed[cell], {"neighbours": _renamed(others, gone, renamed)}))
        elif _names_any(others, gone, renamed):
            also("neighbours", cell, others, neighbours=_renamed(others, gone, renamed))
    for permit in files.permits:
        if _names_any(permit.trucks, gone, renamed):
            also("permits", permit.id, permit, trucks=_renamed(permit.trucks, gone, renamed))
    for table, record, moved in _rehung(files, renamed) if renamed else ():
        also(table, record.id, record, **moved)
    return done


def _rehung(files: CityFiles, renamed: Mapping[str, str]) -> Iterator[tuple[str, Any, dict[str, str]]]:
    """(table, record, fields) of what hung on a device that another one replaces."""
    for device in files.devices:
        moved = {f: renamed[n] for f in ("pole", "gateway", "feeder") if (n := getattr(device, f)) in renamed}
        if moved:
            yield "devices", device, moved
    for node in files.nodes:
        if node.parent in renamed:
            yield "nodes", node, {"parent": renamed[node.parent]}


def _names_any(names: Iterable[str], gone: set[str], renamed: Mapping[str, str]) -> bool:
    return any(name in gone or name in renamed for name in names)


def _renamed(names: Iterable[str], gone: set[str], renamed: Mapping[str, str]) -> list[str]:
    return [renamed.get(name, name) for name in names if name not in gone]


class FreeCodes:
    """Gives the 16-digit codes that are free in a city, one after the other."""

    def __init__(self, files: CityFiles, given: Mapping[str, int]) -> None:
        """`given`: by the first ten digits, the highest serial that was ever given; a retired device keeps its own."""
        self._last = dict(given)
        for device in files.devices:
            prefix, serial = device.code16[:10], int(device.code16[10:] or 0)
            self._last[prefix] = max(self._last.get(prefix, 0), serial)

    def next(self, district: str, kind: str) -> str:
        """The next one of a kind in a district."""
        prefix = district + KINDS[kind].object_class
        self._last[prefix] = self._last.get(prefix, 0) + 1
        return f"{prefix}{self._last[prefix]:06d}"


# ---- what does not fit ---------------------------------------------------------------------------------------------


def draft_of(files: CityFiles) -> Draft:
    """A city's records as the checks read them."""
    draft = Draft(files.folder or Path(), head=files.head, roads=list(files.roads))
    for table in TABLES:
        if table not in ("city", "roads"):
            setattr(draft, table, records_of(files, table))
    return draft


def _problems(files: CityFiles, touched: dict[str, set[str]]) -> Iterator[ObjectError]:
    """What is wrong with touched objects and with those that name one."""
    draft = draft_of(files)
    _spread(files, touched)
    yield from _shared(files, draft, touched)
    checks: Mapping[str, Any] = {
        "areas": lambda record: _placed(draft, level_problems(draft, record), record.ring),
        "nodes": lambda record: _placed(
            draft, node_problems(draft, record), () if record.lon is None else ((record.lon, record.lat),)
        ),
        "devices": lambda record: _device(draft, record),
        "permits": lambda record: permit_problems(draft, record),
        "departments": lambda record: _office(draft, record),
    }
    for table, ids in touched.items():
        if not ids:
            continue
        known = records_of(files, table) if table in ("city", "roads") else getattr(draft, table)
        for name in sorted(ids & known.keys()):
            record = known[name]
            if table == "neighbours":
                found: Iterator[Complaint] = neighbour_problems(draft, name, record)
            elif table in ("routes", "roads"):
                found = _placed(draft, iter(()), getattr(record, "line", record))
            else:
                found = checks[table](record) if table in checks else iter(())
            for field, problem, fix in found:
                yield ObjectError(table, name, field, problem, fix)
    if not draft.departments:
        yield ObjectError("departments", "", "", "no department is left", "keep at least one")
    if not any(area.level == "district" for area in draft.areas.values()):
        yield ObjectError("areas", "", "", "no district is left", "keep at least one")


def _spread(files: CityFiles, touched: dict[str, set[str]]) -> None:
    """Add whatever names something touched."""
    areas, nodes, devices = touched["areas"], touched["nodes"], set(touched["devices"])
    above = areas | nodes | devices
    if above:
        for device in files.devices:
            named = (device.district, device.street, device.grid, device.cabinet, device.feeder, device.pole,
                     device.gateway, device.company)  # fmt: skip
            if not above.isdisjoint(named):
                touched["devices"].add(device.id)
        touched["areas"] |= {area.code for area in files.areas if area.parent in areas}
        touched["nodes"] |= {node.id for node in files.nodes if node.area in areas or node.parent in above}
        for cell, others in files.neighbours.items():
            if cell in devices or not devices.isdisjoint(others):
                touched["neighbours"].add(cell)
    for permit in files.permits:
        ends = (permit.company, permit.site, permit.disposal)
        moved = not (nodes.isdisjoint(ends) and devices.isdisjoint(permit.trucks))
        if moved or permit.route in touched["routes"]:
            touched["permits"].add(permit.id)
    for office in files.departments:
        if office.calendar in touched["calendars"] or not areas.isdisjoint(office.areas):
            touched["departments"].add(office.id)


def _shared(files: CityFiles, draft: Draft, touched: Touched) -> Iterator[ObjectError]:
    """Ids, codes and plates that two objects claim."""
    for name in sorted(touched["devices"] | touched["nodes"]):
        if name in draft.devices and name in draft.nodes:
            yield ObjectError("devices", name, "id", "a node has that id", "every object needs a name of its own")
    for field, fix in (("code16", "give each object its own serial"), ("plate", "one plate, one truck")):
        wanted = {getattr(draft.devices[n], field) for n in touched["devices"] if n in draft.devices} - {""}
        owners: dict[str, str] = {}
        for device in files.devices:
            told = getattr(device, field)
            if told in wanted:
                first = owners.setdefault(told, device.id)
                if first != device.id:
                    name, other = (device.id, first) if device.id in touched["devices"] else (first, device.id)
                    yield ObjectError("devices", name, field, f"{field} is {other}'s", fix)


def _device(draft: Draft, device: Device) -> Iterator[Complaint]:
    yield from device_problems(draft, device)
    wrong = list(place_problems(draft, (device.lon, device.lat)))
    yield from wrong
    if not wrong:
        yield from street_problems(draft, device)
        yield from carrier_problems(draft, device)


def _placed(draft: Draft, first: Iterator[Complaint], points: Iterable[tuple[float, float]]) -> Iterator[Complaint]:
    yield from first
    for point in points:
        wrong = next(place_problems(draft, point), None)
        if wrong is not None:
            yield wrong
            return


def _office(draft: Draft, office: Any) -> Iterator[Complaint]:
    yield from office_problems(draft, office)
    if office.calendar and office.calendar not in draft.calendars:
        yield "calendar", f"calendar {office.calendar!r} does not exist", "add it to the calendars first"
