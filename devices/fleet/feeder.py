"""How a street-light feeder's meter behaves: the sum of its lamps, losses, and the line's voltage."""

from __future__ import annotations

from devices.fleet.chance import normals
from devices.fleet.life import Life
from devices.fleet.thing import Thing, Values
from devices.places import Device


class Feeder(Thing):
    """The lamps report to it; a battery lets it speak on when the line has tripped."""

    loud = frozenset(("feeder_trip",))

    __slots__ = ("energy", "metered_ms", "rated", "watts")

    def __init__(self, device: Device, seed: int) -> None:
        super().__init__(device, seed)
        self.watts = 0.0
        self.rated = 0.0
        self.energy = 100_000.0 * (self.salt % 90 + 10)
        self.metered_ms = 0

    def join(self, rated_w: float) -> None:
        """A lamp hangs on this line."""
        self.rated += rated_w

    def change(self, before_w: float, after_w: float) -> None:
        """A lamp's power has changed."""
        self.watts += after_w - before_w

    @property
    def load(self) -> float:
        """Share of the rated power, 0..1."""
        return self.watts / self.rated if self.rated else 0.0

    def speaks(self) -> bool:
        return "device_silent" not in self.troubles

    def say(self, t_ms: int, life: Life) -> Values:
        n1, n2, *_ = normals(self.salt, t_ms, 3)
        tripped = "feeder_trip" in self.troubles
        on = life.at(t_ms).sun_deg <= -2.0
        power = 0.0 if tripped else max(0.0, self.watts * 1.03 + 4 + 0.002 * self.watts * n1)
        if self.metered_ms:
            self.energy += power * max(0, t_ms - self.metered_ms) / 3_600_000
        self.metered_ms = t_ms
        voltage = 0.0 if tripped else 232.5 - 3 * self.load - 2 * life.at(t_ms).home + 0.4 * n2
        return {
            "powerState": float(on), "powerConsumption": power, "voltage": voltage,
            "current": power / (0.95 * voltage) if voltage else 0.0, "energy": self.energy,
        }  # fmt: skip
