"""What devices were told to report, beside what they do report: a lamp that says it is dimmed is not thereby right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twin.city import City
from twin.model.orders import ANSWER_MS, ATTEMPTS, Orders
from twin.records import F64, I32, I64

GRACE_MS = ANSWER_MS * ATTEMPTS  # an order may be under way for so long


class Desires:
    """Desired values by kind, quantity and row, made anew when orders or city are others."""

    def __init__(self) -> None:
        self._made: tuple[int, int] = (-1, -1)  # of which state of the orders, of which version of the city
        self._by_kind: dict[str, dict[str, F64]] = {}  # [3, rows]: value, from and until when in ms

    def of(self, orders: Orders, city: City, kind: str, rows: I32, t: I64) -> Mapping[str, F64]:
        """By quantity, what each reading (row, time in ms) should say, NaN where nothing is desired; empty where
        nothing is desired of the kind."""
        if not orders.desired:
            return {}
        if self._made != (orders.changes, city.version):
            self._make(orders, city)
        told: dict[str, F64] = {}
        for quantity, table in self._by_kind.get(kind, {}).items():
            known = rows < table.shape[1]
            value, since, until = table[:, np.where(known, rows, 0)]
            told[quantity] = np.where(known & (t >= since) & (t < until), value, np.nan)
        return told

    def _make(self, orders: Orders, city: City) -> None:
        self._by_kind = {}
        for device, wishes in orders.desired.items():
            kind = city.kind(device)
            row = city.registry.lookup(kind, device)
            for wish in wishes.values() if row is not None else ():
                tables = self._by_kind.setdefault(kind, {})
                if wish.quantity not in tables:
                    tables[wish.quantity] = np.full((3, city.rows(kind)), np.nan)
                until = wish.until_ms or np.inf
                tables[wish.quantity][:, row] = wish.value, wish.since_ms + GRACE_MS, until
        self._made = (orders.changes, city.version)
