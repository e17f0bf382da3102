"""What devices said that was refused, since their last good reading: who speaks and is not understood is not silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twin.city import City
from twin.detect import Refusal
from twin.records import I32

Rejected = Mapping[tuple[str, int, str], int]  # (kind, row, reason) -> readings, as a batch counts them


@dataclass(slots=True)
class Refusals:
    """By (kind, row); part of the world, so that a replay says the same of a device. One entry a device at most."""

    held: dict[tuple[str, int], Refusal] = field(default_factory=dict)

    def note(self, rejected: Rejected, now_ms: int) -> None:
        """Refused readings of this tick; those of no device are nobody's."""
        for (kind, row, reason), count in rejected.items():
            if kind and row >= 0 and count > 0:
                known = self.held.get((kind, row), Refusal())
                counts = {**known.counts, reason: known.counts.get(reason, 0) + count}
                self.held[kind, row] = Refusal(counts, now_ms)

    def heard(self, kind: str, rows: I32) -> None:
        """Good readings of these rows (sorted): what was refused before them is past."""
        held = np.array([row for of, row in self.held if of == kind], rows.dtype)  # of one type: else rows are copied
        if len(held) and len(rows):
            at = np.minimum(np.searchsorted(rows, held), len(rows) - 1)
            for row in held[rows[at] == held].tolist():
                del self.held[kind, row]

    def forget(self, kind: str, row: int) -> None:
        """Other hardware."""
        self.held.pop((kind, row), None)

    def follow(self, city: City) -> None:
        """The city has changed: what it no longer has will never say a good reading that would end this."""
        for kind, row in [*self.held]:
            roster = city.rosters.get(kind)
            if roster is None or row >= len(roster) or not roster.alive[row]:
                del self.held[kind, row]

    def dump(self) -> list[Any]:
        """As JSON-able values."""
        return [[kind, row, one.last_ms, dict(one.counts)] for (kind, row), one in self.held.items()]

    def load(self, told: Sequence[Any]) -> None:
        """Take over what was dumped."""
        self.held = {(kind, int(row)): Refusal(dict(counts), int(last_ms)) for kind, row, last_ms, counts in told}
