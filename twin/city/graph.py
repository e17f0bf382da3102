"""The graph of the city: who shares a feeder, a cabinet, a gateway; who answers for what; local time and daylight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

from devices.places import CityFiles, Device, Permit
from twin.city.registry import Registry
from twin.city.roster import Roster, build_roster, nearest, renewed
from twin.city.rows import grown_to
from twin.city.sun import sun_elevation
from twin.records import F64, I32, I64, Names

HOUR_MS = 3_600_000
LEVELS = ("gateway", "backhaul", "feeder", "cabinet")


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one level ("gateway", "backhaul", "feeder", "cabinet") and their members.

    ids: the group's own id (a device or a node). of: by kind, int32 by row, the index of the group the device hangs
    on, -1 for none. A cell hangs on the feeder and cabinet of the pole that carries it. A group of "backhaul" is the
    cells of one gateway, and bears its id.
    """

    level: str
    ids: tuple[str, ...]
    of: Mapping[str, I32]


class City:
    """Registry and graph of one city, as arrays by row. Built from its files; `become` goes on as a changed city.

    A device that the registry knows but the files no longer name is retired: its row stays, nothing looks for it.
    `version` counts the changes since the city began (1).
    """

    def __init__(self, files: CityFiles, registry: Registry, version: int = 1) -> None:
        self.version = version
        self.files = files
        self.registry = registry
        self.zone = ZoneInfo(files.timezone)
        self._device: dict[str, Device] = {}
        by_kind: dict[str, dict[str, Device]] = {}
        for device in files.devices:
            registry.allocate(device.kind, device.id)
            registry.place(device.kind, device.id, device.district)
            by_kind.setdefault(device.kind, {})[device.id] = device
            self._device[device.id] = device
        self._by_kind = by_kind
        for kind, _, name in registry.names():
            if name not in by_kind.get(kind, {}):
                registry.retire(kind, name)
        self._node = {node.id: node for node in files.nodes}
        self._area = {area.code: area for area in files.areas}
        self._offsets: dict[int, int] = {}
        self._build()

    def _build(self) -> None:
        self.rosters: dict[str, Roster] = {}
        for kind in sorted({*self._by_kind, *self.registry.kinds()}):
            ids = [self.registry.device(kind, row) for row in range(self.registry.rows(kind))]
            self.rosters[kind] = build_roster(kind, ids, self._by_kind.get(kind, {}))
        self.groups = {level: self._group(level) for level in LEVELS}

    def extend(self, names: Names) -> None:
        """Take in rows that were journalled after this city was built. Their devices come by `become`."""
        self.registry.register(names.rows)
        self._renew({})

    def become(self, files: CityFiles, version: int) -> None:
        """Go on as the city of these files, in place. What a record of the files says is worked out anew only where
        it is another record than before: a change of one device costs little in a city of many."""
        before, self.files, self.version = self.files, files, version
        if files.timezone != before.timezone:
            self.zone = ZoneInfo(files.timezone)
            self._offsets.clear()
        fresh = {device.id: device for device in files.devices if self._device.get(device.id) is not device}
        left = self._device.keys() - {device.id for device in files.devices}
        hung = {device.id for device in self._hanging(before, fresh.keys() | left)}
        for device in fresh.values():
            self.registry.allocate(device.kind, device.id)
            self.registry.place(device.kind, device.id, device.district)
        rows: dict[str, dict[int, Device | None]] = {}
        for name in sorted(left):
            gone = self._device.pop(name)
            self.registry.retire(gone.kind, name)
            self._by_kind[gone.kind].pop(name)
            rows.setdefault(gone.kind, {})[self.registry.row(gone.kind, name)] = None
        for name, device in fresh.items():
            self._device[name] = self._by_kind.setdefault(device.kind, {})[name] = device
            rows.setdefault(device.kind, {})[self.registry.row(device.kind, name)] = device
        self._area = {area.code: area for area in files.areas}
        self._renew(rows, hung - fresh.keys() - left)
        self._renew_relations(before, rows)

    def _hanging(self, before: CityFiles, moved: AbstractSet[str]) -> Iterator[Device]:
        """Devices of before whose place in the groups may be another one now, though their record is the same."""
        cabinets = set[str]()
        if self.files.nodes is not before.nodes:
            now = {node.id: node for node in self.files.nodes}
            cabinets = {name for name, node in self._node.items() if now.get(name) is not node}
            cabinets |= now.keys() - self._node.keys()
            self._node = now
        for device in before.devices:
            pole = self._device.get(device.pole) if device.pole else None
            rewired = device.cabinet in cabinets or (pole is not None and pole.cabinet in cabinets)
            if rewired or device.pole in moved:
                yield device

    def _renew(self, rows: Mapping[str, Mapping[int, Device | None]], hung: Iterable[str] = ()) -> None:
        """Bring rosters and groups up to date: these rows' devices are others, those in `hung` hang on others."""
        for kind in self.registry.kinds():
            ids = self.registry.ids(kind)
            roster = self.rosters.get(kind) or build_roster(kind, (), {})
            if kind in rows or len(ids) != len(roster) or kind not in self.rosters:
                self.rosters[kind] = renewed(roster, ids, rows.get(kind, {}))
        changed = {(kind, row): device for kind, some in rows.items() for row, device in some.items()}
        for name in hung:
            known = self._device.get(name)
            if known is not None:
                changed[known.kind, self.registry.row(known.kind, name)] = known
        self.groups = {level: self._regroup(level, changed) for level in LEVELS}

    def _regroup(self, level: str, changed: Mapping[tuple[str, int], Device | None]) -> Groups:
        """The groups of a level with the changed devices where they hang now. A group keeps its index."""
        old = self.groups[level]
        of = {kind: old.of.get(kind, np.empty(0, np.int32)) for kind in self.rosters}
        of = {kind: grown_to(column, len(self.rosters[kind])) for kind, column in of.items()}
        index = {name: i for i, name in enumerate(old.ids)}
        copied: set[str] = set()
        for (kind, row), device in changed.items():
            above = self._above(device, level) if device is not None else ""
            wanted = index.setdefault(above, len(index)) if above else -1
            if of[kind][row] == wanted:
                continue
            if kind not in copied:
                of[kind] = of[kind].copy()
                copied.add(kind)
            of[kind][row] = wanted
        return Groups(level, tuple(index), of)

    def _renew_relations(self, before: CityFiles, rows: Mapping[str, Mapping[int, Device | None]]) -> None:
        """What was worked out of permits and neighbourhoods and is no longer so is worked out when next asked for."""
        if self.files.permits is not before.permits or self.files.routes is not before.routes or "truck" in rows:
            self.__dict__.pop("permits", None)
        if self.files.neighbours is not before.neighbours or "cell" in rows:
            self.__dict__.pop("cell_neighbours", None)
        if "pole" in rows:
            self.__dict__.pop("pole_neighbours", None)

    def roster(self, kind: str) -> Roster:
        """The kind's devices by row. Raises KeyError for a kind without devices."""
        return self.rosters[kind]

    def rows(self, kind: str) -> int:
        """How many rows the kind has (0 for a kind without devices)."""
        return self.registry.rows(kind)

    # ---- relations -------------------------------------------------------------------------------------------

    def _above(self, device: Device, level: str) -> str:
        if level == "gateway":
            return device.id if device.kind == "gateway" else device.gateway
        if level == "backhaul":
            return device.gateway if device.kind == "cell" else ""
        if device.kind == "feeder":
            return device.id if level == "feeder" else ""
        carrier = self._device.get(device.pole) if device.kind == "cell" else device
        if carrier is None:
            return ""
        if level == "cabinet":
            return carrier.cabinet
        if carrier.feeder:
            return carrier.feeder
        cabinet = self._node.get(carrier.cabinet)
        return cabinet.parent if cabinet else ""

    def _group(self, level: str) -> Groups:
        index: dict[str, int] = {}
        of: dict[str, I32] = {}
        for kind, roster in self.rosters.items():
            column = np.full(len(roster), -1, np.int32)
            for row, device in enumerate(roster.devices):
                above = self._above(device, level) if device is not None else ""
                if above:
                    column[row] = index.setdefault(above, len(index))
            of[kind] = column
        return Groups(level, tuple(index), of)

    def parents(self, subject: str) -> tuple[str, ...]:
        """What the subject hangs on, nearest first: pole, cabinet, feeder, gateway (those that it has)."""
        device = self._device.get(subject)
        if device is None:
            node = self._node.get(subject)
            return (node.parent,) if node is not None and node.parent else ()
        chain = [device.pole, *(self._above(device, level) for level in ("cabinet", "feeder", "gateway"))]
        return tuple(dict.fromkeys(one for one in chain if one and one != subject))

    def describe(self, subject: str) -> Device | None:
        """The device of that id as the files give it; None if it is none."""
        return self._device.get(subject)

    def kind(self, subject: str) -> str:
        """The device kind or node class of a subject; '' if unknown."""
        device = self._device.get(subject)
        if device is not None:
            return device.kind
        node = self._node.get(subject)
        return node.cls if node is not None else ""

    def where(self, subject: str) -> tuple[float, float]:
        """Longitude and latitude of a device or node; NaN where the files give none."""
        place: Device | None = self._device.get(subject)
        if place is not None:
            return place.lon, place.lat
        node = self._node.get(subject)
        if node is None or node.lon is None or node.lat is None:
            return float("nan"), float("nan")
        return node.lon, node.lat

    def areas(self, subject: str) -> tuple[str, ...]:
        """Codes of the areas that hold the subject (a device, a node, or an area itself), smallest first."""
        device = self._device.get(subject)
        if device is not None:
            start = [device.grid, device.street, device.district]
        elif subject in self._area:
            start = [subject]
        else:
            node = self._node.get(subject)
            start = [node.area if node is not None else ""]
        found: dict[str, None] = {}
        for code in start:
            one = code
            while one and one not in found:
                found[one] = None
                area = self._area.get(one)
                one = area.parent if area is not None else ""
        return tuple(found)

    @cached_property
    def permits(self) -> Mapping[int, tuple[Permit, ...]]:
        """Permits by truck row; trucks without any are missing."""
        found: dict[int, list[Permit]] = {}
        for permit in self.files.permits:
            for truck in permit.trucks:
                row = self.registry.lookup("truck", truck)
                if row is not None:
                    found.setdefault(row, []).append(permit)
        return {row: tuple(permits) for row, permits in found.items()}

    @cached_property
    def cell_neighbours(self) -> I32:
        """int32[cells, 8]: rows of each cell's neighbours, -1 where it has fewer."""
        out = np.full((self.rows("cell"), 8), -1, np.int32)
        for cell, others in self.files.neighbours.items():
            row = self.registry.lookup("cell", cell)
            if row is None:
                continue
            rows = [r for r in (self.registry.lookup("cell", o) for o in others) if r is not None][:8]
            out[row, : len(rows)] = rows
        return out

    @cached_property
    def pole_neighbours(self) -> I32:
        """int32[poles, 8]: rows of the nearest poles within 30 km, by distance, -1 where there are fewer."""
        roster = self.rosters.get("pole")
        if roster is None:
            return np.empty((0, 8), np.int32)
        return nearest(roster.lon, roster.lat, 8, 30_000.0)

    # ---- time and daylight -----------------------------------------------------------------------------------

    def offset_ms(self, t_ms: I64) -> I64:
        """Local time minus UTC at each instant, in ms (by the hour: zone rules change on full hours of UTC)."""
        hours = t_ms // HOUR_MS
        low, high = (int(hours.min()), int(hours.max())) if len(hours) else (0, 0)
        if low == high:
            return np.full(len(t_ms), self._offset(low), np.int64)
        unique, inverse = np.unique(hours, return_inverse=True)
        return np.array([self._offset(int(h)) for h in unique], np.int64)[inverse]

    def _offset(self, hour: int) -> int:
        known = self._offsets.get(hour)
        if known is None:
            if len(self._offsets) > 20_000:
                self._offsets.clear()
            moment = datetime.fromtimestamp(hour * 3600, UTC).astimezone(self.zone)
            gap = moment.utcoffset()
            known = self._offsets[hour] = int(gap.total_seconds() * 1000) if gap is not None else 0
        return known

    def local_hour(self, t_ms: I64) -> F64:
        """Hour of the local day, 0 <= h < 24."""
        hour: F64 = ((t_ms + self.offset_ms(t_ms)) % (24 * HOUR_MS)) / HOUR_MS
        return hour

    def week_hour(self, t_ms: I64) -> F64:
        """Hour of the local week, 0 <= h < 168, 0 on Monday at midnight."""
        hour: F64 = ((t_ms + self.offset_ms(t_ms) + 3 * 24 * HOUR_MS) % (7 * 24 * HOUR_MS)) / HOUR_MS
        return hour

    def local_day(self, t_ms: I64) -> I64:
        """Local calendar day, counted from 1970-01-01 = 0."""
        day: I64 = (t_ms + self.offset_ms(t_ms)) // (24 * HOUR_MS)
        return day

    def sun(self, kind: str, rows: I32, t_ms: I64) -> F64:
        """The sun's elevation in degrees where each device stands (the city's centre where its place is unknown)."""
        roster = self.rosters[kind]
        lon, lat = roster.lon[rows], roster.lat[rows]
        lost = ~(np.isfinite(lon) & np.isfinite(lat))
        if lost.any():
            lon, lat = np.where(lost, self.files.centre[0], lon), np.where(lost, self.files.centre[1], lat)
        return sun_elevation(t_ms, lon, lat)


def day_number(text: str) -> int:
    """An ISO date as days since 1970-01-01.

    >>> day_number("1970-01-02")
    1
    """
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def members(groups: Groups, index: int, city: City) -> Iterator[tuple[str, int, str]]:
    """(kind, row, id) of everything that hangs on one group, by kind, then row."""
    for kind in sorted(groups.of):
        for row in np.flatnonzero(groups.of[kind] == index):
            yield kind, int(row), city.registry.device(kind, int(row))
