"""Columns: the fast way says what the strict way says; every trouble has a reason and loses nothing else."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from devices.codec import encode_columns, encode_json, encode_senml, read_payload
from devices.envelope import MAX_BYTES, encode_state
from devices.errors import REASONS
from devices.kinds import KINDS
from devices.records import Reading
from tests.twin.ingest.conftest import T0, People
from twin.ingest.columns import SAMPLE_BYTES, SAMPLES, Columniser, Received
from twin.ingest.cuts import cut
from twin.ingest.forms import FICKLE, SHAPES
from twin.ingest.parts import Window
from twin.ingest.shapes import decode_all
from twin.records import FLAG_EVENT, FLAG_NO_CLOCK, NOT_ACCOUNTABLE

pytestmark = pytest.mark.usefixtures("loops")

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "payloads").glob("*.json"))
NOW = T0 + 60_000
OPEN = Window(oldest_ms=0, ahead_ms=10**13)

Flat = tuple[str, int, int, int, int, dict[str, float]]


def said(received: Received) -> list[Flat]:
    """Readings as (kind, row, t, boot, seq, values), kind by kind in order."""
    out: list[Flat] = []
    for c in received.batch.columns:
        for i in range(len(c)):
            values = {name: float(v[i]) for name, v in c.values.items() if not math.isnan(v[i])}
            out.append((c.kind, int(c.row[i]), int(c.t[i]), int(c.boot[i]), int(c.seq[i]), values))
    return out


def strictly(messages: list[tuple[str, str, bytes]]) -> tuple[list[Flat], Counter[str], Counter[str]]:
    """The same by devices.codec, one message at a time: readings, reasons of refusals, reasons of values."""
    readings: dict[str, list[Flat]] = {}
    refused: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for kind, device, payload in messages:
        decoded = read_payload(KINDS[kind], device, payload, NOW)
        for r in decoded.readings:
            t = NOW if r.t_ms is None else r.t_ms
            counts = (NOT_ACCOUNTABLE, NOT_ACCOUNTABLE) if r.boot is None or r.seq is None else (r.boot, r.seq)
            row = int(device.partition("-")[2])
            readings.setdefault(kind, []).append((kind, row, t, *counts, dict(r.values)))
        refused.update(r.error.reason for r in decoded.refused)
        bad.update(e.reason for e in decoded.bad_values)
    return [one for kind in sorted(readings) for one in readings[kind]], refused, bad


def columnise(columniser: Columniser, messages: list[tuple[str, str, bytes]], leaf: str = "telemetry") -> Received:
    topics = [f"city/d1/{kind}/{device}/{leaf}".encode() for kind, device, _ in messages]
    return columniser.columnise([(cut(topics, [payload for _, _, payload in messages]), NOW)])


def reasons(received: Received) -> tuple[Counter[str], Counter[str]]:
    refused: Counter[str] = Counter(r.reason for r in received.batch.refused)
    for (_, _, reason), count in received.batch.rejected.items():
        refused[reason] += count
    bad: Counter[str] = Counter()
    for (_, _, reason), count in received.batch.bad_values.items():
        bad[reason] += count
    return refused, bad


value = (
    st.floats(-300, 3000, allow_nan=False)
    | st.integers(-300, 300)
    | st.sampled_from([None, True, False, "on", "off", "fault", "-", -200, 2147483647, 1e300, 10**30, [1, 2], {}])
)
names = st.sampled_from(["voltage", "temperature", "powerState", "chargerState", "energy", "pm25", "colour"])
envelopes = st.sampled_from(
    [
        {"t": T0, "boot": 1, "seq": 1},
        {"t": T0, "boot": 1, "seq": 2},
        {"t": T0},
        {},
        {"boot": 2, "seq": 9},
        {"t": T0, "boot": 1},
        {"t": T0 + 0.0, "boot": 1, "seq": 3.0},
        {"t": -5, "boot": 1, "seq": 4},
        {"t": "now", "boot": 1, "seq": 5},
        {"t": T0, "boot": 1, "seq": -1},
        {"t": T0, "boot": 2**60, "seq": 1},
        {"device": "p-1", "t": T0, "boot": 1, "seq": 6},
        {"device": "p-9", "t": T0, "boot": 1, "seq": 7},
    ]
)
flat = st.builds(lambda e, v: json.dumps({**e, **v}).encode(), envelopes, st.dictionaries(names, value, max_size=4))
column = st.lists(st.floats(0, 300) | st.sampled_from([None, 5000, "x", True]), min_size=2, max_size=2)
packs = st.builds(
    lambda e, v: json.dumps({**e, **v}).encode(),
    st.sampled_from(
        [
            {"boot": 1, "seq": 10, "t": [T0, T0 + 1]},
            {"boot": 1, "seq": [20, 30], "t": [T0, T0]},
            {"boot": 1, "seq": [20], "t": [T0, T0]},
            {"boot": 1, "t": [T0, T0]},
            {"t": [T0, None]},
            {"t": [T0]},
            {"t": []},
            {"t": T0},
            {},
            {"boot": 1, "seq": [1, "2"]},
        ]
    ),
    st.dictionaries(names, column | st.just([]) | st.just(7.5), max_size=3),
)
record = st.fixed_dictionaries(
    {},
    optional={
        "bn": st.sampled_from(["p-1:", "p-2:", "urn:dev:ops:32473-pole-p-1:"]),
        "bt": st.sampled_from([T0 / 1000, T0 / 1000 + 1, 0, "x"]),
        "n": st.sampled_from(["voltage", "temperature", "boot", "seq", "powerState", "colour"]),
        "u": st.sampled_from(["V", "Cel", "K"]),
        "v": st.sampled_from([1, 2, 20.5, 230, -200]),
        "t": st.sampled_from([0, 1, -5]),
        "vs": st.sampled_from(["on", "x"]),
        "vb": st.booleans(),
    },
)
senml = st.lists(record, max_size=6).map(lambda pack: json.dumps(pack).encode())
regular = st.lists(
    st.builds(
        lambda t, v, b, s: Reading("p-1", T0 + t, v, b, s),
        st.integers(0, 3),
        st.dictionaries(
            st.sampled_from(["voltage", "temperature", "powerState"]), st.sampled_from([0, 1.0]), min_size=1
        ),
        st.integers(1, 2),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=5,
).map(lambda readings: encode_senml(readings, KINDS["pole"]))
no_cbor = st.binary(max_size=40).filter(lambda b: not b or not 0x80 <= b[0] <= 0x9F)
payloads = flat | packs | senml | regular | no_cbor
devices = st.sampled_from([("pole", "p-1"), ("pole", "p-2"), ("truck", "t-1"), ("cell", "c-3")])
streams = st.lists(st.tuples(devices, payloads).map(lambda x: (*x[0], x[1])), max_size=12)


@given(st.lists(streams, min_size=1, max_size=3))
@settings(
    max_examples=250,
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    print_blob=False,
)
def test_the_fast_way_says_what_the_strict_way_says(calls: list[list[tuple[str, str, bytes]]]) -> None:
    """Readings, refusals and refused values are the same as one by one through the strict codec, in every batch."""
    columniser = Columniser(People(), window=OPEN)
    for messages in calls:
        note(repr(messages))
        received = columnise(columniser, messages)
        readings, refused, bad = strictly(messages)
        assert said(received) == readings
        assert reasons(received) == (refused, bad)
        assert received.batch.messages == len(messages)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_payloads(path: Path, times: int) -> None:
    """Golden payloads give the same as in the codec, also when their form has been learned."""
    case: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    columniser = Columniser(People(), window=OPEN)
    for _ in range(times):
        received = columnise(columniser, [(case["kind"], case["device"], case["payload"].encode())] * 2)
        assert [one[2:] for one in said(received)] == 2 * [
            (
                NOW if r["t"] is None else r["t"],
                NOT_ACCOUNTABLE if r["boot"] is None else r["boot"],
                NOT_ACCOUNTABLE if r["seq"] is None else r["seq"],
                r["values"],
            )
            for r in case["readings"]
        ]
        assert reasons(received) == (Counter(2 * case["refused"]), Counter(2 * case["bad_values"]))


def test_senml_in_cbor() -> None:
    """A CBOR pack gives what its JSON form gives; damaged ones are refused."""
    pack = [{-2: "p-1:", -3: T0 / 1000, 0: "boot", 2: 7}, {0: "seq", 2: 3}, {0: "voltage", 1: "V", 2: 230.5}]
    columniser = Columniser(People())
    received = columnise(columniser, [("pole", "p-1", cbor2.dumps(pack))])
    assert said(received) == [("pole", 1, T0, 7, 3, {"voltage": 230.5})]
    for bad, reason in (
        (cbor2.dumps(pack)[:-3], "syntax"),
        (cbor2.dumps([1, 2]), "shape"),
        (cbor2.dumps([{99: 1}]), "shape"),
        (b"\x9f" * 1000, "syntax"),
        (b"\x9a\xff\xff\xff\xff", "syntax"),
        (b"\x82" * 300_000, "too_large"),
    ):
        assert reasons(columnise(columniser, [("pole", "p-1", bad)]))[0] == {reason: 1}


@given(st.binary(max_size=200).map(lambda b: b"\x82" + b))
def test_random_cbor_is_only_refused(payload: bytes) -> None:
    """No CBOR crashes ingest."""
    received = columnise(Columniser(People()), [("pole", "p-1", payload)])
    assert set(reasons(received)[0]) <= set(REASONS)


def test_event_times_that_cannot_be() -> None:
    """Times before the window or too far ahead are refused, number kept; a missing time is the arrival's."""
    columniser = Columniser(People())
    messages = [
        ("pole", "p-1", encode_json(Reading("p-1", t, {"voltage": 1.0}, 1, seq)))
        for seq, t in enumerate([1000, NOW, NOW + 86_400_000, NOW + 86_400_001, None], start=1)
    ]
    received = columnise(columniser, messages)
    assert [one[4] for one in said(received)] == [2, 3, 5]
    assert [(r.seq, r.reason) for r in received.batch.refused] == [(1, "envelope"), (4, "envelope")]
    (columns,) = received.batch.columns
    assert columns.flags.tolist() == [0, 0, FLAG_NO_CLOCK]
    assert columns.t.tolist() == [NOW, NOW + 86_400_000, NOW]
    assert columns.arrived.tolist() == [NOW] * 3
    recorded = Columniser(People(), window=Window(oldest_ms=0))
    assert len(columnise(recorded, messages).batch) == 4


def test_values_out_of_range_are_left_out_one_by_one() -> None:
    """A bad value in a batch of good ones is NaN and counted by its row; the reading stays; infinity never enters."""
    columniser = Columniser(People())
    readings = [Reading("p-1", T0 + i, {"voltage": 230.0, "temperature": 20.0}, 1, i) for i in range(1, 50)]
    good = [("pole", "p-1", encode_json(r)) for r in readings]
    bad = ("pole", "p-2", b'{"t":%d,"boot":1,"seq":1,"voltage":-200,"temperature":20}' % T0)
    worse = ("pole", "p-3", b'{"t":%d,"boot":1,"seq":1,"voltage":1e999,"temperature":2147483647}' % T0)
    received = columnise(columniser, [*good, bad, worse, *good])
    assert len(received.batch) == 99
    assert received.batch.bad_values == {("pole", 2, "range"): 1}
    assert [(r.row, r.reason) for r in received.batch.refused] == [(3, "empty")]
    (columns,) = received.batch.columns
    assert np.isnan(columns.values["voltage"]).sum() == 1
    assert all(np.isfinite(v[~np.isnan(v)]).all() for v in columns.values.values())


def test_topics() -> None:
    """Strangers, other districts, server's leaves and nonsense are refused; nothing of them is remembered."""
    columniser = Columniser(People())
    topics = [
        b"city/d1/pole/p-100/telemetry",
        b"city/d2/pole/p-1/telemetry",
        b"city/d1/lamp/p-1/telemetry",
        b"city/d1/pole/p-1/mark",
        b"city/d1/pole/p-1",
        b"\xff\xfe",
        b"",
    ]
    received = columniser.columnise([(cut(topics, [b'{"voltage":1}'] * len(topics)), NOW)])
    assert received.batch.rejected == {("", -1, "unknown_device"): 3, ("", -1, "topic"): 4}
    assert columniser.forms.count == 0
    assert len(received.batch) == 0


def test_a_topic_is_remembered_once_however_long() -> None:
    """Of a topic that the table of topics cannot hold, and of one that comes twice in its first batch, there is one."""

    class Everybody(People):
        def lookup(self, kind: str, device: str, district: str = "") -> int | None:
            return 5

    columniser = Columniser(Everybody(), window=OPEN)
    topics = [b"city/%s/pole/%s/telemetry" % (b"d" * 60, b"p" * 60), b"city/d1/pole/p-1/telemetry"] * 2
    for n in range(3):
        payloads = [b'{"t":%d,"boot":1,"seq":%d,"voltage":1}' % (T0, 4 * n + i) for i in range(4)]
        assert len(columniser.columnise([(cut(topics, payloads), NOW)]).batch) == 4
        assert columniser.forms.count == 2
    refused = columniser.columnise([(cut(topics, [b"?"] * 4), NOW)]).batch
    assert refused.rejected == {("pole", 5, "syntax"): 4}


def test_a_registry_that_changes() -> None:
    """A device that was a stranger is known as soon as it is registered; one that moved is looked up after `forget`."""

    class Growing(People):
        size = 0

        def lookup(self, kind: str, device: str, district: str = "") -> int | None:
            return self.size - 1 if self.size else None

    registry = Growing()
    columniser = Columniser(registry)
    message = [("pole", "p-1", b'{"voltage":1}')]
    assert len(columnise(columniser, message).batch) == 0
    registry.size = 1
    assert said(columnise(columniser, message))[0][1] == 0
    registry.size = 2
    assert said(columnise(columniser, message))[0][1] == 0
    columniser.forget()
    assert said(columnise(columniser, message))[0][1] == 1


def test_samples_are_bounded_and_readable() -> None:
    """The newest rejects of a batch are kept with topic, reason and at most 512 bytes."""
    columniser = Columniser(People())
    received = columnise(columniser, [("pole", "p-1", b"x" * 5000 + b"%d" % i) for i in range(500)])
    assert len(received.batch.samples) == SAMPLES
    newest = received.batch.samples[-1]
    assert (newest.topic, newest.reason, newest.at_ms) == ("city/d1/pole/p-1/telemetry", "syntax", NOW)
    assert len(newest.payload) == SAMPLE_BYTES
    assert received.batch.rejected == {("pole", 1, "syntax"): 500}


def test_too_large() -> None:
    """A message above 256 KiB or of more than 10,000 readings is refused whole, good ones beside it are kept."""
    columniser = Columniser(People())
    good = ("pole", "p-1", b'{"t":%d,"boot":1,"seq":1,"voltage":1}' % T0)
    many = json.dumps({"boot": 1, "seq": 1, "voltage": [1] * 10_001}, separators=(",", ":")).encode()
    packs = [("pole", "p-2", b" " * (MAX_BYTES + 1)), ("pole", "p-2", many), ("pole", "p-2", many)]
    for _ in range(2):
        received = columnise(columniser, [good, *packs, good])
        assert len(received.batch) == 2
        assert received.batch.rejected == {("pole", 2, "too_large"): 3}


def test_forms_are_bounded() -> None:
    """However many forms a device invents, so many are learned; the wide one serves the rest, and says the same."""
    columniser = Columniser(People(), window=OPEN)
    quantities = [q.name for q in KINDS["pole"].quantities if q.role == "gauge" and q.low <= 1]
    messages = []
    for number in range(SHAPES * 3):
        chosen = [name for bit, name in enumerate(quantities) if number + 1 >> bit & 1]
        messages.append(("pole", f"p-{number % 50}", json.dumps({"t": T0, **dict.fromkeys(chosen, 1)}).encode()))
    for message in messages:
        columnise(columniser, [message])
    for _ in range(FICKLE):
        assert said(columnise(columniser, messages)) == strictly(messages)[0]
    assert len(columniser.forms._groups) <= SHAPES + 4


def test_a_fickle_device_gets_the_wide_form() -> None:
    """A topic that says now this and now that is decoded by one form for all, in bulk, and correctly."""
    columniser = Columniser(People(), window=OPEN)
    one = ("pole", "p-1", b'{"t":%d,"voltage":1}' % T0)
    two = ("pole", "p-1", b'{"temperature":2,"boot":1,"seq":2,"powerState":true,"pm25":null}')
    for _ in range(FICKLE + 2):
        assert said(columnise(columniser, [one, two])) == strictly([one, two])[0]
    group = columniser.forms.at(int(columniser.forms.groups[0]))
    assert getattr(group.form, "wide", False)


def test_packs_are_decoded_in_bulk() -> None:
    """Columnar and regular SenML packs go the fast way: the strict one is not asked."""
    columniser = Columniser(People(), window=OPEN)
    readings = [Reading("p-1", T0 + 1000 * i, {"voltage": 230.0 + i, "temperature": 20.0}, 1, i) for i in range(1, 51)]
    for payload in (encode_columns(readings), encode_senml(readings, KINDS["pole"]), encode_senml(readings)):
        columnise(columniser, [("pole", "p-1", payload)])
        before = columniser.forms.strictly
        received = columnise(columniser, [("pole", "p-1", payload)] * 3)
        assert columniser.forms.strictly == before
        assert said(received) == strictly([("pole", "p-1", payload)] * 3)[0]


def test_event_and_state() -> None:
    """Readings on the event leaf are flagged; a cleared state says nothing; a bad one is refused."""
    columniser = Columniser(People())
    message = ("pole", "p-1", b'{"t":%d,"voltage":1}' % T0)
    event = columnise(columniser, [message, message], "event")
    assert event.events
    assert event.batch.columns[0].flags.tolist() == [FLAG_EVENT] * 2
    states = [("pole", "p-1", encode_state(True)), ("pole", "p-1", b""), ("pole", "p-1", b'{"online":7}')]
    received = columnise(columniser, states, "state")
    assert [p.up for p in received.presences] == [True]
    assert received.batch.asides == {("pole", 1, "type"): 1}
    assert received.batch.rejected == {}, "it is no reading"
    acks = columnise(columniser, [("pole", "p-1", b"{}"), ("pole", "p-1", b"[")], "ack")
    assert sum(acks.batch.asides.values()) == 2
    assert acks.batch.rejected == {}
    assert len(received.batch) == 0


def test_decode_all_goes_on_after_a_refusal() -> None:
    """Refused payloads are named by position and cost none of the others."""

    def decode(payload: bytes) -> int:
        if payload == b"x":
            raise ValueError("no")
        return int(payload)

    assert decode_all(decode, [b"x", b"1", b"x", b"x", b"2", b"3", b"x"]) == ([1, 2, 3], [0, 2, 3, 6])
    assert decode_all(decode, []) == ([], [])
