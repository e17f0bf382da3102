"""Random faults by seed: what happens next, to whom, how badly. Pure; asks whoever runs the fleet what could happen."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from devices.faults.catalogue import CATALOGUE, SENSED, WAYS
from devices.faults.fault import Fault
from devices.faults.scenario import RandomPlan

# A type and a quantity ("" but for sensor faults) -> subjects that it can befall now.
Candidates = Callable[[str, str], Sequence[str]]

PROMPT = ("outside_hours", "no_permit", "cover_open")  # trucks at work say so every five seconds


class Plan:
    """Draws faults one after another. The same seed, plan and candidates give the same faults.

    Every type comes once before any comes again; those that show at once come first, acts within seconds before them.
    """

    def __init__(
        self, plan: RandomPlan, seed: str, start_ms: int, opens: Callable[[str, int], int] | None = None
    ) -> None:
        """`opens`: when a fault of a type that is drawn at a moment begins, if not at once."""
        self._plan, self._opens = plan, opens
        self._random = random.Random(f"faults {seed}")  # noqa: S311 - a simulation
        self._left: list[str] = []
        self._rounds = 0
        self.drawn = 0
        self.next_ms: int | None = start_ms + round(plan.first_s * 1000) if plan.limit != 0 else None

    def _refill(self) -> None:
        types = self._plan.types or tuple(CATALOGUE)
        order = list(types)
        self._random.shuffle(order)
        if not self._rounds:
            order.sort(key=lambda name: (name not in PROMPT, not CATALOGUE[name].sudden))
        self._rounds += 1
        self._left = order

    def draw(self, now_ms: int, candidates: Candidates) -> Fault | None:
        """The fault that begins now; None if nothing fits this hour. Sets `next_ms`."""
        plan, chance = self._plan, self._random
        self.next_ms = now_ms + round(plan.every_s * 1000 * chance.uniform(0.6, 1.4))
        tried: list[str] = []
        found: Fault | None = None
        for _ in range(len(CATALOGUE) + 1):
            if not self._left:
                self._refill()
                self._left = [name for name in self._left if name not in tried] or []
            if not self._left:
                break
            name = self._left.pop(0)
            found = self._befall(name, now_ms, candidates)
            if found is not None:
                break
            tried.append(name)
        # What did not fit this hour may fit later.
        self._left += [name for name in tried if name not in self._left]
        if found is not None:
            self.drawn += 1
            if plan.limit is not None and self.drawn >= plan.limit:
                self.next_ms = None
        return found

    def _befall(self, name: str, now_ms: int, candidates: Candidates) -> Fault | None:
        chance, kind = self._random, CATALOGUE[name]
        quantity = ""
        if name.startswith("sensor_"):
            quantity = chance.choice(sorted({q for kinds in ("pole", "cell") for q in SENSED[kinds]}))
        elif name in WAYS:
            quantity = chance.choice(WAYS[name])
        subjects = candidates(name, quantity)
        if not subjects:
            return None
        subject = chance.choice(subjects)
        low, high = self._plan.magnitudes
        size = chance.uniform(2.0, 3.0) if chance.random() < self._plan.gross else chance.uniform(low, high)
        lasts = round(chance.uniform(*kind.last_s) * 1000)
        begins = now_ms if self._opens is None else self._opens(name, now_ms)
        return Fault(name, subject, begins, begins + lasts, round(size, 2), quantity)
