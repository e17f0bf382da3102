"""A city that learns from its past whistles nothing of it, and says what is still wrong once devices confirm it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.twin.tick.town import Day, Tally, said, town
from twin.model.state import KindState
from twin.records import Edit
from twin.tick import World

LEAK = {"leakageCurrent": 0.08, "supplyPresent": 1.0}
DRY = {"leakageCurrent": 0.001, "supplyPresent": 1.0}


def learn(day: Day) -> None:
    """An hour of learning in which two poles leak; then the past ends."""
    day.tick([Edit("learning", "true")])
    for _ in range(12):
        day.now += 300_000
        day.tick([said(day.city, "pole", ["pole-1", "pole-2"], day.now, leakageCurrent=[0.08, 0.08])])
    day.tick([Edit("learning", "false")])


def test_nothing_of_the_past_is_said_until_its_device_speaks_again() -> None:
    """What still leaks is said once, at the device's first live word; what has ended meanwhile is never said."""
    day = Day()
    learn(day)
    day.now += 5_000
    day.tick()
    assert day.found == []
    day.now += 5_000
    day.say("pole", "pole-1", **LEAK)
    assert day.keys() == ["leakage:pole-1"]
    assert day.found[0].at_ms == day.now
    assert day.found[0].since_ms < day.now - 3_000_000
    for _ in range(20):
        day.now += 60_000
        day.tick([said(day.city, "pole", ["pole-1", "pole-3"], day.now, leakageCurrent=[0.08, 0.001])])
    assert day.keys() == ["leakage:pole-1"], "pole-2 never spoke again"


def test_what_is_over_at_the_first_live_word_is_never_said() -> None:
    """A condition that clears at once after the past is dropped, its end as well; later ones are said as ever."""
    day = Day()
    day.tick([Edit("rules", '{"leakage": {"clear_reports": 1}}')])
    learn(day)
    day.now += 5_000
    day.say("pole", "pole-1", **DRY)
    assert day.found == []
    for _ in range(3):
        day.now += 30_000
        day.say("pole", "pole-1", **LEAK)
    assert day.keys() == ["leakage:pole-1"]


def test_waiting_findings_survive_a_restart() -> None:
    """A checkpoint between the end of the past and the device's first word keeps what waits."""
    day = Day()
    learn(day)
    day.world = World.load(day.world.dump(), town(), Tally())
    day.city = day.world.city
    day.now += 30_000
    day.say("pole", "pole-2", **LEAK)
    assert day.keys() == ["leakage:pole-2"]


@pytest.mark.parametrize(("end", "found"), [("false", []), ('"sparse"', ["device_silent:pole-1"])])
def test_gaps_count_where_the_past_was_told_as_it_was_heard(end: str, found: list[str]) -> None:
    """A pole that speaks every four minutes, eight times as rarely as it should: known from a past of all its readings;
    where the past left readings out, its cadence counts."""
    day = Day()
    day.tick([Edit("learning", "true")])
    for _ in range(30):
        day.now += 240_000
        day.say("pole", "pole-1", **DRY)
    day.tick([Edit("learning", end)])
    day.every(5, 600)
    assert day.keys() == found


def test_the_gap_in_which_a_sparse_past_ends_is_none() -> None:
    """Also after a restart; what a checkpoint of an older version has nothing of is as ever."""
    day = Day()
    day.tick([Edit("learning", "true")])
    day.say("pole", ["pole-1", "pole-2"], **DRY)
    day.now += 300_000
    day.tick([Edit("learning", '"sparse"')])
    day.now += 10_000
    day.say("pole", "pole-1", **DRY)
    dumped = day.world.models["pole"].dump()
    day.world = World.load(day.world.dump(), town(), Tally())
    day.city = day.world.city
    day.now += 30_000
    day.say("pole", ["pole-1", "pole-2"], **DRY)
    gap = day.world.models["pole"].arrays["gap"]
    assert (float(gap[1]), bool(np.isnan(gap[2]))) == (30.0, True)
    older = KindState("pole")
    older.load({name: array for name, array in dumped.items() if name != "kind.gaps_from_ms"}, older.quantities)
    assert older.gaps_from_ms == 0


def test_the_silence_in_which_a_sparse_past_ends_is_nobodys() -> None:
    """Ten minutes since the past's last word, which count, are no silence at a cadence of seconds; who says nothing
    from then on is silent in its own time, and was not said to be so before."""
    day = Day()
    names = [f"pole-{i}" for i in range(12)]
    day.tick([Edit("learning", "true")])
    for _ in range(12):
        day.now += 600_000
        day.say("pole", names, **DRY)
    day.now += 600_000
    day.tick([Edit("learning", '"sparse"')])
    began = day.now
    day.every(5, 600, lambda now: [said(day.city, "pole", names[1:], now, **DRY)] if now - began > 100_000 else [])
    assert day.keys() == ["device_silent:pole-0"]
    assert 150_000 <= day.found[0].at_ms - began <= 190_000
