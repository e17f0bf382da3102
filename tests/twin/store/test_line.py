"""Line protocol: what is written is what was said, and each reading has its own instant."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.readings import T0, batch
from twin.records import Batch, Columns
from twin.store import line
from twin.store.protocol import Rows


def test_one_line_as_documented() -> None:
    """A reading is one line: kind, device, lag, the values that it has, and nanoseconds with its number inside."""
    columns = batch([(7, T0, 42, {"voltage": 229.5, "pm25": 12.0}), (8, T0 + 1, 43, {"voltage": 230.0})]).columns[0]
    columns.boot[:] = 0
    assert lines_of(columns) == [
        f"pole,device=p-7 lag=40,voltage=229.5,pm25=12 {T0}000042".encode(),
        f"pole,device=p-8 lag=40,voltage=230.0 {T0 + 1}000043".encode(),
    ]


def lines_of(columns: Columns) -> list[bytes]:
    """Readings as lines of devices p-0, p-1, ..."""
    heads = line.Heads(Rows((columns.kind, row, f"p-{row}") for row in range(100)))
    (body,) = heads.bodies([(1, Batch((columns,), len(columns)))], 10_000)
    return body.split(b"\n")


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.tuples(
    st.integers(-(10**9), 10**9), st.integers(0, 6)).map(lambda told: told[0] / 10 ** told[1])  # fmt: skip


@given(st.lists(numbers, min_size=1, max_size=20) | st.lists(numbers.map(lambda x: round(x, 2)), min_size=1))
def test_numbers_read_back_to_the_last_bit(values: list[float]) -> None:
    """Every finite float64 is written so that it reads back as itself, and as a float, never an integer."""
    columns = batch([(0, T0, i, {"voltage": v}) for i, v in enumerate(values)]).columns[0]
    told = [each.split(b"voltage=")[1].split(b" ")[0] for each in lines_of(columns)]
    assert np.array([float(v) for v in told]).tobytes() == np.array(values).tobytes()
    assert all(not v.endswith(b"i") for v in told)


def test_what_cannot_be_written_is_left_out() -> None:
    """NaN and infinity are left out; the line stays whole."""
    columns = batch([(0, T0, 1, {"a": float("inf"), "b": 1.0}), (0, T0, 2, {"a": 2.0})]).columns[0]
    lines = [each.rsplit(b" ", 1)[0] for each in lines_of(columns)]
    assert lines == [b"pole,device=p-0 lag=40,b=1", b"pole,device=p-0 lag=40,a=2"]


def test_entries_and_kinds_are_put_together_and_cut() -> None:
    """Many small entries of several kinds make few bodies, none too long, and every reading is in one of them."""
    entries = []
    for n in range(1, 30):
        pole, cell = (batch([(row, T0 + n, n, {"a": row / 4, "b": 1.0})]).columns[0] for row in (n % 7, n % 5))
        entries.append((n, Batch((pole, replace(cell, kind="cell")), 2)))
    heads = line.Heads(Rows((kind, row, f"{kind}-{row}") for kind in ("pole", "cell") for row in range(9)))
    bodies = list(heads.bodies(entries, 25))
    sizes = [body.count(b"\n") + 1 for body in bodies]
    assert (sum(sizes), max(sizes), len(sizes)) == (58, 25, 4)
    lines = b"\n".join(bodies).split(b"\n")
    assert len(set(lines)) == 58
    assert f"cell,device=cell-3 lag=40,a=0.75,b=1 {T0 + 3}".encode() in {each[:-6] for each in lines}
    assert list(heads.bodies([(31, Batch())], 25)) == []


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
    assert gzip.decompress(line.pack(b"a\nb")) == b"a\nb"
