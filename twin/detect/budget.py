"""A false-alarm budget: verdicts move a detector's bars towards the false findings that are allowed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ETA = 0.05  # what one false finding, or the time in which one is allowed, does to the logarithm of the bars
LEAST, MOST = -0.7, 1.5  # bounds of the logarithm: limits are the city's, verdicts do not do away with them

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

    def __init__(self, least: float = LEAST, most: float = MOST) -> None:
        """`least`, `most`: bounds of the logarithm of the factor."""
        self.ln = 0.0
        self.days = 0.0
        self._least, self._most = least, most

    @property
    def factor(self) -> float:
        """What the bars are multiplied by."""
        return float(np.exp(self.ln))

    def verdict(self, false: int, per_1000_days: float) -> None:
        """What was said of a finding (1 false, 0 useful, -1 false taken back); each verdict also counts the time that
        went by without one."""
        moved = self.ln + ETA * (float(false) - per_1000_days / 1000.0 * self.days)
        self.ln = float(np.clip(moved, self._least, self._most))
        self.days = 0.0

    def dump(self) -> list[float]:
        """As JSON-able values."""
        return [self.ln, self.days]

    def load(self, told: Sequence[float]) -> None:
        """Take over what was dumped."""
        self.ln, self.days = float(told[0]), float(told[1])
