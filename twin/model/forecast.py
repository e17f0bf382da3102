"""The next 24 hours of a channel, with bands that hold what they state: every channel keeps trying itself out.

A forecast for h hours after t0 is season(t0 + h) + level + phi_h * r, where r is how far the channel was off at t0
(short-term correction, forgotten with h). Its band is that times the channel's width and a quantile of such errors.
Each channel remembers one forecast of its own at a time and is held against what it then says 1, 2, 3, 6, 12, 18 and
24 hours later; phi and the quantiles of each quantity and horizon are learnt from that, the one as a regression, the
others by steps (adaptive conformal: Gibbs and Candes 2021). One factor a channel fits the common band to it. It is held
against the band of the hour in which it was made: one that knows the hours between would hit more often.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import grown, owned
from twin.model.expectation import HOUR_MS, Expectation
from twin.model.modelled import switched
from twin.model.yesterday import Yesterday, unit_of
from twin.records import F64, I32, I64

HORIZONS = np.array([1.0, 2.0, 3.0, 6.0, 12.0, 18.0, 24.0])  # hours
_MINUTES = (60.0 * HORIZONS).astype(np.int32)
_KNOTS = np.log1p(np.r_[0.0, HORIZONS])  # errors grow fast at first, then slowly: a straight line would be too narrow
COVERAGE = np.array([0.8, 0.95])
TAILS = np.array([0.025, 0.10, 0.90, 0.975])  # their ends as quantiles of the error
PRIOR = (-5.0, -2.2, 2.2, 5.0)  # ends of the bands before anything was tried, in widths: wide, for errors have tails
YOUNG_RATE = 0.15  # the most that a quantile's step may be, in widths
AGAIN_H = 25.0  # the next forecast: an hour later every day, so that each hour of the day has its turn
LATE = 0.5  # hours after a horizon within which a reading still answers for it
YOUNG = 24.0  # visits of a channel before it tries itself out
MEMORY = 20_000.0  # tries of one quantity and horizon that phi remembers
RATE = 0.01  # step of the quantiles, in widths
FIT = 0.04  # step of a channel's own factor
WEEK_H = 168.0
MINUTE_MS = 60_000
NEVER = 2**31 - 1
_FIELDS: dict[str, tuple[Any, float]] = {
    "made": (np.int32, 0),  # when the present forecast was made, minutes since 1970; 0: none
    "off": (np.float32, 0.0),  # r of it
    "base": (np.float32, 0.0),  # season + level of each horizon, as they were known then [horizons]
    "wide": (np.float32, 0.0),  # the channel's width then
    "fitted": (np.float32, 0.0),  # and its `fit`
    "next": (np.int8, 0),  # which horizon comes next
    "turn": (np.int32, NEVER),  # and when, minutes since 1970
    "fit": (np.float32, 0.0),  # ln of the channel's own factor
}


class Forecast:
    """Over the channels of an Expectation, by slot; and by quantity (column) and horizon what they have in common."""

    def __init__(self, expectation: Expectation) -> None:
        self.expectation = expectation
        columns = len(expectation.wire)
        shape = (columns, len(HORIZONS))
        self.a: dict[str, NDArray[Any]] = {
            name: np.empty((0, len(HORIZONS)) if name == "base" else 0, dtype) for name, (dtype, _) in _FIELDS.items()
        }
        self.upper, self.lower = np.zeros(shape), np.full(shape, 1e-9)  # sums of r * e and r * r
        self.tries = np.zeros(shape)
        self.quantile = np.broadcast_to(np.array(PRIOR), (*shape, 4)).copy()
        self.yesterday = Yesterday()
        kind = expectation.kind
        self.units = np.array([unit_of(kind, q) if q in switched(kind) else np.nan for q in expectation.wire])
        self.switches = ~np.isnan(self.units)

    def ensure(self) -> None:
        """Make room for the channels that there are."""
        for name, (_, fill) in _FIELDS.items():
            self.a[name] = grown(self.a[name], self.expectation.slots, fill)
        if len(self.yesterday.place) < self.expectation.slots:
            self.yesterday.ensure(self.units[self.expectation.column[: self.expectation.slots]])

    # ---- trying out --------------------------------------------------------------------------------------------

    def due(self, slots: I32, t_ms: I64) -> NDArray[np.bool_]:
        """Which of these readings may answer a forecast."""
        self.ensure()
        answered: NDArray[np.bool_] = t_ms // MINUTE_MS >= self.a["turn"][slots]
        return answered

    def answer(self, slots: I32, t_ms: I64, x: F64, hour: F64) -> None:
        """Readings come in (the newest of each channel, each slot once): are they what was forecast for now?"""
        a = self.a
        waited = (t_ms - a["made"][slots].astype(np.int64) * MINUTE_MS) / HOUR_MS
        for index, horizon in enumerate(HORIZONS):
            at = np.flatnonzero((a["next"][slots] == index) & (waited >= horizon))
            if not len(at):
                continue
            a["next"][slots[at]] = index + 1
            a["turn"][slots[at]] = a["made"][slots[at]] + _MINUTES[index + 1] if index + 1 < len(HORIZONS) else NEVER
            at = at[waited[at] < horizon + LATE]
            if len(at):
                self._learn(slots[at], index, x[at], hour[at])

    def _learn(self, slots: I32, index: int, x: F64, hour: F64) -> None:
        model, a, column = self.expectation, self.a, self.expectation.column[slots]
        _, _, factor = model.at(slots, hour)
        base = a["base"][slots, index].astype(np.float64)
        off = a["off"][slots].astype(np.float64)
        e = x - base
        phi = self.phi(column)[np.arange(len(slots)), index]
        middle = base + phi * off
        wide = self._width(slots, a["wide"][slots] * factor) * self._stretch(slots, base, middle)
        middle, width = self._switched(slots, hour, middle, wide)
        z = (x - middle) / width
        known = np.isfinite(z)
        if not known.all():
            slots, column = slots[known], column[known]
            off, e, width, z = off[known], e[known], width[known], z[known]
        own = np.exp(a["fitted"][slots].astype(np.float64))[:, None] * self.quantile[column, index]
        below = z[:, None] < own  # scored before it is learnt
        missed = (z < own[:, 1]) | (z > own[:, 2])
        a["fit"][slots] = np.clip(a["fit"][slots] + FIT * (missed - (1.0 - COVERAGE[0])), -1.5, 1.5)
        columns = len(model.wire)
        u, v = np.clip(off / width, -6.0, 6.0), np.clip(e / width, -8.0, 8.0)
        count = np.bincount(column, minlength=columns)
        keep = (1.0 - 1.0 / MEMORY) ** count
        self.upper[:, index] = keep * self.upper[:, index] + np.bincount(column, u * v, columns)
        self.lower[:, index] = keep * self.lower[:, index] + np.bincount(column, u * u, columns)
        tries = self.tries[:, index] = self.tries[:, index] + count
        rate = np.maximum(RATE, np.minimum(YOUNG_RATE, 4.0 / np.maximum(tries, 1.0)))
        for i, tail in enumerate(TAILS):
            step = tail * count - np.bincount(column, below[:, i], columns)
            size = rate * np.maximum(np.abs(self.quantile[:, index, i]), 0.1) / min(tail, 1.0 - tail) * 0.1
            self.quantile[:, index, i] += np.clip(size * step, -0.5, 0.5)
        self.quantile[:, index] = np.sort(self.quantile[:, index], axis=1)

    def open(self, slots: I32, t_ms: I64, hour: F64) -> None:
        """Steps of these channels were learnt just now: those whose forecast is over make the next."""
        self.ensure()
        a, model = self.a, self.expectation
        minute = t_ms // MINUTE_MS
        over = (minute - a["made"][slots] >= AGAIN_H * 60.0) & (model["visits"][slots] >= YOUNG)
        if over.any():
            mine = slots[over]
            a["made"][mine], a["next"][mine] = minute[over], 0
            a["turn"][mine] = minute[over] + _MINUTES[0]
            for name, now in (("off", model["off"]), ("wide", model["width"]), ("fitted", a["fit"])):
                a[name][mine] = now[mine]
            for index, ahead in enumerate(HORIZONS):
                a["base"][mine, index] = model.at(mine, np.mod(hour[over] + ahead, WEEK_H))[0]

    def drop(self, slots: I32) -> None:
        """Other hardware goes on with these channels: what was forecast of the old one is not held against it."""
        self.ensure()
        self.a["made"][slots], self.a["next"][slots], self.a["turn"][slots] = 0, 0, NEVER

    # ---- asking ------------------------------------------------------------------------------------------------

    def phi(self, column: NDArray[np.int16]) -> F64:
        """How much of being off is left after each horizon, [n, horizons], 0..1."""
        phi: F64 = np.clip(self.upper[column] / np.maximum(self.lower[column], 1e-9), 0.0, 1.0)
        return phi

    def _width(self, slots: I32, width: F64) -> F64:
        """No narrower than the quantity's resolution."""
        wide: F64 = np.maximum(width, self.expectation.floor[self.expectation.column[slots]])
        return wide

    def _switched(self, slots: I32, hour: F64, middle: F64, width: F64) -> tuple[F64, F64]:
        """Middle and width, yesterday's for channels that are switched."""
        value, error = self.yesterday.at(slots, hour)
        known = np.isfinite(value)
        floor = self.expectation.floor[self.expectation.column[slots]]
        return np.where(known, value, middle), np.where(known, np.maximum(error, floor), width)

    def _stretch(self, slots: I32, usual: F64, middle: F64) -> F64:
        """Where errors grow with the value (concentrations, counts), how wide they are at `middle` against what is
        usual at that hour."""
        model = self.expectation
        grows = model.grows[model.column[slots]]
        least = 0.5 * np.abs(model["level"][slots]) + 1e-9
        stretch: F64 = np.where(grows, np.clip((middle + least) / np.maximum(usual + least, least), 0.4, 4.0), 1.0)
        return stretch

    def ahead(self, slot: int, now_ms: int, hour: F64, ahead_h: F64) -> tuple[F64, F64]:
        """Expected values [n] and the ends of the bands [n, 4] (TAILS) so many hours after now, at these local hours of
        the week.

        NaN where the channel is too young. Beyond the last horizon the last one's band goes on.
        """
        self.ensure()
        model = self.expectation
        slots = np.full(len(hour), slot, np.int32)
        expected, _, factor = model.at(slots, hour)
        column = model.column[slots[:1]]
        aged = (now_ms - int(model["learnt"][slot])) / HOUR_MS
        aged = aged if aged > 0.5 else 0.0  # heard long ago: so much further ahead is what comes
        h = np.log1p(np.maximum(ahead_h, 0.0) + aged)
        middle = expected + np.interp(h, _KNOTS, np.r_[1.0, self.phi(column)[0]]) * float(model["off"][slot])
        ends = np.stack([np.interp(h, _KNOTS[1:], self.quantile[column[0], :, i]) for i in range(4)], axis=1)
        width = self._width(slots, model["width"][slots] * factor) * self._stretch(slots, expected, middle)
        middle, width = self._switched(slots, hour, middle, width)
        bands = middle[:, None] + (width * np.exp(float(self.a["fit"][slot])))[:, None] * ends
        if model["visits"][slot] < YOUNG:
            middle, bands = np.full_like(middle, np.nan), np.full_like(bands, np.nan)
        return middle, bands

    # ---- checkpoint --------------------------------------------------------------------------------------------

    def views(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, cut to the slots in use; not copied."""
        self.ensure()
        told = {f"slot.{name}": array[: self.expectation.slots] for name, array in self.a.items()}
        common = ("upper", "lower", "tries", "quantile")
        told |= {f"yesterday.{name}": array for name, array in self.yesterday.views().items()}
        return told | {f"common.{name}": getattr(self, name) for name in common}

    def load(self, told: Mapping[str, NDArray[Any]], columns: NDArray[np.int16]) -> None:
        """Take over dumped arrays; `columns`: where each quantity of then is now, -1: gone."""
        for name in _FIELDS:
            known = told.get(f"slot.{name}")
            if known is not None and known.shape[1:] == self.a[name].shape[1:]:
                self.a[name] = owned(known, self.a[name].dtype)
        self.ensure()
        units = self.units[self.expectation.column[: self.expectation.slots]]
        self.yesterday.load({n.partition(".")[2]: a for n, a in told.items() if n.startswith("yesterday.")}, units)
        here = np.flatnonzero(columns >= 0)
        for name in ("upper", "lower", "tries", "quantile"):
            known = told.get(f"common.{name}")
            if known is not None and known.shape[1:] == getattr(self, name).shape[1:]:
                getattr(self, name)[columns[here]] = known[here]
