"""Sick sensors: what a stuck, spiking, drifting, noisy or biased sensor makes of a true value. Pure."""

from __future__ import annotations

from devices.faults.catalogue import WIDTH
from devices.faults.fault import Fault
from devices.fleet.chance import normals, uniform

FULL_DRIFT_S = 864_000.0  # a drift of magnitude 1 reaches two widths in ten days


def distort(fault: Fault, salt: int, t_ms: int, value: float, frozen: float | None) -> float:
    """The value that the sick sensor says. `frozen`: what it said when the fault began (for `sensor_stuck`)."""
    width = WIDTH.get(fault.quantity, max(1.0, abs(value) * 0.1))
    size = fault.magnitude * width
    kind = fault.type
    if kind == "sensor_stuck":
        return value if frozen is None else frozen
    if kind == "sensor_bias":
        return value + 3 * size
    if kind == "sensor_drift":
        return value + 2 * size * min(1.0, (t_ms - fault.start_ms) / 1000 / FULL_DRIFT_S)
    if kind == "sensor_noise":
        return value + 2 * size * normals(salt, t_ms, 51)[0]
    if kind == "sensor_spike" and uniform(salt, t_ms, 52) < 0.15:
        return value + 10 * size * (1 if uniform(salt, t_ms, 53) < 0.8 else -1)
    return value
