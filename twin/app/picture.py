"""The city's picture: where every device is and how it fares, by index, with the version at which it last changed.

Changed by the ticking thread only; read from any thread under a short lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import numpy as np

from twin.city import City
from twin.deliver.lists import Standing
from twin.query.desk import Moved, Row
from twin.records import F64, I32, I64, Case
from twin.tick import Ticked, World
from twin.whistle.lifecycle import OPEN

FINE, ODD, CASE, URGENT, SILENT, UNSEEN = range(6)
URGENT_FROM = 3  # severity
POSITION = ("longitude", "latitude")


class Picture:
    """Positions and states of all devices of the city, in one order of index."""

    def __init__(self, city: City) -> None:
        """Everything unseen, where the city's files place it."""
        self._lock = threading.Lock()
        self.version = 1
        self.rows_version = 1  # grows when `rows` would name other devices
        self.now_ms = 0
        self._troubles: dict[int, dict[str, int]] = {}  # index -> open case -> state that it lends
        self._odd: dict[int, set[str]] = {}  # index -> keys of findings that are active
        self._lay(city)

    def _lay(self, city: City) -> None:
        """Everything unseen, where the city's files place it."""
        self._first: dict[str, int] = {}
        ids: list[str] = []
        lons: list[F64] = []
        lats: list[F64] = []
        origins: list[str] = []
        kinds: list[str] = []
        alive: list[bool] = []
        for kind in sorted(city.rosters):
            roster = city.roster(kind)
            self._first[kind] = len(ids)
            ids += roster.ids
            lons.append(roster.lon)
            lats.append(roster.lat)
            kinds += [kind] * len(roster)
            origins += [device.origin if device is not None else "" for device in roster.devices]
            alive += roster.alive.tolist()
        self._ids, self._kinds, self._origins, self._alive = ids, kinds, origins, alive
        n = len(ids)
        self.lon: F64 = np.concatenate(lons) if lons else np.empty(0)
        self.lat: F64 = np.concatenate(lats) if lats else np.empty(0)
        centre = city.files.centre
        self.lon = np.where(np.isfinite(self.lon), self.lon, centre[0])
        self.lat = np.where(np.isfinite(self.lat), self.lat, centre[1])
        self.state = np.full(n, UNSEEN, np.uint8)
        self._seen = np.zeros(n, bool)
        self._version = np.ones(n, np.int64)
        self._index = {device: i for i, device in enumerate(ids)}
        self._kept = np.flatnonzero(np.array(alive, bool)) if n else np.empty(0, np.int64)
        self._shown = np.full(n, -1, np.int64)
        self._shown[self._kept] = np.arange(len(self._kept))

    def become(self, city: City) -> None:
        """The city has other devices, or they stand elsewhere: the same picture of it."""
        with self._lock:
            ids, state, seen, troubles, odd = self._ids, self.state, self._seen, self._troubles, self._odd
            self._lay(city)
            new = np.array([self._index.get(device, -1) for device in ids], np.int64)
            old = np.flatnonzero(new >= 0)
            self.state[new[old]], self._seen[new[old]] = state[old], seen[old]
            self._troubles = {int(new[at]): told for at, told in troubles.items() if new[at] >= 0}
            self._odd = {int(new[at]): keys for at, keys in odd.items() if new[at] >= 0}
            self.version += 1
            self.rows_version += 1
            self._version[:] = self.version
            for at in np.flatnonzero(self._seen | (self.state != UNSEEN)):
                self._show(int(at))

    def index(self, device: str) -> int | None:
        """The device's place in the arrays; None if unknown."""
        return self._index.get(device)

    def rows(self) -> list[Row]:
        """Every device of the city, in the order that `moved` counts in."""
        with self._lock:
            return [
                Row(
                    self._ids[i],
                    self._kinds[i],
                    float(self.lon[i]),
                    float(self.lat[i]),
                    self._origins[i],
                    int(self.state[i]),
                )
                for i in self._kept
            ]

    def moved(self, since: int) -> Moved:
        """What changed after version `since`."""
        with self._lock:
            changed = np.flatnonzero((self._version > since) & (self._shown >= 0))
            return Moved(
                self.version,
                self.now_ms,
                self._shown[changed].tolist(),
                self.lon[changed].tolist(),
                self.lat[changed].tolist(),
                self.state[changed].tolist(),
            )

    def restore(self, world: World, cases: Iterable[Case | Standing]) -> None:
        """Take over a world that was restored: who was heard, where things are, what is open (under a cause too)."""
        with self._lock:
            self.version += 1
            for kind, model in world.models.items():
                heard = np.flatnonzero(model.arrays["arrived"][: model.rows] > 0).astype(np.int32)
                self._hear(kind, heard, {name: x[: model.rows] for name, x in model.last.items()})
            for case in cases:
                self._take(case)
            self._note_findings(world)
            self._show_all()

    def update(self, world: World, ticked: Ticked, now_ms: int) -> None:
        """Take over what one tick did."""
        with self._lock:
            self.version += 1
            self.now_ms = now_ms
            for kind, rows in ticked.touched.items():
                model = world.models[kind]
                self._hear(kind, rows, model.last)
            dirty: set[int] = set()
            for case in ticked.changes.cases:
                dirty |= self._take(case)
            for finding in ticked.findings:
                at = self._index.get(finding.subject)
                if at is not None:
                    keys = self._odd.setdefault(at, set())
                    keys.add(finding.key) if finding.active else keys.discard(finding.key)
                    dirty.add(at)
            for at in dirty:
                self._show(at)

    def _hear(self, kind: str, rows: I32, last: Mapping[str, F64]) -> None:
        first = self._first.get(kind)
        if first is None or not len(rows):
            return
        at: I64 = rows.astype(np.int64) + first
        at = at[at < len(self._seen)]
        rows = rows[: len(at)]
        new = at[~self._seen[at]]
        self._seen[new] = True
        for i in new:
            self._show(int(i))
        if all(name in last for name in POSITION):
            lon, lat = (last[name][rows] for name in POSITION)
            there = np.isfinite(lon) & np.isfinite(lat) & ((lon != self.lon[at]) | (lat != self.lat[at]))
            where = at[there]
            self.lon[where], self.lat[where] = lon[there], lat[there]
            self._version[where] = self.version

    def _take(self, case: Case | Standing) -> set[int]:
        at = self._index.get(case.subject)
        if at is None:
            return set()
        troubles = self._troubles.setdefault(at, {})
        if case.state in OPEN:
            troubles[case.id] = _lends(case)
        else:
            troubles.pop(case.id, None)
        return {at}

    def _note_findings(self, world: World) -> None:
        for finding in world.active():
            at = self._index.get(finding.subject)
            if at is not None:
                self._odd.setdefault(at, set()).add(finding.key)

    def _show_all(self) -> None:
        for at in {*self._troubles, *self._odd}:
            self._show(at)

    def _show(self, at: int) -> None:
        """The state of one device: its worst open case, else odd, else fine; unseen ones stay so without a case."""
        troubles = self._troubles.get(at)
        if troubles:
            lent = set(troubles.values())
            state = URGENT if URGENT in lent else SILENT if SILENT in lent else CASE
        elif not self._seen[at]:
            state = UNSEEN
        else:
            state = ODD if self._odd.get(at) else FINE
        if state != self.state[at]:
            self.state[at] = state
            self._version[at] = self.version


def _lends(case: Case | Standing) -> int:
    if case.type == "device_silent":
        return SILENT
    return URGENT if case.severity >= URGENT_FROM else CASE
