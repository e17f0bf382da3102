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

    def __init__(
        self, state: KindState, devices: I32, first: NDArray[np.intp], count: NDArray[np.intp],
        observed: Mapping[str, F64],
    ) -> None:  # fmt: skip
        """`devices`: the rows that say something; where the readings of each begin, and how many there are."""
        self._state: KindState | None = state
        self._names = state.quantities
        self._devices, self._first, self._count, self._observed = devices, first, count, observed
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
            return np.repeat(state.recall(name, self._devices), self._count)
        valid = ~np.isnan(x)
        if valid.all():
            return x
        return carried(self._first, self._count, x, valid, state.recall(name, self._devices))

    def seal(self) -> None:
        """The model goes on from here."""
        self._state = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names if self._state is not None else self._made)

    def __len__(self) -> int:
        return len(self._names if self._state is not None else self._made)
