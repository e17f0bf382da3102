"""Laden trucks on the road: outside their permit's hours, or with no permit for the day at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twin.city import City, day_number
from twin.detect.base import Rule
from twin.detect.latch import Mask
from twin.detect.rules import Rules, Value
from twin.detect.words import clock, number
from twin.records import F64, I32, I64, Finding, Frame


def tare_of(city: City, p: Mapping[str, Value]) -> F64:
    """Empty weight in kg by truck row, from the city's files or the rules."""
    return city.roster("truck").attribute("tareWeight", float(p["tare_kg"]))


def laden(city: City, frame: Frame, p: Mapping[str, Value]) -> Mask:
    """Where the known gross weight is well over the empty truck's."""
    tare = tare_of(city, p)[frame.rows]
    with np.errstate(invalid="ignore"):
        heavy: Mask = frame.known["grossWeight"] > np.maximum(p["laden_share"] * tare, tare + p["laden_kg"])
    return heavy


class Windows:
    """Permit windows as arrays by truck row: hours of the local day and days of validity; empty slots never match."""

    def __init__(self, city: City) -> None:
        rows, most = city.rows("truck"), max((len(v) for v in city.permits.values()), default=1)
        self.start = np.full((rows, most), np.nan)
        self.end = np.full((rows, most), np.nan)
        self.first = np.full((rows, most), np.iinfo(np.int64).max, np.int64)
        self.last = np.full((rows, most), np.iinfo(np.int64).min, np.int64)
        for row, permits in city.permits.items():
            for i, permit in enumerate(permits):
                self.start[row, i], self.end[row, i] = permit.start_hour, permit.end_hour
                self.first[row, i], self.last[row, i] = day_number(permit.valid_from), day_number(permit.valid_to)

    def standing(self, rows: I32, hour: F64, day: I64, grace_h: float) -> tuple[Mask, Mask]:
        """Whether a permit covers the day, and whether one covers day and hour (with grace at both ends).

        A window over midnight belongs to the day on which it starts.
        """
        h, d = hour[:, None], day[:, None]
        start, end, first, last = (a[rows] for a in (self.start, self.end, self.first, self.last))
        over = start > end
        with np.errstate(invalid="ignore"):
            after, before = h >= start - grace_h, h < end + grace_h
        evening = (d >= first) & (d <= last)
        morning = (d - 1 >= first) & (d - 1 <= last)
        open_ = np.where(over, (after & evening) | (before & morning), after & before & evening)
        today = evening | (over & morning & before)
        return np.any(today, axis=1), np.any(open_, axis=1)

    def hours(self, row: int) -> str:
        """The hours of the truck's permits, for people."""
        pairs = [(a, b) for a, b in zip(self.start[row], self.end[row], strict=True) if a == a]
        return ", ".join(f"{clock(a)}-{clock(b)}" for a, b in pairs)


class _LadenTrip(Rule):
    """What both rules share: moving and laden, judged against the truck's permits."""

    kind = "truck"
    trigger = ("speed", "grossWeight", "latitude")
    quantity = "grossWeight"

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self._windows: tuple[object, Windows] = (None, Windows(city))

    @property
    def windows(self) -> Windows:
        """The permits as they are now (a city that got new rows has new ones)."""
        permits = self.city.permits
        if self._windows[0] is not permits:
            self._windows = (permits, Windows(self.city))
        return self._windows[1]

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        with np.errstate(invalid="ignore"):
            moving = frame.known["speed"] > p["moving_kmh"]
        heavy = laden(self.city, frame, p)
        on = moving & heavy
        off = ~heavy & ~np.isnan(frame.known["grossWeight"])
        if on.any():
            where = np.flatnonzero(on)
            t = frame.t[where]
            day_ok, hour_ok = self.windows.standing(
                frame.rows[where], self.city.local_hour(t), self.city.local_day(t), float(p["grace_h"])
            )
            guilty = self.guilty(day_ok, hour_ok)
            off[where[hour_ok]] = True
            on[where[~guilty]] = False
        return on, off

    def guilty(self, day_ok: Mask, hour_ok: Mask) -> Mask:
        """Which of the laden trips are a violation of this rule."""
        raise NotImplementedError

    def load_of(self, frame: Frame, i: int, p: Mapping[str, Value]) -> float:
        """Tonnes over the empty weight."""
        return float(frame.known["grossWeight"][i] - tare_of(self.city, p)[frame.rows[i]]) / 1000.0


class OutsideHours(_LadenTrip):
    """Laden and moving on a day of the permit, outside its hours."""

    type = "outside_hours"

    def guilty(self, day_ok: Mask, hour_ok: Mask) -> Mask:
        return day_ok & ~hour_ok

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        hour = clock(float(self.city.local_hour(frame.t[i : i + 1])[0]))
        tonnes, allowed = number(self.load_of(frame, i, p)), self.windows.hours(int(frame.rows[i]))
        return self.finding(
            frame,
            i,
            f"moving at {hour} with {tonnes} t of load; its permit allows {allowed}",
            f"载重{tonnes}吨于{hour}行驶,处置证核准时段为{allowed}",
            observed=float(frame.known["grossWeight"][i]),
            evidence={"hour": hour, "permit_hours": allowed, "speed_kmh": float(frame.known["speed"][i])},
        )


class NoPermit(_LadenTrip):
    """Laden and moving on a day for which the truck has no permit."""

    type = "no_permit"

    def guilty(self, day_ok: Mask, hour_ok: Mask) -> Mask:
        return ~day_ok & ~hour_ok

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        tonnes = number(self.load_of(frame, i, p))
        return self.finding(
            frame,
            i,
            f"moving with {tonnes} t of load and no permit for today",
            f"载重{tonnes}吨行驶,当日无有效处置证",
            observed=float(frame.known["grossWeight"][i]),
            evidence={"speed_kmh": float(frame.known["speed"][i])},
        )
