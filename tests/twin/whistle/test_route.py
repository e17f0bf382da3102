"""Routing and policy: who gets what and why; a city's own table; every type has what it needs."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from devices.places import Department
from twin.channels.text import lines
from twin.errors import SettingsError
from twin.whistle.places import CityPlaces
from twin.whistle.policy import EXPLAINS, TYPES, Policy, parse_policy
from twin.whistle.route import explain, route
from twin.whistle.words import COMMANDS, TYPE_WORDS

from .city import NOON, Story, files

PLACES = CityPlaces.of(files())


@pytest.mark.parametrize(
    ("type_", "subject", "office"),
    [
        ("lamp_out", "pole-0001", "lighting"),
        ("day_burner", "pole-0001", "lighting_s1"),  # the street's own goes before the city's
        ("feeder_trip", "feeder-01", "power"),
        ("never_heard_of", "pole-0001", "operations"),
        ("lamp_out", "nowhere", "lighting"),
    ],
)
def test_the_smallest_area_that_claims_a_type_goes_first(type_: str, subject: str, office: str) -> None:
    """By type and area; what nobody claims goes to operations; the reason names the department in both languages."""
    way = route(PLACES, Policy(), type_, subject)
    assert way.department.id == office
    assert way.department.name in way.en
    assert way.department.name_zh in way.zh


def test_joint_cases_name_the_others() -> None:
    """A dump concerns the environment as well, where the city has such a department."""
    way = route(PLACES, Policy(), "illegal_dumping", "truck-001")
    assert [d.id for d in way.joint] == ["environment"]
    assert "jointly with Environment" in way.en


def test_a_nearer_office_that_only_joins_does_not_lead() -> None:
    """`joins`: the street's own office is a party of the city's case, for a type of any kind; the reason says so."""
    city = files()
    street = Department("street_office", "Street office", "街道办", (), ("s1",), joins=("leakage", "dust"))
    elsewhere = replace(street, id="far_office", areas=("s9",))
    places = CityPlaces.of(replace(city, departments=(*city.departments, street, elsewhere)))
    way = route(places, Policy(), "leakage", "pole-0001")
    assert (way.department.id, [one.id for one in way.joint]) == ("power", ["street_office"])
    assert way.en == (
        "Power company answers for leakage in the whole city, and leads; "
        "jointly with Street office (joins in leakage in s1, does not lead)"
    )
    assert way.zh == "供电公司负责全市的漏电并牵头；联合街道办（在s1内协同，不牵头）"
    told = explain(places, Policy(), "dust", "pole-0001", NOON)
    assert (told.department, told.joint, told.kind) == ("environment", ("street_office",), "joint")
    assert explain(places, Policy(), "tilt", "pole-0001", NOON).kind == "single"


def test_what_hangs_on_what() -> None:
    """Parents are nearest first; unknown subjects have none."""
    assert PLACES.parents("cell-0001") == ("pole-0000", "cabinet-000", "feeder-01", "gw-01", "s1", "d1")
    assert PLACES.parents("pole-0011") == ("cabinet-001", "feeder-01", "gw-01", "s1", "d1")
    assert PLACES.parents("cabinet-001") == ("feeder-01", "s1", "d1")
    assert PLACES.parents("ghost") == ()
    assert PLACES.district("cabinet-001") == "d1"
    assert PLACES.kind("feeder-01") == "feeder"


def test_every_type_has_words_and_a_policy() -> None:
    """Types, names in both languages, causes and commands speak of the same words."""
    assert set(TYPES) == set(TYPE_WORDS)
    for cause, explained in EXPLAINS.items():
        assert cause in TYPES
        assert explained <= set(TYPES)
        assert cause not in explained
    assert {p.command for p in TYPES.values()} - {""} <= set(COMMANDS)
    assert all(p.kind == "joint" for p in TYPES.values() if p.joint)


def test_a_citys_own_table_overrides_value_by_value() -> None:
    """TOML changes what it names and leaves the rest; a general hold leaves types alone that have their own."""
    text = """
        [city]
        storm_count = 7
        [default]
        deadline_s = 60
        [type.lamp_out]
        deadline_s = 7200
        [type.pigeon]
        act = true
        [calendar]
        shifts = [[8, 20]]
        [explains]
        pigeon = ["lamp_out"]
    """
    policy = parse_policy(tomllib.loads(text), timezone="Asia/Shanghai", hold_s=2)
    assert policy.storm_count == 7
    assert (policy.of("lamp_out").deadline_s, policy.of("lamp_out").hold_s) == (7200, 10)
    assert (policy.of("tilt").hold_s, policy.of("leakage").hold_s) == (2, 0)
    assert policy.of("pigeon").act
    assert policy.of("unheard").deadline_s == 60
    assert policy.calendar.shifts == ((8.0, 20.0),)
    assert policy.explains["pigeon"] == {"lamp_out"}


@pytest.mark.parametrize(
    "text",
    ["[typo]", "[city]\nx = 1", "[city]\nstorm_count = true", "[city]\nstorm_s = 'x'", "[type.tilt]\nact = 1",
     "[city]\nescalate_at = [1.0]", "[city]\nescalate_at = [2.0, 1.0, 3.0]", "[type.tilt]\njoint = 'a'",
     "[city]\ncalendar = 1", "[type.tilt]\ncommand = 3", "[default]\nhold_s = -1"],
)  # fmt: skip
def test_a_wrong_table_is_named(text: str) -> None:
    """Unknown keys and values of the wrong kind are errors that name the key."""
    with pytest.raises(SettingsError):
        parse_policy(tomllib.loads(text), timezone="UTC")


def test_what_the_system_does_it_says_in_both_languages() -> None:
    """Every reason of an automatic step has its Chinese words, in the evidence that the chain proves; what a person
    wrote stays as it is. The message at the end carries both.
    """
    story = Story()
    story.after(1, [story.finding("device_silent", "pole-0001"), story.finding("lamp_out", "pole-0002")])
    story.after(61)
    story.after(1, [story.finding("feeder_trip", "feeder-01", evidence={"children": ["pole-0003", "pole-0004"]})])
    story.after(1, [story.finding("feeder_trip", "feeder-01", active=False)])
    story.after(3600)
    for name in ("pole-0001", "pole-0002"):
        types = [one.type for one in story.ledger.open_cases() if one.subject == name]
        story.after(1, [story.finding(kind, name, active=False) for kind in types])
    story.after(7200)
    story.after(1, [story.finding("lamp_out", "pole-0002")])
    story.act("comment", story.only(), "on our way")
    steps = [t for changes in story.log for t in changes.transitions]
    assert {"find", "file", "dispatch", "merge", "split", "recover", "verify", "close", "reopen"} <= {
        t.event for t in steps
    }
    for step in steps:
        said = step.evidence.get("reason_zh", "")
        assert type(step.reason) is str
        if step.actor == "system" and step.reason:
            assert any("\u4e00" <= letter <= "\u9fff" for letter in said), step
        else:
            assert not said, step
    told = [d.payload for changes in story.log for d in changes.deliveries if d.purpose == "close"]
    assert told
    assert all("遥测已持续正常" in one["reason_zh"] and "telemetry clear" in one["reason"] for one in told)
    assert "原因：遥测已持续正常" in "\n".join(lines(told[0], "zh", ZoneInfo("UTC")))
    assert "Reason: telemetry clear" in "\n".join(lines(told[0], "en", ZoneInfo("UTC")))
