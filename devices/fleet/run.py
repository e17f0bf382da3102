"""Running a fleet: on city time, through the connections of its gateways, until it is told to stop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devices.clock import Clock
from devices.errors import DeviceError
from devices.fleet.fleet import Fleet
from devices.fleet.gateway import Gateway
from devices.fleet.memory import write_memory
from devices.orders import ORDERS, OrderWrong, check_order
from devices.outlet import Outlet
from devices.records import Command
from devices.sender import Said as Given
from devices.sender import Sender

SLICE_S = 0.05  # readings go out in slices of at least this much machine time
SLICE_LARGE_S, LARGE = 1.0, 10_000  # of fleets with so many devices: fewer, larger packets
LONGEST_S = 0.25
LOT = 20_000  # readings handed over at once at most
MEMORY_S = 60.0


def connect(fleet: Fleet, outlet: Outlet) -> None:
    """Open a sender for each gateway and for each device without one. Raises DeviceError without its credentials."""
    behind: dict[str, list[str]] = {}
    for thing in fleet.things.values():
        behind.setdefault(thing.device.gateway or thing.id, []).append(thing.id)
    for user, devices in behind.items():
        own = fleet.things.get(user)
        sender = outlet.open(user, own.address if own is not None else None, [fleet.things[d].address for d in devices])
        if isinstance(own, Gateway):
            own.waiting = _waiting(sender)


def _waiting(sender: Sender) -> Callable[[], int]:
    return lambda: sender.counts.waiting


def obey(fleet: Fleet) -> Callable[[Command], tuple[bool, str] | None]:
    """What simulated devices answer, and do: orders that their kind knows are carried out, whistles shown."""

    def answer(command: Command) -> tuple[bool, str] | None:
        thing = fleet.things.get(command.device)
        if thing is None:
            return False, "no such device here"
        if command.action not in ORDERS.get(thing.device.kind, {}):
            return True, f"{command.action} shown"  # a whistle on lamp, speaker or cab display
        arguments = {k: v for k, v in command.arguments.items() if k != "case"}
        try:
            check_order(thing.device.kind, command.action, arguments)
        except OrderWrong as why:
            return False, str(why)
        fleet.told.append((command.device, command.action, arguments))
        return True, f"{command.action} done"

    return answer


class Runner:
    """Says what the fleet says. `lag_s`: how far behind city time it was at its last look, in city seconds."""

    def __init__(
        self, fleet: Fleet, outlet: Outlet, clock: Clock, *, memory: Path | None = None, turn: int = 0
    ) -> None:
        self.fleet, self.outlet, self._clock = fleet, outlet, clock
        self._memory, self._turn = memory, turn
        self._cut: set[str] = set()
        self._saved: set[tuple[str, str]] = set()  # faults in the memory
        self._saved_s = float("-inf")  # at once: a start that is killed was a start all the same
        self.said: Counter[str] = Counter()
        self.lag_s = 0.0

    def run(self, stop: threading.Event, duration_s: float | None = None) -> None:
        """Until `stop` is set or so many machine seconds have passed. Raises DeviceError if sending has ended."""
        end_s = float("inf") if duration_s is None else time.monotonic() + duration_s
        is_large = len(self.fleet.things) >= LARGE
        slice_s = SLICE_LARGE_S if is_large else SLICE_S
        while not stop.is_set() and time.monotonic() < end_s:
            now_ms = self._clock.now_ms()
            self.lag_s = max(0.0, (now_ms - self.fleet.now_ms) / 1000)
            self.say_until(now_ms)
            self.outlet.check()
            is_due = time.monotonic() - self._saved_s > MEMORY_S
            if is_due or (not is_large and self._saved != self.fleet.active.keys()):
                self._remember()
            pause = min(max(LONGEST_S, slice_s), max(slice_s, self._clock.seconds_until(self.fleet.next_due_ms())))
            stop.wait(min(pause, max(0.0, end_s - time.monotonic())))
        self._remember()

    def _remember(self) -> None:
        """Write down what a start after kill -9 goes on with."""
        self._saved, self._saved_s = set(self.fleet.active), time.monotonic()
        if self._memory is not None:
            write_memory(self._memory, self.fleet, self._turn)

    def say_until(self, now_ms: int) -> None:
        """Say everything that is due by this city time."""
        given: dict[Sender, list[Given]] = {}
        kinds: list[str] = []
        try:
            self._gather(given, kinds, now_ms)
        finally:
            self._give(given, kinds)  # what was said before something went wrong has been said
        if self.fleet.cut != self._cut:
            self._cut_off()

    def _gather(self, given: dict[Sender, list[Given]], kinds: list[str], now_ms: int) -> None:
        for said in self.fleet.until(now_ms):
            sender = self.outlet.sender_of(said.device)
            if sender is None:
                raise DeviceError(f"nobody sends for {said.device}")
            reading = said.device, said.t_ms, said.body, said.event, said.again
            if sender in given:
                given[sender].append(reading)
            else:
                given[sender] = [reading]
            kinds.append(said.kind)
            if len(kinds) >= LOT:
                self._give(given, kinds)

    def _give(self, given: dict[Sender, list[Given]], kinds: list[str]) -> None:
        """Hand over what was said: all of a sender at once, and then let all of them publish."""
        for sender, readings in given.items():
            sender.send_all(readings)
        self.outlet.wake(given)
        self.said.update(kinds)
        given.clear()
        kinds.clear()

    def _cut_off(self) -> None:
        """Gateways lose and find their backhaul; what was said meanwhile waits in their senders."""
        for name in self._cut ^ self.fleet.cut:
            sender = self.outlet.senders.get(name)
            if sender is not None:
                sender.cut(name in self.fleet.cut)
        self._cut = set(self.fleet.cut)

    def status(self) -> Mapping[str, Any]:
        """What runs and what became of it, for the terminal and `--json`."""
        counts = self.outlet.counts
        return {
            **self.fleet.describe(),
            "city_ms": self.fleet.now_ms,
            "lag_s": round(self.lag_s, 1),
            "connections": len(self.outlet.senders),
            "connected": self.outlet.up,
            "said": dict(self.said),
            "sent": counts.sent,
            "covered": counts.covered,
            "buffered": counts.buffered,
            "dropped": counts.dropped,
            "resent": counts.resent,
            "commands": counts.commands,
            "problems": dict(list(self.outlet.problems.items())[:5]),
        }
