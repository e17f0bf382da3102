"""Laws that hold for every registered detector, and a case of its own for each: a fault of its kind is found, a clean
stretch beside it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from devices.kinds import KINDS
from tests.twin.tick.town import DAY, HOUR, MINUTE, NIGHT_MS, Day, said, town, town_files
from twin.city import City, Registry
from twin.detect import DETECTORS, default_rules
from twin.records import Columns, Finding
from twin.tick import World

DAY_MS = NIGHT_MS + 14 * HOUR  # noon
POLES = [f"pole-{i}" for i in range(12)]
CELLS = [f"cell-{i}" for i in range(6)]
TRUCKS = ["truck-0", "truck-1"]
LAMP = {"powerState": 1.0, "dimmingLevel": 1.0, "powerConsumption": 99.0, "voltage": 225.0}
TRIP = {"latitude": 0.0, "longitude": 0.005, "speed": 40.0, "grossWeight": 13_000.0, "hopperRaised": 0.0,
        "coverClosed": 1.0, "fixQuality": 3.0, "mainPower": 1.0, "antennaOk": 1.0}  # fmt: skip
RADIO = {"rsrp": -90.0, "sinr": 15.0, "prbLoadDown": 30.0, "rrcSuccess": 99.5, "rrcAttempts": 500.0,
         "handoverSuccess": 99.0, "handoverAttempts": 200.0, "txPower": 30.0, "txPowerSetting": 30.0,
         "temperature": 45.0, "backhaulUp": 1.0, "operationalState": 1.0, "alarmState": 0.0}  # fmt: skip
POLE = {**LAMP, "leakageCurrent": 0.001, "tilt": 0.3, "doorOpen": 0.0, "chargerState": 0.0, "supplyPresent": 1.0}
CLEAN = {"pole": POLE, "cell": RADIO, "truck": TRIP}
NAMES = {"pole": POLES, "cell": CELLS, "truck": TRUCKS}


@dataclass(frozen=True)
class Story:
    """How a fault of one detector shows: what device 0 says instead; how often and how long all of them report."""

    kind: str
    fault: dict[str, float]
    finding: str
    clean: dict[str, float] = field(default_factory=dict)  # what all say, where it is not the usual
    start_ms: int = NIGHT_MS
    every_s: float = 30.0
    warm: int = 5  # rounds before the fault
    rounds: int = 40
    noise: float = 0.0  # of the clean values, one sigma
    silent: bool = False
    first: dict[str, float] = field(default_factory=dict)  # said once by device 0 before the fault
    everybody: bool = False  # shows the fault, not only device 0
    skew_ms: int = 0  # of device 0's clock, in the fault
    metered: bool = False  # energy counters go on with power, device 0's at half speed in the fault


STORIES: dict[str, Story] = {
    "outage": Story("pole", {}, "device_silent:pole-0", rounds=10, silent=True),
    "unheard": Story("pole", {}, "device_silent:pole-0", every_s=1800, warm=0, rounds=60, silent=True),
    "lamp_out": Story("pole", {"powerConsumption": 3.0}, "lamp_out:pole-0"),
    "day_burner": Story("pole", {"powerConsumption": 97.0}, "day_burner:pole-0", {"powerConsumption": 1.0}, DAY_MS),
    "backhaul": Story("cell", {"backhaulUp": 0.0}, "backhaul_down:cell-0"),
    "cell_down": Story("cell", {"operationalState": 0.0}, "cell_down:cell-0"),
    "cell_overheated": Story("cell", {"temperature": 82.0}, "cell_overheated:cell-0"),
    "congestion": Story("cell", {"prbLoadDown": 96.0}, "congestion:cell-0", every_s=60, rounds=70),
    "coverage_loss": Story("cell", {"rsrp": -99.0}, "coverage_loss:cell-0", every_s=60, warm=400, rounds=30, noise=0.5),
    "interference": Story("cell", {"sinr": 6.0}, "interference:cell-0", every_s=60, warm=400, rounds=50, noise=0.5),
    "access_failures": Story("cell", {"rrcSuccess": 92.0}, "access_failures:cell-0", every_s=60, rounds=30),
    "outside_hours": Story("truck", {"grossWeight": 30_000.0}, "outside_hours:truck-0", {}, DAY_MS, 5.0),
    "no_permit": Story("truck", {"grossWeight": 30_000.0}, "no_permit:truck-0", {}, NIGHT_MS + 8000 * DAY, 5.0),
    "overload": Story("truck", {"grossWeight": 36_000.0}, "overload:truck-0", every_s=5.0),
    "tampering": Story("truck", {"mainPower": 0.0}, "terminal_tampering:truck-0", every_s=5.0),
    "off_route": Story("truck", {"grossWeight": 28_000.0, "latitude": 0.01}, "off_route:truck-0", every_s=5.0),
    "illegal_dumping": Story("truck", {"grossWeight": 13_000.0, "speed": 0.0, "hopperRaised": 1.0},
                             "illegal_dumping:truck-0", every_s=5.0, first={"grossWeight": 28_000.0}),
    "unpermitted_loading": Story("truck", {"grossWeight": 26_000.0, "speed": 0.0}, "unpermitted_loading:truck-0",
                                 every_s=5.0),
    "cover_open": Story("truck", {"grossWeight": 28_000.0, "coverClosed": 0.0}, "cover_open:truck-0", every_s=5.0),
    "speeding": Story("truck", {"speed": 85.0}, "speeding:truck-0", every_s=5.0),
    "leakage": Story("pole", {"leakageCurrent": 0.055}, "leakage:pole-0"),
    "door_open": Story("pole", {"doorOpen": 1.0}, "door_open:pole-0"),
    "tilt": Story("pole", {"tilt": 6.0}, "tilt:pole-0"),
    "tilt_emergency": Story("pole", {"tilt": 12.0}, "tilt_emergency:pole-0"),
    "leakage_warn": Story("pole", {"leakageCurrent": 0.014}, "leakage_warn:pole-0"),
    "charger_occupied": Story("pole", {"chargerState": 2.0}, "charger_occupied:pole-0", every_s=60, rounds=70),
    "phantom_trip": Story("truck", {"grossWeight": 28_000.0, "longitude": 0.07, "latitude": 0.05},
                          "phantom_trip:truck-0", every_s=60, rounds=60,
                          first={"grossWeight": 28_000.0, "longitude": 0.05, "latitude": 0.05, "speed": 0.0}),
    "meter": Story("pole", {"energy": 0.0}, "lamp_degraded:pole-0", every_s=600, warm=150, rounds=600, metered=True),
    "charger_fault": Story("pole", {"chargerState": 3.0}, "charger_fault:pole-0"),
    "behaviour": Story("cell", {"connectedUsers": 900.0}, "behaviour:cell-0", {"connectedUsers": 100.0}, every_s=300,
                       warm=300, rounds=6, noise=5.0),
    "sensors": Story("pole", {"pm25": 190.0}, "sensor_bias:pole-0", {"pm25": 60.0, "pm10": 90.0}, every_s=3600,
                     warm=400, rounds=40, noise=4.0),
    "clock_skew": Story("pole", {}, "clock_skew:pole-0", skew_ms=-90_000),
    "sleeping_cell": Story("cell", {"prbLoadDown": 1.0}, "sleeping_cell:cell-0", every_s=300, warm=150, rounds=20,
                           noise=1.0),
    "night_noise": Story("pole", {"LAeq": 75.0}, "night_noise:pole-0", {"LAeq": 44.0}, every_s=120, warm=140, rounds=15,
                         noise=1.0),
    "dust": Story("pole", {"pm10": 800.0}, "dust:pole-0", {"pm10": 60.0}, every_s=300),
    "air_episode": Story("pole", {"pm25": 110.0}, "air_episode:010101", {"pm25": 20.0}, every_s=300, everybody=True),
    "lamp_degraded": Story("pole", {"powerConsumption": 70.0}, "lamp_degraded:pole-0", every_s=3600, warm=110,
                           rounds=110),
    "false_fix": Story("truck", {"longitude": 0.09}, "terminal_tampering:truck-0", every_s=5.0),
}  # fmt: skip


Told = tuple[str, int, dict[str, float]]  # device, its time, values


def rounds(story: Story, faulty: bool, seed: int = 7) -> Iterator[tuple[int, list[Told]]]:
    """(time, what each device says) of a story, with or without its fault."""
    rng = np.random.default_rng(seed)
    usual = {**CLEAN[story.kind], **story.clean}
    noisy = {"pm25", "pm10", "connectedUsers", "rsrp", "sinr", "prbLoadDown", "LAeq"}
    for n in range(story.warm + story.rounds):
        now = story.start_ms + int(n * story.every_s * 1000)
        told: list[Told] = []
        weather = rng.normal(0.0, 1.0)
        for i, name in enumerate(NAMES[story.kind]):
            values = dict(usual)
            if i == 0 and faulty and n == story.warm - 1:
                values |= story.first
            if (i == 0 or story.everybody) and faulty and n >= story.warm:
                if story.silent:
                    continue
                values |= story.fault
            if story.noise:
                values |= {q: values[q] + story.noise * (rng.normal() + weather) for q in sorted(noisy & set(values))}
            if story.metered:
                halted = i == 0 and faulty and n > story.warm
                hours = (n if not halted else story.warm + 0.5 * (n - story.warm)) * story.every_s / 3600.0
                values["energy"] = round(5000.0 + hours * values["powerConsumption"])
            skewed = i == 0 and faulty and n >= story.warm
            told.append((name, now + story.skew_ms * skewed, values))
        yield now, told


def hear(city: City, story: Story, now: int, told: list[Told]) -> list[Columns]:
    """What was told in one round, as it arrives."""
    return [said(city, story.kind, device, t, arrived=now, **values) for device, t, values in told]


def play(name: str, story: Story, faulty: bool, order: Callable[[list[Any]], list[Any]] = list) -> list[Finding]:
    """A story through a world that has only this detector."""
    files = town_files(trucks=2)
    day = Day(City(files, Registry()), story.start_ms - 1000)
    day.world.detectors = {name: day.world.detectors[name]}
    for now, told in rounds(story, faulty):
        day.now = now
        day.tick(hear(day.city, story, now, order(told)))
        if name in ("outage", "backhaul"):
            for _ in range(int(story.every_s)):
                day.now += 1000
                day.tick()
    return day.found


def test_every_detector_has_its_story() -> None:
    """A detector that is registered without a case here fails this test."""
    assert set(STORIES) == set(DETECTORS)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_fault_of_its_kind_is_found_and_a_clean_stretch_is_not(name: str) -> None:
    """The faulty device, and only it, is found once; the same stretch without the fault is silent."""
    story = STORIES[name]
    clean = [f.key for f in play(name, story, faulty=False)]
    found = [f for f in play(name, story, faulty=True) if f.active]
    assert clean == []
    assert story.finding in [f.key for f in found]
    assert {f.subject for f in found} == {story.finding.split(":")[1]}
    assert len({f.key for f in found}) == len(found)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_finding_is_complete(name: str) -> None:
    """Sentences in both languages that begin with the device, a severity, a score, JSON-able evidence."""
    import json

    for finding in play(name, STORIES[name], faulty=True):
        assert finding.en.startswith(finding.subject)
        assert finding.zh.startswith(finding.subject)
        assert any("\u4e00" <= letter <= "\u9fff" for letter in finding.zh)
        assert "nan" not in finding.en.lower()
        assert finding.severity in (1, 2, 3, 4)
        assert 0.0 <= finding.score <= 1.0
        assert finding.since_ms <= finding.at_ms
        json.dumps(dict(finding.evidence), allow_nan=False)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_order_of_devices_is_irrelevant(name: str) -> None:
    """Readings of a round in reverse give the same findings."""
    story = STORIES[name]
    assert [repr(f) for f in play(name, story, True)] == [
        repr(f) for f in play(name, story, True, order=lambda told: told[::-1])
    ]


@pytest.mark.parametrize("name", DETECTORS)
def test_score_before_learning(name: str) -> None:
    """The fault's own first round is compared with what was learnt before it: a longer fault finds it no earlier."""
    story = STORIES[name]
    whole = [f.at_ms for f in play(name, story, True) if f.active]
    shorter = Story(**{**story.__dict__, "rounds": story.rounds - 1})
    last = story.start_ms + int((story.warm + story.rounds - 2) * story.every_s * 1000)
    earlier = [f.at_ms for f in play(name, shorter, True) if f.active]
    assert earlier == [t for t in whole if t in earlier]
    assert all(t > last - HOUR for t in whole if t not in earlier)


NONSENSE = (np.nan, np.inf, -np.inf, 0.0, -1e308, 1e308)


@pytest.mark.parametrize("name", DETECTORS)
def test_no_opinion_on_nothing_and_no_warning_on_nonsense(name: str) -> None:
    """All-NaN readings give no finding; infinities, huge numbers and time going backwards no exception, no warning."""
    kind = STORIES[name].kind
    quantities = [q.name for q in KINDS[kind].quantities]
    day = Day()
    day.world.detectors = {name: DETECTORS[name](day.city, default_rules())}
    for _ in range(20):
        day.now += 30_000
        day.tick([said(day.city, kind, NAMES[kind], day.now, **dict.fromkeys(quantities, np.nan))])
    assert day.found == []
    rng = np.random.default_rng(3)
    for _ in range(200):
        day.now += int(rng.integers(0, 900_000))
        values = {q: rng.choice(NONSENSE, len(NAMES[kind])) for q in quantities}
        t = day.now - int(rng.integers(-HOUR, 3 * HOUR))
        day.tick([said(day.city, kind, NAMES[kind], t, arrived=day.now, **values)])


@pytest.mark.parametrize("name", DETECTORS)
def test_a_restart_in_the_middle_changes_nothing(name: str) -> None:
    """Dump and load after each third of the story: the same findings as without."""
    story = STORIES[name]
    expected = [repr(f) for f in play(name, story, True)]
    day = Day(town(), story.start_ms - 1000)
    day.world.detectors = {name: day.world.detectors[name]}
    total = story.warm + story.rounds
    for n, (now, told) in enumerate(rounds(story, True)):
        if n in (total // 3, story.warm, story.warm + 2, 2 * total // 3):
            fresh = World.load(day.world.dump(), town(), day.world.ledger)
            fresh.detectors = {name: fresh.detectors[name]}
            day.world, day.city = fresh, fresh.city
        day.now = now
        day.tick(hear(day.city, story, now, told))
        if name in ("outage", "backhaul"):
            for _ in range(int(story.every_s)):
                day.now += 1000
                day.tick()
    assert [repr(f) for f in day.found] == expected


def _by_row(told: Any, rows: int, row: int, path: str = "") -> Iterator[tuple[str, list[Any]]]:
    """What a dump remembers of one row: entries of arrays that are as long as the kind has devices."""
    if isinstance(told, dict):
        for key, value in told.items():
            yield from _by_row(value, rows, row, f"{path}/{key}")
    elif isinstance(told, np.ndarray) and told.ndim and told.shape[0] == rows:
        yield path, told[row].tolist()
    elif isinstance(told, np.ndarray) and told.ndim > 1 and told.shape[1] == rows:
        yield path, told[:, row].tolist()


@pytest.mark.parametrize("name", [n for n in DETECTORS if n != "behaviour"])  # by channel: see test_registry.py
def test_other_hardware_begins_anew(name: str) -> None:
    """After `forget` nothing that a detector remembers of a device differs from what it knows of one never heard."""
    story = STORIES[name]
    files = town_files(trucks=2)
    day = Day(City(files, Registry()), story.start_ms - 1000)
    detector = day.world.detectors[name]
    day.world.detectors = {name: detector}
    for now, told in rounds(story, faulty=True):
        day.now = now
        day.tick(hear(day.city, story, now, told))
    row, many = day.city.registry.row(story.kind, NAMES[story.kind][0]), day.city.rows(story.kind)
    fresh = DETECTORS[name](day.city, default_rules())
    detector.forget(story.kind, row)  # type: ignore[attr-defined]
    blank = dict(_by_row(fresh.dump(), many, row))
    kept = dict(_by_row(detector.dump(), many, row))
    differ = {p: v for p, v in kept.items() if p in blank and repr(v) != repr(blank[p])}
    assert not differ
    assert row not in detector.dump().get("rows", ()) or name == "sensors"


def test_a_trip_that_was_not_heard_of_accuses_nobody() -> None:
    """After a gap in its fixes, an outage or a leap of the clock, a truck may have arrived unseen."""
    gaps = replace(STORIES["phantom_trip"], every_s=1200, rounds=12)
    assert play("phantom_trip", gaps, faulty=True) == []


def test_types_are_told_apart() -> None:
    """Every finding type has parameters, and what a detector says is one of the types that it names."""
    rules = default_rules()
    for name, make in DETECTORS.items():
        detector = make(town(), rules)
        assert detector.types, name
        for type_ in detector.types:
            assert type_ in rules.types() or type_.startswith("sensor_")
        assert STORIES[name].finding.split(":")[0] in detector.types
    assert MINUTE < DAY
