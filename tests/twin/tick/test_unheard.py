"""Registered and never heard: found after a grace where others report, one finding at the cause, and never a flood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from devices.cities.change import Change, tell
from devices.places import Area, CityFiles
from tests.twin.tick.test_comings import edit
from tests.twin.tick.town import Day, Tally, said, town, town_files
from twin.city import City, Registry
from twin.detect import DETECTORS, default_rules
from twin.records import Batch, Columns, Edit, Link
from twin.tick import World

DAY_S = 86_400
GRACE_S = 2 * 3600
POLES = [f"pole-{i}" for i in range(12)]
CELLS = [f"cell-{i}" for i in range(6)]
EVERY = ["gw-1", "gw-2", *POLES, *CELLS]


class Grown(Day):
    """A town whose grace is two hours, ticked once a minute; only `outage` and `unheard` look."""

    def __init__(self, files: CityFiles | None = None) -> None:
        rules = default_rules()
        rules.override({"device_silent": {"unheard_s": GRACE_S}})
        super().__init__(City(files or town_files(), Registry()))
        self.world = World(self.city, Tally(), rules)
        self.world.detectors = {name: DETECTORS[name](self.city, rules) for name in ("outage", "unheard")}
        self.tick([Link("drained")])

    def live(self, hours: float, *who: Sequence[str]) -> None:
        """So long these report each minute, the others do not."""
        names = [name for some in who for name in some]

        def talk(now: int) -> list[Columns]:
            told = {"gateway": [n for n in names if n.startswith("gw")],
                    "pole": [n for n in names if n.startswith("pole")],
                    "cell": [n for n in names if n.startswith("cell")]}  # fmt: skip
            return [said(self.city, kind, some, now) for kind, some in told.items() if some]

        self.every(60, hours * 3600, talk)


def without(*gone: str) -> list[str]:
    """Everybody else."""
    return [name for name in EVERY if name not in gone]


def test_the_grace_is_a_day_unless_the_city_says_otherwise() -> None:
    """What an operator is told in the docs."""
    assert default_rules().number("device_silent", "unheard_s") == DAY_S


def test_one_device_that_was_never_heard_is_found_after_the_grace_and_over_with_its_first_word() -> None:
    """Not before the grace has passed, once, with words in both languages; its first reading ends it."""
    day = Grown()
    day.live(GRACE_S / 3600 - 0.1, without("pole-0"))
    assert day.found == []
    day.live(0.2, without("pole-0"))
    (found,) = day.found
    assert (found.key, found.active, found.severity) == ("device_silent:pole-0", True, 2)
    assert "never heard, expected for 2 h; 11 of 12 of its kind" in found.en
    assert "应上报已2小时,从未上报" in found.zh
    assert found.evidence["heard"] == 11
    day.live(3, without("pole-0"))
    assert len(day.found) == 1
    day.live(0.1, EVERY)
    assert day.keys(active=False) == ["device_silent:pole-0"]
    day.live(1, without("pole-0"))
    assert day.keys() == ["device_silent:pole-0"] * 2, "now it is silent as others fall silent"
    assert "silent for" in day.found[-1].en


def test_nobody_is_missed_while_nobody_reports() -> None:
    """A city whose devices are all to be connected yet: nothing is found, however long it takes."""
    day = Grown()
    day.every(60, 3 * DAY_S)
    assert day.found == []


def test_only_time_in_which_our_link_was_up_counts() -> None:
    """A night without a broker is no grace."""
    day = Grown()
    day.live(1, without("pole-0"))
    day.tick([Link("down")])
    day.every(60, 8 * 3600)
    day.tick([Link("up"), Link("drained")])
    day.live(0.9, without("pole-0"))
    assert day.found == []
    day.live(0.3, without("pole-0"))
    assert day.keys() == ["device_silent:pole-0"]


def test_all_of_a_gateway_are_one_finding_at_the_gateway() -> None:
    """Neither it nor its six poles and three cells were ever heard. When the first reports, the finding ends and the
    others, which are being connected, have their grace anew."""
    day = Grown()
    behind = [*POLES[0::2], *CELLS[0::2]]
    day.live(GRACE_S / 3600 + 0.1, without("gw-1", *behind))
    (found,) = day.found
    assert found.key == "gateway_loss:gw-1"
    assert found.severity == 3
    assert sorted(found.evidence["children"]) == sorted(behind)
    day.live(0.1, without(*behind[1:], "gw-1"))
    assert day.keys(active=False) == ["gateway_loss:gw-1"]
    day.live(1, without(*behind[1:], "gw-1"))
    assert day.keys() == ["gateway_loss:gw-1"]
    day.live(1, EVERY)
    assert day.keys() == ["gateway_loss:gw-1"]


def test_a_gateway_that_speaks_is_not_called_lost() -> None:
    """Its devices are what is missing; it is said at the gateway all the same."""
    day = Grown()
    day.live(GRACE_S / 3600 + 0.1, without(*POLES[0::2], *CELLS[0::2]))
    (found,) = day.found
    assert found.key == "device_silent:gw-1"
    assert "it speaks, but none of the 9 devices behind it" in found.en


def test_a_district_that_is_being_built_is_one_finding() -> None:
    """A third of the devices, behind both gateways: one finding, which names how many of what; it is over when few are
    left, and those are found one by one."""
    day = Grown()
    late = [*POLES[:4], *CELLS[:3]]
    day.live(GRACE_S / 3600 + 0.1, without(*late))
    (found,) = day.found
    assert found.key == "device_silent:010101"
    assert found.evidence["by_kind"] == {"cell": 3, "pole": 4}
    assert "7 of 18" in found.en
    day.live(0.5, without("pole-0"))
    assert day.keys(active=False) == ["device_silent:010101"]
    assert day.keys()[1:] == ["device_silent:pole-0"]


def test_a_kind_that_nobody_has_connected_is_not_missed() -> None:
    """Poles and gateways report; cells and trucks stand in the files only."""
    day = Grown()
    day.live(2 * GRACE_S / 3600, without(*CELLS))
    assert day.found == []
    day.live(1, without(*CELLS[1:]))
    assert day.found == [], "the first is connected: the others have their grace from then on"
    day.live(GRACE_S / 3600, without(*CELLS[1:]))
    assert day.keys() == ["device_silent:010101"]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_large_city_never_floods(share: float) -> None:
    """Three districts of a thousand poles behind fifty gateways, of which a share is connected: at most one finding a
    district and twenty of single devices, at the start and for days after it."""
    base = town_files()
    areas = tuple(Area(f"01010{d}", "district", "", f"District {d}", "区") for d in range(3))
    one = next(device for device in base.devices if device.kind == "pole")
    poles = tuple(
        replace(one, id=f"pole-{d}-{i}", code16=f"{d}{i:015d}", district=f"01010{d}", street="", cabinet="", feeder="",
                gateway=f"gate-{d}-{i % 50}")
        for d in range(3) for i in range(1000)
    )  # fmt: skip
    files = replace(base, areas=areas, nodes=(), devices=poles, permits=(), routes={}, neighbours={})
    day = Grown(files)
    rng = np.random.default_rng(5)
    talking = [pole.id for pole in poles if rng.random() < share]
    for _ in range(4):
        day.every(600, GRACE_S, lambda now: [said(day.city, "pole", talking, now)] if talking else [])
    keys = day.keys()
    assert len(keys) == len(set(keys)) <= 3 * 21
    assert (not keys) == (share == 0.0)
    if share:
        assert set(keys) == {f"device_silent:01010{d}" for d in range(3)}


def test_speaking_without_one_good_reading_is_said_so() -> None:
    """Every reading since it was registered was refused: the sentence says that it speaks, and why."""
    day = Grown()
    rejected = {("pole", day.city.registry.row("pole", "pole-0"), "unit"): 1}
    for _ in range(GRACE_S // 60 + 2):
        day.tick([Batch((), 1, rejected=rejected)])
        day.live(1 / 60, without("pole-0"))
    (found,) = day.found
    assert found.key == "device_silent:pole-0"
    assert "speaks, but no reading was ever good, expected for 2 h" in found.en
    assert "are in a wrong unit" in found.en
    assert "因单位不符被拒收" in found.zh


def test_a_past_that_is_learnt_counts_for_nothing() -> None:
    """Its devices are some; that others say nothing in it is no silence."""
    day = Grown()
    day.tick([Edit("learning", "true")])
    day.live(2 * GRACE_S / 3600, without("pole-0"))
    day.tick([Edit("learning", "false")])
    day.live(GRACE_S / 3600 - 0.1, without("pole-0"))
    assert day.found == []
    day.live(0.2, without("pole-0"))
    assert day.keys() == ["device_silent:pole-0"]


def test_a_restart_forgets_no_grace_and_says_nothing_twice() -> None:
    """The waits and what was said are part of the checkpoint."""
    day = Grown()
    day.live(1, without("pole-0"))
    for _ in range(2):
        day.world = World.load(day.world.dump(), town(), Tally())
        day.city = day.world.city
        day.tick([Link("down"), Link("up"), Link("drained")])
        day.live(1.2, without("pole-0"))
    assert day.keys() == ["device_silent:pole-0"]


def test_it_can_be_switched_off_where_a_city_says_so() -> None:
    """`enabled = false` of device_silent holds for it as well."""
    day = Grown()
    day.world.rules.override({"device_silent": {"unheard_s": GRACE_S, "enabled": False}})
    day.live(2 * GRACE_S / 3600, without("pole-0"))
    assert day.found == []


def test_a_newcomer_has_its_own_grace_and_who_leaves_is_no_longer_missed() -> None:
    """A pole that is registered while the server runs; it is retired again before it has said a word."""
    day = Grown()
    day.live(GRACE_S / 3600 - 1, EVERY)
    files = day.city.files
    pole = next(device for device in files.devices if device.kind == "pole")
    new = replace(pole, id="pole-new", code16="9" * 16)
    day.tick([edit(Change("devices", "pole-new", tell("devices", "pole-new", new)))])
    day.live(GRACE_S / 3600 - 0.1, EVERY)
    assert day.found == []
    day.live(0.2, EVERY)
    assert day.keys() == ["device_silent:pole-new"]
    day.tick([edit(Change("devices", "pole-new", None))])
    day.live(1, EVERY)
    assert day.keys() == ["device_silent:pole-new"]
    assert day.world.active() == []
