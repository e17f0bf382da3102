"""How a smart pole behaves: lamp by dusk and schedule, meter, mains, air, noise, tilt, door, charging pile.

Noise follows the traffic and, near a construction site, its work; the site's dust goes where the wind blows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from devices.faults.fault import Fault
from devices.fleet.chance import drift, normals, uniform
from devices.fleet.feeder import Feeder
from devices.fleet.life import Life, Moment
from devices.fleet.site import Work
from devices.fleet.thing import Thing, Values
from devices.places import Device

DUSK_DEG = -2.0  # lamps are switched a little after sunset
AIR = {"pm25", "pm10", "no2", "o3", "temperature", "relativeHumidity", "atmosphericPressure", "windSpeed",
       "windDirection", "precipitation"}  # fmt: skip
NEVER = {"so2", "co", "dewPoint"}
DARK = ("supply_lost", "feeder_trip", "cabinet_trip")
EPISODE_RISES_S = 1800.0  # bad air comes over half an hour, not from one breath to the next
NOISE_DB, NOISE_M = 66.0, 20.0  # of a site's machines at that distance; 6 dB less at each doubling
DUST_UG, DUST_M = 14.0, 150.0  # of PM10 that a site's work adds at its rim, straight downwind; 1/e at that distance
DIM_FROM, DIM_TO, DIM_LEVEL = 23.0, 5.0, 0.6  # local hours


class Pole(Thing):
    """A lamp with the sensors that its attributes name (`airSensor`, `noiseSensor`, `charger`)."""

    loud = frozenset(("leakage", "tilt", "tilt_emergency", "charger_fault", "lamp_out", "day_burner"))

    __slots__ = ("age", "charges", "dimmed", "energy", "feeder", "hears", "lean", "metered_ms", "power", "rated",
                 "site", "smells", "waves", "works")  # fmt: skip

    def __init__(self, device: Device, seed: int, feeder: Feeder | None, works: Sequence[Work] = ()) -> None:
        super().__init__(device, seed)
        self.works = tuple(works)  # construction sites nearby
        a, b, c, d, _ = normals(self.salt, 2)
        self.feeder = feeder
        self.rated = device.attributes.get("ratedPower", 60.0 + 15 * (self.salt % 5))
        self.age = 1 - 0.03 * abs(a)
        self.site = math.exp(0.15 * b)
        self.lean = device.attributes.get("installedTilt", 0.03 + 0.02 * abs(c))  # else zeroed when it was put up
        drawn = not device.attributes  # a registry that says nothing of equipment
        self.smells = bool(device.attributes.get("airSensor", drawn and self.salt % 3 == 0))
        self.hears = bool(device.attributes.get("noiseSensor", drawn and self.salt % 2 == 0))
        self.charges = bool(device.attributes.get("charger", drawn and self.salt % 10 == 0))
        x, y = device.lon * 60, device.lat * 110
        self.waves = (math.sin(x + y), math.cos(1.7 * x - y), math.sin(0.6 * x + 1.3 * y))
        self.energy = 1000.0 * (self.salt % 900 + 100) + 10 * abs(d)
        self.power = 0.0
        self.metered_ms = 0
        self.dimmed: tuple[float, int] | None = None  # by order: level, until city time ms

    def says(self, quantity: str) -> bool:
        if quantity in AIR:
            return self.smells
        if quantity in ("LAeq", "chargerState"):
            return self.hears if quantity == "LAeq" else self.charges
        return super().says(quantity) and quantity not in NEVER

    def lamp(self, now: Moment) -> tuple[bool, float]:
        """Whether it is commanded on, and the dimming 0..1."""
        if now.sun_deg > DUSK_DEG:
            return False, 0.0
        late = now.hour >= DIM_FROM or now.hour < DIM_TO
        return True, DIM_LEVEL if late else 1.0

    def say(self, t_ms: int, life: Life) -> Values:
        now = life.at(t_ms)
        n1, n2, n3, n4, n5 = normals(self.salt, t_ms, 3)
        on, dim = self.lamp(now)
        if self.dimmed is not None:
            level, until_ms = self.dimmed
            if t_ms >= until_ms:
                self.dimmed = None
            elif on:
                dim = level
        load = self.feeder.load if self.feeder is not None else 0.5 * on
        voltage = 231.5 - 5 * load - 2.5 * now.home + 0.5 * n1
        power = self._power(on, dim, voltage) * (1 + 0.006 * n2)
        self._meter(t_ms, power)
        lit = power > 0.3 * self.rated
        values = {
            "powerState": float(on), "dimmingLevel": dim, "powerConsumption": power, "voltage": voltage,
            "current": power / (0.95 * voltage), "energy": self.energy,
            "leakageCurrent": 0.0011 + 0.0002 * abs(n3) + 0.0006 * min(1.0, now.rain_mm) + self._leak(now),
            "supplyPresent": 1.0,
            "illuminanceLevel": now.light_lx * (0.75 + 0.1 * self.waves[0]) + 14 * dim * lit + 0.3 * abs(n4),
            "tilt": self.lean + 0.02 * abs(n5) * now.wind / 3 + self._tilt(),
            "doorOpen": float("door_open" in self.troubles),
        }  # fmt: skip
        if self.smells:
            self._air(t_ms, now, values)
        if self.hears:
            values["LAeq"] = self._noise(t_ms, now)
        if self.charges:
            values["chargerState"] = self._charger(t_ms, now)
        return values

    def _power(self, on: bool, dim: float, voltage: float) -> float:
        troubles = self.troubles
        if not on:
            return self.rated * min(1.05, 0.53 * troubles["day_burner"].magnitude) if "day_burner" in troubles else 0.7
        full = self.rated * self.age * (0.05 + 0.95 * dim) * (voltage / 230)
        if "lamp_degraded" in troubles:
            full *= max(0.2, 1 - 0.25 * troubles["lamp_degraded"].magnitude)
        if "lamp_out" in troubles:
            full = max(0.8, full * (0.34 - 0.17 * min(2.0, troubles["lamp_out"].magnitude)))
        return full

    def _meter(self, t_ms: int, power: float) -> None:
        """Energy is the integral of power: trapezoids between readings; a longer pause is taken as constant."""
        if self.metered_ms:
            hours = (t_ms - self.metered_ms) / 3_600_000
            added = max(0.0, hours) * (power + self.power) / 2
            wrong = self.troubles.get("meter_wrong")
            self.energy += added if wrong is None else added * max(0.0, 1 - 0.4 * wrong.magnitude)
        if self.feeder is not None:
            self.feeder.change(self.power, power)
        self.power, self.metered_ms = power, t_ms

    def _leak(self, now: Moment) -> float:
        """Amperes to earth; of quantity "rain" only while it rains."""
        fault = self.troubles.get("leakage")
        if fault is None:
            return 0.0
        return 0.034 * fault.magnitude * (min(1.0, 2 * now.rain_mm) if fault.quantity == "rain" else 1.0)

    def _tilt(self) -> float:
        if not self.troubles:
            return 0.0
        leans, falls = self.troubles.get("tilt"), self.troubles.get("tilt_emergency")
        return max(3.4 * leans.magnitude if leans else 0.0, 11.0 * falls.magnitude if falls else 0.0)

    def _air(self, t_ms: int, now: Moment, values: Values) -> None:
        n1, n2, n3, n4, n5 = normals(self.salt, t_ms, 4)
        plume = math.exp(0.12 * sum(w * m for w, m in zip(self.waves, now.modes, strict=True)))
        pm25 = now.pm25 * self.site * plume
        pm10 = now.pm10 * self.site * plume
        episode = self.troubles.get("air_episode")
        if episode is not None:
            risen = min(1.0, max(0.0, (t_ms - episode.start_ms) / 1000 / EPISODE_RISES_S))
            local = episode.magnitude * (self.site * plume) ** 0.5
            pm25 += risen * max(0.0, 82 * local - pm25)
            pm10 += risen * max(0.0, 164 * local - pm10)
        if self.works and not now.rain_mm:
            pm10 += self._site_dust(now)
        if "dust" in self.troubles:
            size = self.troubles["dust"].magnitude
            # Near a site three times the others is a case; elsewhere a milligram is.
            pm10 = max(pm10, 165 * size, 3.3 * size * pm10) if self.works else max(pm10, 1050 * size)
            pm25 *= 1 + 0.8 * min(1.0, size)
        values["pm25"] = pm25 * (1 + 0.04 * n1) + 0.6 * n2
        values["pm10"] = pm10 * (1 + 0.05 * n3) + n4
        values["no2"] = now.no2 * self.site**1.5 * plume**0.6 * (1 + 0.05 * n5)
        values["o3"] = now.o3 * (1 + 0.04 * n2) / plume**0.3
        values["temperature"] = now.temperature + 0.5 * self.waves[1] + 0.12 * n3
        values["relativeHumidity"] = now.humidity - 1.5 * self.waves[1] + 0.8 * n4
        values["atmosphericPressure"] = now.pressure + 0.15 * n5
        values["windSpeed"] = now.wind * (0.85 + 0.15 * self.waves[2]) + 0.3 * n1
        values["windDirection"] = (now.wind_from + 8 * self.waves[0] + 9 * n2) % 360
        values["precipitation"] = now.rain_mm

    def _site_dust(self, now: Moment) -> float:
        """PM10 from the sites at work that lie upwind, ug/m3."""
        return sum(
            DUST_UG * math.exp(-work.away_m / DUST_M) * max(0.0, math.cos(math.radians(now.wind_from - work.bearing)))
            for work in self.works
            if work.goes_on(now)
        )

    def _noise(self, t_ms: int, now: Moment) -> float:
        n1, n2 = normals(self.salt, t_ms, 5)[:2]
        level = 43 + 4 * math.log(self.site) * 3 + 24 * math.sqrt(now.traffic) + 1.1 * n1 + (6 if n2 > 2.6 else 0)
        for work in self.works:
            if work.goes_on(now):
                loud = (
                    NOISE_DB - 20 * math.log10(max(1.0, work.away_m / NOISE_M)) + 2 * drift(self.salt, t_ms / 1e3, 600)
                )
                level = 10 * math.log10(10 ** (level / 10) + 10 ** (loud / 10))
        fault = self.troubles.get("night_noise")
        return level if fault is None else max(level, 42 + 16 * fault.magnitude + 0.8 * n2)

    def _charger(self, t_ms: int, now: Moment) -> float:
        if "charger_fault" in self.troubles:
            return 3.0
        if "charger_occupied" in self.troubles:
            return 2.0
        slot = t_ms // 1_800_000  # cars come and go by half hours; none stays through two without charging
        drawn = uniform(self.salt, slot, 6)
        wish = 0.15 + 0.45 * max(now.office, now.home * 0.8)
        return 1.0 if drawn < wish * 0.8 else 2.0 if drawn < wish * 0.88 and slot % 2 else 0.0

    def notice(self, t_ms: int, life: Life, fault: Fault) -> Values | None:
        begins = self.troubles.get(fault.type) is fault
        if fault.type in DARK:
            if begins and self.feeder is not None:
                self.feeder.change(self.power, 0.0)
                self.power = 0.0
            # Half of the poles carry the capacitor that lets them say a last word.
            if begins and not self.salt % 2:
                return None
            return {"supplyPresent": 0.0, "voltage": 0.0} if begins else {"supplyPresent": 1.0, "voltage": 230.0}
        if fault.type == "door_open":
            return {"doorOpen": float(begins)}
        return super().notice(t_ms, life, fault)
