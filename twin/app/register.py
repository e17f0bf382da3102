"""The register at work: objects of the city, their past, and changes: judged, journalled, ticked, provisioned."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from devices.cities.change import (
    TABLES,
    Change,
    ChangeRefused,
    Found,
    ObjectError,
    change_out,
    find,
    read,
    records_of,
    tell,
)
from devices.cities.forms import CITY
from devices.cities.geometry import in_ring
from devices.cities.judge import FreeCodes, consequences, judged
from devices.kinds import KINDS
from devices.places import CityFiles, Device
from twin.app.history import History
from twin.app.strangers import Strangers
from twin.city import City
from twin.errors import CityMoved, TwinError
from twin.query.register import Adoption, Done, Stranger, Wish
from twin.records import Body, Edit, Names
from twin.tick import CityEdit, Moved

LOG = logging.getLogger(__name__)

TICK_S = 20.0  # a change waits so long for its tick
RELATIONS = {  # field of a record -> table that it leads to
    "devices": {"district": "areas", "street": "areas", "grid": "areas", "cabinet": "nodes", "feeder": "", "pole":
                "devices", "gateway": "devices", "company": "nodes"},
    "nodes": {"parent": "", "area": "areas"},
    "areas": {"parent": "areas"},
    "permits": {"company": "nodes", "site": "nodes", "disposal": "nodes", "route": "routes", "trucks": "devices"},
    "departments": {"areas": "areas", "calendar": "calendars"},
}  # fmt: skip

Journal = Callable[[Sequence[Body], Sequence[tuple[str, int]]], Future[int]]
Provision = Callable[[CityFiles], list[str]]


@dataclass(slots=True)
class CityRegister:
    """`twin.query.register.Register` over one running city. Changes are taken one at a time."""

    city: City
    history: History
    knocking: Strangers
    journal: Journal
    nudge: Callable[[], None]
    provision: Provision  # gives the broker the users of a city; says what it did
    now_ms: Callable[[], int]
    _one: threading.Lock = field(default_factory=threading.Lock)
    _ticked: threading.Condition = field(default_factory=threading.Condition)
    _seen: int = 0  # number of the last tick that was recorded

    @property
    def files(self) -> CityFiles:
        return self.city.files

    # ---- reading ---------------------------------------------------------------------------------------------

    def _files(self, at_ms: int | None) -> CityFiles:
        if at_ms is None:
            return self.city.files
        version = self.history.at_time(at_ms)
        return self.city.files if version == self.city.version else self.history.files_at(version)

    def objects(self, table: str, *, at_ms: int | None, after: str, limit: int, q: str = "") -> list[Any]:
        known = records_of(self._files(at_ms), table) if table in TABLES else None
        if known is None:
            raise KeyError(table)
        wanted = q.casefold()

        def fits(name: str, record: Any) -> bool:
            titles = (getattr(record, "name", ""), getattr(record, "name_zh", ""))
            return any(wanted in text.casefold() for text in (name, *titles))

        names = sorted(name for name, record in known.items() if name > after and (not wanted or fits(name, record)))
        return [tell(table, name, known[name]) for name in names[:limit]]

    def object(self, table: str, name: str, *, at_ms: int | None) -> dict[str, Any] | None:
        if table not in TABLES:
            raise KeyError(table)
        files = self._files(at_ms)
        record = find(files, table, name)
        if record is None:
            return None
        return {
            "table": table,
            "id": name,
            "value": tell(table, name, record),
            "urn": record.urn if isinstance(record, Device) else f"urn:citywhistle:{files.adcode}:{table}:{name}",
            "version": self.city.version if at_ms is None else self.history.at_time(at_ms),
            "up": list(_up(files, table, record)),
            "down": list(_down(files, table, name)),
        }

    def changed(self, table: str, name: str, limit: int = 200) -> list[Any]:
        return [asdict(version) for version in self.history.of(table, name, limit)]

    def versions(self, after: int, limit: int) -> list[Any]:
        return [asdict(version) for version in self.history.versions(after, limit)]

    def version_at(self, at_ms: int) -> int:
        return self.history.at_time(at_ms)

    def basemap(self, at_ms: int | None) -> Path | None:
        return self.history.basemap(self.city.version if at_ms is None else self.history.at_time(at_ms))

    def last(self, device: str) -> Device | None:
        """A device as it was last, retired or not; None for one that never was."""
        known = self.city.describe(device)
        if known is not None:
            return known
        for version in self.history.of("devices", device):
            for change in version.changes:
                told = change["value"] or change["before"]
                if change["id"] == device and told is not None:
                    found = read(Change("devices", device, told))
                    return found if isinstance(found, Device) else None
        return None

    def strangers(self, limit: int = 1000) -> list[Stranger]:
        retired = self.city.registry
        return [
            replace(one, retired=retired.find(one.kind, one.device) is not None)
            for one in self.knocking.listed()[:limit]
        ]

    # ---- changing --------------------------------------------------------------------------------------------

    def change(self, wish: Wish) -> Done:
        if not wish.changes:
            raise ChangeRefused([ObjectError("", "", "", "no change", "name at least one object")])
        if not wish.reason.strip():
            raise ChangeRefused([ObjectError("", "", "reason", "a change of the city needs a reason", "say why")])
        with self._one:
            again = self.history.asked(wish.request)
            if again is not None:
                return Done(again.version, again.at_ms, again.changes, ("was made before; nothing was done again",))
            if wish.version and wish.version != self.city.version:
                raise CityMoved(f"the city is at version {self.city.version}, the change was made for {wish.version}")
            before, found = self.city.files, Found(self.city.files)
            _only_by_files(before, wish)
            changes = consequences(before, self._complete(found, list(wish.changes)))
            after = judged(before, changes)
            if wish.dry_run:
                return Done(0, self.now_ms(), [_shown(found, change) for change in changes])
            edit = CityEdit(wish.request, wish.actor, wish.reason.strip(), tuple(changes))
            self._journalled(edit, after)
            self.knocking.forget({change.id for change in changes if change.value is not None})
            made = self.history.asked(wish.request)
            notes = self.provision(self.city.files) if any(c.table == "devices" for c in changes) else []
        if made is None:
            raise TwinError("the change is journalled and this version cannot take it in; the log says why")
        return Done(made.version, made.at_ms, made.changes, notes)

    def _complete(self, found: Found, changes: list[Change]) -> list[Change]:
        """Give codes to devices that come without, and the areas that hold them."""
        files, codes = found.files, None
        for i, change in enumerate(changes):
            value = dict(change.value or {})
            if change.table != "devices" or change.value is None or value.get("code16"):
                continue
            known = found.find("devices", change.replaces or change.id)
            if isinstance(known, Device) and known.district == value.get("district", known.district):
                value["code16"] = known.code16
            elif value.get("kind") in KINDS:
                value = _placed(files, value)
                codes = codes or FreeCodes(files, self.history.serials())
                value["code16"] = codes.next(str(value.get("district", "")), str(value["kind"]))
            changes[i] = replace(change, value=value)
        return changes

    def _journalled(self, edit: CityEdit, after: CityFiles) -> None:
        """Journal a change and the rows that it gives, and wait until its tick has been recorded."""
        registry, found = self.city.registry, Found(after)
        new: list[tuple[str, int, str]] = []
        counts: dict[str, int] = {}
        for change in edit.changes:
            kind = str((change.value or {}).get("kind", ""))
            if change.table == "devices" and change.value is not None and registry.find(kind, change.id) is None:
                at = counts.setdefault(kind, registry.rows(kind))
                new.append((kind, at, change.id))
                counts[kind] = at + 1
        renewed = [
            (device.kind, row)
            for change in edit.changes
            if change.replaces == change.id
            and (device := found.find("devices", change.id)) is not None
            and (row := registry.find(device.kind, change.id)) is not None
        ]
        bodies: list[Body] = [Names(tuple(new))] if new else []
        try:
            n = self.journal([*bodies, Edit("city", edit.text())], renewed).result(TICK_S)
        except NotInTime as error:
            raise TwinError("the journal does not take the change now; ask again with the same request") from error
        self.nudge()
        with self._ticked:
            if not self._ticked.wait_for(lambda: self._seen > n, TICK_S):
                raise TwinError("the change is journalled and its tick has not come yet; ask again, same request")

    def ticked(self, n: int) -> None:
        """(ticking thread) Tick `n` is recorded."""
        with self._ticked:
            self._seen = n
            self._ticked.notify_all()

    # ---- what people ask for in other words ------------------------------------------------------------------

    def adoption(self, adopted: Sequence[Adoption]) -> list[Change]:
        known = {one.device: one for one in self.knocking.listed()}
        found = Found(self.city.files)
        changes = []
        for wish in adopted:
            knock = known.get(wish.device)
            if found.find("devices", wish.device) is not None:
                raise _wrong(wish.device, "id", "is in the register already", "change it there, or replace it")
            kind = wish.kind or (knock.kind if knock is not None else "")
            value: dict[str, Any] = {"kind": kind, "origin": "real", **wish.fields}
            if knock is not None:
                value.setdefault("district", knock.district)
            beside = next(
                (found.find("devices", str(value.get(f, ""))) for f in ("pole", "gateway") if value.get(f)), None
            )
            if isinstance(beside, Device):
                for name in ("lon", "lat", "district", "street", "grid"):
                    value.setdefault(name, getattr(beside, name))
            if "lon" not in value or "lat" not in value:
                raise _wrong(
                    wish.device, "lon", "nobody knows where it stands", "give lon and lat, its pole or its gateway"
                )
            changes.append(Change("devices", wish.device, value))
        return changes

    def replacement(self, device: str, by: str, model: str, fields: Mapping[str, Any]) -> list[Change]:
        known = find(self.city.files, "devices", device)
        if not isinstance(known, Device):
            raise _wrong(device, "", "there is no such device", "see the register for the ids")
        name = by or device
        value = tell("devices", device, known) | {"id": name} | dict(fields)
        changes = [Change("devices", name, value, device, model)]
        return changes if name == device else [*changes, Change("devices", device, None)]


def _wrong(name: str, where: str, problem: str, fix: str) -> ChangeRefused:
    return ChangeRefused([ObjectError("devices", name[:80], where, problem, fix)])


def _only_by_files(files: CityFiles, wish: Wish) -> None:
    """Deadlines, ids and pictures hang on some of what city.toml says: that counts from the next start on, and is not
    changed here. Raises ChangeRefused."""
    head = tell("city", CITY, files.head)
    for change in wish.changes:
        if change.table == "city":
            told = change.value or {}
            for name in ("adcode", "timezone", "basemap_sha256"):
                if told.get(name, "") != head[name]:
                    problem = f"{name} {str(told.get(name, ''))[:60]!r} is another than {head[name]!r}"
                    fix = "change the city's files and start the server again"
                    raise ChangeRefused([ObjectError("city", change.id, name, problem, fix)])


def _shown(found: Found, change: Change) -> dict[str, Any]:
    known = found.find(change.table, change.id)
    return change_out(change) | {"before": None if known is None else tell(change.table, change.id, known)}


def _placed(files: CityFiles, value: dict[str, Any]) -> dict[str, Any]:
    """A device's fields with the areas whose outlines hold it, where they are not said."""
    lon, lat = value.get("lon"), value.get("lat")
    if not isinstance(lon, int | float) or not isinstance(lat, int | float):
        return value
    district = value.get("district")
    for area in files.areas:
        inside = not district or area.code.startswith(str(district))
        if inside and not value.get(area.level) and area.ring and in_ring((lon, lat), area.ring):
            value[area.level] = area.code
    return value


def _table_of(files: CityFiles, name: str) -> str:
    """Whether an id is a device's or a node's."""
    return "devices" if find(files, "devices", name) is not None else "nodes"


def _up(files: CityFiles, table: str, record: Any) -> Iterator[dict[str, str]]:
    for relation, leads in RELATIONS.get(table, {}).items():
        told = getattr(record, relation)
        for name in (told,) if isinstance(told, str) else told:
            if name:
                yield {"relation": relation, "table": leads or _table_of(files, name), "id": name}
    if table == "devices" and record.kind == "cell":
        for name in files.neighbours.get(record.id, ()):
            yield {"relation": "neighbour", "table": "devices", "id": name}


def _down(files: CityFiles, table: str, name: str) -> Iterator[dict[str, str]]:
    """What names this object: at most 1,000."""
    found = 0
    for other, fields in RELATIONS.items():
        relations = [f for f, leads in fields.items() if leads in ("", table)]
        if not relations or (table not in fields.values() and "" not in fields.values()):
            continue
        for key, record in records_of(files, other).items():
            for relation in relations:
                told = getattr(record, relation)
                if name == told or (not isinstance(told, str) and name in told):
                    yield {"relation": relation, "table": other, "id": key}
                    found += 1
                    if found >= 1000:
                        return


def moved_devices(moves: Sequence[Moved]) -> bool:
    """Whether the map's rows are others after these changes."""
    return any(change.table == "devices" for moved in moves for change in moved.edit.changes)
