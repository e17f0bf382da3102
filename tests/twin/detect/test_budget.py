"""Verdicts move bars: a false whistle makes a class quieter, time without one brings it back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.contracts.test_detectors import STORIES, hear, play, rounds
from tests.twin.tick.town import Day, town, town_files
from twin.city import City, Registry
from twin.detect import DETECTORS, default_rules
from twin.detect.base import Budgeted
from twin.detect.budget import ETA, MOST, Budget
from twin.detect.episodes import OWN, Bars, Episodes, shipped
from twin.detect.peers import EVIDENCE

CLASSES = {"coverage_loss": "coverage_loss:cell-0", "interference": "interference:cell-0",
           "sleeping_cell": "sleeping_cell:cell-0", "night_noise": "night_noise:pole-0", "dust": "dust:pole-0",
           "lamp_degraded": "lamp_degraded:pole-0"}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_a_false_whistle_raises_the_bar_of_its_class(name: str) -> None:
    """By one step each, up to a bound; verdicts on other types and other kinds change nothing; a restart keeps it."""
    detector = DETECTORS[name](town(), default_rules())
    assert isinstance(detector, Budgeted)
    type_, subject = CLASSES[name].split(":")
    detector.judged("leakage", subject, True)
    detector.judged(type_, "truck-0", True)
    assert [one.bars_times for one in detector.budgets()] == [1.0]
    detector.judged(type_, subject, True)
    assert detector.budgets()[0].bars_times == pytest.approx(np.exp(ETA))
    again = DETECTORS[name](town(), default_rules())
    again.load(detector.dump())
    assert again.budgets() == detector.budgets()
    for _ in range(100):
        detector.judged(type_, subject, True)
    assert detector.budgets()[0].bars_times == pytest.approx(np.exp(MOST))


def test_a_raised_bar_is_asked_when_it_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coverage loss of 9 dB is found with a fresh budget, and not after many false ones (6 dB times 1.8)."""
    story = STORIES["coverage_loss"]
    assert [f.active for f in play("coverage_loss", story, True)] == [True]
    make = Budget.__init__

    def raised(self: Budget) -> None:
        make(self)
        self.ln = float(np.log(1.8))

    monkeypatch.setattr(Budget, "__init__", raised)
    assert play("coverage_loss", story, True) == []


def test_bars_follow_the_budget_and_unknown_quantities_get_the_middle() -> None:
    """A tenth of the false findings: higher bars for every evidence; ten times as many: lower ones."""
    bars = Bars(shipped(), ("pm25", "temperature"))
    assert bars.at(0.01).shape == (len(EVIDENCE), 2)
    assert (bars.at(0.001) > bars.at(0.01)).all()
    assert (bars.at(0.1) < bars.at(0.01)).all()
    known = [shipped()["bars"]["spike"][q] for q in shipped()["bars"]["spike"]]
    assert min(known) < bars.at(0.01)[0, 1] < max(known)


def test_a_wrongly_accused_channel_is_trusted_more() -> None:
    """Its own bar for that evidence rises; of the others only as much as everybody's."""
    one = Episodes(2, 3)
    bars = np.full((len(EVIDENCE), 2), 10.0)
    evidence = np.zeros((len(EVIDENCE), 2, 3))
    evidence[1, 0, 1] = 11.0
    told = np.ones((2, 3), bool)
    raised, _ = one.step(evidence, bars, told, told, 24)
    assert [(r.evidence, r.channel, r.at, r.first) for r in raised] == [(1, 0, 1, True)]
    one.verdict(True, 0.0, [(1, 0, 1)])
    for _ in range(24):
        raised, ended = one.step(evidence * 0, bars, told, told, 24)
    assert ended[0, 1]
    evidence[1] = 11.0
    raised, _ = one.step(evidence, bars, told, told, 24)
    assert {(r.channel, r.at) for r in raised} == {(c, p) for c in range(2) for p in range(3)} - {(0, 1)}
    assert one.own[1, 0, 1] == pytest.approx(OWN, rel=0.01)


def test_two_channels_of_a_device_with_one_fault_are_one_finding() -> None:
    """The second is not first of its type; another type on the same device is a finding of its own."""
    one = Episodes(3, 1)
    evidence = np.zeros((len(EVIDENCE), 3, 1))
    evidence[1, 0], evidence[1, 1], evidence[5, 2] = 20.0, 15.0, 30.0
    told = np.ones((3, 1), bool)
    raised, _ = one.step(evidence, np.full((len(EVIDENCE), 3), 10.0), told, told, 24)
    assert [(EVIDENCE[r.evidence], r.first) for r in raised] == [("bias", True), ("bias", False), ("stuck", True)]


def test_a_spike_that_lasts_gets_another_name() -> None:
    """What jumped and did not come back is no spike: it is renamed once, and is not a new episode."""
    one = Episodes(1, 1)
    bars, told = np.full((len(EVIDENCE), 1), 10.0), np.ones((1, 1), bool)
    evidence = np.zeros((len(EVIDENCE), 1, 1))
    evidence[0] = 50.0
    names = []
    for _ in range(5):
        raised, ended = one.step(evidence, bars, told, told, 24)
        names += [(EVIDENCE[r.evidence], r.renamed) for r in raised]
        assert not ended.any()
        evidence[0], evidence[1] = 0.0, evidence[1] + 6.0
    assert names == [("spike", False), ("bias", True)]


def test_an_episode_that_was_judged_false_does_not_blind_its_channel() -> None:
    """Evidence that stays where it was is no news; another kind that passes its bar begins an episode, and so does the
    same kind when it goes beyond what it was. One that was not judged, or judged right, goes on as one."""
    bars, told = np.full((len(EVIDENCE), 1), 10.0), np.ones((1, 2), bool)
    evidence = np.zeros((len(EVIDENCE), 1, 2))
    evidence[1] = 30.0
    one = Episodes(1, 2)
    begun = one.step(evidence, bars, told, told, 24)[0]
    assert [(EVIDENCE[r.evidence], r.at) for r in begun] == [("bias", 0), ("bias", 1)]
    one.verdict(1, 0.0, [(1, 0, 0)])
    one.verdict(0, 0.0, [(1, 0, 1)])
    assert not [r for _ in range(50) for r in one.step(evidence, bars, told, told, 24)[0]]
    again = Episodes(1, 2)
    again.load(one.dump())
    evidence[5] = 20.0
    begun = again.step(evidence, bars, told, told, 24)[0]
    assert [(EVIDENCE[r.evidence], r.at, r.first, r.anew) for r in begun] == [("stuck", 0, True, True)]
    evidence[1] = 40.0
    assert not again.step(evidence, bars, told, told, 24)[0], "the new one is not judged yet"
    again.verdict(1, 0.0, [(5, 0, 0)])
    evidence[1] = 60.0
    begun = again.step(evidence, bars, told, told, 24)[0]
    assert [(EVIDENCE[r.evidence], r.at) for r in begun] == [("bias", 0)]


def test_what_was_judged_false_hides_no_sister() -> None:
    """A second channel of the device with the same type is a finding of its own then; the judged one ends in its time,
    and a verdict that is taken back makes it one finding again."""
    told = np.ones((2, 1), bool)
    bars, evidence = np.full((len(EVIDENCE), 2), 10.0), np.zeros((len(EVIDENCE), 2, 1))
    evidence[1, 0] = 30.0
    for verdicts, first in (((1,), True), ((1, -1), False), ((0,), False)):
        one = Episodes(2, 1)
        one.step(evidence, bars, told, told, 24)
        for verdict in verdicts:
            one.verdict(verdict, 0.0, [(1, 0, 0)])
        both = evidence.copy()
        both[1, 1] = 30.0
        assert [(r.channel, r.first) for r in one.step(both, bars, told, told, 24)[0]] == [(1, first)]
        ended = np.zeros((2, 1), bool)
        for _ in range(24):
            ended |= one.step(evidence * 0, bars, told, told, 24)[1]
        assert ended.all()
        assert not one.false.any()


@pytest.mark.parametrize("judged", [True, False])
def test_a_sensor_that_was_wrongly_accused_is_found_when_it_breaks(judged: bool) -> None:
    """A person says that 190 is right where the neighbours read 60. While it lasts the sensor sticks: that is a finding
    of its own, and the first one ends with it. Without the verdict it is one and the same fault."""
    story = STORIES["sensors"]
    longer = replace(story, rounds=story.rounds + 60)
    day = Day(City(town_files(trucks=2), Registry()), story.start_ms - 1000)
    detector = day.world.detectors["sensors"]
    assert isinstance(detector, Budgeted)
    day.world.detectors, before = {"sensors": detector}, 0
    for n, (now, told) in enumerate(rounds(longer, True)):
        if n == story.warm + story.rounds:
            before = len(day.found)
            assert (day.found[-1].key, day.found[-1].active) == ("sensor_bias:pole-0", True)
            if judged:
                detector.judged("sensor_bias", "pole-0", 1)
        if n >= story.warm + story.rounds + 30:
            told[0][2]["pm25"] = 190.0
        day.now = now
        day.tick(hear(day.city, story, now, told))
    more = [(f.key, f.active) for f in day.found[before:]]
    assert more == ([("sensor_bias:pole-0", False), ("sensor_stuck:pole-0", True)] if judged else [])


def test_episodes_of_an_older_checkpoint_go_on() -> None:
    """It knows neither peaks nor what was judged: nothing is judged, and its episodes are open still."""
    one = Episodes(1, 1)
    one.kind[0, 0] = 1
    older = {name: x for name, x in one.dump().items() if name not in ("peak", "false")}
    again = Episodes(1, 1)
    again.load(older)
    assert again.kind[0, 0] == 1
    assert not again.false.any()
    assert not again.peak.any()


@pytest.mark.parametrize("name", CLASSES)
def test_a_verdict_that_is_taken_back_leaves_no_trace(name: str) -> None:
    """The bar of the class stands as before, that of the wrongly accused channel too."""
    detector = DETECTORS[name](town(), default_rules())
    assert isinstance(detector, Budgeted)
    for false in (1, -1):
        detector.judged(*CLASSES[name].split(":"), false)
    assert [one.bars_times for one in detector.budgets()] == [1.0]
    one = Episodes(2, 3)
    for false in (1, 0, -1, -1):
        one.verdict(false, 0.0, [(1, 0, 1)])
    assert not one.own.any()
