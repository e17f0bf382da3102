"""Last known values along a frame: each reading completed by what its device said before. Worked out when asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from twin.city import carried
from twin.model.state import KindState
from twin.records import F64, I32


class Known(Mapping[str, F64]):
    """By quantity name, float64[n]: the device's last known value after each reading, NaN if it never said any.

    Quantities that are not asked for cost nothing. Once the model has gone on (`seal`), only those that were asked
    for before can still be had.
    """

    def __init__(self, state: KindState, rows: I32, first: NDArray[np.intp], observed: Mapping[str, F64]) -> None:
        self._state: KindState | None = state
        self._names = state.quantities
        self._rows, self._first, self._observed = rows, first, observed
        self._made: dict[str, F64] = {}

    def __getitem__(self, name: str) -> F64:
        made = self._made.get(name)
        if made is None:
            if self._state is None or name not in self._names:
                raise KeyError(name)
            made = self._made[name] = self._fill(self._state, name)
        return made

    def _fill(self, state: KindState, name: str) -> F64:
        x = self._observed.get(name)
        if x is None:
            before = state.recall(name, self._rows[self._first])
            return np.repeat(before, np.diff(np.r_[self._first, len(self._rows)]))
        valid = ~np.isnan(x)
        if valid.all():
            return x
        before = np.zeros(int(self._rows[-1]) + 1)
        before[self._rows[self._first]] = state.recall(name, self._rows[self._first])
        return carried(self._rows, x, valid, before)

    def seal(self) -> None:
        """The model goes on from here."""
        self._state = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names if self._state is not None else self._made)

    def __len__(self) -> int:
        return len(self._names if self._state is not None else self._made)
