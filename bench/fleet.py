"""`make bench NAME=fleet`: what the simulated fleet of the full city costs, apart from everything else.

The fleet says what 1.3 city seconds hold (about 3,400 readings, as `make bench NAME=city` paces it), hands them to its
500 connections at a real Mosquitto, and goes on when a stand-in of the server has marked them all. CPU seconds of its
two threads are told by such step, so that a machine with other work on it measures the same city second: simulation and
texts ("says"), and log, sender and connections ("sends"). What `devices run` does besides (a status every ten seconds,
its memory every minute) is left out, and told by `make bench NAME=city`.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from bench.ingest import mosquitto
from bench.livecity import BEGINS, SPEED
from bench.report import Bar, report
from devices.cities.load import load_city
from devices.clock import ManualClock
from devices.codec import salvage
from devices.envelope import plain_mark
from devices.faults.scenario import RandomPlan, Scenario
from devices.fleet.fleet import Fleet
from devices.fleet.run import Runner, connect, obey
from devices.log import SentLog
from devices.outlet import Outlet
from devices.sender import Limits
from devices.wire import Broker, Link, Wire
from twin.survey.synth import Plan, synthesise

STEP_MS = round(1000 * SPEED)
PATIENCE_S = 30.0
LOOK_S = 0.05
MARKS_S = 1.0  # the server's [broker] mark_every_s


class StandIn:
    """Hears every reading and marks it within a second, as the server does."""

    def __init__(self, port: int) -> None:
        self._marks: dict[str, bytes] = {}
        self._marked_s = 0.0
        self.wire = Wire()
        topics = "city/+/+/+/telemetry", "city/+/+/+/event"
        self.link = Link(self.wire, Broker(port=port), "stand-in", self, topics=topics)
        self.wire.add(self.link)

    def up(self) -> None:
        pass

    def ready(self) -> None:
        print("ready", flush=True)

    def down(self) -> None:
        pass

    def heard(self, topic: str, payload: bytes) -> None:
        boot, seq = salvage(payload)
        if boot is not None and seq is not None:
            self._marks[topic.rpartition("/")[0] + "/mark"] = plain_mark(boot, seq)

    def acknowledged(self, mid: int) -> None:
        pass

    def stage(self) -> None:
        pass

    def pump(self) -> None:
        pass

    def tend(self, now_s: float) -> None:
        if now_s - self._marked_s >= MARKS_S:
            self._marked_s = now_s
            for topic, mark in self._marks.items():
                self.link.publish(topic, mark, qos=0, retain=True)
            self._marks.clear()


@contextmanager
def stand_in(port: int) -> Iterator[None]:
    """A child that is one, listening."""
    child = subprocess.Popen([sys.executable, "-m", "bench.fleet", "--stand-in", str(port)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        if child.stdout.readline() != b"ready\n":
            raise RuntimeError("the stand-in of the server did not start")
        yield
    finally:
        child.terminate()
        child.communicate()


def cpu_s(thread: threading.Thread) -> float:
    """CPU seconds of a thread so far."""
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0))


def step(runner: Runner, clock: ManualClock, wire: threading.Thread) -> tuple[float, float, int]:
    """Say and send what one step holds, until it is all marked: CPU seconds of both threads, and readings."""
    outlet = runner.outlet
    sending, given, begun = cpu_s(wire), outlet.counts.given, time.thread_time()
    clock.city_ms += STEP_MS
    runner.say_until(clock.city_ms)
    says, end_s = time.thread_time() - begun, time.monotonic() + PATIENCE_S
    while any(sender.buffered for sender in outlet.senders.values()):
        outlet.check()
        if time.monotonic() > end_s:
            raise RuntimeError(f"{outlet.counts.buffered} readings are not marked after {PATIENCE_S:g} s")
        time.sleep(LOOK_S)
    return says, cpu_s(wire) - sending, outlet.counts.given - given


def measure(city: Path, root: Path, settle: int, steps: int, seed: int) -> list[tuple[float, float, int]]:
    """So many steps of the full city, after some that are not counted."""
    with mosquitto(root / "broker") as broker, stand_in(broker.port):
        files = load_city(city)
        begins = datetime.fromisoformat(BEGINS).replace(tzinfo=ZoneInfo(files.timezone))
        clock = ManualClock(round(begins.timestamp() * 1000))
        fleet = Fleet(files, seed, clock.city_ms, scenario=Scenario(random=RandomPlan(every_s=10.0)))
        log = SentLog(root / "fleet.sent.jsonl", keep=True)
        outlet = Outlet(
            Broker(port=broker.port), None, boot=1, log=log, answer=obey(fleet), limits=Limits(waiting=2000)
        )
        try:
            runner = Runner(fleet, outlet, clock)
            connect(fleet, outlet)
            gc.freeze()
            gc.set_threshold(50_000, 20, 20)
            wire = next(thread for thread in threading.enumerate() if thread.name == "wire")
            while outlet.up < len(outlet.senders):
                time.sleep(0.2)
            return [step(runner, clock, wire) for _ in range(settle + steps)][settle:]
        finally:
            outlet.close()


def main() -> None:
    """Measure and report."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--city", type=Path, help="the full city, if it is made already")
    told.add_argument("--devices", type=int, default=76_000)
    told.add_argument("--area-km2", type=float, default=900.0)
    told.add_argument("--seed", type=int, default=1)
    told.add_argument("--settle", type=int, default=8, help="steps that are not counted")
    told.add_argument("--steps", type=int, default=30)
    told.add_argument("--stand-in", type=int, help=argparse.SUPPRESS)
    given = told.parse_args()
    if given.stand_in:
        StandIn(given.stand_in)
        threading.Event().wait()
    with tempfile.TemporaryDirectory() as scratch:
        city = given.city or Path(scratch) / "full"
        if given.city is None:
            synthesise(Plan(devices=given.devices, area_km2=given.area_km2, seed=given.seed), city)
        costs = measure(city, Path(scratch), given.settle, given.steps, given.seed)
    readings = sum(count for _, _, count in costs)
    says, sends = median(one[0] for one in costs), median(one[1] for one in costs)
    each = sum(one[0] + one[1] for one in costs) / readings * 1e6
    report(
        "fleet",
        {"fleet_threads": Bar(median(one[0] + one[1] for one in costs), 0.40, "core", "lower")},
        notes=[
            f"CPU seconds of {SPEED:g} city seconds, median of {len(costs)}: says {says:.3f}, sends {sends:.3f}",
            f"{readings / len(costs):.0f} readings a step; {each:.1f} us each, in the mean",
            f"load of the machine {os.getloadavg()[0]:.1f}",
        ],
    )


if __name__ == "__main__":
    main()
