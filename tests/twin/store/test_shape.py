"""Arithmetic on readings: the same as doing it one reading at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.contracts.readings import batch
from twin.records import Columns
from twin.store import shape

VALUES = st.one_of(st.none(), st.integers(-1000, 1000).map(float))
Told = tuple[int, int, int, float | None, float | None]
READINGS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-50, 50), st.integers(0, 9), VALUES, VALUES), max_size=40
)  # fmt: skip


def columns(told: list[Told]) -> Columns:
    """Readings of two quantities as columns."""
    if not told:
        return shape.empty("pole", ["a", "b"])
    lot = batch([
        (row, t, seq, {k: v for k, v in (("a", a), ("b", b)) if v is not None}) for row, t, seq, a, b in told
    ])  # fmt: skip
    found = lot.columns[0]
    for name in ("a", "b"):
        found.values.setdefault(name, np.full(len(told), np.nan))
    return found


@given(READINGS)
def test_last_known_is_the_newest_value_of_each_quantity(
    told: list[Told],
) -> None:
    """Per device and quantity, `last_known` tells the value with the highest (t, seq), as a plain loop does."""
    found = shape.last_known(columns(told))
    newest: dict[int, dict[str, float]] = {}
    times: dict[int, int] = {}
    for row, t, _, a, b in sorted(told, key=lambda r: (r[1], r[2])):
        times[row] = t
        newest.setdefault(row, {}).update({k: v for k, v in (("a", a), ("b", b)) if v is not None})
    assert_array_equal(found.row, sorted(newest))
    assert_array_equal(found.t, [times[row] for row in sorted(newest)])
    for name in ("a", "b"):
        if told:
            assert_array_equal(found.values[name], [newest[row].get(name, np.nan) for row in sorted(newest)])


@given(READINGS, st.integers(0, 40))
def test_newest_learns_batch_by_batch(told: list[Told], cut: int) -> None:
    """Values kept in memory over two batches are those of `last_known` over both, where times differ."""
    told = list({(row, t): (row, t, seq, a, b) for row, t, seq, a, b in told}.values())
    newest = shape.Newest.start("pole", [columns(told[:cut]), columns(told[cut:])])
    kept, whole = newest.told(), shape.last_known(columns(told))
    assert_array_equal(kept.row, whole.row)
    assert_array_equal(kept.t, whole.t)
    for name in ("a", "b"):
        if name in kept.values:
            assert_array_equal(kept.values[name], whole.values[name])


@given(
    st.lists(st.tuples(st.integers(-1000, 1000), st.floats(-1e6, 1e6)), min_size=1, max_size=60),
    st.integers(1, 300), st.integers(0, 60),
)  # fmt: skip
def test_steps_of_parts_merge_to_the_steps_of_all(told: list[tuple[int, float]], step: int, cut: int) -> None:
    """Buckets of two parts, merged, are the buckets of the whole; made coarser, they are coarser buckets."""
    t = np.array([at for at, _ in told], np.int64)
    v = np.array([value for _, value in told])
    whole = shape.downsample(t, v, step)
    merged = shape.merge([shape.downsample(t[:cut], v[:cut], step), shape.downsample(t[cut:], v[cut:], step)])
    coarse, wide = shape.coarser(whole, 3 * step), shape.downsample(t, v, 3 * step)
    for one, other in ((merged, whole), (coarse, wide)):
        assert_array_equal(one.t, other.t)
        assert_array_equal(one.count, other.count)
        assert_array_equal(one.min, other.min)
        assert_array_equal(one.max, other.max)
        assert_allclose(one.mean, other.mean, rtol=1e-9, atol=1e-9)
