"""Neighbours to compare with: of a pole, the nearest that carry the same quantity, in the city and in its district."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, nearest
from twin.detect.blocks import Districts
from twin.records import I32

NEIGHBOURS = 8
REACH_M = 30_000.0
KEPT = 32  # sets of carriers; a city has a handful: with air sensor, with noise sensor, all


class Neighbours:
    """Found when asked, kept while the same poles carry the quantity. Nothing here is learnt, so nothing is saved."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.districts = Districts(city)
        self._stand: tuple[object, int] = (None, 0)  # the roster and the number of rows that `_known` holds for
        self._known: dict[bytes, I32] = {}

    def of(self, kind: str, table: I32, columns: NDArray[np.integer[Any]], rows: I32) -> I32 | None:
        """Rows of the neighbours of `rows`, each for the quantity at its column: int32[n, k], -1 for none.

        table: slot by column and row, negative where the device never told the quantity. None: a kind without any.
        Of a pole the first eight are the nearest carriers, the next eight the nearest carriers of its own district.
        """
        if kind == "cell":
            return self.city.cell_neighbours[rows]
        if kind != "pole":
            return None
        out = np.full((len(rows), 2 * NEIGHBOURS), -1, np.int32)
        for column in np.unique(columns):
            mine = columns == column
            out[mine] = self.among(table[column] >= 0)[rows[mine]]
        return out

    def among(self, carries: NDArray[np.bool_]) -> I32:
        """int32[rows, 16]: of every pole the nearest that carry something, in the city and in its district.

        carries: by row, who does; it may be longer than the city has rows.
        """
        roster, rows = self.city.roster("pole"), self.city.rows("pole")
        if roster is not self._stand[0] or rows != self._stand[1]:
            self._stand, self._known = (roster, rows), {}
        carries = carries[: len(roster)] & roster.alive[: len(carries)]
        key = np.packbits(carries).tobytes()
        if key not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = self._find(np.flatnonzero(carries))
        return self._known[key]

    def _find(self, carriers: NDArray[np.intp]) -> I32:
        roster, of = self.city.roster("pole"), self.districts.of()
        near = np.full((self.city.rows("pole"), 2 * NEIGHBOURS), -1, np.int32)
        groups = [(carriers, slice(0, NEIGHBOURS))]
        if len(self.districts.codes) > 1:
            groups += [(carriers[of[carriers] == i], slice(NEIGHBOURS, None)) for i in range(len(self.districts.codes))]
        for some, place in groups:
            found = nearest(roster.lon[some], roster.lat[some], NEIGHBOURS, REACH_M)
            if len(some):
                near[some, place] = np.where(found >= 0, some[np.maximum(found, 0)], -1)
        return near
