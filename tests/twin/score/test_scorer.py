"""The scorer: no look-ahead, any split, faults above clean rows, junk without harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twin.score import Scorer, score_of
from twin.score.alarm import Alarms
from twin.score.evidence import EVIDENCE, VOICES, voices
from twin.score.history import History
from twin.score.scorer import mixture
from twin.score.season import find_period
from twin.score.tails import Tails

F64 = NDArray[np.float64]
N = 3000


def sine(seed: int = 0, columns: int = 1) -> F64:
    """A season of 60 steps with noise."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(N) * 2 * np.pi / 60)[:, None]
    return np.asarray(wave + rng.normal(0, 0.1, (N, columns)), np.float64)


@pytest.mark.parametrize("end", [1, 31, 32, 33, 500, 1777])
def test_no_look_ahead(end: int) -> None:
    """The scores of a prefix are the prefix of the scores, to the last bit."""
    x = sine(columns=3)
    whole, part = Scorer(3).score(x), Scorer(3).score(x[:end])
    assert np.array_equal(whole.rarity[:end], part.rarity)
    assert np.array_equal(whole.columns[:end], part.columns)


def test_any_split_gives_the_same_scores() -> None:
    """Rows one by one, or in odd parcels, are scored as all at once."""
    x = sine()[:400]
    at_once, split = Scorer(1).score(x).rarity, Scorer(1)
    parts = [split.score(x[:7]).rarity, split.score(x[7:7]).rarity, split.score(x[7:200]).rarity]
    parts += [split.score(x[i : i + 1]).rarity for i in range(200, 400)]
    assert np.array_equal(at_once, np.concatenate(parts))


def _spike(x: F64) -> None:
    x[0] += 1.5


def _shift(x: F64) -> None:
    x += 0.6


def _stuck(x: F64) -> None:
    x[:] = x[0]


def _noise(x: F64) -> None:
    x += np.random.default_rng(9).normal(0, 0.5, x.shape)


def _pattern(x: F64) -> None:
    x[:] = x[::-1].copy()


@pytest.mark.parametrize("fault", [_spike, _shift, _stuck, _noise, _pattern])
def test_a_fault_ranks_above_clean_rows(fault: object) -> None:
    """The highest score of a fault passes 999 of 1,000 clean rows."""
    assert callable(fault)
    x = sine()
    fault(x[2005:2060])
    told = Scorer(1).score(x).rarity
    assert told[2005:2060].max() > np.quantile(told[500:2000], 0.999)


def test_sisters_find_what_one_column_alone_hides() -> None:
    """A shift within the usual range is found because the other columns do not follow."""
    rng = np.random.default_rng(3)
    common = np.convolve(rng.normal(0, 1, N + 9), np.ones(10) / 3, "valid")
    x = np.c_[common, common, common] + rng.normal(0, 0.1, (N, 3))
    x[2000:2050, 1] += 1.5
    told = Scorer(3).score(x)
    assert told.rarity[2000:2050].max() > np.quantile(told.rarity[500:2000], 0.999)
    worst = 2000 + int(told.rarity[2000:2050].argmax())
    assert told.column[worst] == 1


def test_clean_noise_raises_hardly_any_alarm() -> None:
    """Normal noise: the share of rows beyond one in 10,000 stays below one in 500."""
    x = np.random.default_rng(5).normal(size=(10_000, 1))
    assert (Scorer(1).score(x).rarity > 4.0).mean() < 0.002


def test_scores_do_not_depend_on_units() -> None:
    """The same course in other units, on another offset, has the same scores."""
    x = sine()
    one, other = Scorer(1).score(x).rarity, Scorer(1).score(1e4 + 250.0 * x).rarity
    assert np.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e300, 1e-300, np.nan, np.inf])
def test_a_constant_is_never_an_alarm(value: float) -> None:
    """A column that says the same for ever, or nothing, is not surprising."""
    assert Scorer(2).score(np.full((500, 2), value)).rarity.max() < 2.0


def test_a_constant_that_moves_is_surprising() -> None:
    """The first change after a thousand equal values is seen."""
    x = np.zeros((1200, 1))
    x[1000] = 1.0
    told = Scorer(1).score(x).rarity
    assert told[1000] > 3.0
    assert told[:1000].max() < 1.0


def test_what_is_not_measured_has_no_opinion() -> None:
    """Rows of NaN score 0, and the rows after a gap are no alarm."""
    x = sine()
    x[1500:1700] = np.nan
    told = Scorer(1).score(x).rarity
    assert told[1500:1700].max() == 0.0
    assert told[1700:1800].max() < 5.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(width=64), min_size=1, max_size=150), st.integers(1, 3))
def test_junk_raises_nothing(values: list[float], columns: int) -> None:
    """Any numbers at all: finite scores, no exception, no warning."""
    x = np.resize(np.array(values), (len(values), columns))
    told = Scorer(columns).score(x)
    assert np.isfinite(told.rarity).all()
    assert np.isfinite(told.columns).all()
    assert (score_of(told.rarity) >= 0).all()
    assert (score_of(told.rarity) < 1).all()


def test_memory_is_bounded() -> None:
    """What is remembered stops growing."""
    scorer = Scorer(1)
    for _ in range(8):
        scorer.score(sine())
    assert len(scorer.x) == len(scorer.y) == scorer.ring


def test_any_period_is_found_and_none_invented() -> None:
    """A season of 73 steps is found; noise has none."""
    rng = np.random.default_rng(1)
    wave = np.sin(np.arange(800) * 2 * np.pi / 73) + rng.normal(0, 0.3, 800)
    assert abs(find_period(wave) - 73) <= 1
    assert find_period(rng.normal(size=800)) == 0


def test_tails_are_monotonic_and_meet_their_quantiles() -> None:
    """A larger value is never less rare, and the learnt 2 % quantile is told as 1.7."""
    y = np.abs(np.random.default_rng(2).normal(size=(4000, 1)))
    tails = Tails(1)
    tails.fit(y)
    told = tails.rarity(np.linspace(0, 6, 200)[:, None])[:, 0]
    assert (np.diff(told) >= 0).all()
    assert tails.rarity(np.quantile(y, [[0.98]]))[0, 0] == pytest.approx(1.7, abs=0.1)
    assert told[-1] > 4.0


def test_a_nuisance_raises_its_own_bar() -> None:
    """The same rarity, again and again, stops being an alarm."""
    rarity = np.zeros(4000)
    rarity[::40] = 4.5
    told = Alarms().step(rarity)
    assert told[0]
    assert not told[160::40].any() or told.sum() < 30


def test_a_column_that_starts_constant_becomes_usual() -> None:
    """A lamp circuit recorded from noon on: its first nights may be told, later ones are not."""
    t = np.arange(2500)
    on = (t + 120) % 288 > 200
    x = np.where(on, 1500.0 + np.random.default_rng(4).normal(0, 12, len(t)), 0.0)[:, None]
    told = Scorer(1).score(x).rarity
    assert (told[1200:] >= 4.0).mean() < 0.002


def test_a_map_from_history_is_monotonic_and_counts() -> None:
    """One row in a hundred of the history is told as about two; a rarer one always as more."""
    history = History(1)
    rng = np.random.default_rng(6)
    for block in range(800):
        history.learn(rng.exponential(0.6, (32, 1)))
        if block % 8 == 7:
            history.fit(0.5 if block in (63, 127, 255, 511) else 1.0)
    told = history.calibrated(np.linspace(0.0, 14.0, 600)[:, None])[:, 0]
    assert (np.diff(told) >= 0).all()
    assert history.calibrated(np.array([[0.6 * np.log(100.0)]]))[0, 0] == pytest.approx(2.0, abs=0.25)


def test_views_of_one_thing_are_one_witness() -> None:
    """Four means of a level that all say 4 weigh as much as one spike that says 4, and less than level and spike."""
    alone = np.zeros((3, len(EVIDENCE)))
    alone[0, EVIDENCE.index("spike")] = 4.0
    for i, name in enumerate(EVIDENCE):
        alone[1:, i] = 4.0 * (name == "level")
    alone[2, EVIDENCE.index("spike")] = 4.0
    spike, level, both = mixture(voices(alone))
    assert spike == pytest.approx(level)
    assert both > level
    assert voices(np.ones((2, len(EVIDENCE) - 2))).shape == (2, len(VOICES) - 1)


def test_little_is_much_in_a_quiet_part_of_the_season() -> None:
    """A load ten times noisier by day than at night: a step of two daily spreads at night ranks among the first rows
    (without a width for each part of the season 160 of 2,400 are before it)."""
    rng = np.random.default_rng(5)
    day = np.arange(96 * 30) % 96 < 48
    x = np.where(day, 10.0, 0.0) + rng.normal(0, 1, len(day)) * np.where(day, 1.0, 0.1)
    at = slice(96 * 20 + 70, 96 * 20 + 90)
    x[at.start : at.start + 6] += 2.0
    rarity = Scorer(1).score(x[:, None]).rarity
    assert (rarity[480:] >= rarity[at].max()).sum() < 80


def test_a_run_is_no_rarer_than_its_odds() -> None:
    """Columns that are nearly always 0 stay 0 for long, and rounded values repeat once: both are hardly news."""
    rng = np.random.default_rng(4)
    rounded = np.round(rng.normal(100, 15, (1500, 1)), 1)
    rare = (rng.random((1500, 30)) < 0.005).astype(float)
    again = np.flatnonzero(np.diff(rounded[:, 0]) == 0.0) + 1
    assert len(again)
    assert Scorer(1).score(rounded).rarity[again].max() < 4.0
    told = Scorer(30).score(rare)
    high = (told.rarity >= 4.0) & (rare == 0.0).all(axis=1)
    assert not (told.evidence[high] == EVIDENCE.index("stuck")).any()


def test_sisters_know_a_column_by_what_its_season_leaves() -> None:
    """Of many columns that follow one load some gain a season sooner than others; that alone is no fault of theirs, and
    a fault of three of them is seen."""
    rng = np.random.default_rng(8)
    n = 9000
    shock = rng.normal(0, 0.03, n)
    load = np.zeros(n)
    for i in range(1, n):
        load[i] = 0.95 * load[i - 1] + shock[i]
    load += 0.5 + 0.3 * np.sin(2 * np.pi * np.arange(n) / 1440)
    x = load[:, None] * rng.uniform(0.1, 1.0, 24) + rng.normal(0, 0.02, (n, 24))
    x[8000:8060, [1, 2, 4]] += 0.2
    told = Scorer(24).score(x).rarity
    assert (told[:8000] >= 4.0).mean() < 0.01
    assert np.median(told[8010:8060]) > 4.0


@pytest.mark.parametrize("columns", [1, 2])
def test_a_column_that_appears_late_begins_anew(columns: int) -> None:
    """A column that is blank for 2,000 rows is no news when it speaks, and its faults are found soon after."""
    rng = np.random.default_rng(12)
    late = 100 + 30 * np.sin(np.arange(N) * 2 * np.pi / 60)[:, None] + rng.normal(0, 2, (N, 1))
    late[:2000] = np.nan
    late[2800:2810] += 60.0
    x = np.c_[sine(), late][:, -columns:]
    told = Scorer(columns).score(x)
    assert (told.columns[:2000, -1] == 0.0).all()
    assert (told.rarity[:2800] >= 4.0).sum() <= 3
    assert told.rarity[2800:2810].max() >= 4.0


def test_a_column_that_hardly_speaks_waits_for_a_few_values() -> None:
    """One value in fifty rows: no opinion before eight of them were seen, and none of them is an alarm."""
    x = np.c_[sine(), np.full(N, np.nan)]
    x[::50, 1] = np.random.default_rng(2).normal(40, 1, len(x[::50]))
    told = Scorer(2).score(x)
    assert (told.columns[:350, 1] == 0.0).all()
    assert (told.columns[:, 1] >= 4.0).sum() == 0
    assert told.columns[2000:, 1].max() > 0.0


def test_a_new_fit_is_no_news() -> None:
    """A column of rare ones that is calm for long is no calmer than ever only because its scale was learnt anew."""
    rng = np.random.default_rng(303)
    x = np.c_[np.round(rng.normal(100, 3, (5000, 3)), 1), rng.poisson(2, (5000, 3)), rng.random((5000, 3)) < 0.01]
    assert (Scorer(9).score(x).rarity[200:] >= 4.0).mean() < 0.002
