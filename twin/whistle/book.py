"""The book of cases in memory: every life, the indexes over them, the timers, and the changes of the running step."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from devices.places import Department
from twin.records import Changes, Delivery, Transition, Why
from twin.whistle.life import Life, plain
from twin.whistle.lifecycle import after
from twin.whistle.mutes import Mutes
from twin.whistle.oncall import reach
from twin.whistle.places import Places
from twin.whistle.policy import Policy
from twin.whistle.storm import Storm
from twin.whistle.words import message

SYSTEM = "system"
RETURNABLE = ("found", "filed", "dispatched")  # nobody has taken it yet: who gave it back still sees where it goes
PARTY = ("joint", "escalate", "returned", "undelivered")  # whoever is told this has a say in the case from then on


LISTED = Why("listed by its cause", "由其成因列为子事件")
STORM = Why("storm limit", "超出消息限量，归入摘要")


def _in_chinese(reason: str) -> dict[str, str]:
    """What the evidence of a step says of its reason besides."""
    return {"reason_zh": reason.zh} if isinstance(reason, Why) else {}


def _hang(index: dict[str, dict[str, None]], node: str, case: str, there: bool) -> None:
    """Have a case in (or out of) an index; empty entries go."""
    if there:
        index.setdefault(node, {})[case] = None
    elif node in index:
        index[node].pop(case, None)
        if not index[node]:
            del index[node]


@dataclass(slots=True)
class Book:
    """Everything that steps read and write. Rooms-mates (telemetry, sending, actions) are functions over it."""

    places: Places
    policy: Policy
    storm: Storm
    mutes: Mutes = field(default_factory=Mutes)
    lives: dict[str, Life] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)  # finding key -> its open case
    closed: dict[str, str] = field(default_factory=dict)  # finding key -> its newest case that is no longer open
    done: dict[str, None] = field(default_factory=dict)  # cases no longer open, in the order of closing
    at: dict[str, dict[str, None]] = field(default_factory=dict)  # subject -> its open cases without cause
    below: dict[str, dict[str, None]] = field(default_factory=dict)  # node -> such cases under it that a cause explains
    held: dict[str, dict[str, None]] = field(default_factory=dict)  # node -> those of `below` that are still held
    kids: dict[str, dict[str, None]] = field(default_factory=dict)  # case -> its children
    heap: list[tuple[int, str]] = field(default_factory=list)  # (due, case); stale entries are skipped
    day: str = ""
    count: int = 0  # cases of that day
    digests: int = 0
    notes: int = 0  # transitions of no case (mutes)
    changes: Changes = field(default_factory=Changes)
    touched: dict[str, None] = field(default_factory=dict)
    explained: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.explained = frozenset().union(*self.policy.explains.values())

    def rule(self, policy: Policy) -> None:
        """Go on under another policy. Timers that run and windows that are open stay as they are."""
        self.policy = policy
        self.storm.count, self.storm.window_ms = policy.storm_count, round(policy.storm_s * 1000)
        self.explained = frozenset().union(*policy.explains.values())
        self.rehang()

    def begin(self) -> None:
        """Start a step with an empty sheet of changes."""
        self.changes = Changes()
        self.touched = {}

    def finish(self) -> Changes:
        """The step's changes, each case once and as it stands now."""
        self.changes.cases = [self.lives[case].case for case in self.touched if case in self.lives]
        return self.changes

    def next_id(self, now_ms: int) -> str:
        """A new case's id: the city's date and the number of the case on it."""
        day = self.policy.calendar.local_date(now_ms).strftime("%Y%m%d")
        if day > self.day:
            self.day, self.count = day, 0
        self.count += 1
        return f"CW-{self.day}-{self.count:06d}"

    def put(self, life: Life) -> Life:
        """Keep a life as it is now; indexes and timers follow."""
        case = life.case
        old = self.lives.get(case.id)
        self.lives[case.id] = life
        if old is None or old.case.state != case.state or old.case.parent != case.parent:
            self._index(old, life)
        due = life.due_ms
        if due and (old is None or due != old.due_ms):
            heapq.heappush(self.heap, (due, case.id))
        return life

    def _index(self, old: Life | None, life: Life) -> None:
        case = life.case
        if old is None or old.open != life.open:
            self._open_or_close(life)
        self._hang_open(life)
        if old is not None and old.case.parent and old.case.parent != case.parent:
            self.kids.get(old.case.parent, {}).pop(case.id, None)
        if case.parent:
            self.kids.setdefault(case.parent, {})[case.id] = None

    def _open_or_close(self, life: Life) -> None:
        case = life.case
        if life.open:
            self.open[case.key] = case.id
            self.done.pop(case.id, None)
            if self.closed.get(case.key) == case.id:
                del self.closed[case.key]
        else:
            if self.open.get(case.key) == case.id:
                del self.open[case.key]
            self.closed[case.key] = case.id
            self.done[case.id] = None

    def rehang(self) -> None:
        """The city is another one: sort every open case anew by what its subject hangs on."""
        self.at, self.below, self.held = {}, {}, {}
        for life in self.lives.values():
            if life.open:
                self._hang_open(life)

    def _hang_open(self, life: Life) -> None:
        case = life.case
        alone = life.open and not case.parent
        _hang(self.at, case.subject, case.id, alone)
        if case.type in self.explained:
            for node in (case.subject, *self.places.parents(case.subject)):
                _hang(self.below, node, case.id, alone)
                _hang(self.held, node, case.id, alone and case.state == "found")

    def crowded(self, life: Life) -> bool:
        """Whether so many others are held under something that it hangs on that a cause is likely to come."""
        case = life.case
        if case.type not in self.explained:
            return False
        areas = self.places.areas(case.subject)
        nodes = (node for node in self.places.parents(case.subject) if node not in areas)
        return any(len(self.held.get(node, ())) >= self.policy.crowd_count for node in nodes)

    def found(self, life: Life, now_ms: int) -> Life:
        """Record the first transition of a new case."""
        case = life.case
        life = self.put(replace(life, serial=1))
        reason = "" if life.own else LISTED
        evidence = dict(case.evidence) | _in_chinese(reason)
        step = Transition(case.id, 1, now_ms, SYSTEM, "find", "", "found", str(reason), evidence)
        self.changes.transitions.append(step)
        self.touched[case.id] = None
        return life

    def forget(self, case: str) -> None:
        """Drop a closed case from memory; the case database has it."""
        life = self.lives.pop(case)
        self.done.pop(case, None)
        if self.closed.get(life.case.key) == case:
            del self.closed[life.case.key]
        if life.case.parent:
            self.kids.get(life.case.parent, {}).pop(case, None)
        self.kids.pop(case, None)

    def mark(
        self,
        life: Life,
        now_ms: int,
        event: str,
        *,
        actor: str = SYSTEM,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
        **changed: Any,
    ) -> Life:
        """One step of a case by the table, recorded; `changed` are further fields of the case. Raises IllegalStep."""
        before = life.case.state
        state = after(before, event)
        case = replace(life.case, state=state, updated_ms=now_ms, **changed)
        if case.returned_by and state not in RETURNABLE:
            case = replace(case, returned_by=())
        life = self.put(replace(life, case=case, serial=life.serial + 1))
        told = plain(evidence or {}) | _in_chinese(reason)
        step = Transition(case.id, life.serial, now_ms, actor, event, before, state, str(reason), told)
        self.changes.transitions.append(step)
        self.touched[case.id] = None
        return life

    def tell(
        self, life: Life, now_ms: int, office: Department, purpose: str, more: Mapping[str, Any] | None = None
    ) -> Life:
        """Put a message to a department into the outbox; over the storm limit it goes into the digest instead."""
        case = life.case
        if purpose in PARTY:
            parties = case.parties if office.id == case.department else dict.fromkeys((*case.parties, office.id))
            gave = tuple(name for name in case.returned_by if name != office.id)  # asked again, it has a say again
            if (told := replace(case, parties=tuple(parties), returned_by=gave)) != case:
                case = told
                life = self.put(replace(life, case=case))
                self.touched[case.id] = None
        emergency = case.severity >= 4 and not case.past
        if not self.storm.admit(office.id, (case.id, case.type), now_ms, emergency=emergency):
            if case.state in ("dispatched", "accepted"):
                life = self.mark(life, now_ms, "digest", reason=STORM, evidence={"department": office.id})
            return life
        payload = message(case, office, self.places, purpose, now_ms, more or {})
        way = reach(office, now_ms, self.policy.calendar.zone)
        return self.post(life, way.channel, way.address, purpose, payload)

    def post(self, life: Life, channel: str, address: str, purpose: str, payload: Mapping[str, Any]) -> Life:
        """Put one delivery into the outbox, under a key that a replay gives again."""
        key = self.key(life, purpose, channel)
        self.changes.deliveries.append(Delivery(key, life.case.id, channel, address, purpose, payload))
        return self.put(replace(life, sent=life.sent + 1, waiting=(*life.waiting, key)))

    @staticmethod
    def key(life: Life, purpose: str, channel: str) -> str:
        """The idempotency key of the next message of a case."""
        return f"{life.case.id}:{purpose}:{life.sent + 1}:{channel}"

    def due(self, now_ms: int) -> Life | None:
        """The next life with a timer due by `now_ms`; None when there is none left."""
        while self.heap and self.heap[0][0] <= now_ms:
            at, case = heapq.heappop(self.heap)
            life = self.lives.get(case)
            if life is not None and life.due_ms == at:
                return life
        return None
