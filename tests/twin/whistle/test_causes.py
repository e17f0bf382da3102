"""Cause before symptom: one whistle at the cause, its symptoms recorded under it and never sent."""

from __future__ import annotations

import json

from .city import Story

POLES = [f"pole-{i:04d}" for i in range(500)]


def silent(story: Story, active: bool = True, count: int = 500) -> list:
    """Findings of so many silent poles."""
    return [story.finding("device_silent", pole, active) for pole in POLES[:count]]


def test_five_hundred_poles_and_their_feeder_are_one_whistle() -> None:
    """Symptoms first, cause within the hold: one case sent, 500 children recorded, not one message about a pole."""
    story = Story(poles=500)
    for start in range(0, 500, 100):
        story.after(1, silent(story)[start : start + 100])
    story.after(2, [story.finding("feeder_trip", "feeder-01", evidence={"children": POLES})])
    story.after(3600)
    case = story.only()
    assert story.sent() == [f"{case}:dispatch:1:webhook"]
    assert story.ledger.case(case).children == 500
    assert len(story.ledger.open_cases()) == 501
    assert all(c.parent == case for c in story.ledger.open_cases() if c.id != case)


def test_a_slow_cause_is_waited_for_by_a_crowd_and_not_by_one() -> None:
    """Poles that fall silent over ten seconds wait together for the feeder; a lone one is sent after its hold."""
    story = Story(poles=100)
    for start in range(0, 100, 10):
        story.after(1, silent(story)[start : start + 10])
    for _ in range(12):
        story.after(1)
    story.after(1, [story.finding("feeder_trip", "feeder-01")])
    story.after(600)
    assert story.sent() == [f"{story.only()}:dispatch:1:webhook"]
    lone = Story(poles=100)
    lone.after(1, silent(lone, count=1))
    lone.after(11)
    assert len(lone.sent()) == 1
    crowd = Story(poles=100)
    crowd.after(1, silent(crowd, count=10))
    for _ in range(29):
        crowd.after(1)
    assert crowd.sent() == []
    crowd.after(2)
    assert len(crowd.sent()) == 10


def test_symptoms_after_their_cause_and_causes_under_causes() -> None:
    """Whatever the order: cabinets and cells too end up under the feeder, flat, and nothing else is sent."""
    story = Story(poles=30)
    story.after(1, [story.finding("cabinet_trip", "cabinet-001", evidence={"children": POLES[10:20]})])
    story.after(1, [story.finding("feeder_trip", "feeder-01")])
    story.after(1, [story.finding("cell_down", "cell-0001"), story.finding("device_silent", "pole-0029")])
    story.after(600)
    assert len(story.sent()) == 1
    assert story.ledger.case(story.only()).children == 13


def test_a_listed_child_needs_no_finding_of_its_own() -> None:
    """What the cause lists gets its case, closes with the cause, and takes a later finding of its own as its own."""
    story = Story()
    story.after(1, [story.finding("feeder_trip", "feeder-01", evidence={"children": POLES[:5]})])
    case = story.only()
    assert story.ledger.case(case).children == 5
    story.after(30, [story.finding("device_silent", "pole-0002")])
    assert len(story.ledger.open_cases()) == 6
    story.after(60, [story.finding("feeder_trip", "feeder-01", active=False)])
    story.after(60, [story.finding("device_silent", "pole-0002", active=False)])
    story.after(3600)
    assert story.ledger.open_cases() == []
    assert len(story.sent()) == 1


def test_what_still_fires_when_the_cause_is_gone_whistles_alone() -> None:
    """The feeder is back but one lamp is not: after the release time that lamp is dispatched by itself."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001"), story.finding("lamp_out", "pole-0002")])
    story.after(1, [story.finding("feeder_trip", "feeder-01")])
    story.after(60, [story.finding("feeder_trip", "feeder-01", active=False)])
    story.after(1, [story.finding("lamp_out", "pole-0002", active=False)])
    story.after(200)
    assert len(story.sent()) == 1
    story.after(200)
    assert len(story.sent()) == 2
    lone = next(c for c in story.ledger.open_cases() if c.state == "dispatched" and c.type == "lamp_out")
    assert (lone.subject, lone.parent) == ("pole-0001", "")


def test_what_begins_under_a_cause_that_recovered_a_moment_ago_waits_for_it() -> None:
    """A feeder that trips again within minutes: a pole and a cabinet that are told before it are its own. What still
    fires after five minutes whistles on its own, and so does what begins when its case is closed."""
    story = Story(poles=100)
    story.after(1, [story.finding("feeder_trip", "feeder-01")])
    for _ in range(5):
        story.after(60, [story.finding("feeder_trip", "feeder-01", active=False)])
        story.after(60, [story.finding("supply_lost", "pole-0001"), story.finding("cabinet_trip", "cabinet-002")])
        story.after(40)
        story.after(20, [story.finding("feeder_trip", "feeder-01")])
        story.after(20, [story.finding("supply_lost", "pole-0001", active=False),
                         story.finding("cabinet_trip", "cabinet-002", active=False)])  # fmt: skip
    case = story.only()
    assert story.sent() == [f"{case}:dispatch:1:webhook"]
    story.after(1, [story.finding("feeder_trip", "feeder-01", active=False)])
    story.after(1, [story.finding("supply_lost", "pole-0001")])
    story.after(298)
    assert len(story.sent()) == 1
    story.after(2)
    assert len(story.sent()) == 2
    story.after(60, [story.finding("device_silent", "pole-0007")])
    story.after(11)
    assert len(story.sent()) == 3


def test_unrelated_and_old_troubles_stay_their_own() -> None:
    """A leaning pole and a lamp that was accepted long ago are not swallowed by a trip."""
    story = Story()
    story.after(1, [story.finding("tilt", "pole-0001"), story.finding("lamp_out", "pole-0002")])
    story.after(20)
    lamp = next(c.id for c in story.ledger.open_cases() if c.type == "lamp_out")
    story.act("accept", lamp)
    story.after(86400)
    story.after(1, [story.finding("feeder_trip", "feeder-01")])
    assert len([c for c in story.ledger.open_cases() if not c.parent]) == 3


def test_one_act_is_one_case() -> None:
    """A dump off the route and outside the hours is one whistle; the rest is evidence under it."""
    story = Story()
    findings = [story.finding(t, "truck-001", severity=s) for t, s in
                (("off_route", 2), ("outside_hours", 2), ("illegal_dumping", 3))]  # fmt: skip
    story.after(1, findings)
    story.after(60)
    assert len([d for c in story.log for d in c.deliveries if d.purpose == "dispatch"]) == 1
    assert story.ledger.case(story.only()).type == "illegal_dumping"
    assert story.ledger.case(story.only()).children == 2


def test_cancelling_a_false_cause_releases_what_still_fires() -> None:
    """A trip that was none must not bury its children."""
    story = Story()
    story.after(1, [story.finding("feeder_trip", "feeder-01"), story.finding("lamp_out", "pole-0001")])
    story.act("cancel", story.only(), "test of the protection")
    story.after(1)
    assert story.ledger.case(story.only()).type == "lamp_out"
    assert len(story.sent()) == 2


def test_merge_and_split_by_hand() -> None:
    """An operator may put a case under another, and take it out again; then it is sent."""
    story = Story()
    story.after(1, [story.finding("tilt", "pole-0001"), story.finding("door_open", "pole-0002")])
    story.after(20)
    tilt, door = (next(c.id for c in story.ledger.open_cases() if c.type == t) for t in ("tilt", "door_open"))
    assert "another open case" in story.act("merge", tilt, "one accident", into=tilt).refused[0][1]
    story.act("merge", tilt, "one accident", into=door)
    assert story.ledger.case(tilt).parent == door
    assert "split it" in story.act("accept", tilt).refused[0][1] or story.ledger.case(tilt).state == "filed"
    story.act("split", tilt, "two after all")
    assert (story.ledger.case(tilt).parent, story.ledger.case(tilt).state) == ("", "dispatched")
    assert story.ledger.case(door).children == 0


def test_what_a_person_splits_off_is_not_swallowed_again() -> None:
    """The cause says more, and worse; the case that an operator took out of it goes its own way, until it is over."""
    story = Story()
    story.after(1, [story.finding("feeder_trip", "feeder-01")])
    story.after(1, [story.finding("lamp_out", "pole-0003"), story.finding("device_silent", "pole-0004")])
    cause = story.only()
    lamp = next(c.id for c in story.ledger.open_cases() if c.type == "lamp_out")
    story.act("split", lamp, "its own fuse")
    assert story.ledger.case(lamp).parent == ""
    listed = {"children": ["pole-0003", "pole-0004"]}
    story.after(1, [story.finding("feeder_trip", "feeder-01", severity=4, evidence=listed)])
    assert story.ledger.case(lamp).parent == ""
    assert story.ledger.case(lamp).state == "dispatched"
    assert story.ledger.case(cause).children == 1
    story.act("merge", lamp, "the feeder after all", into=cause)
    assert story.ledger.case(lamp).parent == cause


def test_who_had_a_case_is_told_that_a_person_put_it_under_another() -> None:
    """Once, with the cause and the reason; what correlation gathers by itself stays silent."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001"), story.finding("lamp_out", "pole-0002")])
    story.after(61)
    one, other = (c.id for c in story.ledger.open_cases())
    changes = story.act("merge", one, "the same cable", into=other)
    (told,) = changes.deliveries
    assert (told.purpose, told.payload["department"]["id"]) == ("merged", "lighting")
    assert (told.payload["into"], told.payload["reason"]) == (other, "the same cable")
    story.after(1, [story.finding("feeder_trip", "feeder-01")])
    assert story.ledger.case(other).parent
    assert story.sent("merged") == [told.key]


def test_a_split_holds_when_the_fault_comes_back() -> None:
    """The same case, reopened by telemetry or by a person, stays out of that cause; another cause takes it in."""
    story = Story()
    story.after(1, [story.finding("feeder_trip", "feeder-01")])
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    cause = story.only()
    lamp = next(c.id for c in story.ledger.open_cases() if c.type == "lamp_out")
    story.act("split", lamp, "its own fuse")

    def worse(severity: int) -> None:
        listed = {"children": ["pole-0003", "pole-0004"]}
        story.after(1, [story.finding("feeder_trip", "feeder-01", severity=severity, evidence=listed)])

    for how in ("telemetry", "person"):
        story.act("close", lamp, "a new fuse")
        story.after(1, [story.finding("lamp_out", "pole-0003", active=False)])
        if how == "telemetry":
            story.ledger.load(json.loads(json.dumps(story.ledger.dump())))
            story.after(1, [story.finding("lamp_out", "pole-0003")])
        else:
            story.act("reopen", lamp, "dark again")
        worse(3 if how == "telemetry" else 4)
        assert (story.ledger.case(lamp).state, story.ledger.case(lamp).parent) == ("dispatched", "")
    story.act("close", cause, "the drill is over")
    story.after(1, [story.finding("cabinet_trip", "cabinet-000")])
    other = next(c.id for c in story.ledger.open_cases() if c.type == "cabinet_trip")
    assert story.ledger.case(lamp).parent == other


def test_a_case_under_a_cause_is_with_nobody_who_gave_it_back() -> None:
    """Nobody will accept it there: who returned it no longer reads along, by a person's merge or by correlation."""
    story = Story()
    story.after(1, [story.finding("lamp_out", f"pole-000{i}") for i in (1, 2)])
    story.after(61)
    one, other = (c.id for c in story.ledger.open_cases())
    story.act("return", one, "not ours")
    assert story.ledger.case(one).returned_by == ("lighting",)
    story.act("merge", one, "the same cable", into=other)
    assert (story.ledger.case(one).parent, story.ledger.case(one).returned_by) == (other, ())
