"""Arrays by row that grow when a kind gets more devices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY = 1 << 16


def grown(array: NDArray[Any], rows: int, fill: float, axis: int = 0) -> NDArray[Any]:
    """`array` with at least `rows` entries along `axis`, the new ones `fill`; the same array where it has them.

    Grows by half as much again, so that n devices one after the other cost some 3 n copies of one entry; by an eighth
    from MANY rows on where `fill` is not 0. Where it is, room that nobody has yet takes no memory: the system gives
    such pages when they are first written.
    """
    have = array.shape[axis]
    if rows <= have:
        return array
    wanted = max(rows, have + (have // 2 if fill == 0 or have < MANY else have // 8))
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


def runs(keys: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each run of equal keys, which lie side by side, begins, and how long it is.

    >>> [a.tolist() for a in runs(np.array([4, 4, 5]))]
    [[0, 2], [2, 1]]
    """
    begins = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    first = begins.nonzero()[0]
    count = np.empty(len(first), np.intp)
    np.subtract(first[1:], first[:-1], out=count[:-1])
    count[-1:] = len(keys) - first[-1:]
    return first, count


def ranks(keys: NDArray[Any]) -> NDArray[np.intp]:
    """Which one it is, from 0, in its run of equal keys.

    >>> ranks(np.array([4, 4, 5])).tolist()
    [0, 1, 0]
    """
    first, count = runs(keys)
    return np.arange(len(keys)) - np.repeat(first, count)


def carried(
    first: NDArray[np.intp], count: NDArray[np.intp], x: NDArray[np.float64], valid: NDArray[np.bool_],
    before: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """The last valid x of the same run so far (`first`, `count`: as `runs` gives them); `before`, by run, where there
    is none yet.

    >>> x, valid = np.array([1.0, 2.0, 3.0]), np.array([True, False, False])
    >>> carried(*runs(np.array([4, 4, 5])), x, valid, np.array([7.0, 8.0])).tolist()
    [1.0, 1.0, 8.0]
    """
    if valid.all():
        return x
    newest = np.maximum.accumulate(np.where(valid, np.arange(len(x)), -1))
    known = newest >= np.repeat(first, count)
    filled: NDArray[np.float64] = np.where(known, x[np.maximum(newest, 0)], np.repeat(before, count))
    return filled
