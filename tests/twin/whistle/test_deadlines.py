"""Deadlines over nights, holidays, make-up days and changed clocks: by properties, and through restarts."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from twin.whistle.hours import ALWAYS, Calendar
from twin.whistle.ledger import Ledger
from twin.whistle.policy import LEVELS, TypePolicy

from .city import Story

MINUTE = 60_000
# Days around which clocks change: spring and autumn, north and south, by half an hour, at midnight; and without any.
CHANGES = {
    "Europe/Berlin": (date(2026, 3, 29), date(2026, 10, 25)),
    "America/New_York": (date(2026, 3, 8), date(2026, 11, 1)),
    "Australia/Lord_Howe": (date(2026, 10, 4), date(2026, 4, 5)),
    "Africa/Cairo": (date(2026, 4, 24), date(2026, 10, 29)),
    "Asia/Shanghai": (date(2026, 10, 1), date(2026, 2, 15)),  # 国庆 and 春节, with make-up days around them
}


@st.composite
def calendars(draw: st.DrawFn, *, whole_hours: bool = False) -> tuple[Calendar, date]:
    """Any calendar, and a day near which its clock changes or its holidays lie."""
    zone = draw(st.sampled_from(sorted(CHANGES)))
    day = draw(st.sampled_from(CHANGES[zone]))
    low, unit = (5, 1.0) if whole_hours else (0, 0.25)
    hours = draw(st.lists(st.integers(round(low / unit), round(24 / unit)), min_size=2, max_size=6, unique=True))
    ends = [hour * unit for hour in sorted(hours)][: len(hours) // 2 * 2]
    near = st.sets(st.integers(-4, 12), max_size=6)
    return Calendar(
        zone,
        tuple(zip(ends[::2], ends[1::2], strict=True)),
        frozenset(draw(st.sets(st.integers(0, 6), min_size=1))),
        frozenset(day + timedelta(days=n) for n in draw(near)),
        frozenset(day + timedelta(days=n) for n in draw(near)),
    ), day


def at(calendar: Calendar, day: date, minutes: int) -> int:
    """An instant: so many minutes after that day's local midnight."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=calendar.zone)
    return round(midnight.timestamp() * 1000) + minutes * MINUTE


@settings(max_examples=300, deadline=None)
@given(calendars(), st.integers(-4 * 1440, 4 * 1440), st.integers(0, 3000), st.integers(1, 3000))
def test_working_time_adds_up(told: tuple[Calendar, date], start: int, first: int, second: int) -> None:
    """Two pieces of work after each other end when both together do; a deadline never lies before its beginning, nor
    outside of working hours, and spans do not overlap whatever the clock does.
    """
    calendar, day = told
    began = at(calendar, day, start)
    middle = calendar.add(began, first * 60)
    assert calendar.add(middle, second * 60) == calendar.add(began, (first + second) * 60)
    end = calendar.add(began, second * 60)
    assert end >= began + second * MINUTE
    local = calendar.local_date(end - 1)
    assert any(a < end <= b for n in (-1, 0, 1) for a, b in calendar.spans(local + timedelta(days=n)))
    for n in range(-3, 4):
        flat = [edge for span in calendar.spans(day + timedelta(days=n)) for edge in span]
        assert flat == sorted(flat)


@settings(max_examples=60, deadline=None)
@given(calendars(whole_hours=True), st.integers(-2 * 1440, 2 * 1440), st.integers(1, 1200))
def test_working_time_is_what_a_wall_clock_shows(told: tuple[Calendar, date], start: int, worked: int) -> None:
    """Counted minute by minute: one counts when the clock on the wall shows an hour of a shift on a working day."""
    calendar, day = told
    began = at(calendar, day, start)
    now, left = began, worked
    for _ in range(30 * 24 * 60):
        wall = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(calendar.timezone))
        hour = wall.hour + wall.minute / 60
        today = wall.date()
        free = today in calendar.holidays or wall.weekday() not in calendar.weekdays
        working = today in calendar.workdays or not free
        left -= working and any(a <= hour < b for a, b in calendar.shifts)
        now += MINUTE
        if not left:
            break
    else:
        return  # a calendar with hardly any hours: the property above holds for it
    assert calendar.add(began, worked * 60) == now


def test_golden_week_and_its_make_up_saturday() -> None:
    """国庆: a day's work that begins on the evening of 30 September 2026 is due on the first day after the
    holidays; the make-up Saturday (调休) counts as a working day.
    """
    holidays = frozenset(date(2026, 10, n) for n in range(1, 8))
    calendar = Calendar(
        "Asia/Shanghai", ((9, 12), (13, 18)), frozenset(range(5)), holidays, frozenset({date(2026, 10, 10)})
    )
    began = at(calendar, date(2026, 9, 30), 17 * 60)  # an hour before the end of work
    assert calendar.add(began, 8 * 3600) == at(calendar, date(2026, 10, 8), 17 * 60)
    friday = at(calendar, date(2026, 10, 9), 17 * 60)
    assert calendar.add(friday, 2 * 3600) == at(calendar, date(2026, 10, 10), 10 * 60)  # a Saturday


@settings(max_examples=60, deadline=None)
@given(
    calendars(), st.booleans(), st.integers(0, 3 * 1440), st.integers(20, 900),
    st.lists(st.tuples(st.integers(1, 700), st.booleans()), min_size=4, max_size=40),
)  # fmt: skip
def test_each_warning_and_level_once_whatever_happens_between(
    told: tuple[Calendar, date], always: bool, start: int, allowed: int, steps: list[tuple[int, bool]]
) -> None:
    """Ticks at any distance, restarts between them: the warning and each level come once, in order, at the first tick
    at or after they are due, and at night as by day; nothing is forgotten.
    """
    calendar, day = told
    types = {"tilt": TypePolicy(hold_s=0, deadline_s=allowed * 60, always=always)}
    story = Story(calendar=calendar, types=types, storm_count=10_000)
    story.now_ms = at(calendar, day, start)
    story.after(1, [story.finding("tilt", "pole-0001")])
    began = story.now_ms
    case = story.only()
    clock = ALWAYS if always else calendar
    due = {"warn": clock.add(began, allowed * 60 * 0.75)}
    due |= {level: clock.add(began, allowed * 60 * share) for level, share in zip(LEVELS, (1.0, 1.5, 2.0), strict=True)}
    fired: list[tuple[str, int]] = []

    def tick(minutes: int, restart: bool) -> None:
        changes = story.after(minutes * 60)
        mine = [step for step in changes.transitions if step.case == case and step.event in ("warn", "escalate")]
        fired.extend((str(step.evidence.get("level", "warn")), story.now_ms) for step in mine)
        if restart:
            dumped = json.loads(json.dumps(story.ledger.dump(), allow_nan=False))
            story.ledger = Ledger(story.places, story.policy)
            story.ledger.load(dumped)

    times = []
    for minutes, restart in steps:
        tick(minutes, restart)
        times.append(story.now_ms)
    while story.now_ms < max(due.values()) and len(times) < 400:
        tick(24 * 60, restart=True)
        times.append(story.now_ms)
    for _ in range(4):
        tick(1, restart=True)
        times.append(story.now_ms)
    expected: list[tuple[str, int]] = []
    after = began
    for level in LEVELS:
        reached = [t for t in times if t >= due[level] and t > after]
        if reached:
            after = reached[0]
            expected.append((level, after))
    warned = [t for t in times if t >= due["warn"]]
    late = expected[0][1] if expected else None
    assert [one for one in fired if one[0] != "warn"] == expected
    assert [one for one in fired if one[0] == "warn"] == ([("warn", warned[0])] if warned else []), late


def test_an_extension_asked_for_ends_with_its_department() -> None:
    """Whoever gets the case next did not ask; nobody can grant it by mistake."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(61)
    case = story.only()
    for verb, more in (("return", {}), ("transfer", {"department": "power"})):
        story.act("extend", case, "parts", extra_s=3600.0)
        story.act(verb, case, "not ours", **more)
        if verb == "return":
            story.act("dispatch", case)
        due_ms = story.ledger.case(case).deadline_ms
        assert story.act("approve", case).refused == [(f"a{story.acted}", "no extension was asked for")]
        assert story.ledger.case(case).deadline_ms == due_ms


def six_hours_in() -> tuple[Story, str, int]:
    """A lamp that went out six hours ago, its case, and when that is due."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(61)
    case = story.only()
    due_ms = story.ledger.case(case).deadline_ms
    story.after(6 * 3600)
    return story, case, due_ms


def test_a_return_buys_no_time() -> None:
    """The wrong desk gives it back after six of eight hours: whoever gets it next has the rest, the street is told when
    the eight hours are over, as it would have been, also while nobody has the case; a transfer is the same.
    """
    for verb in ("return", "transfer", "to_itself"):
        story, case, due_ms = six_hours_in()
        if verb == "transfer":
            story.act("transfer", case, "not ours", department="power")
        else:
            story.act("return", case, "not ours")
            story.act("dispatch", case, **({} if verb == "to_itself" else {"department": "power"}))
        assert story.ledger.case(case).deadline_ms == due_ms
        story.now_ms = due_ms - 1000
        story.after(0)
        assert "escalate" not in story.events(case)
        story.after(2)
        assert story.events(case).count("escalate") == 1
        story.act("return", case, "not ours either")
        story.after(4 * 3600)
        assert story.events(case).count("escalate") == 2, (
            "the district, half a deadline later, though it is with nobody"
        )
        story.act("dispatch", case)
        story.after(2)
        assert story.events(case).count("escalate") == 2, "once each"
        assert story.ledger.case(case).deadline_ms == due_ms


def test_who_gets_it_late_may_ask_for_more() -> None:
    """An extension is the way to more time, asked for by the one and granted by another; it stays with the case."""
    story, case, due_ms = six_hours_in()
    story.act("return", case, "not ours")
    story.act("dispatch", case, department="power")
    story.act("extend", case, "we have it since just now", extra_s=4 * 3600.0)
    story.act("approve", case)
    assert story.ledger.case(case).deadline_ms == due_ms + 4 * 3_600_000
    story.act("return", case, "no")
    story.act("dispatch", case)
    assert story.ledger.case(case).deadline_ms == due_ms + 4 * 3_600_000


def test_what_begins_anew_has_its_whole_time() -> None:
    """A case that was over and comes back, and a symptom whose cause is gone; not one that a person puts under another
    case and takes out again.
    """
    whole_ms = 8 * 3600 * 1000
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001")])
    story.after(61)
    case = story.only()
    first_ms = story.ledger.case(case).deadline_ms
    story.act("close", case, "done", override="seen")
    story.after(3600)
    story.act("reopen", case, "not done")
    assert story.ledger.case(case).deadline_ms == story.now_ms + whole_ms > first_ms

    story.after(1, [story.finding("lamp_out", "pole-0002")])
    story.after(61)
    (other,) = [one.id for one in story.ledger.open_cases() if one.subject == "pole-0002"]
    due_ms = story.ledger.case(other).deadline_ms
    story.after(3600)
    story.act("merge", other, "the same", into=case)
    story.after(3600)
    story.act("split", other, "another one after all")
    assert story.ledger.case(other).deadline_ms == due_ms

    story.after(1, [story.finding("feeder_trip", "feeder-01")])
    (cause,) = [one.id for one in story.ledger.open_cases() if one.type == "feeder_trip"]
    story.act("merge", other, "by the trip", into=cause)
    story.after(1, [story.finding("feeder_trip", "feeder-01", active=False)])
    story.after(3600)
    assert story.ledger.case(other).parent == ""
    split_ms = [t.at_ms for c in story.log for t in c.transitions if t.case == other and t.event == "split"][-1]
    assert story.ledger.case(other).deadline_ms == split_ms + whole_ms


def test_a_cause_that_was_none_gives_no_time_either() -> None:
    """Put under another case that is then cancelled as false, the case still fires: its deadline is what it was."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0001"), story.finding("lamp_out", "pole-0002")])
    story.after(61)
    into, case = [one.id for one in story.ledger.open_cases()]
    due_ms = story.ledger.case(case).deadline_ms
    story.after(3 * 3600)
    story.act("merge", case, "the same", into=into)
    story.act("cancel", into, "false")
    assert story.ledger.case(case).deadline_ms == due_ms
