"""Whistles under load: a feeder trip, a storm of findings, a long list of open cases, and the way to the receiver.

The way is measured twice: from the finding on, in parts of the server alone, and from the message at the broker to the
webhook received, in the full city at its real cadence (bench/livecity.py); --city-seconds 0 leaves that out.
"""

from __future__ import annotations

import argparse
import math
import queue
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.livecity import live
from bench.report import Bar, report
from devices.places import CityFiles, Department, Device, Node
from twin.channels.webhook import Webhook
from twin.deliver.cases import Cases
from twin.deliver.post import Sender
from twin.records import Changes, Finding, Outcome
from twin.survey.synth import Plan, synthesise
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces

NOON = 1_782_280_800_000


def city(poles: int) -> CityPlaces:
    """Poles on one feeder, and one department for everything."""
    devices = tuple(
        Device(f"pole-{i:06d}", "pole", f"{i:016d}", 24.9, 60.1, "d1", feeder="feeder-01") for i in range(poles)
    )
    nodes = (Node("feeder-01", "feeder", "Feeder 1", "馈线1", "", 24.9, 60.1),)
    office = Department("power", "Power", "供电", ("feeder_trip", "device_silent", "tilt", "leakage"), ())
    files = CityFiles("Bench", "测试", "310000", "UTC", (24.9, 60.1), "", (), nodes, devices, (), (office,), {}, {})
    return CityPlaces.of(files)


def finding(type_: str, subject: str, now_ms: int, **evidence: object) -> Finding:
    """An active finding."""
    return Finding(type_, subject, True, now_ms, now_ms, 2, en=f"{subject}.", zh=f"{subject}。", evidence=evidence)


def trip() -> dict[str, Bar]:
    """500 poles fall silent over ten seconds, then their feeder is named: what is sent, and when."""
    ledger, now_ms, sent = Ledger(city(500)), NOON, []
    names = [f"pole-{i:06d}" for i in range(500)]
    for second in range(60):
        found = [finding("device_silent", p, now_ms) for p in names[second * 50 : second * 50 + 50]]
        if second == 12:
            found = [finding("feeder_trip", "feeder-01", now_ms, children=names)]
        changes = ledger.step(found, [], [], [], now_ms)
        sent += [(d, now_ms) for d in changes.deliveries]
        now_ms += 1000
    children = sum(bool(case.parent) for case in ledger.open_cases())
    return {
        "feeder trip: whistles": Bar(len(sent), 1, "messages", "lower"),
        "feeder trip: children": Bar(children, 500, "cases"),
        "feeder trip: first silent pole to message": Bar((sent[0][1] - NOON) / 1000, 35, "city s", "lower"),
    }


def storm(folder: Path) -> dict[str, Bar]:
    """10,000 findings in one tick: time to decide and to record, messages, what is on record."""
    ledger, cases = Ledger(city(10_000)), Cases(folder / "storm.sqlite")
    found = [finding("tilt", f"pole-{i:06d}", NOON) for i in range(10_000)]
    before, began = _memory_mb(), time.perf_counter()
    first = ledger.step(found, [], [], [], NOON)
    cases.record(1, first)
    took_s = time.perf_counter() - began
    held = ledger.step([], [], [], [], NOON + 10_000)
    cases.record(2, held)
    later = ledger.step([], [], [], [], NOON + 400_000)
    cases.record(3, later)
    digests = sum(d.purpose == "digest" for d in later.deliveries)
    on_record = cases.counts()["open"]
    sound = cases.verify().ok
    cases.close()
    return {
        "storm of 10,000: opened and recorded": Bar(took_s, 10, "s", "lower"),
        "storm of 10,000: messages sent alone": Bar(len(held.deliveries), 50, "messages", "lower"),
        "storm of 10,000: digests": Bar(digests, 1, "messages"),
        "storm of 10,000: cases on record": Bar(on_record if sound else 0, 10_000, "cases"),
        "storm of 10,000: memory": Bar(_memory_mb() - before, 200, "MB", "lower"),
    }


def lists(folder: Path, count: int) -> dict[str, Bar]:
    """So many open cases: the slowest of five runs of every query of the desk."""
    ledger, cases = Ledger(city(count)), Cases(folder / "lists.sqlite")
    for n, start in enumerate(range(0, count, 5000), 1):
        found = [finding("tilt", f"pole-{i:06d}", NOON) for i in range(start, min(start + 5000, count))]
        cases.record(n, ledger.step(found, [], [], [], NOON + n))
    middle = cases.cases(limit=10_000)[-1].id
    office = cases.cases(limit=1)[0].department
    queries: dict[str, Callable[[], object]] = {
        "newest 200": cases.cases,
        "page after": lambda: cases.cases(after=middle),
        "newest of all": lambda: cases.cases(open_only=False),
        "of one device": lambda: cases.cases(subject=f"pole-{count // 2:06d}"),
        "of a department": lambda: cases.cases(departments=[office]),
        "of a department without": lambda: cases.cases(departments=["nobody"], types=["night_noise", "dust"]),
        "history": lambda: cases.history(middle),
        "children": lambda: cases.children(middle),
        "deliveries": lambda: cases.deliveries(middle),
        "counts": cases.counts,
    }
    bars = {
        f"{count:,} open: {name}": Bar(max(_timed(ask) for _ in range(5)) * 1000, 100, "ms", "lower")
        for name, ask in queries.items()
    }
    began = time.perf_counter()
    snapshot = ledger.snapshot()
    bars[f"{count:,} open: snapshot holds the tick"] = Bar((time.perf_counter() - began) * 1000, 50, "ms", "lower")
    assert len(snapshot.lives) == count
    cases.close()
    return bars


class _Receiver(BaseHTTPRequestHandler):
    arrived: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.arrived.put((self.headers["idempotency-key"], time.perf_counter()))
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's names
        """Say nothing."""


def way(folder: Path, count: int) -> dict[str, Bar]:
    """One finding at a time: from the tick's begin to the webhook received, through database and sender."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ledger, cases = Ledger(city(count)), Cases(folder / "way.sqlite")
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    webhook = Webhook({"url": f"http://127.0.0.1:{server.server_address[1]}/"})
    sender = Sender(cases, {"webhook": webhook}, outcomes.put)
    sender.start()
    took: list[float] = []
    for n in range(1, count + 1):
        began = time.perf_counter()
        now_ms = NOON + n * 10_000
        changes: Changes = ledger.step([finding("leakage", f"pole-{n - 1:06d}", now_ms)], [], [], [], now_ms)
        cases.record(n, changes)
        sender.wake()
        took.append(_Receiver.arrived.get(timeout=30)[1] - began)
    sender.stop()
    server.shutdown()
    server.server_close()
    cases.close()
    took.sort()
    return {
        "finding to webhook received: p50": Bar(took[len(took) // 2] * 1000, 1000, "ms", "lower"),
        "finding to webhook received: p99": Bar(took[int(len(took) * 0.99)] * 1000, 1000, "ms", "lower"),
    }


def published(
    folder: Path, devices: int, seconds: float, settle_s: float, seed: int
) -> tuple[dict[str, Bar], list[str]]:
    """The full city at work: from the message that completes the evidence, at the broker, to the webhook received."""
    full = folder / "full"
    synthesise(Plan(devices=devices, area_km2=900.0 * devices / 76_000, seed=seed), full)
    lived = live(full, folder / "live", seconds, settle_s, seed)
    waits = lived.whistle_s
    bars = {
        f"publish to webhook received: p{share}": Bar(_share(waits, share) * 1000, 1000, "ms", "lower")
        for share in (50, 99)
    }
    bars["publish to webhook received: whistled of completed"] = Bar(len(waits), lived.probes, "whistles")
    told = "; ".join(
        f"{name} {len(some)}, p50 {_share(some, 50) * 1000:.0f}, p99 {_share(some, 99) * 1000:.0f} ms"
        for name, some in lived.by_type.items()
    )
    account = lived.accounting
    shares = (
        f"server {lived.server_share:.2f}, fleet {lived.fleet_share:.2f}, broker {lived.broker_share:.2f} of a core"
    )
    return bars, [
        f"{devices:,} devices at real cadence, {lived.messages_per_s:.0f} readings/s for {lived.seconds:.0f} s: {told}",
        f"{shares}; fleet {lived.lag_s:.1f} city s behind; sent {account['sent']}, missing {account['missing']}",
    ]


def _share(waits: list[float], percent: int) -> float:
    return waits[int(percent / 100 * (len(waits) - 1))] if waits else math.nan


def _timed(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run all five."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="open cases of the list queries")
    parser.add_argument("--messages", type=int, default=300, help="messages of the way to the receiver")
    parser.add_argument("--devices", type=int, default=76_000, help="devices of the city at work")
    parser.add_argument("--city-seconds", type=float, default=300, help="how long that city is measured; 0: not at all")
    parser.add_argument("--settle", type=float, default=60, help="seconds before that, in which connections are made")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    more: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bars = trip() | storm(folder) | way(folder, told.messages) | lists(folder, told.cases)
        if told.city_seconds:
            seen, more = published(folder, told.devices, told.city_seconds, told.settle, told.seed)
            bars |= seen
    notes = [f"{told.cases:,} open cases, {told.messages} messages; ledger, case database and sender without the rest"]
    report("whistle", bars, notes=[*notes, *more])


if __name__ == "__main__":
    main()
