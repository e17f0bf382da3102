"""Readings for the contracts of stores and kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from devices.records import Kind
from twin.records import NOT_ACCOUNTABLE, Batch, Columns
from twin.store.protocol import Rows

HOUR_MS = 3_600_000
T0 = 1_700_000_000_000 // (24 * HOUR_MS) * (24 * HOUR_MS)  # a midnight UTC in 2023

Told = tuple[int, int, int, Mapping[str, float]]  # row, t, seq (-1: does not count), values


def rows() -> Rows:
    """A hundred poles and cells."""
    return Rows([(kind, row, f"{kind}-{row}") for kind in ("pole", "cell") for row in range(90)])


def batch(told: Sequence[Told], kind: str = "pole") -> Batch:
    """A batch of one kind."""
    if not told:
        return Batch()
    names = list(dict.fromkeys(name for *_, values in told for name in values))
    seq = np.array([s for _, _, s, _ in told], np.int64)
    t = np.array([at for _, at, _, _ in told], np.int64)
    columns = Columns(
        kind=kind,
        row=np.array([row for row, *_ in told], np.int32),
        t=t,
        boot=np.where(seq == NOT_ACCOUNTABLE, NOT_ACCOUNTABLE, 1_700_000_000).astype(np.int64),
        seq=seq,
        arrived=t + 40,
        flags=np.zeros(len(told), np.uint8),
        values={name: np.array([values.get(name, np.nan) for *_, values in told]) for name in names},
    )
    return Batch((columns,), messages=len(told))


@st.composite
def values_of(draw: st.DrawFn, kind: Kind) -> dict[str, float]:
    """One to all quantities of a kind, within their ranges."""
    chosen = draw(st.lists(st.sampled_from(kind.quantities), min_size=1, max_size=6, unique_by=lambda q: q.name))
    values: dict[str, float] = {}
    for q in chosen:
        if q.role == "state":
            values[q.name] = float(draw(st.integers(0, int(q.high))))
        else:
            number = st.floats(q.low, q.high, allow_nan=False).filter(lambda v: v not in (-200.0, 2147483647.0))
            values[q.name] = draw(number)
    return values
