"""How a 5G small cell behaves: load follows people, radio follows load, heat follows both.

Users that move are handed over to neighbours. A neighbour that is out of service leaves its users to those around it
and takes no handovers; one that sleeps is still heard and lets some of them fail.
"""

from __future__ import annotations

import math

from devices.faults.fault import Fault
from devices.fleet.chance import Drift, normals, stretch
from devices.fleet.life import Life, Moment
from devices.fleet.thing import Thing, Values
from devices.places import Device

OUT = ("cell_down", "backhaul_down")
ASLEEP = ("sleeping_cell",)
QUIET = {*OUT, *ASLEEP}
HEARD = 3  # neighbours whose load disturbs
INHERITED = 0.5  # of the users of a cell that is out, its neighbours together take over so many
DRIFT_S = 1800.0  # in which people come and go beyond the hour's habit
FAILING = 6.0  # percent of handovers towards sleeping neighbours only that fail


class Cell(Thing):
    """What people it serves (offices, homes, the street) is drawn once, and how well it stands."""

    loud = frozenset(("cell_down", "backhaul_down"))

    __slots__ = ("asleep", "capacity", "drift", "height", "mix", "near", "out", "peak", "setting")

    def __init__(self, device: Device, seed: int) -> None:
        super().__init__(device, seed)
        a, b, c, d, e = normals(self.salt, 2)
        shares = [math.exp(a), math.exp(b), math.exp(0.7 * c)]
        self.mix = tuple(share / sum(shares) for share in shares)
        self.peak = 38 * math.exp(0.45 * d)  # users at the busiest hour
        self.capacity = max(55.0 + 18 * abs(e), 1.6 * self.peak)  # users at full load: planned for its busiest hour
        self.height = 2.5 * e
        self.setting = device.attributes.get("txPowerSetting", 33.0)  # dBm
        self.near: list[Cell] = []
        self.drift = Drift(self.salt)  # of its people
        self.out = self.asleep = 0  # neighbours out of service, and asleep

    def meet(self, near: list[Cell]) -> None:
        """These are the neighbours that it hands over to."""
        self.near = near

    def begin(self, fault: Fault) -> None:
        self._tell_neighbours(fault, 1)
        super().begin(fault)

    def end(self, fault: Fault) -> None:
        if self.troubles.get(fault.type) is fault:
            self._tell_neighbours(fault, -1)
        super().end(fault)

    def _tell_neighbours(self, fault: Fault, change: int) -> None:
        for cell in self.near:
            if fault.type in OUT:
                cell.out += change
            elif fault.type in ASLEEP:
                cell.asleep += change

    def _is_cut(self, fault: Fault) -> bool:
        """Whether it is silent with all cells of its gateway."""
        return fault.type == "backhaul_down" and fault.subject != self.id

    def speaks(self) -> bool:
        down = self.troubles.get("backhaul_down")
        return super().speaks() and (down is None or not self._is_cut(down))

    def notice(self, t_ms: int, life: Life, fault: Fault) -> Values | None:
        return None if self._is_cut(fault) else super().notice(t_ms, life, fault)

    def say(self, t_ms: int, life: Life) -> Values:
        now = life.at(t_ms)
        n1, n2, n3, n4, n5 = normals(self.salt, t_ms, 3)
        m1, m2, m3, _, _ = normals(self.salt, t_ms, 4)
        stretched = stretch(t_ms / 1000, DRIFT_S)
        people = self.people(stretched, now)
        if self.out:
            people *= 1 + INHERITED * self.out / max(4, len(self.near))
        users = max(0.0, people * (1 + 0.12 * n1) + 0.7 * n2)
        load = min(1.0, 0.02 + 0.8 * users / self.capacity)
        values = self._radio(load, self._around(stretched, now), users, n3, n4, n5)
        attempts = max(0.0, 4 + 3.2 * users + 2 * m1)
        handovers, reached = self._handovers(users, load, now, m2, m3)
        values |= {
            "rrcAttempts": attempts, "rrcSuccess": 99.4 - 0.9 * load**3 + 0.15 * m1,
            "handoverAttempts": handovers, "handoverSuccess": reached,
            "txPower": self.setting + 0.08 * m3, "txPowerSetting": self.setting,
            "temperature": now.temperature * 0.8 + 24 + 14 * load + 5 * (now.light_lx / 1e5) + 0.5 * m3,
            "backhaulUp": 1.0, "operationalState": 1.0, "alarmState": 0.0, "pingRtt": 7 + 9 * load**2 + 0.6 * abs(m1),
        }  # fmt: skip
        if self.troubles:
            self._trouble(values)
        return values

    def _handovers(self, users: float, load: float, now: Moment, m2: float, m3: float) -> tuple[float, float]:
        """Attempts, and how many percent arrive: people on the move, towards the neighbours that can be heard."""
        attempts = max(0.0, 1 + 1.4 * users * (0.3 + 0.7 * now.traffic) + m2)
        success = 98.6 - 1.2 * load**2 + 0.2 * m2 + 0.2 * m3
        if self.out or self.asleep:
            heard = max(1, len(self.near) - self.out)
            attempts *= heard / max(1, len(self.near))
            success -= FAILING * self.asleep / heard
        return attempts, success

    def people(self, stretched: tuple[int, float], now: Moment) -> float:
        """How many are there. `stretched`: where the time stands in everybody's drift (`chance.stretch`)."""
        office, home, street = self.mix
        share = office * now.office + home * now.home + street * now.street
        return self.peak * share * math.exp(0.10 * self.drift.at(stretched))

    def _around(self, stretched: tuple[int, float], now: Moment) -> float:
        """Load of the likeliest neighbours that are on the air, 0..1: what they send disturbs."""
        near = self.near[:HEARD]
        on_air = [cell for cell in near if not (cell.troubles.keys() & QUIET)] if self.out or self.asleep else near
        if not on_air:
            return 0.0
        return sum(min(1.0, 0.8 * cell.people(stretched, now) / cell.capacity) for cell in on_air) / len(near)

    def _radio(self, load: float, around: float, users: float, n3: float, n4: float, n5: float) -> Values:
        rsrp = -88 + self.height + 0.9 * n3
        sinr = 19 + 0.5 * self.height - 8 * load - 2.5 * around + 0.8 * n4
        down = load * 100
        rate = max(0.2, 0.55 * math.log2(1 + 10 ** (sinr / 10))) * 9_000
        return {
            "rsrp": rsrp, "rsrq": -9.5 - 4 * load + 0.4 * n5, "sinr": sinr,
            "cqi": min(15.0, max(1.0, 4.5 + 0.45 * sinr)),
            "rssi": rsrp + 24 + 6 * load, "prbLoadDown": down + 0.8 * n5, "prbLoadUp": 0.45 * down + 1 + 0.6 * n4,
            "connectedUsers": users, "throughputDown": load * rate, "throughputUp": 0.14 * load * rate,
        }  # fmt: skip

    def _trouble(self, values: Values) -> None:
        troubles = self.troubles
        if "sleeping_cell" in troubles:
            _scale(values, max(0.0, 1 - 0.95 * min(1.05, troubles["sleeping_cell"].magnitude)))
        if "congestion" in troubles:
            size = troubles["congestion"].magnitude
            values["prbLoadDown"] = min(99.5, 70 + 17 * size)
            values["prbLoadUp"] = min(95.0, 50 + 17 * size)
            values["connectedUsers"] = max(values["connectedUsers"], self.capacity * (0.95 + 0.2 * size))
            values["sinr"] -= 2.5 * size
            values["pingRtt"] += 25 * size
        self._trouble_radio(values)
        if "backhaul_down" in troubles:
            _scale(values, 0.0)
            values |= {"backhaulUp": 0.0, "alarmState": 3.0, "pingRtt": 60_000.0}
        if "cell_down" in troubles:
            _scale(values, 0.0)
            values |= {"operationalState": 0.0, "alarmState": 4.0, "txPower": -20.0}

    def _trouble_radio(self, values: Values) -> None:
        troubles = self.troubles
        if "access_failures" in troubles:
            fault = troubles["access_failures"]
            # Which fails: access, handovers, or (where the fault does not say) both at some cells.
            if fault.quantity != "handoverSuccess":
                values["rrcSuccess"] -= 5.0 * fault.magnitude
            if fault.quantity == "handoverSuccess" or (not fault.quantity and self.salt % 2):
                values["handoverSuccess"] -= 3.7 * fault.magnitude
        if "coverage_loss" in troubles:
            fault = troubles["coverage_loss"]
            if fault.quantity != "rsrp":
                values["txPower"] -= 2.3 * fault.magnitude
            if fault.quantity != "txPower":
                values["rsrp"] -= 6.8 * fault.magnitude
        if "cell_overheated" in troubles:
            values["temperature"] = max(values["temperature"], 60 + 17 * troubles["cell_overheated"].magnitude)
        if "interference" in troubles:
            size = troubles["interference"].magnitude
            values["sinr"] -= 5.8 * size
            values["cqi"] = max(1.0, values["cqi"] - 2.8 * size)
            values["rsrq"] -= 1.5 * size


def _scale(values: Values, share: float) -> None:
    """Leave only a share of the load."""
    for name in ("prbLoadDown", "prbLoadUp", "connectedUsers", "throughputDown", "throughputUp", "rrcAttempts",
                 "handoverAttempts"):  # fmt: skip
        values[name] *= share
