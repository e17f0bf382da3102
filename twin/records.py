"""The vocabulary of the twin: what travels between its rooms. Records only; no I/O, no clock, no behaviour to speak of.

Three times, never mixed: `t` is event time (the device's), `arrived` ingest time on the city's scale, `now_ms` city
time of a tick. All are int64 milliseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]

NOT_ACCOUNTABLE = -1  # boot and seq of a sender that does not count

FLAG_EVENT = 1  # came as an event: wants a tick soon
FLAG_NO_CLOCK = 2  # the device sent no time; `t` is the time of arrival
FLAG_LATE = 4  # older than the device's newest reading: goes to the store, never to the model
AHEAD_MS = 60_000  # a clock that is further ahead is wrong


def known_by(t: I64, arrived: I64) -> I64:
    """When readings are taken to have been said where the newest counts: at t, but no more than AHEAD_MS after they
    arrived. Else a clock that was hours ahead, once it is right, would be behind what it said before for hours."""
    known: I64 = np.minimum(t, arrived + AHEAD_MS)
    return known


@dataclass(slots=True)
class Columns:
    """n readings of one kind, as columns; the arrays are read-only by convention.

    row: int32 row of the registry; t, boot, seq, arrived: int64; flags: uint8 (FLAG_*); values: float64 by quantity
    name, NaN where a reading lacks that quantity. Only quantities that occur in the batch are present.
    """

    kind: str
    row: I32
    t: I64
    boot: I64
    seq: I64
    arrived: I64
    flags: U8
    values: dict[str, F64]

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Reject:
    """One refused message or value, kept readable. `payload` is cut to 512 bytes."""

    at_ms: int
    topic: str
    reason: str  # one of devices.errors.REASONS
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A reading that was refused whole although its sender and number are known: its number is no gap. With `last`, all
    those from `seq` to it."""

    kind: str
    row: int
    boot: int
    seq: int
    reason: str
    last: int = NOT_ACCOUNTABLE


@dataclass(slots=True)
class Batch:
    """What 5-100 ms brought: accepted readings, and the account of everything that was not.

    `duplicates` counts re-sent readings by (kind, row); `rejected` readings (messages, where no reading could be told)
    by (kind, row, reason), kind "" and row -1 where no registered device could be named. `refused` lists those of the
    rejected whose (boot, seq) is known. `asides` counts messages that are no readings (answers, states) and could not
    be read, by the same key; to the account they are rejected. `bad_values` counts single values that were left out of
    an accepted reading, by (kind, row, reason). `samples` are the newest rejects (bounded). `messages` counts MQTT
    messages. `knocks`: of each device that no register names its first message (bounded).
    """

    columns: tuple[Columns, ...] = ()
    messages: int = 0
    duplicates: dict[tuple[str, int], int] = field(default_factory=dict)
    rejected: dict[tuple[str, int, str], int] = field(default_factory=dict)
    samples: tuple[Reject, ...] = ()
    refused: tuple[Refused, ...] = ()
    asides: dict[tuple[str, int, str], int] = field(default_factory=dict)
    bad_values: dict[tuple[str, int, str], int] = field(default_factory=dict)
    knocks: tuple[Reject, ...] = ()

    def __len__(self) -> int:
        return sum(len(c) for c in self.columns)


@dataclass(frozen=True, slots=True)
class Tick:
    """The mark that closes a group of entries; `now_ms` is city time, `leap_ms` of it since the mark before was leapt
    over: the machine's clock was set ahead, or no mark could be made. Nobody was silent in that time."""

    now_ms: int
    leap_ms: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """Our link to the broker: up, down, or drained (the backlog that waited for us has been read)."""

    state: Literal["up", "down", "drained"]


@dataclass(frozen=True, slots=True)
class Names:
    """Rows given to devices, once and for ever: (kind, row, device id)."""

    rows: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True, slots=True)
class Action:
    """What a person (or an API caller) did. `id` makes a repeated call one action."""

    id: str
    actor: str
    verb: str  # "accept" | "close" | "comment" | ... (twin/whistle/lifecycle.py)
    case: str
    reason: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt to deliver. `key` is the delivery's idempotency key."""

    key: str
    channel: str
    ok: bool
    at_machine_ms: int
    attempt: int
    final: bool  # no further attempt will follow: delivered, or a dead letter
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a device answered to a command, by its ack topic. `key` is the command's id."""

    device: str
    key: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Online:
    """What a device's retained `state` topic says: on line, or gone (its last will). Not telemetry."""

    kind: str
    row: int
    device: str
    up: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of rules, registry or configuration that changes outcomes, as canonical JSON.

    `learning` is true (learn, and whistle nothing), false (what was learnt from is over), or "sparse" (it is over, and
    told more rarely than devices speak: the gaps in it are forgotten).
    """

    what: str  # "rules" | "policy" | "city" | "settings" | "version" | "learning"
    text: str


Body = Batch | Tick | Link | Names | Action | Outcome | Answer | Online | Edit


@dataclass(frozen=True, slots=True)
class Entry:
    """One numbered line of the journal. Numbers start at 1 and have no gaps until trimmed."""

    n: int
    body: Body


@dataclass(slots=True)
class Samples:
    """N values of channels, flat. A channel is one quantity of one device; `slot` numbers the channels of a kind.

    slot: int32 channel; row: int32; column: int16 index of the quantity in its kind; reading: int32 index into the
    frame that brought it; t: int64; observed, expected: float64 in the quantity's unit; scale: float64, the robust
    one-sigma width of the residual, so that expected +- 2*scale is the band that is shown. expected and scale are
    NaN while nothing is known. visits: float64, how often the channel has been learnt (0 = never). Within one
    Samples of closed steps a slot comes once.
    """

    slot: I32
    row: I32
    column: NDArray[np.int16]
    reading: I32
    t: I64
    observed: F64
    expected: F64
    scale: F64
    visits: F64

    def __len__(self) -> int:
        return len(self.slot)


@dataclass(slots=True)
class Frame:
    """The hinge between model and detect: touched readings of one kind, sorted by row, then time.

    A row may come several times, but all its readings in one frame fall into one step of the model, so that a rule
    looks at a whole frame at once and only devices with something to tell are walked reading by reading.
    rows: int32[n]; t, arrived: int64[n]; past: bool[n], delayed data (arrived long after it was said).
    observed: by quantity name, float64[n], NaN where a reading lacks it; only quantities that occur.
    known: by quantity name, float64[n], the device's last known value after that reading (NaN: never said); lazy.
    samples: every modelled value of the frame against its expectation, before anything is learnt from it.
    steps: the model steps that closed with this frame: means over a step, before they are learnt. `slots` is the
    number of channels of the kind so far; table: int32[quantities of the kind, rows], slot of each channel, -1: none.
    desired: by quantity name, float64[n], what an order says that the device should report (NaN: none).
    """

    kind: str
    rows: I32
    t: I64
    arrived: I64
    past: NDArray[np.bool_]
    observed: Mapping[str, F64]
    known: Mapping[str, F64]
    samples: Samples
    steps: Samples
    slots: int
    table: I32
    desired: Mapping[str, F64] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Presence:
    """What is known of one kind's devices on a tick mark, by row.

    t, arrived: int64 of the newest reading (0: never heard); ahead_ms: int64, how much later than t it says that it is
    (see `known_by`); silent_ms: float64, city time since it was heard in which our link was up and drained (NaN: never
    heard); gap_s, mad_s: float64, its usual gap and the gap's spread; last: by quantity name, float64, last known
    values.
    """

    kind: str
    t: I64
    arrived: I64
    ahead_ms: I64
    silent_ms: F64
    gap_s: F64
    mad_s: F64
    last: Mapping[str, F64]


class Why(str):
    """Why the system did something: the English words, with the Chinese ones as `zh`. What people write is a plain str.

    >>> Why("the fault is back", "故障再次出现").zh
    '故障再次出现'
    """

    __slots__ = ("zh",)
    zh: str

    def __new__(cls, en: str, zh: str) -> Self:
        """Both must be given."""
        told = super().__new__(cls, en)
        told.zh = zh
        return told


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong (active) or no longer wrong (not active), as one detector sees it.

    (`type`, `subject`) names it: raised once, cleared once. `subject` is a device, node or area id. Times are event
    or city time in ms; `since_ms` is when it began to be so, in a cleared one when it began to be clear. Sentences
    are complete, for an operator.
    """

    type: str
    subject: str
    active: bool
    at_ms: int
    since_ms: int
    severity: int = 2  # 1 info, 2 normal, 3 urgent, 4 emergency
    quantity: str = ""
    observed: float = float("nan")
    expected: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    score: float = 1.0  # 0..1, comparable between detectors: 1 - tail probability
    past: bool = False  # found in delayed data
    detector: str = ""
    en: str = ""
    zh: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What makes two findings the same one."""
        return f"{self.type}:{self.subject}"


State = Literal["found", "filed", "dispatched", "accepted", "handled", "verified", "closed", "evaluated", "cancelled"]


@dataclass(frozen=True, slots=True)
class Case:
    """A digital whistle as it stands. `id` derives from the journal alone, so that a replay gives the same one."""

    id: str
    key: str
    type: str
    subject: str
    subject_kind: str  # a device kind or node class
    state: State
    severity: int
    opened_ms: int  # city time
    since_ms: int  # event time of the first evidence
    updated_ms: int
    department: str = ""
    parties: tuple[str, ...] = ()  # who else was told: joint partners, those above, who decides what was returned
    returned_by: tuple[str, ...] = ()  # who gave it back, until another department has accepted it or it is over
    parent: str = ""  # id of the case that is its cause; children are recorded, never sent
    children: int = 0
    deadline_ms: int = 0
    past: bool = False
    active: bool = True  # telemetry still shows it
    lon: float = float("nan")
    lat: float = float("nan")
    en: str = ""
    zh: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of a case: who, when, why, what. `serial` counts within the case from 1."""

    case: str
    serial: int
    at_ms: int
    actor: str
    event: str
    before: str
    after: str
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to send. `key` is its idempotency key, the same however often it is attempted."""

    key: str
    case: str
    channel: str  # a name of CHANNELS
    address: str  # URL, device id, ... ; "" = the channel's configured one
    purpose: str  # "dispatch" | "command" | "escalate" | ...
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Settled:
    """A delivery that needs no further attempt."""

    key: str
    ok: bool
    at_machine_ms: int
    attempts: int
    detail: str = ""


@dataclass(slots=True)
class Changes:
    """What one tick changed; written with `last_tick` in one transaction of the case database.

    `refused` are actions that their case could not take: (action id, what to do instead).
    `resend` are keys of dead letters that are to be sent again, under the same key.
    `judged` is what detectors are to count: (type, subject, 1 false, 0 useful or -1 false taken back).
    """

    cases: list[Case] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    resend: list[str] = field(default_factory=list)
    judged: list[tuple[str, str, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.cases, self.transitions, self.deliveries, self.settled, self.refused, self.resend))
