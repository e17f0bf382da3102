"""The vocabulary of the ground floor: what a device is, what it says, what it is told. Frozen records only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["gauge", "counter", "state", "position"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One thing that a device kind can say.

    `name` is the name on the wire (Smart Data Models where one exists), `unit` the SenML unit (RFC 8428 §12.1, or
    RFC 8798) in which it travels and is stored. `low`/`high` are physical limits in that unit: a value outside
    is no value, it is rejected by reason `range`. `role`: a gauge varies, a counter only grows, a state is one of
    `states` (its number is the index) or 0/1, a position is part of latitude/longitude.
    """

    name: str
    unit: str
    low: float
    high: float
    role: Role = "gauge"
    states: tuple[str, ...] = ()
    decimals: int = 1
    en: str = ""
    zh: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A device kind: its name on the wire, its quantities in wire order, and its usual cadence in seconds."""

    name: str
    quantities: tuple[Quantity, ...]
    cadence_s: float
    en: str
    zh: str
    object_class: str  # 4 digits: main and sub class of the 16-digit object code (6 area + 4 class + 6 serial)
    index: Mapping[str, int] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {q.name: i for i, q in enumerate(self.quantities)})

    def quantity(self, name: str) -> Quantity:
        """The quantity of that wire name. Raises KeyError for one this kind does not say."""
        return self.quantities[self.index[name]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one device said once. `boot`/`seq` are None for senders that do not count ("not accountable").

    `t_ms` is the device's own event time, milliseconds since 1970 UTC, never restamped; None when the device has no
    clock (then the time of arrival is used and the reading is marked as such). `values` holds numbers in the
    quantity's unit; states as their index.
    """

    device: str
    t_ms: int | None
    values: Mapping[str, float]
    boot: int | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The server's high-water mark for one sender: everything of `boot` up to `seq` is durable in the journal.

    `beyond` names ranges (first, last) above `seq` that are durable too, so that a number that never comes (dropped by
    its sender) holds nothing up. `older` are the marks of earlier boots that the server still knows.
    """

    device: str
    boot: int
    seq: int
    beyond: tuple[tuple[int, int], ...] = ()
    older: tuple[Mark, ...] = ()

    def covers(self, boot: int, seq: int) -> bool:
        """Whether the reading (boot, seq) is durable, as far as this mark tells."""
        for mark in (self, *self.older):
            if mark.boot == boot:
                return seq <= mark.seq or any(first <= seq <= last for first, last in mark.beyond)
        return False


@dataclass(frozen=True, slots=True)
class Command:
    """What a device is told (never retained). `id` is the idempotency key that its acknowledgement repeats."""

    id: str
    device: str
    action: str
    arguments: Mapping[str, str | float | bool] = field(default_factory=dict)
