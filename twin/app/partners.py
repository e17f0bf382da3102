"""Which departments have a say in a case: the one in charge, those that were told besides (partners, those above, who
decides what was returned), and those who by the city's policy act jointly in its type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

    def of(self, case: Case) -> frozenset[str]:
        """The departments that have a say in a case; nobody before anybody was told of it."""
        told = frozenset(case.parties)
        return told | {case.department, *self.joint(case.type)} if case.department else told

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
