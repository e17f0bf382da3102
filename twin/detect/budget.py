"""A false-alarm budget: verdicts move a detector's bars towards the false findings that are allowed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.records import Presence

ETA = 0.05  # what one false finding, or the time in which one is allowed, does to the logarithm of the bars
LEAST, MOST = -0.7, 1.5  # bounds of the logarithm: limits are the city's, verdicts do not do away with them
DAY_MS = 86_400_000.0


ALLOWED = "false_per_1000_device_days"  # the parameter of a finding type that has a budget


@dataclass(frozen=True, slots=True)
class Spent:
    """How a budget stands: false findings allowed per 1,000 `per`, the factor on the bars, days since a verdict."""

    kind: str
    allowed: float
    per: str
    bars_times: float
    days: float


class Budget:
    """The factor on the bars of one class, and the device-days since a verdict last moved it."""

    def __init__(self) -> None:
        self.ln = 0.0
        self.days = 0.0
        self.swept_ms = 0

    @property
    def factor(self) -> float:
        """What the bars are multiplied by."""
        return float(np.exp(self.ln))

    def live(self, now_ms: int, counting: bool, one: Presence | None) -> None:
        """Time passes in which devices were heard and nothing false was said of them."""
        if counting and self.swept_ms and one is not None:
            self.days += int((one.t > 0).sum()) * (now_ms - self.swept_ms) / DAY_MS
        self.swept_ms = now_ms

    def verdict(self, false: bool, per_1000_days: float) -> None:
        """What an operator said of a finding; each verdict also counts the time that went by without one."""
        self.ln = float(np.clip(self.ln + ETA * (float(false) - per_1000_days / 1000.0 * self.days), LEAST, MOST))
        self.days = 0.0

    def dump(self) -> list[float]:
        """As JSON-able values."""
        return [self.ln, self.days, self.swept_ms]

    def load(self, told: Sequence[float]) -> None:
        """Take over what was dumped."""
        self.ln, self.days, self.swept_ms = float(told[0]), float(told[1]), int(told[2])
