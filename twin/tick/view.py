"""What a channel should say at given times, for charts and forecasts. Reads the world, changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from twin.city import City
from twin.detect.base import Budgeted
from twin.model import STEP_MS, KindState
from twin.records import F64, I64
from twin.tick.world import World

AHEAD_H = np.arange(0.0, 24.01, 0.25)  # hours ahead for which a forecast is told
BAND = 2.0  # the band that is shown: expected +- BAND * scale


def expectation(world: World, kind: str, row: int, quantity: str, t_ms: I64) -> tuple[F64, F64, F64]:
    """Expected value and the band's low and high end at event times `t_ms`, as the model knows the channel now.

    NaN where nothing is known yet, and for quantities that have no model. Raises KeyError for an unknown kind.
    """
    return _between(world.models[kind], world.city, row, quantity, t_ms)


def band(state: KindState, city: City, row: int, quantity: str, t_ms: int) -> tuple[float, float, float]:
    """The same at one time, as numbers."""
    expected, low, high = _between(state, city, row, quantity, np.array([t_ms], np.int64))
    return float(expected[0]), float(low[0]), float(high[0])


def _between(state: KindState, city: City, row: int, quantity: str, t_ms: I64) -> tuple[F64, F64, F64]:
    model = state.expectation
    nothing = np.full(len(t_ms), np.nan)
    if quantity not in model.quantities or not 0 <= row < model.table.shape[1]:
        return nothing, nothing, nothing
    slot = int(model.table[model.quantities[quantity], row])
    if slot < 0 or not len(t_ms):
        return nothing, nothing, nothing
    middle = t_ms // STEP_MS * STEP_MS + STEP_MS // 2
    expected, sigma, _ = model.at(np.full(len(t_ms), slot, np.int32), city.week_hour(middle))
    return expected, expected - BAND * sigma, expected + BAND * sigma


def forecast(world: World, kind: str, row: int, quantity: str, now_ms: int) -> tuple[I64, F64, F64] | None:
    """The next 24 hours from `now_ms`: times [n], expected [n], ends of the 95 % and 80 % bands [n, 4], ascending.

    None for quantities without a model and for channels too young. Raises KeyError for an unknown kind.
    """
    state = world.models[kind]
    model = state.expectation
    if quantity not in model.quantities or not 0 <= row < model.table.shape[1] or now_ms <= 0:
        return None
    slot = int(model.table[model.quantities[quantity], row])
    if slot < 0:
        return None
    t: I64 = now_ms + (AHEAD_H * 3_600_000).astype(np.int64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        middle, bands = state.forecast.ahead(slot, now_ms, world.city.week_hour(t), AHEAD_H)
    return (t, middle, bands) if np.isfinite(middle).all() and np.isfinite(bands).all() else None


def budgets(world: World) -> list[dict[str, Any]]:
    """Of every statistical detector (and kind): the false alarms allowed per 1,000 device- or channel-days, what the
    operators' verdicts did to its bars (a factor), and the days since the last verdict."""
    return [
        {"detector": name, "kind": one.kind, "allowed": one.allowed, "per": one.per, "bars_times": one.bars_times,
         "days": one.days}
        for name, detector in world.detectors.items() if isinstance(detector, Budgeted) for one in detector.budgets()
    ]  # fmt: skip
