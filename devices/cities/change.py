"""Changes of a city while it lives: objects by table and id, applied together, to the records of its files. Pure.

An object is what one line of the city's files says, as JSON; its fields are the columns' names. A change sets an
object (whole) or drops it. What may be changed, and how an object of each table reads, is the table TABLES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from devices.cities.forms import (
    CITY,
    area_from,
    area_told,
    calendar_from,
    calendar_told,
    department_from,
    department_told,
    device_from,
    device_told,
    head_from,
    head_told,
    neighbours_from,
    neighbours_told,
    node_from,
    node_told,
    permit_from,
    permit_told,
    road_from,
    road_id,
    road_told,
    route_from,
    route_told,
)
from devices.cities.tables import Wrong
from devices.errors import DeviceError
from devices.places import CityFiles, Road

Value = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """How objects of one table read: the key's field, record from value (raises Wrong), value from (id, record)."""

    key: str
    read: Callable[[Value], Any]
    tell: Callable[[str, Any], dict[str, Any]]


# In the order in which their problems are told.
TABLES: Mapping[str, Table] = {
    "city": Table("id", head_from, head_told),
    "areas": Table("code", area_from, area_told),
    "nodes": Table("id", node_from, node_told),
    "devices": Table("id", device_from, device_told),
    "routes": Table("id", route_from, route_told),
    "roads": Table("id", road_from, road_told),
    "permits": Table("id", permit_from, permit_told),
    "neighbours": Table("cell", neighbours_from, neighbours_told),
    "calendars": Table("id", calendar_from, calendar_told),
    "departments": Table("id", department_from, department_told),
}
MAPPINGS = ("routes", "neighbours")  # tables whose records have no id of their own


@dataclass(frozen=True, slots=True)
class Change:
    """One object set (`value`, whole) or dropped (None).

    Of a device that takes another's place: `replaces` is that one's id (its own for new hardware under the old name),
    and `model` says whether what was learnt of it goes on ("carry") or begins anew ("reset").
    """

    table: str
    id: str
    value: Value | None
    replaces: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class ObjectError:
    """What is wrong with one object: the field ("": the whole), the problem, and what to do."""

    table: str
    id: str
    field: str
    problem: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.table} {self.id}" + (f", {self.field}" if self.field else "")
        return f"{where}: {self.problem} ({self.fix})"


class ChangeRefused(DeviceError):
    """Changes that the city cannot take; `errors` names each object, field and fix. Nothing was changed."""

    def __init__(self, errors: Sequence[ObjectError]) -> None:
        more = f"; and {len(errors) - 1} more" if len(errors) > 1 else ""
        super().__init__(f"{errors[0]}{more}")
        self.errors = errors


def records_of(files: CityFiles, table: str) -> dict[str, Any]:
    """The records of one table by id, in the files' order."""
    if table == "city":
        return {CITY: files.head}
    if table == "roads":
        return _by_line(files.roads)
    if table in MAPPINGS:
        return dict(getattr(files, table))
    key = TABLES[table].key
    return {getattr(record, key): record for record in getattr(files, table)}


def _by_line(roads: Iterable[Road]) -> dict[str, Road]:
    """Roads by id; of two on one and the same line the second is told apart by a number."""
    found: dict[str, Road] = {}
    for road in roads:
        name = wanted = road_id(road.line)
        again = 1
        while name in found:
            again += 1
            name = f"{wanted}~{again}"
        found[name] = road
    return found


@dataclass(slots=True)
class Found:
    """A city's records by table and id, each table worked out once: for who looks for many."""

    files: CityFiles
    _tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def table(self, table: str) -> Mapping[str, Any]:
        """The records of a table by id."""
        if table not in self._tables:
            self._tables[table] = records_of(self.files, table)
        return self._tables[table]

    def find(self, table: str, name: str) -> Any:
        """The record of that id; None where there is none."""
        return self.table(table).get(name)


def find(files: CityFiles, table: str, name: str) -> Any:
    """The record of that id; None where there is none. Who looks for many asks `Found`."""
    if table in ("city", "roads"):
        return records_of(files, table).get(name)
    if table in MAPPINGS:
        return getattr(files, table).get(name)
    key = TABLES[table].key
    return next((record for record in getattr(files, table) if getattr(record, key) == name), None)


def tell(table: str, name: str, record: Any) -> dict[str, Any]:
    """A record as an object."""
    return TABLES[table].tell(name, record)


def read(change: Change) -> Any:
    """The record that a change sets. Raises ChangeRefused."""
    assert change.value is not None
    try:
        record = TABLES[change.table].read({TABLES[change.table].key: change.id, **change.value})
    except Wrong as error:
        raise ChangeRefused(
            [ObjectError(change.table, change.id[:80], error.field, str(error.problem), error.fix)]
        ) from None
    name = change.value.get(TABLES[change.table].key, change.id)
    if name != change.id:
        problem = f"{TABLES[change.table].key} {str(name)[:60]!r} is not {change.id!r}"
        raise ChangeRefused([ObjectError(change.table, change.id, TABLES[change.table].key, problem, "name it once")])
    return record


def applied(files: CityFiles, changes: Iterable[Change]) -> CityFiles:
    """The city after the changes. Objects that they do not touch stay the same records. Raises ChangeRefused for a
    change that cannot be read; whether the city still fits together is for `devices.cities.judge` to say."""
    tables: dict[str, dict[str, Any]] = {}
    for change in changes:
        if change.table not in tables:
            tables[change.table] = records_of(files, change.table)
        known = tables[change.table]
        if change.value is None:
            known.pop(change.id, None)
        else:
            known[change.id] = read(change)
    done: dict[str, Any] = {t: known if t in MAPPINGS else tuple(known.values()) for t, known in tables.items()}
    for head in done.pop("city", ()):
        done |= asdict(head)
    return replace(files, **done)


def difference(before: CityFiles, after: CityFiles) -> list[Change]:
    """The changes that make `after` of `before`. Of the base map it is the fingerprint; the file is elsewhere."""
    changes: list[Change] = []
    for table, how in TABLES.items():
        if table != "city" and getattr(before, table) is getattr(after, table):
            continue
        old, new = records_of(before, table), records_of(after, table)
        for name, record in new.items():
            if name not in old or (record is not old[name] and record != old[name]):
                changes.append(Change(table, name, how.tell(name, record)))
        changes += [Change(table, name, None) for name in old if name not in new]
    return changes


def change_out(change: Change) -> dict[str, Any]:
    """A change as JSON."""
    told: dict[str, Any] = {"table": change.table, "id": change.id, "value": change.value}
    if change.replaces:
        told |= {"replaces": change.replaces, "model": change.model}
    return told


def change_in(told: Any) -> Change:
    """The change that JSON tells. Raises ChangeRefused for anything else than `change_out` gives."""
    name = str(told.get("id", ""))[:80] if isinstance(told, Mapping) else ""
    table = str(told.get("table", ""))[:80] if isinstance(told, Mapping) else ""

    def wrong(field: str, problem: str, fix: str) -> ChangeRefused:
        return ChangeRefused([ObjectError(table, name, field, problem, fix)])

    if not isinstance(told, Mapping):
        raise wrong("", "a change is no object", 'write {"table": ..., "id": ..., "value": {...} or null}')
    unknown = told.keys() - {"table", "id", "value", "replaces", "model"}
    if unknown:
        raise wrong(min(map(str, unknown)), "unknown key of a change", "known are table, id, value, replaces, model")
    if table not in TABLES:
        raise wrong("table", f"table {table!r}", f"use one of {', '.join(TABLES)}")
    if not isinstance(told.get("id"), str) or not 0 < len(told["id"]) <= 64:
        raise wrong("id", "an id is text of 1 to 64 letters", "name the object")
    value = told.get("value")
    if value is not None and not isinstance(value, Mapping):
        raise wrong("value", "value is neither an object nor null", "null drops the object")
    replaces, model = told.get("replaces", ""), told.get("model", "")
    if not isinstance(replaces, str) or (replaces and (table != "devices" or value is None)):
        raise wrong("replaces", "only a device that is set replaces another", "leave `replaces` out")
    if model not in (("carry", "reset") if replaces else ("",)):
        raise wrong("model", f"model {str(model)[:20]!r}", 'say "carry" or "reset" beside `replaces`, else nothing')
    return Change(table, told["id"], value, replaces, model)
