"""Mutes, maintenance windows and storms: they hold back messages, never records."""

from __future__ import annotations

from .city import Story


def mute(story: Story, seconds: float, **what: object) -> str:
    """Mute for so long from now; returns the mute's id."""
    until_ms = story.now_ms + 1000 + round(seconds * 1000)
    changes = story.act("mute", "", "works on the line", until_ms=until_ms, **what)
    assert changes.transitions[0].event == "mute"
    return f"a{story.acted}"


def test_a_mute_holds_back_and_what_still_fires_is_sent_at_its_end() -> None:
    """Under a maintenance window cases are filed, not sent; at its end the one that still fires goes out."""
    story = Story()
    mute(story, 3600, subjects=["cabinet-000"])
    story.after(1, [story.finding("lamp_out", "pole-0001"), story.finding("lamp_out", "pole-0002")])
    story.after(60)
    assert story.sent() == []
    assert {c.state for c in story.ledger.open_cases()} == {"filed"}
    story.after(60, [story.finding("lamp_out", "pole-0001", active=False)])
    story.after(4000)
    assert len(story.sent()) == 1
    assert story.ledger.case(story.only()).subject == "pole-0002"


def test_a_mute_covers_its_types_and_places_only() -> None:
    """Other types and other cabinets whistle as ever."""
    story = Story()
    mute(story, 3600, subjects=["cabinet-000"], types=["lamp_out"])
    story.after(1, [story.finding("tilt", "pole-0001"), story.finding("lamp_out", "pole-0015")])
    story.after(60)
    assert len(story.sent()) == 2


def test_a_mute_holds_back_escalations_too() -> None:
    """A deadline that passes under a mute is told when the mute ends, not before and not twice."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(20)
    mute(story, 10 * 3600)
    story.after(9 * 3600)
    assert story.sent("escalate") == story.sent("warn") == []
    story.after(3700)
    assert len(story.sent("escalate")) == 1


def test_what_a_mute_held_back_is_told_at_its_end_while_it_is_true() -> None:
    """A case got worse, and another was closed by telemetry, under a mute: both are told when it ends, once; what was
    overtaken meanwhile is not.
    """
    story = Story()
    poles = ("pole-0001", "pole-0002", "pole-0003")
    story.after(1, [story.finding("lamp_out", pole) for pole in poles])
    story.after(60)
    mute(story, 8 * 3600, subjects=["cabinet-000"])
    story.after(60, [story.finding("lamp_out", pole, severity=3) for pole in poles])
    story.after(60, [story.finding("lamp_out", pole, active=False) for pole in poles[1:]])
    story.after(3600)
    assert story.sent("update") == story.sent("close") == story.sent("warn") == []
    back = story.finding("lamp_out", "pole-0003")  # it is open again, and nothing of its closure is true any more
    story.after(1, [back])
    story.after(7 * 3600)
    told = [(d.purpose, d.payload["subject"]["id"]) for d in story.log[-1].deliveries
            if d.purpose in ("update", "close") and d.payload["department"]["id"] == "lighting"]  # fmt: skip
    assert sorted(told) == [("close", "pole-0002"), ("update", "pole-0001")]
    assert {d.purpose for d in story.after(60).deliveries} & {"update", "close"} == set()


def test_what_people_decide_is_told_under_a_mute() -> None:
    """A mute is against noise: an extension that is denied, and a case that is taken away, are told at once."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(20)
    mute(story, 8 * 3600)
    case = story.only()
    story.act("extend", case, "parts", extra_s=3600)
    assert [d.purpose for d in story.act("deny", case, "no").deliveries] == ["denied"]
    told = story.act("transfer", case, "theirs", department="power").deliveries
    assert [(d.purpose, d.payload["department"]["id"]) for d in told] == [
        ("withdraw", "lighting"),
        ("dispatch", "power"),
    ]


def test_delayed_data_rises_to_nobody_after_a_mute() -> None:
    """What is past has no deadline, muted or not."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001", past=True)])
    story.after(20)
    mute(story, 3600)
    story.after(60, [story.finding("lamp_out", "pole-0001", severity=3, past=True)])
    story.after(100 * 3600)
    assert story.sent("escalate") == []


def test_all_who_were_told_hear_of_the_end() -> None:
    """Partners of a joint case, and those to whom it rose, are told that it is closed; each once."""
    story = Story()
    story.after(1, [story.finding("illegal_dumping", "truck-001")])
    story.after(5 * 3600)
    changes = story.act("close", story.only(), "cleared away")
    told = [d.payload["department"]["id"] for d in changes.deliveries if d.purpose == "close"]
    assert sorted(told) == ["environment", "operations", "waste"]


def test_ending_a_mute_early_sends_at_once() -> None:
    """Unmute and the held whistle goes out in the same step; a wrong id is refused."""
    story = Story()
    name = mute(story, 3600)
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(60)
    assert story.act("unmute", "", "done", mute="x").refused
    changes = story.act("unmute", "", "done", mute=name)
    assert [d.purpose for d in changes.deliveries] == ["dispatch"]
    assert story.ledger.mutes(story.now_ms) == []


def test_a_nonsense_mute_is_refused_with_what_it_needs() -> None:
    """No reason, no end, an end in the past or in ten years, names that are none: each says what is wrong."""
    story = Story()
    later = story.now_ms + 100_000
    for reason, arguments in (
        ("", {"until_ms": later}), ("x", {}), ("x", {"until_ms": 5}), ("x", {"until_ms": True}),
        ("x", {"until_ms": story.now_ms + 10 * 366 * 86_400_000}), ("x", {"until_ms": later, "types": "all"}),
        ("x", {"until_ms": later, "subjects": [5]}),
    ):  # fmt: skip
        assert story.act("mute", "", reason, **arguments).refused, arguments


def test_a_storm_is_told_in_a_digest_and_recorded_whole() -> None:
    """10,000 findings in one tick: the limit's worth of messages, one digest a department, every case on record."""
    story = Story(poles=10_000, storm_count=50)
    story.after(1, [story.finding("tilt", f"pole-{i:04d}") for i in range(10_000)])
    story.after(10)
    assert len(story.sent()) == 50
    story.after(300)
    (digest,) = [d for c in story.log for d in c.deliveries if d.purpose == "digest"]
    assert digest.payload["count"] == 9950
    assert digest.payload["types"][0]["type"] == "tilt"
    assert len(digest.payload["cases"]) == 100
    assert len(story.ledger.open_cases()) == 10_000
    assert sum(t.event == "digest" for c in story.log for t in c.transitions) == 9950


def test_a_storm_of_trifles_hides_no_emergency() -> None:
    """Emergencies have a budget of their own."""
    story = Story(poles=200, storm_count=5)
    story.after(1, [story.finding("supply_lost", f"pole-{i:04d}") for i in range(100)])
    story.after(20)
    story.after(1, [story.finding("leakage", "pole-0150", severity=4)])
    assert any("leakage" in str(d.payload["type"]) for d in story.log[-1].deliveries if d.purpose == "dispatch")
