"""Off route: a laden truck leaves the corridors that its permits allow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from twin.city import City
from twin.detect.base import Rule
from twin.detect.ground import Lines
from twin.detect.latch import Mask
from twin.detect.permit import laden
from twin.detect.rules import Rules, Value
from twin.detect.words import number
from twin.records import F64, I32, Finding, Frame


class Corridors:
    """The corridors of every truck: lines by truck row, -1 where it has fewer, and how wide each is."""

    def __init__(self, city: City) -> None:
        names = sorted(city.files.routes)
        self.lines = Lines([city.files.routes[name] for name in names])
        index = {name: i for i, name in enumerate(names)}
        most = max((len(permits) for permits in city.permits.values()), default=1)
        self.line = np.full((city.rows("truck"), most), -1, np.intp)
        self.width = np.full((city.rows("truck"), most), np.nan)
        for row, permits in city.permits.items():
            for i, permit in enumerate(permits):
                self.line[row, i] = index.get(permit.route, -1)
                self.width[row, i] = permit.corridor_m

    def outside(self, rows: I32, lon: F64, lat: F64) -> F64:
        """Metres outside the nearest of the truck's corridors (0 inside); NaN for a truck without any."""
        out = np.full(len(rows), np.inf)
        for i in range(self.line.shape[1]):
            line: NDArray[np.intp] = self.line[rows, i]
            at = np.flatnonzero(line >= 0)
            if len(at):
                far = self.lines.distance(line[at], lon[at], lat[at]) - self.width[rows[at], i]
                out[at] = np.minimum(out[at], np.maximum(far, 0.0))
        return np.where(np.isinf(out), np.nan, out)


class OffRoute(Rule):
    """Laden, moving, and outside every permitted corridor; gone once it is inside one again."""

    type = "off_route"
    kind = "truck"
    trigger = ("latitude",)
    quantity = "latitude"

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self._made: tuple[object, Corridors] = (city.permits, Corridors(city))

    @property
    def corridors(self) -> Corridors:
        """The corridors as they are now."""
        if self._made[0] is not self.city.permits:
            self._made = (self.city.permits, Corridors(self.city))
        return self._made[1]

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        heavy = laden(self.city, frame, p)
        lon, lat = frame.known["longitude"], frame.known["latitude"]
        fix = ~(frame.known["fixQuality"] < p["least_fix"]) & ~np.isnan(lon) & ~np.isnan(lat)
        on, off = np.zeros(len(frame), bool), ~heavy & ~np.isnan(frame.known["grossWeight"])
        at = np.flatnonzero(heavy & fix & (frame.known["speed"] > p["moving_kmh"]))
        if len(at):
            outside = self.corridors.outside(frame.rows[at], lon[at], lat[at])
            on[at] = outside > p["margin_m"]
            off[at] = outside == 0
        return on, off

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        del p
        lon, lat = frame.known["longitude"][i : i + 1], frame.known["latitude"][i : i + 1]
        outside = float(self.corridors.outside(frame.rows[i : i + 1], lon, lat)[0])
        return self.finding(
            frame,
            i,
            f"laden and {number(outside)} m outside its permitted corridor",
            f"重载偏离核准路线{number(outside)}米",
            quantity="",
            observed=outside,
            evidence={"lon": float(lon[0]), "lat": float(lat[0]), "outside_m": round(outside)},
        )
