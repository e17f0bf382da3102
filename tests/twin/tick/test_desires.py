"""What an order says counts for more than what a lamp says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from tests.twin.tick.town import HOUR, MINUTE, Day, Tally, town
from twin.records import Action, Link
from twin.tick import World


def told(day: Day, level: float, device: str = "pole-3", **more: object) -> None:
    """The lamp is told to dim."""
    arguments = {"level": level, **more}
    day.tick([Action(f"dim-{day.now}", "li", "command", "", "", {"device": device, "action": "dim",
                                                                 "arguments": arguments})])  # fmt: skip


def says(day: Day, minutes: float, state: float, dimming: float, watts: float) -> None:
    """It reports twice a minute."""
    for _ in range(int(2 * minutes)):
        day.now += MINUTE // 2
        day.tick([Link("drained")])
        day.say("pole", "pole-3", powerState=state, dimmingLevel=dimming, powerConsumption=watts, voltage=220.0)


@pytest.mark.parametrize(("state", "dimming"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_a_lamp_that_was_told_to_burn_and_says_that_it_need_not_is_out(state: float, dimming: float) -> None:
    """Its own word would have it dark; the order would not. Said only once the order had time to arrive, and over as
    soon as it burns."""
    day = Day()
    told(day, 0.8)
    says(day, 2, state, dimming, 0.7)
    assert day.keys() == []
    says(day, 3, state, dimming, 0.7)
    assert day.keys() == ["lamp_out:pole-3"]
    found = day.found[0]
    assert found.expected == pytest.approx(80.0)
    assert "it was told 80 % and reports" in found.en
    assert "指令亮度80%" in found.zh
    says(day, 3, 1.0, 0.8, 80.0)
    assert day.keys(active=False) == ["lamp_out:pole-3"]


def test_no_order_no_difference_and_none_after_its_time() -> None:
    """Without an order a lamp's own word counts; with one that it follows, that was dark, or that is over, too."""
    day = Day()
    says(day, 10, 0.0, 0.0, 0.7)
    told(day, 0.5)
    says(day, 1, 0.0, 0.0, 0.7)
    says(day, 10, 1.0, 0.5, 50.0)
    told(day, 0.0)
    says(day, 10, 1.0, 0.0, 2.0)
    told(day, 1.0, minutes=2)
    says(day, 20, 0.0, 0.0, 0.7)
    assert day.found == []


def test_desires_follow_orders_city_and_restart() -> None:
    """What readings are held against: grace, end, other devices, rows that came later, a checkpoint."""
    day = Day()
    began = day.now
    told(day, 0.3, minutes=30)
    world = day.world
    rows, t = np.array([0, 3, 99], np.int32), np.array([began + 10 * MINUTE] * 3)

    def desired(at: int = 0) -> list[float]:
        return list(world.desires.of(world.orders, world.city, "pole", rows, t + at).get("dimmingLevel", ()))

    assert np.array_equal(desired(), [np.nan, 0.3, np.nan], equal_nan=True)
    assert np.isnan(desired(HOUR)).all()
    assert np.isnan(desired(-9 * MINUTE)).all()
    world = World.load(world.dump(), town(), Tally())
    assert np.array_equal(desired(), [np.nan, 0.3, np.nan], equal_nan=True)
