"""What other findings explain: one cause makes one finding, whoever saw it first.

A cell whose signal fades behaves unusually within minutes and has lost its coverage within a quarter of an hour: the
rule that knows what it is speaks, and `behaviour` only where none does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twin.city import City
from twin.detect.base import Detector, Pending
from twin.records import Finding

SYMPTOM = "behaviour"
# Findings that say what is wrong with a device whose behaviour is unusual.
CAUSES = frozenset({
    "feeder_trip", "cabinet_trip", "supply_lost", "gateway_loss", "backhaul_down", "cell_down", "sleeping_cell",
    "coverage_loss", "interference", "access_failures", "congestion", "cell_overheated", "night_noise", "dust",
})  # fmt: skip

PATIENCE_MS = 7_200_000  # a symptom waits no longer

Told = tuple[str, Finding]  # the detector that says it
Said = Mapping[str, Mapping[str, Finding]]  # active findings by key, and by the detector that says them


class Withheld:
    """Symptoms that wait, by subject, until the rules which may explain them have said so or have not."""

    def __init__(self) -> None:
        self.held: dict[str, Told] = {}

    def step(
        self, told: Iterable[Told], said: Said, detectors: Mapping[str, Detector], city: City, now_ms: int
    ) -> list[Told]:
        """What a tick's detectors told, without the symptoms that are explained or still wait; and those of earlier
        ticks for which no explanation came."""
        passed: list[Told] = []
        fresh: dict[str, Told] = {}
        for name, finding in told:
            if finding.type != SYMPTOM:
                passed.append((name, finding))
            elif finding.active:
                fresh[finding.subject] = (name, finding)
            else:
                fresh.pop(finding.subject, None)
                if self.held.pop(finding.subject, None) is None:
                    passed.append((name, finding))
        waiting = {**self.held, **fresh}
        self.held = {}
        if not waiting:
            return passed
        explained = _explained(said, passed)
        for subject in sorted(waiting):
            if subject in explained:
                continue
            late = now_ms - waiting[subject][1].at_ms > PATIENCE_MS
            if not late and self._expected(subject, detectors, city):
                self.held[subject] = waiting[subject]
            else:
                passed.append(waiting[subject])
        return passed

    @staticmethod
    def _expected(subject: str, detectors: Mapping[str, Detector], city: City) -> bool:
        """Whether one of the rules is on its way to say what is wrong with it."""
        kind = city.kind(subject)
        row = city.registry.lookup(kind, subject)
        return row is not None and any(
            isinstance(one, Pending) and one.pending(kind, row) for one in detectors.values() if CAUSES & {*one.types}
        )


def _explained(said: Said, told: Iterable[Told]) -> set[str]:
    """Subjects of which a cause is said, or was just told. What hangs on a cause is for the ledger to correlate."""
    causes = [next(iter(sayers.values())) for sayers in said.values()]
    causes += [finding for _, finding in told if finding.active]
    return {one.subject for one in causes if one.type in CAUSES}
