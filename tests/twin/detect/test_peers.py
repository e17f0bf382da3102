"""Evidence of sensor faults by peers and sisters."""

from __future__ import annotations

import numpy as np
import pytest

from tests.twin.tick.town import Day, Tally, said, town
from twin.detect.peers import EVIDENCE, Peers
from twin.detect.sensors import Sensors
from twin.records import F64, Columns
from twin.tick import World

DROPOUT = EVIDENCE.index("dropout")
NEAR = np.array([[j for j in range(6) if j != i] for i in range(6)], np.intp)


def played(rounds: int, floor: float, dropout: float, offset: float = 5.0, who: slice = slice(1)) -> tuple[Peers, F64]:
    """Six clean channels of about 1 that say nothing below `floor`; those of `who` (the first) read zero in `dropout`
    of the last 48 rounds. The evidence of a dropout [rounds, P]."""
    peers = Peers(np.array([offset]), np.array([0.05]), NEAR)
    rng = np.random.default_rng(5)
    told = []
    with np.errstate(all="ignore"):
        for n in range(rounds):
            x = np.maximum(np.round(rng.normal(1.0, 0.5) + rng.normal(0.0, 0.4, (1, 6)), 1), floor)
            if n >= rounds - 48 and rng.random() < dropout:
                x[0, who] = 0.0
            told.append(peers.score(x, n % 24)[DROPOUT, 0])
    return peers, np.array(told)


def test_zeros_where_there_were_none_are_a_dropout() -> None:
    """At 1 of a pollutant whose ratio is taken of x + 5 a zero is no residual; that it is a zero is news."""
    _, told = played(900, 0.1, 0.4)
    before, during = told[-400:-48], told[-48:]
    assert during[:, 0].max() > 1.7 * before.max()
    assert during[:, 1:].max() < 1.2 * before.max()


def test_zeros_of_a_channel_that_knows_them_are_none() -> None:
    """A sensor whose readings are cut at zero (one in forty here) is not accused of them."""
    peers, told = played(900, 0.0, 0.4)
    assert peers.a["zero"].min() > 0.01
    assert told[-48:, 0].max() < 1.5 * told[-400:-48].max()


def test_zeros_of_all_are_the_air() -> None:
    """On a night that takes the last ozone everybody reads zero for the first time: nobody's sensor is broken."""
    peers, _ = played(900, 0.1, 0.4, who=slice(None))
    assert not peers.a["zero_sum"].any()


def test_zero_is_nothing_special_where_differences_count() -> None:
    """Of a temperature (no offset) zeros are learnt as any other value."""
    peers, _ = played(400, -50.0, 0.4, np.nan)
    assert not peers.a["zero_sum"].any()


@pytest.mark.parametrize("older", [False, True])
def test_what_was_learnt_goes_on_from_a_checkpoint(older: bool) -> None:
    """The same evidence bit for bit; one from before zeros were counted goes on too, and learns them."""
    peers, _ = played(300, 0.1, 0.0)
    told = peers.dump()
    if older:
        told["plain"] = {name: x for name, x in told["plain"].items() if not name.startswith("zero")}
    again = Peers(np.array([5.0]), np.array([0.05]), NEAR)
    again.load(told)
    x = np.full((1, 6), 1.1)
    with np.errstate(all="ignore"):
        here, there = peers.score(x, 3), again.score(x, 3)
    np.testing.assert_array_equal(here, there)
    assert np.isfinite(again.a["zero"]).all()


def test_who_joins_is_settled_when_it_is_asked_for() -> None:
    """Poles that begin in the middle of hours: with a checkpoint after every tick, with none, and with all settled at
    every tick, what is known of them is the same to the bit."""
    rng = np.random.default_rng(8)
    readings = rng.normal(40.0, 5.0, (80, 12))

    def lived(checkpoints: bool, eager: bool) -> Sensors:
        day = Day(town(trucks=0))

        def talk(now: int) -> list[Columns]:
            step = (now - start) // 300_000
            those = [row for row in range(12) if step > 6 * row]
            if not those:
                return []
            names = [f"pole-{row}" for row in those]
            return [said(day.city, "pole", names, now, pm25=readings[step, those], pm10=readings[step, those] * 1.5)]

        start = day.now
        for _ in range(70):
            day.every(300.0, 300.0, talk)
            if checkpoints:
                day.world = World.load(day.world.dump(), day.city, Tally())
            sensors = day.world.detectors["sensors"]
            assert isinstance(sensors, Sensors)
            if eager:
                sensors._settle()
        assert sensors.peers is not None
        assert sensors.peers.rounds == 5
        assert len(sensors.settled) < len(sensors.rows) == 12 or eager
        sensors._settle()
        return sensors

    plain, *others = (lived(*how).dump() for how in ((False, False), (True, False), (False, True)))
    for other in others:
        np.testing.assert_equal(other, plain)
