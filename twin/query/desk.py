"""The desk: everything that page, API and command line ask of the running city. One port, implemented in `twin.app`.

Every method may be called from any thread and returns without waiting for disk or network, but for those marked
(store), which read the time-series store, and `act`, which waits until its tick has been recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from devices.records import Mark
from twin.query.backtest import Backtests
from twin.query.register import Register
from twin.query.score import ScoreCard
from twin.records import Case, Reject, Transition


@dataclass(frozen=True, slots=True)
class Row:
    """One device as the map needs it.

    `state`: 0 fine, 1 odd (evidence, no case), 2 case, 3 urgent, 4 silent, 5 never seen.
    """

    id: str
    kind: str
    lon: float
    lat: float
    origin: str  # "simulated" | "recorded" | "real"
    state: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What changed since a version: parallel sequences of index (into `devices()`), lon, lat, state."""

    version: int
    now_ms: int
    index: Sequence[int]
    lon: Sequence[float]
    lat: Sequence[float]
    state: Sequence[int]


@dataclass(frozen=True, slots=True)
class Ahead:
    """The next 24 hours of a channel as the twin sees them now, a point every quarter of an hour. `low` to `high` holds
    95 % of what comes, `low80` to `high80` 80 % (docs/detection.md, "Forecast")."""

    t_ms: Sequence[int]
    expected: Sequence[float]
    low: Sequence[float]
    low80: Sequence[float]
    high80: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True, slots=True)
class Series:
    """One device's quantity over event time; NaN in `expected`, `low`, `high`: no expectation yet."""

    device: str
    quantity: str
    unit: str
    t_ms: Sequence[int]
    observed: Sequence[float]
    expected: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    complete_to_ms: int  # the store holds everything up to here
    forecast: Ahead | None = None  # None: the quantity has no model, or the channel is too young


@dataclass(frozen=True, slots=True)
class Account:
    """The account of one device (or, with device "", of all): counts of readings.

    `journalled` = `stored` + `unstorable` + what the store has yet to take; `unstorable`: refused by the store's server
    for good (of a device: those that the server named). `missing` is counted from gaps in seq; `accountable` is False
    for senders that do not count. `mark`: which of a device's readings are durable in the journal, as its sender is
    told; None of all, or where nothing is.
    """

    device: str
    kind: str
    accountable: bool
    boot: int
    received: int
    journalled: int
    stored: int
    duplicate: int
    late: int
    out_of_order: int
    missing: int
    rejected: Mapping[str, int]
    last_t_ms: int
    last_arrived_ms: int
    clock_offset_ms: int | None
    mark: Mark | None = None
    unstorable: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """One message that was sent, as the link in it opens it.

    `offers`: what its receiver may do now, of "accept", "return", "extend", "handle", "comment", "evaluate". `actor`
    is the name under which an answer by this link is recorded. `department`: id, name in English, in Chinese.
    """

    case: Case
    key: str
    purpose: str
    department: tuple[str, str, str]
    title: tuple[str, str]  # English, Chinese
    place: tuple[str, str]
    offers: tuple[str, ...]
    actor: str
    expires_ms: int  # machine time


class Desk(Protocol):
    """The running city, as seen from outside."""

    def city(self) -> Mapping[str, Any]:
        """Names, bounds, attribution, clock, departments, version. Keys, all but the first five optional:

        name, name_zh: str; version: int; centre: (lon, lat); clock: {city_ms, speed, mode: "real" | "simulated" |
        "shifted" | "replayed"}; bounds: (west, south, east, north); timezone: IANA name; attribution: str, and
        attributions: list of str, one a recording; departments: {id: {en, zh}}; basemap: path of the base map's
        file, which the web serves but never shows.
        """

    def orders(self, device: str = "", limit: int = 100) -> Sequence[Any]:
        """Orders to a device (or to all), newest first: id, device, action, arguments, actor, reason, at_ms, state
        ("waiting" | "sent" | "done" | "refused" | "timeout" | "undelivered"), attempts, detail."""

    async def order(
        self, device: str, action: str, arguments: Mapping[str, Any], actor: str, reason: str, request: str
    ) -> Any:
        """Journal an order, wait for its tick, return it. Raises KeyError (no such device), OrderWrong."""

    @property
    def register(self) -> Register:
        """The city's objects, their past, and changes of them."""

    @property
    def backtests(self) -> Backtests:
        """Stored history through other rules."""

    def devices(self) -> Sequence[Row]:
        """Every device, in an order that stays while `city()["version"]` stays."""

    def moved(self, since: int) -> Moved:
        """Positions and states that changed after version `since` (0: everything that was ever seen)."""

    def device(self, device: str) -> Mapping[str, Any] | None:
        """One device; None if unknown. Keys: id, kind, origin, state, lon, lat, code16, urn, relations ({name: id}),
        attributes, values ([{quantity, value, unit, expected, low, high, t_ms, age_s}]), cases (open ones, Case).
        """

    def cases(
        self, *, open_only: bool = True, after: str = "", limit: int = 200, departments: Sequence[str] = ()
    ) -> Sequence[Case]:
        """Cases, newest first; children are left out (ask `children`). `departments`: only those they are party of or
        gave back (`Case.returned_by`)."""

    def parties(self, case: Case) -> frozenset[str]:
        """The departments that have a say in a case: in charge of it or its cause, acting jointly, or told besides.
        Those in `returned_by` may look at it and no more."""

    def route(self, type: str, subject: str, at_ms: int = 0) -> Mapping[str, Any]:  # noqa: A002
        """Who would get such a case at that city time (0: now): department, channel, address, on_call, kind, always,
        deadline_ms, joint, en, zh, timezone. Raises UnknownPlace."""

    def warnings(self, limit: int = 100) -> Sequence[Case]:
        """(reads the case database) Cases that the public is warned of or was, newest first, children too."""

    def possible(self, case: Case) -> Sequence[str]:
        """What a person may do to a case as it stands, in the order of a case's life."""

    def needed(self, departments: Sequence[str]) -> frozenset[str]:
        """Ids of the devices that these departments' people need to see; the same object while nothing has changed."""

    def seen_since(self, device: str, departments: Sequence[str]) -> int | None:
        """From when on a device's readings are theirs to see (0: all of them); None where they are not."""

    def mutes(self) -> Sequence[Any]:
        """Mutes and maintenance windows in force or to come: id, from_ms, until_ms, types, subjects, actor, reason."""

    async def hush(self, verb: str, actor: str, reason: str, request: str, arguments: Mapping[str, Any]) -> None:
        """Journal a `mute` (types, subjects, from_ms, until_ms) or `unmute` (mute), wait for its tick. Raises
        IllegalStep."""

    def dead_letters(self, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        """Messages that were given up, newest first: case, key, channel, address, purpose, attempts, at_ms, detail."""

    def channels(self) -> Sequence[Mapping[str, Any]]:
        """Every way out: channel, configured, departments, lanes ({address, waiting, failures, open, error})."""

    async def try_channel(self, channel: str, to: str) -> str:
        """Send a test message; what the other side said. Raises UnknownPlace, SettingsError, DeliveryFailed."""

    def verify(self, head: str = "") -> Mapping[str, Any]:
        """Read the whole history of the cases: {ok, checked, head, flaw, n, case, detail}. Takes seconds."""

    def case(self, case: str) -> Case | None: ...

    def earlier(self, case: Case, limit: int = 20) -> Sequence[Case]:
        """(reads the case database) Cases of the same type on the same subject, or on another vehicle of the same
        company, within the policy's `repeat_days` before it, newest first; cancelled ones are left out."""

    def children(self, case: str, limit: int = 1000) -> Sequence[Case]: ...

    def history(self, case: str) -> Sequence[Transition]: ...

    def deliveries(self, case: str) -> Sequence[Mapping[str, Any]]:
        """What was sent for this case: key, channel, address, purpose, state, attempts, sent_at_ms, detail."""

    async def act(
        self, verb: str, case: str, actor: str, reason: str, request: str, arguments: Mapping[str, Any] | None = None
    ) -> Case:
        """Journal an action, wait for its tick, return the case. Raises IllegalStep, KeyError (no such case).

        `request` makes a repeated call one action; `arguments` are the verb's own (twin/whistle/actions.py).
        """

    def letter(self, token: str) -> Letter:
        """What a link to answer by opens. Raises LinkRefused: forged, expired, or used up."""

    def keep_photo(self, case: str, jpeg: bytes) -> str:
        """(writes a file) Keep a photo under a case; its SHA-256. Raises AlbumFull, OSError."""

    def photo(self, case: str, sha256: str) -> bytes | None:
        """(reads a file) A photo of a case, None where there is none that is as it was kept."""

    def score(self, first: date | None, last: date | None, departments: Sequence[str] | None = None) -> ScoreCard:
        """(reads the case database) The score card of the cases opened from `first` to `last`, days of the city's time
        zone, both in it. None: the city's today, and 29 days before `last`. `departments`: only what they were given.
        """

    def series(self, device: str, quantity: str, start_ms: int, end_ms: int, points: int = 1000) -> Series:
        """(store) Observed against expected. Raises KeyError for an unknown device or quantity."""

    def rules(self) -> Mapping[str, Any]:
        """What findings go by. Keys: rules ({type: {parameter: value}}, in force), overrides (what differs from the
        shipped), budgets ([{detector, kind, allowed, per, bars_times, days}])."""

    def set_rules(self, table: Mapping[str, Any], actor: str) -> None:
        """(writes a file) Replace the overrides, from the next tick on. Raises SettingsError, JournalFull."""

    def policy(self) -> Mapping[str, Any]:
        """What whistles go by. Keys: types ({type: holds, deadline, closure ...}, in force), default (of other types),
        overrides (the city's own table)."""

    def set_policy(self, table: Mapping[str, Any], actor: str) -> None:
        """(writes a file) Replace the city's own table, from the next tick on. Raises SettingsError, JournalFull."""

    def account(self) -> Account:
        """The total."""

    def accounts(self, *, after: str = "", limit: int = 200) -> Sequence[Account]: ...

    def rejects(self, limit: int = 100) -> Sequence[Reject]:
        """The newest rejected messages, newest first."""

    def health(self) -> Mapping[str, Any]:
        """What works. Keys: ready (bool), link ("up" | "down" | "drained"), journal ({bytes, bound_bytes, full}),
        store ({name, up, behind (entries), detail}), tick ({last, lag_ms, stalled (why, "" if not)}),
        disk ({free_bytes, low}), ingest ({stalled}), tables ({trouble: by file, why it is not in force}).
        """

    def store_info(self) -> Mapping[str, Any]:
        """(store) The store of series: backend, position, what it holds and cannot keep; Store.info()."""

    def back_up(self) -> Mapping[str, Any]:
        """(store) Make a copy of the store's files in the data directory. Keys: path, position, rows, bytes.

        Raises StoreElsewhere where the series lie in another server, StoreDown.
        """

    def metrics(self) -> str:
        """Prometheus text; no per-device labels."""
