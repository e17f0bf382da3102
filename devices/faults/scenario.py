"""Schedules of faults: a scenario file (TOML), or drawn from a seed. Errors name file and line.

[[fault]]
type = "lamp_out"          # a name of the catalogue
subject = "pole-0012"      # device, or feeder, cabinet, gateway, district
start_s = 30               # seconds of city time after the fleet began; or start = "2026-11-22T21:30" (local).
                           # Before it (negative): it has lasted already; a demo's history shows how it began.
duration_s = 1800
magnitude = 1.2            # 1 is about the size at which a city would call it a case
quantity = "pm25"          # of sensor faults

[random]                   # besides, or instead
first_s = 5
every_s = 20
types = ["door_open", "leakage"]    # left out: every type that fits the hour
magnitudes = [0.8, 1.5]
limit = 10
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from devices.errors import DeviceError
from devices.faults.catalogue import CATALOGUE
from devices.faults.fault import Fault

FAULT_KEYS = {"type", "subject", "start_s", "start", "duration_s", "magnitude", "quantity"}
RANDOM_KEYS = {"first_s", "every_s", "types", "magnitudes", "gross", "limit"}


@dataclass(frozen=True, slots=True)
class RandomPlan:
    """Faults drawn by seed. Seconds are of city time. `gross`: share of faults of two to three times that size."""

    first_s: float = 1.0
    every_s: float = 20.0
    types: tuple[str, ...] = ()
    magnitudes: tuple[float, float] = (0.8, 1.5)
    gross: float = 0.3
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is to happen: fixed faults, and perhaps random ones. `lines`: where each stands in its file, for errors."""

    faults: tuple[Fault, ...] = ()
    random: RandomPlan | None = None
    lines: Mapping[Fault, str] = field(default_factory=dict)


def read_scenario(path: Path, start_ms: int, timezone: str) -> Scenario:
    """The scenario in this file; offsets count from `start_ms`. Raises DeviceError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path}: cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise DeviceError(f"{path}:{found[1] if found else 1}: not TOML: {error}") from error
    return _Reader(text, str(path), start_ms, ZoneInfo(timezone)).scenario(table)


class _Reader:
    def __init__(self, text: str, source: str, start_ms: int, zone: ZoneInfo) -> None:
        self.lines = text.splitlines()
        self.source, self.start_ms, self.zone = source, start_ms, zone
        self.heads = [i for i, line in enumerate(self.lines, 1) if line.strip().startswith("[[fault]]")]

    def line(self, head: int, key: str) -> int:
        """The line of a key in the table that begins on line `head`; that line where it is not there."""
        for number in range(head, len(self.lines)):
            if self.lines[number].strip().startswith("["):
                break
            if re.match(rf"\s*{re.escape(key)}\s*=", self.lines[number]):
                return number + 1
        return head

    def fail(self, head: int, key: str, problem: str, fix: str) -> NoReturn:
        raise DeviceError(f"{self.source}:{self.line(head, key)}: {key}: {problem} ({fix})")

    def scenario(self, table: dict[str, Any]) -> Scenario:
        for key in table:
            if key not in ("fault", "random"):
                self.fail(1, key, "unknown key", "a scenario holds [[fault]] tables and one [random]")
        told = table.get("fault", [])
        if not isinstance(told, list) or not all(isinstance(f, dict) for f in told):
            self.fail(1, "fault", "is not a list of tables", "write [[fault]] with two brackets")
        heads = [*self.heads, *([1] * len(told))]
        faults = tuple(self.fault(f, heads[i]) for i, f in enumerate(told))
        lines = {fault: f"{self.source}:{self.line(heads[i], 'subject')}" for i, fault in enumerate(faults)}
        random = self.random(table["random"]) if "random" in table else None
        return Scenario(tuple(sorted(faults, key=lambda f: f.start_ms)), random, lines)

    def number(
        self, table: dict[str, Any], key: str, default: float | None, head: int, low: float, high: float
    ) -> float:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fail(head, key, f"{value!r} is not a number in {low:g}..{high:g}", "see docs/simulator.md")
        return float(value)

    def fault(self, table: dict[str, Any], head: int) -> Fault:
        for key in table:
            if key not in FAULT_KEYS:
                self.fail(head, key, "unknown key", f"known are {', '.join(sorted(FAULT_KEYS))}")
        name = table.get("type")
        if name not in CATALOGUE:
            self.fail(head, "type", f"{name!r} is no fault", f"one of {', '.join(CATALOGUE)}")
        subject = table.get("subject")
        if not isinstance(subject, str) or not subject:
            self.fail(head, "subject", f"{subject!r} names nothing", "a device or node of the city")
        start = self.when(table, head)
        lasts = self.number(table, "duration_s", CATALOGUE[name].last_s[0], head, 1, 1e8)
        quantity = table.get("quantity", "")
        if not isinstance(quantity, str):
            self.fail(head, "quantity", f"{quantity!r} is not a name", 'for example "pm25"')
        return Fault(name, subject, start, start + round(lasts * 1000),
                     self.number(table, "magnitude", 1.0, head, 0, 100), quantity)  # fmt: skip

    def when(self, table: dict[str, Any], head: int) -> int:
        if "start" not in table:
            return self.start_ms + round(self.number(table, "start_s", 0.0, head, -1e8, 1e8) * 1000)
        told = table["start"]
        try:
            when = told if isinstance(told, datetime) else datetime.fromisoformat(str(told))
        except ValueError:
            self.fail(head, "start", f"{told!r} is no time", 'like "2026-11-22T21:30", local, or use start_s')
        return round((when if when.tzinfo else when.replace(tzinfo=self.zone)).timestamp() * 1000)

    def random(self, table: Any) -> RandomPlan:
        head = next((i for i, line in enumerate(self.lines, 1) if line.strip().startswith("[random]")), 1)
        if not isinstance(table, dict):
            self.fail(head, "random", "is not a table", "write [random]")
        for key in table:
            if key not in RANDOM_KEYS:
                self.fail(head, key, "unknown key", f"known are {', '.join(sorted(RANDOM_KEYS))}")
        types = table.get("types", [])
        if not isinstance(types, list) or any(name not in CATALOGUE for name in types):
            self.fail(head, "types", f"{types!r} is not a list of faults", f"of {', '.join(CATALOGUE)}")
        sizes = table.get("magnitudes", [0.8, 1.5])
        if not isinstance(sizes, list) or len(sizes) != 2 or not all(isinstance(s, int | float) for s in sizes):
            self.fail(head, "magnitudes", f"{sizes!r} is not [least, most]", "for example [0.8, 1.5]")
        return RandomPlan(
            first_s=self.number(table, "first_s", 1.0, head, 0, 1e8),
            every_s=self.number(table, "every_s", 20.0, head, 0.1, 1e8),
            types=tuple(types),
            magnitudes=(float(sizes[0]), float(sizes[1])),
            gross=self.number(table, "gross", 0.3, head, 0, 1),
            limit=int(self.number(table, "limit", 1e9, head, 0, 1e9)) if "limit" in table else None,
        )
