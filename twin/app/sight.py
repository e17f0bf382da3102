"""What a department's people need to see of the city: street furniture of their areas, trucks of their open cases.

Poles, cells, feeders and gateways stand in the street for everybody to see; where a truck is and was is about the
people who drive it. docs/privacy.md says the same in words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twin.city import City
from twin.records import Case

MOST = 500  # newest open cases that are looked through; a page shows no more
BEFORE_MS = 3 * 3_600_000  # of a moving device's way, before the first evidence of its case
DRIVEN = ("truck",)  # kinds that a person drives


@dataclass(slots=True)
class Sight:
    """Asked for by departments; what stands still is remembered until the city is another."""

    city: City  # its files and version are read anew each time
    open_cases: Callable[[Sequence[str]], Sequence[Case]]
    children: Callable[[str], Sequence[Case]]
    _fixed: dict[tuple[str, ...], tuple[int, frozenset[str]]] = field(default_factory=dict)
    _symptoms: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = field(default_factory=dict)  # by case
    _whole: dict[tuple[str, ...], tuple[int, frozenset[str], frozenset[str]]] = field(default_factory=dict)

    def needed(self, departments: Sequence[str]) -> frozenset[str]:
        """Ids of devices; the same object again while nothing has changed."""
        key = tuple(sorted(departments))
        version = self.city.version
        about = frozenset(self.about(key))
        known = self._whole.get(key)
        if known is not None and known[0] == version and known[1] == about:
            return known[2]
        whole = self._standing(key, version) | about
        self._whole[key] = (version, about, whole)
        return whole

    def about(self, departments: Sequence[str]) -> list[str]:
        """Devices that open cases of the departments are about, the symptoms under them too."""
        found: list[str] = []
        for case in self.open_cases(departments):
            found += [case.subject, *self._below(case)]
        return [one for one in found if self.city.describe(one) is not None]

    def since_ms(self, device: str, departments: Sequence[str]) -> int | None:
        """From when on a device's readings are theirs to see: 0 of street furniture, of a truck some hours before its
        oldest open case; None where it is not."""
        known = self.city.describe(device)
        if known is None:
            return None
        moves = known.kind in DRIVEN
        if not moves and device in self._standing(tuple(sorted(departments)), self.city.version):
            return 0
        mine = [case.since_ms for case in self.open_cases(departments) if self._touches(case, device)]
        return (min(mine) - BEFORE_MS if moves else 0) if mine else None

    def _touches(self, case: Case, device: str) -> bool:
        return device == case.subject or device in self._below(case)

    def _below(self, case: Case) -> tuple[str, ...]:
        """What the symptoms under a case are about; read again when the case has changed."""
        if not case.children:
            return ()
        known = self._symptoms.get(case.id)
        if known is None or known[0] != (case.updated_ms, case.children):
            known = ((case.updated_ms, case.children), tuple(child.subject for child in self.children(case.id)))
            if len(self._symptoms) >= MOST:
                self._symptoms.clear()
            self._symptoms[case.id] = known
        return known[1]

    def _standing(self, key: tuple[str, ...], version: int) -> frozenset[str]:
        """Everything that nobody drives, within the departments' areas."""
        known = self._fixed.get(key)
        if known is not None and known[0] == version:
            return known[1]
        offices = {one.id: set(one.areas) for one in self.city.files.departments}
        areas = [offices.get(name, {""}) for name in key]  # an office that is no more has no area
        everywhere = any(not one for one in areas)
        within = set().union(*areas) if areas else set()
        found = frozenset(
            one.id
            for one in self.city.files.devices
            if one.kind not in DRIVEN and (everywhere or within.intersection(self.city.areas(one.id)))
        )
        self._fixed[key] = (version, found)
        return found
