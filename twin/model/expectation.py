"""What every channel should be saying: a level, a table by hour of day, and widths that follow the hour.

Formulas: docs/detection.md, "Expectation". Residual e = x - level - season(hour), learnt clipped at four scales;
bins of the hour are interpolated; channels whose weekends are others than their workdays add a table of these
(weekly.py). Hours are local hours of the week, 0 on Monday at midnight. All channels of a kind lie in flat arrays; a
channel's place there is its slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import grown, owned, runs
from twin.model.modelled import HUMAN_DAYS, growing, modelled, resolution
from twin.model.packed import encoded, nearest_visits, nearest_width, visits, widths
from twin.model.weekly import Weekly
from twin.records import F64, I32, I64

HOURS = 24
HOUR_MS = 3_600_000.0
YOUNG = 50  # visits before residuals are clipped: a scale that starts at zero would lock itself
CLIP = 4.0  # scales
BIN_MEMORY = 5.0  # visits of an hour bin
SCALE_MEMORY_H = 600.0  # hours
BIN_SCALE_MEMORY = 100.0  # visits of an hour bin
SHRINK = 30.0  # visits worth of the common scale in an hour's own
SIGMA = 1.2533  # standard deviation of a normal variable whose mean absolute value is 1: sqrt(pi/2)

# name -> (dtype, entries per channel, initial value)
_FIELDS: dict[str, tuple[Any, int, float]] = {
    "visits": (np.float32, 1, 0.0),
    "level": (np.float64, 1, np.nan),
    "width": (np.float32, 1, 0.0),  # mean |e| of steps
    "width_reading": (np.float32, 1, 0.0),  # mean |e| of single readings
    "learnt": (np.int64, 1, 0),  # event time of the last visit
    "season": (np.float32, HOURS, 0.0),
    "season_visits": (np.uint8, HOURS, 0),  # codes (packed.py)
    "season_width": (np.uint16, HOURS, 0),  # codes (packed.py)
    "expected": (np.float64, 1, np.nan),  # of the open step
    "sigma": (np.float32, 1, np.nan),  # of a single reading in the open step
    "factor": (np.float32, 1, 1.0),  # width of this hour against the day's
    "sum": (np.float64, 1, 0.0),  # of the open step
    "sum_abs": (np.float32, 1, 0.0),
    "count": (np.float32, 1, 0.0),
    "off": (np.float32, 1, 0.0),  # how far it was off lately: residuals over a quarter of an hour
}
_CODES: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "season_visits": nearest_visits,
    "season_width": nearest_width,
}


def hour_bins(hour: F64) -> tuple[NDArray[np.intp], NDArray[np.intp], F64]:
    """The two bins around a local hour of day or week (they are centred on half past), and the weight of the second.

    >>> [a.tolist() for a in hour_bins(np.array([0.0, 12.75]))]
    [[23, 12], [0, 13], [0.5, 0.25]]
    """
    place = np.mod(hour - 0.5, HOURS)
    first = np.floor(place).astype(np.intp) % HOURS
    return first, (first + 1) % HOURS, place - np.floor(place)


class Expectation:
    """The expectation of all channels of one kind. Slots are given when a channel first says something."""

    def __init__(self, kind: str, rows: int = 0) -> None:
        self.kind = kind
        self.wire = tuple(q.name for q in KINDS[kind].quantities)
        self.quantities = {q: self.wire.index(q) for q in modelled(kind)}  # modelled: name -> column
        self.memory_days = np.array([modelled(kind).get(q, np.nan) for q in self.wire])
        self.grows = np.array([q in growing(kind) for q in self.wire])  # its errors grow with its value
        self.floor = np.array([resolution(kind, q) for q in self.wire])
        self.human = self.memory_days == HUMAN_DAYS
        self.weekly = Weekly()
        self.table: I32 = np.full((len(self.wire), rows), -1, np.int32)  # slot by column and row
        self.slots = 0
        self.column: NDArray[np.int16] = np.empty(0, np.int16)  # by slot, index into the kind's quantities
        self.row: I32 = np.empty(0, np.int32)  # by slot
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.empty(0 if width == 1 else (0, width), dtype) for name, (dtype, width, _) in _FIELDS.items()
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def place(self, quantity: str) -> int:
        """The column of a quantity, -1 where the kind has none of that name (any more)."""
        return self.wire.index(quantity) if quantity in self.wire else -1

    def ensure_rows(self, rows: int) -> None:
        """Make room for that many devices."""
        self.table = grown(self.table, rows, -1, axis=1)

    def slots_of(self, column: int, rows: I32) -> I32:
        """The slots of one quantity (its column) at these rows. New channels get theirs in the order of rows."""
        slots: I32 = self.table[column, rows]
        if (slots < 0).any():
            new = np.unique(rows[slots < 0])
            self._allocate(column, new)
            slots = self.table[column, rows]
        return slots

    def _allocate(self, column: int, rows: I32) -> None:
        start, self.slots = self.slots, self.slots + len(rows)
        self.column = grown(self.column, self.slots, -1)
        self.row = grown(self.row, self.slots, -1)
        for name, (_, _, fill) in _FIELDS.items():
            self._arrays[name] = grown(self._arrays[name], self.slots, fill)
        self.weekly.ensure(self.slots)
        self.column[start : self.slots] = column
        self.row[start : self.slots] = rows
        self.table[column, rows] = np.arange(start, self.slots, dtype=np.int32)

    def of_rows(self, rows: I32) -> I32:
        """All slots of these devices, by column, then row."""
        slots = self.table[:, rows].ravel()
        return slots[slots >= 0]

    def add(self, slots: I32, x: F64, expected: F64) -> None:
        """Take readings into their open steps. `slots` may hold a slot several times, side by side."""
        e = np.abs(x - expected)
        e[np.isnan(e)] = 0.0
        if len(slots) > 1 and (slots[1:] == slots[:-1]).any():
            first, count = runs(slots)
            slots, x, e = slots[first], np.add.reduceat(x, first), np.add.reduceat(e, first)
        else:
            count = np.ones(len(slots), np.intp)
        a = self._arrays
        a["sum"][slots] += x
        a["sum_abs"][slots] += e
        a["count"][slots] += count

    def open(self, slots: I32, hour: F64) -> None:
        """Say what is expected of these channels in the step around the local `hour` (one entry a slot)."""
        a = self._arrays
        if not len(slots):
            return
        expected, sigma, factor = self.at(slots, hour)
        a["expected"][slots], a["sigma"][slots], a["factor"][slots] = expected, sigma, factor
        a["sum"][slots] = 0.0
        a["sum_abs"][slots] = 0.0
        a["count"][slots] = 0.0

    def at(self, slots: I32, hour: F64) -> tuple[F64, F64, F64]:
        """Expected value, one-sigma width of a reading, and the hour's width factor, at local hours."""
        a = self._arrays
        b0, b1, w1 = hour_bins(hour)
        w0 = 1.0 - w1
        first = slots.astype(np.intp) * HOURS  # in the flat tables
        second, first = first + b1, first + b0
        season, width, seen = (a[name].reshape(-1) for name in ("season", "season_width", "season_visits"))
        expected = a["level"][slots] + w0 * season.take(first) + w1 * season.take(second)
        expected += self.weekly.adds(slots, hour, (b0, b1, w1))
        c = w0 * visits(seen.take(first)) + w1 * visits(seen.take(second))
        own = w0 * widths(width.take(first)) + w1 * widths(width.take(second))
        whole = np.maximum(a["width"][slots].astype(np.float64), 1e-9)
        factor = np.clip(np.sqrt((c * own + SHRINK * whole) / ((c + SHRINK) * whole)), 0.2, 5.0)
        sigma = SIGMA * a["width_reading"][slots] * factor
        sigma = np.maximum(sigma, self.floor[self.column[slots]])
        sigma[a["visits"][slots] < 2] = np.nan
        return expected, sigma, factor

    def learn(self, slots: I32, t_ms: I64, hour: F64) -> None:
        """Learn the open steps of these channels (each once) and close them; t_ms and hour are the steps' own."""
        a = self._arrays
        n = a["count"][slots].astype(np.float64)
        x = a["sum"][slots] / n
        expected = a["expected"][slots]
        count = a["visits"][slots] + 1.0
        first = np.isnan(expected)
        e = np.where(first, 0.0, x - expected)
        width = a["width"][slots].astype(np.float64)
        young = count < YOUNG
        floor = self.floor[self.column[slots]]
        limit = np.where(young, np.inf, CLIP * width + floor)
        e_clipped = np.clip(e, -limit, limit)
        dt_h = np.clip((t_ms - a["learnt"][slots]) / HOUR_MS, 0.0, 24.0)
        u = np.minimum(1.0, dt_h)
        rate = np.minimum(1.0, np.maximum(dt_h / 24.0 / self.memory_days[self.column[slots]], 1.0 / count))
        level = a["level"][slots]
        a["level"][slots] = np.where(first, x, a["level"][slots] + rate * e_clipped)
        second = count <= 2
        rate_s = np.where(second, 1.0, np.minimum(1.0, np.maximum(u / SCALE_MEMORY_H, 1.0 / count)))
        spread = np.minimum(np.abs(e), np.where(young, np.inf, 2.0 * CLIP * width + floor))
        a["width"][slots] = width + rate_s * (spread - width)
        reading = a["width_reading"][slots].astype(np.float64)
        bound = np.where(young, np.inf, 2.0 * CLIP * np.maximum(reading, width) + floor)
        mean_abs = np.minimum(a["sum_abs"][slots] / n, bound)
        a["width_reading"][slots] = reading + rate_s * (mean_abs - reading)
        self._learn_hours(slots, t_ms, hour, u, e_clipped, spread)
        driven = np.flatnonzero(self.human[self.column[slots]])
        if len(driven):
            some, wide = slots[driven], np.maximum(width[driven], floor[driven])
            days = visits(a["season_visits"][some, hour_bins(hour[driven])[0]])
            self.weekly.watch(some, hour[driven], u[driven], e[driven], wide, days)
        left = e - np.where(first, 0.0, a["level"][slots] - level)  # what the level did not take up
        a["off"][slots] += np.clip(4.0 * dt_h, 0.1, 1.0) * (left - a["off"][slots])
        a["visits"][slots] = count
        a["learnt"][slots] = t_ms
        a["count"][slots] = 0.0
        a["sum"][slots] = 0.0
        a["sum_abs"][slots] = 0.0

    def _learn_hours(self, slots: I32, t_ms: I64, hour: F64, u: F64, e: F64, spread: F64) -> None:
        a = self._arrays
        b0, b1, w1 = hour_bins(hour)
        apart = self.weekly.learn(slots, hour, (b0, b1, w1), u, e)
        at = (slots.astype(np.intp) * HOURS + np.stack([b0, b1])).ravel()  # both bins of each, in the flat tables
        w = np.concatenate([(1.0 - w1) * u, w1 * u])
        season, width, visited = (a[name].reshape(-1) for name in ("season", "season_width", "season_visits"))
        c = visits(visited.take(at))
        season[at] += w * np.maximum(1.0 / BIN_MEMORY, 1.0 / (c + 1.0)) * np.tile(np.where(apart, 0.0, e), 2)
        own = widths(width.take(at)).astype(np.float64)
        own += w * np.maximum(1.0 / BIN_SCALE_MEMORY, 1.0 / (c + 1.0)) * (np.tile(spread, 2) - own)
        width[at], visited[at] = encoded(own, c + w, np.tile(t_ms, 2))

    # ---- checkpoint --------------------------------------------------------------------------------------------

    def views(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, cut to the slots in use; not copied."""
        n = self.slots
        told: dict[str, NDArray[Any]] = {name: array[:n] for name, array in self._arrays.items()}
        told |= {f"weekly_{name}": array for name, array in self.weekly.views(n).items()}
        return told | {"slot_row": self.row[:n], "slot_column": self.column[:n]}

    def load(self, arrays: dict[str, NDArray[Any]], names: tuple[str, ...]) -> None:
        """Take over dumped arrays; `names` were the kind's quantities then, some may be gone now."""
        was = np.array([self.quantities.get(q, -1) for q in names], np.int16)
        column: NDArray[np.int16] = was[arrays["slot_column"]]
        self.slots = len(column)
        self.column = column
        self.row = owned(arrays["slot_row"], np.int32)
        for name, (dtype, width, fill) in _FIELDS.items():
            known = arrays.get(name)
            shape = () if width == 1 else (width,)
            if known is None or known.shape[1:] != shape:  # the version which dumped did not have it, or not like this
                known = np.full(self.slots if width == 1 else (self.slots, width), fill, dtype)
            if known.dtype.kind == "f" and name in _CODES:  # it was kept exactly
                known = _CODES[name](known)
            self._arrays[name] = owned(known, dtype)
        weekly = {name.partition("_")[2]: array for name, array in arrays.items() if name.startswith("weekly_")}
        self.weekly.load(weekly, self.slots)
        alive = column >= 0
        if len(self.row):
            self.ensure_rows(int(self.row.max()) + 1)
        self.table[column[alive], self.row[alive]] = np.flatnonzero(alive).astype(np.int32)
        self.column[~alive] = 0
