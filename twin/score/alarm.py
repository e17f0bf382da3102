"""When a rarity becomes an alarm: a series that alarms often raises its own bar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.records import F64
from twin.score.scorer import ALARM

RAISE = 0.2
DECAY = 1.0 - 1.0 / 8640.0  # a row
QUIET = 24  # rows below the bar before an alarm is a new one


class Alarms:
    """Rows of one table in time order."""

    def __init__(self) -> None:
        self.raised = 0.0
        self.quiet = QUIET

    def step(self, rarity: F64) -> NDArray[np.bool_]:
        """Which of the next rows [N] are alarms."""
        out = np.zeros(len(rarity), bool)
        for i, value in enumerate(rarity):
            if value > ALARM + self.raised:
                out[i] = True
                self.raised += RAISE if self.quiet >= QUIET else RAISE / QUIET
                self.quiet = 0
            else:
                self.quiet += 1
            self.raised *= DECAY
        return out
