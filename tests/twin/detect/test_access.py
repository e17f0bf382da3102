"""Failing access with few attempts a minute: told when all of them together say so, and for nothing less."""

from __future__ import annotations

import numpy as np
import pytest

from tests.twin.tick.town import NIGHT_MS, Day, said, town_files
from twin.city import City, Registry
from twin.detect.access import upper_bound

CELLS = [f"cell-{i}" for i in range(6)]
TRIED = {"rrcSuccess": "rrcAttempts", "handoverSuccess": "handoverAttempts"}


def play(success: float, measure: str, minutes: int, tried: int = 40, seed: int = 1, faulty: int = 1) -> list[str]:
    """A quarter hour at 99.4 %, then `faulty` cells at `success` %, each attempt a draw; what is found, with its
    minute."""
    rng = np.random.default_rng(seed)
    day = Day(City(town_files(trucks=2), Registry()), NIGHT_MS - 1000)
    found: list[str] = []
    day.world.detectors = {"access_failures": day.world.detectors["access_failures"]}
    for minute in range(-15, minutes):
        day.now += 60_000
        columns = []
        for i, cell in enumerate(CELLS):
            share = success / 100.0 if minute >= 0 and i < faulty else 0.994
            told = 100.0 * rng.binomial(tried, share) / tried
            columns.append(
                said(day.city, "cell", cell, day.now, arrived=day.now, **{measure: told, TRIED[measure]: tried})
            )
        before = len(day.found)
        day.tick(columns)
        found += [f"{f.subject} {minute}" for f in day.found[before:] if f.active]
    return found


@pytest.mark.parametrize("measure", TRIED)
def test_few_attempts_a_minute_are_enough_in_time(measure: str) -> None:
    """40 attempts a minute at 91 %: no minute alone can say that, an hour can; at 80 % it is told after 15 minutes."""
    (one,) = play(91.0, measure, 60)
    assert one.startswith("cell-0 ")
    (gross,) = play(80.0, measure, 30)
    assert 14 <= int(gross.split()[1]) <= 17


def test_above_the_limit_nothing_is_told_however_long() -> None:
    """A day of six cells at 97 %: single minutes far below 95 % there are many."""
    assert play(97.0, "rrcSuccess", 1440, tried=20, faulty=6) == []


def test_bound() -> None:
    """Wilson's upper bound: 50 of 100 leave up to 62.6 % credible at z = 2.58, all of 10 leave 100 %."""
    assert upper_bound(np.array([50.0, 10.0]), np.array([100.0, 10.0])) == pytest.approx([0.6249, 1.0], abs=2e-3)
