"""A device whose every reading is refused is not silent: the finding says so, and why; the same after a restart."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from devices.cities.change import Change
from tests.twin.tick.town import Day, Tally, said, town, town_files
from twin.city import City, Registry
from twin.detect.outage import Outage
from twin.records import F64, Batch, Edit
from twin.tick import CityEdit
from twin.tick.refusals import Refusals
from twin.tick.world import World

POLES = [f"pole-{i}" for i in range(12)]


def talk(day: Day, ill: tuple[str, ...] = (), reasons: Callable[[int], dict[str, int]] | None = None) -> Any:
    """Poles report every 30 s; of those that are ill nothing is taken, but counted where `reasons` says why."""

    def at(now: int) -> list[Any]:
        if (now // 1000) % 30:
            return []
        well = [pole for pole in POLES if pole not in ill]
        bodies: list[Any] = [said(day.city, "pole", well, now, voltage=230.0)]
        counts = reasons(now) if reasons else {}
        rows = [day.city.registry.row("pole", pole) for pole in ill]
        rejected = {("pole", row, why): n for row in rows for why, n in counts.items()}
        return [*bodies, Batch(messages=1, rejected=rejected)] if rejected else bodies

    return at


def test_a_device_that_is_refused_is_said_to_speak() -> None:
    """Both languages name the most frequent reason; a good reading ends it, and what came before is forgotten."""
    day = Day()
    day.every(1, 600, talk(day))
    odd = iter(range(10_000))
    day.every(1, 215, talk(day, ("pole-0",), lambda _now: {"unit": 1} if next(odd) % 3 else {"unit": 1, "range": 1}))
    assert day.keys() == ["device_silent:pole-0"]
    (found,) = day.found
    assert found.en.startswith("pole-0: speaks, but every reading is refused, ")
    assert " as in a wrong unit; the last good one came" in found.en
    assert found.zh.startswith("pole-0：仍在上报,但读数全部被拒收,")
    assert "因单位不符" in found.zh
    assert found.evidence["refused"]["unit"] > found.evidence["refused"]["range"] > 0
    day.every(1, 60, talk(day))
    assert day.keys(False) == ["device_silent:pole-0"]
    assert day.world.refusals.held == {}


@pytest.mark.parametrize("spoke", [0, 1])
def test_who_really_is_silent_is_said_to_be_silent(spoke: int) -> None:
    """Nothing refused, or refused readings that ended longer ago than a device may be silent."""
    day = Day()
    day.every(1, 600, talk(day))
    began = day.now
    ill = talk(day, ("pole-0",), lambda now: {"unit": spoke} if spoke and now - began < 45_000 else {})
    day.every(1, 215, ill)
    assert [one.en for one in day.found] == [one.en for one in day.found if "silent for" in one.en]
    assert len(day.found) == 1
    assert "refused" not in day.found[0].evidence


def test_a_restart_says_the_same() -> None:
    """What was refused before a checkpoint counts after it."""
    told = []
    for restarted in (False, True):
        day = Day()
        day.every(1, 600, talk(day))
        ill = talk(day, ("pole-0",), lambda _now: {"syntax": 1})
        day.every(1, 100, ill)
        if restarted:
            day.world = World.load(day.world.dump(), town(), Tally())
            day.city = day.world.city
            ill = talk(day, ("pole-0",), lambda _now: {"syntax": 1})
        day.every(1, 115, ill)
        told.append(repr(day.found))
    assert told[0] == told[1]
    assert "not readable" in told[0]


def test_a_moving_truck_that_is_refused_has_not_been_tampered_with() -> None:
    """Its driver did nothing: it speaks, and is not understood."""
    found = {}
    for refused in (False, True):
        day = Day()
        row = day.city.registry.row("truck", "truck-0")

        def drive(now: int, day: Day = day) -> list[Any]:
            return [said(day.city, "truck", "truck-0", now, speed=40.0)] if (now // 1000) % 5 == 0 else []

        def lost(now: int, row: int = row, refused: bool = refused) -> list[Any]:
            return [Batch(rejected={("truck", row, "unit"): 1})] if refused and (now // 1000) % 5 == 0 else []

        day.every(1, 600, drive)
        day.every(5, 1200, lost)
        found[refused] = day.keys()
    assert found == {False: ["terminal_tampering:truck-0"], True: ["device_silent:truck-0"]}


@pytest.mark.parametrize("cut", ["mainPower", "antennaOk", ""])
def test_a_parked_truck_whose_last_word_was_a_cut_has_been_tampered_with(cut: str) -> None:
    """One last report that power or antenna is gone, then nothing; without it a parked truck is merely silent."""
    day = Day()

    def stand(now: int) -> list[Any]:
        state = {"mainPower": 1.0, "antennaOk": 1.0, "speed": 0.0}
        return [said(day.city, "truck", "truck-0", now, **state)] if (now // 1000) % 60 == 0 else []

    def last(now: int) -> list[Any]:
        state = {"mainPower": 1.0, "antennaOk": 1.0, "speed": 0.0} | {cut: 0.0}
        return [said(day.city, "truck", "truck-0", now, **state)]

    day.every(1, 1200, stand)
    if cut:
        day.every(1, 1, last)
    day.every(5, 1200, lambda _now: [])
    type_ = "terminal_tampering" if cut else "device_silent"
    assert day.keys() == [f"{type_}:truck-0"]
    assert ("its last word was" in day.found[0].en) == bool(cut)
    day.every(1, 600, stand)
    assert day.keys(active=False) == [f"{type_}:truck-0"]


def test_a_gateway_whose_devices_are_all_refused_says_that_they_speak() -> None:
    """One cause, and how many of those under it speak."""
    day = Day()
    day.every(1, 600, talk(day))
    behind = tuple(pole for i, pole in enumerate(POLES) if i % 2 == 0)  # those of gw-1
    day.every(1, 900, talk(day, behind, lambda _now: {"shape": 1}))
    (lost,) = day.found
    assert lost.key.startswith(("gateway_loss:", "feeder_trip:"))
    assert "6 of them speak, but their readings are refused: of a wrong form" in lost.en
    assert "其中6台仍在上报但读数被拒收:格式不符" in lost.zh


@pytest.mark.parametrize(("times", "after_s"), [(1, 120), (2, 5)])
def test_a_group_is_not_said_to_speak_sooner_than_a_device(times: int, after_s: int) -> None:
    """One word of each that was refused, or several that ended longer ago than a device may be silent."""
    day = Day()
    day.every(1, 600, talk(day))
    behind = tuple(pole for i, pole in enumerate(POLES) if i % 2 == 0)  # those of gw-1
    day.every(1, after_s, talk(day, behind))
    day.tick([Batch(rejected={("pole", day.city.registry.row("pole", pole), "shape"): times for pole in behind})])
    day.every(1, 600, talk(day, behind))
    assert len(day.world.refusals.held) == 6
    (lost,) = day.found
    assert lost.key.startswith(("gateway_loss:", "feeder_trip:"))
    assert lost.en.endswith("6 devices silent together")
    assert lost.zh.endswith("6台设备同时失联")


def test_limits_are_worked_out_once_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many devices are found at once that speak and are refused."""
    asked: list[str] = []
    limit = Outage._limit

    def counted(self: Outage, kind: str, one: Any, p: Any) -> F64:
        asked.append(kind)
        return limit(self, kind, one, p)

    day = Day(City(replace(town_files(), nodes=()), Registry()))  # nobody has a cause in common
    day.every(1, 600, talk(day))
    day.every(1, 170, talk(day, tuple(POLES[:4]), lambda _now: {"unit": 1}))
    monkeypatch.setattr(Outage, "_limit", counted)
    for _ in range(60):
        before, asked[:] = len(day.found), []
        day.every(1, 1, talk(day, tuple(POLES[:4]), lambda _now: {"unit": 1}))
        assert len(asked) == len(set(asked)) > 0
        if len(day.found) > before:
            break
    assert sum("speaks, but" in one.en for one in day.found) == 4


def test_one_refused_device_costs_nothing_in_a_tick_of_a_million() -> None:
    """Few are held and looked up among those that were heard, not the other way round."""
    refusals = Refusals()
    refusals.note({("pole", row, "unit"): 1 for row in (0, 500_001, 3_000_000)} | {("cell", 4, "unit"): 1}, 5)
    rows = np.arange(0, 2_000_000, 2, dtype=np.int32)
    tracemalloc.start()
    refusals.heard("pole", rows)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000
    assert set(refusals.held) == {("pole", 500_001), ("pole", 3_000_000), ("cell", 4)}


def test_who_leaves_the_city_is_forgotten() -> None:
    """A retired device, and one that the files no longer name at a restart: neither says a good reading any more."""
    day = Day()
    rows = {pole: day.city.registry.row("pole", pole) for pole in POLES[:3]}
    day.tick([Batch(rejected={("pole", row, "unit"): 1 for row in rows.values()})])
    retired = CityEdit("e-1", "wang", "fell over", (Change("devices", "pole-0", None),))
    day.tick([Edit("city", retired.text())])
    assert set(day.world.refusals.held) == {("pole", rows["pole-1"]), ("pole", rows["pole-2"])}
    files = town_files()
    fewer = replace(files, devices=tuple(d for d in files.devices if d.id not in ("pole-0", "pole-1")))
    world = World.load(day.world.dump(), City(fewer, Registry(day.city.registry.names())), Tally())
    assert set(world.refusals.held) == {("pole", rows["pole-2"])}
