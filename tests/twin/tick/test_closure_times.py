"""Noise and dust from the first reading to the closed case: what passes is the time of the city's table."""

from __future__ import annotations

import numpy as np
import pytest

from tests.twin.detect.test_sites import POLES, town_with_site
from tests.twin.tick.town import NIGHT_MS, Day, said
from twin.detect import DETECTORS, default_rules
from twin.records import Link, Transition
from twin.tick import World
from twin.whistle.hours import ALWAYS
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy

MINUTE = 60_000


@pytest.mark.parametrize(
    ("detector", "quantity", "usual", "bad", "table_min"),
    [("night_noise", "LAeq", 44.0, 74.0, 30), ("dust", "pm10", 40.0, 1500.0, 60)],
)
def test_the_case_closes_when_it_was_below_for_as_long_as_the_table_says(
    detector: str, quantity: str, usual: float, bad: float, table_min: int
) -> None:
    """It ends at a full hour; the case closes when the table's time has passed, to the next reading, and says for how
    long telemetry was clear."""
    rng = np.random.default_rng(5)
    day = Day(town_with_site(), NIGHT_MS)
    ledger = Ledger(CityPlaces.of(day.city.files), Policy(calendar=ALWAYS))
    day.world = World(day.city, ledger)
    day.world.detectors = {detector: DETECTORS[detector](day.city, default_rules())}
    day.tick([Link("drained")])
    steps: list[Transition] = []
    began, over = NIGHT_MS + 300 * MINUTE, NIGHT_MS + 360 * MINUTE
    while day.now < over + 2 * table_min * MINUTE:
        day.now += 2 * MINUTE
        loud = began <= day.now < over
        values = [(bad if loud and pole == "pole-0" else usual) + 0.01 * usual * rng.normal() for pole in POLES]
        steps += day.tick([said(day.city, "pole", POLES, day.now, **{quantity: values})]).changes.transitions
    assert day.keys() == [f"{detector}:pole-0"]
    (closed,) = [step for step in steps if step.event == "close"]
    assert 0 <= closed.at_ms - over - table_min * MINUTE <= 2 * MINUTE
    assert closed.reason == f"telemetry clear for {60 * table_min} s"
