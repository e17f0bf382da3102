"""Stories of cases on a manual clock: found, held, sent, accepted, recovered, closed, back again."""

from __future__ import annotations

import json

import pytest

from twin.errors import CheckpointBroken
from twin.records import Answer, Outcome
from twin.whistle.ledger import Ledger

from .city import Story


def test_a_whistle_is_held_then_filed_and_sent_with_a_case_id_from_the_date() -> None:
    """A finding becomes a case at once, and a message to its department after the hold."""
    story = Story()
    first = story.after(1, [story.finding("lamp_out", "pole-0003")])
    assert [c.state for c in first.cases] == ["found"]
    assert not first.deliveries
    assert not story.after(9).deliveries
    sent = story.after(2)
    assert [d.key for d in sent.deliveries] == ["CW-20260624-000001:dispatch:1:webhook"]
    assert sent.cases[0].department == "lighting"
    assert sent.cases[0].deadline_ms == story.now_ms + 8 * 3600 * 1000
    assert story.events("CW-20260624-000001") == ["find", "file", "dispatch"]
    assert sent.deliveries[0].payload["title"] == {"en": "lamp out", "zh": "路灯不亮"}


def test_one_subject_and_type_is_one_open_case() -> None:
    """The same finding raised again adds no case and no message."""
    story = Story()
    for _ in range(5):
        story.after(5, [story.finding("lamp_out", "pole-0003")])
    assert len(story.ledger.open_cases()) == 1
    assert len(story.sent()) == 1


def test_what_clears_before_it_was_sent_is_cancelled_unsent() -> None:
    """A finding shorter than its hold is recorded and whistles nobody."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(1, [story.finding("lamp_out", "pole-0003", active=False)])
    story.after(60)
    story.after(61)
    assert story.events("CW-20260624-000001") == ["find", "recover", "cancel"]
    assert story.sent() == []


def test_flapping_within_the_hold_is_the_same_case() -> None:
    """Gone and back before the flap hold ends re-activates the same case, and it is sent once."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(1, [story.finding("lamp_out", "pole-0003", active=False)])
    story.after(30, [story.finding("lamp_out", "pole-0003")])
    story.after(30, [story.finding("lamp_out", "pole-0003", active=False)])
    story.after(30, [story.finding("lamp_out", "pole-0003")])
    assert len(story.ledger.open_cases()) == 1
    assert len(story.sent()) == 1


def test_telemetry_verifies_and_closes_and_reopens() -> None:
    """Clear for the type's time: verified and closed by itself; back within a day: the same case, sent again."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(20)
    case = story.only()
    story.act("accept", case)
    story.after(60, [story.finding("lamp_out", "pole-0003", active=False)])
    story.after(1700)
    assert story.ledger.case(case).state == "accepted"
    story.after(120)
    assert story.ledger.case(case).state == "closed"
    assert story.events(case) == ["find", "file", "dispatch", "accept", "recover", "verify", "close"]
    assert len(story.sent("close")) == 1
    story.after(3600, [story.finding("lamp_out", "pole-0003")])
    assert story.ledger.case(case).state == "dispatched"
    assert story.ledger.case(case).evidence["reopened"] == 1
    assert len(story.sent()) == 2


def test_an_act_is_sent_though_it_is_over_and_people_close_it() -> None:
    """A dump that ended within the hold is still a case, and no telemetry closes it."""
    story = Story()
    story.after(1, [story.finding("illegal_dumping", "truck-001", severity=3)])
    story.after(1, [story.finding("illegal_dumping", "truck-001", active=False)])
    case = story.only()
    assert story.sent() == [f"{case}:dispatch:1:webhook"]
    assert story.sent("joint") == [f"{case}:joint:2:webhook"]
    story.after(72 * 3600)
    assert story.ledger.case(case).state == "dispatched"
    changes = story.act("close", case, "fined")
    assert changes.cases[0].state == "closed"


def test_closing_against_the_telemetry_is_recorded_as_an_override() -> None:
    """A close needs a reason; while telemetry still shows the fault, the reason is recorded as what overrides it."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(20)
    case = story.only()
    assert story.act("close", case).refused == [("a1", "close needs a reason")]
    closed = story.act("close", case, "lamp is replaced, meter is wrong")
    assert closed.transitions[0].evidence == {
        "override": "lamp is replaced, meter is wrong",
        "telemetry": "still shows it",
    }


def test_an_impossible_step_is_refused_with_what_is_possible() -> None:
    """Illegal actions raise nothing: they come back with the steps that the case can take."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    refused = story.act("accept", story.only()).refused
    assert refused == [("a1", "a case that is found cannot accept; it can cancel, merge, comment, attach, resend")]
    assert "no case at hand" in story.act("accept", "CW-1").refused[0][1]
    assert "unknown verb" in story.act("explode", story.only()).refused[0][1]


def test_a_repeated_action_is_one_action() -> None:
    """The same action id again changes nothing, and is refused again if it was refused."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(20)
    case = story.only()
    assert len(story.act("accept", case).transitions) == 1
    story.acted -= 1
    again = story.act("accept", case)
    assert not again.transitions
    assert not again.refused


def test_a_device_that_can_act_is_told_and_its_answer_recorded() -> None:
    """A truck's cab display gets one command; its acknowledgement is recorded, silence too."""
    story = Story()
    story.after(1, [story.finding("outside_hours", "truck-001"), story.finding("leakage", "pole-0001", severity=3)])
    story.after(10)
    (truck,) = [d for c in story.log for d in c.deliveries if d.purpose == "command" and d.address == "truck-001"]
    assert truck.payload["topic"] == "city/d1/truck/truck-001/cmd"
    assert truck.payload["id"] == truck.key
    assert truck.payload["action"] == "text"
    assert "超时段运输" in truck.payload["arguments"]["zh"]
    story.after(1, answers=[Answer("truck-001", truck.key, True, "shown")])
    assert story.events(truck.case)[-1] == "answered"
    story.after(300)
    pole = next(c for c in story.ledger.open_cases() if c.subject == "pole-0001")
    assert "unanswered" in story.events(pole.id)
    assert "unanswered" not in story.events(truck.case)


def test_outcomes_settle_deliveries_once_and_dead_letters_go_to_the_last_resort() -> None:
    """Only a final outcome settles; a whistle that cannot be delivered is told to the department of last resort."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(20)
    case, key = story.only(), story.sent()[0]
    assert not story.after(1, outcomes=[Outcome(key, "webhook", False, 5, 1, False, "503")]).settled
    dead = story.after(1, outcomes=[Outcome(key, "webhook", False, 6, 8, True, "gone")])
    assert [(s.key, s.ok, s.attempts) for s in dead.settled] == [(key, False, 8)]
    assert [d.payload["department"]["id"] for d in dead.deliveries] == ["operations"]
    again = story.act("resend", case)
    assert again.resend == [key]
    done = story.after(1, outcomes=[Outcome(key, "webhook", True, 9, 1, True, "202")])
    assert done.settled[0].ok
    assert story.events(case)[3:] == ["retried", "undelivered", "resend", "delivered"]


def test_deadline_warning_and_escalation_street_district_city() -> None:
    """Near the deadline the department is warned; past it one level after the other is told, each once."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(20)
    case = story.only()
    hour = 3600
    story.after(6.5 * hour)
    assert story.events(case)[-1] == "warn"
    story.after(2 * hour)
    story.after(8 * hour)
    story.after(40 * hour)
    assert [e for e in story.events(case) if e in ("warn", "escalate")] == ["warn"] + ["escalate"] * 3
    told = [d.payload for c in story.log for d in c.deliveries if d.purpose == "escalate"]
    assert [p["level"] for p in told] == ["street", "district", "city"]
    assert [p["department"]["id"] for p in told] == ["operations", "operations", "city_hall"]


def test_an_extension_moves_the_deadline_only_when_approved() -> None:
    """The department asks, an operator grants, and warning and escalation follow the new deadline."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(20)
    case = story.only()
    before = story.ledger.case(case).deadline_ms
    assert "no extension" in story.act("approve", case).refused[0][1]
    story.act("extend", case, "part on order", extra_s=86400)
    assert story.ledger.case(case).deadline_ms == before
    story.act("approve", case)
    assert story.ledger.case(case).deadline_ms == before + 86_400_000
    story.after(9 * 3600)
    assert "escalate" not in story.events(case)


def test_return_waits_for_an_operator_who_transfers() -> None:
    """A returned case is not sent back by itself; the transfer names the next department and withdraws nothing."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(20)
    case = story.only()
    story.act("return", case, "not our lamp")
    assert story.ledger.case(case).state == "filed"
    story.after(600)
    assert story.ledger.case(case).state == "filed"
    assert "no department 'nobody'" in story.act("transfer", case, "x", department="nobody").refused[0][1]
    story.act("transfer", case, "theirs", department="power")
    assert story.ledger.case(case).department == "power"
    assert len(story.sent()) == 2


def test_past_findings_are_marked_and_not_urgent() -> None:
    """What delayed data shows is a case marked past: no command to the device, no escalation."""
    story = Story()
    story.after(1, [story.finding("outside_hours", "truck-001", past=True, severity=3)])
    sent = story.after(10).deliveries
    assert [(d.purpose, d.payload["urgent"], d.payload["past"]) for d in sent] == [("dispatch", False, True)]
    story.after(100 * 3600)
    assert "escalate" not in story.events(story.only())


def test_dump_and_load_in_the_middle_give_the_identical_continuation() -> None:
    """A restored ledger, through JSON, goes on exactly like the one that never stopped."""
    stories = [Story(), Story()]
    for round_ in range(12):
        for story in stories:
            subject = f"pole-{round_ % 4:04d}"
            active = round_ % 3 != 2
            story.after(
                40, [story.finding("lamp_out", subject, active), story.finding("device_silent", subject, active)]
            )
            if round_ == 3:
                story.act("accept", "CW-20260624-000001")
        if round_ % 2:
            dumped = json.loads(json.dumps(stories[1].ledger.dump()))
            stories[1].ledger = Ledger(stories[1].places, stories[1].policy)
            stories[1].ledger.load(dumped)
    for story in stories:
        story.after(4000)
        story.after(90000)
    for one, other in zip(stories[0].log, stories[1].log, strict=True):
        assert repr(one) == repr(other)


def test_evaluating_an_old_case_does_not_make_it_the_newest() -> None:
    """Of two closed cases of one trouble the newer one is reopened, whatever is said about the older one later."""
    story = Story()
    for wait_s in (90_000, 100):
        story.after(1, [story.finding("tilt", "pole-0001")])
        story.after(20)
        story.act("close", story.only(), "straightened")
        story.after(wait_s, [story.finding("tilt", "pole-0001", active=False)])
    story.act("evaluate", "CW-20260624-000001", verdict="false")
    story.after(1, [story.finding("tilt", "pole-0001")])
    assert story.only() == "CW-20260625-000001"
    assert story.events(story.only())[-2:] == ["reopen", "dispatch"]


@pytest.mark.parametrize("broken", [{}, {"version": 99}, {"version": 1}, {"version": 1, "day": "", "count": "x"}])
def test_a_broken_dump_is_named(broken: dict[str, object]) -> None:
    """What is no ledger raises CheckpointBroken, and leaves the ledger as it was."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    with pytest.raises(CheckpointBroken):
        story.ledger.load(broken)
    assert len(story.ledger.open_cases()) == 1
