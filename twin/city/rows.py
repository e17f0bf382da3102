"""Arrays by row that grow when a kind gets more devices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY = 1 << 16


def grown(array: NDArray[Any], rows: int, fill: float, axis: int = 0) -> NDArray[Any]:
    """`array` with at least `rows` entries along `axis`, the new ones `fill`; the same array where it has them.

    Grows by half as much again, by an eighth from MANY rows on, so that n devices one after the other cost n (n / 8)
    copies of one entry on average. Room that nobody has yet takes no memory where `fill` is 0: the system gives such
    pages when they are first written.
    """
    have = array.shape[axis]
    if rows <= have:
        return array
    wanted = max(rows, have + (have // 2 if have < MANY else have // 8))
    shape = [*array.shape[:axis], wanted, *array.shape[axis + 1 :]]
    out = np.zeros(shape, array.dtype) if fill == 0 else np.full(shape, fill, array.dtype)
    place: list[slice] = [slice(None)] * array.ndim
    place[axis] = slice(0, have)
    out[tuple(place)] = array
    return out


def owned(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """`array` as one of that type that may be written and kept: itself, or a copy where it is another one's view."""
    if array.dtype == dtype and array.flags.owndata and array.flags.writeable:
        return array
    return array.astype(dtype, copy=True)


def grown_to(column: NDArray[np.int32], rows: int) -> NDArray[np.int32]:
    """`column` with exactly `rows` entries, the new ones -1; the same array where it has them."""
    if len(column) == rows:
        return column
    return np.concatenate([column, np.full(rows - len(column), -1, np.int32)])


def carried(
    rows: NDArray[np.int32], x: NDArray[np.float64], valid: NDArray[np.bool_], before: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The last valid x of the same row so far, by reading (sorted by row, then time); `before`, by row, where there
    is none yet.

    >>> carried(np.array([4, 4, 5]), np.array([1., 2., 3.]), np.array([True, False, False]), np.arange(6.0)).tolist()
    [1.0, 1.0, 5.0]
    """
    if valid.all():
        return x
    places = np.arange(len(x))
    first = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    start = np.repeat(first, np.diff(np.r_[first, len(x)]))
    newest = np.maximum.accumulate(np.where(valid, places, -1))
    filled: NDArray[np.float64] = np.where(newest >= start, x[np.maximum(newest, 0)], before[rows])
    return filled
