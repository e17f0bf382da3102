"""Arrays by row that grow when a kind gets more devices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def grown(array: NDArray[Any], rows: int, fill: float, axis: int = 0) -> NDArray[Any]:
    """`array` with at least `rows` entries along `axis`, the new ones `fill`; the same array where it has them.

    Grows by half as much again, so that n devices one after the other cost n copies of one entry on average.
    """
    have = array.shape[axis]
    if rows <= have:
        return array
    wanted = max(rows, have + have // 2)
    out = np.full([*array.shape[:axis], wanted, *array.shape[axis + 1 :]], fill, array.dtype)
    place: list[slice] = [slice(None)] * array.ndim
    place[axis] = slice(0, have)
    out[tuple(place)] = array
    return out
