"""Phantom trips: a truck left a site laden and arrived nowhere in time, or a site's loads do not all arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, grown, ranks
from twin.detect.base import Moment, Rule
from twin.detect.ground import Sites, metres_between
from twin.detect.latch import Mask
from twin.detect.permit import laden, tare_of
from twin.detect.rules import Params, Rules, Value, here
from twin.detect.words import number, span
from twin.records import F64, Finding, Frame

LEFT_M = 100.0  # a laden truck so near to its site has not left it yet
_FIELDS: dict[str, float] = {
    "stands": -1.0,  # index of the site that it is in, -1: none
    "from": -1.0,  # index of the site that it left laden, -1: no trip is open
    "left": np.nan,  # when, ms
    "due": np.nan,  # by when it should have arrived, ms
    "kg": np.nan,  # its gross weight then
    "heard": np.nan,  # event time of its last fix, ms
    "tips": -1.0,  # index of the site whose load it is delivering just now: it stands in a disposal site
}


class PhantomTrip(Rule):
    """A trip begins where a laden truck leaves a site; it ends in a disposal site, at a site, or when the load is gone.

    It is expected within its permit's route at `slow_kmh`, and `grace_s` more. A trip that was not heard of for
    `unheard_s` is nobody's proof: it may have ended meanwhile (a truck that falls silent is another rule's). Over a
    local day, the loads that left a site and arrived must weigh what they weighed when they left: else the site's
    balance does not close.
    """

    type = "phantom_trip"
    kind = "truck"
    trigger = ("latitude", "grossWeight")
    quantity = "grossWeight"
    once = True

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        nodes = city.files.nodes
        self.sites = Sites([node for node in nodes if node.cls == "site"])
        self.tips = Sites([node for node in nodes if node.cls == "disposal"])
        self.a = {name: np.full(city.rows(self.kind), fill) for name, fill in _FIELDS.items()}
        self.shown: dict[str, F64] = {}  # by reading of the frame, the trip that was open then
        self.balance: dict[tuple[str, int], list[float]] = {}  # (site, local day) -> kg left, kg arrived, trips
        self.unbalanced: set[str] = set()
        self._routes: tuple[object, dict[int, dict[str, float]]] = (None, {})

    # ---- trips -------------------------------------------------------------------------------------------------

    def judge(self, frame: Frame, p: Params) -> tuple[Mask, Mask]:
        for name, fill in _FIELDS.items():
            self.a[name] = grown(self.a[name], self.city.rows(self.kind), fill)
        known = frame.known
        heavy, weight = laden(self.city, frame, p), known["grossWeight"]
        fix = ~(known["fixQuality"] < p["least_fix"]) & ~np.isnan(known["longitude"]) & ~np.isnan(weight)
        at = np.flatnonzero(fix & ~np.isnan(known["latitude"]))
        on, off = np.zeros(len(frame), bool), np.zeros(len(frame), bool)
        self.shown = {name: np.full(len(frame), np.nan) for name in ("from", "left", "due", "kg")}
        if not len(at) or not len(self.sites.ids):
            return on, off
        rank = ranks(frame.rows[at])
        for depth in range(int(rank.max()) + 1):
            one = at[rank == depth]
            self._step(frame, one, heavy[one], p)
            trip = self.a["from"][frame.rows[one]] >= 0
            for name, column in self.shown.items():
                column[one] = self.a[name][frame.rows[one]]
            on[one] = trip & (frame.t[one] > self.a["due"][frame.rows[one]])
            off[one] = ~trip
        return on, off

    def _step(self, frame: Frame, at: NDArray[np.intp], heavy: Mask, p: Params) -> None:
        """One reading a truck: where it is, and what that makes of its trip."""
        a, r, t = self.a, frame.rows[at], frame.t[at].astype(np.float64)
        lon, lat, weight = (frame.known[q][at] for q in ("longitude", "latitude", "grossWeight"))
        margin = here(p, "margin_m", at)
        reach = float(np.max(margin)) + LEFT_M
        site_away, site = self.sites.within(lon, lat, reach)
        tip_away, _ = self.tips.within(lon, lat, reach)
        in_site, in_tip = site_away <= margin, tip_away <= margin
        for i in np.flatnonzero(~in_tip & (a["tips"][r] >= 0)):  # it has tipped: what was left there arrived
            self._book(int(a["tips"][r[i]]), int(a["left"][r[i]]), arrived=float(a["kg"][r[i]] - weight[i]))
            a["tips"][r[i]] = -1.0
        said = self.latch.arrays["active"][r]  # its loss was told, and is out of the balance
        unheard = (a["from"][r] >= 0) & ~said & (t - a["heard"][r] > 1000.0 * here(p, "unheard_s", at))
        for i in np.flatnonzero(unheard):
            self._unbook(int(a["from"][r[i]]), int(a["left"][r[i]]), self._load(r[i], p, at[i]))
        a["from"][r] = np.where(unheard, -1.0, a["from"][r])
        a["stands"][r] = np.where(unheard, -1.0, a["stands"][r])
        a["heard"][r] = t
        open_ = a["from"][r] >= 0
        arrives = open_ & in_tip
        a["tips"][r] = np.where(arrives & ~said, a["from"][r], a["tips"][r])
        lost = open_ & ~in_tip & (in_site | ~heavy)  # tipped elsewhere, or back at a site with it
        for i in np.flatnonzero(lost & ~said):
            self._unbook(int(a["from"][r[i]]), int(a["left"][r[i]]), self._load(r[i], p, at[i]))
        a["from"][r] = np.where(arrives | lost, -1.0, a["from"][r])
        leaves = (a["stands"][r] >= 0) & ~in_site & ~in_tip & heavy & (a["from"][r] < 0)
        for i in np.flatnonzero(leaves):
            origin = int(a["stands"][r[i]])
            a["from"][r[i]], a["left"][r[i]], a["kg"][r[i]] = origin, t[i], weight[i]
            a["due"][r[i]] = t[i] + 1000.0 * self._expected_s(int(r[i]), origin, p, int(at[i]))
            self._book(origin, int(t[i]), left=self._load(r[i], p, at[i]))
        a["stands"][r] = np.where(in_site, site, np.where(heavy & (site_away < margin + LEFT_M), a["stands"][r], -1.0))

    def _load(self, row: int, p: Params, at: int, gross: float | None = None) -> float:
        """What it carried when it left, kg."""
        tare = self.city.roster("truck").attribute("tareWeight", np.nan)[row]
        whole = float(self.a["kg"][row]) if gross is None else gross
        return float(whole - (tare if tare == tare else here(p, "tare_kg", at)))

    def _expected_s(self, row: int, site: int, p: Params, at: int) -> float:
        """How long the trip may take, seconds: by the permit that names this site, else by the truck's longest."""
        if self._routes[0] is not self.city.permits:
            self._routes = (self.city.permits, {})
        known = self._routes[1].get(row)
        if known is None:
            known = self._routes[1][row] = {
                permit.site: _length_m(self.city.files.routes.get(permit.route, ()))
                for permit in self.city.permits.get(row, ())
            }
        metres = known.get(self.sites.ids[site], max(known.values(), default=float(here(p, "route_m", at))))
        return metres / 1000.0 / float(here(p, "slow_kmh", at)) * 3600.0 + float(here(p, "grace_s", at))

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        row = int(frame.rows[i])
        shown = {name: float(column[i]) for name, column in self.shown.items()}
        site, left, due_ms = self.sites.ids[int(shown["from"])], int(shown["left"]), int(shown["due"])
        load = float(frame.known["grossWeight"][i] - tare_of(self.city, p)[row]) / 1000.0
        ago, ago_zh = span(float(frame.t[i]) - left)
        due, due_zh = span(float(due_ms - left))
        self._unbook(int(shown["from"]), left, self._load(row, p, i, shown["kg"]))
        return self.finding(
            frame,
            i,
            f"left {site} with {number(load)} t {ago} ago and has arrived at no disposal site; due within {due}",
            f"{ago_zh}前载{number(load)}吨驶离{site},未到达任何消纳场(应在{due_zh}内到达)",
            since_ms=left,
            expected=float(tare_of(self.city, p)[row]),
            evidence={"site": site, "left_ms": left, "due_ms": due_ms, "load_t": round(load, 1),
                      "lon": float(frame.known["longitude"][i]), "lat": float(frame.known["latitude"][i])},
        )  # fmt: skip

    # ---- the balance of a site ---------------------------------------------------------------------------------

    def _book(self, site: int, t: int, left: float = 0.0, arrived: float = 0.0) -> None:
        """A load left at `t`, or one that did has arrived; both count on the day on which it left."""
        key = self.sites.ids[site], int(self.city.local_day(np.array([t], np.int64))[0])
        if not left and key not in self.balance:
            return  # that day was judged
        entry = self.balance.setdefault(key, [0.0, 0.0, 0.0])
        entry[0] += left
        entry[1] += max(arrived, 0.0)
        entry[2] += left > 0

    def _unbook(self, site: int, t: int, load: float) -> None:
        """A load whose loss is known already is no matter of the balance."""
        day = int(self.city.local_day(np.array([t], np.int64))[0])
        entry = self.balance.get((self.sites.ids[site], day))
        if entry is not None:
            entry[0] -= load
            entry[2] -= 1

    def sweep(self, moment: Moment) -> list[Finding]:
        if not self.balance:
            return []
        p = self.rules[self.type]
        today = int(self.city.local_day(np.array([moment.now_ms - int(3_600_000 * p["balance_h"])], np.int64))[0])
        done = sorted(key for key in self.balance if key[1] < today)
        told = [self._balanced(site, self.balance.pop((site, day)), moment) for site, day in done]
        return [one for one in told if one is not None]

    def _balanced(self, site: str, entry: list[float], moment: Moment) -> Finding | None:
        left, arrived, trips = entry
        p = self.rules.at(self.type, self.city, site, moment.now_ms)
        missing = left - arrived
        bad = trips >= p["balance_trips"] and missing > max(p["balance_share"] * left, p["balance_kg"])
        bad = bad and bool(p.get("enabled", True))
        if bad == (site in self.unbalanced):
            return None
        (self.unbalanced.add if bad else self.unbalanced.discard)(site)
        en = f"{number(left / 1000)} t left it in {trips:.0f} trips yesterday and {number(arrived / 1000)} t arrived"
        zh = f"昨日{trips:.0f}车共运出{number(left / 1000)}吨,到达消纳场{number(arrived / 1000)}吨,重量不平衡"
        if not bad:
            en, zh = "its loads arrive again", "运出与到达重量已平衡"
        return Finding(
            type=self.type, subject=site, active=bad, at_ms=moment.now_ms, since_ms=moment.now_ms,
            severity=int(p.get("severity", 2)), quantity="grossWeight", observed=arrived, expected=left,
            low=(1.0 - float(p["balance_share"])) * left, high=left, detector=self.type,
            en=f"{site}: {en}", zh=f"{site}：{zh}",
            evidence={"left_kg": round(left), "arrived_kg": round(arrived), "trips": int(trips)},
        )  # fmt: skip

    def forget(self, kind: str, row: int) -> None:
        """Other hardware: its trip is unknown from here on, and no loss of a site's."""
        if kind == self.kind and row < len(self.a["from"]):
            if self.a["from"][row] >= 0 and not self.latch.said(row):  # what was said is no more in the balance
                load = self._load(row, self.rules[self.type], 0)
                self._unbook(int(self.a["from"][row]), int(self.a["left"][row]), load)
            for name, fill in _FIELDS.items():
                self.a[name][row] = fill
        super().forget(kind, row)

    def dump(self) -> dict[str, Any]:
        told: dict[str, Any] = {"trips": {name: x.copy() for name, x in self.a.items()}}
        told["balance"] = [[*key, *entry] for key, entry in self.balance.items()]
        return {**super().dump(), **told, "unbalanced": sorted(self.unbalanced)}

    def load(self, told: Mapping[str, Any]) -> None:
        super().load(told)
        self.a = {name: told["trips"][name].copy() for name in _FIELDS}
        self.balance = {(str(s), int(d)): [float(x) for x in rest] for s, d, *rest in told["balance"]}
        self.unbalanced = {str(site) for site in told["unbalanced"]}


def _length_m(line: Any) -> float:
    points = np.array(line, float).reshape(-1, 2)
    if len(points) < 2:
        return 0.0
    return float(metres_between(points[:-1, 0], points[:-1, 1], points[1:, 0], points[1:, 1]).sum())
