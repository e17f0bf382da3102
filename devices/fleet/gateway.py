"""How an edge gateway behaves: its own health, and the readings that wait in it."""

from __future__ import annotations

from collections.abc import Callable

from devices.fleet.chance import drift, normals
from devices.fleet.life import Life
from devices.fleet.thing import Thing, Values
from devices.places import Device


class Gateway(Thing):
    """`waiting` is asked for the number of readings that wait; whoever runs the fleet knows."""

    __slots__ = ("waiting",)

    def __init__(self, device: Device, seed: int) -> None:
        super().__init__(device, seed)
        self.waiting: Callable[[], int] = int

    def say(self, t_ms: int, life: Life) -> Values:
        n1, n2, n3, *_ = normals(self.salt, t_ms, 3)
        slow = drift(self.salt, t_ms / 1000, 1200)
        load = 18 + 5 * slow + 2 * n1
        return {
            "backhaulUp": 0.0 if "gateway_loss" in self.troubles else 1.0,
            "cpuLoad": load,
            "memoryUsed": 41 + 3 * slow + 0.4 * n2,
            "temperature": 24 + 0.6 * life.at(t_ms).temperature + 0.3 * load + 0.4 * n3,
            "spooled": float(self.waiting()),
        }
