"""Numbers, topics and packs read by array arithmetic say what the readers for one message say, or leave it to them."""

from __future__ import annotations

import itertools
import json
import random

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices import senml
from devices.codec import encode_columns, encode_json, encode_senml
from devices.kinds import KINDS
from devices.records import Reading
from tests.twin.ingest.conftest import T0, People
from tests.twin.ingest.test_columns import NOW, OPEN, reasons, said, strictly
from twin.ingest.columns import Columniser, Received
from twin.ingest.cuts import PAD, Cuts, cut, join
from twin.ingest.digits import BLOCK, EXACT, Numbers, read, tokens
from twin.ingest.index import LONGEST, STRANGER, Index
from twin.ingest.template import KEPT, PATIENCE, learn

pytestmark = pytest.mark.usefixtures("loops")


def numbers(texts: list[str]) -> Numbers:
    """Texts of token characters, read at once."""
    data = PAD + "x".join((*texts, "")).encode() + PAD
    cuts = Cuts(data, np.zeros((4, 0), np.int64))
    start, end = tokens(cuts.bytes())
    assert len(start) == len(texts)
    return read(cuts.bytes(), cuts.words(), start, end)


token = (
    st.integers(-(10**17), 10**17).map(str)
    | st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: f"{x:.{random.Random(x).randrange(9)}f}")
    | st.text("0123456789.-/", min_size=1, max_size=18)
    | st.sampled_from(["0", "-0", "00", "-0.0", "-", ".", "1.", ".1", "01", "-01", "0.1", str(EXACT), str(EXACT - 1)])
)


@given(st.lists(token, min_size=1, max_size=40))
@settings(max_examples=300)
def test_numbers_are_those_of_json(texts: list[str]) -> None:
    """A number that is read is what json reads, to the last bit; what json refuses is not read."""
    found = numbers(texts)
    for index, text in enumerate(texts):
        try:
            expected = json.loads(text)
        except ValueError:
            expected = None
        if found.good[index]:
            assert expected is not None, text
            assert float(expected) == found.value[index], text
            assert found.whole[index] == text.isdigit(), text
        elif expected is not None:
            assert len(text.lstrip("-")) > 16 or int(text.replace(".", "").lstrip("-")) >= EXACT, text


def test_numbers_of_every_length_and_point() -> None:
    """All lengths and places of the point within reach are read, over the border of a block."""
    texts = ["1234567890123456"[:n] for n in range(1, 16)]
    texts += [f"{whole[:at]}.{whole[at:]}" for whole in list(texts) for at in range(1, len(whole))]
    texts = (texts + ["-" + text for text in texts]) * 45
    assert len(texts) > 2 * BLOCK
    found = numbers(texts)
    assert found.good.all()
    assert found.value.tolist() == [float(text) for text in texts]


topics = st.lists(st.binary(min_size=1, max_size=200).filter(lambda t: b"\0" not in t), unique=True, max_size=30)


@given(topics, topics)
def test_topics_are_found_by_all_their_bytes(known: list[bytes], others: list[bytes]) -> None:
    """Each known topic (unless very long) has its number; no other topic has one."""
    index = Index()
    for number, topic in enumerate(known):
        index.add(topic, number)
    asked = known + others
    found = index.numbers(join([cut(asked, [b"p"] * len(asked))])).tolist()
    order = {topic: number for number, topic in enumerate(known) if len(topic) <= LONGEST}
    assert found == [order.get(topic, STRANGER) for topic in asked]


def test_many_topics() -> None:
    """A city's topics are all found, whatever their hashes share."""
    known = [b"city/d%d/pole/p-%d/telemetry" % (n % 7, n) for n in range(20_000)]
    index = Index()
    for number, topic in enumerate(known):
        index.add(topic, number)
    mixed = known[::-1]
    assert index.numbers(join([cut(mixed, [b""] * len(mixed))])).tolist() == list(range(20_000))[::-1]


def pack(device: str, first: int, rounds: int, values: dict[str, float], *, counted: bool = True) -> bytes:
    """A regular pack as our own senders write it."""
    return encode_senml(
        [
            Reading(
                device,
                T0 + 37 * (first + k),
                {n: v + k for n, v in values.items()},
                *((3, first + k) if counted else ()),
            )
            for k in range(rounds)
        ],
        KINDS["pole"],
    )


def columnise(columniser: Columniser, messages: list[tuple[str, str, bytes]]) -> Received:
    names = [f"city/d1/{kind}/{device}/telemetry".encode() for kind, device, _ in messages]
    return columniser.columnise([(cut(names, [payload for _, _, payload in messages]), NOW)])


number = st.floats(0, 200, allow_nan=False).map(lambda x: round(x, 2)) | st.integers(0, 90) | st.just(1 / 3)
good_pack = st.builds(
    lambda device, first, rounds, values, counted: (device, pack(device, first, rounds, values, counted=counted)),
    st.sampled_from(["p-1", "p-12", "p-99"]),
    st.integers(1, 10**6),
    st.integers(1, 4),
    st.dictionaries(st.sampled_from(["voltage", "temperature", "pm25", "pm10"]), number, min_size=1),
    st.booleans(),
)


def flat_or_packed(device: str, first: int, rounds: int, values: dict[str, float], spaced: bool) -> bytes:
    """A flat reading (of no rounds) or a columnar pack, as our own senders write it or with spaces between."""
    readings = [
        Reading(device, T0 + 37 * (first + k), {n: v + k for n, v in values.items()}, 3, first + k)
        for k in range(max(1, rounds))
    ]
    payload = encode_columns(readings) if rounds else encode_json(readings[0])
    return json.dumps(json.loads(payload)).encode() if spaced else payload


LABELS = {name: label for label, name in senml.LABELS.items()}


def in_cbor(payload: bytes, *, by_label: bool = True) -> bytes:
    """A JSON pack in CBOR."""
    records = json.loads(payload)
    return cbor2.dumps(
        [{LABELS[k] if by_label else k: v for k, v in r.items()} for r in records] if by_label else records
    )


good_json = st.builds(
    lambda device, first, rounds, values, spaced: (device, flat_or_packed(device, first, rounds, values, spaced)),
    st.sampled_from(["p-1", "p-12", "p-99"]),
    st.integers(1, 10**6),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from(["voltage", "temperature", "pm25", "powerState"]), number, min_size=1),
    st.booleans(),
)


PIECES = [b"", b"9", b"-", b".", b"0", b" ", b'"', b"e1", b"/", b",", b"p-12", b"null", b"\xba", b"true"]


@st.composite
def spoilt(draw: st.DrawFn, good: st.SearchStrategy[tuple[str, bytes]]) -> tuple[str, bytes]:
    """A message with some of its bytes changed, taken out or doubled."""
    device, payload = draw(good)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(payload) - 1))
        piece = draw(st.sampled_from(PIECES))
        payload = payload[:at] + piece + payload[at + draw(st.integers(0, 2)) :]
    return device, payload


good_cbor = st.builds(lambda one, by_label: (one[0], in_cbor(one[1], by_label=by_label)), good_pack, st.booleans())


@given(st.lists(st.lists(good_cbor | spoilt(good_cbor), max_size=8), min_size=1, max_size=3))
@settings(max_examples=150)
def test_cbor_by_template_or_strictly(calls: list[list[tuple[str, bytes]]]) -> None:
    """Packs in CBOR, and such as differ from one in a byte or two: the same with templates as one by one."""
    by_template, strict = (Columniser(People(), window=OPEN, templates=templates) for templates in (True, False))
    for packs in calls:
        messages = [("pole", *one) for one in packs]
        one, other = columnise(by_template, messages), columnise(strict, messages)
        assert said(one) == said(other)
        assert reasons(one) == reasons(other)


def test_cbor_does_go_by_template(loops: str) -> None:
    """Packs in CBOR are read by the loop in C, not one by one; without it all of them are."""
    columniser = Columniser(People(), window=OPEN, templates=True)
    packs = [
        (f"p-{n % 90}", pack(f"p-{n % 90}", n + 300, 3, {"voltage": 229.5 + n, "pm25": n / 4})) for n in range(200)
    ]
    messages = [("pole", device, in_cbor(payload)) for device, payload in packs]
    columnise(columniser, messages)
    before = columniser.forms.strictly
    received = columnise(columniser, messages)
    assert said(received) == strictly([("pole", *one) for one in packs])[0]
    assert columniser.forms.strictly - before == (0 if loops == "C" else 200)


messages_of = st.lists(
    st.lists(good_pack | spoilt(good_pack) | good_json | spoilt(good_json), max_size=8), min_size=1, max_size=3
)


@given(messages_of)
@settings(max_examples=250)
def test_by_template_or_strictly(calls: list[list[tuple[str, bytes]]]) -> None:
    """Messages of every form, and such as differ from one in a byte or two: readings and reasons are the strict
    codec's."""
    columniser = Columniser(People(), window=OPEN, templates=True)
    for packs in calls:
        messages = [("pole", *one) for one in packs if not one[1][:1] or not 0x80 <= one[1][0] <= 0x9F]
        received = columnise(columniser, messages)
        readings, refused, bad = strictly(messages)
        assert said(received) == readings
        assert reasons(received) == (refused, bad)


@pytest.mark.parametrize("rounds", [0, 1, 50])
def test_readings_do_go_by_template(loops: str, rounds: int) -> None:
    """Flat readings and columnar packs are read by the loop in C with one template; without it none is made."""
    columniser = Columniser(People(), window=OPEN, templates=True)
    values = {"voltage": 229.5, "temperature": -3.25}
    messages = [("pole", f"p-{n % 90}", flat_or_packed("", n + 1, rounds, values, False)) for n in range(200)]
    columnise(columniser, messages)
    received = columnise(columniser, messages)
    assert said(received) == strictly(messages)[0]
    assert [len(stock.templates) for stock in columniser.forms.stocks.values()] == ([1] if loops == "C" else [])
    assert columniser.forms.strictly == 0


def test_packs_do_go_by_template() -> None:
    """Packs of several devices, numbers and lengths are read by templates, few of which are learned."""
    columniser = Columniser(People(), window=OPEN, templates=True)
    messages = [
        ("pole", f"p-{n % 90}", pack(f"p-{n % 90}", n + 1, 2 + n % 2, {"voltage": 229.5 + n, "pm25": n / 4}))
        for n in range(300)
    ]
    received = columnise(columniser, messages)
    assert said(received) == strictly(messages)[0]
    (stock,) = columniser.forms.stocks.values()
    assert len(stock.templates) == 2
    assert columniser.forms.strictly == 0


@pytest.mark.parametrize("first", [True, False])
def test_templates_are_bounded(first: bool) -> None:
    """However many forms come, few templates are kept; and a group that none suits is left alone."""
    columniser = Columniser(People(), window=OPEN, templates=True)
    names = ["voltage", "temperature", "pm25", "pm10", "energy"]
    for turn, some in enumerate(itertools.islice(itertools.permutations(names), 60)):
        payload = pack("p-1", turn + 1, 1, dict.fromkeys(some, 1.0 if first else 1e-7))
        columnise(columniser, [("pole", "p-1", payload)])
    (stock,) = columniser.forms.stocks.values()
    assert len(stock.templates) == (KEPT if first else 0)
    assert stock.failures == (0 if first else PATIENCE)


@pytest.mark.parametrize(
    "payload",
    [
        b'[{"bn":"p-1:","bt":1700000000,"n":"voltage","v":1e2}]',
        b'[{"bn":"p-1:","bt":1700000000,"n":"voltage","v":1,"v":2}]',
        b'[{"bn":"p-1:","bt":1700000000,"n":"volt\\u0061ge","v":1}]',
        b'[{"bn":"p-1:","bt":1700000000,"n":"voltage","v":true}]',
        b'[{"bn":"p-12:","bt":1700000000,"n":"voltage","v":1}]',
        b'{"bn":"p-1:"}',
        b"[]",
        b"",
    ],
)
def test_what_no_template_is_made_of(payload: bytes) -> None:
    """Exponents, names that come twice, escapes, truth values and other devices' packs are for the decoders."""
    assert learn(KINDS["pole"], "p-1", payload) is None
