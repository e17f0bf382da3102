"""Ingest at a real Mosquitto, with the real journal on disk: messages and readings per CPU-second of our process.

    python -m bench.ingest [--messages N] [--runs 5] [--hold 20]

Publishers are children that send frames made beforehand; the broker is a child; what is measured is the CPU time of
this process, all its threads, from the first message to the last one durable. Peers do their version of the same work
in children: paho-mqtt and aiomqtt decode each message with json and keep it in memory, without journal or account.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.report import Bar, report
from devices.codec import encode_columns, encode_json, encode_senml
from devices.kinds import KINDS
from devices.records import Reading
from twin.broker.conf import BrokerFiles, render, template_path
from twin.broker.process import Broker, prepare_broker
from twin.ingest.endpoint import LinkSettings
from twin.ingest.frames import CONNACK, Parcel, Parser, connect, publish, subscribe
from twin.ingest.ledger import Ledger
from twin.ingest.pump import Pump
from twin.journal import Journal
from twin.records import Batch, Body

DEVICES = 1000
T0 = 1_700_000_000_000
CONNECT = 1  # packet type
FORMS = ("json", "columns", "senml")
PACK = 50
QUIET_S = 20.0  # without progress: what has not come by then is lost


class People:
    """A registry of DEVICES poles."""

    def lookup(self, kind: str, device: str, district: str) -> int | None:
        number = int(device.removeprefix("p-"))
        return number if kind == "pole" and number < DEVICES and district == "d1" else None


def frames(form: str, messages: int, qos: int, boot: int) -> Iterator[bytes]:
    """PUBLISH frames of all devices in turn, every reading with a number of its own."""
    per = 1 if form == "json" else PACK
    for index in range(messages):
        device, turn = index % DEVICES, index // DEVICES
        readings = [reading(device, boot, turn * per + 1 + k) for k in range(per)]
        if form == "json":
            payload = encode_json(readings[0])
        else:
            payload = encode_columns(readings) if form == "columns" else encode_senml(readings, KINDS["pole"])
        topic = f"city/d1/pole/p-{device}/telemetry"
        yield publish(topic, payload, packet_id=(index % 65_535 + 1) if qos else 0)


def reading(device: int, boot: int, seq: int) -> Reading:
    """Four values, 100-150 bytes as JSON."""
    values = {
        "powerConsumption": 80 + seq % 70 / 10,
        "voltage": 229.5 + device % 20 / 10,
        "temperature": 18.5 + seq % 90 / 10,
        "relativeHumidity": 40.5 + seq % 300 / 10,
    }
    return Reading(f"p-{device}", T0 + seq * 1000, values, 1_700_000_000 + boot, seq)


# ---- children ------------------------------------------------------------------------------------------------------


def hello(port: int, client: str) -> socket.socket:
    """A plain connection, welcomed."""
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(connect(client, clean=True, keepalive_s=600))
    parser = Parser()
    while not any(c.type == CONNACK for c in parser.feed(link.recv(4096), Parcel())):
        pass
    return link


def child_publisher(options: argparse.Namespace) -> None:
    """Send frames made beforehand, as fast as may be or at a rate; say when which chunk was sent."""
    step = max(1, options.rate // 200) if options.rate else 512
    made = list(frames(options.form, options.messages, options.qos, options.boot))
    chunks = [b"".join(made[at : at + step]) for at in range(0, len(made), step)]
    del made
    link = hello(options.port, f"publisher-{options.boot}")
    if options.qos:
        threading.Thread(target=_swallow, args=(link,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.readline()
    began, sent = time.monotonic(), []
    for number, chunk in enumerate(chunks):
        if options.rate:
            wait = began + number * step / options.rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
        sent.append((min((number + 1) * step, options.messages), time.monotonic()))
        link.sendall(chunk)
    print(json.dumps(sent), flush=True)
    sys.stdin.readline()


def _swallow(link: socket.socket) -> None:
    while link.recv(1 << 20):
        pass


def child_feeder(options: argparse.Namespace) -> None:
    """In the broker's place: greet one client, then send frames made beforehand as fast as it takes them."""
    stream = b"".join(frames(options.form, options.messages, options.qos, options.boot))
    listener = socket.create_server(("127.0.0.1", 0))
    print("ready", flush=True)
    print(json.dumps(listener.getsockname()[1]), flush=True)
    link, _ = listener.accept()
    parser, parcel = Parser(), Parcel()
    while not len(parcel):  # CONNECT, SUBSCRIBE, then the client's own marker, which is sent back
        for control in parser.feed(link.recv(65536), parcel):
            link.sendall(bytes.fromhex("20020000" if control.type == CONNECT else "900700010101010101"))
    link.sendall(publish(parcel.topics[0], parcel.payloads[0]))
    sys.stdin.readline()
    threading.Thread(target=_swallow, args=(link,), daemon=True).start()
    link.sendall(stream)
    print("[]", flush=True)
    sys.stdin.readline()


def child_peer(options: argparse.Namespace) -> None:
    """Another client doing its version of the work; prints messages and CPU seconds."""
    peer = {"paho": _paho, "aiomqtt": _aiomqtt, "counting": _counting}[options.peer]
    count, cpu_s = peer(options)
    print(json.dumps({"messages": count, "cpu_s": cpu_s}), flush=True)


class Count:
    """Messages so far, and when the last came."""

    def __init__(self, total: int) -> None:
        self.total, self.n, self.began, self.ended = total, 0, 0.0, 0.0
        self.kept: list[Any] = []
        self.done = threading.Event()

    def take(self, payload: bytes) -> None:
        if not self.n:
            self.began = time.process_time()
        self.kept.append(json.loads(payload))
        self.n += 1
        self.ended = time.process_time()
        if self.n >= self.total:
            self.done.set()


def _paho(options: argparse.Namespace) -> tuple[int, float]:
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    count = Count(options.messages)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="paho")
    client.on_message = lambda _c, _u, message: count.take(bytes(message.payload))
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_connect = lambda c, *_: c.subscribe("city/#", options.qos)
    client.connect("127.0.0.1", options.port)
    client.loop_start()
    count.done.wait(QUIET_S * 3)
    client.loop_stop()
    return count.n, count.ended - count.began


def _aiomqtt(options: argparse.Namespace) -> tuple[int, float]:
    import aiomqtt

    count = Count(options.messages)

    async def run() -> None:
        async with aiomqtt.Client("127.0.0.1", options.port, identifier="aiomqtt") as client:
            await client.subscribe("city/#", options.qos)
            print("ready", flush=True)
            async for message in client.messages:
                count.take(bytes(message.payload))
                if count.done.is_set():
                    return

    async def bounded() -> None:
        try:
            await asyncio.wait_for(run(), QUIET_S * 3)
        except TimeoutError:
            return

    asyncio.run(bounded())
    return count.n, count.ended - count.began


def _counting(options: argparse.Namespace) -> tuple[int, float]:
    """The broker's ceiling: frames counted, nothing decoded (QoS 0)."""
    link = hello(options.port, "counting")
    link.sendall(subscribe(1, [("city/#", 0)]))
    link.settimeout(QUIET_S)
    print("ready", flush=True)
    parser, parcel, began, ended = Parser(), Parcel(), 0.0, 0.0
    try:
        while len(parcel) < options.messages:
            parser.feed(link.recv(1 << 20), parcel)
            if len(parcel):
                began, ended = began or time.process_time(), time.process_time()
    except TimeoutError:
        pass
    return len(parcel), ended - began


# ---- parent --------------------------------------------------------------------------------------------------------


@contextmanager
def mosquitto(folder: Path) -> Iterator[Broker]:
    """The shipped configuration, open to everybody on loopback."""
    files = BrokerFiles(folder)
    folder.mkdir(parents=True)
    files.passwords.touch(mode=0o600)
    files.acl.write_text("topic readwrite #\n", encoding="utf-8")
    template = render(template_path().read_text(encoding="utf-8"), {"allow_anonymous": "true"})
    broker = Broker(prepare_broker(folder, template=template))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def child(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """This file as a child; it has said "ready"."""
    command = [sys.executable, "-m", "bench.ingest", *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            if running.stdout.readline().strip() != "ready":
                raise RuntimeError(f"a child did not start: {command}")
            yield running
        finally:
            running.kill()


class Bench:
    """A pump over a real journal, and what it costs."""

    def __init__(self, port: int, folder: Path) -> None:
        self.journal = Journal(folder / "journal.db")
        self.readings = 0
        self.durable: list[tuple[int, float]] = []
        settings = LinkSettings(port=port, client_id="bench")
        self.pump = Pump(settings, People(), Ledger(), self._append, lambda: time.time_ns() // 1_000_000)
        self.port = port

    def _append(self, bodies: Sequence[Body]) -> int:
        n = self.journal.append(bodies)
        for body in bodies:
            if isinstance(body, Batch):
                self.readings += len(body)
        self.durable.append((self.readings, time.monotonic()))
        return n

    def run(self, form: str, messages: int, qos: int, boot: int, rate: int = 0) -> dict[str, Any]:
        """One run with a publisher at the broker: readings, CPU seconds, wall seconds, delays (ms) where paced."""
        options = ["--child", "publisher", "--form", form, "--messages", messages, "--qos", qos, "--boot", boot]
        with child(*options, "--rate", rate, "--port", self.port) as publisher:
            return self.count(publisher, messages, 1 if form == "json" else PACK, rate)

    def count(self, publisher: subprocess.Popen[str], messages: int, per: int, rate: int) -> dict[str, Any]:
        """Let a child send, and see what it costs."""
        goal = self.readings + messages * per
        assert publisher.stdin is not None
        assert publisher.stdout is not None
        first, base = len(self.durable), self.readings
        cpu, wall = time.process_time(), time.monotonic()
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
        seen, since = self.readings, wall
        while self.readings < goal and time.monotonic() - since < QUIET_S:
            time.sleep(0.05)
            if self.readings != seen:
                seen, since = self.readings, time.monotonic()
        cpu, wall = time.process_time() - cpu, self.durable[-1][1] - wall
        sent = json.loads(publisher.stdout.readline())
        marks = [(n - base, at) for n, at in self.durable[first:]]
        return {
            "readings": self.readings - base,
            "lost": goal - self.readings,
            "cpu_s": cpu,
            "wall_s": wall,
            "delays_ms": _delays(sent, marks, per) if rate else [],
        }


def _delays(sent: Sequence[Sequence[float]], durable: Sequence[tuple[int, float]], per: int) -> list[float]:
    """From sending a chunk to the commit that held its last message (one publisher: order is kept)."""
    delays, at = [], 0
    for count, when in sent:
        while at < len(durable) and durable[at][0] < count * per:
            at += 1
        if at < len(durable):
            delays.append((durable[at][1] - when) * 1000)
    return delays


def fed(folder: Path, form: str, messages: int, qos: int) -> float:
    """Readings per CPU-second with the broker taken out: what this process can do when nothing holds it up."""
    options = ["--child", "feeder", "--form", form, "--messages", messages, "--qos", qos, "--boot", 1]
    with child(*options) as feeder:
        assert feeder.stdout is not None
        place = folder / f"fed-{form}-{qos}"
        place.mkdir()
        bench = Bench(json.loads(feeder.stdout.readline()), place)
        bench.pump.start()
        while not bench.pump.link_state().drained:
            time.sleep(0.05)
        got = bench.count(feeder, messages, 1 if form == "json" else PACK, 0)
        bench.pump.stop()
        bench.journal.close()
    return float(got["readings"] / got["cpu_s"])


def peer(name: str, port: int, messages: int, qos: int) -> dict[str, Any]:
    """Messages per CPU-second of a peer."""
    with child("--child", "peer", "--peer", name, "--port", port, "--messages", messages, "--qos", qos) as running:
        options = ["--child", "publisher", "--form", "json", "--messages", messages, "--qos", qos, "--boot", 99]
        with child(*options, "--rate", 0, "--port", port) as publisher:
            assert publisher.stdin is not None
            assert running.stdout is not None
            publisher.stdin.write("go\n")
            publisher.stdin.flush()
            told = json.loads(running.stdout.readline())
    rate = told["messages"] / told["cpu_s"] if told["cpu_s"] else 0.0
    return {"per_cpu_s": round(rate), "messages": told["messages"], "lost": messages - told["messages"]}


def main() -> None:
    options = _options()
    if options.child == "publisher":
        child_publisher(options)
    elif options.child == "feeder":
        child_feeder(options)
    elif options.child == "peer":
        child_peer(options)
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """All scenarios and peers; prints and writes the report."""
    n, packs = options.messages, max(DEVICES, options.messages // 20)
    scenarios = {
        "JSON, QoS 0": ("json", n, 0, 500_000, "msg"),
        "JSON, QoS 1": ("json", n, 1, 400_000, "msg"),
        "columnar packs of 50": ("columns", packs, 1, 3_000_000, "readings"),
        "SenML packs of 50": ("senml", max(1000, packs // 3), 1, 1_000_000, "readings"),
    }
    bars: dict[str, Bar] = {}
    notes, lost, boot = [f"{n} messages a run, median of {options.runs}, {DEVICES} devices"], 0, 0
    with tempfile.TemporaryDirectory(prefix="citywhistle-bench-") as place:
        folder = Path(place)
        with mosquitto(folder / "broker") as broker:
            bench = Bench(broker.port, folder)
            bench.pump.start()
            while not bench.pump.link_state().drained:
                time.sleep(0.05)
            for name, (form, messages, qos, goal, unit) in scenarios.items():
                rates, walls = [], []
                for _ in range(options.runs):
                    boot += 1
                    got = bench.run(form, messages, qos, boot)
                    rates.append(got["readings"] / got["cpu_s"])
                    walls.append(got["readings"] / got["wall_s"])
                    lost += got["lost"] if qos else 0
                bars[name] = Bar(statistics.median(rates), goal, f"{unit}/CPU-s")
                notes.append(f"{name}: {statistics.median(walls):,.0f} {unit}/s on the clock")
            if options.hold:
                got = bench.run("json", options.rate * options.hold, 1, boot + 1, rate=options.rate)
                delays = sorted(got["delays_ms"])
                held = f"{options.rate} msg/s for {options.hold} s"
                bars[f"publish to journal p99, {held}"] = Bar(delays[int(len(delays) * 0.99)], 100, "ms", "lower")
                lost += got["lost"]
                notes.append(
                    f"{held}: {got['cpu_s'] / got['wall_s']:.1%} of a core, p50 {delays[len(delays) // 2]:.1f} ms"
                )
            bars["lost at QoS 1"] = Bar(lost, 0, "readings", "lower")
            tally, stages = bench.pump.ledger.total(), bench.pump.stages()
            notes.append(
                f"account: {tally.journalled} journalled, {tally.missing} missing, {tally.duplicate} duplicate"
            )
            cpu = {stage: stages[stage]["cpu_seconds_total"] for stage in ("link", "decode", "account", "journal")}
            notes.append("CPU seconds by stage: " + ", ".join(f"{stage} {s:.2f}" for stage, s in cpu.items()))
            bench.pump.stop()
            bench.journal.close()
            peers = {}
            for name, qos in (("paho", 0), ("paho", 1), ("aiomqtt", 0), ("aiomqtt", 1), ("counting", 0)):
                peers[f"{name}, QoS {qos}"] = peer(name, broker.port, options.peer_messages, qos)
        for name, (form, messages, qos, _, unit) in scenarios.items():
            rates = [fed(Path(tempfile.mkdtemp(dir=folder)), form, messages, qos) for _ in range(options.runs)]
            notes.append(f"{name}, broker taken out: {statistics.median(rates):,.0f} {unit}/CPU-s")
    report("ingest", bars, peers, notes=notes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=400_000, help="of one run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--hold", type=int, default=20, help="seconds at --rate; 0: not")
    parser.add_argument("--rate", type=int, default=60_000)
    parser.add_argument("--peer-messages", type=int, default=100_000)
    parser.add_argument("--child", choices=("publisher", "feeder", "peer"), help=argparse.SUPPRESS)
    for name in ("--port", "--qos", "--boot"):
        parser.add_argument(name, type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--form", choices=FORMS, default="json", help=argparse.SUPPRESS)
    parser.add_argument("--peer", choices=("paho", "aiomqtt", "counting"), default="paho", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
