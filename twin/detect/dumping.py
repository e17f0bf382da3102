"""Loads that change where they may not: illegal dumping (偷倒), and loading outside every permitted site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from twin.city import City, carried, grown, runs
from twin.detect.base import Rule
from twin.detect.ground import Sites
from twin.detect.latch import Mask
from twin.detect.rules import Params, Rules, Value, here
from twin.detect.words import number
from twin.records import F64, Finding, Frame


class _LoadChange(Rule):
    """The gross weight now against the weight when the truck last drove, or last stood where its load may change."""

    kind = "truck"
    trigger = ("grossWeight", "hopperRaised", "speed")
    quantity = "grossWeight"
    places = "disposal"
    once = True

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self.driven_kg: F64 = np.full(city.rows("truck"), np.nan)
        self.reference: F64 = np.empty(0)  # by reading of the frame, the weight that it is held against
        self._made: tuple[object, Sites] = (None, Sites(()))

    @property
    def sites(self) -> Sites:
        """The places where it may, as they are now."""
        nodes = self.city.files.nodes
        if self._made[0] is not nodes:
            self._made = (nodes, Sites([node for node in nodes if node.cls == self.places]))
        return self._made[1]

    def judge(self, frame: Frame, p: Params) -> tuple[Mask, Mask]:
        speed, weight = frame.known["speed"], frame.known["grossWeight"]
        driving = (speed > p["driving_kmh"]) & ~np.isnan(weight)
        self.driven_kg = grown(self.driven_kg, int(frame.rows[-1]) + 1, np.nan)
        first, count = runs(frame.rows)
        reference = carried(first, count, weight, driving, self.driven_kg[frame.rows[first]])
        self.reference = reference
        self.driven_kg[frame.rows] = reference  # sorted by time: the newest of a device comes last
        on = self.changed(frame, weight - reference, p) & (speed < p["standing_kmh"])
        if on.any():
            at = np.flatnonzero(on)
            lon, lat = frame.known["longitude"][at], frame.known["latitude"][at]
            away, _ = self.sites.distance(lon, lat)
            margin = here(p, "margin_m", at)
            on[at] = (away > margin) & ~np.isnan(lon)
            allowed = at[away <= margin]  # what changes where it may is the weight to compare with from then on
            self.driven_kg[frame.rows[allowed]] = weight[allowed]
        return on, driving

    def changed(self, frame: Frame, change: F64, p: Params) -> Mask:
        """Where the load changed by so much that it means something."""
        raise NotImplementedError

    def change_t(self, frame: Frame, i: int) -> float:
        """Tonnes gained (or lost) since the truck last drove."""
        return float(frame.known["grossWeight"][i] - self.reference[i]) / 1000.0

    def place(self, frame: Frame, i: int) -> dict[str, Any]:
        """Where it stands, and how far from the nearest place where it might."""
        lon, lat = frame.known["longitude"][i : i + 1], frame.known["latitude"][i : i + 1]
        away, nearest = self.sites.distance(lon, lat)
        told: dict[str, Any] = {"lon": float(lon[0]), "lat": float(lat[0])}
        if np.isfinite(away[0]):
            told |= {"nearest": self.sites.ids[int(nearest[0])], "away_m": round(float(away[0]))}
        return told

    def forget(self, kind: str, row: int) -> None:
        super().forget(kind, row)
        if kind == self.kind:
            self.driven_kg[row : row + 1] = np.nan

    def dump(self) -> dict[str, Any]:
        return {**super().dump(), "driven_kg": self.driven_kg.copy()}

    def load(self, told: Mapping[str, Any]) -> None:
        super().load(told)
        self.driven_kg = told["driven_kg"].copy()


class Dumping(_LoadChange):
    """Standing, hopper raised, and the weight fell, outside every disposal site."""

    type = "illegal_dumping"
    prompt = True

    def changed(self, frame: Frame, change: F64, p: Params) -> Mask:
        fell: Mask = (change < -p["change_kg"]) & (frame.known["hopperRaised"] == 1)
        return fell

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        del p
        tonnes, place = number(-self.change_t(frame, i)), self.place(frame, i)
        away = f", {place['away_m']} m from the nearest disposal site" if "away_m" in place else ""
        away_zh = f",距最近消纳场{place['away_m']}米" if "away_m" in place else ""
        en, zh = f"tipped {tonnes} t with its hopper raised{away}", f"举升倾倒{tonnes}吨{away_zh},疑似偷倒"
        return self.finding(frame, i, en, zh, evidence=place)


class Loading(_LoadChange):
    """Standing, and the weight rose, outside every construction site."""

    type = "unpermitted_loading"
    places = "site"

    def changed(self, frame: Frame, change: F64, p: Params) -> Mask:
        del frame
        rose: Mask = change > p["change_kg"]
        return rose

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        del p
        tonnes, place = number(self.change_t(frame, i)), self.place(frame, i)
        away = f", {place['away_m']} m from the nearest site" if "away_m" in place else ""
        away_zh = f",距最近工地{place['away_m']}米" if "away_m" in place else ""
        return self.finding(
            frame, i, f"took on {tonnes} t{away}", f"在核准工地外装载{tonnes}吨{away_zh}", evidence=place
        )
