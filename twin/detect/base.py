"""What a detector is, and the frame in which simple rules are written: judge a frame, tell a reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from twin.city import City
from twin.detect.budget import ALLOWED, Budget, Spent
from twin.detect.latch import Dwell, Latch, Mask, spread
from twin.detect.rules import Params, Rules, Value
from twin.records import F64, Finding, Frame, Presence

DAY_MS = 86_400_000.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Readings of a device that were refused since its last good one: how many by reason, and when the newest came."""

    counts: Mapping[str, int] = field(default_factory=dict)
    last_ms: int = 0  # city time

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    @property
    def reason(self) -> str:
        """The most frequent reason; of equals the first by name."""
        return min(self.counts, key=lambda reason: (-self.counts[reason], reason), default="")


@dataclass(frozen=True, slots=True)
class Moment:
    """A tick mark: city time, what is known of every kind's devices, and whether our link was up and drained
    throughout since the mark before.

    `resumed`: it is so for the first time since our link was down; who waited for it has to come back first.
    `passed_ms`: of the time since then what counts (twin/tick/link.py). `heard`: devices by kind that ever spoke.
    `refused`: by (kind, row), devices that spoke since their last good reading and were not understood. `learning`:
    a past is played, in which only some devices need speak.
    """

    now_ms: int
    presence: Mapping[str, Presence]
    counting: bool
    resumed: bool
    passed_ms: float
    heard: Mapping[str, int]
    refused: Mapping[tuple[str, int], Refusal] = field(default_factory=dict)
    learning: bool = False

    def device_days(self, kind: str) -> float:
        """How many days the devices of a kind have lived through since the mark before."""
        return self.heard.get(kind, 0) * self.passed_ms / DAY_MS


class Detector(Protocol):
    """One kind of evidence. Sees each frame before the model learns it, and each tick mark after all its frames.

    A finding is said once and unsaid once for each (type, subject). NaN means that a detector has no opinion.
    """

    @property
    def types(self) -> tuple[str, ...]:
        """The finding types that it may say."""
        ...

    def observe(self, frame: Frame) -> Sequence[Finding]: ...

    def sweep(self, moment: Moment) -> Sequence[Finding]: ...

    def judged(self, type_: str, subject: str, false: int) -> None:
        """A verdict on a finding of this type, once a case: 1 false, 0 useful; -1: a false one is taken back."""
        ...

    def dump(self) -> dict[str, Any]:
        """All that it remembers: arrays (copies) and JSON-able values."""
        ...

    def load(self, told: Mapping[str, Any]) -> None: ...


@runtime_checkable
class Forgetful(Protocol):
    """A detector that can forget a device: other hardware has taken its place."""

    def forget(self, kind: str, row: int) -> None: ...


@runtime_checkable
class Budgeted(Protocol):
    """A detector that keeps to a false-alarm budget."""

    def budgets(self) -> Sequence[Spent]: ...


@runtime_checkable
class Pending(Protocol):
    """A detector that knows what it may say before it says it."""

    def pending(self, kind: str, row: int) -> bool:
        """Whether this device is on its way to a finding: its condition holds, not long enough yet."""
        ...


@runtime_checkable
class Large(Protocol):
    """A detector whose memory is large: it can be looked at without a copy."""

    def views(self) -> dict[str, Any]:
        """What `dump` gives, the arrays not copied."""
        ...


class Spending:
    """What every detector with one budget of device-days for its class does with it."""

    type: ClassVar[str]
    kind: ClassVar[str]
    city: City
    rules: Rules
    budget: Budget

    @property
    def spends(self) -> bool:
        """Whether its class has a budget at all."""
        return True

    def sweep(self, moment: Moment) -> list[Finding]:
        """Device-days pass in which nothing false was said."""
        if self.spends:
            self.budget.days += moment.device_days(self.kind)
        return []

    def judged(self, type_: str, subject: str, false: int) -> None:
        """An operator's verdict moves the bars; limits that are the city's stay."""
        if self.spends and type_ == self.type and self.city.kind(subject) == self.kind:
            self.budget.verdict(false, self.rules.number(self.type, ALLOWED))

    def budgets(self) -> list[Spent]:
        """How the budget stands, where there is one."""
        if not self.spends:
            return []
        allowed = self.rules.number(self.type, ALLOWED)
        return [Spent(self.kind, allowed, "device-days", self.budget.factor, self.budget.days)]


class Rule(Spending):
    """A condition on one reading and what is known besides, with dwell and hysteresis.

    A subclass names its `type`, `kind` and `trigger` (the rule speaks only of readings that carry one of these
    quantities) and gives `judge` and `tell`. Parameters come from the rules file under its type; those named hold_s,
    reports, clear_s, clear_reports are its dwell and hysteresis.
    """

    type: ClassVar[str]
    kind: ClassVar[str]
    trigger: ClassVar[tuple[str, ...]]
    quantity: ClassVar[str] = ""
    once: ClassVar[bool] = (
        False  # judges a frame once, with parameters as `Rules.local` gives them: it remembers things
    )
    prompt: bool = False  # what completes its evidence wants a tick soon, as an event does
    budgeted: ClassVar[tuple[str, ...]] = ()  # parameters that operators' verdicts move: no law gives them

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.budget = Budget()
        self.latch = Latch(city.rows(self.kind))

    @property
    def types(self) -> tuple[str, ...]:
        return (self.type,)

    @property
    def spends(self) -> bool:
        return bool(self.budgeted)

    def judge(self, frame: Frame, p: Params) -> tuple[Mask, Mask]:
        """Where the condition holds and where it is certainly gone, by reading; neither where it cannot be told.

        Asked for every set of parameters that holds somewhere in the frame, so it remembers nothing itself, unless
        the rule is judged `once`.
        """
        raise NotImplementedError

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        """The finding at reading i, made by `self.finding`."""
        raise NotImplementedError

    def gather(self, frame: Frame) -> None:
        """Take in what the rule sums up besides, once a frame, before it judges."""

    def observe(self, frame: Frame) -> list[Finding]:
        if frame.kind != self.kind or not any(q in frame.observed for q in self.trigger):
            return []
        self.latch.ensure(int(frame.rows[-1]) + 1)
        self.gather(frame)
        on, off, dwell = self._judged(frame)
        said = np.zeros(len(frame), bool)
        for q in self.trigger:
            if q in frame.observed:
                said |= ~np.isnan(frame.observed[q])
        raised, cleared = self.latch.step(frame.rows, frame.t, on & said, off & said, dwell)
        both = sorted([(int(i), True) for i in raised] + [(int(i), False) for i in cleared])
        return [self.tell(frame, i, self.params(frame, i)) if up else self.unsay(frame, i) for i, up in both]

    def params(self, frame: Frame, i: int) -> Mapping[str, Value]:
        """The parameters that hold for reading i."""
        if not self.rules.scopes(self.type):
            return self._moved(self.rules[self.type])
        one = slice(i, i + 1)
        which, tables = self.rules.variants(self.type, self.city, self.kind, frame.rows[one], frame.t[one])
        return self._moved(tables[int(which[0])])

    def _moved(self, p: Params) -> Params:
        """Parameters as the verdicts moved them."""
        if not self.budgeted or self.budget.ln == 0.0:
            return p
        return {**p, **{name: p[name] * self.budget.factor for name in self.budgeted}}

    def _judged(self, frame: Frame) -> tuple[Mask, Mask, Dwell]:
        """`judge` and `dwell` by the parameters that hold where and when each reading was made."""
        if not self.rules.scopes(self.type):
            p = self._moved(self.rules[self.type])
            return *self._enabled(frame, p), self.dwell(p)
        which, tables = self.rules.variants(self.type, self.city, self.kind, frame.rows, frame.t)
        tables = [self._moved(table) for table in tables]
        on, off = np.zeros(len(frame), bool), np.zeros(len(frame), bool)
        if self.once:
            local = self.rules.local(self.type, self.city, self.kind, frame.rows, frame.t)
            on, off = self.judge(frame, self._moved(local))
            wanted = np.array([bool(table.get("enabled", True)) for table in tables])[which]
            on, off = on & wanted, off | ~wanted
        for index in () if self.once else np.unique(which):
            here = which == index
            on_here, off_here = self._enabled(frame, tables[index])
            on[here], off[here] = on_here[here], off_here[here]
        return on, off, spread([self.dwell(table) for table in tables], which)

    def _enabled(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        if p.get("enabled", True):
            return self.judge(frame, p)
        return np.zeros(len(frame), bool), np.ones(len(frame), bool)

    def dwell(self, p: Mapping[str, Value]) -> Dwell:
        """Dwell and hysteresis from the parameters."""
        return Dwell(
            hold_ms=1000.0 * p.get("hold_s", 0),
            reports=int(p.get("reports", 1)),
            clear_ms=1000.0 * p.get("clear_s", 0),
            clear_reports=int(p.get("clear_reports", 1)),
        )

    def finding(self, frame: Frame, i: int, en: str, zh: str, **more: Any) -> Finding:
        """A finding at reading i with what every finding says; `en` and `zh` follow the device's name."""
        row = int(frame.rows[i])
        device = self.city.registry.device(self.kind, row)
        severity = int(self.params(frame, i).get("severity", 2))
        x = frame.observed.get(self.quantity)
        base = Finding(
            type=self.type,
            subject=device,
            active=True,
            at_ms=int(frame.t[i]),
            since_ms=self.latch.since(row) or int(frame.t[i]),
            severity=severity,
            quantity=self.quantity,
            observed=float(x[i]) if x is not None else float("nan"),
            past=bool(frame.past[i]),
            detector=self.type,
            en=f"{device}: {en}",
            zh=f"{device}：{zh}",
        )
        return replace(base, **more)

    def unsay(self, frame: Frame, i: int) -> Finding:
        """The finding's end at reading i."""
        told = self.finding(frame, i, "back to normal", "已恢复正常")
        return replace(told, active=False, since_ms=self.calm_since(self.latch.calm_from.get(i, told.at_ms)))

    def calm_since(self, t_ms: int) -> int:
        """From when on the condition was gone, if the reading at t_ms was the first that showed it."""
        return t_ms

    def forget(self, kind: str, row: int) -> None:
        """Other hardware: what the condition was on the way to is forgotten."""
        if kind == self.kind:
            self.latch.ensure(row + 1)
            self.latch.drop(np.array([row], np.int32))

    def pending(self, kind: str, row: int) -> bool:
        """Whether the condition holds at this device and is not said yet."""
        return kind == self.kind and self.latch.rising(row)

    def dump(self) -> dict[str, Any]:
        return {**self.latch.dump(), "budget": self.budget.dump()}

    def load(self, told: Mapping[str, Any]) -> None:
        self.latch.load(told)
        if "budget" in told:
            self.budget.load(told["budget"])


LEARNT = 50  # visits of a channel before a rule relies on its expectation


def expected_of(frame: Frame, column: int) -> tuple[F64, F64]:
    """Expected value and scale of one quantity (its index in the kind) by reading, NaN where there is none, or where
    the channel is too young for a rule to rely on it."""
    expected, scale = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    mine = (frame.samples.column == column) & (frame.samples.visits >= LEARNT)
    expected[frame.samples.reading[mine]] = frame.samples.expected[mine]
    scale[frame.samples.reading[mine]] = frame.samples.scale[mine]
    return expected, scale
