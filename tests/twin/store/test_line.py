"""Line protocol: what is written is what was said, and each reading has its own instant."""

from __future__ import annotations

import gzip

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.readings import T0, batch
from twin.store import line


def test_one_line_as_documented() -> None:
    """A reading is one line: kind, device, lag, the values that it has, and nanoseconds with its number inside."""
    columns = batch([(7, T0, 42, {"voltage": 229.5, "pm25": 12.0}), (8, T0 + 1, 43, {"voltage": 230.0})]).columns[0]
    columns.boot[:] = 0
    lines = line.encode(1, columns, lambda row: f"pole,device=p-{row} lag=".encode())
    assert lines == [
        f"pole,device=p-7 lag=40.0,voltage=229.5,pm25=12.0 {T0}000042".encode(),
        f"pole,device=p-8 lag=40.0,voltage=230.0 {T0 + 1}000043".encode(),
    ]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_read_back_to_the_last_bit(values: list[float]) -> None:
    """Every finite float64 is written so that it reads back as itself, and as a float, never an integer."""
    columns = batch([(0, T0, i, {"voltage": v}) for i, v in enumerate(values)]).columns[0]
    told = [each.split(b"voltage=")[1].split(b" ")[0] for each in line.encode(1, columns, lambda _: b"p,device=d lag=")]
    assert np.array([float(v) for v in told]).tobytes() == np.array(values).tobytes()
    assert all(not v.endswith(b"i") for v in told)


def test_what_cannot_be_written_is_left_out() -> None:
    """NaN and infinity are left out; the line stays whole."""
    columns = batch([(0, T0, 1, {"a": float("inf"), "b": 1.0}), (0, T0, 2, {"a": 2.0})]).columns[0]
    lines = [each.rsplit(b" ", 1)[0] for each in line.encode(1, columns, lambda _: b"p,device=d lag=")]
    assert lines == [b"p,device=d lag=40.0,b=1.0", b"p,device=d lag=40.0,a=2.0"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60), st.integers(1, 10**6))
def test_uncounted_readings_of_one_entry_have_instants_of_their_own(told: list[tuple[int, int]], n: int) -> None:
    """Readings without seq never share (device, instant) within an entry, and get the same ones at each replay."""
    lot = batch([(row, T0 + at, -1, {"a": 1.0}) for row, at in told])
    if lot.columns:
        columns = lot.columns[0]
        stamps = line.stamps(n, columns)
        assert len(set(zip(columns.row.tolist(), stamps.tolist(), strict=True))) == len(told)
        assert (stamps // line.NS == columns.t).all()
        assert (stamps == line.stamps(n, columns)).all()


@given(st.text(min_size=1, max_size=20))
def test_escaped_names_never_break_a_line(text: str) -> None:
    """No name can end a line, a tag or a field early."""
    told = line.escape(text)
    assert "\n" not in told
    assert "\r" not in told
    for letter in " ,=":
        assert all(told[i - 1] == "\\" for i, each in enumerate(told) if each == letter)


def test_the_body_is_gzip() -> None:
    """Lines travel as one gzip member, parted by line feeds."""
    assert gzip.decompress(line.pack([b"a", b"b"])) == b"a\nb"
