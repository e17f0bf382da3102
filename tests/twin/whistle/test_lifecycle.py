"""The lifecycle table: drawn in the docs as it is in code; every legal step works, every other one is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from twin.errors import IllegalStep
from twin.records import Action, Outcome, State
from twin.whistle.actions import ACT
from twin.whistle.ledger import Ledger
from twin.whistle.lifecycle import CLOSED, MOVES, NOTES, OPEN, STATES, TABLE, VERBS, after, verbs

from .city import Story

DOCS = Path(__file__).parents[3] / "docs" / "lifecycle.md"


def test_the_diagram_in_the_docs_is_the_table_in_code() -> None:
    """Every arrow is a step of the table and the other way round; every note is named in the text."""
    text = DOCS.read_text(encoding="utf-8")
    drawn = set(re.findall(r"^    (\w+) --> (\w+): (\w+)$", text, re.MULTILINE))
    assert drawn == {(s, a, e) for s, moves in MOVES.items() for e, a in moves.items()}
    assert "    [*] --> found: find" in text
    only_recorded = text.split("## Steps that are only recorded")[1].split("##")[0]
    assert set(re.findall(r"`(\w+)`", only_recorded)) == set(NOTES)


def test_every_state_is_open_or_closed_and_can_be_left_or_is_an_end() -> None:
    """The table speaks of all states, and from each open one a case can come to an end."""
    assert set(OPEN) | set(CLOSED) == set(STATES) == set(get_args(State)) == set(MOVES)
    for state in OPEN:
        reached, before = {state}, 0
        while len(reached) != before:
            before = len(reached)
            reached |= {a for s in reached for a in MOVES[s].values()}
        assert "closed" in reached


def test_every_verb_has_its_function() -> None:
    """What people may ask for is in the table of functions and possible somewhere."""
    assert set(ACT) == set(VERBS)
    for verb in VERBS:
        assert any(verb in verbs(state) for state in STATES)


@pytest.mark.parametrize("state", STATES)
def test_other_steps_are_refused_by_name(state: State) -> None:
    """An event that the table does not have raises, and says what is possible."""
    events = {event for _, event in TABLE}
    for event in events:
        if (state, event) in TABLE:
            assert after(state, event) == TABLE[state, event]
        else:
            with pytest.raises(IllegalStep, match=f"a case that is {state} cannot {event}; it can "):
                after(state, event)


TYPES = ("lamp_out", "device_silent", "feeder_trip", "illegal_dumping", "leakage")
SUBJECTS = {"feeder_trip": ("feeder-01",), "illegal_dumping": ("truck-001",)}


class Life(RuleBasedStateMachine):
    """Anything may happen in any order: the table, the indexes and the outbox stay in step with each other."""

    cases = Bundle("cases")

    @initialize()
    def begin(self) -> None:
        self.story = Story(poles=12, storm_count=5)
        self.shadow = Story(poles=12, storm_count=5)
        self.states: dict[str, str] = {"": ""}
        self.keys: set[str] = set()
        self.counter = 0
        self.hours = 0

    def step(self, seconds: float, **what: object) -> None:
        changes = self.story.after(seconds, **what)  # type: ignore[arg-type]
        again = self.shadow.after(seconds, **what)  # type: ignore[arg-type]
        assert repr(changes) == repr(again)
        for t in changes.transitions:
            if t.event == "find":
                assert t.case not in self.states
            elif t.case:
                assert self.states[t.case] == t.before
                assert TABLE[t.before, t.event] == t.after  # type: ignore[index]
            self.states[t.case] = t.after
        for d in changes.deliveries:
            assert d.key not in self.keys
            self.keys.add(d.key)
            json.dumps(d.payload, allow_nan=False)
        for case in changes.cases:
            assert self.states[case.id] == case.state
            if case.parent:
                assert not any(d.case == case.id and d.purpose == "dispatch" for d in changes.deliveries)

    @rule(type_=st.sampled_from(TYPES), pole=st.integers(0, 3), active=st.booleans(), seconds=st.integers(1, 4000))
    def find(self, type_: str, pole: int, active: bool, seconds: int) -> None:
        subject = SUBJECTS.get(type_, (f"pole-{pole:04d}",))[0]
        evidence = {"children": ["pole-0000", "pole-0001", "pole-0009"]} if type_ == "feeder_trip" else {}
        self.step(seconds, findings=[self.story.finding(type_, subject, active, evidence=evidence)])

    @rule(verb=st.sampled_from([*VERBS, "mute", "unmute", "explode"]), pick=st.integers(0, 30), reason=st.booleans(),
          seconds=st.integers(1, 4000), other=st.integers(0, 30))  # fmt: skip
    def act(self, verb: str, pick: int, reason: bool, seconds: int, other: int) -> None:
        known = sorted(self.states)
        self.counter += 1
        arguments = {"into": known[other % len(known)], "department": "power", "extra_s": 600,
                     "until_ms": self.story.now_ms + 10_000_000, "subjects": ["cabinet-000"], "mute": "a1",
                     "sha256": "0" * 64}  # fmt: skip
        action = Action(
            f"a{self.counter}", "li", verb, known[pick % len(known)], "because" if reason else "", arguments
        )
        self.step(seconds, actions=[action])

    @rule(ok=st.booleans(), final=st.booleans(), pick=st.integers(0, 30))
    def outcome(self, ok: bool, final: bool, pick: int) -> None:
        if self.keys:
            key = sorted(self.keys)[pick % len(self.keys)]
            self.step(1, outcomes=[Outcome(key, "webhook", ok and final, 1, 1, final, "x")])

    @rule(hours=st.integers(1, 800))
    def wait(self, hours: int) -> None:
        self.hours += hours
        self.step(hours * 3600)

    @rule()
    def restart(self) -> None:
        dumped = json.loads(json.dumps(self.shadow.ledger.dump(), allow_nan=False))
        self.shadow.ledger = Ledger(self.shadow.places, self.shadow.policy)
        self.shadow.ledger.load(dumped)

    @invariant()
    def indexes_agree(self) -> None:
        book = self.story.ledger._book
        for case, life in book.lives.items():
            assert life.open == (book.open.get(life.case.key) == case)
            assert life.case.children >= len(book.kids.get(case, ()))  # more where closed ones were forgotten
            if self.hours < 24 * 28:
                assert life.case.children == len(book.kids.get(case, ()))
            assert (case in book.at.get(life.case.subject, ())) == (life.open and not life.case.parent)
            if life.case.parent and life.open:
                assert book.lives[life.case.parent].open
                assert not book.lives[life.case.parent].case.parent
            assert life.due_ms == 0 or life.due_ms > self.story.now_ms


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase


def test_who_gave_a_case_back_keeps_it_in_view_until_it_is_taken() -> None:
    """Through a dispatch and another return, until somebody accepts; a new life of the case knows nothing of it."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(61)
    case = story.only()

    def gave() -> tuple[str, ...]:
        return story.ledger.case(case).returned_by

    story.act("return", case, "not ours")
    assert gave() == ("lighting",)
    story.act("transfer", case, "a cable?", department="power")
    story.act("comment", case, "on the way")
    assert gave() == ("lighting",)
    story.act("return", case, "no cable")
    assert gave() == ("lighting", "power")
    assert Ledger(story.places, story.policy).case(case) is None
    copy = Ledger(story.places, story.policy)
    copy.load(json.loads(json.dumps(story.ledger.dump())))
    assert copy.case(case).returned_by == ("lighting", "power")
    story.act("dispatch", case, "yours after all", department="lighting")
    assert gave() == ("power",)
    story.act("accept", case)
    assert gave() == ()
    story.act("return", case, "really not")
    story.act("cancel", case, "nobody's")
    assert gave() == ()
    story.act("return", case, "x")  # refused: it is over
    story.act("reopen", case, "it was somebody's")
    assert gave() == ()


def test_a_judgement_may_be_given_again() -> None:
    """First the unit concerned, then the citizen; both stand in the history."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(61)
    case = story.only()
    story.act("close", case, "done")
    for by, score in (("unit", 5), ("citizen", 2)):
        assert story.act("evaluate", case, by=by, score=score).refused == []
    told = [t.evidence["by"] for changes in story.log for t in changes.transitions if t.event == "evaluate"]
    assert told == ["unit", "citizen"]
    assert story.ledger.case(case).state == "evaluated"


def test_one_case_is_one_verdict() -> None:
    """Whoever judges it, however often, through a restart and a reopening; what the operator corrects is taken back."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(61)
    case = story.only()
    story.act("close", case, "done")

    def counted(verdict: str, by: str) -> list[int]:
        assert all(told[:2] == ("lamp_out", "pole-0001") for told in story.log[-1].judged)
        return [false for _, _, false in story.act("evaluate", case, verdict=verdict, by=by).judged]

    assert [counted("false", by) for by in ("citizen", "unit", "operator")] == [[1], [], []]
    assert [counted("false", "operator") for _ in range(30)] == [[]] * 30
    copy = Ledger(story.places, story.policy)
    copy.load(json.loads(json.dumps(story.ledger.dump())))
    story.ledger = copy
    assert [counted("useful", by) for by in ("citizen", "operator", "operator")] == [[], [-1], []]
    assert [counted("false", by) for by in ("unit", "operator")] == [[], [1]]
    story.act("reopen", case, "again")
    story.act("close", case, "done again")
    assert counted("false", "citizen") == []


def test_a_verdict_of_before_it_was_remembered_is_not_counted_again() -> None:
    """A case that an older version's checkpoint holds as evaluated says nothing of what its detectors counted."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(61)
    case = story.only()
    story.act("close", case, "done")
    story.act("evaluate", case, verdict="false")
    told = json.loads(json.dumps(story.ledger.dump()))
    for life in told["lives"]:
        del life["counted"]
        life["apart"] = False
    story.ledger.load(told)
    assert story.act("evaluate", case, verdict="false").judged == []
    assert story.ledger.dump()["lives"][0]["apart"] == []


def test_who_is_told_of_what_it_gave_back_has_a_say_again() -> None:
    """A partner that got the case by transfer and returned it has none, until somebody asks it again."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(61)
    case = story.only()
    story.act("transfer", case, "the desk itself?", department="operations")
    story.act("return", case, "no")
    assert story.ledger.case(case).returned_by == ("operations",)
    story.act("transfer", case, "a cable", department="power")
    story.act("return", case, "no cable")  # the desk is asked where it goes
    assert story.ledger.case(case).returned_by == ("power",)
    assert "operations" in story.ledger.case(case).parties
