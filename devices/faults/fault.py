"""One fault: what befalls whom, when, and how badly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """City times in ms. `magnitude` 1: about the size at which a city would call it a case. `quantity`: of sensors."""

    type: str
    subject: str  # device, or node (feeder, cabinet, area)
    start_ms: int
    end_ms: int
    magnitude: float = 1.0
    quantity: str = ""
