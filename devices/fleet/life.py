"""The city's life that all devices share: sun, weather, traffic and people by hour and weekday, and the air.

A pure function of (seed, place, time); kept per minute of city time because thousands of devices ask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from devices.fleet.chance import bits, drift
from devices.fleet.sky import daylight_lx, sun_elevation
from devices.places import CityFiles

# Share of the busiest hour, 0..23 h: weekday and weekend.
TRAFFIC = (
    (12, 8, 6, 6, 10, 25, 55, 90, 100, 78, 66, 66, 70, 70, 74, 84, 98, 100, 86, 66, 50, 42, 32, 20),
    (22, 17, 12, 9, 8, 10, 18, 28, 42, 56, 68, 76, 78, 76, 74, 72, 72, 70, 66, 58, 50, 44, 38, 30),
)
OFFICE = (
    (3, 2, 2, 2, 3, 6, 15, 40, 80, 96, 100, 98, 90, 96, 98, 96, 88, 66, 40, 24, 16, 12, 8, 5),
    (3, 2, 2, 2, 2, 3, 5, 8, 13, 18, 22, 24, 25, 25, 24, 22, 20, 17, 14, 11, 9, 7, 5, 4),
)
HOME = (
    (34, 22, 15, 12, 12, 20, 40, 56, 48, 42, 42, 46, 52, 50, 50, 56, 66, 78, 88, 96, 100, 98, 82, 56),
    (44, 32, 22, 16, 14, 16, 24, 38, 54, 64, 70, 74, 78, 78, 76, 76, 78, 82, 90, 96, 100, 98, 86, 64),
)
STREET = (
    (16, 10, 8, 6, 6, 10, 28, 58, 72, 62, 60, 72, 92, 88, 74, 74, 84, 100, 96, 82, 66, 50, 36, 24),
    (36, 28, 20, 14, 9, 8, 12, 20, 34, 52, 72, 88, 98, 100, 98, 94, 90, 86, 82, 76, 70, 64, 56, 46),
)
HOLIDAYS = {(1, 1), (5, 1), (10, 1), (10, 2), (10, 3), (12, 25), (12, 26)}  # month, day, where a calendar names none

KEPT = 2000  # minutes


@dataclass(frozen=True, slots=True)
class Moment:
    """The city at one minute. Shares are 0..1, concentrations ug/m3, times local hours."""

    minute: int
    date: str  # local, ISO
    hour: float
    weekday: int
    free: bool  # weekend or holiday
    sun_deg: float
    cloud: float
    light_lx: float
    temperature: float
    humidity: float
    pressure: float
    dew_point: float
    wind: float
    wind_from: float  # degrees from north
    rain_mm: float
    traffic: float
    office: float
    home: float
    street: float
    pm25: float
    pm10: float
    no2: float
    o3: float
    modes: tuple[float, float, float]  # slow waves over the city, deviation about 1


def curve(table: tuple[tuple[int, ...], ...], hour: float, free: bool) -> float:
    """A daily curve at a local hour, joined linearly, 0..1."""
    row = table[free]
    low = int(hour) % 24
    part = hour - int(hour)
    return (row[low] + (row[(low + 1) % 24] - row[low]) * part) / 100


def days_off(city: CityFiles) -> frozenset[str]:
    """The holidays that the city's calendars name (ISO dates); empty where they name none."""
    return frozenset(day for calendar in city.calendars for day in calendar.holidays)


def extra_days(city: CityFiles) -> frozenset[str]:
    """Days that are worked although they are a weekend's (调休), by the city's calendars."""
    return frozenset(day for calendar in city.calendars for day in calendar.workdays)


class Life:
    """Tells the city's `Moment` at any time. `off`, `extra`: its holidays and additional working days, ISO dates."""

    def __init__(self, seed: int, lon: float, lat: float, timezone: str, off: frozenset[str] = frozenset(),
                 extra: frozenset[str] = frozenset()) -> None:  # fmt: skip
        self._seed, self._lon, self._lat = seed, lon, lat
        self._off, self._extra = off, extra
        self._zone = ZoneInfo(timezone)
        self._kept: dict[int, Moment] = {}
        self._holidays: list[tuple[int, int]] = []  # (from, to), ms: days off besides those of the calendar

    def holiday(self, start_ms: int, end_ms: int) -> None:
        """People stay at home from `start_ms` to `end_ms`, whatever the weekday."""
        self._holidays.append((start_ms, end_ms))
        self._kept.clear()

    def local(self, t_ms: int) -> datetime:
        """Local wall-clock time."""
        return datetime.fromtimestamp(t_ms / 1000, UTC).astimezone(self._zone)

    def midnight(self, t_ms: int) -> int:
        """When the next local day begins."""
        day = (self.local(t_ms) + timedelta(days=1)).date()
        return round(datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp() * 1000)

    def at(self, t_ms: int) -> Moment:
        """The city at this minute."""
        minute = t_ms // 60_000
        kept = self._kept.get(minute)
        if kept is None:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            kept = self._kept[minute] = self._make(minute)
        return kept

    def _free(self, local: datetime) -> bool:
        """Whether that day is a weekend's or a holiday's."""
        day = local.date().isoformat()
        if day in self._extra:
            return False
        named = day in self._off if self._off else (local.month, local.day) in HOLIDAYS
        return local.weekday() >= 5 or named

    def _make(self, minute: int) -> Moment:
        t_s = minute * 60.0
        seed = self._seed
        local = self.local(minute * 60_000)
        hour = local.hour + local.minute / 60
        free = self._free(local)
        free |= any(start <= minute * 60_000 < end for start, end in self._holidays)
        sun = sun_elevation(t_s * 1000, self._lon, self._lat)
        cover = 0.5 + 0.35 * drift(bits(seed, 1), t_s, 14_400) + 0.15 * drift(bits(seed, 2), t_s, 3000)
        cloud = min(1.0, max(0.0, cover))
        yearday = local.timetuple().tm_yday
        warm = -math.cos(2 * math.pi * (yearday - 20) / 365.25) * math.copysign(1, self._lat)
        climate = 26 - 0.33 * abs(self._lat) + (2 + 0.22 * abs(self._lat)) * warm
        swing = (1 - 0.6 * cloud) * 4.5 * math.sin(2 * math.pi * (hour - 9) / 24)
        temperature = climate + swing + 3 * drift(bits(seed, 3), t_s, 86_400 * 1.5)
        wet = drift(bits(seed, 4), t_s, 21_600)
        rain = max(0.0, (wet - 1.1) * 3 * cloud)
        humidity = min(100.0, max(15.0, 68 - 2.2 * swing + 12 * wet + (15 if rain else 0)))
        dew = temperature - (100 - humidity) / 5
        wind = max(0.2, 3.4 + 1.6 * drift(bits(seed, 5), t_s, 10_800) + 0.9 * drift(bits(seed, 6), t_s, 900))
        turn = 60 * drift(bits(seed, 10), t_s, 43_200) + 20 * drift(bits(seed, 11), t_s, 2400)
        traffic = curve(TRAFFIC, hour, free) * (1 + 0.05 * drift(bits(seed, 7), t_s, 1800))
        stagnation = math.exp(0.45 * drift(bits(seed, 8), t_s, 86_400 * 1.2)) * (3.4 / (1.2 + 0.65 * wind)) ** 0.5
        pm25 = (9 + 11 * traffic) * stagnation * (0.75 if rain else 1.0) + 3
        return Moment(
            minute=minute, date=local.date().isoformat(), hour=hour, weekday=local.weekday(), free=free,
            sun_deg=sun, cloud=cloud,
            light_lx=daylight_lx(sun, cloud), temperature=temperature, humidity=humidity,
            pressure=1013 + 9 * drift(bits(seed, 9), t_s, 86_400 * 2), dew_point=dew, wind=wind,
            wind_from=(230 + turn) % 360,
            rain_mm=rain, traffic=min(1.2, max(0.0, traffic)), office=curve(OFFICE, hour, free),
            home=curve(HOME, hour, free), street=curve(STREET, hour, free), pm25=pm25,
            pm10=pm25 * 1.55 + 4 + 1.2 * wind, no2=(8 + 42 * traffic) * stagnation**0.7,
            o3=max(4.0, 62 + 0.4 * max(0.0, sun) - 38 * traffic * stagnation**0.5),
            modes=tuple(drift(bits(seed, 20 + k), t_s, 5400) for k in range(3)),  # type: ignore[arg-type]
        )  # fmt: skip
