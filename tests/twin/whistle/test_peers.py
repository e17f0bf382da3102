"""What users of other systems suffer from (an alert manager, an incident desk, an IoT platform), told of ours.

Not here: a mute that swallows what still fires (alertmanager#3367) and lets escalations through (IncidentRelay#40):
test_quiet.py; causes before symptoms (alertmanager#2254): test_causes.py; a restart that finds every device offline
(thingsboard#13715): tests/twin/app/test_memory.py.
"""

from __future__ import annotations

import pytest

from .city import Story


@pytest.mark.parametrize("minutes", [1, 5, 20])
def test_what_flaps_all_night_is_one_message(minutes: int) -> None:
    """alertmanager#3048: gone and back, a hundred times: one case, one message, and one closure when it stays gone."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(20)
    for _ in range(100):
        story.after(60 * minutes, [story.finding("lamp_out", "pole-0001", active=False)])
        story.after(60 * minutes, [story.finding("lamp_out", "pole-0001")])
    assert len(story.sent()) == 1
    assert story.sent("close") == []
    story.after(60, [story.finding("lamp_out", "pole-0001", active=False)])
    ended = [d.payload["department"]["id"] for d in story.after(1801).deliveries if d.purpose == "close"]
    assert len(story.sent()) == 1
    assert ended.count("lighting") == 1
    assert len(set(ended)) == len(ended)  # after a night of it others had been told as well


def test_two_alarms_milliseconds_apart_are_one() -> None:
    """thingsboard#15583: the same trouble twice in a tick and in the next, raised, cleared and raised: one case."""
    story = Story()
    here = story.finding("leakage", "pole-0001")
    story.after(1, [here, here])
    story.after(0.001, [here])
    gone = story.finding("leakage", "pole-0001", active=False)
    story.after(0.001, [gone, story.finding("leakage", "pole-0001")])
    story.after(60)
    assert len(story.sent()) == 1
    assert len(story.ledger.open_cases()) == 1


def test_one_dead_gateway_sends_one_message() -> None:
    """thingsboard-gateway#1014: everything behind it falls silent: one whistle, and one word when it is over."""
    story = Story()
    poles = [f"pole-{i:04d}" for i in range(20)]
    story.after(1, [story.finding("device_silent", pole) for pole in poles])
    story.after(1, [story.finding("gateway_loss", "gw-01", evidence={"children": poles})])
    story.after(3600)
    assert [d.purpose for c in story.log for d in c.deliveries] == ["dispatch"]
    back = [story.finding("device_silent", pole, active=False) for pole in poles]
    story.after(1, [*back, story.finding("gateway_loss", "gw-01", active=False)])
    story.after(3600)
    assert [d.purpose for c in story.log for d in c.deliveries] == ["dispatch", "close"]
    assert story.ledger.open_cases() == []


def test_nothing_new_joins_what_is_over() -> None:
    """keep#2481, keep#6732: a dump after one that was closed is another case; so is a lamp a week later; nothing opens
    under a cause that is over.
    """
    story = Story()
    for type_, subject in (("illegal_dumping", "truck-001"), ("lamp_out", "pole-0001"), ("feeder_trip", "feeder-01")):
        story.after(1, [story.finding(type_, subject)])
        story.after(60)
        old = story.only()
        story.after(1, [story.finding(type_, subject, active=False)])
        story.act("close", old, "done")
        if type_ == "lamp_out":
            story.after(7 * 86_400)
        if type_ == "feeder_trip":
            story.after(1, [story.finding("lamp_out", "pole-0002")])
        else:
            story.after(60, [story.finding(type_, subject)])
        story.after(60)
        fresh = story.only()
        assert fresh != old
        assert (story.ledger.case(fresh).parent, story.ledger.case(fresh).state) == ("", "dispatched")
        story.after(
            1, [story.finding(type_, subject, active=False), story.finding("lamp_out", "pole-0002", active=False)]
        )
        story.act("close", fresh, "done")


def test_silence_that_ends_is_cleared_in_time() -> None:
    """thingsboard#6821, #7909: the case of a silent device is over as soon as it has spoken for its type's time."""
    story = Story()
    story.after(1, [story.finding("device_silent", "pole-0001")])
    story.after(30)
    case = story.only()
    story.after(5, [story.finding("device_silent", "pole-0001", active=False)])
    story.after(8 * 60)
    assert story.ledger.open_cases() == []
    assert story.events(case)[-3:] == ["recover", "verify", "close"]
