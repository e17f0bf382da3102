"""MQTT frames: golden bytes, any split of the stream, and streams of anything."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.ingest.frames import (
    CONNACK,
    HEAD_BYTES,
    PINGRESP,
    Control,
    Parcel,
    Parser,
    ProtocolError,
    Version,
    connect,
    disconnect,
    pubacks,
    publish,
    read_connack,
    read_suback,
    subscribe,
)

pytestmark = pytest.mark.usefixtures("loops")

# Written out from the standards (3.1.1 §3, 5.0 §3).
GOLDEN = [
    (publish("a/b", b"hi"), "30 07 00 03 61 2f 62 68 69"),
    (publish("a/b", b"hi", packet_id=10), "32 09 00 03 61 2f 62 00 0a 68 69"),
    (publish("a/b", b"hi", packet_id=10, version=5), "32 0a 00 03 61 2f 62 00 0a 00 68 69"),
    (publish("a", b"", retain=True), "31 03 00 01 61"),
    (connect("c", clean=True, keepalive_s=60), "10 0d 00 04 4d 51 54 54 04 02 00 3c 00 01 63"),
    (
        connect("c", keepalive_s=10, user="u", password="p"),
        "10 13 00 04 4d 51 54 54 04 c0 00 0a 00 01 63 00 01 75 00 01 70",
    ),
    (
        connect("c", version=5, keepalive_s=10),
        "10 16 00 04 4d 51 54 54 05 00 00 0a 08 11 ff ff ff ff 21 ff ff 00 01 63",
    ),
    (subscribe(1, [("a/#", 1)]), "82 08 00 01 00 03 61 2f 23 01"),
    (subscribe(1, [("a/#", 1)], 5), "82 09 00 01 00 00 03 61 2f 23 01"),
    (pubacks(b"\x00\x01\x12\x34"), "40 02 00 01 40 02 12 34"),
    (disconnect(), "e0 00"),
]


@pytest.mark.parametrize(("frame", "expected"), GOLDEN, ids=range(len(GOLDEN)))
def test_golden_frames(frame: bytes, expected: str) -> None:
    """What we send is byte for byte what the standards say."""
    assert frame == bytes.fromhex(expected)


def test_answers_of_a_broker() -> None:
    """CONNACK and SUBACK of both versions are read: code, session, demanded keep-alive, granted QoS."""
    assert read_connack(bytes.fromhex("01 00")).session_present
    assert read_connack(bytes.fromhex("00 05")).reason == "not authorised"
    five = read_connack(bytes.fromhex("00 00 06 13 00 0a 21 00 14"), 5)
    assert (five.code, five.keepalive_s) == (0, 10)
    assert read_connack(bytes.fromhex("00 00 0c 26 00 01 61 00 01 62 1f 00 02 68 69"), 5).keepalive_s is None
    assert read_suback(bytes.fromhex("00 01 01 80")) == [1, 128]
    assert read_suback(bytes.fromhex("00 01 00 01 87"), 5) == [1, 0x87]
    for body in ("", "00", "00 00 05 13", "00 00 02 99 00", "00 00 ff ff ff ff ff"):
        with pytest.raises(ProtocolError):
            read_connack(bytes.fromhex(body), 5 if len(body) > 3 else 4)
    with pytest.raises(ProtocolError):
        read_suback(b"\x00\x01")
    with pytest.raises(ProtocolError):
        read_suback(b"\x00\x01", 5)


Message = tuple[str, bytes, int]
messages = st.lists(
    st.tuples(
        st.sampled_from(["a", "city/d1/pole/p-1/telemetry", "x" * 200]),
        st.binary(max_size=300) | st.integers(16_300, 16_500).map(bytes),
        st.integers(0, 65_535),
    ),
    max_size=12,
)


def stream_of(sent: list[Message], version: Version) -> bytes:
    """The messages as a stream, with a PINGRESP after each second one."""
    frames = [publish(t, p, packet_id=i, version=version) for t, p, i in sent]
    return b"".join(frame + (b"\xd0\x00" if n % 2 else b"") for n, frame in enumerate(frames))


@given(messages, st.lists(st.integers(0, 20_000), max_size=30), st.sampled_from([4, 5]))
def test_any_split_gives_the_same(sent: list[Message], cuts: list[int], version: Version) -> None:
    """However the stream is cut, the same topics, payloads, ids and other packets come out."""
    stream = stream_of(sent, version)
    parser, parcel, controls = Parser(version), Parcel(), []
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in itertools.pairwise(bounds):
        controls += parser.feed(stream[start:end], parcel)
    assert parcel.topics == [t.encode() for t, _, _ in sent]
    assert parcel.payloads == [p for _, p, _ in sent]
    assert parcel.ids == b"".join(i.to_bytes(2, "big") for _, _, i in sent if i)
    assert controls == [Control(PINGRESP, b"")] * (len(sent) // 2)
    assert parcel.size == len(stream)


def test_byte_by_byte() -> None:
    """One byte at a time gives the same as all at once."""
    stream = stream_of([("a", b"1" * 200, 1), ("b", b"", 0), ("c", b"x", 65_535)], 4) + b"\x20\x02\x01\x00"
    parser, parcel, controls = Parser(), Parcel(), []
    for at in range(len(stream)):
        controls += parser.feed(stream[at : at + 1], parcel)
    assert parcel.topics == [b"a", b"b", b"c"]
    assert controls[-1] == Control(CONNACK, b"\x01\x00")


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("step", [1 << 30, 100_000, 4096])
def test_oversize_messages_are_cut_and_skipped(version: Version, step: int) -> None:
    """Of a message longer than the bound only the head is kept; its id and the messages around it are right."""
    big = bytes(3 * HEAD_BYTES)
    stream = (
        publish("a", b"1", version=version)
        + publish("b", big, packet_id=7, version=version)
        + publish("c", b"3", packet_id=8, version=version)
    )
    parser, parcel = Parser(version), Parcel()
    for at in range(0, len(stream), step):
        parser.feed(stream[at : at + step], parcel)
        assert len(parser._rest) <= HEAD_BYTES + step
    assert parcel.topics == [b"a", b"b", b"c"]
    assert [len(p) for p in parcel.payloads] == [1, parcel_head(version), 1]
    assert parcel.ids == b"\x00\x07\x00\x08"


def parcel_head(version: Version) -> int:
    """How much of an oversize payload is kept: the head less topic, id and properties."""
    return HEAD_BYTES - 5 - (1 if version == 5 else 0)


@given(st.lists(st.binary(max_size=64), max_size=20), st.sampled_from([4, 5]))
def test_any_bytes_at_all(chunks: list[bytes], version: Version) -> None:
    """Random bytes give messages, patience or ProtocolError; never another error, nor memory beyond the bound."""
    parser, parcel = Parser(version), Parcel()
    try:
        for chunk in chunks:
            parser.feed(chunk, parcel)
    except ProtocolError:
        return
    assert len(parser._rest) <= sum(map(len, chunks))


@given(st.binary(max_size=80), st.integers(0, 200))
def test_a_damaged_stream(noise: bytes, at: int) -> None:
    """Noise in the middle of good frames breaks the connection at worst."""
    stream = stream_of([("a", b"1" * 20, 1), ("b", b"2" * 20, 2), ("c", b"3" * 130, 3)], 4)
    damaged = stream[: at % len(stream)] + noise + stream[at % len(stream) :]
    parcel = Parcel()
    try:
        Parser().feed(damaged, parcel)
    except ProtocolError:
        return
    assert len(parcel.topics) == len(parcel.payloads)


def taken_apart(chunks: list[bytes], version: Version, bulk_from: int) -> tuple[object, ...]:
    """All that a parser makes of a stream: messages, ids, other packets, and whether it gave up."""
    parser, parcel, controls, gave_up = Parser(version, bulk_from), Parcel(), [], False
    try:
        for chunk in chunks:
            controls += parser.feed(chunk, parcel)
    except ProtocolError:
        gave_up = True
    return parcel.topics, parcel.payloads, parcel.ids, controls, gave_up, parser._rest


tricky = st.sampled_from(
    [b"0\x85\x01\x00\x01", b"\0\0\0", b"2\x04\0\x01a", b"0\x03\0\x01a", b'{"t":1}', b"", b"1" * 300]
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b" * 300, "city/d1/pole/p-1/telemetry"]), tricky, st.integers(0, 520)),
        max_size=30,
    ),
    st.sampled_from([4, 5]),
    st.binary(max_size=6),
    st.integers(0, 3000),
    st.lists(st.integers(0, 6000), max_size=4),
)
def test_in_bulk_or_one_by_one(sent: list[Message], version: Version, noise: bytes, at: int, cuts: list[int]) -> None:
    """Array arithmetic finds what the plain loop finds: among payloads that look like packets, ids with zero bytes,
    other packets between, damaged streams, and however they are cut."""
    stream = stream_of(sent, version)
    stream = stream[:at] + noise + stream[at:]
    bounds = sorted({0, len(stream), *(c for c in cuts if c < len(stream))})
    chunks = [stream[a:b] for a, b in itertools.pairwise(bounds)]
    assert taken_apart(chunks, version, 0) == taken_apart(chunks, version, 1 << 60)


@pytest.mark.parametrize(
    "stream",
    [
        "00 00",
        "f0 00",
        "34 07 00 03 61 2f 62 00 01",
        "30 02 00 09 61 61",
        "30 00 30 00",
        "30 ff ff ff ff 01",
        "20 ff ff ff 7f" + "00" * 100,
    ],
)
def test_what_is_no_mqtt(stream: str) -> None:
    """Impossible types, QoS 2, topics longer than their frame and lengths of five bytes end the connection."""
    data = bytes.fromhex(stream)
    data += bytes(HEAD_BYTES) if data[:1] == b"\x20" else b""
    with pytest.raises(ProtocolError):
        Parser().feed(data, Parcel())


def test_bounds_of_what_we_send() -> None:
    """Texts and packets that MQTT cannot hold are refused here, not by the broker."""
    with pytest.raises(ValueError, match="65,535"):
        connect("x" * 70_000)
    with pytest.raises(ValueError, match="fit one MQTT packet"):
        publish("a", bytes(1 << 28))
