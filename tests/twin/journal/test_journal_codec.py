"""The journal's bytes: every record comes back as it was, and nothing damaged passes for a record."""

from __future__ import annotations

import dataclasses
import zlib
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.twin.journal.bodies import BATCHES, SMALL, batch, same
from twin.errors import JournalBroken
from twin.journal import codec
from twin.journal.codec import CODES, decode, encode
from twin.records import F64, Batch, Body, Refused, Reject, Tick


@given(BATCHES)
def test_a_batch_comes_back_to_the_last_bit(body: Batch) -> None:
    """Any batch, with any integers, NaN payloads and odd texts, is the same after encode and decode."""
    assert same(decode(5, encode(body)).body, body)


@given(SMALL)
def test_a_small_record_comes_back_equal(body: Body) -> None:
    """Every other record is equal after encode and decode, and of the same type."""
    back = decode(5, encode(body)).body
    assert type(back) is type(body)
    assert back == body


@given(SMALL | BATCHES, st.data())
def test_a_cut_entry_is_refused_by_its_number(body: Body, data: st.DataObject) -> None:
    """Every proper prefix of an entry raises JournalBroken naming the entry."""
    whole = encode(body)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(JournalBroken, match="entry 77 "):
        decode(77, whole[:cut])


@given(BATCHES | SMALL, st.data())
def test_a_flipped_byte_is_refused_by_its_number(body: Body, data: st.DataObject) -> None:
    """One changed byte anywhere but in the reserved ones raises JournalBroken naming the entry."""
    whole = bytearray(encode(body))
    at = data.draw(st.integers(0, len(whole) - 1).filter(lambda i: i not in (2, 3)))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(JournalBroken, match="entry 78 "):
        decode(78, bytes(whole))


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    """Bytes that nobody encoded raise JournalBroken and nothing else."""
    with pytest.raises(JournalBroken):
        decode(1, data)


def test_every_body_has_a_number() -> None:
    """A record added to Body without a number in TYPES would fail at its first append; this fails before."""
    assert set(get_args(Body)) == set(CODES)


def test_every_field_of_a_batch_travels() -> None:
    """A field added to Batch must be in the codec, or a replay would differ from the live run."""
    full = Batch(
        columns=batch(2).columns,
        messages=1,
        duplicates={("pole", 1): 2},
        rejected={("", -1, "topic"): 3},
        samples=(Reject(1, "t", "topic", "d", b"\xff"),),
        refused=(Refused("pole", 1, 7, 8, "range"),),
        bad_values={("pole", 1, "range"): 4},
        asides={("pole", 0, "type"): 2},
        knocks=(Reject(1, "t", "unknown_device", "", b"{}"),),
    )
    empty = Batch()
    for field in dataclasses.fields(Batch):
        assert getattr(full, field.name) != getattr(empty, field.name), f"give {field.name} a value here"
    assert same(decode(1, encode(full)).body, full)


def test_numbers_are_for_ever() -> None:
    """An entry written by the first version of the code still reads: its bytes are kept here."""
    golden = bytes.fromhex("01020000e66482237b226e6f775f6d73223a317d")
    assert decode(1, golden).body == Tick(1)
    assert encode(Tick(1)) == golden


@pytest.mark.parametrize(
    ("values", "bytes_each"),
    [
        ((np.arange(1000) % 400 + 2000) / 10, 2),
        ((np.arange(1000) % 200 + 116391234) / 1e6, 1),
        (np.where(np.arange(1000) % 3, (np.arange(1000) % 90 - 2000) / 100, np.nan), 1),
        (np.full(1000, 230.5), 0),
        (np.sqrt(np.arange(1000)), 8),
        (np.full(1000, -0.0), 8),
        (np.where(np.arange(1000) == 999, np.inf, 1.5), 8),
        (np.full(1000, np.nan), 8),
        (np.where(np.arange(1000) == 500, 2.0**60, 1.5), 8),
        (np.where(np.arange(1000) > 20, np.pi, 1.5), 8),
    ],
)
def test_decimals_are_kept_short_and_exact(values: F64, bytes_each: int) -> None:
    """Sensors' decimals, with and without missing values, take a byte or two; all else travels raw; every bit holds."""
    body = batch(len(values), quantities=())
    bare = len(encode(body))
    for _ in range(2):  # also when the power is remembered
        body.columns[0].values = {"voltage": values}
        whole = encode(body)
        assert same(decode(1, whole).body, body)
        assert abs(len(whole) - bare - bytes_each * len(values)) < 60


decimals = st.integers(-(10**6), 10**6).flatmap(lambda n: st.integers(0, 7).map(lambda p: n / 10**p))
columns = st.lists(decimals | st.sampled_from([0.0, -0.0, np.nan, np.inf, 2.0**60, 1e300]), min_size=5, max_size=5)


@given(st.lists(columns, min_size=1, max_size=5), st.integers(0, 30))
def test_columns_packed_together_are_those_packed_apart(values: list[list[float]], repeated: int) -> None:
    """The way of small batches writes the same bytes as that of large ones, whatever power served a column last."""
    body = batch(5 + repeated, quantities=())
    body.columns[0].values = {f"q{i}": np.array([*column, *column[:1] * repeated]) for i, column in enumerate(values)}
    for powers in ({}, {f"q{i}": i for i in range(5)}, {f"q{i}": 1 for i in range(5)}):
        written, remembered = [], []
        for together in (0, 1 << 20):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(codec, "TOGETHER", together)
                patch.setattr(codec, "_likely", dict(powers))
                written.append(encode(body))
                remembered.append({name: power for name, power in codec._likely.items() if power})
        assert written[0] == written[1]
        assert remembered[0] == remembered[1]
        assert same(decode(1, written[1]).body, body)


def test_a_batch_of_the_first_version_reads() -> None:
    """What was journalled before values travelled as decimals is read as it was."""
    text = b'{"duplicates":[],"rejected":[],"bad_values":[],"messages":1,"samples":[],"refused":[],"columns":[%s]}' % (
        b'{"kind":"pole","n":1,"integers":[[4,0],[5,0],[6,0],[7,0],[8,0],[1,0]],"values":["voltage"]}'
    )
    payload = len(text).to_bytes(4, "little") + text + np.array([0.1 + 0.2]).tobytes()
    head = bytes((1, 1, 0, 0)) + zlib.crc32(payload, 1 << 8 | 1).to_bytes(4, "little")
    body = decode(1, head + payload).body
    assert isinstance(body, Batch)
    assert body.columns[0].values["voltage"].tolist() == [0.1 + 0.2]
    assert body.columns[0].row.tolist() == [4]


def test_a_wrong_dtype_is_refused_before_it_is_written() -> None:
    """Live and replayed columns must be the same, so a float64 seq or an int64 row is an error at append."""
    body = batch(3)
    body.columns[0].seq = body.columns[0].seq.astype(np.float64)  # type: ignore[assignment]
    with pytest.raises(TypeError, match="seq"):
        encode(body)


def test_unequal_lengths_are_refused() -> None:
    """A column shorter than the others is an error at append."""
    body = batch(3)
    body.columns[0].values["voltage"] = np.zeros(2)
    with pytest.raises(TypeError, match="voltage"):
        encode(body)
