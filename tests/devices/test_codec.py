"""The codec: round trips, bounds, and that no input does more than raise PayloadError."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.codec import (
    decode_columns,
    decode_senml,
    encode_columns,
    encode_flat,
    encode_json,
    encode_senml,
    encode_values,
    read_payload,
    salvage,
)
from devices.envelope import MAX_BYTES, MAX_READINGS
from devices.errors import REASONS, PayloadError
from devices.kinds import KINDS
from devices.records import Reading
from tests.contracts.readings import values_of

POLE = KINDS["pole"]
T0 = 1_700_000_000_000


@given(st.data(), st.integers(0, 2**40), st.booleans())
def test_columnar_round_trip(data: st.DataObject, boot: int, dense: bool) -> None:
    """A columnar pack gives its readings back, whether their numbers are consecutive or not."""
    seqs = data.draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=8, unique=True))
    if dense:
        seqs = list(range(seqs[0], seqs[0] + len(seqs)))
    readings = [Reading("d", T0 + i, data.draw(values_of(POLE)), boot, seq) for i, seq in enumerate(seqs)]
    assert decode_columns(POLE, encode_columns(readings), "d") == readings


@given(st.data(), st.none() | st.integers(0, 2**41), st.none() | st.integers(0, 2**40))
def test_values_encoded_before_their_envelope_are_the_same_text(
    data: st.DataObject, t_ms: int | None, seq: int | None
) -> None:
    """With and without time and number: byte by byte what a reading encoded at once is."""
    values = data.draw(values_of(POLE) | st.just({}))
    boot = None if seq is None else 7
    assert encode_flat(encode_values(values), t_ms, boot, seq) == encode_json(Reading("d", t_ms, values, boot, seq))


def test_values_may_not_take_the_envelopes_names_or_all_its_room() -> None:
    """They would be read as time or number; and what is too large once it has both is refused before it has."""
    with pytest.raises(PayloadError, match=r"envelope: .* called seq"):
        encode_values({"voltage": 1.0, "seq": 3.0})
    with pytest.raises(PayloadError, match="too_large"):
        encode_values({f"value{i}": 0.123456789012345 for i in range(MAX_BYTES // 28)})
    with pytest.raises(PayloadError, match="range"):
        encode_values({"voltage": float("nan")})


@given(st.data())
def test_senml_round_trip(data: st.DataObject) -> None:
    """A SenML pack gives its readings back, equal times, jumping numbers and changes of boot included."""
    count = data.draw(st.integers(1, 8))
    times = data.draw(st.lists(st.integers(T0, T0 + 3), min_size=count, max_size=count))
    boots = data.draw(st.lists(st.integers(1, 2), min_size=count, max_size=count))
    seqs = data.draw(st.lists(st.integers(1, 6), min_size=count, max_size=count))
    readings = [Reading("d:1", t, data.draw(values_of(POLE)), b, s) for t, b, s in zip(times, boots, seqs, strict=True)]
    assert decode_senml(POLE, encode_senml(readings, POLE), "d:1") == readings


def test_senml_names_units_once() -> None:
    """The first record of a quantity names its unit; the pack is a list with one base name."""
    readings = [Reading("p-7", T0 + i * 1500, {"voltage": 230.0 + i}, 7, 100 + i) for i in range(3)]
    pack = json.loads(encode_senml(readings, POLE))
    assert pack[0] == {"bn": "p-7:", "bt": 1700000000, "n": "boot", "v": 7}
    assert pack[1] == {"n": "seq", "v": 100}
    assert [record.get("u") for record in pack[2:]] == ["V", None, None]
    assert [record.get("bt") for record in pack[2:]] == [None, 1700000001.5, 1700000003]


def test_senml_relative_times_need_now() -> None:
    """A time relative to now is refused without the time of arrival, and counted from it otherwise."""
    pack = b'[{"bn":"p-7:","n":"voltage","t":-5,"v":230},{"n":"voltage","v":231}]'
    with pytest.raises(PayloadError, match="envelope"):
        decode_senml(POLE, pack, "p-7")
    readings = decode_senml(POLE, pack, "p-7", now_ms=T0)
    assert [r.t_ms for r in readings] == [T0 - 5000, None]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_never_encoded(value: float) -> None:
    """NaN and infinity cannot leave a sender in any form."""
    reading = Reading("p", T0, {"voltage": value}, 1, 1)
    for encode in (lambda: encode_json(reading), lambda: encode_columns([reading]), lambda: encode_senml([reading])):
        with pytest.raises(PayloadError, match="range"):
            encode()


def test_encoders_refuse_what_a_pack_cannot_hold() -> None:
    """Packs of no readings, of too many, of two devices or of mixed envelopes are refused before they are sent."""
    one = Reading("p", T0, {"voltage": 1.0}, 1, 1)
    for readings, reason in (
        ([], "too_large"),
        ([one] * (MAX_READINGS + 1), "too_large"),
        ([one, Reading("p", T0, {"voltage": 1.0})], "envelope"),
    ):
        with pytest.raises(PayloadError, match=reason):
            encode_columns(readings)
        with pytest.raises(PayloadError, match=reason):
            encode_senml(readings)
    with pytest.raises(PayloadError, match="device"):
        encode_senml([one, Reading("q", T0, {"voltage": 1.0}, 1, 2)])
    with pytest.raises(PayloadError, match="envelope"):
        encode_senml([Reading("p", 5_000, {"voltage": 1.0})])


@given(st.binary(max_size=400))
def test_random_bytes_are_only_refused(payload: bytes) -> None:
    """No bytes crash the reader; each refusal has one of the known reasons."""
    decoded = read_payload(POLE, "p", payload)
    assert all(r.error.reason in REASONS for r in decoded.refused)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
field_names = st.sampled_from(["t", "boot", "seq", "device", "voltage", "doorOpen", "Time", "ENERGY", "n", "v", "bn"])


@given(st.dictionaries(field_names, json_values, max_size=6) | st.lists(json_values, max_size=4))
def test_random_json_is_only_refused(value: object) -> None:
    """No JSON crashes the reader; all that is kept is finite and within range."""
    decoded = read_payload(POLE, "p", json.dumps(value).encode(), now_ms=T0)
    assert all(r.error.reason in REASONS for r in decoded.refused)
    for reading in decoded.readings:
        assert reading.values
        for name, number in reading.values.items():
            assert POLE.quantity(name).low <= number <= POLE.quantity(name).high


@given(st.lists(st.dictionaries(field_names | st.sampled_from(["bt", "bv", "u", "vs"]), json_values), max_size=4))
def test_random_packs_are_only_refused(pack: list[dict[str, object]]) -> None:
    """No SenML-like pack crashes the reader."""
    decoded = read_payload(POLE, "p", json.dumps(pack).encode(), now_ms=T0)
    assert all(r.error.reason in REASONS for r in decoded.refused)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"[" * 100_000, "syntax"),
        (b'{"voltage":' + b"9" * 5000 + b"}", "syntax"),
        (b'{"voltage":1e999}', "range"),
        (b'{"t":' + b"9" * 300 + b',"voltage":1}', "envelope"),
        (b'{"boot":' + b"9" * 300 + b',"seq":1,"voltage":1}', "envelope"),
        (b" " * (MAX_BYTES + 1), "too_large"),
        (b'{"t":[' + b",".join([b"1"] * (MAX_READINGS + 1)) + b"]}", "too_large"),
        (b'{"t":[]}', "empty"),
        (b"[]", "empty"),
        (b"{" + b",".join(b'"k%d":1' % i for i in range(20_000)) + b"}", "too_large"),
        (b"{" + b",".join(b'"k%d":[1]' % i for i in range(20_000)) + b"}", "too_large"),
        (b"[" + b",".join(b'{"n":"k%d","v":1}' % i for i in range(10_000)) + b"]", "too_large"),
        (b"\xff\xfe{}", "syntax"),
        (b"", "syntax"),
        (b"null", "shape"),
    ],
)
def test_hostile_payloads(payload: bytes, reason: str) -> None:
    """Bombs of depth, digits, size and number are refused by their reason."""
    decoded = read_payload(POLE, "p", payload)
    assert [r.error.reason for r in decoded.refused] == [reason]
    assert not decoded.readings


def test_a_refused_reading_keeps_its_number() -> None:
    """What cannot be read still tells boot and seq where each is named exactly once, so that it is no gap."""
    broken = b'{"t":1,"boot":5,"seq":77,"voltage":NaN}'
    (refusal,) = read_payload(POLE, "p", broken).refused
    assert (refusal.boot, refusal.seq) == (5, 77)
    assert salvage(b'{"boot":5,"seq":7,"seq":8,') == (None, None)
    assert salvage(b'{"boot":5') == (None, None)


def test_texts_are_cut() -> None:
    """A reason quotes at most a little of a hostile payload."""
    decoded = read_payload(POLE, "p", json.dumps({"x" * 5000: "y" * 5000}).encode())
    assert all(len(str(r.error)) < 400 for r in decoded.refused)
