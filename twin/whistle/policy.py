"""What a city decides about its whistles: holds, deadlines, verification, what explains what, storm and escalation.

The starting values are the table below (GB/T 30428 knows such tables; every one of them is the city's to change by
`parse_policy`). Durations are seconds of city time; deadlines are working time, or round the clock where `always`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from twin.errors import SettingsError
from twin.whistle.hours import Calendar, parse_calendar

MINUTE, HOUR = 60.0, 3600.0
DAY = 8 * HOUR  # a working day
LEVELS: tuple[str, ...] = ("street", "district", "city")
KINDS = ("single", "joint", "emergency")
COMMANDS = ("", "text", "speak", "lamp")
MOST_TYPES = 500  # of a city's own table


@dataclass(frozen=True, slots=True)
class TypePolicy:
    """What holds for the cases of one type."""

    hold_s: float = 5.0  # wait for a cause before the case is filed
    flap_s: float = 2 * MINUTE  # gone and back within this is the same trouble
    verify_s: float = 30 * MINUTE  # telemetry must be clear for so long before the case closes by itself
    reopen_s: float = 24 * HOUR  # back within this after closing: the same case is reopened
    deadline_s: float = DAY
    always: bool = False  # the deadline counts every hour, not working hours
    act: bool = False  # a thing done: it stays done when telemetry clears, so people verify it
    kind: str = "single"  # "single" | "joint" (several departments) | "emergency"
    joint: tuple[str, ...] = ()  # further departments (ids) of a joint case
    command: str = ""  # what the device itself is told: "text" (cab), "speak" or "lamp" (pole)
    severity: int = 0  # at least this


def _act(deadline_s: float = 4 * HOUR, **more: Any) -> TypePolicy:
    return TypePolicy(deadline_s=deadline_s, act=True, command="text", **more)


TYPES: dict[str, TypePolicy] = {
    # poles and what hangs on them
    "lamp_out": TypePolicy(hold_s=10),
    "day_burner": TypePolicy(verify_s=24 * HOUR),
    "lamp_degraded": TypePolicy(deadline_s=3 * DAY),  # clear is said after a whole night in band
    "leakage": TypePolicy(
        hold_s=0, deadline_s=HOUR, always=True, kind="emergency", command="speak", severity=4, flap_s=10 * MINUTE
    ),
    "leakage_warn": TypePolicy(deadline_s=DAY),
    "supply_lost": TypePolicy(hold_s=10, deadline_s=4 * HOUR, verify_s=5 * MINUTE),
    "feeder_trip": TypePolicy(hold_s=0, deadline_s=4 * HOUR, verify_s=5 * MINUTE, severity=3),
    "cabinet_trip": TypePolicy(deadline_s=4 * HOUR, verify_s=5 * MINUTE, severity=3),
    "door_open": TypePolicy(hold_s=0, deadline_s=4 * HOUR, verify_s=MINUTE, command="speak"),
    "tilt": TypePolicy(deadline_s=2 * DAY),
    "tilt_emergency": TypePolicy(hold_s=0, deadline_s=HOUR, always=True, kind="emergency", command="lamp", severity=4),
    "charger_fault": TypePolicy(deadline_s=DAY, verify_s=10 * MINUTE),
    "charger_occupied": TypePolicy(deadline_s=DAY, verify_s=10 * MINUTE),
    "night_noise": TypePolicy(deadline_s=2 * HOUR, always=True, kind="joint", joint=("urban_management",)),
    "dust": TypePolicy(deadline_s=2 * HOUR, verify_s=HOUR),
    "air_episode": TypePolicy(severity=1, verify_s=HOUR),
    "sensor_stuck": TypePolicy(hold_s=60, deadline_s=3 * DAY, verify_s=24 * HOUR),
    "sensor_spike": TypePolicy(hold_s=60, deadline_s=10 * DAY, verify_s=24 * HOUR),
    "sensor_noise": TypePolicy(hold_s=60, deadline_s=10 * DAY, verify_s=24 * HOUR),
    "sensor_drift": TypePolicy(hold_s=60, deadline_s=10 * DAY, verify_s=24 * HOUR),
    "sensor_bias": TypePolicy(hold_s=60, deadline_s=10 * DAY, verify_s=24 * HOUR),
    "clock_skew": TypePolicy(hold_s=60, deadline_s=3 * DAY, verify_s=24 * HOUR),
    "behaviour": TypePolicy(hold_s=60, deadline_s=3 * DAY),
    # after its first word: silent again before its third, it is overdue within this
    "device_silent": TypePolicy(hold_s=10, deadline_s=DAY, verify_s=8 * MINUTE),
    "gateway_loss": TypePolicy(hold_s=0, deadline_s=2 * HOUR, always=True, verify_s=5 * MINUTE, severity=3),
    # cells
    "cell_down": TypePolicy(hold_s=10, deadline_s=2 * HOUR, always=True, verify_s=15 * MINUTE),
    "backhaul_down": TypePolicy(hold_s=10, deadline_s=2 * HOUR, always=True, verify_s=15 * MINUTE),
    "sleeping_cell": TypePolicy(hold_s=60, deadline_s=8 * HOUR, verify_s=2 * HOUR),
    "congestion": TypePolicy(hold_s=60, deadline_s=10 * DAY, verify_s=72 * HOUR),
    "access_failures": TypePolicy(hold_s=60, deadline_s=8 * HOUR, verify_s=HOUR),
    "handover_failures": TypePolicy(hold_s=60, deadline_s=8 * HOUR, verify_s=HOUR),
    "coverage_loss": TypePolicy(hold_s=60, deadline_s=DAY, verify_s=HOUR),
    "cell_overheated": TypePolicy(deadline_s=8 * HOUR),
    "interference": TypePolicy(hold_s=60, deadline_s=3 * DAY, verify_s=24 * HOUR),
    # construction-waste trucks
    "no_permit": _act(),
    "outside_hours": _act(),
    "off_route": _act(),
    "illegal_dumping": _act(hold_s=0, severity=3, kind="joint", joint=("environment",), always=True),
    "unpermitted_loading": _act(),
    "cover_open": _act(),
    "overload": _act(kind="joint", joint=("traffic_police",)),
    "speeding": _act(),
    "terminal_tampering": TypePolicy(deadline_s=DAY, act=True),
    "phantom_trip": TypePolicy(deadline_s=2 * DAY, act=True),
}

_DARK = frozenset({"device_silent", "supply_lost", "lamp_out", "lamp_degraded", "cell_down", "backhaul_down"})
_CELL = frozenset({"sleeping_cell", "access_failures", "handover_failures", "coverage_loss", "behaviour"})
_SYMPTOMS = _DARK | _CELL | {"gateway_loss"}

# cause type -> types that it explains on whatever hangs below its subject (or is listed as its child)
EXPLAINS: dict[str, frozenset[str]] = {
    "feeder_trip": _SYMPTOMS | {"cabinet_trip"},
    "cabinet_trip": _SYMPTOMS,
    "supply_lost": _SYMPTOMS - {"supply_lost"},
    "gateway_loss": frozenset({"device_silent", "cell_down", "backhaul_down", "behaviour", "sleeping_cell"}),
    "backhaul_down": frozenset({"device_silent", "cell_down", "sleeping_cell", "behaviour", "access_failures"}),
    "cell_down": frozenset({"backhaul_down"}) | _CELL,
    "air_episode": frozenset({"behaviour", "dust"}),
    "lamp_out": frozenset({"lamp_degraded", "behaviour"}),
    "sleeping_cell": frozenset({"behaviour", "handover_failures"}),
    "coverage_loss": frozenset({"behaviour"}),
    "interference": frozenset({"behaviour"}),
    "access_failures": frozenset({"behaviour"}),
    "congestion": frozenset({"behaviour"}),
    "cell_overheated": frozenset({"behaviour"}),
    "night_noise": frozenset({"behaviour"}),
    "dust": frozenset({"behaviour"}),
    "leakage": frozenset({"leakage_warn"}),
    "sensor_stuck": frozenset({"behaviour"}),
    "sensor_spike": frozenset({"behaviour"}),
    "sensor_noise": frozenset({"behaviour"}),
    "sensor_drift": frozenset({"behaviour", "sensor_bias"}),
    "sensor_bias": frozenset({"behaviour", "sensor_spike", "sensor_noise"}),
    "illegal_dumping": frozenset({"off_route", "no_permit", "outside_hours", "cover_open", "phantom_trip"}),
    "no_permit": frozenset({"off_route", "outside_hours"}),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """One city's decisions. `of(type)` is what holds for a type; unknown types get `default`."""

    types: Mapping[str, TypePolicy] = field(default_factory=lambda: TYPES)
    default: TypePolicy = TypePolicy()
    explains: Mapping[str, frozenset[str]] = field(default_factory=lambda: EXPLAINS)
    calendar: Calendar = field(default_factory=Calendar)
    department: str = "operations"  # who gets what nobody else answers for
    channel: str = "webhook"  # and by which channel
    crowd_count: int = 3  # so many held cases under one node: a cause is likely to come
    crowd_hold_s: float = 30.0  # and they wait for it up to this long
    cause_window_s: float = 10 * MINUTE  # a sent symptom this much older than its cause still joins it
    release_s: float = 5 * MINUTE  # its cause is gone and it still fires: it whistles on its own
    warn_at: float = 0.75  # share of the deadline after which the department is warned
    escalate_at: tuple[float, ...] = (1.0, 1.5, 2.0)  # shares of the deadline, one a level of LEVELS
    answer_s: float = 2 * MINUTE  # a device has so long to acknowledge its command
    storm_count: int = 50  # messages to one department within `storm_s`; the rest is told in a digest
    storm_s: float = 5 * MINUTE
    keep_s: float = 30 * 24 * HOUR  # closed cases stay at hand for reopening and evaluation
    keep_count: int = 20_000
    longest_extension_s: float = 10 * DAY
    repeat_days: float = 90.0  # a case of its type within so many days before is the same trouble or offender again

    def of(self, type: str) -> TypePolicy:  # noqa: A002 - the records' own word
        """What holds for a case type."""
        return self.types.get(type, self.default)


def _take(cls: type[Any], told: Mapping[str, Any], where: str, base: Any) -> Any:
    """`base` with the told keys; every one checked by the type of its default. Raises SettingsError."""
    known = {f.name: getattr(base, f.name) for f in fields(cls)}
    taken: dict[str, Any] = {}
    for key, value in told.items():
        if key not in known or isinstance(known[key], Mapping | Calendar | TypePolicy):
            raise SettingsError(f"{where}: unknown key {key!r} (known: {', '.join(sorted(known))})")
        taken[key] = _fit(known[key], value, f"{where}: {key} = {value!r}")
    return replace(base, **taken)


def _fit(default: Any, value: Any, place: str) -> Any:
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise SettingsError(f"{place} (give true or false)")
    if isinstance(default, int | float):
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e10:
            return type(default)(value)
        raise SettingsError(f"{place} (give a number >= 0)")
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
            return tuple(value)
        raise SettingsError(f"{place} (give a list)")
    if isinstance(value, str):
        return value
    raise SettingsError(f"{place} (give a text in quotes)")


def parse_policy(told: Mapping[str, Any], *, timezone: str, hold_s: float | None = None) -> Policy:
    """A city's policy from its table (TOML: [city], [calendar], [default], [type.NAME], [explains]).

    `hold_s` replaces the default hold of types that name none of their own. Raises SettingsError.
    """
    unknown = set(told) - {"city", "calendar", "default", "type", "explains"}
    if unknown:
        raise SettingsError(
            f"policy: unknown section {min(unknown)!r} (known: city, calendar, default, type, explains)"
        )
    _check_shape(told)
    usual = TypePolicy().hold_s
    types = {n: replace(t, hold_s=hold_s) if hold_s is not None and t.hold_s == usual else t for n, t in TYPES.items()}
    default = TypePolicy() if hold_s is None else TypePolicy(hold_s=hold_s)
    default = _take(TypePolicy, told.get("default", {}), "[default]", default)
    for name, table in told.get("type", {}).items():
        types[name] = one = _take(TypePolicy, table, f"[type.{name}]", types.get(name, default))
        _check_words(one, f"[type.{name}]")
    _check_words(default, "[default]")
    explains = EXPLAINS | {cause: frozenset(map(str, found)) for cause, found in told.get("explains", {}).items()}
    base = Policy(types=types, default=default, explains=explains,
                  calendar=parse_calendar(told.get("calendar", {}), timezone))  # fmt: skip
    policy: Policy = _take(Policy, told.get("city", {}), "[city]", base)
    shares = policy.escalate_at
    numbers = all(isinstance(share, int | float) and 0 <= share < 1e10 for share in shares)
    if not numbers or len(shares) != len(LEVELS) or list(shares) != sorted(shares):
        raise SettingsError(f"[city]: escalate_at (give {len(LEVELS)} ascending numbers, for {', '.join(LEVELS)})")
    return policy


def _check_shape(told: Mapping[str, Any]) -> None:
    """Sections are tables, those of [type] too, and what a cause explains is a list. Raises SettingsError."""
    for name, section in told.items():
        if not isinstance(section, Mapping):
            raise SettingsError(f"[{name}] is no table (write [{name}] on a line of its own, its keys below)")
    for name, section in told.get("type", {}).items():
        if not isinstance(section, Mapping):
            raise SettingsError(f"[type]: {name} = {section!r} (write [type.{name}], its keys below)")
    if len(told.get("type", {})) > MOST_TYPES:
        raise SettingsError(f"[type]: {len(told['type'])} types (at most {MOST_TYPES})")
    for name, found in told.get("explains", {}).items():
        if not isinstance(found, list):
            raise SettingsError(f"[explains]: {name} = {found!r} (give a list of case types)")


def _check_words(policy: TypePolicy, where: str) -> None:
    for key, word, known in (("kind", policy.kind, KINDS), ("command", policy.command, COMMANDS)):
        if word not in known:
            raise SettingsError(f"{where}: {key} = {word!r} (give one of {', '.join(map(repr, known))})")


def policy_text(told: Mapping[str, Any], *, timezone: str, hold_s: float | None = None) -> str:
    """A city's table with all that its meaning hangs on, as it stands in the journal. Raises SettingsError."""
    parse_policy(told, timezone=timezone, hold_s=hold_s)
    whole = {"timezone": timezone, "hold_s": hold_s, "table": told}
    return json.dumps(whole, ensure_ascii=False, sort_keys=True, default=str)


def policy_of(text: str) -> Policy:
    """The policy of a journalled text. Raises SettingsError where this version cannot read it."""
    try:
        told = json.loads(text)
        return parse_policy(told["table"], timezone=str(told["timezone"]), hold_s=told["hold_s"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"policy: {error!r}") from error
