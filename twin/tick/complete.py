"""What every finding carries beside its own evidence: how long, what was expected, and what the neighbours say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from devices.kinds import KINDS
from twin.city import City
from twin.model import KindState
from twin.records import Finding
from twin.tick.view import band

LATELY_MS = 7_500_000  # neighbours heard within this time are asked
LEAST = 3  # fewer have no word


def complete(finding: Finding, city: City, models: dict[str, KindState]) -> Finding:
    """An active finding with `duration_s` and, where its subject is a device with neighbours, `peers` in its evidence:
    how many there are, and median and quartiles of what they said last. Expected value and band of the model are put
    in where the detector gave none."""
    if not finding.active:
        return finding
    evidence: dict[str, Any] = {"duration_s": max(0, round((finding.at_ms - finding.since_ms) / 1000))}
    more: dict[str, float] = {}
    kind = city.kind(finding.subject)
    row = city.registry.lookup(kind, finding.subject) if kind in models else None
    if row is not None and finding.quantity in KINDS[kind].index:
        peers = _peers(finding, city, models[kind], row)
        if peers:
            evidence["peers"] = peers
        if np.isnan(finding.expected):
            expected, low, high = band(models[kind], city, row, finding.quantity, finding.at_ms)
            if np.isfinite(expected):
                more["expected"] = expected
                if np.isnan(finding.low) and np.isnan(finding.high) and np.isfinite(low):
                    more |= {"low": low, "high": high}
    return replace(finding, **more, evidence={**evidence, **finding.evidence})  # type: ignore[arg-type]


def _peers(finding: Finding, city: City, model: KindState, row: int) -> dict[str, float]:
    if model.kind not in ("pole", "cell"):
        return {}
    near = city.pole_neighbours if model.kind == "pole" else city.cell_neighbours
    column = model.last.get(finding.quantity)
    if column is None or row >= len(near):
        return {}
    others = near[row][near[row] >= 0]
    others = others[others < len(column)]
    lately = np.abs(model.arrays["t"][others] - finding.at_ms) < LATELY_MS
    x = column[others][lately]
    x = x[np.isfinite(x)]
    if len(x) < LEAST:
        return {}
    low, middle, high = (float(q) for q in np.percentile(x, (25, 50, 75)))
    return {"count": len(x), "median": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}
