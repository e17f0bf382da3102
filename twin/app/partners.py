"""Which departments have a say in a case: the one in charge, those that were told besides (partners, those above, who
decides what was returned), and those who by the city's policy act jointly in its type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from devices.places import Department
from twin.deliver.cases import Cases
from twin.records import Case
from twin.whistle.policy import Policy


@dataclass(frozen=True, slots=True)
class Partners:
    """The policy, asked who may see what."""

    policy: Callable[[], Policy]
    departments: Callable[[], Sequence[Department]] = tuple

    def joint(self, type_: str) -> frozenset[str]:
        """Who joins in a type wherever it is: named by the policy, joining in it or claiming a joint type city-wide."""
        told = self.policy().of(type_)
        claims = [
            one.id
            for one in self.departments()
            if not one.areas and (type_ in one.joins or (told.kind == "joint" and type_ in one.types))
        ]
        return frozenset({*told.joint, *claims})

    def of(self, case: Case, joint: Callable[[str], frozenset[str]] | None = None) -> frozenset[str]:
        """The departments that have a say in a case; nobody before anybody was told of it, none that gave it back.
        `joint`: a `joint` that remembers, for who asks of many."""
        told = frozenset(case.parties)
        if case.department:
            told |= {case.department, *(joint or self.joint)(case.type)}
        return told.difference(case.returned_by)

    def types(self, departments: Sequence[str]) -> tuple[str, ...]:
        """The case types that one of the departments joins in."""
        mine = set(departments)
        return tuple(name for name in self.policy().types if mine & self.joint(name))

    def cases(
        self, cases: Cases, departments: Sequence[str], *, open_only: bool, after: str, limit: int
    ) -> Sequence[Case]:
        """The cases of some departments, newest first, children left out."""
        return cases.cases(
            open_only=open_only, after=after, limit=limit, departments=departments, types=self.types(departments)
        )

    def concern(self, cases: Cases, departments: Sequence[str], most: int) -> list[Case]:
        """The newest open cases in which the departments have a say: what they gave back takes no place among them."""
        types, joint = self.types(departments), cache(self.joint)
        found, after = list[Case](), ""
        while len(found) < most:
            page = cases.cases(open_only=True, after=after, limit=most, departments=departments, types=types)
            found += [case for case in page if not self.of(case, joint).isdisjoint(departments)]
            if len(page) < most:
                break
            after = page[-1].id
        return found[:most]
