"""Who has a say in a case, over a real ledger and case database."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from devices.places import Department
from tests.twin.whistle.city import Story
from twin.app.letters import offers
from twin.app.partners import Partners
from twin.deliver.cases import Cases
from twin.records import Delivery


def partners_of(story: Story) -> Partners:
    return Partners(lambda: story.policy, lambda: list(story.places.departments().values()))


def recorded(path: Path, story: Story) -> Cases:
    cases = Cases(path)
    for n, changes in enumerate(story.log, 1):
        cases.record(n, changes)
    return cases


def test_a_partner_that_gave_a_case_back_has_no_say() -> None:
    """It was told as a partner, got the case by transfer and returned it: no word by account or by link, until another
    one has accepted it and it is a partner again.
    """
    story = Story()
    partners = partners_of(story)
    story.after(1, [story.finding("illegal_dumping", "truck-001")])
    case = story.only()
    link = Delivery("k", case, "webhook", "", "joint", {})
    assert "environment" in partners.of(story.ledger.case(case))
    assert offers(story.ledger.case(case), link, "environment") == ("comment",)
    story.act("transfer", case, "its soil", department="environment")
    story.act("return", case, "no soil of ours")
    assert "environment" not in partners.of(story.ledger.case(case))
    story.act("transfer", case, "yours", department="waste")
    assert partners.of(story.ledger.case(case)) == {"waste", "operations"}
    assert offers(story.ledger.case(case), link, "environment") == ()
    story.act("accept", case)
    assert partners.of(story.ledger.case(case)) == {"waste", "operations", "environment"}
    assert offers(story.ledger.case(case), link, "environment") == ("comment",)


def test_what_was_given_back_takes_no_place_among_the_newest(tmp_path: Path) -> None:
    """An older case of a department is found however many newer ones it returned."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(61)
    mine = story.only()
    story.after(1, [story.finding("lamp_out", f"pole-{i:04d}") for i in range(2, 8)])
    story.after(61)
    for case in story.ledger.open_cases():
        if case.id != mine:
            story.act("return", case.id, "not ours")
    with closing(recorded(tmp_path / "cases.db", story)) as cases:
        for most in (1, 2, 3, 6, 7, 8):
            found = partners_of(story).concern(cases, ["lighting"], most)
            assert [case.id for case in found] == [mine], most
        assert len(partners_of(story).concern(cases, ["operations"], 4)) == 4


def test_partners_are_found_out_once_a_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many cases of one type ask who joins in it once, besides the look over all types."""
    story = Story()
    story.after(1, [story.finding("lamp_out", f"pole-{i:04d}") for i in range(12)])
    story.after(61)
    asked: list[int] = []

    def departments() -> Sequence[Department]:
        asked.append(1)
        return list(story.places.departments().values())

    partners = Partners(lambda: story.policy, departments)
    with closing(recorded(tmp_path / "cases.db", story)) as cases:
        partners.types(["lighting"])
        once = len(asked)
        assert len(partners.concern(cases, ["lighting"], 100)) == 12
    assert len(asked) - once == once + 1
