"""The fleet of a city: every simulated device, in order of the time at which it speaks. No connections, no waiting.

`until(t)` yields what is said up to city time t, in order; event times are the devices' own. The same city, seed,
start and scenario say the same, whatever the pace. Faults begin and end here, and their labels are written.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from devices.errors import DeviceError
from devices.faults.catalogue import CATALOGUE, SENSED
from devices.faults.fault import Fault
from devices.faults.plan import Plan
from devices.faults.scenario import Scenario
from devices.faults.truth import TruthFile
from devices.fleet.calendar import NEVER, Calendar
from devices.fleet.cell import Cell
from devices.fleet.chance import bits
from devices.fleet.choice import candidates as befallable
from devices.fleet.choice import contradicts, happens_on_the_way
from devices.fleet.feeder import Feeder
from devices.fleet.gateway import Gateway
from devices.fleet.life import Life, days_off, extra_days
from devices.fleet.pole import Pole
from devices.fleet.road import Line, Roads
from devices.fleet.site import works_around
from devices.fleet.thing import Thing, Values
from devices.fleet.truck import Job, Truck
from devices.fleet.yard import BAYS, LOADERS, Yard
from devices.places import CityFiles, Device

GAP_IN = 3000  # one reading in so many is never said
AGAIN_IN = 2500  # one in so many is said twice
MOST_ACTIVE = 60  # random faults at the same time, or two in a hundred devices
WARM_H, WARM_H_LARGE, LARGE = 12.0, 2.0, 1000  # hours that trucks live through before the start; of large fleets
# What a device must measure for a fault to be seen.
NEEDS = {"dust": "pm10", "night_noise": "LAeq", "charger_fault": "chargerState", "charger_occupied": "chargerState"}
WARM_MS = 60_000  # and in what steps


@dataclass(slots=True)  # not frozen: thousands a second are made
class Said:
    """What a device says. `t_ms` is its own time. `again`: its last message is sent twice, as devices sometimes do."""

    thing: Thing = field(compare=False)
    device: str
    t_ms: int
    measured: Values  # before rounding
    event: bool = False
    again: bool = False

    @property
    def kind(self) -> str:
        return self.thing.device.kind

    @property
    def values(self) -> Values:
        """As it is sent."""
        return self.thing.trim(self.measured)

    @property
    def body(self) -> bytes:
        """`values` by `devices.codec.encode_values`, and much cheaper."""
        return self.thing.write(self.measured)


class Fleet:
    """The simulated devices (`origin` "simulated") of a city. `kinds`: only these.

    `turn`: how often this city was begun before; another turn draws other faults. `warm`: trucks are found at work;
    False where they will be told what they did.
    """

    def __init__(self, city: CityFiles, seed: int, start_ms: int, *, scenario: Scenario | None = None,
                 truth: TruthFile | None = None, kinds: Iterable[str] = (), turn: int = 0,
                 warm: bool = True) -> None:  # fmt: skip
        self.city, self.seed, self.start_ms = city, seed, start_ms
        self.life = Life(seed, *city.centre, city.timezone, days_off(city), extra_days(city))
        self.now_ms = start_ms
        self.cut: set[str] = set()  # gateways without backhaul at present
        self.active: dict[tuple[str, str], Fault] = {}
        self.told: deque[tuple[str, str, Mapping[str, Any]]] = deque(maxlen=10_000)  # orders, from any thread
        self._truth = truth
        wanted = set(kinds)
        devices = [d for d in city.devices if d.origin == "simulated" and (not wanted or d.kind in wanted)]
        self.things = {thing.id: thing for thing in _build(city, devices, seed)}
        self._index = list(self.things.values())
        self._members = _members(city, self.things)
        _acquaint(city, self.things)
        self._faults: list[tuple[int, int, bool, Fault]] = []  # (when, serial, begins, fault)
        self._serial = 0
        self._labelled: set[Fault] = set()
        scenario = scenario or Scenario()
        self._take(scenario, again=turn > 0)
        self._plan: Plan | None = None
        if scenario.random is not None:
            self._plan = Plan(scenario.random, f"{seed} {turn}", start_ms, self._opens)
        self._start(warm)

    def _take(self, scenario: Scenario, *, again: bool) -> None:
        """Take in a scenario's faults. Raises DeviceError with a line for each that cannot happen; in a city that goes
        on at another hour (`again`) a violation that would be none now is left out."""
        wrong = []
        for fault in scenario.faults:
            thing = self.things.get(fault.subject)
            reason = contradicts(fault, thing, self.life) if thing is not None else ""
            if reason and again:
                continue
            try:
                if reason:
                    raise DeviceError(f"{fault.type} cannot befall {fault.subject!r}: {reason}")
                self.inject(fault)
            except DeviceError as error:
                wrong.append(f"{scenario.lines.get(fault, 'scenario')}: {error}")
        if wrong:
            raise DeviceError("\n".join(wrong))

    def _start(self, warm: bool) -> None:
        trucks = [thing for thing in self._index if isinstance(thing, Truck)]
        for thing in self._index:
            thing.start(self.start_ms)
        if warm:
            _warm(trucks, self.start_ms, self.life, WARM_H if len(trucks) < LARGE else WARM_H_LARGE)
        for thing in self._index:
            if isinstance(thing, Pole):
                thing.say(self.start_ms - 1000, self.life)  # so that the lines carry their lamps from the first moment
        self._calendar = Calendar()
        for i, thing in enumerate(self._index):
            self._calendar.add(thing.due_ms, i)

    # -- faults ---------------------------------------------------------------------------------------------------

    def inject(self, fault: Fault, *, labelled: bool = False) -> None:
        """Let a fault happen; `labelled`: its label is written already.

        Raises DeviceError for a subject that it cannot befall.
        """
        scope = CATALOGUE[fault.type].scope
        members = self.members(fault)
        if not members:
            wanted = "device" if scope == "any" else "district" if scope == "area" else scope
            raise DeviceError(f"{fault.type} cannot befall {fault.subject!r}: it needs a {wanted} of this city")
        fault = _sensed(fault, members[0])
        if labelled:
            self._labelled.add(fault)
        for begins, when_ms in ((True, fault.start_ms), (False, fault.end_ms)):
            self._serial += 1
            heapq.heappush(self._faults, (when_ms, self._serial, begins, fault))

    def members(self, fault: Fault) -> list[Thing]:
        """The devices that feel a fault."""
        scope = CATALOGUE[fault.type].scope
        if scope in ("feeder", "cabinet", "area"):
            return self._members.get((scope, fault.subject), [])
        thing = self.things.get(fault.subject)
        if fault.type == "backhaul_down" and isinstance(thing, Gateway):
            return self._members.get(("cells", fault.subject), [])
        if thing is None or (scope != "any" and thing.device.kind != scope):
            return []
        return [thing]

    def candidates(self, name: str, quantity: str) -> Sequence[str]:
        """Whom a fault could befall at this moment; nobody twice at the same time."""
        return befallable(self, name, quantity)

    def _opens(self, name: str, now_ms: int) -> int:
        """When what is drawn now begins: a holiday at the next midnight, all else at once."""
        return self.life.midnight(now_ms) if name == "holiday" else now_ms

    def groups(self, scope: str, least: int) -> list[str]:
        """Feeders, cabinets or areas that so many devices belong to."""
        return [subject for (s, subject), members in self._members.items() if s == scope and len(members) >= least]

    def _begin(self, fault: Fault) -> Iterator[Said]:
        key = (fault.type, fault.subject)
        if key in self.active:
            return
        self.active[key] = fault
        members = self.members(fault)
        if self._truth is not None and fault not in self._labelled:
            self._truth.write(fault, [thing.id for thing in members])
        if fault.type == "gateway_loss":
            self.cut.add(fault.subject)
        elif fault.type == "holiday":
            self.life.holiday(fault.start_ms, fault.end_ms)
        for thing in members:
            if isinstance(thing, Truck):
                yield from self._set_out(thing, fault)
            thing.begin(fault)
            yield from self._notice(thing, fault)
            if isinstance(thing, Truck):
                self._hurry(thing)

    def _set_out(self, truck: Truck, fault: Fault) -> Iterator[Said]:
        """A parked truck that a scenario gives something to do on its way leaves for it; where no permit of its own
        allows that at this hour, it violates that too, and there is a label for it."""
        if not happens_on_the_way(fault) or not truck.parked(self.now_ms, self.life):
            return
        other = replace(fault, type=truck.against(self.life.at(self.now_ms)), quantity="")
        laden = fault.type != "unpermitted_loading"
        if laden and other.type and (other.type, other.subject) not in self.active:
            self._serial += 1
            heapq.heappush(self._faults, (other.end_ms, self._serial, False, other))
            yield from self._begin(other)
        truck.set_out(fault)

    def _end(self, fault: Fault) -> Iterator[Said]:
        key = (fault.type, fault.subject)
        if self.active.get(key) is not fault:
            return
        del self.active[key]
        if fault.type == "gateway_loss":
            self.cut.discard(fault.subject)
        for thing in self.members(fault):
            thing.end(fault)
            yield from self._notice(thing, fault)

    def _notice(self, thing: Thing, fault: Fault) -> Iterator[Said]:
        values = thing.notice(self.now_ms, self.life, fault)
        if values is not None:
            yield Said(thing, thing.id, self.now_ms + thing.offset_ms, values, event=True)

    def _hurry(self, thing: Thing) -> None:
        """Have a thing speak at its troubled cadence from now on."""
        thing.due_ms = thing.next_ms(self.now_ms)
        self._calendar.add(thing.due_ms, self._index.index(thing))

    def _obey(self, name: str, action: str, arguments: Mapping[str, Any]) -> None:
        """Carry an order out, and report at once."""
        thing = self.things[name]
        if action == "dim" and isinstance(thing, Pole):
            minutes = float(arguments.get("minutes", 0.0))
            until_ms = self.now_ms + round(minutes * 60_000) if minutes else 1 << 62
            thing.dimmed = float(arguments["level"]), until_ms
        if action in ("dim", "report"):
            thing.due_ms = self.now_ms + 1
            self._calendar.add(thing.due_ms, self._index.index(thing))

    # -- time -----------------------------------------------------------------------------------------------------

    def until(self, t_ms: int) -> Iterator[Said]:
        """Everything that is said after the last call and up to `t_ms`, in order of city time."""
        while self.told:
            self._obey(*self.told.popleft())
        while True:
            fault_ms = self._fault_ms()
            yield from self._speak(min(fault_ms, t_ms + 1))
            if fault_ms > t_ms:
                break
            yield from self._befall(fault_ms)
        self.now_ms = t_ms

    def _befall(self, t_ms: int) -> Iterator[Said]:
        """Draw, begin or end the one fault that is due first, at `t_ms`."""
        self.now_ms = max(self.now_ms, t_ms)
        plan = self._plan
        if plan is not None and plan.next_ms == t_ms:
            most = max(MOST_ACTIVE, len(self._index) // 50)
            fault = plan.draw(self.now_ms, self.candidates if len(self.active) < most else _nobody)
            if fault is not None:
                self.inject(fault)
            return
        _, _, begins, fault = heapq.heappop(self._faults)
        yield from self._begin(fault) if begins else self._end(fault)

    def _speak(self, before_ms: int) -> Iterator[Said]:
        """What devices say in turn, before a time. A device without troubles always speaks: it need not be asked."""
        calendar, things, life = self._calendar, self._index, self.life
        while (t_ms := calendar.first_ms()) < before_ms:
            number = calendar.take()
            thing = things[number]
            if thing.due_ms != t_ms:  # was hurried: this entry is out of date
                continue
            self.now_ms = max(self.now_ms, t_ms)
            drawn = bits(thing.salt, t_ms, 7)
            event = thing.live(t_ms, life)
            if not thing.troubles or thing.speaks():
                if event is not None:
                    yield Said(thing, thing.device.id, t_ms + thing.offset_ms, event, event=True)
                elif drawn % GAP_IN:
                    measured = thing.measure(t_ms, life)
                    yield Said(thing, thing.device.id, t_ms + thing.offset_ms, measured, again=not drawn % AGAIN_IN)
            thing.due_ms = next_ms = thing.next_ms(t_ms)
            calendar.add(next_ms, number)

    def end_faults(self) -> None:
        """The simulation ends for good: correct the labels of what would have lasted longer."""
        for fault in self.active.values():
            if self._truth is not None:
                self._truth.write(fault, [thing.id for thing in self.members(fault)], min(fault.end_ms, self.now_ms))

    def befall(self, t_ms: int) -> None:
        """Let the faults begin and end that are due by `t_ms`, without a word: for whoever tells a past."""
        while self._faults and self._faults[0][0] <= t_ms:
            when_ms, _, begins, fault = heapq.heappop(self._faults)
            self.now_ms = max(self.now_ms, when_ms)
            for _ in self._begin(fault) if begins else self._end(fault):
                pass
        self.now_ms = t_ms

    def next_due_ms(self) -> int:
        """When something happens next."""
        first = min(self._calendar.first_ms(), self._fault_ms())
        return first if first < NEVER else self.now_ms + 1000

    def _fault_ms(self) -> int:
        """When a fault begins, ends or is drawn next."""
        plan_ms = self._plan.next_ms if self._plan is not None else None
        return min(self._faults[0][0] if self._faults else NEVER, NEVER if plan_ms is None else plan_ms)

    def describe(self) -> dict[str, Any]:
        """What runs: devices by kind, messages per second of city time, trucks by phase, present faults."""
        trucks = [thing for thing in self._index if isinstance(thing, Truck)]
        return {
            "seed": self.seed,
            "devices": dict(Counter(thing.device.kind for thing in self._index)),
            "messages_per_s": round(sum(1000 / thing.cadence_ms for thing in self._index
                                        if not isinstance(thing, Truck) or thing.phase != "parked"), 1),
            "trucks": dict(Counter(truck.phase for truck in trucks)),
            "faults": [{"type": f.type, "subject": f.subject, "start_ms": f.start_ms, "end_ms": f.end_ms,
                        "magnitude": f.magnitude} for f in list(self.active.values())],
        }  # fmt: skip


def _sensed(fault: Fault, thing: Thing) -> Fault:
    """The fault with the quantity that it takes. Raises DeviceError where the device has no such sensor."""
    sick = fault.type.startswith("sensor_")
    quantity = fault.quantity if sick else NEEDS.get(fault.type, "")
    if sick and not quantity:
        quantity = next((name for name in SENSED.get(thing.device.kind, ()) if thing.says(name)), "")
    if (sick or quantity) and not thing.says(quantity):
        problem = f"{fault.type} cannot befall {fault.subject!r}: it does not measure {quantity or 'anything known'}"
        raise DeviceError(f"{problem} (see its attributes in devices.csv)")
    return replace(fault, quantity=quantity) if sick else fault


def _nobody(_name: str, _quantity: str) -> Sequence[str]:
    return ()


def _build(city: CityFiles, devices: list[Device], seed: int) -> Iterator[Thing]:
    feeders = {d.id: Feeder(d, seed) for d in devices if d.kind == "feeder"}
    jobs = _jobs(city) if any(d.kind == "truck" for d in devices) else {}
    parked: Counter[int] = Counter()  # trucks by the yard in which they stand
    feeder_of = _feeder_of(city)
    by_company: dict[str, Job] = {}
    for device in devices:
        if device.kind == "truck" and device.id in jobs:
            by_company.setdefault(device.company, jobs[device.id])
    anyone = next(iter(jobs.values()), None)
    works = works_around(city.nodes)
    for device in devices:
        if device.kind == "pole":
            pole = Pole(device, seed, feeders.get(device.feeder or feeder_of.get(device.cabinet, "")), works(device))
            if pole.feeder is not None:
                pole.feeder.join(pole.rated)
            yield pole
        elif device.kind == "cell":
            yield Cell(device, seed)
        elif device.kind == "truck":
            job, stray = jobs.get(device.id), by_company.get(device.company, anyone)
            there = job or stray
            yard = id(there.site) if there is not None else 0
            yield Truck(device, seed, job, stray, parked[yard])
            parked[yard] += 1
        elif device.kind == "feeder":
            yield feeders[device.id]
        elif device.kind == "gateway":
            yield Gateway(device, seed)


def _warm(trucks: Sequence[Truck], start_ms: int, life: Life, hours: float) -> None:
    """Have trucks live through the hours before, all together since they queue: at noon a fleet is found at work."""
    begins = start_ms - round(hours * 3_600_000)
    for truck in trucks:
        truck.advanced_ms = begins
    for t_ms in range(begins + WARM_MS, start_ms + 1, WARM_MS):
        for truck in trucks:
            truck.advance(t_ms, life, step_s=30.0)
    for truck in trucks:
        truck.warmed(start_ms)


def _jobs(city: CityFiles) -> dict[str, Job]:
    """Each truck's first permit with a route. The way back is the route NAME-back where there is one.

    Permits of one site share its loaders, those of one disposal site its bays.
    """
    lines: dict[str, Line] = {}
    roads = Roads(city.roads, city.tunnels)
    yards: dict[str, Yard] = {}

    def line(name: str) -> Line:
        if name not in lines:
            back = name.removesuffix("-back")
            points = city.routes.get(name) or tuple(reversed(city.routes[back]))
            lines[name] = Line(points)
            if city.roads:
                lines[name].allow(roads.along(lines[name]))
        return lines[name]

    jobs: dict[str, Job] = {}
    for permit in city.permits:
        if permit.route not in city.routes:
            continue
        out, back = line(permit.route), line(permit.route + "-back")
        site = yards.setdefault(permit.site, Yard(LOADERS))
        disposal = yards.setdefault(permit.disposal, Yard(BAYS))
        job = Job(out, back, permit.start_hour, permit.end_hour, permit.valid_from, permit.valid_to, site, disposal)
        for truck in permit.trucks:
            jobs.setdefault(truck, job)
    return jobs


def _feeder_of(city: CityFiles) -> dict[str, str]:
    """Cabinet -> the feeder that it hangs on."""
    return {node.id: node.parent for node in city.nodes if node.cls == "cabinet"}


def _members(city: CityFiles, things: Mapping[str, Thing]) -> dict[tuple[str, str], list[Thing]]:
    """Who feels what happens to a feeder, a cabinet or a district, or to the line of a gateway's cells; cells feel what
    befalls their pole."""
    members: dict[tuple[str, str], list[Thing]] = defaultdict(list)
    feeder_of = _feeder_of(city)
    for thing in things.values():
        device = thing.device
        pole = things[device.pole].device if device.pole in things else device
        if device.kind == "feeder":
            members["feeder", device.id].append(thing)
        if device.kind in ("pole", "cell"):
            feeder = pole.feeder or feeder_of.get(pole.cabinet, "")
            if feeder:
                members["feeder", feeder].append(thing)
            if pole.cabinet:
                members["cabinet", pole.cabinet].append(thing)
        if device.kind == "pole":
            members["area", device.district].append(thing)
        if device.kind == "cell" and device.gateway:
            members["cells", device.gateway].append(thing)
    return dict(members)


def _acquaint(city: CityFiles, things: Mapping[str, Thing]) -> None:
    """Cells learn whom they hand over to."""
    for name, others in city.neighbours.items():
        cell = things.get(name)
        if isinstance(cell, Cell):
            near = (things.get(other) for other in others)
            cell.meet([one for one in near if isinstance(one, Cell)])
