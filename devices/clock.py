"""City time: one clock for server, devices and edge. Real, or simulated at any speed from a shared clock file.

City time is what deadlines, ages and ticks use. Retries, tokens and TLS use the machine's clock, and series use the
device's event time; the three are never mixed.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devices.errors import DeviceError


class Clock(Protocol):
    """Anything that tells city time."""

    @property
    def speed(self) -> float:
        """City seconds per machine second."""
        ...

    def now_ms(self) -> int:
        """City time, milliseconds since 1970 UTC."""
        ...

    def seconds_until(self, city_ms: int) -> float:
        """Machine seconds to wait until city time is `city_ms` (0 when it has passed)."""
        ...


@dataclass(frozen=True, slots=True)
class RealClock:
    """City time is the machine's time."""

    speed: float = 1.0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def seconds_until(self, city_ms: int) -> float:
        return max(0.0, (city_ms - self.now_ms()) / 1000)


@dataclass(frozen=True, slots=True)
class SimulatedClock:
    """City time runs `speed` times as fast as the machine's, from `city_ms` at machine time `machine_ms`."""

    city_ms: int
    machine_ms: int
    speed: float = 1.0

    def now_ms(self) -> int:
        return self.city_ms + int((time.time_ns() / 1e6 - self.machine_ms) * self.speed)

    def seconds_until(self, city_ms: int) -> float:
        return max(0.0, (city_ms - self.now_ms()) / 1000 / self.speed)


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is set: for tests and for replaying a journal."""

    city_ms: int = 0
    speed: float = 1.0

    def now_ms(self) -> int:
        return self.city_ms

    def seconds_until(self, city_ms: int) -> float:
        return max(0.0, (city_ms - self.city_ms) / 1000)


def write_clock(path: Path, clock: SimulatedClock) -> None:
    """Write the clock file which server, fleet and edge of one simulated city share (new file, then rename)."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(
        json.dumps({"city_ms": clock.city_ms, "machine_ms": clock.machine_ms, "speed": clock.speed}) + "\n",
        encoding="utf-8",
    )
    aside.replace(path)


def read_clock(path: Path | None) -> Clock:
    """The clock that a clock file describes; the real one where `path` is None. Raises DeviceError if unreadable."""
    if path is None:
        return RealClock()
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        speed = float(told["speed"])
        if not 0 < speed <= 10_000:
            raise ValueError(f"speed {speed} is not within 0..10000")
        return SimulatedClock(int(told["city_ms"]), int(told["machine_ms"]), speed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"{path}: not a clock file ({error}); it is written by `citywhistle demo`") from error
