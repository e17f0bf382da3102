"""What the ledger remembers about one case beyond what everybody sees: timers, counters, unsettled messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from twin.records import Case
from twin.whistle.lifecycle import OPEN

# Every timer of a case, with what happens when it is due.
TIMERS: tuple[str, ...] = (
    "hold",  # found -> filed -> dispatched
    "quiet",  # a mute ends: send what still fires
    "lapse",  # it cleared before it was sent: cancelled
    "verify",  # telemetry has been clear for long enough: verified and closed
    "warn",
    "escalate",
    "release",  # its cause is gone and it still fires: it whistles on its own
    "answer",  # the device did not acknowledge its command
    "forget",  # closed for long: only the case database knows it from now on
)


@dataclass(frozen=True, slots=True)
class Life:
    """One case and its private state. Frozen: a snapshot of the ledger is a copy of a dict."""

    case: Case
    serial: int = 0  # transitions so far
    sent: int = 0  # messages so far
    own: bool = True  # has a finding of its own, is not only listed by its cause
    returned: bool = False  # by its department: an operator must say where it goes
    person: bool = False  # closed or cancelled by a person
    anew: bool = False  # its next dispatch begins a new deadline: it was over, or under a cause
    level: int = 0  # escalations so far
    dispatched_ms: int = 0  # when the deadline began: its first dispatch
    allowed_s: float = 0.0  # deadline in working time since `dispatched_ms`, extensions included
    asked_s: float = 0.0  # extension asked for by the department that has it
    apart: tuple[str, ...] = ()  # causes that a person took it out from under: none of these swallows it again
    counted: str = ""  # the verdict that the detectors count; '' for none
    closed_ms: int = 0
    cleared_ms: int = 0  # when telemetry last went clear
    owed: str = ""  # what a mute held back and its end will tell
    command: str = ""  # key of the command whose answer is awaited
    waiting: tuple[str, ...] = ()  # keys of messages without a final outcome
    dead: tuple[str, ...] = ()  # keys of dead letters
    timers: Mapping[str, int] = field(default_factory=dict)  # name of TIMERS -> city time, ms

    @property
    def open(self) -> bool:
        """Whether it still wants something from someone."""
        return self.case.state in OPEN

    @property
    def due_ms(self) -> int:
        """When its next timer is due; 0 for never."""
        return min(self.timers.values(), default=0)

    def set(self, **timers: int) -> Life:
        """The same with these timers; 0 takes a timer away."""
        kept = {name: at for name, at in (dict(self.timers) | timers).items() if at > 0}
        return self if kept == self.timers else replace(self, timers=kept)


_CASE = tuple(f.name for f in fields(Case))
_LIFE = tuple(f.name for f in fields(Life) if f.name != "case")
_LISTS = ("waiting", "dead", "apart")


def pack(life: Life) -> dict[str, Any]:
    """A life as JSON-able values; NaN positions become null."""
    case = {name: getattr(life.case, name) for name in _CASE}
    case |= {name: list(case[name]) for name in ("parties", "returned_by")}
    for name in ("lon", "lat"):
        if math.isnan(case[name]):
            case[name] = None
    packed: dict[str, Any] = {name: getattr(life, name) for name in _LIFE}
    return packed | {"case": case, "timers": dict(life.timers)} | {name: list(getattr(life, name)) for name in _LISTS}


def unpack(packed: Mapping[str, Any]) -> Life:
    """The life that `pack` gave. Fields of a newer or older version fall back to their defaults."""
    told = {name: value for name, value in packed["case"].items() if name in _CASE}
    for name in ("lon", "lat"):
        told[name] = float("nan") if told.get(name) is None else told[name]
    told |= {name: tuple(told.get(name, ())) for name in ("parties", "returned_by")}
    rest = {name: packed[name] for name in _LIFE if name in packed}
    rest |= {"waiting": tuple(packed["waiting"]), "dead": tuple(packed["dead"]), "timers": dict(packed["timers"])}
    apart = packed.get("apart")
    rest["apart"] = tuple(apart) if isinstance(apart, list | tuple) else ()  # older versions: a bare yes or no
    return Life(case=Case(**told), **rest)


def plain(value: Any, depth: int = 4) -> Any:
    """A value as JSON can hold it: numpy scalars unboxed, NaN and infinities null, long lists and texts cut."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value[:2000]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist(), depth)
    if depth and isinstance(value, Mapping):
        return {str(k)[:200]: plain(v, depth - 1) for k, v in list(value.items())[:50]}
    if depth and isinstance(value, list | tuple | set | frozenset):
        ordered = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
        return [plain(v, depth - 1) for v in ordered[:50]]
    return str(value)[:200]
