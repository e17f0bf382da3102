"""How much one device may say: a bound that a backlog passes and a flood does not. Pure.

What tells them apart is the time that readings tell of: a backlog of hours comes in seconds, but its event times are
spread over those hours; those of a flood are all about the same. So each row has two leaking buckets (the generic cell
rate algorithm of ITU-T I.371), into which a reading pours one `step`:

- `filled` leaks in event time and holds `burst` readings: live readings and a backlog in its order never fill it. For
  readings without a time of their own there is room for the week that a broker may have held them.
- `over` leaks in time of arrival and takes what finds the first one full: of readings much older than their device's
  newest (a backlog that comes behind newer ones) up to `backlog`; of others (a clock that stands still) up to `burst`.

A reading that finds both full is refused as `flood`. Both are folded from what was journalled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from devices.kinds import KINDS
from twin.records import I64

REASON = "flood"
HELD_MS = 7 * 86_400_000  # so long a broker keeps messages for us (mosquitto.conf, persistent_client_expiration)
USUAL_S = 60.0  # cadence of a kind that names none


@dataclass(frozen=True, slots=True)
class Flood:
    """The bound. `factor`: so many times as often as its cadence may a device speak for ever (0: no bound), and once in
    `slowest_ms` whatever its cadence; `burst`: so many readings beyond that at once; `backlog`: so many at once that
    are older than what came before them."""

    factor: float = 100.0
    burst: int = 20_000
    backlog: int = 1_000_000
    slowest_ms: int = 10

    @property
    def held_ms(self) -> int:
        """Room for readings without a time of their own, ms of `step`."""
        return round(HELD_MS / self.factor) if self.factor else 0

    def steps_ms(self, cadence_s: ArrayLike) -> I64:
        """What a reading costs by the cadence of its device, in seconds: ms; 0: nothing."""
        cadence = np.asarray(cadence_s, np.float64)
        if not self.factor:
            return np.zeros(cadence.shape, np.int64)
        return np.clip(np.rint(cadence * 1000 / self.factor), 1, self.slowest_ms).astype(np.int64)

    def usual_ms(self, kind: str) -> int:
        """What a reading of a device costs of which only the kind is known, ms."""
        return int(self.steps_ms(KINDS[kind].cadence_s if kind in KINDS else USUAL_S))

    def room_ms(self, step_ms: int, timeless: bool) -> int:
        """So far may a row's readings be ahead of the time that they tell of."""
        return max(step_ms * self.burst, self.held_ms if timeless else 0)


NO_FLOOD = Flood(factor=0.0)


@dataclass(slots=True)
class Buckets:
    """The state of one row, ms since 1970. `newest`: its newest event time."""

    filled: int
    over: int
    newest: int

    def pour(
        self, flood: Flood, step_ms: int, readings: Iterable[tuple[int, int, bool]], *, taken: bool = False
    ) -> list[int]:
        """Take readings (t, arrived, timeless) in order; which of them are flood. `taken`: all were admitted before."""
        refused: list[int] = []
        room, longer = flood.room_ms(step_ms, False), flood.room_ms(step_ms, True)
        full = flood.backlog * step_ms
        for index, (t, arrived, timeless) in enumerate(readings):
            most = longer if timeless else room
            if self.filled - t > most:
                over = max(self.over, arrived) + step_ms
                if not taken and over - arrived > (full if self.newest - t > most // 2 else room):
                    refused.append(index)
                    continue
                self.over = over
            else:
                self.filled = max(self.filled, t) + step_ms
            self.newest = max(self.newest, t)
        return refused
