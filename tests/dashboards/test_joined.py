"""Who is in a case, why, and what each said last: told from the history alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from dashboards.api.joined import joined, offices_of
from twin.access import Access
from twin.records import Case, Transition


def step(n: int, event: str, actor: str = "system", evidence: Mapping[str, Any] | None = None) -> Transition:
    return Transition("c", n, n * 1000, actor, event, "", "", "", evidence or {})


def test_parties_with_why_and_their_last_word() -> None:
    """By link, by a user's or a program's name; who was told otherwise; nothing that was said before a reopening."""
    case = Case("c", "k", "night_noise", "pole-1", "pole", "accepted", 2, 0, 0, 0, "environment",
                ("urban_1", "city_hall", "operations"))  # fmt: skip
    told = [
        step(1, "find"),
        step(2, "dispatch", evidence={"department": "environment", "joint": ["urban_1", "far"]}),
        step(3, "accept", "environment by link c:dispatch:1:webhook"),
        step(4, "comment", "urban_1 by link c:joint:2:webhook"),
        step(5, "escalate", evidence={"to": "city_hall"}),
        step(6, "comment", "mayor"),
    ]
    offices = {"mayor": ("city_hall",), "li": ("urban_1",)}
    assert joined(case, told, offices) == [
        {"department": "urban_1", "why": "joint", "event": "comment", "at_ms": 4000},
        {"department": "city_hall", "why": "escalated", "event": "comment", "at_ms": 6000},
        {"department": "operations", "why": "told", "event": "", "at_ms": 0},
    ]
    again = [*told, step(7, "reopen"), step(8, "dispatch", evidence={"joint": ["urban_1"]}), step(9, "attach", "li")]
    said = [(one["event"], one["at_ms"]) for one in joined(case, again, offices)]
    assert said == [
        ("attach", 9000),
        ("", 0),
        ("", 0),
    ]


def test_two_programs_of_one_name_speak_for_both_departments(tmp_path: Path) -> None:
    """A step is recorded under the name alone: no token hides another; whoever is of no department is of none here."""
    access = Access(tmp_path / "users.db", hasher=PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    with closing(access):
        access.users.add("mei", "correct horse battery", "department", "console", departments=["power"])
        for departments in (["lighting", "waste"], ["lighting", "power"]):
            access.tokens.create("crew", "department", 1, "console", departments=departments)
        access.tokens.create("desk", "auditor", 1, "console")
        told = {name: sorted(of) for name, of in offices_of(access).items()}
        assert told == {"mei": ["power"], "crew": ["lighting", "power", "waste"]}
