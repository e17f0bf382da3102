"""City time: one clock for server, devices and edge. Real, or simulated at any speed from a shared clock file.

City time is what deadlines, ages and ticks use. Retries, tokens and TLS use the machine's clock, and series use the
device's event time; the three are never mixed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devices.errors import DeviceError

JITTER_MS = 2000  # machine clock and monotonic clock may differ by so much between two looks
SLOWER = 0.1  # of its rate a city clock loses while the machine's clock is behind it
LIVED_S = 10.0


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


class SteadyClock:
    """City time that never goes back nor stands still, whatever is done to the machine's clock. Thread-safe.

    Between two looks it runs by the machine's monotonic clock. A machine clock that was set ahead (or a machine that
    slept) is followed at once; one that was set back is not: city time goes on, a tenth slower, until they agree again.
    `leap_ms` tells how much of the time that has passed nobody lived through.
    """

    def __init__(self, inner: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._inner, self._monotonic = inner, monotonic
        self.speed = inner.speed
        self._lock = threading.Lock()
        self._last_ms, self._last_s = float(inner.now_ms()), monotonic()
        self._looked_ms, self._looked_s = self._last_ms, self._last_s

    def now_ms(self) -> int:
        with self._lock:
            return int(self._now())

    def _now(self) -> float:
        now_s = self._monotonic()
        lapse_ms = (now_s - self._last_s) * 1000 * self.speed
        told_ms = float(self._inner.now_ms())
        behind_ms = self._last_ms + lapse_ms - told_ms
        if behind_ms > JITTER_MS * max(1.0, self.speed):
            told_ms = self._last_ms + lapse_ms * (1 - SLOWER)
        self._last_ms, self._last_s = max(self._last_ms, told_ms), now_s
        return self._last_ms

    def resume(self, city_ms: int) -> None:
        """City time was there already, in an earlier life: it does not go back, however the machine's clock stands."""
        with self._lock:
            self._last_ms = self._looked_ms = max(self._now(), float(city_ms))
            self._looked_s = self._last_s

    def leap_ms(self) -> int:
        """City time since the last call that was leapt over: the clock was set ahead, or the asker was held up.

        At most LIVED_S machine seconds between two calls count as lived through.
        """
        with self._lock:
            now_ms, now_s = self._now(), self._last_s
            lived_ms = min(now_s - self._looked_s, LIVED_S) * 1000 * self.speed
            leapt = now_ms - self._looked_ms - lived_ms
            self._looked_ms, self._looked_s = now_ms, now_s
            return max(0, round(leapt)) if leapt > JITTER_MS * max(1.0, self.speed) else 0

    def seconds_until(self, city_ms: int) -> float:
        return max(0.0, (city_ms - self.now_ms()) / 1000 / self.speed)


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
