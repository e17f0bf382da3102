"""Back-testing: stored history through today's rules and through new ones, on the engine that runs live.

Two worlds tick side by side over the same readings, cut by the time at which they arrived; what each would have
whistled is compared. Before the span both learn from what came earlier. A stretch in which nothing at all arrived was
our own absence, nobody's silence. The city is the one of that time. Memory: one window of readings and two worlds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from devices.cities.change import change_in
from devices.places import CityFiles
from twin.app.history import Version
from twin.city import City, Registry
from twin.detect import default_rules
from twin.records import I64, Batch, Body, Columns, Edit, Entry, Link
from twin.store import shape
from twin.tick import CityEdit, World, tick
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy

WINDOW_MS = 600_000  # readings held at once
LEARN_TICK_MS = 60_000  # while learning nobody waits for a whistle
ABSENT_MS = 60_000  # nothing from anybody for so long: we were away
NEAR_MS = 6 * 3_600_000  # whistles of one (type, subject) further apart are two


class Past(Protocol):
    """Where the readings come from; `twin.store.embedded.EmbeddedStore` is one."""

    def export(self, kind: str, start_ms: int, end_ms: int) -> Sequence[Columns]: ...

    def span(self, kind: str) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be compared. start, end: city time, ms. learn_ms: how much before the start is learnt from.

    rules, other: overrides as `Rules.override` takes them. names: every row of the journal. files_at(version) and
    versions: the city's past.
    """

    start_ms: int
    end_ms: int
    rules: Mapping[str, Any]
    other: Mapping[str, Any]
    names: Sequence[tuple[str, int, str]]
    files: CityFiles  # of the version in force when learning begins
    version: int
    policy: Policy
    versions: Sequence[Version] = ()
    learn_ms: int = 7 * 86_400_000
    tick_ms: int = 5_000


@dataclass(frozen=True, slots=True)
class Whistle:
    """One case that would have been sent."""

    type: str
    subject: str
    at_ms: int
    en: str
    zh: str
    severity: int


@dataclass(slots=True)
class Compared:
    """What the other rules change. earlier, later: (whistle by today's rules, by the others)."""

    same: int = 0
    gained: list[Whistle] = field(default_factory=list)
    lost: list[Whistle] = field(default_factory=list)
    earlier: list[tuple[Whistle, Whistle]] = field(default_factory=list)
    later: list[tuple[Whistle, Whistle]] = field(default_factory=list)
    today: int = 0
    other: int = 0
    readings: int = 0
    ticks: int = 0
    learnt_from_ms: int = 0

    def told(self) -> dict[str, Any]:
        """For scripts."""
        moved = {
            name: [asdict(new) | {"before_ms": old.at_ms, "by_s": (new.at_ms - old.at_ms) / 1000} for old, new in pairs]
            for name, pairs in (("earlier", self.earlier), ("later", self.later))
        }
        flat = {name: getattr(self, name) for name in ("same", "today", "other", "readings", "ticks", "learnt_from_ms")}
        lists = {name: [asdict(one) for one in getattr(self, name)] for name in ("gained", "lost")}
        return flat | lists | moved


class Side:
    """One world and what it would have whistled."""

    def __init__(self, order: Order, rules: Mapping[str, Any]) -> None:
        city = City(order.files, Registry(order.names), order.version)
        self.world = World(city, Ledger(CityPlaces.of(order.files), order.policy), default_rules())
        self.world.rules.override(dict(rules), "rules")
        self.whistles: list[Whistle] = []
        self._sent: set[str] = set()

    def step(self, bodies: Sequence[Body], now_ms: int, n: int) -> None:
        """One tick."""
        entries = [Entry(n - len(bodies) + i, body) for i, body in enumerate(bodies)]
        changes = tick(self.world, entries, now_ms, n).changes
        cases = {case.id: case for case in changes.cases}
        for step in changes.transitions:
            case = cases.get(step.case)
            if step.event == "dispatch" and case is not None and case.id not in self._sent and not case.parent:
                self._sent.add(case.id)
                self.whistles.append(Whistle(case.type, case.subject, now_ms, case.en, case.zh, case.severity))


def backtest(past: Past, order: Order, progress: Callable[[float, str], None] = lambda *_: None) -> Compared:
    """Run both and compare. `progress` is told the share done and what is going on."""
    kinds = sorted({kind for kind, _, _ in order.names})
    spans = [span for kind in kinds if (span := past.span(kind))[1] >= span[0]]
    first = min((span[0] for span in spans), default=order.start_ms)
    begin = max(first, order.start_ms - order.learn_ms) // LEARN_TICK_MS * LEARN_TICK_MS
    begin = min(begin, order.start_ms)
    done = Compared(learnt_from_ms=begin)
    whole = max(1, order.end_ms - begin)
    sides = today, other = Side(order, order.rules), Side(order, order.other)
    edits = list(order.versions)
    came_in = Arrivals(past, kinds)
    n = 1
    for side in sides:
        side.step([Link("drained"), Edit("learning", "true")], begin, n)
    for now_ms, came in came_in.marks(begin, order.start_ms, LEARN_TICK_MS):
        bodies = [*due(edits, now_ms), *came]
        n += len(bodies) + 1
        for side in sides:
            side.step(bodies, now_ms, n)
        done.readings += readings_in(bodies)
        progress((now_ms - begin) / whole, "learning")
    for side in sides:
        side.step([Edit("learning", "false")], order.start_ms, n + 1)
    n += 1
    for now_ms, came in came_in.marks(order.start_ms, order.end_ms, order.tick_ms):
        bodies = [*due(edits, now_ms), *came]
        n += len(bodies) + 1
        done.ticks += 1
        done.readings += readings_in(bodies)
        for side in sides:
            side.step(bodies, now_ms, n)
        progress((now_ms - begin) / whole, "comparing")
    return compare(today.whistles, other.whistles, order.tick_ms, done)


def due(edits: list[Version], now_ms: int) -> list[Body]:
    """The changes of the city that are due, taken off the list."""
    bodies: list[Body] = []
    while edits and edits[0].at_ms <= now_ms:
        one = edits.pop(0)
        changes = tuple(change_in({k: v for k, v in c.items() if k != "before"}) for c in one.changes)
        bodies.append(Edit("city", CityEdit(one.id, one.actor, one.reason, changes).text()))
    return bodies


def readings_in(bodies: Sequence[Body]) -> int:
    """How many readings these hold."""
    return sum(len(body) for body in bodies if isinstance(body, Batch))


class Arrivals:
    """What arrived when, span after span: what is on its way, and whether we were away, goes on into the next."""

    def __init__(self, past: Past, kinds: Sequence[str]) -> None:
        self.past, self.kinds = past, kinds
        self._held: dict[str, Columns] = {}  # said already, to come
        self._quiet_ms, self._away = 0, False

    def marks(self, start_ms: int, end_ms: int, tick_ms: int) -> Iterator[tuple[int, list[Body]]]:
        """(city time of a mark, what arrived before it), every `tick_ms` in (start, end]. Readings that arrived later
        than the window of their own time wait for their mark."""
        for low in range(start_ms, end_ms, WINDOW_MS):
            high = min(low + WINDOW_MS, end_ms)
            marks = np.arange(low + tick_ms, high + tick_ms, tick_ms, dtype=np.int64)
            marks[-1] = high
            cuts = self._cut(low, high, marks)
            for i, mark in enumerate(marks.tolist()):
                parts = (shape.take(all_, np.arange(edges[i - 1] if i else 0, edges[i])) for all_, edges in cuts)
                yield mark, self._bodies(tuple(one for one in parts if len(one)), tick_ms)

    def _cut(self, low_ms: int, high_ms: int, marks: I64) -> list[tuple[Columns, NDArray[np.intp]]]:
        """By kind, what was said in this window or before and not yet heard, by arrival; and where marks cut it."""
        cuts = []
        for kind in self.kinds:
            parts = [*self.past.export(kind, low_ms, high_ms)]
            if kind in self._held:
                parts.append(self._held.pop(kind))
            if parts:
                whole = shape.join(parts)
                whole = shape.take(whole, np.argsort(whole.arrived, kind="stable"))
                edges = np.searchsorted(whole.arrived, marks, "right")
                cuts.append((whole, edges))
                if edges[-1] < len(whole):
                    self._held[kind] = shape.take(whole, np.arange(edges[-1], len(whole)))
        return cuts

    def _bodies(self, columns: tuple[Columns, ...], tick_ms: int) -> list[Body]:
        self._quiet_ms = 0 if columns else self._quiet_ms + tick_ms
        bodies: list[Body] = [Batch(columns)] if columns else []
        if columns and self._away:
            self._away = False
            return [Link("up"), *bodies, Link("drained")]
        if self._quiet_ms >= ABSENT_MS and not self._away:
            self._away = True
            return [Link("down")]
        return bodies


def compare(today: Sequence[Whistle], other: Sequence[Whistle], tick_ms: int, into: Compared) -> Compared:
    """Pair whistles of one type on one subject, in the order of time and no further apart than NEAR_MS."""
    into.today, into.other = len(today), len(other)
    waiting: dict[tuple[str, str], list[Whistle]] = {}
    for one in other:
        waiting.setdefault((one.type, one.subject), []).append(one)
    for old in today:
        near = [w for w in waiting.get((old.type, old.subject), ()) if abs(w.at_ms - old.at_ms) <= NEAR_MS]
        if not near:
            into.lost.append(old)
            continue
        new = min(near, key=lambda w: abs(w.at_ms - old.at_ms))
        waiting[old.type, old.subject].remove(new)
        if abs(new.at_ms - old.at_ms) < tick_ms:
            into.same += 1
        else:
            (into.earlier if new.at_ms < old.at_ms else into.later).append((old, new))
    into.gained = sorted((w for left in waiting.values() for w in left), key=lambda w: w.at_ms)
    return into
