"""The case database, on SQLite and PostgreSQL: a tick is recorded once and whole; the desk's queries; the outbox."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import text

from tests.twin.whistle.city import Story
from twin.deliver.cases import EMPTY_TICKS, Cases
from twin.errors import TwinError
from twin.records import Changes, Delivery, Outcome, Settled


def recorded(target: str, story: Story) -> Cases:
    """A database that holds every step of a story so far."""
    cases = Cases(target)
    for n, changes in enumerate(story.log, 1):
        cases.record(n, changes)
    return cases


@pytest.fixture
def story() -> Story:
    """Two lamps out and a feeder trip, one case accepted and closed."""
    story = Story(poles=30)
    story.after(1, [story.finding("day_burner", "pole-0005"), story.finding("lamp_out", "pole-0003")])
    story.after(61)
    story.act("accept", "CW-20260624-000002")
    story.act("close", "CW-20260624-000002", "replaced")
    story.after(
        1, [story.finding("feeder_trip", "feeder-01", evidence={"children": [f"pole-{i:04d}" for i in range(30)]})]
    )
    return story


def test_what_was_recorded_is_read_back(target: str, story: Story) -> None:
    """Cases, history and deliveries come back exactly as the ledger changed them, also after reopening."""
    recorded(target, story).close()
    cases = Cases(target)
    assert [c.id for c in cases.cases()] == ["CW-20260624-000003", "CW-20260624-000001"]
    assert [c.state for c in cases.cases(open_only=False)] == ["dispatched", "closed", "dispatched"]
    assert repr(cases.case("CW-20260624-000002")) == repr(story.ledger.case("CW-20260624-000002"))
    assert [t.event for t in cases.history("CW-20260624-000002")] == story.events("CW-20260624-000002")
    assert [d["purpose"] for d in cases.deliveries("CW-20260624-000002")] == ["dispatch", "close"]
    assert len(cases.children("CW-20260624-000003")) == 30
    assert cases.case("CW-20260624-000003").children == 30
    assert [c.id for c in cases.cases(after="CW-20260624-000003")] == ["CW-20260624-000001"]
    assert cases.case("nothing") is None
    assert cases.last_tick == len(story.log)
    cases.close()


def test_earlier_cases_of_the_same_offender(target: str) -> None:
    """Same type, on one of the subjects, opened before this one and not too long ago; a false whistle is none."""
    story = Story()
    for subject in ("truck-001", "pole-0001", "truck-002", "truck-001", "truck-001"):
        for type_ in ("outside_hours", "off_route"):
            story.after(1, [story.finding(type_, subject)])
            story.after(60)
            case = story.only()
            story.act(*(("cancel", case, "false") if subject == "truck-002" else ("close", case, "fined")))
            story.after(3600, [story.finding(type_, subject, active=False)])
    cases = recorded(target, story)
    *_, first, last = [case for case in cases.cases(open_only=False)[::-1] if case.type == "off_route"]
    alike = [case.id for case in cases.earlier(last, ["truck-001", "truck-002"], 0)]
    assert alike == [first.id, "CW-20260624-000002"]
    assert [case.id for case in cases.earlier(last, ["truck-001"], first.opened_ms)] == [first.id]
    assert [case.id for case in cases.earlier(last, ["truck-001"], 0, limit=1)] == [first.id]
    assert cases.earlier(last, ["pole-0009"], 0) == []
    cases.close()


def test_a_departments_list_is_what_a_filter_gives(target: str, story: Story) -> None:
    """Its own cases and those of the types that it joins in, newest first, page by page, open or all."""
    cases = recorded(target, story)
    every = cases.cases(open_only=False)
    names = [*sorted({case.department for case in every}), "nobody"]
    for open_only in (True, False):
        for departments, types in (([name], ()) for name in names if name):
            wanted = [c for c in cases.cases(open_only=open_only) if c.department in departments]
            assert cases.cases(open_only=open_only, departments=departments, types=types) == wanted
        joined = cases.cases(open_only=open_only, departments=["nobody"], types=["lamp_out", "feeder_trip"])
        assert [c.type for c in joined] == [
            c.type for c in cases.cases(open_only=open_only) if c.type in ("lamp_out", "feeder_trip")
        ]
    pages: list[str] = []
    while page := cases.cases(
        open_only=False, departments=[n for n in names if n], after=pages[-1] if pages else "", limit=1
    ):
        pages.append(page[0].id)
    assert pages == [c.id for c in every if c.department]
    cases.close()


def test_a_tick_is_recorded_once(target: str, story: Story) -> None:
    """Replaying every tick adds nothing and finds no difference; another decision is counted as one."""
    cases = recorded(target, story)
    before = cases.counts(), cases.verify()
    for n, changes in enumerate(story.log, 1):
        assert not cases.record(n, changes)
    assert (cases.counts(), cases.verify()) == before
    assert cases.differences == 0
    cases.record(1, Changes(transitions=story.log[0].transitions[:1]))
    assert cases.differences == 1
    cases.close()


def test_a_tick_that_cannot_be_written_leaves_nothing(target: str, story: Story) -> None:
    """All of a tick or none: a payload that JSON cannot hold takes its cases back, and the tick can come again."""
    cases = Cases(target)
    bad = Changes(cases=story.log[0].cases, transitions=story.log[0].transitions)
    bad.deliveries = [Delivery("k", "c", "webhook", "", "dispatch", {"x": float("nan")})]
    with pytest.raises(ValueError, match="Out of range"):
        cases.record(1, bad)
    assert cases.cases() == []
    assert cases.last_tick == 0
    assert cases.record(1, story.log[0])
    assert cases.verify().ok
    cases.close()


def test_ticks_without_changes_cost_no_commit_each(target: str) -> None:
    """An empty tick is remembered, and written at the latest with the thirtieth."""
    cases = Cases(target)
    for n in range(1, EMPTY_TICKS + 2):
        cases.record(n, Changes())
    assert cases.last_tick == EMPTY_TICKS + 1
    cases.record(EMPTY_TICKS + 2, Changes())
    cases.close()
    cases = Cases(target)
    assert cases.last_tick == EMPTY_TICKS + 1
    cases.close()


def test_the_outbox_gives_lanes_in_order_and_settles(target: str, story: Story) -> None:
    """Waiting messages come in order, by channel and address; settled ones are gone; a dead one can be queued again."""
    cases = recorded(target, story)
    assert cases.lanes() == [("webhook", "http://s1"), ("webhook", "")]
    waiting = cases.pending("webhook", "", 0, 100)
    assert [q.queue for q in waiting] == sorted(q.queue for q in waiting)
    assert cases.pending("webhook", "", waiting[0].queue, 1) == waiting[1:2]
    key = waiting[0].delivery.key
    story.after(1, outcomes=[Outcome(key, "webhook", False, 77, 8, True, "refused")])
    cases.record(len(story.log), story.log[-1])
    assert (cases.counts()["dead"], cases.counts()["sent"]) == (1, 0)
    row = next(d for d in cases.deliveries(waiting[0].delivery.case) if d["key"] == key)
    assert (row["state"], row["attempts"], row["sent_at_ms"], row["detail"]) == ("dead", 8, 77, "refused")
    story.act("resend", waiting[0].delivery.case)
    cases.record(len(story.log), story.log[-1])
    assert cases.pending("webhook", "", 0, 100)[-1].delivery.key == key
    cases.close()


def test_another_versions_decision_keeps_both_histories(target: str, story: Story) -> None:
    """Where a newer program numbers a step as an older one did another, neither is lost, and it is counted."""
    cases = recorded(target, story)
    twin = story.log[1].transitions[0]
    delivery = Delivery(story.log[1].deliveries[0].key, twin.case, "webhook", "", "dispatch", {"other": 1})
    filed = replace(cases.case(twin.case), state=twin.after)
    cases.record(100, Changes([filed], [twin], [delivery, story.log[1].deliveries[0]]))
    assert cases.differences == 3
    serials = [t.serial for t in cases.history(twin.case)]
    assert serials == list(range(1, len(serials) + 1))
    assert f"{delivery.key}~100" in {d["key"] for d in cases.deliveries(twin.case)}
    assert cases.verify().ok
    cases.close()


SWAP = """UPDATE transitions SET n = CASE n WHEN 3 THEN -4 ELSE -3 END WHERE n IN (3, 4);
UPDATE transitions SET n = -n WHERE n < 0"""


@pytest.mark.parametrize(
    ("damage", "flaw", "n"),
    [
        ("UPDATE transitions SET reason = 'x' WHERE n = 4", "altered", 4),
        ("UPDATE transitions SET evidence = '{}' WHERE n = 6", "altered", 6),
        ("DELETE FROM transitions WHERE n = 5", "missing", 6),
        ("DELETE FROM transitions WHERE n = (SELECT max(n) FROM transitions)", "missing", None),
        (SWAP, "reordered", 3),
        ("DELETE FROM transitions WHERE n = 5; UPDATE transitions SET n = n - 1 WHERE n > 5", "missing", 5),
        ("UPDATE cases SET state = 'closed' WHERE id = 'CW-20260624-000001'", "case", 0),
        ("DELETE FROM cases WHERE id = 'CW-20260624-000001'", "case", 0),
    ],
)  # fmt: skip
def test_verification_names_the_first_flaw(target: str, story: Story, damage: str, flaw: str, n: int | None) -> None:
    """One altered byte, one missing or moved entry: the verification says which."""
    cases = recorded(target, story)
    assert cases.verify().ok
    with cases._engine.begin() as raw:
        for statement in damage.split(";"):
            raw.execute(text(statement))
    verdict = cases.verify()
    assert verdict.flaw == flaw
    assert n is None or verdict.n == n
    cases.close()


def test_a_rewritten_chain_is_seen_by_an_earlier_head(target: str, story: Story) -> None:
    """Whoever recomputes every hash after a change is found out by a head that was kept elsewhere."""
    cases = recorded(target, story)
    head = cases.verify().head
    assert cases.verify(head).ok
    cases.close()
    for changes in story.log:
        changes.transitions = [t for t in changes.transitions if t.event != "accept"]
    engine = Cases(target)._engine
    with engine.begin() as raw:
        for table in ("cases", "transitions", "deliveries", "scores"):
            raw.execute(text(f"DELETE FROM {table}"))
        raw.execute(text("DELETE FROM meta WHERE name IN ('last_tick', 'chain_n', 'chain_head', 'queue')"))
    engine.dispose()
    forged = recorded(target, story)
    assert forged.verify().ok
    assert forged.verify(head).flaw == "altered"
    forged.close()


CUT = """DELETE FROM transitions WHERE n > 6;
DELETE FROM cases WHERE id NOT IN (SELECT case_id FROM transitions);
UPDATE cases SET state = (SELECT after FROM transitions WHERE case_id = cases.id ORDER BY n DESC LIMIT 1);
UPDATE meta SET value = '6' WHERE name = 'chain_n';
UPDATE meta SET value = (SELECT hash FROM transitions WHERE n = 6) WHERE name = 'chain_head'"""


def test_a_cut_off_end_is_seen_by_a_head_that_was_put_aside(target: str, story: Story) -> None:
    """Whoever takes the newest entries out and sets everything else accordingly leaves no trace in the database."""
    cases = recorded(target, story)
    n, head = cases.head
    assert cases.verify(heads={n: head, 1: cases.verify(heads={}).head}).flaw == "altered"
    assert cases.verify(heads={n: head}).ok
    with cases._engine.begin() as raw:
        for statement in CUT.split(";"):
            raw.execute(text(statement))
    cases.close()
    cut = Cases(target)
    assert cut.verify().ok
    verdict = cut.verify(heads={n: head})
    assert (verdict.flaw, verdict.n) == ("missing", 7)
    assert f"up to {n} at least" in verdict.detail
    cut.close()


def test_who_was_told_has_the_case_in_its_list(target: str) -> None:
    """Partners and those to whom a case rose find it among theirs, open and closed, and nobody else does."""
    story = Story()
    story.after(1, [story.finding("illegal_dumping", "truck-001"), story.finding("lamp_out", "pole-0001")])
    story.after(60)
    dump, lamp = (c.id for c in sorted(story.ledger.open_cases(), key=lambda c: c.type))
    story.after(9 * 3600)  # both are past their deadline; the city hall hears of them last
    story.after(9 * 3600)
    story.act("return", lamp, "not ours")
    cases = recorded(target, story)

    def listed(department: str, *, open_only: bool = True, **more: str) -> set[str]:
        return {c.id for c in cases.cases(departments=[department], open_only=open_only, **more)}

    assert cases.case(dump).parties == ("environment", "operations", "city_hall")
    assert listed("environment") == {dump}
    assert listed("city_hall") == {dump, lamp}
    assert listed("operations") == {dump, lamp}
    assert listed("lighting") == {lamp}  # it gave it back, and nobody else has taken it
    assert cases.case(lamp).returned_by == ("lighting",)
    assert listed("power") == set()
    assert listed("city_hall", subject="pole-0001") == {lamp}
    cases.close()
    story.act("transfer", lamp, "a cable", department="power")
    story.act("accept", lamp)
    story.act("close", dump, "cleared away")
    again = recorded(target, story)
    assert {c.id for c in again.cases(departments=["power"])} == {lamp}
    assert {c.id for c in again.cases(departments=["lighting"], open_only=False)} == set()
    assert {c.id for c in again.cases(departments=["environment"])} == set()
    assert {c.id for c in again.cases(departments=["environment"], open_only=False)} == {dump}
    again.close()


def test_what_stands_is_every_open_case_with_those_under_a_cause(target: str, story: Story) -> None:
    """What a map that starts anew shows is what the ledger holds open: a feeder's silent poles too."""
    with closing(recorded(target, story)) as cases:
        told = {tuple(one) for one in cases.standing()}
    wanted = {(c.id, c.type, c.subject, c.state, c.severity) for c in story.ledger.open_cases()}
    assert told == wanted
    assert sum(1 for one in told if one[1] == "device_silent") == 30


def test_what_no_database_could_hold_is_made_harmless(target: str, story: Story) -> None:
    """A NUL outside of JSON and half of a surrogate pair are recorded as something else, and the chain holds."""
    cases = Cases(target)
    odd = "a\0b\ud800"
    changes = story.log[0]
    step = replace(changes.transitions[0], actor=odd, reason=odd, evidence={"x": odd})
    letter = Delivery("k", step.case, "webhook", odd, "dispatch", {"x": odd})
    cases.record(1, Changes([replace(changes.cases[0], en=odd)], [step], [letter], [Settled("k", False, 1, 1, odd)]))
    told = cases.history(step.case)[0]
    assert told.actor == told.reason == "a\ufffdb?"
    assert told.evidence["x"] == cases.case(step.case).en == "a\0b?"  # JSON escapes its NUL
    assert cases.deliveries(step.case)[0]["detail"] == "a\ufffdb?"
    assert cases.verify().ok
    cases.close()


def test_a_database_belongs_to_one_journal(target: str) -> None:
    """Ticks are numbered by a journal: another one's server is told so, and records nothing."""
    cases = Cases(target)
    cases.bind("one")
    cases.bind("one")
    with pytest.raises(TwinError, match="belongs to journal one"):
        cases.bind("two")
    cases.close()


def test_only_what_can_keep_cases_is_opened() -> None:
    """Another database, an unknown one, a broken URL: each is refused with what to give instead."""
    for url in ("mysql://x/y", "nonsense://x", "postgresql+nodriver://x/y", "://"):
        with pytest.raises(TwinError, match=r"PostgreSQL|postgresql"):
            Cases(url)


def test_a_noted_tick_survives(target: str) -> None:
    """What a checkpoint of a quiet city has seen is never ahead of what the database says of itself."""
    with closing(Cases(target)) as cases:
        assert cases.note_tick()
        for n in range(1, 6):
            cases.record(n, Changes())
        with closing(Cases(target)) as other:
            assert other.last_tick < 5
        assert cases.note_tick()
        with closing(Cases(target)) as other:
            assert other.last_tick == 5
