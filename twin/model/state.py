"""The state of one kind's devices: last values, when they were heard, how often they speak, what is expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import grown
from twin.model.expectation import Expectation
from twin.model.forecast import Forecast
from twin.records import F64, I32, I64, Presence

GAP_MEMORY = 8.0  # readings
_ROWS: dict[str, tuple[Any, float]] = {
    "t": (np.int64, 0),  # event time of the newest reading, 0: never
    "ahead": (np.int64, 0),  # how much later it says that it is, ms (twin/records.py, known_by)
    "arrived": (np.int64, 0),
    "heard": (np.float64, np.nan),  # on the link's clock, ms
    "gap": (np.float32, np.nan),  # s
    "mad": (np.float32, np.nan),  # s
    "step": (np.int64, -1),  # number of the open step
}


class KindState:
    """Arrays by row of one kind. Owned by its world and changed in place."""

    def __init__(self, kind: str, rows: int = 0) -> None:
        self.kind = kind
        self.rows = 0
        self.gaps_from_ms = 0  # gaps that begin before it say nothing of how often devices speak
        self.quantities = tuple(q.name for q in KINDS[kind].quantities)
        self.arrays: dict[str, NDArray[Any]] = {name: np.empty(0, dtype) for name, (dtype, _) in _ROWS.items()}
        self.last: dict[str, F64] = {}
        self.expectation = Expectation(kind)
        self.forecast = Forecast(self.expectation)
        self.ensure(rows)

    def ensure(self, rows: int) -> None:
        """Make room for that many devices."""
        self.rows = max(self.rows, rows)
        if rows <= len(self.arrays["t"]):
            return
        for name, (_, fill) in _ROWS.items():
            self.arrays[name] = grown(self.arrays[name], rows, fill)
        for name in self.last:
            self.last[name] = grown(self.last[name], rows, np.nan)
        self.expectation.ensure_rows(len(self.arrays["t"]))

    def hear(self, rows: I32, arrived: I64, link_ms: float, now_ms: int) -> None:
        """Devices were heard (in any reading, late ones too), at `arrived` city time; `link_ms` is the link's clock
        now. The same row may come several times."""
        newest = self.arrays["arrived"]
        np.maximum.at(newest, rows, arrived)
        some = np.unique(rows)
        ago = np.maximum(now_ms - newest[some], 0)
        heard = self.arrays["heard"]
        heard[some] = np.fmax(heard[some], link_ms - ago)

    def learn_gaps(self, rows: I32, t_ms: I64, count: NDArray[np.intp]) -> None:
        """Learn how often devices speak: their newest reading is at t_ms, `count` readings came since the last."""
        gap, mad, before = self.arrays["gap"], self.arrays["mad"], self.arrays["t"][rows]
        known = (before > 0) & (before >= self.gaps_from_ms) & (t_ms > before)
        rows, g = rows[known], ((t_ms - before)[known] / count[known] / 1000.0)
        usual = gap[rows].astype(np.float64)
        fresh = np.isnan(usual)
        usual[fresh] = g[fresh]
        g = np.minimum(g, 3.0 * usual)
        rate = np.where(g < 0.5 * usual, 0.5, 1.0 / GAP_MEMORY)
        spread = np.where(fresh, 0.25 * g, mad[rows].astype(np.float64))
        spread += (np.abs(g - usual) - spread) * np.where(fresh, 0.0, rate)
        gap[rows] = usual + rate * (g - usual)
        mad[rows] = spread

    def forget_gaps(self, now_ms: int, link_ms: float) -> None:
        """How often devices spoke before `now_ms` says nothing of how often they will: their cadence counts until that
        shows, and the gap that is open now is none: silence begins now, at `link_ms` on the link's clock."""
        self.gaps_from_ms = now_ms
        self.arrays["heard"] = np.maximum(self.arrays["heard"], link_ms)  # NaN, never heard, stays
        self.arrays["gap"][:] = np.nan
        self.arrays["mad"][:] = np.nan

    def remember(self, rows: I32, values: Mapping[str, F64]) -> None:
        """The last known values of devices (each row once)."""
        for name, x in values.items():
            column = self.last.get(name)
            if column is None:
                column = self.last[name] = np.full(len(self.arrays["t"]), np.nan)
            column[rows] = x

    def recall(self, name: str, rows: I32) -> F64:
        """The last known values of one quantity, NaN where it was never said."""
        column = self.last.get(name)
        return np.full(len(rows), np.nan) if column is None else column[rows]

    def presence(self, link_ms: float) -> Presence:
        """What is known of the devices when the link's clock stands at `link_ms`."""
        n = self.rows
        a = self.arrays
        return Presence(
            kind=self.kind,
            t=a["t"][:n],
            arrived=a["arrived"][:n],
            ahead_ms=a["ahead"][:n],
            silent_ms=link_ms - a["heard"][:n],
            gap_s=a["gap"][:n].astype(np.float64),
            mad_s=a["mad"][:n].astype(np.float64),
            last=LastValues(self.last, n),
        )

    # ---- checkpoint --------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, NDArray[Any]]:
        """Copies of all arrays by name, cut to the rows in use."""
        return {name: array.copy() for name, array in self.views().items()}

    def views(self) -> dict[str, NDArray[Any]]:
        """What `dump` gives, not copied: it is what the arrays are when it is read."""
        told: dict[str, NDArray[Any]] = {f"row.{name}": array[: self.rows] for name, array in self.arrays.items()}
        told["kind.gaps_from_ms"] = np.array([self.gaps_from_ms], np.int64)
        told.update({f"last.{name}": column[: self.rows] for name, column in self.last.items()})
        told.update({f"channel.{name}": array for name, array in self.expectation.views().items()})
        told.update({f"forecast.{name}": array for name, array in self.forecast.views().items()})
        return told

    def load(self, arrays: Mapping[str, NDArray[Any]], quantities: tuple[str, ...]) -> None:
        """Take over dumped arrays; `quantities` were the kind's then. Those that it no longer has are left behind."""
        rows = max([self.rows, *(len(a) for name, a in arrays.items() if name.startswith("row."))])
        self.ensure(rows)
        for name, (dtype, _) in _ROWS.items():
            known = arrays.get(f"row.{name}")
            if known is not None:
                self.arrays[name][: len(known)] = known.astype(dtype)
        self.gaps_from_ms = int(arrays.get("kind.gaps_from_ms", [0])[0])
        for name, known in arrays.items():
            group, _, quantity = name.partition(".")
            if group == "last" and quantity in self.quantities:
                self.last[quantity] = np.full(len(self.arrays["t"]), np.nan)
                self.last[quantity][: len(known)] = known
        channels = {n.partition(".")[2]: a for n, a in arrays.items() if n.startswith("channel.")}
        self.expectation.load(channels, quantities)
        self.expectation.ensure_rows(len(self.arrays["t"]))
        tried = {n.partition(".")[2]: a for n, a in arrays.items() if n.startswith("forecast.")}
        self.forecast.load(tried, np.array([self.expectation.place(q) for q in quantities], np.int16))


class LastValues(Mapping[str, F64]):
    """Last known values by quantity, cut to the rows in use; a view, valid until the next tick."""

    def __init__(self, last: Mapping[str, F64], rows: int) -> None:
        self._last, self._rows = last, rows

    def __getitem__(self, name: str) -> F64:
        return self._last[name][: self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def __len__(self) -> int:
        return len(self._last)
