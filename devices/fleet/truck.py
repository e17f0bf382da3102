"""How a construction-waste truck behaves: waits, loads, covers, drives its permit's route, tips, returns, parks.

The truck is a small machine of phases that is advanced in time; what each phase takes is drawn from (truck, trip). It
works within its permit's hours and begins no trip that would end after them. Sites and disposal sites serve few trucks
at a time: the others queue. It drives as its road allows, slower in traffic, and brakes before a lower limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from devices.faults.fault import Fault
from devices.fleet.chance import Drift, bits, normals, stretch, uniform
from devices.fleet.life import Life, Moment
from devices.fleet.road import Line, shift
from devices.fleet.thing import Thing, Values
from devices.fleet.yard import BAYS, LOADERS, Yard, berth
from devices.places import Device

Phase = Literal["parked", "queue", "loading", "laden", "tipping", "empty", "dumping", "hiding", "taking"]

STEP_S = 5.0  # how finely driving is integrated
PARKED_MS = 60_000
FASTEST_KMH = 58.0  # a laden truck's own limit, whatever the road's
BRAKES_S = 9.0  # so far ahead a driver looks for a lower limit
QUEUE_S, BAY_S = 60.0, 20.0  # from the gate to the loader, or the bay, where nobody is before it
HASTE_S = 120.0  # in which a driver's haste comes and goes
NEVER = 1e18
TAKES_S = 300.0  # to load where it is not allowed, at most
ACTS_M = 300.0  # from where it was parked: who has set out to tip, or to take, a load does it there
_KEPT = ("phase", "phase_end_s", "metres", "kmh", "moving", "raised", "load_kg", "cargo", "trip", "odometer")


@dataclass(frozen=True, slots=True)
class Job:
    """What a permit lets this truck do: from site to disposal and back, within local hours."""

    out: Line
    back: Line
    start_hour: float
    end_hour: float
    valid_from: str
    valid_to: str
    site: Yard = field(default_factory=lambda: Yard(LOADERS))
    disposal: Yard = field(default_factory=lambda: Yard(BAYS))

    def open(self, hour: float, margin_h: float = 0.0) -> bool:
        """Whether the local hour is within the permit's, with so many hours left."""
        span = (self.end_hour - self.start_hour) % 24 or 24
        return (hour - self.start_hour) % 24 <= span - margin_h


class Truck(Thing):
    """`job` None: no permit, so it stays where it is parked unless a violation drives it on `stray`."""

    loud = frozenset(("cover_open", "terminal_tampering"))

    __slots__ = ("advanced_ms", "axles", "berth", "bound_m", "cargo", "empty_kg", "going", "haste", "job", "kmh",
                 "legal_kg", "line", "load_kg", "metres", "moving", "odometer", "phase", "phase_end_s", "raised",
                 "said_raised", "stray", "taken", "trip", "where")  # fmt: skip

    def __init__(self, device: Device, seed: int, job: Job | None, stray: Job | None = None, number: int = 0) -> None:
        super().__init__(device, seed)
        self.berth = number  # where it stands among its company's
        self.job = job
        self.stray = stray or job
        self.going = self.job or self.stray  # whose route the present trip is on
        a, *_ = normals(self.salt, 2)
        self.axles = int(device.attributes.get("axles", 4))
        self.legal_kg = device.attributes.get("grossLimit", {2: 18_000.0, 3: 25_000.0}.get(self.axles, 31_000.0))
        self.empty_kg = device.attributes.get("tareWeight", 0.47 * self.legal_kg) * (1 + 0.01 * a)
        self.load_kg = 0.0  # what it carries now
        self.cargo = 0.0  # what this trip carries
        self.phase: Phase = "parked"
        self.phase_end_s = 0.0
        self.line = (job or stray).out if (job or stray) is not None else Line([(device.lon, device.lat)])  # type: ignore[union-attr]
        self.metres = 0.0
        self.where = (*berth(self.line.points[0], number), 0.0)
        self.kmh = 0.0
        self.moving = False
        self.raised = False
        self.said_raised = False
        self.odometer = 1000.0 * (self.salt % 200_000)
        self.trip = 0
        self.advanced_ms = 0
        self.haste = Drift(self.salt)  # of its driver
        self.bound_m = NEVER  # so far from the start it tips, or takes, its load, where it has set out for that
        self.taken = 0.0  # how much of a load it has taken on where it may not

    # -- memory -------------------------------------------------------------------------------------------------------

    def remember(self) -> dict[str, Any]:
        """What it was doing, to go on with it at the next start."""
        told: dict[str, Any] = {name: getattr(self, name) for name in _KEPT}
        going = self.going
        way = "back" if going is not None and self.line is going.back else "out"
        return told | {"way": way, "stray": going is not self.job, "where": list(self.where), "taken": self.taken}

    def recall(self, told: Mapping[str, Any]) -> None:
        """Go on with what it was doing. Raises KeyError, TypeError or ValueError for what it never wrote."""
        for name in _KEPT:
            setattr(self, name, type(getattr(self, name))(told[name]))
        self.going = job = self.stray if told["stray"] else self.job
        if job is not None:
            self.line = job.back if told["way"] == "back" else job.out
        lon, lat, heading = (float(x) for x in told["where"])
        self.where = lon, lat, heading
        self.taken = float(told.get("taken", 0.0))  # memories of earlier versions do not hold it
        self.said_raised = self.raised
        if job is not None and self.phase in ("queue", "loading", "tipping"):
            tips = self.phase == "tipping" or (self.phase == "queue" and self.load_kg > 0)
            yard = job.disposal if tips else job.site
            after_s = self._takes("tipping" if tips else "loading") if self.phase == "queue" else 0.0
            yard.hold(self.phase_end_s + after_s)

    # -- time -----------------------------------------------------------------------------------------------------

    def start(self, t_ms: int) -> None:
        self.trip = t_ms // 86_400_000 * 100
        self.advanced_ms = t_ms
        super().start(t_ms)

    def warmed(self, t_ms: int) -> None:
        """It has lived through the hours before `t_ms`: go on from there."""
        self.said_raised = self.raised
        self.due_ms = self.next_ms(t_ms - 1)

    def next_ms(self, t_ms: int) -> int:
        every = PARKED_MS if self.phase == "parked" and not self.troubles else self.cadence_ms
        n = (t_ms - self.phase_ms) // every + 1
        return max(t_ms + 1, n * every + self.phase_ms + bits(self.salt, n) % (every // 100 + 1))

    def advance(self, t_ms: int, life: Life, step_s: float = STEP_S) -> None:
        """Live on until `t_ms`."""
        while self.advanced_ms < t_ms:
            if self.phase == "parked" and not self.troubles:
                step = min(60.0, (t_ms - self.advanced_ms) / 1000)
            else:
                step = min(step_s, (t_ms - self.advanced_ms) / 1000)
            self.advanced_ms += max(1, round(step * 1000))
            self._step(self.advanced_ms, step, life)

    def _step(self, t_ms: int, step_s: float, life: Life) -> None:
        t_s = t_ms / 1000
        if self.phase in ("laden", "empty"):
            self._drive(t_ms, step_s, life)
        elif self.phase == "loading":
            done = 1 - max(0.0, self.phase_end_s - t_s) / max(1.0, self._takes("loading"))
            self.load_kg = self.cargo * min(1.0, max(0.0, done))
        elif self.phase in ("tipping", "dumping"):
            self._tip(t_s)
        elif self.phase == "taking" and "unpermitted_loading" in self.troubles:
            left_s = max(0.0, self.phase_end_s - t_s)
            self.taken += (1.0 - self.taken) * step_s / (left_s + step_s)  # evenly until then
        if self.phase == "parked":
            self._leave(t_ms, life)
        elif t_s >= self.phase_end_s:
            self._next(t_ms, life)

    def _takes(self, phase: Phase) -> float:
        """Seconds that a standing phase takes on this trip."""
        drawn = uniform(self.salt, self.trip, len(phase))
        if phase == "loading":
            return 180 + 180 * drawn
        if phase == "hiding":
            return NEVER
        return 90 + 60 * drawn if phase == "dumping" else 150 + 120 * drawn

    def _stand(self, phase: Phase, t_s: float, until_s: float | None = None) -> None:
        self.phase, self.phase_end_s = phase, t_s + self._takes(phase) if until_s is None else until_s
        self.moving, self.kmh = False, 0.0

    def _wait(self, job: Job, t_s: float) -> None:
        """Come to the end of the queue: at a site for its load, at a disposal site to tip it."""
        if self.load_kg:
            turn = job.disposal.take(t_s, self._takes("tipping"), BAY_S)
        else:
            turn = job.site.take(t_s, self._takes("loading"), QUEUE_S)
        self._stand("queue", t_s, turn)

    def _roll(self, phase: Phase, line: Line) -> None:
        self.phase, self.line, self.metres, self.phase_end_s = phase, line, 0.0, NEVER
        self.moving = True

    def _leave(self, t_ms: int, life: Life) -> None:
        """From parked: to work when the permit's hours allow a whole trip; a few have a day off, many on Sundays."""
        if self._violates():
            self._load_up()
            return
        job = self.job
        now = life.at(t_ms)
        if job is None or uniform(self.salt, t_ms // 86_400_000, 9) < (0.5 if now.free else 0.1):
            return
        wait_h = max(0.0, min(job.site.free_s) - t_ms / 1000) / 3600
        if job.valid_from <= now.date <= job.valid_to and job.open(now.hour, wait_h + self._trip_h(job)):
            self.going = job
            self.trip += 1
            self.load_kg = 0.0
            self._wait(job, t_ms / 1000)

    def _trip_h(self, job: Job) -> float:
        return (job.out.length_m / 6.0 + 1500) / 3600 + 0.35

    def _violates(self) -> bool:
        return "outside_hours" in self.troubles or "no_permit" in self.troubles

    def _load_up(self) -> None:
        """A violation that needs a laden truck now: it was loaded where nobody looked."""
        job = self.job or self.stray
        if job is None:
            return
        self.trip += 1
        self.going = job
        self.cargo = self.load_kg = self._cargo()
        self._roll("laden", job.out)

    def parked(self, t_ms: int, life: Life) -> bool:
        """Whether it stands parked at `t_ms`. One that was under way is not brought up to date for this."""
        if self.phase == "parked":
            self.advance(t_ms, life)
        return self.phase == "parked"

    def against(self, now: Moment) -> str:
        """What a parked truck would violate if it set out laden at this moment: its hours, or it has no permit."""
        job = self.job
        if job is None:
            return "no_permit" if self.stray is not None else ""
        return "" if job.valid_from <= now.date <= job.valid_to and job.open(now.hour) else "outside_hours"

    def set_out(self, fault: Fault) -> None:
        """A parked truck leaves for what a schedule has it do on the way: laden, or empty where it is to be loaded."""
        self._load_up()
        if fault.type == "unpermitted_loading":
            self.cargo = self.load_kg = 0.0
            self.phase = "empty"
        self.bound_m = ACTS_M if fault.type in ("illegal_dumping", "unpermitted_loading") else NEVER

    def _cargo(self) -> float:
        """What is loaded on this trip: somewhat below the legal gross weight."""
        full = self.legal_kg - self.empty_kg
        return full * (0.82 + 0.13 * uniform(self.salt, self.trip, 11))

    def _next(self, t_ms: int, life: Life) -> None:
        """One phase is over."""
        t_s = t_ms / 1000
        job = self.going
        if job is None:
            self._stand("parked", t_s)
        elif self.phase == "queue" and self.load_kg:
            self._stand("tipping", t_s)
        elif self.phase == "queue":
            self.cargo = self._cargo()
            self._stand("loading", t_s)
        elif self.phase == "loading":
            self.load_kg = self.cargo
            self._roll("laden", job.out)
        elif self.phase == "laden" and "phantom_trip" in self.troubles:
            self._stand("hiding", t_s)
        elif self.phase == "laden" and self.load_kg:
            self._wait(job, t_s)
        elif self.phase == "laden":  # nothing is left to tip
            self._roll("empty", job.back)
        elif self.phase == "tipping":
            self.load_kg, self.raised = 0.0, False
            self._roll("empty", job.back)
        elif self.phase == "empty" and self.line is job.out:
            self._roll("empty", job.back)
        elif self.phase == "taking":
            self.phase, self.phase_end_s, self.moving = "empty", NEVER, True
        elif self.phase == "dumping":
            self.cargo = 0.0  # nothing is left to be tipped at the disposal site
            self.load_kg, self.raised, self.phase, self.phase_end_s, self.moving = 0.0, False, "laden", NEVER, True
        else:
            self._home(t_ms, life)

    def _home(self, t_ms: int, life: Life) -> None:
        """Back at the site: another trip if the hours allow it."""
        self._stand("parked", t_ms / 1000)
        self.where = (*berth(self.line.points[-1], self.berth), self.where[2])
        if not self._violates():
            self._leave(t_ms, life)

    # -- driving --------------------------------------------------------------------------------------------------

    def _drive(self, t_ms: int, step_s: float, life: Life) -> None:
        if self.troubles and self._stops_for_it(t_ms / 1000):
            return
        line = self.line
        t_s = t_ms / 1000
        limit = min(FASTEST_KMH, line.limit(self.metres, self.kmh / 3.6 * BRAKES_S))
        share = (
            0.95 + 0.06 * self.haste.at(stretch(t_s, HASTE_S)) - 0.3 * life.at(t_ms).traffic - 0.05 * (self.load_kg > 0)
        )
        target = limit * min(1.0, max(0.3, share))
        if uniform(self.salt, t_ms // 30_000, 12) < 0.12:
            target = 0.0  # a light, a crossing
        fault = self.troubles.get("speeding")
        if fault is not None:
            target = min(60.0, line.limit(self.metres)) + 12.5 * fault.magnitude
        elif "cover_open" in self.troubles or "off_route" in self.troubles:
            target = max(target, min(limit, 27.0))
        ease = min(1.0, step_s / 6.0)
        self.kmh = max(0.0, self.kmh + (max(0.0, target) - self.kmh) * ease)
        moved = min(self.kmh / 3.6 * step_s, max(0.0, line.length_m - self.metres))
        self.metres += moved
        self.odometer += moved
        if self.metres >= line.length_m - 0.5:
            self.phase_end_s = t_s

    def _stops_for_it(self, t_s: float) -> bool:
        """Whether it stops here for what it should not do: to tip its load, to take one, or to hide with it."""
        far = self._midway() or self.metres > self.bound_m
        if "illegal_dumping" in self.troubles and self.load_kg > 0.6 * self.cargo and far:
            self._stand("dumping", t_s)
        elif self._takes_here(far):
            self._stand("taking", t_s, min(t_s + TAKES_S, self.troubles["unpermitted_loading"].end_ms / 1000))
        elif "phantom_trip" in self.troubles and self.load_kg and self._midway():
            self._stand("hiding", t_s)
        else:
            return False
        self.bound_m = NEVER
        return True

    def _takes_here(self, far: bool) -> bool:
        wanted = "unpermitted_loading" in self.troubles and not self.taken and self.phase == "empty"
        return wanted and (far or self._midway(0.2))

    def _midway(self, least: float = 0.3) -> bool:
        """Between a third and two thirds of the way, far from both ends; or other shares of it."""
        return least < self.metres / max(1.0, self.line.length_m) < 1.0 - least

    def _tip(self, t_s: float) -> None:
        left = max(0.0, self.phase_end_s - t_s) / self._takes(self.phase)
        self.raised = 0.05 < left < 0.8
        self.load_kg = self.cargo * min(1.0, max(0.0, (left - 0.2) / 0.5))

    # -- speaking -------------------------------------------------------------------------------------------------

    def live(self, t_ms: int, life: Life) -> Values | None:
        """Advance; a reading to be sent as an event when the hopper has just moved."""
        self.advance(t_ms, life)
        if self.raised == self.said_raised:
            return None
        self.said_raised = self.raised
        return self.reading(t_ms, life)

    def speaks(self) -> bool:
        tampered = self.troubles.get("terminal_tampering")
        silent = tampered is not None and (
            tampered.quantity == "silence" or (tampered.magnitude >= 1.5 and tampered.quantity in ("", "power"))
        )
        return super().speaks() and not silent

    def notice(self, t_ms: int, life: Life, fault: Fault) -> Values | None:
        """Who silences a terminal lets it say no last word."""
        begins = self.troubles.get(fault.type) is fault
        return None if begins and fault.quantity == "silence" else super().notice(t_ms, life, fault)

    def say(self, t_ms: int, life: Life) -> Values:
        self.advance(t_ms, life)
        n1, n2, n3, n4, _ = normals(self.salt, t_ms, 3)
        lon, lat, heading = self._place(t_ms)
        portal = self.line.tunnel(self.metres) if self.moving else None
        canyon = self.moving and self._canyon()
        spread = 14.0 if canyon else 2.5
        if portal is not None:  # no sky: the last fix stands
            lon, lat, _ = self.line.place(portal)
        elif self.moving:
            lon, lat = shift(lon, lat, 90, spread * n1)
            lon, lat = shift(lon, lat, 0, spread * n2)
        working = self.phase != "parked"
        tampered = self.troubles.get("terminal_tampering")
        told = {
            "latitude": lat, "longitude": lon, "speed": self.kmh, "heading": heading,
            "fixQuality": 0.0 if portal is not None else 1.0 if canyon else 3.0, "ignition": float(working),
            "grossWeight": self._gross() + 45 * n3 + (30 * n4 if self.moving else 0.0),
            "hopperRaised": float(self.raised), "coverClosed": float(self._covered()),
            "mainPower": 1.0, "antennaOk": 1.0, "odometer": self.odometer, "driverCard": float(working),
        }  # fmt: skip
        if tampered is not None:
            self._tamper(told, tampered, t_ms)
        return told

    def _tamper(self, told: Values, fault: Fault, t_ms: int) -> None:
        """What is left of the truth: power or antenna cut, a fix that stands, or positions that jump."""
        way = fault.quantity or "power"
        if way == "power":
            told["mainPower"] = 0.0
        elif way == "antenna":
            told |= {"antennaOk": 0.0, "fixQuality": 0.0}
        if way in ("antenna", "fix"):
            for name in ("latitude", "longitude"):
                told[name] = self.frozen.setdefault(name, told[name])
        elif way == "jump" and (t_ms - fault.start_ms) // 20_000 % 2:  # away for twenty seconds, and back
            told["longitude"], told["latitude"] = shift(
                told["longitude"], told["latitude"], 70.0, 4000 * fault.magnitude
            )

    def end(self, fault: Fault) -> None:
        super().end(fault)
        if fault.type == "unpermitted_loading":
            self.taken = 0.0
        if fault.type == "terminal_tampering":
            self.frozen.pop("latitude", None)
            self.frozen.pop("longitude", None)

    def _place(self, t_ms: int) -> tuple[float, float, float]:
        if self.moving or self.phase in ("dumping", "hiding", "taking"):
            self.where = self.line.place(self.metres, self._aside(t_ms))
        elif self.phase in ("queue", "loading", "tipping"):
            at = self.line.points[-1] if self.metres else self.line.points[0]
            self.where = (*berth(at, self.berth), self.where[2])
        return self.where

    def _aside(self, t_ms: int) -> float:
        fault = self.troubles.get("off_route")
        if fault is None:
            return 0.0
        ramp = min(1.0, (t_ms - fault.start_ms) / 20_000, max(0.0, (fault.end_ms - t_ms) / 20_000))
        return 65.0 * fault.magnitude * ramp

    def _canyon(self) -> bool:
        """Between tall houses the fix is poor."""
        return uniform(bits(len(self.line.points), int(self.line.length_m)), int(self.metres / 250)) < 0.03

    def _gross(self) -> float:
        gross = self.empty_kg + self.load_kg
        fault = self.troubles.get("overload")
        if fault is not None and self.load_kg > 0.5 * self.cargo:
            gross = max(gross, self.legal_kg * (0.85 + 0.17 * fault.magnitude))
        fault = self.troubles.get("unpermitted_loading")
        if fault is not None:
            gross = max(gross, self.empty_kg + self.taken * self._cargo() * min(1.0, fault.magnitude))
        return gross

    def _covered(self) -> bool:
        if self.phase in ("loading", "tipping", "dumping"):
            return False
        return not ("cover_open" in self.troubles and self.load_kg > 0)
