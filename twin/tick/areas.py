"""One city as several worlds, each the arrays of one area; the ledger correlates what they find. Pure.

A world holds the devices of its districts and, as a halo, those next to them that its detectors ask: neighbouring
cells, the nearest poles, poles of its own districts that live in another world. A halo is modelled, and says nothing.
What hangs on one gateway, feeder or cabinet lives in one world, the one that holds most of it: causes are found where
all their witnesses are. Readings go to every world that holds their device. A change of the city goes to each world as
far as it concerns whom that world holds; a device that comes to a world which did not hold it begins anew there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.cities.change import Change, applied, tell
from devices.places import CityFiles
from twin.city import City, Registry
from twin.detect import Rules
from twin.detect.near import Neighbours
from twin.model.orders import Orders
from twin.records import Action, Answer, Batch, Changes, Columns, Edit, Entry, Finding, Names, Outcome
from twin.tick.moves import CityEdit, Moved, become, before_of, concerned, taken
from twin.tick.tick import Ticked, conclude, sense
from twin.tick.world import Frozen, Ledger, World


@dataclass(frozen=True, slots=True)
class Shares:
    """Who lives where. home: by device or node id, its world; districts: by code; held: by world, ids with halo."""

    home: Mapping[str, int]
    districts: Mapping[str, int]
    held: Sequence[frozenset[str]]

    def of(self, city: City, subject: str) -> int:
        """The world that speaks for a subject: a device, a node or an area."""
        known = self.home.get(subject)
        if known is not None:
            return known
        for code in (subject, *city.areas(subject)):
            if code in self.districts:
                return self.districts[code]
        area = next((a for a in city.files.areas if a.code == subject), None)
        return self.of(city, area.parent) if area is not None and area.parent else 0


def share(city: City, districts: Mapping[str, int], before: Mapping[str, int] = MappingProxyType({})) -> Shares:
    """Who lives where when each district is its world's (0, 1, ...), and who lived somewhere `before` goes on there:
    of what hangs together, the most. Deterministic."""
    together = _Together(city)
    votes: dict[str, Counter[int]] = {}
    lived = {together.find(device.id) for device in city.files.devices if device.id in before}
    for device in city.files.devices:
        root, mine = together.find(device.id), before.get(device.id, districts.get(device.district, 0))
        if device.id in before or root not in lived:
            votes.setdefault(root, Counter())[mine] += 1
    chosen = {root: min(told.items(), key=lambda v: (-v[1], v[0]))[0] for root, told in votes.items()}
    home = {name: chosen[root] for name in together.names() if (root := together.find(name)) in chosen}
    held = [set[str]() for _ in range(max(districts.values(), default=0) + 1)]
    for device in city.files.devices:
        held[home[device.id]].add(device.id)
        if device.kind == "pole":
            held[districts.get(device.district, 0)].add(device.id)
    for world, own in enumerate(held):
        own.update(_halo(city, {name for name in own if home.get(name) == world}))
    return Shares(home, districts, [frozenset(own) for own in held])


class _Together:
    """Devices and nodes that hang on one another, as sets with one root each (union-find)."""

    def __init__(self, city: City) -> None:
        self._root: dict[str, str] = {device.id: device.id for device in city.files.devices}
        for groups in city.groups.values():
            for kind, of in groups.of.items():
                for row in np.flatnonzero(of >= 0).tolist():
                    self._join(city.registry.device(kind, row), groups.ids[of[row]])
        for node in city.files.nodes:
            if node.parent:
                self._join(node.id, node.parent)

    def find(self, name: str) -> str:
        """The root of whatever a name hangs together with."""
        while self._root.setdefault(name, name) != name:
            self._root[name] = self._root[self._root[name]]
            name = self._root[name]
        return name

    def names(self) -> list[str]:
        """Everything that hangs on something."""
        return list(self._root)

    def _join(self, one: str, other: str) -> None:
        self._root[self.find(one)] = self.find(other)


def _halo(city: City, own: set[str]) -> set[str]:
    """Whom detectors ask about the devices of an area: neighbours of its cells, nearest poles of its poles (of all, and
    of those with the same equipment, in the city and in the district), and the poles that carry its cells."""
    halo = {name for cell, others in city.files.neighbours.items() if cell in own for name in others}
    roster = city.rosters.get("pole")
    if roster is not None:
        rows = np.array([row for row, name in enumerate(roster.ids) if name in own], np.int32)
        equipped = [roster.alive, *(value > 0 for value in roster.attributes.values())]
        near = Neighbours(city)
        for carries in equipped:
            asked = near.among(carries)[rows]
            halo |= {roster.ids[row] for row in np.unique(asked).tolist() if row >= 0}
    carried = own | halo
    return halo | {d.pole for d in city.files.devices if d.pole and d.id in carried}


class Areas:
    """A city in several worlds under one ledger; `tick` does what one world's tick does."""

    def __init__(
        self, files: CityFiles, registry: Registry, districts: Mapping[str, int], ledger: Ledger, rules: Rules
    ) -> None:
        """`registry`: the city's rows, as readings carry them. `districts`: the world of each district's code."""
        self.city = City(files, registry)
        self.ledger = ledger
        self.orders = Orders()
        self._districts = districts
        self.shares = share(self.city, districts)
        self.worlds = [self._world(files, i, rules) for i in range(len(self.shares.held))]
        self._left: list[Finding] = []
        self._rows: list[dict[str, NDArray[np.int32]]] = [self._map(world.city) for world in self.worlds]

    def _world(self, files: CityFiles, index: int, rules: Rules) -> World:
        held = self.shares.held[index]
        own = replace(files, devices=tuple(d for d in files.devices if d.id in held))
        made = World(City(own, Registry()), Nobody(), rules, lambda name: self.shares.of(self.city, name) == index)
        made.orders = self.orders  # one book of the whole city: each world sees what its devices were told
        return made

    def _map(self, city: City) -> dict[str, NDArray[np.int32]]:
        """By kind, the world's row of each row of the city; -1: not held."""
        found = {}
        for kind in self.city.registry.kinds():
            rows = [city.registry.find(kind, name) for name in self.city.registry.ids(kind)]
            found[kind] = np.array([-1 if row is None else row for row in rows], np.int32)
        return found

    def tick(self, entries: Sequence[Entry], now_ms: int, n: int = 0, leap_ms: int = 0) -> Ticked:
        """One tick of every world over its share of the entries, then the ledger over what they found."""
        entries, moves = self._move(entries, now_ms)
        findings = [replace(one, at_ms=now_ms, since_ms=now_ms) for one in self._left]
        self._left = []
        heard = None
        for world, rows in zip(self.worlds, self._rows, strict=True):
            ticked, heard = sense(world, [_cut(entry, rows) for entry in entries], now_ms, n, leap_ms)
            findings += ticked.findings
        assert heard is not None
        told = Ticked(Changes(), findings=sorted(findings, key=lambda f: (f.at_ms, f.key)), moves=moves)
        told.changes = conclude(self.worlds, self.ledger, self.orders, self.city, told.findings, heard)
        return told

    def _move(self, entries: Sequence[Entry], now_ms: int) -> tuple[list[Entry], list[Moved]]:
        """Take in new rows and changes of the city, before any reading is shared out; the other entries."""
        left, moves = list[Entry](), list[Moved]()
        for entry in entries:
            body = entry.body
            if isinstance(body, Names):
                self.city.extend(body)
            elif isinstance(body, Edit) and body.what == "city":
                read = taken(self.city.files, entry.n, body.text)
                if read is not None:
                    before = before_of(self.city.files, read[0])
                    self._become(*read)
                    moves.append(Moved(self.city.version, entry.n, now_ms, read[0], before))
            else:
                left.append(entry)
        if len(left) < len(entries):
            self._rows = [self._map(world.city) for world in self.worlds]
        return left, moves

    def _become(self, edit: CityEdit, files: CityFiles) -> None:
        """The whole city and every world go on as the changed one."""
        self.city.become(files, self.city.version + 1)
        self.shares = share(self.city, self._districts, self.shares.home)
        devices = {device.id: device for device in files.devices}
        for world, wanted in zip(self.worlds, self.shares.held, strict=True):
            own = {device.id for device in world.city.files.devices}
            mine = [_mine_of(c, own) for c in edit.changes if c.table != "devices" or c.id in own or c.id in wanted]
            said = {change.id for change in mine if change.table == "devices"}
            came = sorted(wanted - own - said)
            mine += [Change("devices", name, tell("devices", name, devices[name])) for name in came]
            part = replace(edit, changes=tuple(mine))
            become(world, part, applied(world.city.files, mine))
        self.ledger.move(files, *concerned(edit), edit.actor)
        self._left += [replace(one, active=False) for world in self.worlds for one in _disown(world)]


def _disown(world: World) -> list[Finding]:
    """What a world has said of those that live in another one now, taken back: they begin anew there, and nobody would
    ever unsay it."""
    assert world.owns is not None
    said = {key: next(iter(sayers.values())) for key, sayers in world.said.items()}
    foreign = {key: one for key, one in said.items() if not world.owns(one.subject)}
    for key in foreign:
        del world.said[key]
    return list(foreign.values())


def _mine_of(change: Change, own: set[str]) -> Change:
    """A change as a world sees it: who takes the place of a device that it does not hold is new there."""
    return change if change.replaces in own else replace(change, replaces="", model="")


def _cut(entry: Entry, rows: Mapping[str, NDArray[np.int32]]) -> Entry:
    """An entry as one world sees it: of a batch the readings of devices that it holds, by its own rows."""
    body = entry.body
    if not isinstance(body, Batch):
        return entry
    rejected = {
        (kind, int(rows[kind][row]), reason): count
        for (kind, row, reason), count in body.rejected.items()
        if kind in rows and 0 <= row < len(rows[kind]) and rows[kind][row] >= 0
    }
    columns = tuple(_mine(columns, rows[columns.kind]) for columns in body.columns)
    return Entry(entry.n, Batch(columns, rejected=rejected))


def _mine(columns: Columns, rows: NDArray[np.int32]) -> Columns:
    here = rows[columns.row]
    at = np.flatnonzero(here >= 0)
    return Columns(
        columns.kind, here[at], columns.t[at], columns.boot[at], columns.seq[at], columns.arrived[at],
        columns.flags[at], {name: x[at] for name, x in columns.values.items()},
    )  # fmt: skip


class Nobody:
    """The ledger of a world whose findings another one correlates."""

    def step(
        self,
        findings: Sequence[Finding],  # noqa: ARG002 - the protocol's
        actions: Sequence[Action],  # noqa: ARG002
        outcomes: Sequence[Outcome],  # noqa: ARG002
        answers: Sequence[Answer],  # noqa: ARG002
        now_ms: int,  # noqa: ARG002
    ) -> Changes:
        raise AssertionError("the city's ledger correlates, not an area's")

    def move(self, files: CityFiles, gone: Mapping[str, str], fresh: Mapping[str, str], actor: str) -> None:
        """The city's ledger is told by whoever moves the city."""

    policy_text = ""

    def rule(self, text: str) -> None:
        """The city's ledger is told by whoever changes the policy."""

    def dump(self) -> dict[str, Any]:
        return {}

    def snapshot(self) -> Frozen:
        return _Nothing()

    def load(self, told: dict[str, Any]) -> None:
        """Nothing is kept."""


class _Nothing:
    def encode(self) -> dict[str, Any]:
        return {}
