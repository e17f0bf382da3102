"""departments.toml: who must act on which type of case, in which hours, and who is on call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from devices.cities.tables import Problems, Wrong, is_day, line_of, read_toml
from devices.places import Calendar, Department, Shift

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WORD = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
KEYS = {
    "calendar": {"id", "days", "hours", "holidays", "workdays"},
    "department": {"id", "name", "name_zh", "types", "joins", "areas", "channel", "address", "calendar", "on_call"},
    "on_call": {"days", "hours", "channel", "address"},
}


def read_departments(path: Path, problems: Problems) -> tuple[dict[str, Calendar], dict[str, Department]]:
    """Calendars and departments by id; what is wrong is noted and left out."""
    calendars: dict[str, Calendar] = {}
    departments: dict[str, Department] = {}
    told = read_toml(path, problems)
    if told is None:
        return calendars, departments
    for key in told.keys() - {"calendar", "department"}:
        problems.say(path.name, 1, f"unknown table {key!r}", "use [[calendar]] and [[department]]")
    for what, into, make in (("calendar", calendars, calendar_of), ("department", departments, department_of)):
        for number, entry in enumerate(_tables(told.get(what)), 1):
            name = str(entry.get("id", ""))
            line = line_of(path, "id", name)
            try:
                _only(entry, what)
                if not WORD.match(name):
                    raise Wrong(f"{what} {number} has the id {name[:40]!r}", "use small letters, digits and _")
                if name in into:
                    raise Wrong(f"{what} {name} is there twice", "every one needs an id of its own")
                into[name] = make(entry)  # type: ignore[assignment]
            except Wrong as error:
                problems.say(path.name, line, f"{name or what}: {error.problem}", error.fix)
    for department in departments.values():
        if department.calendar and department.calendar not in calendars:
            problem = f"{department.id}: calendar {department.calendar!r} does not exist"
            problems.say(path.name, line_of(path, "id", department.id), problem, "add it as [[calendar]]")
    return calendars, departments


def _tables(told: Any) -> list[dict[str, Any]]:
    return [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []


def _only(entry: dict[str, Any], what: str) -> None:
    for key in entry.keys() - KEYS[what]:
        raise Wrong(f"unknown key {key!r}", f"known keys are {', '.join(sorted(KEYS[what]))}")


def calendar_of(entry: dict[str, Any]) -> Calendar:
    """One [[calendar]] as a record. Raises Wrong."""
    hours = entry.get("hours", [[0, 24]])
    if not isinstance(hours, list):
        raise Wrong("hours are no list of pairs", "write hours = [[9, 12], [13, 17.5]]")
    pairs = tuple(hours_of(pair) for pair in hours)
    if any(start >= end for start, end in pairs):
        raise Wrong("working hours end before they start", "split a night into [20, 24] and [0, 6]")
    return Calendar(entry["id"], days_of(entry), pairs, dates_of(entry, "holidays"), dates_of(entry, "workdays"))


def department_of(entry: dict[str, Any]) -> Department:
    """One [[department]] as a record. Raises Wrong."""
    types, joins = words_of(entry, "types"), words_of(entry, "joins")
    for word in (*types, *joins):
        if not WORD.match(word):
            raise Wrong(f"case type {word[:40]!r}", "case types are like lamp_out; `citywhistle city info` lists them")
    if not types and not joins:
        raise Wrong("answers for no case type", 'write types = ["lamp_out", ...]')
    both = [word for word in joins if word in types]
    if both:
        raise Wrong(f"both answers for {both[0]} and joins in it", "name it under types, or under joins")
    name = text_of(entry, "name")
    return Department(
        entry["id"], name or entry["id"], text_of(entry, "name_zh") or name or entry["id"], types,
        words_of(entry, "areas"), text_of(entry, "channel") or "webhook", text_of(entry, "address"),
        text_of(entry, "calendar"), tuple(shift_of(shift) for shift in _tables(entry.get("on_call"))),
        joins,
    )  # fmt: skip


def shift_of(entry: dict[str, Any]) -> Shift:
    """One [[department.on_call]] as a record. Raises Wrong."""
    _only(entry, "on_call")
    start, end = hours_of(entry.get("hours", [0, 24]))
    return Shift(days_of(entry), start, end, text_of(entry, "channel") or "webhook", text_of(entry, "address"))


def text_of(entry: dict[str, Any], key: str) -> str:
    """A text, '' where it is absent. Raises Wrong."""
    value = entry.get(key, "")
    if not isinstance(value, str) or len(value) > 2000:
        raise Wrong(f"{key} is no text", f'write {key} = "..."')
    return value


def words_of(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    """A list of texts, () where it is absent. Raises Wrong."""
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Wrong(f"{key} is no list of texts", f'write {key} = ["...", "..."]')
    return tuple(value)


def days_of(entry: dict[str, Any]) -> tuple[int, ...]:
    """Weekday numbers; every day where none is named. Raises Wrong."""
    days = words_of(entry, "days") or DAYS
    for day in days:
        if day not in DAYS:
            raise Wrong(f"weekday {day[:20]!r}", f"use {', '.join(DAYS)}")
    return tuple(DAYS.index(day) for day in days)


def dates_of(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    """A list of ISO dates (TOML dates or texts). Raises Wrong."""
    value = entry.get(key, [])
    days = tuple(str(day) for day in value) if isinstance(value, list) else ("?",)
    for day in days:
        if not is_day(day):
            raise Wrong(f"{key}: {day[:20]!r} is no date", "write dates as 2026-10-01")
    return days


def hours_of(pair: Any) -> tuple[float, float]:
    """A pair of local hours within 0..24. Raises Wrong."""
    good = isinstance(pair, list) and len(pair) == 2 and all(type(h) in (int, float) and 0 <= h <= 24 for h in pair)
    if not good:
        raise Wrong(f"hours {str(pair)[:40]}", "write a pair of hours within 0..24, such as [8.5, 17]")
    return float(pair[0]), float(pair[1])
