"""How simulated devices behave: lamps by the sun, meters that integrate, people, trucks on their routes."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from datetime import datetime
from functools import cache
from pathlib import Path
from statistics import mean
from zoneinfo import ZoneInfo

import pytest

from devices.cities.load import load_city
from devices.codec import encode_json
from devices.errors import PayloadError
from devices.faults.scenario import RandomPlan, Scenario
from devices.faults.truth import TruthFile, read_truth
from devices.fleet.chance import bits, drift, normals, text_salt, uniform
from devices.fleet.fleet import Fleet, Said
from devices.fleet.memory import read_memory, recall, write_memory
from devices.fleet.past import history, slow_faults
from devices.fleet.pole import Pole
from devices.fleet.road import Line
from devices.fleet.sky import daylight_lx, sun_elevation
from devices.kinds import KINDS
from devices.places import CityFiles
from devices.records import Reading

HELSINKI = Path(__file__).parents[3] / "devices" / "cities" / "helsinki"
ZONE = ZoneInfo("Europe/Helsinki")
HOUR = 3_600_000
TEXT_SALT = 1121294717258551936  # the same in every process and version


@cache
def city() -> CityFiles:
    return load_city(HELSINKI)


def at(hour: int, minute: int = 0, *, day: int = 20, month: int = 11) -> int:
    return int(datetime(2026, month, day, hour, minute, tzinfo=ZONE).timestamp() * 1000)


def run(start_ms: int, minutes: float, *kinds: str, seed: int = 7) -> tuple[Fleet, list[Said]]:
    fleet = Fleet(city(), seed, start_ms, kinds=kinds)
    return fleet, list(fleet.until(start_ms + round(minutes * 60_000)))


@pytest.mark.parametrize(
    ("lon", "lat", "when", "degrees"),
    [
        # NOAA Solar Calculator, without refraction.
        (24.94, 60.17, "2026-06-21T10:22:00+00:00", 53.3),
        (24.94, 60.17, "2026-12-21T10:18:00+00:00", 6.4),
        (121.47, 31.23, "2026-03-20T04:01:00+00:00", 58.7),
        (121.47, 31.23, "2026-03-20T16:01:00+00:00", -58.8),
    ],
)
def test_the_sun_stands_where_almanacs_say(lon: float, lat: float, when: str, degrees: float) -> None:
    """Noon and midnight elevations at two latitudes, to a third of a degree."""
    assert sun_elevation(datetime.fromisoformat(when).timestamp() * 1000, lon, lat) == pytest.approx(degrees, abs=0.35)


def test_light_grows_with_the_sun_and_shrinks_with_cloud() -> None:
    """Illuminance is monotone in elevation and in cloud, and lamps' dusk is below 100 lux."""
    levels = [daylight_lx(e, 0.2) for e in range(-14, 60, 2)]
    assert levels == sorted(levels)
    assert daylight_lx(30, 0.9) < daylight_lx(30, 0.1)
    assert daylight_lx(-2, 0) < 100


def test_chance_is_fair_and_the_same_everywhere() -> None:
    """Draws have the moments that they claim and do not depend on the process."""
    drawn = [n for i in range(4000) for n in normals(5, i)]
    assert mean(drawn) == pytest.approx(0, abs=0.03)
    assert mean(n * n for n in drawn) == pytest.approx(1, abs=0.05)
    assert mean(uniform(9, i) for i in range(4000)) == pytest.approx(0.5, abs=0.02)
    assert bits(1, 2, 3) == bits(1, 2, 3) != bits(1, 2, 4)
    assert text_salt("pole-0001", 7) == TEXT_SALT
    steps = [drift(3, t, 100) for t in range(1000)]
    assert max(abs(b - a) for a, b in itertools.pairwise(steps)) < 0.2


def test_the_same_seed_says_the_same_at_any_pace() -> None:
    """In one step or in a hundred, a city of one seed says the same; another seed says something else."""
    start = at(22)
    _, whole = run(start, 3)
    fleet = Fleet(city(), 7, start)
    parts = [said for i in range(1, 101) for said in fleet.until(start + i * 1800)]
    assert parts == whole
    _, other = run(start, 3, seed=8)
    assert other != whole


def test_what_goes_on_the_wire_is_what_is_said() -> None:
    """The text that is written at once has the values as they are cut and rounded, of every kind, in trouble or not."""
    kinds: set[str] = set()
    for hour in (8.5, 23.5):
        start = at(0) + round(hour * HOUR)
        fleet = Fleet(city(), 7, start, scenario=Scenario(random=RandomPlan(every_s=2.0)))
        for said in fleet.until(start + 120_000):
            assert (
                json.loads(b"{%s}" % said.body)
                == said.values
                == json.loads(encode_json(Reading("d", None, said.values)))
            )
            kinds.add(said.kind)
    assert kinds == set(KINDS)


def test_a_value_that_is_no_number_does_not_leave() -> None:
    """What no sensor could say is refused by name; what is beyond its limits is cut."""
    fleet = Fleet(city(), 7, at(12), kinds=("pole",))
    pole = next(iter(fleet.things.values()))
    assert pole.write({"voltage": math.inf, "tilt": -3.0}) == b'"voltage":500.0,"tilt":0.00'
    with pytest.raises(PayloadError, match=pole.id):
        pole.write({"voltage": math.nan})


def test_every_value_is_one_that_its_kind_can_say() -> None:
    """Names and limits of the device kinds hold for everything that is said, and cadences are kept."""
    fleet, told = run(at(22), 5)
    counts: dict[str, int] = defaultdict(int)
    for said in told:
        kind = KINDS[fleet.things[said.device].device.kind]
        counts[kind.name] += 1
        for name, value in said.values.items():
            quantity = kind.quantity(name)
            assert quantity.low <= value <= quantity.high
    assert counts["pole"] == pytest.approx(538 * 10, rel=0.02)
    assert counts["cell"] == pytest.approx(150 * 5, rel=0.03)
    assert counts["gateway"] == pytest.approx(15 * 10, rel=0.05)
    assert [s.t_ms - fleet.things[s.device].offset_ms for s in told] == sorted(
        s.t_ms - fleet.things[s.device].offset_ms for s in told
    )


def test_lamps_burn_by_night_only_and_dim_late() -> None:
    """Off at noon, full in the evening, dimmed before dawn; voltage sags under the load."""
    readings = {}
    for name, t_ms in (("noon", at(12)), ("evening", at(21)), ("late", at(3))):
        fleet, _ = run(t_ms, 1, "pole", "feeder")
        readings[name] = [fleet.things[p].reading(t_ms + 90_000, fleet.life) for p in ("pole-0001", "pole-0300")]
        assert all(r["powerState"] == float(name != "noon") for r in readings[name])
    rated = next(d.attributes["ratedPower"] for d in city().devices if d.id == "pole-0001")
    assert readings["noon"][0]["powerConsumption"] < 2
    assert readings["evening"][0]["powerConsumption"] == pytest.approx(rated, rel=0.12)
    assert readings["late"][0]["dimmingLevel"] == 0.6
    assert readings["late"][0]["powerConsumption"] < 0.75 * readings["evening"][0]["powerConsumption"]
    assert readings["evening"][0]["voltage"] < readings["noon"][0]["voltage"]


def test_energy_is_the_integral_of_power() -> None:
    """A pole's counter grows by what its power says, and a feeder draws what its lamps draw."""
    fleet, told = run(at(21), 60, "pole", "feeder")
    mine = [s for s in told if s.device == "pole-0001" and not s.event]
    watt_hours = sum(
        (b.t_ms - a.t_ms) / HOUR * (a.values["powerConsumption"] + b.values["powerConsumption"]) / 2
        for a, b in itertools.pairwise(mine)
    )
    assert mine[-1].values["energy"] - mine[0].values["energy"] == pytest.approx(watt_hours, abs=1.5)
    lamps = [d for d in city().devices if d.kind == "pole" and d.feeder == "feeder-01"]
    drawn = sum(fleet.things[d.id].reading(fleet.now_ms, fleet.life)["powerConsumption"] for d in lamps)
    line = fleet.things["feeder-01"].reading(fleet.now_ms, fleet.life)["powerConsumption"]
    assert line == pytest.approx(1.03 * drawn, rel=0.03)


def test_cells_follow_people() -> None:
    """More users by day than at night, more load with more users, worse SINR with more load."""
    load: dict[str, list[float]] = {}
    for name, t_ms in (("night", at(4)), ("day", at(14))):
        _fleet, told = run(t_ms, 5, "cell")
        load[name] = [s.values["prbLoadDown"] for s in told]
        busy = sorted(told, key=lambda s: s.values["connectedUsers"])
        idle, full = busy[: len(busy) // 4], busy[-len(busy) // 4 :]
        assert mean(s.values["prbLoadDown"] for s in full) > mean(s.values["prbLoadDown"] for s in idle)
        assert mean(s.values["sinr"] for s in full) < mean(s.values["sinr"] for s in idle)
    assert mean(load["day"]) > 3 * mean(load["night"])


def test_air_is_correlated_across_poles() -> None:
    """Neighbouring poles see the same air: their PM2.5 moves together over a day."""
    names = [d.id for d in city().devices if d.kind == "pole" and d.attributes.get("airSensor")][:2]
    series: dict[str, list[float]] = defaultdict(list)
    fleet = Fleet(city(), 7, at(0), kinds=["pole"])
    for t in range(at(0), at(0, day=22), HOUR):
        for name in names:
            series[name].append(fleet.things[name].reading(t, fleet.life)["pm25"])
    a, b = (series[n] for n in names)
    ma, mb = mean(a), mean(b)
    covariance = mean((x - ma) * (y - mb) for x, y in zip(a, b, strict=True))
    correlation = covariance / (mean((x - ma) ** 2 for x in a) * mean((y - mb) ** 2 for y in b)) ** 0.5
    assert correlation > 0.8


def test_trucks_work_within_their_hours_on_their_routes() -> None:
    """Laden movement happens only within the permit's hours and within its corridor, at road speed."""
    start = at(18, 30)
    fleet, told = run(start, 90, "truck")
    permits = {truck: permit for permit in city().permits for truck in permit.trucks}
    laden = 0
    for said in told:
        permit, values = permits.get(said.device), said.values
        tare = fleet.things[said.device].device.attributes["tareWeight"]
        if values["speed"] < 3 or values["grossWeight"] < 1.5 * tare:
            continue
        laden += 1
        assert permit is not None
        hour = datetime.fromtimestamp(said.t_ms / 1000, ZONE)
        since = (hour.hour + hour.minute / 60 - permit.start_hour) % 24
        assert since <= (permit.end_hour - permit.start_hour) % 24
        assert values["speed"] <= 40  # no road of that city allows more
        line = Line(city().routes[permit.route])
        here = (values["longitude"], values["latitude"])
        away = min(line.distance(here, line.place(m)[:2]) for m in range(0, int(line.length_m) + 10, 10))
        assert away < (50 if values["fixQuality"] == 3 else 90)
    assert laden > 100


def test_a_trip_loads_covers_tips_and_counts_its_metres() -> None:
    """The hopper rises only at the end, the cover is open only while standing, the odometer is the way driven."""
    _fleet, told = run(at(20), 60, "truck")
    trips = 0
    for truck in ("truck-007", "truck-008", "truck-009", "truck-010"):
        mine = [s.values for s in told if s.device == truck]
        for before, after in itertools.pairwise(mine):
            assert after["odometer"] >= before["odometer"]
            if after["hopperRaised"]:
                assert after["speed"] == 0
            if after["speed"] > 5:
                assert after["coverClosed"] == 1
            trips += before["hopperRaised"] < after["hopperRaised"]
        driven = sum(after["speed"] / 3.6 * 5 for after in mine if after["speed"] > 0)
        metres = mine[-1]["odometer"] - mine[0]["odometer"]
        assert metres == pytest.approx(driven, rel=0.25, abs=150)
    assert trips >= 4
    assert any(s.event and s.values["hopperRaised"] for s in told)


def test_history_is_the_same_city_at_a_coarser_cadence() -> None:
    """A past is ordered and complete at its everybody's moments, and its values are those the live city would have."""
    fleet = Fleet(city(), 7, at(0), kinds=["pole", "cell"])
    told = list(history(fleet, at(22)))
    times = [t for t, _ in told]
    assert times == sorted(times)
    assert times[-1] == at(22) - 300_000
    assert len(told[0][1]) == 538 + 150
    assert all(thing.smells for thing, _ in told[1][1] if isinstance(thing, Pole))
    assert 0 < len(told[1][1]) < 200
    live = Fleet(city(), 7, at(20), kinds=["pole", "cell"])
    t = times[-1]
    before = live.things["cell-0001"].reading(t, live.life)
    assert next(values for thing, values in told[-1][1] if thing.id == "cell-0001") == before


def test_slow_faults_begin_in_the_past_and_go_on(tmp_path: Path) -> None:
    """What befell the city in its past is drawn by the seed, labelled once, felt then and remembered after it."""
    end = at(22)
    truth = TruthFile(tmp_path / "truth.jsonl")
    fleet = Fleet(city(), 5, end - 9 * 86_400_000, truth=truth, kinds=["pole", "cell"])
    drawn = slow_faults(fleet, end)
    assert drawn == slow_faults(fleet, end)
    assert len({fault.subject for fault in drawn}) == len(drawn) >= 8
    assert all(fault.start_ms < end < fault.end_ms for fault in drawn)
    stuck = next(fault for fault in drawn if fault.type == "sensor_stuck")
    for fault in drawn:
        fleet.inject(fault)
    last: dict[str, set[float]] = {}
    for t, said in history(fleet, end):
        if t > stuck.start_ms + 3_900_000:
            for thing, values in said:
                if thing.id == stuck.subject:
                    last.setdefault("x", set()).add(values[stuck.quantity])
    assert len(last["x"]) == 1
    write_memory(tmp_path / "fleet.json", fleet, -1)
    live = Fleet(city(), 5, end, truth=truth)
    recall(live, read_memory(tmp_path / "fleet.json"))
    frozen = [s.values[stuck.quantity] for s in live.until(end + 130_000)
              if s.device == stuck.subject and stuck.quantity in s.values]  # fmt: skip
    assert set(frozen) == last["x"]
    assert len(read_truth(tmp_path / "truth.jsonl")) == len(drawn)
    assert len((tmp_path / "truth.jsonl").read_text().splitlines()) == len(drawn), "each is labelled once"


def test_what_runs_can_be_described() -> None:
    """Kinds, rate and truck phases, for the terminal."""
    fleet, _ = run(at(22), 0.1)
    told = fleet.describe()
    assert told["devices"] == {"pole": 538, "feeder": 12, "cell": 150, "gateway": 15, "truck": 60}
    assert 20 < told["messages_per_s"] < 40
    assert sum(told["trucks"].values()) == 60
