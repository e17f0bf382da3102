"""Codes of one and two bytes: what creeps is not lost, what is stored is what is read, and no die is thrown."""

from __future__ import annotations

import numpy as np
import pytest

from twin.model.expectation import BIN_SCALE_MEMORY
from twin.model.packed import MOST_VISITS, encoded, nearest_visits, nearest_width, visits, widths

T0, STEP = 1_700_000_000_000, 300_000
CHANNELS = 400


@pytest.mark.parametrize("usual", [1e-5, 0.3, 7e4])
def test_a_width_that_creeps_gets_where_it_should(usual: float) -> None:
    """Steps of a thousandth, far below a code, in thousands: on average the width is what exact figures say, from
    above and from below, and no channel stands still."""
    rng = np.random.default_rng(1)
    exact = np.repeat([0.25 * usual, 4.0 * usual], CHANNELS // 2)
    codes, seen = nearest_width(exact), nearest_visits(np.full(CHANNELS, MOST_VISITS))
    begun = codes.copy()
    rate = 0.04 / BIN_SCALE_MEMORY
    for n in range(8000):
        spread = usual * rng.exponential(size=CHANNELS)
        exact += rate * (spread - exact)
        own = widths(codes).astype(np.float64)
        codes, seen = encoded(own + rate * (spread - own), visits(seen), np.full(CHANNELS, T0 + n * STEP))
    for half in (slice(0, CHANNELS // 2), slice(CHANNELS // 2, None)):
        assert widths(codes)[half].mean() == pytest.approx(exact[half].mean(), rel=0.01)
    assert (codes != begun).all()
    assert np.std(np.log(widths(codes) / exact)) < 0.04  # a width of a hundred visits is not known better itself


def test_visits_are_counted_on_average() -> None:
    """Visits of a small part each add up, on average, after one and after thirty, and stay below the most."""
    codes = np.zeros(CHANNELS, np.uint8)
    wide = np.arange(1.0, CHANNELS + 1.0)
    for n in range(1, 1801):
        _, codes = encoded(wide, visits(codes) + 0.04, np.full(CHANNELS, T0 + n * STEP))
        if n in (25, 750):
            assert visits(codes).mean() == pytest.approx(0.04 * n, rel=0.03)
    assert visits(codes).max() == MOST_VISITS
    assert visits(codes).mean() > 0.95 * MOST_VISITS


def test_every_code_is_kept() -> None:
    """What stands in a table and does not change is written back as it was, whenever that is."""
    every = np.arange(1 << 16).astype(np.uint16)
    counts = (every % 256).astype(np.uint8)
    for t in (0, T0, T0 + 1):
        wide, seen = encoded(widths(every).astype(np.float64), visits(counts), np.full(len(every), t))
        assert (wide == every).all()
        assert (seen == counts).all()
    assert (nearest_width(widths(every)) == every).all()
    assert (nearest_visits(visits(counts)) == counts).all()


def test_the_ends_of_the_range() -> None:
    """Nothing, the infinite and what is no number have codes, without a warning."""
    odd = np.array([0.0, 1e-300, np.inf, np.nan, 1e300])
    with np.errstate(over="ignore"):
        wide, seen = encoded(odd, np.array([0.0, 1e-9, 60.0, 1e9, 59.99]), np.full(len(odd), T0))
    assert wide.tolist() == [0, 0, 65535, 0, 65535]
    assert seen.tolist()[:1] + seen.tolist()[2:4] == [0, 255, 255]


def test_a_channel_learns_the_same_among_others() -> None:
    """Chance comes from a figure and its time: alone, in another order and among others it is the same."""
    rng = np.random.default_rng(2)
    wide, seen, t = rng.exponential(size=50), rng.uniform(0, 60, 50), T0 + rng.integers(0, 10**9, 50)
    whole, order = encoded(wide, seen, t), rng.permutation(50)
    mixed = encoded(wide[order], seen[order], t[order])
    for i in range(2):
        assert (mixed[i] == whole[i][order]).all()
        assert [encoded(wide[k : k + 1], seen[k : k + 1], t[k : k + 1])[i][0] for k in range(50)] == whole[i].tolist()
