"""Cause before symptom through the tick: a lost gateway with its backlog, a feeder trip on which words get lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from devices.kinds import KINDS
from devices.places import CityFiles, Device
from tests.twin.tick.town import NIGHT_MS, Day, Tally, said, town_files
from twin.city import City, Registry
from twin.records import Columns, Edit, Link
from twin.tick import World

TRIP_S = 600


def metered(poles: int = 12, cells: int = 6) -> CityFiles:
    """The town, its feeders with a meter; cells are fed by their poles."""
    files = town_files(poles=poles, cells=cells)
    meters = tuple(
        Device(f"feeder-{f}", "feeder", f"010101{KINDS['feeder'].object_class}00090{f}", 0.0, 0.0, "010101")
        for f in (1, 2)
    )
    return replace(files, devices=(*files.devices, *meters))


class Life(Day):
    """Everybody at its cadence, spread over it; `mute(device, second)` says who is not heard when."""

    def __init__(self, files: CityFiles) -> None:
        super().__init__(City(files, Registry()), NIGHT_MS - 1000)
        self.start = self.now
        self.spooled: list[tuple[str, str, int]] = []
        self.rng = np.random.default_rng(5)

    @property
    def second(self) -> int:
        return (self.now - self.start) // 1000

    def columns(self, told: list[tuple[str, str, int]], volts: Callable[[str, int], float]) -> list[Columns]:
        columns = []
        for kind in ("pole", "cell", "gateway", "feeder"):
            mine = [(name, t) for k, name, t in told if k == kind]
            if not mine:
                continue
            names, times = [name for name, _ in mine], [t for _, t in mine]
            values: dict[str, Any] = {"temperature": 40.0 + self.rng.normal(0.0, 0.5, len(mine))}
            if kind in ("pole", "feeder"):
                values = {"voltage": [volts(name, t) + float(self.rng.normal(0.0, 0.5)) for name, t in mine]}
            if kind == "pole":
                values["supplyPresent"] = 1.0
            columns.append(said(self.city, kind, names, times, arrived=self.now, **values))
        return columns

    def live(
        self,
        seconds: int,
        mute: Callable[[str, int], bool] = lambda name, second: False,
        held: Callable[[str, int], bool] = lambda name, second: False,
        volts: Callable[[str, int], float] = lambda name, t: 230.0,
        step: int = 1,
    ) -> None:
        """Marks every `step` seconds. Whoever is `held` spools, and says all of it at once afterwards."""
        things = [d for d in self.city.files.devices if d.kind in ("pole", "cell", "gateway", "feeder")]
        for _ in range(0, seconds, step):
            self.now += 1000 * step
            told = []
            for i, device in enumerate(things):
                cadence = 30 if device.kind in ("pole", "gateway") else 60
                if (self.second + 7 * i) % cadence >= step or mute(device.id, self.second):
                    continue
                one = (device.kind, device.id, self.now)
                if held(device.id, self.second):
                    self.spooled.append(one)
                else:
                    told.append(one)
            back = [one for one in self.spooled if not held(one[1], self.second)]
            if back:
                self.spooled = [one for one in self.spooled if held(one[1], self.second)]
            self.tick(self.columns(sorted([*back, *told], key=lambda one: one[2]), volts))


def on_feeder_1(name: str) -> bool:
    kind, _, number = name.partition("-")
    return kind in ("pole", "cell") and int(number) % 2 == 0


def behind_1(name: str) -> bool:
    return name == "gw-1" or on_feeder_1(name)


def test_a_lost_gateway_that_comes_back_with_its_backlog_is_one_finding() -> None:
    """Twenty minutes without backhaul, then all that waited at once: said once, ended once, and nobody else accused."""
    life = Life(metered())
    life.live(900)
    life.live(1200, held=lambda name, _: behind_1(name))
    assert life.keys() == ["gateway_loss:gw-1"]
    life.live(1200)
    assert not life.spooled
    assert life.keys() == ["gateway_loss:gw-1"]
    assert life.keys(active=False) == ["gateway_loss:gw-1"]


@pytest.mark.parametrize("lost_words", [0, 1, 3])
def test_a_gateway_whose_words_get_lost_in_a_feeder_trip_is_not_lost(lost_words: int) -> None:
    """All its devices are without supply, and said so at the feeder; then some of its own words do not come."""
    life = Life(metered())
    life.live(900)
    gap = range(1300, 1300 + 30 * lost_words)
    life.live(1200, mute=lambda name, second: on_feeder_1(name) or (name == "gw-1" and second in gap))
    life.live(1200)
    assert life.keys() == ["feeder_trip:feeder-1"]
    assert life.keys(active=False) == ["feeder_trip:feeder-1"]


@pytest.mark.parametrize("silent", [("cell-0", "cell-2", "cell-4"), ("cell-0", "cell-4")])
def test_all_cells_of_a_gateway_silent_while_its_poles_speak_are_its_backhaul(silent: tuple[str, ...]) -> None:
    """One finding at the gateway, said once and ended once; some of its cells are some cells."""
    life = Life(metered())
    life.live(900)
    life.live(1200, mute=lambda name, _: name in silent)
    one = ["backhaul_down:gw-1"] if len(silent) == 3 else [f"device_silent:{name}" for name in silent]
    assert life.keys() == one
    life.live(1200)
    assert life.keys(active=False) == one


def test_what_a_trip_leaves_of_a_lost_gateway_hangs_on_the_gateway() -> None:
    """Of the devices behind a gateway all but one are dark by a trip; then it falls silent with the last one."""
    files = metered()
    moved = tuple(replace(d, gateway="gw-1") if d.id == "pole-1" else d for d in files.devices)
    life = Life(replace(files, devices=moved))
    life.live(900)
    life.live(600, mute=lambda name, _: on_feeder_1(name))
    life.live(1200, mute=lambda name, _: behind_1(name) or name == "pole-1")
    assert life.keys() == ["feeder_trip:feeder-1", "gateway_loss:gw-1"]
    life.live(1800)
    assert sorted(life.keys(active=False)) == ["feeder_trip:feeder-1", "gateway_loss:gw-1"]


def test_one_lost_word_of_a_gateway_is_no_loss() -> None:
    """Its devices fall silent for reasons of their own, too few for a feeder; it misses one report, no more."""
    life = Life(town_files(poles=4, cells=4))
    life.live(900)
    life.live(600, mute=lambda name, second: on_feeder_1(name) or (name == "gw-1" and second in range(1030, 1060)))
    assert {f.type for f in life.found} == {"device_silent"}


@pytest.fixture(scope="module")
def known() -> tuple[bytes, int]:
    """A world that knows its meters so well that a voltage of nothing would be called unusual; and its time."""
    life = Life(metered())
    life.live(63_000, step=30)
    life.live(120)
    assert life.found == []
    return life.world.dump(), life.now


@pytest.mark.parametrize("gasps", [0, 1, 2, 3])
def test_a_feeder_trip_is_one_finding_before_and_after(gasps: int, known: tuple[bytes, int]) -> None:
    """No pole's, no cell's and no meter's own whistle, whether or not poles get their last word out; it comes within
    75 s where the feeder's own meter still speaks, and ends once."""
    life = Life(metered())
    life.world, life.now = World.load(known[0], life.city, Tally()), known[1]
    life.tick([Link("drained")])
    began = life.now
    poles = [f"pole-{i}" for i in range(0, 2 * gasps, 2)]
    if poles:
        life.tick([said(life.city, "pole", poles, life.now, supplyPresent=0.0)])
    life.tick([said(life.city, "feeder", "feeder-1", life.now, voltage=0.0)])
    life.live(
        900,
        mute=lambda name, second: on_feeder_1(name),
        volts=lambda name, t: 0.0 if name == "feeder-1" and t > began else 230.0,
    )
    assert life.keys() == ["feeder_trip:feeder-1"]
    assert life.found[0].at_ms - began <= 75_000
    life.live(1200)
    assert life.keys() == ["feeder_trip:feeder-1"]
    assert life.keys(active=False) == ["feeder_trip:feeder-1"]


def learn_sparsely(life: Life) -> None:
    """A past as the demo's: it spoke every two hours, in the end every five minutes, and ended five minutes ago."""
    life.tick([Edit("learning", "true")])
    for pause_ms in (7_200_000,) * 12 + (300_000,) * 18:
        life.now += pause_ms
        told = [(d.kind, d.id, life.now) for d in life.city.files.devices if d.kind in ("pole", "gateway", "feeder")]
        life.tick(life.columns(told, lambda _name, _t: 230.0))
    life.tick([Link("down")])
    life.now += 300_000
    life.tick([Edit("learning", '"sparse"')])
    life.tick([Link("up"), Link("drained")])


def test_a_feeder_trip_soon_after_a_sparse_past_is_one_finding() -> None:
    """Half of the poles' last words and the feeder's own meter say what the others' silence means."""
    life = Life(metered())
    learn_sparsely(life)
    life.live(100)
    began = life.now
    gasps = [f"pole-{i}" for i in range(0, 6, 2)]
    life.tick([said(life.city, "pole", gasps, life.now, supplyPresent=0.0)])
    life.live(
        300,
        mute=lambda name, second: on_feeder_1(name),
        volts=lambda name, t: 0.0 if name == "feeder-1" and t > began else 230.0,
    )
    assert [one.key for one in life.found if one.active and one.type != "behaviour"] == ["feeder_trip:feeder-1"]
    trip = next(one for one in life.found if one.type == "feeder_trip")
    assert trip.at_ms - began <= 120_000
    assert {f"pole-{i}" for i in range(0, 12, 2)} <= set(trip.evidence["children"])


@pytest.mark.parametrize(("cause", "gone"), [("gateway_loss:gw-1", behind_1), ("cabinet_trip:cab-11", None)])
def test_a_cause_soon_after_a_sparse_past_is_one_finding(cause: str, gone: Callable[[str], bool] | None) -> None:
    """Live, it is the own cadence that says who is overdue."""
    life = Life(metered(poles=24))
    learn_sparsely(life)
    life.live(60)
    began = life.now
    if gone is None:
        groups = life.city.groups["cabinet"]
        here = groups.of["pole"] == groups.ids.index("cab-11")
        poles = {life.city.registry.device("pole", int(row)) for row in np.flatnonzero(here)}
        life.tick([said(life.city, "pole", sorted(poles)[::2], life.now, supplyPresent=0.0)])
        gone = poles.__contains__
    life.live(400, mute=lambda name, second: gone(name))
    assert [one.key for one in life.found if one.active and one.type != "behaviour"] == [cause]
    found = next(one for one in life.found if one.key == cause)
    assert found.at_ms - began <= 240_000


def test_a_group_that_the_city_no_longer_has_is_over_and_touches_nobody() -> None:
    """A restart over files without the feeder that failed: it ends; the other feeder's finding stays, and a lone pole
    that hangs on nothing is found in its own time."""
    files = town_files(poles=14)
    free = tuple(replace(d, cabinet="", feeder="", gateway="") if d.id == "pole-13" else d for d in files.devices)
    life = Life(replace(files, devices=free))
    life.live(900)
    gone = {f"pole-{i}" for i in range(13)}
    life.live(300, mute=lambda name, second: name in gone)
    assert sorted(life.keys()) == ["feeder_trip:feeder-1", "feeder_trip:feeder-2"]
    silent = {*gone, "pole-13"}
    last = int(life.world.models["pole"].arrays["arrived"][13])
    life.live((last - life.now) // 1000 + 155, mute=lambda name, second: name in silent)
    gone_too = {d.id for d in free if on_feeder_1(d.id) and d.kind == "pole"}
    moved = tuple(replace(d, cabinet="", feeder="", gateway="") if d.id in gone_too else d for d in free)
    nodes = tuple(n for n in files.nodes if n.id != "feeder-1" and n.parent != "feeder-1")
    city = City(replace(files, devices=moved, nodes=nodes), Registry())
    life.world, life.city = World.load(life.world.dump(), city, Tally()), city
    before = len(life.found)
    life.tick([Link("drained")])
    life.live(40, mute=lambda name, second: name in silent)
    later = life.found[before:]
    assert [f.key for f in later if not f.active] == ["feeder_trip:feeder-1"]
    alone = [f for f in later if f.key == "device_silent:pole-13"]
    assert [f.at_ms - (last + 150_000) <= 35_000 for f in alone] == [True]


@pytest.mark.parametrize("restarted", [True, False])
def test_a_restart_and_its_catch_up_are_no_finding(restarted: bool) -> None:
    """Twelve minutes in which we heard nobody, as a stopped process or without a link; then all that waited at once."""
    life = Life(metered())
    life.live(900)
    saved = life.world.dump()
    if not restarted:
        life.tick([Link("down")])
    life.live(720, held=lambda name, second: True)  # of a stopped process: marks of a world that nobody reads any more
    if restarted:
        life.city = City(metered(), Registry())
        life.world, life.found = World.load(saved, life.city, Tally()), []
        life.tick([Link("down")])
    life.tick([Link("up")])
    waited = len(life.spooled)
    life.live(1)
    assert waited > 400
    assert life.spooled == []
    life.tick([Link("drained")])
    life.live(900)
    assert life.found == []


CABINET = {"pole-0", "pole-4", "pole-8"}  # of cab-11


def test_a_cabinet_whose_poles_all_gasp_waits_for_its_feeder() -> None:
    """In a trip the last words of one cabinet's poles get out and no others': it is no cause while nobody else under
    its feeder was heard since. Where others speak on, it is one at once."""
    life = Life(metered())
    life.live(900)
    life.tick([said(life.city, "pole", sorted(CABINET), life.now, supplyPresent=0.0)])
    life.live(900, mute=lambda name, _: on_feeder_1(name))
    assert life.keys() == ["feeder_trip:feeder-1"]
    life.live(1200)
    assert life.keys(active=False) == ["feeder_trip:feeder-1"]
    began = life.now
    life.tick([said(life.city, "pole", sorted(CABINET), life.now, supplyPresent=0.0)])
    life.live(300, mute=lambda name, _: name in CABINET)
    assert life.keys() == ["feeder_trip:feeder-1", "cabinet_trip:cab-11"]
    assert life.found[-1].at_ms - began <= 45_000


@pytest.mark.parametrize("wider", ["feeder_trip:feeder-1", "gateway_loss:gw-1"])
def test_a_cabinet_that_was_out_before_its_feeder_or_gateway_is_out_until_its_poles_are_back(wider: str) -> None:
    """The wider cause says nothing of the cabinet: its finding neither ends nor begins anew by it."""
    life = Life(metered(poles=24))
    groups = life.city.groups["cabinet"]
    here = np.flatnonzero(groups.of["pole"] == groups.ids.index("cab-11"))
    poles = {life.city.registry.device("pole", int(row)) for row in here}
    gone = on_feeder_1 if wider.startswith("feeder") else behind_1
    life.live(900)
    life.live(600, mute=lambda name, _: name in poles)
    assert life.keys() == ["cabinet_trip:cab-11"]
    life.live(900, mute=lambda name, _: name in poles or gone(name))
    life.live(900, mute=lambda name, _: name in poles)
    assert life.keys() == ["cabinet_trip:cab-11", wider]
    assert life.keys(active=False) == [wider]
    life.live(900)
    assert life.keys() == ["cabinet_trip:cab-11", wider]
    assert life.keys(active=False) == [wider, "cabinet_trip:cab-11"]


@pytest.mark.parametrize("with_meter", [True, False], ids=["with a meter", "without"])
def test_a_feeder_that_trips_when_a_cabinet_took_most_of_it_is_one_finding(with_meter: bool) -> None:
    """Two poles are left, too few for a group: the meter tells, or that both fall silent beside those without supply.
    Neither is accused, nor the cells on them."""
    files = metered(poles=16)
    left = {"pole-0", "pole-2", "cell-0", "cell-2"}
    devices = [replace(d, cabinet="cab-12" if d.id in left else "cab-11") if d.kind == "pole" and on_feeder_1(d.id)
               else d for d in files.devices if with_meter or d.kind != "feeder"]  # fmt: skip
    life = Life(replace(files, devices=tuple(devices)))
    life.live(900)
    life.live(600, mute=lambda name, _: on_feeder_1(name) and name not in left)
    assert life.keys() == ["cabinet_trip:cab-11"]
    began = life.now
    life.live(900, mute=lambda name, _: on_feeder_1(name),
              volts=lambda name, t: 0.0 if name == "feeder-1" and t > began else 230.0)  # fmt: skip
    life.live(1800)
    assert life.keys() == ["cabinet_trip:cab-11", "feeder_trip:feeder-1"]
    assert sorted(life.keys(active=False)) == life.keys()


def test_one_pole_that_falls_silent_beside_a_cabinet_without_supply_is_one_pole() -> None:
    """The other one that is left speaks: it is no feeder."""
    files = metered(poles=16)
    devices = [replace(d, cabinet="cab-12" if d.id in ("pole-0", "pole-2") else "cab-11")
               if d.kind == "pole" and on_feeder_1(d.id) else d for d in files.devices]  # fmt: skip
    life = Life(replace(files, devices=tuple(devices)))
    life.live(900)
    life.live(600, mute=lambda name, _: on_feeder_1(name) and name not in ("pole-0", "pole-2", "cell-0", "cell-2"))
    life.live(600, mute=lambda name, _: on_feeder_1(name) and name not in ("pole-2", "cell-0", "cell-2"))
    assert life.keys() == ["cabinet_trip:cab-11", "device_silent:pole-0"]


@pytest.mark.parametrize(("seconds", "found"), [(20, []), (90, ["cabinet_trip:cab-11"])])
def test_a_short_trip_of_which_one_pole_tells_is_the_cabinets_or_nobodys(seconds: int, found: list[str]) -> None:
    """Of three poles one has a last word: while nobody else under the cabinet is heard it is not said alone. Back, all
    of them say so."""
    life = Life(town_files(cells=0))
    life.live(900)
    for _ in range(5):
        dark = {"pole-0", "pole-4", "pole-8"}
        life.tick([said(life.city, "pole", "pole-4", life.now, supplyPresent=0.0)])
        life.live(seconds, mute=lambda name, _, dark=dark: name in dark)
        life.tick([said(life.city, "pole", sorted(dark), life.now, supplyPresent=1.0)])
        life.live(90)
    assert life.keys() == 5 * found
    assert life.keys(active=False) == 5 * found


def test_a_cabinet_waits_for_a_feeder_whose_other_poles_speak_seldom() -> None:
    """Poles of one cabinet say that their supply went; those of the other speak each minute and have no last word."""
    files = town_files(cells=0)
    first = {f"pole-{i}" for i in range(0, 12, 4)}
    slow = {f"pole-{i}" for i in range(2, 12, 4)}
    devices = [replace(d, cadence_s=60.0) if d.id in slow else d for d in files.devices]
    life = Life(replace(files, devices=tuple(devices)))

    def skips(name: str, second: int) -> bool:
        return name in slow and second % 60 < 30

    life.live(878, mute=skips)  # the last of them has just spoken
    life.tick([said(life.city, "pole", sorted(first), life.now, supplyPresent=0.0)])
    life.live(300, mute=lambda name, _: on_feeder_1(name))
    assert life.keys() == ["feeder_trip:feeder-1"]
