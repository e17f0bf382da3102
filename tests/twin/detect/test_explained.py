"""One cause makes one finding: what a rule says of a device is not told as its unusual behaviour too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contracts.test_detectors import STORIES, hear, rounds
from tests.twin.tick.town import Day, town_files
from twin.city import City, Registry
from twin.records import Finding
from twin.tick import World

FADED = replace(STORIES["coverage_loss"], fault={"rsrp": -102.0, "sinr": 6.0}, every_s=300, warm=260, rounds=20)
JAMMED = replace(STORIES["interference"], fault={"sinr": 3.0}, every_s=300, warm=260, rounds=20)
SLOW = replace(STORIES["interference"], fault={"connectedUsers": 900.0}, clean={"connectedUsers": 100.0}, every_s=300,
               warm=260, rounds=8)  # fmt: skip


def lived(story: object, *, restart_at: int = -1) -> list[Finding]:
    """A story through all detectors."""
    assert isinstance(story, type(FADED))
    day = Day(City(town_files(trucks=2), Registry()), story.start_ms - 1000)
    for n, (now, told) in enumerate(rounds(story, faulty=True)):
        if n == restart_at:
            fresh = World.load(day.world.dump(), City(town_files(trucks=2), Registry()), day.world.ledger)
            day.world, day.city = fresh, fresh.city
        day.now = now
        day.tick(hear(day.city, story, now, told))
    return day.found


@pytest.mark.parametrize(("story", "finding"), [(FADED, "coverage_loss"), (JAMMED, "interference")])
def test_a_rule_speaks_and_behaviour_does_not(story: object, finding: str) -> None:
    """A cell that fades, or is jammed, is one finding, with and without a restart while it waits."""
    told = [f.type for f in lived(story) if f.active and f.subject == "cell-0"]
    assert told == [finding]
    again = [f.type for f in lived(story, restart_at=262) if f.active and f.subject == "cell-0"]
    assert again == [finding]


def test_what_no_rule_explains_is_said_at_once() -> None:
    """Users without precedent on one cell are unusual behaviour, as before."""
    told = [f for f in lived(SLOW) if f.active]
    assert {(f.type, f.subject) for f in told} == {("behaviour", "cell-0")}
    first = SLOW.start_ms + int(SLOW.warm * SLOW.every_s * 1000)
    assert told[0].at_ms - first < 15 * 60_000
