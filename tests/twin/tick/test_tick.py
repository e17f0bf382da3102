"""The tick as a pure function: cutting, order, restart and nonsense make no difference to what is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.kinds import KINDS
from tests.twin.tick.town import DAY, HOUR, MINUTE, NIGHT_MS, Day, Tally, said, town
from twin.detect.budget import ETA
from twin.errors import CheckpointBroken
from twin.records import FLAG_LATE, Action, Batch, Case, Changes, Columns, Edit, Entry, Link, Names
from twin.tick import World, budgets, encode, expectation, tick

POLES = [f"pole-{i}" for i in range(12)]
CELLS = [f"cell-{i}" for i in range(6)]


def hours_of(city, seed: int, ticks: int, silent_after: int = 10**9) -> list[tuple[int, list[Columns]]]:
    """A busy stretch of the town: readings with gaps, sparse quantities, faults, and devices that fall silent."""
    rng = np.random.default_rng(seed)
    stream, seq = [], 0
    for n in range(ticks):
        now = NIGHT_MS + n * 30_000
        columns = []
        for kind, names in (("pole", POLES), ("cell", CELLS), ("truck", ["truck-0", "truck-1"])):
            for name in names:
                if name in POLES[::2] and n > silent_after:
                    continue
                for _ in range(int(rng.integers(0, 4))):
                    seq += 1
                    values = {}
                    for q in KINDS[kind].quantities:
                        if rng.random() < 0.3:
                            high = min(q.high, q.low + 400.0)
                            values[q.name] = round(float(rng.uniform(q.low, high)), q.decimals)
                    if not values:
                        continue
                    t = now - int(rng.integers(0, 29_000))
                    columns.append(said(city, kind, name, t, arrived=now, seq=seq, **values))
        stream.append((now, columns))
    return stream


def run(world: World, stream, cut) -> list:
    """Feed a stream; `cut` makes bodies of the columns of one tick. Findings as text (NaN equals NaN there)."""
    found = []
    for n, (now, columns) in enumerate(stream):
        entries = [Entry(i, Batch(tuple(part))) for i, part in enumerate(cut(columns), 1)]
        found += [repr(f) for f in tick(world, entries, now, n + 1).findings]
    return found


def opened(city) -> World:
    world = World(city, Tally())
    tick(world, [Entry(1, Link("drained"))], NIGHT_MS - 30_000, 1)
    return world


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), shuffle=st.randoms(use_true_random=False))
def test_any_split_between_the_same_marks_gives_identical_findings(seed: int, shuffle) -> None:
    """Batches of one reading, of all, and shuffled ones lead to the same findings and the same world, bit for bit."""
    results = []
    for cut in (lambda c: [c], lambda c: [[one] for one in c], lambda c: [shuffle.sample(c, len(c))]):
        city = town()
        world = opened(city)
        found = run(world, hours_of(city, seed, 40, silent_after=25), cut)
        results.append((found, world.dump()))
    assert results[0][0], "the stretch must hold findings, or nothing is proved"
    assert results[0] == results[1] == results[2]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), at=st.integers(1, 39))
def test_a_restart_in_the_middle_continues_identically(seed: int, at: int) -> None:
    """Dumping, loading into a fresh world and going on gives the findings and the world of an undisturbed run."""
    city = town()
    whole = opened(city)
    stream = hours_of(city, seed, 40, silent_after=15)
    expected = run(whole, stream[:at], lambda c: [c])
    rest = run(whole, stream[at:], lambda c: [c])
    other = town()
    first = opened(other)
    assert run(first, stream[:at], lambda c: [c]) == expected
    second = World.load(first.dump(), town(), Tally())
    assert run(second, stream[at:], lambda c: [c]) == rest
    assert second.dump() == whole.dump()


def test_a_snapshot_is_not_touched_by_later_ticks() -> None:
    """A snapshot encoded after further ticks holds the world as it was when it was taken."""
    city = town()
    world = opened(city)
    stream = hours_of(city, 3, 20)
    run(world, stream[:10], lambda c: [c])
    at_once, snapshot = world.dump(), world.snapshot()
    run(world, stream[10:], lambda c: [c])
    assert encode(snapshot) == at_once


@pytest.mark.parametrize("place", [0, 9, 20, -3, -1])
def test_a_damaged_checkpoint_is_refused(place: int) -> None:
    """One wrong byte anywhere, or a cut, is CheckpointBroken and never a world."""
    world = opened(town())
    data = bytearray(world.dump())
    data[place] ^= 0x40
    with pytest.raises(CheckpointBroken):
        World.load(bytes(data), town(), Tally())
    with pytest.raises(CheckpointBroken):
        World.load(world.dump()[:-7], town(), Tally())


def test_rows_may_grow_between_checkpoint_and_restart() -> None:
    """A world loaded over a larger city keeps what it learnt and hears the new devices."""
    day = Day()
    day.say("pole", POLES, voltage=230.0)
    data = day.world.dump()
    city = town(poles=20, cells=8)
    world = World.load(data, city, Tally())
    tick(world, [Entry(1, Batch((said(city, "pole", "pole-19", day.now + 1000, voltage=231.0),)))], day.now + 1000)
    assert world.models["pole"].last["voltage"][[0, 19]].tolist() == [230.0, 231.0]


def test_adopted_devices_are_known_from_their_names_on() -> None:
    """A Names entry makes room for a device that the city's files do not have."""
    day = Day()
    day.tick([Names((("pole", 12, "pole-new"),))])
    row = np.array([12], np.int32)
    one = np.array([1], np.int64)
    columns = Columns(
        "pole", row, one * day.now, one, one, one * day.now, np.zeros(1, np.uint8), {"voltage": np.ones(1)}
    )
    ticked = day.tick([columns])
    assert ticked.touched["pole"].tolist() == [12]
    assert day.world.models["pole"].last["voltage"][12] == 1.0
    again = World.load(day.world.dump(), town(), Tally())
    assert again.city.registry.device("pole", 12) == "pole-new"
    assert len(again.city.roster("pole")) == 13


def test_late_and_unknown_rows_reach_no_model() -> None:
    """Late readings, readings older than the device's newest, and rows without a device change no last value."""
    day = Day()
    day.say("pole", "pole-1", voltage=230.0)
    day.now += 1000
    old = said(day.city, "pole", "pole-1", day.now - 5 * MINUTE, arrived=day.now, voltage=1.0)
    late = said(day.city, "pole", "pole-1", day.now, flags=FLAG_LATE, voltage=2.0)
    stray = said(day.city, "pole", "pole-1", day.now, voltage=3.0)
    stray.row[:] = 4000
    day.tick([old, late, stray])
    assert day.world.models["pole"].last["voltage"][1] == 230.0


def test_rules_change_while_running_and_survive_a_restart() -> None:
    """An Edit of the rules counts from its tick on, wrong ones change nothing, and a checkpoint keeps them."""
    day = Day()
    day.tick([Edit("rules", '{"lamp_out": {"reports": 1}}')])
    day.say("pole", "pole-1", powerState=1, dimmingLevel=1, powerConsumption=1, voltage=230)
    assert day.keys() == ["lamp_out:pole-1"]
    day.tick([Edit("rules", '{"lamp_out": {"report": 1}}'), Edit("rules", "[]")])
    assert day.world.rules.number("lamp_out", "reports") in (1, 3)
    again = World.load(day.world.dump(), town(), Tally())
    assert again.rules.overrides() == day.world.rules.overrides()


def test_nonsense_raises_neither_exception_nor_warning_nor_finding() -> None:
    """NaN, infinities, zeros, time standing still or going back, city time going back: nothing happens."""
    day = Day()
    for n in range(60):
        values = {q.name: [np.nan, np.inf, -np.inf, 0.0][n % 4] for q in KINDS["pole"].quantities if q.role == "gauge"}
        day.tick([said(day.city, "pole", "pole-2", NIGHT_MS + (n % 7 - 3) * HOUR, **values)])
        day.now += [1000, 0, -500_000][n % 3]
    assert [f for f in day.found if f.type != "sensor_stuck"] == []


def test_a_thousand_readings_of_one_device_in_one_tick_keep_their_order() -> None:
    """The last one counts, whatever order they came in, and equal times go by number."""
    day = Day()
    columns = [said(day.city, "pole", "pole-4", NIGHT_MS + i // 2, seq=i, voltage=200 + i % 50) for i in range(1000)]
    day.tick(columns[::-1])
    assert day.world.models["pole"].last["voltage"][4] == 200 + 999 % 50


def test_expectation_learns_the_hour_of_the_day() -> None:
    """After a week of a daily swing the expected value follows the swing, with the band around it."""
    day = Day()
    rng = np.random.default_rng(1)
    for n in range(8 * 96):
        day.now = NIGHT_MS + n * 15 * MINUTE
        swing = 20.0 + 10.0 * np.sin(2 * np.pi * (day.now % DAY) / DAY)
        day.say("pole", ["pole-1", "pole-2"], temperature=(swing + rng.normal(0, 0.5, 2)).tolist())
    times = np.arange(24) * HOUR + day.now // DAY * DAY + HOUR // 2
    expected, low, high = expectation(day.world, "pole", 1, "temperature", times)
    swing = 20.0 + 10.0 * np.sin(2 * np.pi * (times % DAY) / DAY)
    assert np.abs(expected - swing).max() < 1.5
    assert ((low < swing) & (swing < high)).mean() > 0.9
    unknown = expectation(day.world, "pole", 1, "pm25", times)
    assert np.isnan(np.concatenate(unknown)).all()


def _older(tree: Any) -> None:
    """A checkpoint as another version would have left it: arrays missing, one of another width, an unknown one."""
    lamp, cell = tree["detectors"]["lamp_degraded"], tree["models"]["cell"]
    del lamp["usual"]
    del tree["detectors"]["meter"]["due"]
    lamp["colour"] = np.ones(3)
    cell["channel.season"] = np.zeros((len(cell["channel.season"]), 7), np.float32)
    del cell["forecast.slot.base"]
    tree["detectors"]["clock_skew"] = {"kinds": 7}  # cannot be read at all
    tree["detectors"]["retired"] = {"x": np.zeros(2)}


def test_a_checkpoint_of_another_version_migrates() -> None:
    """What is new starts empty, what is gone or of another shape is left behind, an unreadable detector starts anew
    and what it said ends; the rest goes on as if nothing had been."""
    day, plain = Day(), Day()
    for one in (day, plain):
        for _ in range(60):
            one.now += 60_000
            one.say("cell", [f"cell-{i}" for i in range(6)], prbLoadDown=30.0)
            one.tick([said(one.city, "pole", "pole-0", one.now - 90_000, arrived=one.now, doorOpen=1.0)])
    assert {"door_open:pole-0", "clock_skew:pole-0"} <= set(day.keys())
    tree = day.world.snapshot()
    _older(tree)
    day.world = World.load(encode(tree), town(), day.world.ledger)
    day.city = day.world.city
    before = len(day.found)
    for one in (day, plain):
        one.now += 60_000
        one.say("pole", "pole-0", doorOpen=1.0)
    assert [f.key for f in day.found[before:] if not f.active] == ["clock_skew:pole-0"]
    assert "door_open:pole-0" in {f.key for f in day.world.active()}
    for one in (day, plain):
        for _ in range(3):
            one.now += 60_000
            one.say("pole", "pole-0", doorOpen=0.0)
    assert day.keys(active=False)[-1] == plain.keys(active=False)[-1] == "door_open:pole-0"


def test_a_clock_that_was_ahead_blinds_nobody_once_it_is_right() -> None:
    """A pole whose clock is eight hours ahead is told so; when the clock is right the finding ends, and what the pole
    says is heard as before: a leak at once, and an open door after its five minutes."""
    day = Day()

    def live(minutes: int, ahead_ms: int, **values: float) -> None:
        for _ in range(2 * minutes):
            day.now += 30_000
            day.tick([said(day.city, "pole", "pole-0", day.now + ahead_ms, arrived=day.now, **values)])

    live(15, 8 * HOUR, leakageCurrent=0.001, doorOpen=0.0)
    assert day.keys() == ["clock_skew:pole-0"]
    told = day.found[0]
    assert told.evidence["offset_s"] == -8 * 3600
    live(2, 8 * HOUR, leakageCurrent=0.08, doorOpen=1.0)
    assert day.keys() == ["clock_skew:pole-0", "leakage:pole-0"]
    live(22, 0, leakageCurrent=0.001, doorOpen=0.0)
    assert set(day.keys(active=False)) == {"clock_skew:pole-0", "leakage:pole-0"}
    before = len(day.keys())
    live(8, 0, leakageCurrent=0.08, doorOpen=1.0)
    assert day.keys()[before:] == ["leakage:pole-0", "door_open:pole-0"]


def test_cells_get_time_to_start_after_their_feeder_is_back() -> None:
    """Poles that report again end the feeder's trip; their cells, which start later, are not accused meanwhile."""
    day = Day()
    poles, cells = [f"pole-{i}" for i in range(12)], [f"cell-{i}" for i in range(6)]

    def live(seconds: int, poles: list[str], cells: list[str]) -> None:
        for n in range(0, seconds, 10):
            day.now += 10_000
            columns = [said(day.city, "gateway", ["gw-1", "gw-2"], day.now, temperature=40.0)]
            columns += [said(day.city, "pole", poles, day.now, tilt=0.3)] if n % 30 == 0 else []
            columns += [said(day.city, "cell", cells, day.now, temperature=45.0)] if n % 60 == 0 and cells else []
            day.tick(columns)

    live(900, poles, cells)
    live(900, poles[1::2], cells[1::2])
    live(150, poles, cells[1::2])
    live(600, poles, cells)
    assert day.keys() == ["feeder_trip:feeder-1"]
    assert day.keys(active=False) == ["feeder_trip:feeder-1"]


class Judge(Tally):
    """A ledger that counts the verdicts it was made with."""

    def __init__(self, told: list[tuple[str, str, int]]) -> None:
        super().__init__()
        self.told = told

    def step(self, *_heard: object) -> Changes:
        case = Case("c", "k", "coverage_loss", "cell-0", "cell", "evaluated", 2, 0, 0, 0)
        return Changes(cases=[case], judged=self.told)


@pytest.mark.parametrize(("told", "times"), [([], 1.0), ([("coverage_loss", "cell-0", 1)], float(np.exp(ETA)))])
def test_detectors_count_what_the_ledger_counts(told: list[tuple[str, str, int]], times: float) -> None:
    """The bars move by the ledger's word, whatever else an action says of a case."""
    world = World(town(), Judge(told))
    action = Action("a", "li", "evaluate", "c", "", {"verdict": "false"})
    tick(world, [Entry(1, action)], NIGHT_MS)
    (spent,) = [one for one in budgets(world) if one["detector"] == "coverage_loss"]
    assert spent["bars_times"] == pytest.approx(times)
