"""The model: order, steps, last values, gaps and learning."""

from __future__ import annotations

import numpy as np
import pytest

from tests.twin.tick.town import HOUR, MINUTE, NIGHT_MS, said, town
from twin.model import STEP_MS, KindState, advance, modelled
from twin.model.expectation import YOUNG, Expectation
from twin.records import Frame


def frames(state: KindState, columns, city) -> list[Frame]:
    return list(advance(state, columns, city))


@pytest.fixture
def city():
    return town()


@pytest.fixture
def state(city) -> KindState:
    return KindState("pole", city.rows("pole"))


def test_a_device_is_in_one_step_a_frame(city, state) -> None:
    """Readings that span three steps come as three frames, in order; other devices do not make it more."""
    columns = [said(city, "pole", "pole-1", NIGHT_MS + i * MINUTE, voltage=220 + i) for i in range(12)]
    columns.append(said(city, "pole", "pole-0", NIGHT_MS, voltage=230))
    told = frames(state, columns, city)
    assert [len(f) for f in told] == [6, 5, 2]
    assert all(len(np.unique(f.t[f.rows == 1] // STEP_MS)) == 1 for f in told)
    assert np.concatenate([f.observed["voltage"][f.rows == 1] for f in told]).tolist() == list(range(220, 232))


def test_known_values_follow_each_device(city, state) -> None:
    """A sparse reading is completed by what its own device said before, in this frame or long ago."""
    frames(state, [said(city, "pole", ["pole-0", "pole-1"], NIGHT_MS, tilt=[1.0, 2.0])], city)
    later = NIGHT_MS + MINUTE
    columns = [
        said(city, "pole", "pole-0", later, tilt=3.0),
        said(city, "pole", ["pole-0", "pole-1", "pole-2"], later + 1, voltage=220.0),
    ]
    for frame in advance(state, columns, city):
        assert frame.rows.tolist() == [0, 0, 1, 2]
        assert frame.known["tilt"][:3].tolist() == [3.0, 3.0, 2.0]
        assert np.isnan(frame.known["tilt"][3])
        assert np.isnan(frame.known["voltage"][0])
        with pytest.raises(KeyError):
            frame.known["speed"]


def test_a_frame_is_scored_before_it_is_learnt(city, state) -> None:
    """The expectation shown with a step is the one from before the step."""
    for n in range(100):
        frames(state, [said(city, "pole", "pole-0", NIGHT_MS + n * STEP_MS, LAeq=50.0)], city)
    told = frames(state, [said(city, "pole", "pole-0", NIGHT_MS + 100 * STEP_MS, LAeq=90.0)], city)
    assert abs(told[0].samples.expected[0] - 50.0) < 0.1
    assert told[0].steps.observed[-1] == 90.0
    assert abs(told[0].steps.expected[-1] - 50.0) < 0.1


def test_the_usual_gap_is_learnt_both_ways(city, state) -> None:
    """A coarse history of 15 minutes is soon forgotten once the device speaks every 30 s; one long gap teaches
    little."""
    t = NIGHT_MS
    for _ in range(50):
        t += 15 * MINUTE
        frames(state, [said(city, "pole", "pole-0", t, LAeq=50.0)], city)
    assert state.arrays["gap"][0] == pytest.approx(900, rel=0.01)
    for _ in range(12):
        t += 30_000
        frames(state, [said(city, "pole", "pole-0", t, LAeq=50.0)], city)
    assert state.arrays["gap"][0] < 60
    t += 6 * HOUR
    frames(state, [said(city, "pole", "pole-0", t, LAeq=50.0)], city)
    assert state.arrays["gap"][0] < 100


def test_channels_appear_when_they_first_speak(city, state) -> None:
    """No slot before the first value; a channel that appears later than its device gets one then."""
    frames(state, [said(city, "pole", "pole-0", NIGHT_MS, LAeq=50.0)], city)
    assert state.expectation.slots == 1
    frames(state, [said(city, "pole", ["pole-0", "pole-5"], NIGHT_MS + HOUR, pm25=[9.0, np.nan], LAeq=51.0)], city)
    assert state.expectation.slots == 3
    assert set(modelled("truck")) == set()


def test_a_level_shift_moves_the_level_slowly_and_the_band_stays_finite() -> None:
    """A channel whose value jumps learns it over its memory, not at once; constants keep a band of their resolution."""
    model = Expectation("pole", 1)
    column = model.quantities["LAeq"]
    slot = model.slots_of(column, np.zeros(1, np.int32))
    t = np.array([NIGHT_MS])
    hour = np.array([12.0])
    for n in range(2 * YOUNG):
        model.open(slot, hour)
        model.add(slot, np.array([50.0]), model["expected"][slot])
        model.learn(slot, t + n * STEP_MS, hour)
    expected, sigma, _ = model.at(slot, hour)
    assert expected[0] == pytest.approx(50.0)
    assert sigma[0] == pytest.approx(0.05)
    model.open(slot, hour)
    model.add(slot, np.array([90.0]), model["expected"][slot])
    model.learn(slot, t + 2 * YOUNG * STEP_MS, hour)
    assert model.at(slot, hour)[0][0] < 51.0


def test_all_arrays_grow_with_the_city(city) -> None:
    """More rows than at the start: what was learnt stays where it was."""
    state = KindState("pole", 2)
    frames(state, [said(city, "pole", ["pole-0", "pole-1"], NIGHT_MS, LAeq=[50.0, 60.0])], city)
    state.ensure(5000)
    frames(state, [said(city, "pole", "pole-11", NIGHT_MS, LAeq=70.0)], city)
    assert state.last["LAeq"][[0, 1, 11]].tolist() == [50.0, 60.0, 70.0]
    assert np.isnan(state.last["LAeq"][4999])
