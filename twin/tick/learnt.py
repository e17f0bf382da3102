"""Learning from a past: nothing of it is whistled; what is wrong when it ends is said once fresh readings show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twin.city import City
from twin.detect import Moment
from twin.records import Finding

Said = Mapping[str, Mapping[str, Finding]]  # active findings by key, and by the detector that says them
NODE_WAIT_MS = 60_000  # what is no device (a feeder, a district) cannot speak: its finding waits so long


@dataclass(slots=True)
class Learnt:
    """Whether the world is learning now, and which findings of the past wait to be confirmed by live readings."""

    learning: bool = False
    ended_ms: int = 0
    waiting: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """From now on everything is learnt, and nothing that is found reaches the ledger."""
        self.learning, self.waiting = True, set()

    def end(self, said: Said, now_ms: int) -> None:
        """The past is over. What is wrong at its end waits for a word of its device."""
        if self.learning:
            self.learning, self.ended_ms, self.waiting = False, now_ms, set(said)

    def voice(self, found: Sequence[Finding], said: Said, moment: Moment, city: City) -> list[Finding]:
        """Of what was found in a tick, what the ledger is to hear; with it what waited and is now confirmed."""
        if self.learning:
            return []
        if not self.waiting:
            return list(found)
        told = []
        for finding in found:
            if finding.active or finding.key not in self.waiting:
                told.append(finding)
            self.waiting.discard(finding.key)  # gone before it was said
        for key in sorted(self.waiting):
            finding = next(iter(said[key].values()))
            if self._confirmed(finding.subject, moment, city):
                self.waiting.discard(key)
                told.append(replace(finding, at_ms=moment.now_ms))
        return told

    def _confirmed(self, subject: str, moment: Moment, city: City) -> bool:
        """Whether the device has spoken since the past ended (and its finding has not gone)."""
        for kind, one in moment.presence.items():
            row = city.registry.lookup(kind, subject)
            if row is not None:
                return row < len(one.t) and bool(one.t[row] > self.ended_ms)
        return moment.counting and moment.now_ms - self.ended_ms >= NODE_WAIT_MS

    def dump(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"learning": self.learning, "ended_ms": self.ended_ms, "waiting": sorted(self.waiting)}

    def load(self, told: Mapping[str, Any]) -> None:
        """Take over what was dumped."""
        self.learning, self.ended_ms = bool(told.get("learning", False)), int(told.get("ended_ms", 0))
        self.waiting = set(told.get("waiting", ()))
