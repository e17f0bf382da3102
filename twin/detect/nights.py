"""Rules that judge a pole night by night (noon to noon): out of band several nights in a row, or in band again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from twin.city import City, grown
from twin.detect.base import Spending
from twin.detect.budget import Budget
from twin.detect.latch import Mask
from twin.detect.rules import Params, Rules
from twin.records import I32, I64, Finding

TYPE, KIND = "lamp_degraded", "pole"
HALF_DAY_MS = 43_200_000
_COMMON: dict[str, tuple[Any, float]] = {
    "night": (np.int64, -1),  # local day on whose noon the open night began
    "bad": (np.int32, 0),  # nights out of band, in a row
    "active": (np.bool_, 0),
}


class Nights(Spending):
    """What such rules share: the arrays by row (`fields` of its own beside the common ones), and when it is said."""

    type: ClassVar[str] = TYPE
    kind: ClassVar[str] = KIND
    types = (TYPE,)
    name: ClassVar[str]
    quantity: ClassVar[str]
    fields: ClassVar[dict[str, tuple[Any, float]]]

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.budget = Budget()
        self.known = {**_COMMON, **self.fields}
        self.a: dict[str, NDArray[Any]] = {
            n: np.full(city.rows(KIND), fill, dtype) for n, (dtype, fill) in self.known.items()
        }

    def grow(self) -> None:
        """Make room for the city's poles."""
        for name, (_, fill) in self.known.items():
            self.a[name] = grown(self.a[name], self.city.rows(KIND), fill)

    def night(self, t_ms: I64) -> I64:
        """The night in which these times lie: the local day on whose noon it began."""
        return self.city.local_day(t_ms - HALF_DAY_MS)

    def turned(self, rows: I32, judged: Mask, out: Mask, p: Params) -> NDArray[np.intp]:
        """Count a night that is over (rows: each once); the places in `rows` where the finding is said or unsaid."""
        a = self.a
        a["bad"][rows] = np.where(out, a["bad"][rows] + 1, np.where(judged, 0, a["bad"][rows]))
        wanted = np.asarray(p.get("enabled", True)) > 0
        raised = ~a["active"][rows] & (a["bad"][rows] >= p["nights"]) & wanted
        cleared = a["active"][rows] & judged & ~out
        a["active"][rows] = (a["active"][rows] | raised) & ~cleared
        turned: NDArray[np.intp] = np.flatnonzero(raised | cleared)
        return turned

    def finding(self, row: int, t_ms: int, past: bool, en: str, zh: str, **more: Any) -> Finding:
        """The finding of a pole as its state says; the sentences follow the pole's name."""
        device, active = self.city.registry.device(KIND, row), bool(self.a["active"][row])
        return Finding(
            type=TYPE,
            subject=device,
            active=active,
            at_ms=t_ms,
            since_ms=t_ms - int(self.a["bad"][row]) * 2 * HALF_DAY_MS if active else t_ms,
            severity=int(self.rules.at(TYPE, self.city, device, t_ms)["severity"]),
            quantity=self.quantity,
            past=past,
            detector=self.name,
            en=f"{device}: {en}",
            zh=f"{device}：{zh}",
            **more,
        )

    def forget(self, kind: str, row: int) -> None:
        """Other hardware: its nights begin anew."""
        if kind == KIND and row < len(self.a["night"]):
            for name, (_, fill) in self.known.items():
                self.a[name][row] = fill

    def dump(self) -> dict[str, Any]:
        return {**{name: x.copy() for name, x in self.a.items()}, "budget": self.budget.dump()}

    def load(self, told: Mapping[str, Any]) -> None:
        self.budget.load(told["budget"])
        self.a = {name: told[name].copy() for name in self.known}
