"""Readings go into the model: sorted by device and event time, cut so that a device is in one step at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twin.city import City, runs
from twin.model.known import Known
from twin.model.modelled import STEP_MS
from twin.model.state import KindState
from twin.records import F64, FLAG_LATE, I32, I64, Columns, Frame, Samples, known_by

PAST_MS = 600_000  # a reading that arrived this much after it was said is delayed data
SLOW = 0.75  # a device whose usual gap is this share of a step says one reading a step: learnt at once


@dataclass(slots=True)
class Block:
    """Readings of one kind, sorted by row, t, boot, seq; values by quantity name. `ahead`: how much later than t they
    say that they are."""

    rows: I32
    t: I64
    ahead: I64
    arrived: I64
    values: dict[str, F64]

    def cut(self, index: NDArray[np.intp] | slice) -> Block:
        return Block(
            self.rows[index], self.t[index], self.ahead[index], self.arrived[index],
            {q: x[index] for q, x in self.values.items()},
        )  # fmt: skip


def advance(state: KindState, columns: Sequence[Columns], city: City) -> Iterator[Frame]:
    """Feed readings to the model of their kind; yield frames, each before it is learnt.

    Whatever reads a frame must do so before asking for the next one. Readings marked late, or older than their
    device's newest, are passed over. The order and the cutting of `columns` make no difference.
    """
    block = _sorted(state, columns)
    if not len(block.rows):
        return
    steps = block.t // STEP_MS
    change = (block.rows[1:] == block.rows[:-1]) & (steps[1:] != steps[:-1])
    if not change.any():
        yield from _frame(state, block, city)
        return
    first, count = runs(block.rows)
    generation = np.concatenate(([0], np.cumsum(change)))
    generation -= np.repeat(generation[first], count)
    order = np.argsort(generation, kind="stable")
    edges = np.searchsorted(generation[order], np.arange(generation.max() + 2))
    for low, high in pairwise(edges):
        yield from _frame(state, block.cut(order[low:high]), city)


def _sorted(state: KindState, columns: Sequence[Columns]) -> Block:
    """Join, leave out what is late, and sort. Quantities that a part lacks are NaN there."""
    parts = [c for c in columns if len(c)]
    if not parts:
        none = np.empty(0, np.int64)
        return Block(np.empty(0, np.int32), none, none, none, {})
    rows = np.concatenate([c.row for c in parts]).astype(np.int32, copy=False)
    said, arrived = np.concatenate([c.t for c in parts]), np.concatenate([c.arrived for c in parts])
    t = known_by(said, arrived)
    late = (np.concatenate([c.flags for c in parts]) & FLAG_LATE) != 0
    late |= t < state.arrays["t"][rows]
    low = int(t.min())
    keep: NDArray[np.intp] | None = None
    if late.any():
        keep = np.flatnonzero(~late)
        rows, t = rows[keep], t[keep]
    order = np.argsort((rows.astype(np.int64) << 42) | np.minimum(t - low, (1 << 42) - 1), kind="stable")
    ties = (rows[order[1:]] == rows[order[:-1]]) & (t[order[1:]] == t[order[:-1]])
    index = order if keep is None else keep[order]
    if ties.any():
        boot, seq = (np.concatenate([getattr(c, name) for c in parts]) for name in ("boot", "seq"))
        if keep is not None:
            boot, seq = boot[keep], seq[keep]
        order = np.lexsort((seq, boot, said if keep is None else said[keep], t, rows))
        index = order if keep is None else keep[order]
    names = {name: None for c in parts for name in c.values if name in state.quantities}
    values = {}
    for name in state.quantities:
        if name in names:
            pieces = [c.values[name] if name in c.values else np.full(len(c), np.nan) for c in parts]
            x = (pieces[0] if len(pieces) == 1 else np.concatenate(pieces))[index]
            finite = np.isfinite(x)
            values[name] = x if finite.all() else np.where(finite, x, np.nan)
    return Block(rows[order], t[order], said[index] - t[order], arrived[index], values)


def _frame(state: KindState, block: Block, city: City) -> Iterator[Frame]:
    """One frame: close and open steps, compare, hand it out, then remember."""
    rows = block.rows
    first, count = runs(rows)
    last = first + count - 1
    devices = rows[first]
    state.learn_gaps(devices, block.t[last], count)
    closed = _open_steps(state, devices, first, block.t[first] // STEP_MS, city)
    samples = _compare(state, block)
    _try_out(state, samples, city)
    slow = state.arrays["gap"][devices] * 1000.0 >= SLOW * STEP_MS
    if slow.any():
        at_once = _close(state, devices[slow], last[slow].astype(np.int32), block.t[last[slow]], city)
        closed = _joined(_without(closed, devices[slow]), at_once)
    known = Known(state, devices, first, count, block.values)
    yield Frame(
        kind=state.kind,
        rows=rows,
        t=block.t,
        arrived=block.arrived,
        past=block.arrived - block.t > PAST_MS,
        observed=block.values,
        known=known,
        samples=samples,
        steps=closed,
        slots=state.expectation.slots,
        table=state.expectation.table,
    )
    state.remember(devices, {name: known[name][last] for name in block.values})
    known.seal()
    state.arrays["t"][devices], state.arrays["ahead"][devices] = block.t[last], block.ahead[last]


def _compare(state: KindState, block: Block) -> Samples:
    """Every modelled value of the block against its expectation; the values go into their open steps."""
    model = state.expectation
    parts: list[tuple[I32, NDArray[np.intp], F64, int]] = []
    for name, index in model.quantities.items():
        x = block.values.get(name)
        if x is None:
            continue
        valid = np.isfinite(x)
        reading = np.arange(len(x)) if valid.all() else np.flatnonzero(valid)
        if len(reading):
            parts.append((model.slots_of(index, block.rows[reading]), reading, x[reading], index))
    if not parts:
        return _nothing()
    slot = np.concatenate([p[0] for p in parts])
    reading = np.concatenate([p[1] for p in parts])
    x = np.concatenate([p[2] for p in parts])
    column = np.repeat(np.array([p[3] for p in parts], np.int16), [len(p[0]) for p in parts])
    expected, scale = model["expected"][slot], model["sigma"][slot].astype(np.float64)
    model.add(slot, x, expected)
    return Samples(
        slot=slot,
        row=block.rows[reading],
        column=column,
        reading=reading.astype(np.int32),
        t=block.t[reading],
        observed=x,
        expected=expected,
        scale=scale,
        visits=model["visits"][slot].astype(np.float64),
    )


def _try_out(state: KindState, samples: Samples, city: City) -> None:
    """Hold the newest reading of each channel against the channel's own forecast, where one was made for now; then
    what is switched is remembered for tomorrow."""
    forecast = state.forecast
    due = np.flatnonzero(forecast.due(samples.slot, samples.t))
    if len(due):
        first, count = runs(samples.slot[due])  # a slot's readings lie side by side
        last = due[first + count - 1]
        t = samples.t[last]
        forecast.answer(samples.slot[last], t, samples.observed[last], city.week_hour(t))
    switched = np.flatnonzero(forecast.switches[samples.column])
    if len(switched):
        t = samples.t[switched]
        forecast.yesterday.learn(samples.slot[switched], t, city.week_hour(t), samples.observed[switched])


def _open_steps(state: KindState, devices: I32, first: NDArray[np.intp], step: I64, city: City) -> Samples:
    """Close the steps that devices have left, and open those that they have come to."""
    current = state.arrays["step"]
    moved = current[devices] != step
    if not moved.any():
        return _nothing()
    rows = devices[moved]
    middle = current[rows] * STEP_MS + STEP_MS // 2
    closed = _close(state, rows, first[moved].astype(np.int32), middle, city)
    current[rows] = step[moved]
    slots = state.expectation.of_rows(rows)
    hour_of = city.week_hour(step[moved] * STEP_MS + STEP_MS // 2)
    state.expectation.open(slots, hour_of[np.searchsorted(rows, state.expectation.row[slots])])
    return closed


def _close(state: KindState, rows: I32, reading: I32, t_ms: I64, city: City) -> Samples:
    """Learn the open steps of these devices (sorted rows); what was seen and expected before learning."""
    model = state.expectation
    slots = model.of_rows(rows)
    slots = slots[model["count"][slots] > 0]
    if not len(slots):
        return _nothing()
    place = np.searchsorted(rows, model.row[slots])
    t = t_ms[place]
    closed = Samples(
        slot=slots,
        row=model.row[slots],
        column=model.column[slots],
        reading=reading[place],
        t=t,
        observed=model["sum"][slots] / model["count"][slots],
        expected=model["expected"][slots],
        scale=_width(state, slots),
        visits=model["visits"][slots].astype(np.float64),
    )
    hour = city.week_hour(t)
    model.learn(slots, t, hour)
    state.forecast.open(slots, t, hour)
    return closed


def _width(state: KindState, slots: I32) -> F64:
    """The scale of a step's mean: mean absolute residual of steps, by hour; NaN before two visits."""
    model = state.expectation
    width: F64 = model["width"][slots] * model["factor"][slots].astype(np.float64)
    width = np.maximum(width, 0.5 * model.floor[model.column[slots]])
    width[model["visits"][slots] < 2] = np.nan
    return width


def _nothing() -> Samples:
    ints, floats, longs = np.empty(0, np.int32), np.empty(0), np.empty(0, np.int64)
    return Samples(ints, ints, np.empty(0, np.int16), ints, longs, floats, floats, floats, floats)


def _without(s: Samples, rows: I32) -> Samples:
    """The steps but those of these devices: one step a channel and frame, the newest."""
    keep = ~np.isin(s.row, rows)
    if keep.all():
        return s
    return Samples(**{name: getattr(s, name)[keep] for name in Samples.__slots__})


def _joined(a: Samples, b: Samples) -> Samples:
    if not len(a):
        return b
    if not len(b):
        return a
    pairs = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in Samples.__slots__}
    return Samples(**pairs)
