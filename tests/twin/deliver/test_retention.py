"""Retention of cases and messages: what is old and over goes, what stays proves itself, what is open is not touched."""

from __future__ import annotations

import pytest

from tests.twin.whistle.city import Story
from twin.deliver.cases import Cases
from twin.records import Settled

DAY_MS = 86_400_000


@pytest.fixture
def story() -> Story:
    """Case 1 closed on the first day, case 2 ten days later, case 3 of that day open."""
    story = Story(poles=30)
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(61)
    story.act("close", "CW-20260624-000001", "replaced")
    story.after(10 * 86_400, [story.finding("lamp_out", "pole-0004"), story.finding("day_burner", "pole-0005")])
    story.after(61)
    second = next(case for case in story.log[-1].cases if case.subject == "pole-0004")
    story.act("close", second.id, "replaced")
    return story


def recorded(target: str, story: Story) -> Cases:
    """All of the story, every message settled."""
    cases = Cases(target)
    for n, changes in enumerate(story.log, 1):
        changes.settled = [Settled(one.key, True, 1, 1) for one in changes.deliveries]
        cases.record(n, changes)
    return cases


def test_old_cases_go_and_the_rest_proves_itself(target: str, story: Story) -> None:
    """The first case goes with its history; the chain begins where it was; a head from before is still known."""
    cases = recorded(target, story)
    head = cases.verify().head
    before_ms = story.now_ms - 5 * DAY_MS
    assert cases.case("CW-20260624-000001") is not None
    assert cases.forget_cases(before_ms) == 1
    assert cases.forget_cases(before_ms) == 0
    assert cases.case("CW-20260624-000001") is None
    assert cases.history("CW-20260624-000001") == []
    assert cases.deliveries("CW-20260624-000001") == []
    assert len(cases.cases(open_only=False)) == 2
    proof = cases.verify(head)
    assert (proof.ok, proof.head) == (True, head)
    cases.close()
    again = Cases(target)
    assert again.verify(head).ok
    again.close()


def test_an_open_case_holds_back_what_came_after_it(target: str, story: Story) -> None:
    """Entries go from the oldest end only: what stands behind an open case stays, and stays whole."""
    cases = recorded(target, story)
    assert cases.forget_cases(story.now_ms + 99 * DAY_MS) == 1
    (still, closed) = (len(cases.cases()), len(cases.cases(open_only=False)))
    assert (still, closed) == (1, 2)
    assert cases.verify().ok
    cases.close()


def test_a_change_after_the_beginning_is_still_found(target: str, story: Story) -> None:
    """Retention is no way to hide a change: what is left is checked from the kept beginning."""
    from sqlalchemy import create_engine, text

    cases = recorded(target, story)
    cases.forget_cases(story.now_ms - 5 * DAY_MS)
    cases.close()
    engine = create_engine(target if "://" in target else f"sqlite:///{target}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE transitions SET reason = 'x' WHERE n = (SELECT MAX(n) FROM transitions)"))
    engine.dispose()
    again = Cases(target)
    assert again.verify().flaw == "altered"
    again.close()


def test_messages_are_emptied(target: str, story: Story) -> None:
    """Texts and addresses of a case that is over go; that and when it was sent stays; open cases keep theirs."""
    cases = recorded(target, story)
    before_ms = story.now_ms - 5 * DAY_MS
    keys = [one["key"] for one in cases.deliveries("CW-20260624-000001")]
    assert cases.forget_messages(before_ms) == len(keys)
    assert cases.forget_messages(before_ms) == 0
    told = cases.deliveries("CW-20260624-000001")
    assert [(one["key"], one["state"], one["address"]) for one in told] == [(key, "sent", "") for key in keys]
    emptied = cases.delivery(keys[0])
    assert emptied is not None
    assert emptied.payload == {}
    (still,) = cases.cases()
    kept = cases.delivery(cases.deliveries(still.id)[0]["key"])
    assert kept is not None
    assert kept.payload["case"] == still.id
    cases.close()
