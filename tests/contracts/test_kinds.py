"""The kinds' contract: every entry of KINDS travels, is stored, modelled, simulated and shown, so that a new one is."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.cities.load import load_city
from devices.codec import (
    decode_columns,
    decode_json,
    decode_senml,
    encode_columns,
    encode_json,
    encode_senml,
    read_payload,
)
from devices.envelope import MAX_NUMBER, MISSING_CODES
from devices.errors import REASONS
from devices.fleet.fleet import Fleet
from devices.kinds import KINDS
from devices.places import Device
from devices.records import Reading
from devices.units import CONVERSIONS
from tests.contracts.readings import values_of
from tests.devices.small_city import write_small_city
from tests.twin.tick.town import NIGHT_MS, Tally, town, town_files
from twin.city import City, Registry
from twin.ingest.columns import Columniser
from twin.ingest.cuts import cut
from twin.model import modelled
from twin.records import Batch, Columns, Entry, Link
from twin.tick import World, tick

EVERY = pytest.mark.parametrize("name", sorted(KINDS))
T0 = 1_700_000_000_000
numbers = st.integers(0, MAX_NUMBER)


@EVERY
def test_it_describes_itself(name: str) -> None:
    """Names in both languages, a class of four digits that is its own, names for the wire, sensible ranges, units."""
    kind = KINDS[name]
    assert kind.name == name
    assert re.fullmatch(r"[a-z]+", name)
    assert kind.en
    assert re.search(r"[\u4e00-\u9fff]", kind.zh)
    assert re.fullmatch(r"\d{4}", kind.object_class)
    assert [k.name for k in KINDS.values() if k.object_class == kind.object_class] == [name]
    assert kind.cadence_s > 0
    assert len({q.name for q in kind.quantities}) == len(kind.quantities) > 0
    units = {unit for pair in CONVERSIONS for unit in pair} | {"/", "%RH", "lx", "V", "A", "dB", "dBm", "lat", "lon"}
    for q in kind.quantities:
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", q.name), q
        assert q.name not in ("t", "boot", "seq", "device", "id"), "the envelope's own names"
        assert q.en, q
        assert q.zh, q
        assert math.isfinite(q.low), q
        assert q.low < q.high < math.inf, q
        assert q.role in ("gauge", "counter", "state", "position"), q
        assert (q.role == "state") == bool(q.states), q
        assert not q.states or q.high == len(q.states) - 1, q
        assert q.unit in units or q.unit.isascii(), q


@EVERY
@settings(deadline=None)
@given(data=st.data(), t=st.none() | st.integers(0, 4_000_000_000_000), counts=st.booleans())
def test_flat_json_round_trip(name: str, data: st.DataObject, t: int | None, counts: bool) -> None:
    """Every reading comes back from flat JSON as it was."""
    boot, seq = (data.draw(numbers), data.draw(numbers)) if counts else (None, None)
    reading = Reading("d-1", t, data.draw(values_of(KINDS[name])), boot, seq)
    assert decode_json(KINDS[name], encode_json(reading), "d-1") == reading


@EVERY
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_packs_round_trip(name: str, data: st.DataObject) -> None:
    """Columnar and SenML packs give every reading back."""
    kind = KINDS[name]
    readings = [Reading("d", T0 + i, data.draw(values_of(kind)), 7, i + 1) for i in range(data.draw(st.integers(1, 5)))]
    assert decode_columns(kind, encode_columns(readings), "d") == readings
    assert decode_senml(kind, encode_senml(readings, kind), "d") == readings


@EVERY
@settings(deadline=None, max_examples=40)
@given(junk=st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
).map(lambda told: json.dumps(told).encode()))  # fmt: skip
def test_nonsense_is_refused_by_reason(name: str, junk: bytes) -> None:
    """Nothing that comes in does more than be refused by a reason that is listed."""
    decoded = read_payload(KINDS[name], "d-1", junk, T0)
    assert {refusal.error.reason for refusal in decoded.refused} <= set(REASONS)
    assert {error.reason for error in decoded.bad_values} <= set(REASONS)


@EVERY
def test_values_out_of_range_and_codes_for_missing_are_no_values(name: str) -> None:
    """A value beyond the physical range, or a code that means "none", never reaches the twin; its neighbours do."""
    kind = KINDS[name]
    columniser = Columniser(Registry([(name, 0, "d-1")]), KINDS)
    good = {q.name: q.low for q in kind.quantities if q.low not in MISSING_CODES}
    for q in kind.quantities:
        for bad in (q.high * 2 + 1, q.low - 1, *MISSING_CODES):
            if q.low <= bad <= q.high and bad not in MISSING_CODES:
                continue
            payload = json.dumps({"t": T0, "boot": 1, "seq": 1, **good, q.name: bad}).encode()
            topic = f"city/d1/{name}/d-1/telemetry".encode()
            batch = columniser.columnise([(cut([topic], [payload]), T0)]).batch
            kept = {n: float(x[0]) for c in batch.columns for n, x in c.values.items() if not math.isnan(x[0])}
            assert kept == {n: x for n, x in good.items() if n != q.name}, (q.name, bad)


@EVERY
def test_the_model_and_every_detector_take_it(name: str) -> None:
    """Half a day of whatever the kind can say, extremes among it, goes through the tick without an error; quantities
    that have an expectation are learnt."""
    files = town_files()
    device = Device("it-1", name, "0101010000999999", 0.001, 0.0, "010101", "010101-1", company="haul")
    city = City(
        type(files)(**{f: getattr(files, f) for f in files.__slots__} | {"devices": (*files.devices, device)}),
        Registry(),
    )
    world, rng, kind = World(city, Tally()), np.random.default_rng(1), KINDS[name]
    tick(world, [Entry(1, Link("drained"))], NIGHT_MS, 1)
    row = city.registry.lookup(name, "it-1")
    assert row is not None
    for n in range(150):
        now = NIGHT_MS + n * 300_000
        values = {}
        for q in kind.quantities:
            x = [q.low, q.high, float(rng.uniform(q.low, min(q.high, q.low + 100)))][n % 3 if n % 10 == 0 else 2]
            values[q.name] = np.array([float(round(x)) if q.role == "state" else x])
        one = np.array([n + 1], np.int64)
        at = np.array([now], np.int64)
        columns = Columns(name, np.array([row], np.int32), at, np.ones(1, np.int64), one, at, np.zeros(1, np.uint8),
                          values)  # fmt: skip
        tick(world, [Entry(n + 2, Batch((columns,)))], now, n + 2)
    model = world.models[name]
    assert {q.name for q in kind.quantities} <= set(model.last)
    learnt = set(model.expectation.quantities)
    assert set(modelled(name)) == learnt
    World.load(world.dump(), city, Tally())


@EVERY
def test_it_is_simulated(name: str, tmp_path: Path) -> None:
    """The fleet has devices of the kind, and each says quantities of the kind within their ranges."""
    fleet = Fleet(load_city(write_small_city(tmp_path / "town")), 1, NIGHT_MS, kinds=(name,))
    said = list(fleet.until(NIGHT_MS + 600_000))
    assert said
    for one in said:
        for quantity, value in one.values.items():
            limits = KINDS[name].quantity(quantity)
            assert limits.low <= value <= limits.high, (one, quantity)


@EVERY
def test_a_town_knows_its_rows(name: str) -> None:
    """The registry gives the kind's devices rows, and the roster its cadence."""
    city = town()
    assert city.rows(name) >= 0
    if name in city.rosters:
        assert (city.roster(name).cadence_s == KINDS[name].cadence_s).all()
