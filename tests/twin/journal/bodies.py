"""Bodies of every type, for the journal's tests: fixed ones, and hypothesis strategies."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import strategies as st

from twin.records import Action, Answer, Batch, Body, Columns, Edit, Link, Names, Online, Outcome, Refused, Reject, Tick

I64S = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(max_size=30)


def batch(length: int, *, kind: str = "pole", start: int = 0, quantities: tuple[str, ...] = ("voltage",)) -> Batch:
    """A batch of `length` readings of one device each, seq from `start`."""
    at = np.arange(start, start + length, dtype=np.int64)
    columns = Columns(
        kind=kind,
        row=(at % 100).astype(np.int32),
        t=1_700_000_000_000 + at * 1000,
        boot=np.full(length, 7, np.int64),
        seq=at,
        arrived=1_700_000_000_050 + at * 1000,
        flags=np.zeros(length, np.uint8),
        values=dict.fromkeys(quantities, at / 10),
    )
    return Batch((columns,), messages=length)


@st.composite
def columns(draw: Any) -> Columns:
    """Columns of any length with any numbers that their types can hold."""
    length = draw(st.integers(0, 12))

    def integers(dtype: type, low: int, high: int) -> Any:
        wide = st.integers(low, high)
        near = draw(wide)
        close = st.integers(max(low, near - 200), min(high, near + 200))
        numbers = draw(st.lists(draw(st.sampled_from([wide, close])), min_size=length, max_size=length))
        return np.array(numbers, dtype)

    big = (-(2**63), 2**63 - 1)
    floats = st.lists(st.floats(width=64), min_size=length, max_size=length)
    return Columns(
        kind=draw(TEXTS),
        row=integers(np.int32, -(2**31), 2**31 - 1),
        t=integers(np.int64, *big),
        boot=integers(np.int64, *big),
        seq=integers(np.int64, *big),
        arrived=integers(np.int64, *big),
        flags=integers(np.uint8, 0, 255),
        values={name: np.array(draw(floats), np.float64) for name in draw(st.lists(TEXTS, max_size=4, unique=True))},
    )


ROWS = st.tuples(TEXTS, st.integers(-1, 2**31 - 1))
REJECTS = st.builds(
    Reject, at_ms=I64S, topic=st.text(st.characters(), max_size=40), reason=TEXTS, detail=TEXTS,
    payload=st.binary(max_size=60),
)  # fmt: skip
REASONS = st.tuples(TEXTS, st.integers(-1, 2**31 - 1), TEXTS)
REFUSED = st.builds(Refused, kind=TEXTS, row=st.integers(-1, 2**31 - 1), boot=I64S, seq=I64S, reason=TEXTS)
BATCHES = st.builds(
    Batch,
    columns=st.lists(columns(), max_size=3).map(tuple),
    messages=st.integers(0, 2**40),
    duplicates=st.dictionaries(ROWS, st.integers(0, 2**40), max_size=4),
    rejected=st.dictionaries(REASONS, st.integers(0, 9), max_size=4),
    bad_values=st.dictionaries(REASONS, st.integers(0, 9), max_size=4),
    refused=st.lists(REFUSED, max_size=3).map(tuple),
    samples=st.lists(REJECTS, max_size=3).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | I64S | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
SMALL: st.SearchStrategy[Body] = st.one_of(
    st.builds(Tick, now_ms=I64S),
    st.builds(Link, state=st.sampled_from(["up", "down", "drained"])),
    st.builds(Names, rows=st.lists(st.tuples(TEXTS, st.integers(0, 2**31 - 1), TEXTS), max_size=4).map(tuple)),
    st.builds(Action, arguments=st.dictionaries(TEXTS, JSON, max_size=3)),
    st.builds(Outcome),
    st.builds(Answer),
    st.builds(Edit),
    st.builds(Online),
)


def same(left: Body, right: Body) -> bool:
    """Equal to the last bit: dtypes, NaN payloads and signs of zero included."""
    if not isinstance(left, Batch) or not isinstance(right, Batch):
        return left == right
    plain = [field.name for field in dataclasses.fields(Batch) if field.name != "columns"]
    if any(getattr(left, name) != getattr(right, name) for name in plain) or len(left.columns) != len(right.columns):
        return False
    return all(map(_same_columns, left.columns, right.columns))


def _same_columns(left: Columns, right: Columns) -> bool:
    if left.kind != right.kind or list(left.values) != list(right.values):
        return False
    pairs = [(getattr(left, name), getattr(right, name)) for name in ("row", "t", "boot", "seq", "arrived", "flags")]
    pairs += [(left.values[name], right.values[name]) for name in left.values]
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)
