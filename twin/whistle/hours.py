"""Working time: deadlines count the hours in which somebody works, with holidays, make-up days and daylight saving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from devices import places
from twin.errors import SettingsError

FARTHEST_DAYS = 3660  # no deadline lies further away; a calendar without any working day ends here


@dataclass(frozen=True, slots=True)
class Calendar:
    """Working hours of a city. `shifts` are (start, end) in local hours, ascending; `weekdays` 0 = Monday.

    `holidays` are free although a weekday, `workdays` worked although a weekend (调休). Hours are wall-clock hours: on
    the day when the clock is put forward inside a shift, that shift is an hour shorter.
    """

    timezone: str = "UTC"
    shifts: tuple[tuple[float, float], ...] = ((9.0, 12.0), (13.0, 18.0))
    weekdays: frozenset[int] = frozenset(range(5))
    holidays: frozenset[date] = frozenset()
    workdays: frozenset[date] = frozenset()
    zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "zone", ZoneInfo(self.timezone))
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise SettingsError(
                f"unknown time zone {self.timezone!r} (give an IANA name like Asia/Shanghai)"
            ) from error
        last = 0.0
        for start, end in self.shifts:
            if not last <= start < end <= 24:
                raise SettingsError(f"shift {start}-{end} (give ascending hours within 0-24, without overlap)")
            last = end

    def works_on(self, day: date) -> bool:
        """Whether `day` is a working day."""
        if day in self.workdays:
            return True
        return day.weekday() in self.weekdays and day not in self.holidays

    def local_date(self, at_ms: int) -> date:
        """The city's date at an instant."""
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self.zone).date()

    def spans(self, day: date) -> list[tuple[int, int]]:
        """The working spans of a day as UTC milliseconds (start, end)."""
        if not self.works_on(day):
            return []
        spans: list[tuple[int, int]] = []
        for start, end in self.shifts:  # a shift that begins in the hour left out begins no sooner than one before ends
            begin = max(self._instant(day, start), spans[-1][1] if spans else 0)
            spans += [(begin, self._instant(day, end))] if self._instant(day, end) > begin else []
        return spans

    def add(self, from_ms: int, working_s: float) -> int:
        """The instant (ms) at which `working_s` seconds of working time have passed since `from_ms`."""
        left_ms = round(working_s * 1000)
        day = self.local_date(from_ms)
        for _ in range(FARTHEST_DAYS):
            for start, end in self.spans(day):
                begin = max(start, from_ms)
                if begin >= end:
                    continue
                if end - begin >= left_ms:
                    return begin + left_ms
                left_ms -= end - begin
            day += timedelta(days=1)
        return from_ms + FARTHEST_DAYS * 86_400_000

    def _instant(self, day: date, hour: float) -> int:
        """A local wall-clock hour of a day as UTC milliseconds; the earlier one where an hour happens twice."""
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a wall clock; its zone comes next
        wall = (midnight + timedelta(hours=hour)).replace(tzinfo=self.zone)
        return round(wall.timestamp() * 1000)


ALWAYS = Calendar(shifts=((0.0, 24.0),), weekdays=frozenset(range(7)))


def _dates(told: Sequence[Any], key: str) -> frozenset[date]:
    try:
        return frozenset(day if isinstance(day, date) else date.fromisoformat(str(day)) for day in told)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"calendar {key}: {error} (give ISO dates like 2026-10-01)") from error


def calendar_from_files(told: places.Calendar, timezone: str) -> Calendar:
    """A calendar of the city's files (departments.toml), in the city's time zone; hours that overlap are one span."""
    spans: list[tuple[float, float]] = []
    for start, end in sorted(told.hours):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return Calendar(
        timezone, tuple(spans), frozenset(told.days), _dates(told.holidays, "holidays"),
        _dates(told.workdays, "workdays"),
    )  # fmt: skip


def parse_calendar(told: Mapping[str, Any], timezone: str) -> Calendar:
    """A calendar from a city's table: shifts, weekdays (1 = Monday), holidays, workdays. Raises SettingsError."""
    unknown = set(told) - {"shifts", "weekdays", "holidays", "workdays"}
    if unknown:
        raise SettingsError(f"calendar: unknown key {min(unknown)!r} (known: shifts, weekdays, holidays, workdays)")
    usual = Calendar(timezone)
    try:
        shifts = tuple((float(start), float(end)) for start, end in told.get("shifts", usual.shifts))
        weekdays = frozenset(int(day) - 1 for day in told["weekdays"]) if "weekdays" in told else usual.weekdays
    except (TypeError, ValueError) as error:
        raise SettingsError(f"calendar: {error} (shifts = [[9, 12], [13, 18]], weekdays = [1, 2, 3, 4, 5])") from error
    if not weekdays <= frozenset(range(7)):
        raise SettingsError("calendar weekdays (give numbers from 1 = Monday to 7 = Sunday)")
    return Calendar(
        timezone,
        shifts,
        weekdays,
        _dates(told.get("holidays", ()), "holidays"),
        _dates(told.get("workdays", ()), "workdays"),
    )
