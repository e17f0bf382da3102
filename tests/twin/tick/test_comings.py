"""Devices that go and come back, that change, that say nonsense: nothing is raised, and nothing silly is said."""

from __future__ import annotations

import numpy as np
import pytest

from devices.cities.change import Change, Found, tell
from devices.places import CityFiles
from tests.twin.tick.town import DAY, MINUTE, Day, said
from twin.records import Edit, Link, Names
from twin.tick import CityEdit


def value_of(files: CityFiles, device: str) -> dict[str, object]:
    """A device's line of the city's files."""
    return tell("devices", device, Found(files).find("devices", device))


def edit(*changes: Change) -> Edit:
    """The changes as they stand in the journal."""
    return Edit("city", CityEdit(f"edit-{changes[0].id}", "ops", "as planned", changes).text())


def open_door(day: Day, minutes: int = 12) -> None:
    """A pole says every minute that its door stands open."""
    for _ in range(minutes):
        day.now += MINUTE
        day.say("pole", "pole-3", doorOpen=1.0, voltage=231.0)


@pytest.mark.parametrize("between", [1, 60])
def test_who_is_retired_and_comes_back_is_judged_anew(between: int) -> None:
    """A pole is found, retired with its door open, and adopted again: the open door is found again."""
    day = Day()
    open_door(day)
    assert day.keys() == ["door_open:pole-3"]
    value = value_of(day.city.files, "pole-3")
    cell = value_of(day.city.files, "cell-3") | {"pole": ""}
    day.tick([edit(Change("devices", "cell-3", cell), Change("devices", "pole-3", None))])
    day.now += between * MINUTE
    day.tick([edit(Change("devices", "pole-3", value))])
    day.found.clear()
    open_door(day)
    assert day.keys() == ["door_open:pole-3"]


def test_a_retired_device_leaves_nothing_in_model_and_detectors() -> None:
    """What was learnt of it and held against it is gone, for every detector that remembers devices."""
    day = Day()
    open_door(day, 3)
    row = day.city.registry.row("pole", "pole-3")
    cell = value_of(day.city.files, "cell-3") | {"pole": ""}
    day.tick([edit(Change("devices", "cell-3", cell), Change("devices", "pole-3", None))])
    assert day.world.models["pole"].arrays["t"][row] == 0
    assert (day.world.models["pole"].expectation.table[:, row] == -1).all()
    assert not any(getattr(d, "pending", lambda *_: False)("pole", row) for d in day.world.detectors.values())


QUIET = {"voltage": 230.0, "temperature": 18.0, "relativeHumidity": 60.0, "LAeq": 48.0}


def talk(day: Day, device: str, minutes: int, every: int = 1, **more: float) -> None:
    """A pole says usual values with a little noise, which others may take the place of."""
    rng = np.random.default_rng(minutes)
    for _ in range(minutes // every):
        day.now += every * MINUTE
        values = {name: x + float(rng.normal(0, 0.3)) for name, x in QUIET.items()} | more
        day.tick([said(day.city, "pole", device, day.now, **values), Link("drained")])


def test_a_thousand_new_devices_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """They are adopted in one change and speak in one tick, twice a minute since: nobody is whistled."""
    day = Day()
    talk(day, "pole-1", 10)
    like = value_of(day.city.files, "pole-1")
    rows = day.city.rows("pole")
    names = [f"new-{i}" for i in range(1000)]
    made = []
    for i, name in enumerate(names):
        value = like | {"id": name, "code16": f"0101010201{100_000 + i:06d}", "lon": 0.02 + i * 1e-5}
        made.append(Change("devices", name, value))
    day.tick([Names(tuple(("pole", rows + i, name) for i, name in enumerate(names))), edit(*made)])
    everybody = [*names, "pole-1"]
    for _ in range(40):
        day.now += MINUTE // 2
        day.say("pole", everybody, **QUIET)
    assert day.found == []
    assert not caplog.records


def test_a_channel_that_appears_after_a_year() -> None:
    """A pole that is known for long measures dust from one day on: its new channel is learnt before it is judged."""
    day = Day()
    talk(day, "pole-1", 3 * 1440, every=5)
    day.now += 365 * DAY
    day.tick([Link("down")])
    day.tick([Link("drained")])
    talk(day, "pole-1", 60, every=5)
    day.found.clear()
    talk(day, "pole-1", 1440, every=5, pm25=30.0, pm10=60.0)
    assert day.found == []


def test_a_channel_that_changes_its_unit_is_one_finding() -> None:
    """Degrees Celsius become tenths of them: said once, of this pole alone, and the rest goes on."""
    day = Day()
    talk(day, "pole-1", 5 * 1440, every=5)
    day.found.clear()
    talk(day, "pole-1", 720, every=5, temperature=40.0)
    assert len([f for f in day.found if f.active]) <= 1
    assert {f.subject for f in day.found} <= {"pole-1"}


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), float("-inf")])
def test_nothing_but_one_value_from_the_beginning(value: float) -> None:
    """Zeros, NaN or infinities for two days, never anything else: no word, but of those who were never heard."""
    day = Day()
    odd = {"pm25": value, "LAeq": value, "temperature": value, "illuminanceLevel": value, "windSpeed": value}
    for _ in range(2 * 288):
        day.now += 5 * MINUTE
        day.tick([said(day.city, "pole", ["pole-1", "pole-2"], day.now, **{"voltage": 230.0, **odd})])
        day.tick([said(day.city, "cell", "cell-1", day.now, rsrp=value, prbLoadDown=value, rrcAttempts=value)])
    assert {f.detector for f in day.found} <= {"unheard"}


def test_time_that_goes_backwards_is_stored_and_nothing_else() -> None:
    """A device repeats an hour that it has told already, then goes on: late readings change no state."""
    day = Day()
    talk(day, "pole-1", 240)
    before = day.world.models["pole"].arrays["t"].copy()
    for minute in range(60, 0, -1):
        day.tick([said(day.city, "pole", "pole-1", day.now - minute * MINUTE, arrived=day.now, voltage=-1e9)])
        day.tick([said(day.city, "pole", "pole-1", -(10**15), arrived=day.now, voltage=230.0)])
    assert day.world.models["pole"].arrays["t"].tolist() == before.tolist()
    talk(day, "pole-1", 60)
    assert day.found == []


def test_a_device_of_another_kind_under_an_old_name() -> None:
    """A cell is retired and a pole takes its name: a row of its own, nothing of the cell goes on."""
    day = Day()
    for _ in range(30):
        day.now += MINUTE
        day.say("cell", "cell-5", rsrp=-80.0, operationalState=1.0)
    pole = value_of(day.city.files, "pole-1") | {"id": "cell-5", "code16": "0101010201777777"}
    day.tick([edit(Change("devices", "cell-5", None))])
    row = day.city.rows("pole")
    day.tick([Names((("pole", row, "cell-5"),)), edit(Change("devices", "cell-5", pole))])
    day.found.clear()
    talk(day, "cell-5", 120)
    assert day.found == []
    assert day.world.models["pole"].arrays["t"][row] == day.now
    assert day.city.describe("cell-5").kind == "pole"  # type: ignore[union-attr]
