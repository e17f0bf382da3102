"""What every simulated device has: an address, a cadence with jitter, a clock, and its present troubles."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

from devices.errors import PayloadError
from devices.faults.fault import Fault
from devices.faults.sensor import distort
from devices.fleet.chance import bits, normals, text_salt
from devices.fleet.life import Life
from devices.kinds import KINDS
from devices.places import Device
from devices.sender import Address

Values = dict[str, float]

SILENT = ("device_silent", "supply_lost", "feeder_trip", "cabinet_trip")
SENSOR = ("sensor_stuck", "sensor_spike", "sensor_drift", "sensor_noise", "sensor_bias")


# Of a kind and the names in a reading: its text with gaps for the values, and their limits. There are a few dozen.
Form = tuple[str, tuple[float, ...], tuple[float, ...]]
FORMS: dict[tuple[str, tuple[str, ...]], Form] = {}


def _form(limits: Mapping[str, tuple[float, float, int]], names: tuple[str, ...]) -> Form:
    low, high, decimals = zip(*(limits[name] for name in names), strict=True) if names else ((), (), ())
    text = ",".join(f'"{name}":{{:z.{places}f}}' for name, places in zip(names, decimals, strict=True))
    return text, low, high


class Thing(ABC):
    """One device. `due_ms` is when it speaks next; `offset_ms` by how much its clock is wrong."""

    loud: frozenset[str] = frozenset()  # faults whose beginning and end are events

    __slots__ = ("address", "cadence_ms", "device", "due_ms", "frozen", "lat", "limits", "lon", "offset_ms", "phase_ms",
                 "salt", "troubles")  # fmt: skip

    def __init__(self, device: Device, seed: int) -> None:
        kind = KINDS[device.kind]
        self.device = device
        self.address = Address(device.district, device.kind, device.id)
        self.lon, self.lat = device.lon, device.lat
        self.salt = text_salt(device.id, seed)
        self.cadence_ms = round((device.cadence_s or kind.cadence_s) * 1000)
        self.phase_ms = self.salt % self.cadence_ms
        self.due_ms = 0
        self.offset_ms = round(300 * normals(self.salt, 1)[0])  # clocks are kept within a second
        self.troubles: dict[str, Fault] = {}
        self.frozen: Values = {}
        self.limits = {q.name: (q.low, q.high, q.decimals) for q in kind.quantities}

    def says(self, quantity: str) -> bool:
        """Whether it measures that."""
        return quantity in self.limits

    @property
    def id(self) -> str:
        return self.device.id

    def start(self, t_ms: int) -> None:
        """Find the first time to speak at or after `t_ms`; devices that carry state catch up here."""
        self.due_ms = self.next_ms(t_ms - 1)

    def next_ms(self, t_ms: int) -> int:
        """The next time to speak: the cadence on the device's own phase, with a jitter of a hundredth."""
        n = (t_ms - self.phase_ms) // self.cadence_ms + 1
        return max(t_ms + 1, n * self.cadence_ms + self.phase_ms + bits(self.salt, n) % (self.cadence_ms // 100 + 1))

    def live(self, t_ms: int, life: Life) -> Values | None:  # noqa: ARG002 - for those that move
        """Live on until `t_ms`; what it says of it at once, as an event."""
        return None

    @abstractmethod
    def say(self, t_ms: int, life: Life) -> Values:
        """What it would say now; unrounded, before sensor faults."""

    def notice(self, t_ms: int, life: Life, fault: Fault) -> Values | None:
        """What it says at once, as an event, when a fault has begun or ended; None: nothing until its next turn."""
        return self.reading(t_ms, life) if fault.type in self.loud else None

    def speaks(self) -> bool:
        """Whether anything is heard of it at all."""
        return not any(name in self.troubles for name in SILENT) if self.troubles else True

    def reading(self, t_ms: int, life: Life) -> Values:
        """What leaves the device: with its troubles, within physical limits, rounded as it is sent."""
        return self.trim(self.measure(t_ms, life))

    def measure(self, t_ms: int, life: Life) -> Values:
        """What it would say with its troubles; not yet cut and rounded."""
        values = self.say(t_ms, life)
        if self.troubles:
            self._spoil(t_ms, values)
        return values

    def trim(self, values: Mapping[str, float]) -> Values:
        """Cut to what the sensors can say at all, and round as they do."""
        limits = self.limits
        done = {}
        for name, value in values.items():
            low, high, decimals = limits[name]
            inside = low if value < low else high if value > high else value  # noqa: FURB136 - twice as fast as min()
            done[name] = round(inside, decimals) if decimals else round(inside)
        return done

    def write(self, values: Mapping[str, float]) -> bytes:
        """The text of what leaves the device: the numbers of `trim`, no zero of them negative."""
        names = tuple(values)
        form = FORMS.get((self.device.kind, names))
        if form is None:
            form = FORMS[self.device.kind, names] = _form(self.limits, names)
        text, low, high = form
        inside = [
            value if least <= value <= most else self._cut(value, least, most)
            for value, least, most in zip(values.values(), low, high, strict=True)
        ]
        return text.format(*inside).encode()

    def _cut(self, value: float, least: float, most: float) -> float:
        if math.isnan(value):
            raise PayloadError("range", f"{self.id} says a value that is no number")
        return least if value < least else most

    def _spoil(self, t_ms: int, values: Values) -> None:
        for name in SENSOR:
            fault = self.troubles.get(name)
            if fault is not None and fault.quantity in values:
                true = values[fault.quantity]
                if name == "sensor_stuck":
                    self.frozen.setdefault(fault.quantity, true)
                values[fault.quantity] = distort(fault, self.salt, t_ms, true, self.frozen.get(fault.quantity))

    def begin(self, fault: Fault) -> None:
        """The fault befalls this device."""
        self.troubles[fault.type] = fault
        if fault.type == "clock_skew":
            self.offset_ms += round(60_000 * fault.magnitude)

    def end(self, fault: Fault) -> None:
        """The fault is over."""
        if self.troubles.get(fault.type) is fault:
            del self.troubles[fault.type]
            self.frozen.pop(fault.quantity, None)
            if fault.type == "clock_skew":
                self.offset_ms -= round(60_000 * fault.magnitude)
