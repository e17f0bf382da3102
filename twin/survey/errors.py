"""What can go wrong while a city is made: what, and how to mend it."""

from __future__ import annotations

from twin.errors import TwinError


class SurveyError(TwinError):
    """A city cannot be made from what was given. Nothing was written."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem} ({fix})")
        self.problem, self.fix = problem, fix
