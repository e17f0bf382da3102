"""Recognises how a column writes its times, and reads them as seconds (numbers stay as they are). Pure."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

Reader = Callable[[str], float]
_CLOCK = r"(\d{1,2})[:时](\d{1,2})(?:[:分](\d{1,2})秒?(?:[.,](\d+))?)?\s*([AaPp][Mm])?"
_ZONE = r"\s*(?:(?:Z|UTC|GMT)|([+-])(\d\d):?(\d\d))?"
_DATE = re.compile(rf"(\d{{1,4}})[-/.年](\d{{1,2}})[-/.月](\d{{1,4}})日?(?:[ T]+{_CLOCK})?{_ZONE}")
_WEEKDAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s+)?"
_DAY_FIRST = re.compile(
    rf"{_WEEKDAY}(\d{{1,2}})[-/. ]([A-Za-z]{{3}})[a-z]*[-/., ]+(\d{{2,4}})(?:[ T:,]+{_CLOCK})?{_ZONE}"
)
_MONTH_FIRST = re.compile(rf"{_WEEKDAY}([A-Za-z]{{3}})[a-z]*[. ]+(\d{{1,2}}),?[ ]+(\d{{4}})(?:[ T,]+{_CLOCK})?{_ZONE}")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_MINUS = "\u2212"  # the sign that word processors write
CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?")
_PACKED = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)(?:[T ]?(\d\d)(\d\d)(\d\d)?)?")
_ORDERS = {"ymd": (0, 1, 2), "mdy": (2, 0, 1), "dmy": (2, 1, 0)}
_START = datetime(1970, 1, 1, tzinfo=UTC)
NAN = float("nan")


def number(text: str) -> float:
    """A number (also 1,234,567 and 12.5 %), 1 and 0 for true and false, NaN for anything else."""
    try:
        return float(text) if "_" not in text else NAN
    except ValueError:
        return _odd(text)


def _odd(text: str) -> float:
    lowered = text.lower()
    if lowered in ("true", "false"):
        return float(lowered == "true")
    if text.endswith("%"):
        return number(text[:-1].rstrip()) if len(text) > 1 and not text.endswith("%%") else NAN
    if text.startswith(_MINUS):
        return number("-" + text[1:]) if text[1:2].isdigit() or text[1:2] == "." else NAN
    return float(text.replace(",", "")) if _THOUSANDS.fullmatch(text) else NAN


def iso(text: str) -> float:
    """ISO 8601; without an offset, UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return NAN
    return _seconds(at)


def packed(text: str) -> float:
    """20260131, 202601311200, 20260131120000."""
    found = _PACKED.fullmatch(text)
    if found is None:
        return NAN
    return _moment([int(p or 0) for p in found.groups()])


def dated(order: str) -> Reader:
    """Dates whose parts stand in this order (ymd, mdy, dmy), with or without a time of day."""
    place = _ORDERS[order]

    def read(text: str) -> float:
        found = _DATE.fullmatch(text)
        if found is None:
            return NAN
        parts = [int(found[1]), int(found[2]), int(found[3])]
        year, month, day = (parts[i] for i in place)
        return _clocked(found, year, month, day)

    return read


def named(text: str) -> float:
    """Dates with the month's English name: 30-Mar-2024 12:00, Sat, 30 Mar 2024 12:00:00 GMT, March 30, 2024."""
    found = _DAY_FIRST.fullmatch(text)
    day, month = (found[1], found[2]) if found else ("", "")
    if found is None:
        found = _MONTH_FIRST.fullmatch(text)
        if found is None:
            return NAN
        month, day = found[1], found[2]
    if month.lower() not in _MONTHS:
        return NAN
    return _clocked(found, int(found[3]), _MONTHS.index(month.lower()) + 1, int(day))


def _clocked(found: re.Match[str], year: int, month: int, day: int) -> float:
    """The time that a match tells beside its date: groups 4 to 8 the clock, 9 to 11 the zone."""
    if year < 100:
        year += 2000 if year < 70 else 1900
    hour = int(found[4] or 0)
    if found[8]:
        hour = hour % 12 + (12 if found[8].lower() == "pm" else 0)
    whole = _moment([year, month, day, hour, int(found[5] or 0), int(found[6] or 0)])
    if found[9]:
        whole -= (3600 * int(found[10]) + 60 * int(found[11])) * (1 if found[9] == "+" else -1)
    return whole + (float(f"0.{found[7]}") if found[7] else 0.0)


def _moment(parts: Sequence[int]) -> float:
    year, month, day, hour, minute, second = parts
    try:
        at = datetime(year, month, day, tzinfo=UTC) + timedelta(hours=hour, minutes=minute, seconds=second)
    except (ValueError, OverflowError):
        return NAN
    return _seconds(at)


def _seconds(at: datetime) -> float:
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _START).total_seconds()


READERS: dict[str, Reader] = {
    "packed": packed, "number": number, "iso": iso, "ymd": dated("ymd"), "mdy": dated("mdy"), "dmy": dated("dmy"),
    "named": named,
}  # fmt: skip


def recognise(sample: Sequence[str]) -> str:
    """The name of the reader that reads most of the sample; of equals, the one under which times rise most often, then
    most evenly; of dates with dots, day first. Empty where fewer than nine in ten can be read."""
    told = [text for text in sample if text]
    best, name = (0.9, -1.0, -1.0, -1.0), ""
    for candidate, read in READERS.items():
        at = [read(text) for text in told]
        known = [t for t in at if math.isfinite(t)]
        share = len(known) / max(1, len(told))
        steps = [round(b - a, 6) for a, b in itertools.pairwise(known)]
        rising = sum(step > 0 for step in steps) / max(1, len(steps))
        even = max(Counter(steps).values(), default=0) / max(1, len(steps))
        dotted = float(candidate == "dmy" and "." in told[0]) if told else 0.0
        if known and (share, rising, even, dotted) > best:
            best, name = (share, rising, even, dotted), candidate
    return name
