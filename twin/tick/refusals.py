"""What devices said that was refused, since their last good reading: who speaks and is not understood is not silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
        if self.held:
            understood = set(rows.tolist())
            self.held = {key: one for key, one in self.held.items() if key[0] != kind or key[1] not in understood}

    def forget(self, kind: str, row: int) -> None:
        """Other hardware."""
        self.held.pop((kind, row), None)

    def dump(self) -> list[Any]:
        """As JSON-able values."""
        return [[kind, row, one.last_ms, dict(one.counts)] for (kind, row), one in self.held.items()]

    def load(self, told: Sequence[Any]) -> None:
        """Take over what was dumped."""
        self.held = {(kind, int(row)): Refusal(dict(counts), int(last_ms)) for kind, row, last_ms, counts in told}
