"""Ingest at a real Mosquitto, with the real journal on disk: messages and readings per CPU-second of our process.

    python -m bench.ingest [--messages N] [--runs 5] [--hold 20] [--quick] [--only PART ...] [--tools FOLDER]

Publishers are children that send frames made beforehand; the broker is a child; what is measured is the CPU time of
this process, all its threads, from the first message to the last one durable. "Production wiring" is `citywhistle up`
as a child over a generated city: journal, store, tick with every detector, cases and page. Peers do their version of
the same work in children: paho-mqtt and aiomqtt decode each message with json and keep it in memory, without journal or
account; Telegraf stores into InfluxDB; a counting C subscriber (bench/peers/counting.c) is the broker's ceiling.
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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers.processes import TOOLS, compile_counting, cpu_s
from bench.peers.telegraf import telegraf
from bench.peers.wiring import ABOUND, wired
from bench.report import Bar, report
from devices.codec import encode_columns, encode_json, encode_senml
from devices.kinds import KINDS
from devices.records import Reading
from twin.broker.conf import BrokerFiles, render, template_path
from twin.broker.process import Broker, prepare_broker
from twin.ingest.endpoint import LinkSettings
from twin.ingest.flood import Flood
from twin.ingest.frames import CONNACK, Parcel, Parser, connect, publish
from twin.ingest.ledger import Ledger
from twin.ingest.pump import Pump
from twin.journal import Journal
from twin.records import Batch, Body

DEVICES = 1000
T0 = 1_700_000_000_000
CONNECT = 1  # packet type
FORMS = ("json", "columns", "senml")
PACK = 50
APART_MS = 50  # of a device's readings in the production wiring
QUIET_S = 20.0  # without progress: what has not come by then is lost


class People:
    """A registry of DEVICES poles."""

    def lookup(self, kind: str, device: str, district: str) -> int | None:
        number = int(device.removeprefix("p-"))
        return number if kind == "pole" and number < DEVICES and district == "d1" else None


def frames(form: str, messages: int, qos: int, boot: int) -> Iterator[bytes]:
    """PUBLISH frames of all devices in turn, every reading with a number of its own; 100-150 bytes as JSON."""
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


def city_frames(topics: Sequence[str], messages: int, qos: int, boot: int) -> Iterator[bytes]:
    """PUBLISH frames of a city's poles in turn, one flat JSON reading each, APART_MS apart from this moment on.

    So little that the next run's come behind them: what is late passes by the detectors."""
    now = time.time_ns() // 1_000_000
    for index in range(messages):
        device, turn = index % len(topics), index // len(topics)
        one = reading(device % DEVICES, boot, turn + 1)
        payload = encode_json(Reading("", now + turn * APART_MS, one.values, 1_700_000_000 + boot, turn + 1))
        yield publish(topics[device], payload, packet_id=(index % 65_535 + 1) if qos else 0)


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
    chunks: Iterable[bytes]
    if options.rate:
        chunks = paced_chunks(options.messages, options.qos, options.boot, step)
        _send(options, chunks, step)
        return
    if options.topics:
        topics = Path(options.topics).read_text(encoding="utf-8").split()
        made = list(city_frames(topics, options.messages, options.qos, options.boot))
    else:
        made = list(frames(options.form, options.messages, options.qos, options.boot))
    chunks = [b"".join(made[at : at + step]) for at in range(0, len(made), step)]
    del made
    _send(options, chunks, step)


def paced_chunks(messages: int, qos: int, boot: int, step: int) -> Iterator[bytes]:
    """What `frames` gives as JSON, made while it is sent: an hour of it would not fit into memory."""
    said = [encode_json(reading(0, boot, n)).partition(b',"powerConsumption"')[2] for n in range(6300)]
    heads = [f"city/d1/pole/p-{device}/telemetry".encode() for device in range(DEVICES)]
    heads = [len(head).to_bytes(2, "big") + head for head in heads]
    for at in range(0, messages, step):
        parts = []
        for index in range(at, min(at + step, messages)):
            device, seq = index % DEVICES, index // DEVICES + 1
            packet_id = (index % 65_535 + 1).to_bytes(2, "big") if qos else b""
            body = b'%b%b{"t":%d,"boot":%d,"seq":%d,"powerConsumption"%b' % (
                heads[device], packet_id, T0 + seq * 1000, 1_700_000_000 + boot, seq, said[(seq + device) % 6300],
            )  # fmt: skip
            parts.append(b"%c%c%c" % (0x32 if qos else 0x30, len(body) & 127 | 128, len(body) >> 7) + body)
        yield b"".join(parts)


def _send(options: argparse.Namespace, chunks: Iterable[bytes], step: int) -> None:
    """Connect, wait for the word, send; say when which chunk was sent."""
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
    peer = {"paho": _paho, "aiomqtt": _aiomqtt}[options.peer]
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
        ledger = Ledger(Flood(burst=ABOUND))
        self.pump = Pump(settings, People(), ledger, self._append, lambda: time.time_ns() // 1_000_000)
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


def _spread(delays: Sequence[float]) -> str:
    """Of sorted delays the middle one, and those that few exceed."""
    p50, p99 = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {delays[-1]:.1f} ms"


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
        assert running.stdout is not None
        with sending(port, messages, qos, 99):
            told = json.loads(running.stdout.readline())
    rate = told["messages"] / told["cpu_s"] if told["cpu_s"] else 0.0
    return {"per_cpu_s": round(rate), "messages": told["messages"], "lost": messages - told["messages"]}


def counting(broker: Broker, folder: Path, messages: int, qos: int) -> dict[str, Any]:
    """The broker's ceiling: messages per CPU-second of the counting subscriber, and of the broker itself."""
    program = compile_counting(folder)
    if program is None or broker.pid is None:
        return {"missing": "no C compiler (cc)"}
    command = [str(program), str(broker.port), str(messages), str(qos)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        before = cpu_s(broker.pid)
        with sending(broker.port, messages, qos, 98):
            told = json.loads(running.stdout.readline())
        spent = cpu_s(broker.pid) - before
    got = told["messages"]
    rates = {"per_cpu_s": round(got / max(told["cpu_s"], 1e-9)), "per_broker_cpu_s": round(got / max(spent, 1e-9))}
    return {**rates, "messages": got, "lost": messages - got}


def broker_alone(broker: int, folder: Path, messages: int, qos: int, rate: int) -> list[float]:
    """Delays (ms) from publishing to a subscriber that does nothing: what of ours is the broker's and the machine's."""
    program, times = compile_counting(folder), folder / "times"
    if program is None:
        return []
    command = [str(program), str(broker), str(messages), str(qos), str(times)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        with sending(broker, messages, qos, 96, rate=rate) as publisher:
            assert publisher.stdout is not None
            sent = json.loads(publisher.stdout.readline())
            running.stdout.readline()
    marks = [line.split() for line in times.read_text(encoding="ascii").splitlines()]
    return sorted(_delays(sent, [(int(n), float(at)) for n, at in marks], 1))


@contextmanager
def sending(
    port: int, messages: int, qos: int, boot: int, topics: Path | None = None, rate: int = 0
) -> Iterator[subprocess.Popen[str]]:
    """A child that sends messages from now on, and then says in a line when each of them left."""
    options = ["--child", "publisher", "--form", "json", "--messages", messages, "--qos", qos, "--boot", boot]
    options += ["--topics", topics] if topics else []
    with child(*options, "--rate", rate, "--port", port) as publisher:
        assert publisher.stdin is not None
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
        yield publisher


def ordinary(broker: int, folder: Path, messages: int, qos: int, tools: Path) -> dict[str, Any]:
    """Telegraf -> InfluxDB: messages per CPU-second of Telegraf, and of both together."""
    with telegraf(broker, qos, tools, folder) as running:
        if running is None:
            return {"missing": "set CITYWHISTLE_TELEGRAF and CITYWHISTLE_INFLUXD, or --tools"}
        with sending(broker, messages, qos, 97):
            before = running.cpu()
            got = running.settle(messages)
        spent = [after - at for after, at in zip(running.cpu(), before, strict=True)]
    got["per_cpu_s"] = round(got["messages"] / max(spent[0], 1e-9))
    return {**got, "per_cpu_s_with_influxdb": round(got["messages"] / max(sum(spent), 1e-9))}


def production(broker: int, folder: Path, options: argparse.Namespace) -> tuple[dict[str, Bar], list[str]]:
    """The whole server: messages per CPU-second of its process until all is journalled, stored and ticked."""
    bars, notes = {}, []
    with wired(broker, options.city, folder) as (server, topics):
        names = folder / "topics"
        names.write_text("\n".join(topics), encoding="utf-8")
        idle, at = server.cpu(), time.monotonic()
        time.sleep(3)
        idle = (server.cpu() - idle) / (time.monotonic() - at)
        base, boot = 0, 0
        for qos, goal in ((0, 200_000), (1, 150_000)):
            rates = []
            for _ in range(options.runs):
                boot += 1
                with sending(broker, options.messages, qos, boot, names) as publisher:
                    before, began = server.cpu(), time.monotonic()
                    assert publisher.stdout is not None
                    publisher.stdout.readline()  # all sent; asking the server before would cost what is measured
                    came, spent = server.through(base + options.messages)
                rates.append((came - base) / (spent - before))
                notes.append(
                    f"production wiring, QoS {qos}: {came - base} of {options.messages} messages in"
                    f" {spent - before:.2f} CPU s, {time.monotonic() - began:.1f} s on the clock"
                )
                base = came
            bars[f"production wiring, QoS {qos}"] = Bar(statistics.median(rates), goal, "msg/CPU-s")
        total = server.ask("/api/accounting")["total"]
        notes.append(f"{len(topics)} poles; the server idle: {idle:.1%} of a core; account: {json.dumps(total)}")
    return bars, notes


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


class Scenario(NamedTuple):
    """One bar: form of payload, messages of a run, QoS, goal and unit."""

    form: str
    messages: int
    qos: int
    goal: int
    unit: str


def scenarios_of(options: argparse.Namespace) -> dict[str, Scenario]:
    """What is measured of ingest and journal."""
    n, packs = options.messages, max(DEVICES, options.messages // 20)
    return {
        "JSON, QoS 0": Scenario("json", n, 0, 500_000, "msg"),
        "JSON, QoS 1": Scenario("json", n, 1, 400_000, "msg"),
        "columnar packs of 50": Scenario("columns", packs, 1, 3_000_000, "readings"),
        "SenML packs of 50": Scenario("senml", max(1000, packs // 3), 1, 1_000_000, "readings"),
    }


def ingest(broker: int, folder: Path, options: argparse.Namespace) -> tuple[dict[str, Bar], list[str]]:
    """Ingest and journal behind a broker, and the rate held."""
    bars: dict[str, Bar] = {}
    notes: list[str] = []
    held = options.rate * options.hold
    alone = [broker_alone(broker, folder, held, qos, options.rate) for qos in (0, 1) if held]
    bench = Bench(broker, folder)
    bench.pump.start()
    while not bench.pump.link_state().drained:
        time.sleep(0.05)
    lost, boot = 0, 0
    for name, (form, messages, qos, goal, unit) in scenarios_of(options).items():
        rates, walls = [], []
        for _ in range(options.runs):
            boot += 1
            got = bench.run(form, messages, qos, boot)
            rates.append(got["readings"] / got["cpu_s"])
            walls.append(got["readings"] / got["wall_s"])
            lost += got["lost"] if qos else 0
        bars[name] = Bar(statistics.median(rates), goal, f"{unit}/CPU-s")
        notes.append(f"{name}: {statistics.median(walls):,.0f} {unit}/s on the clock")
    for qos in (0, 1) if options.hold else ():
        boot += 1
        got = bench.run("json", held, qos, boot, rate=options.rate)
        delays = sorted(got["delays_ms"])
        told = f"{options.rate} msg/s for {options.hold} s, QoS {qos}"
        bars[f"publish to journal p99, {told}"] = Bar(delays[int(len(delays) * 0.99)], 100, "ms", "lower")
        lost += got["lost"] if qos else 0
        notes.append(
            f"{told}: {got['cpu_s'] / got['wall_s']:.1%} of a core, {held / got['wall_s']:,.0f} msg/s got through,"
            f" {got['lost']} lost, {_spread(delays)}"
        )
        notes.append(f"the same to a subscriber that only counts: {_spread(alone[qos]) if alone[qos] else 'no cc'}")
    bars["lost at QoS 1"] = Bar(lost, 0, "readings", "lower")
    tally, stages = bench.pump.ledger.total(), bench.pump.stages()
    notes.append(f"account: {tally.journalled} journalled, {tally.missing} missing, {tally.duplicate} duplicate")
    cpu = {stage: stages[stage]["cpu_seconds_total"] for stage in ("link", "decode", "account", "journal")}
    notes.append("CPU seconds by stage: " + ", ".join(f"{stage} {s:.2f}" for stage, s in cpu.items()))
    bench.pump.stop()
    bench.journal.close()
    return bars, notes


def measure(options: argparse.Namespace) -> None:
    """All parts that were asked for; prints and writes the report."""
    bars: dict[str, Bar] = {}
    peers: dict[str, Any] = {}
    notes = [f"{options.messages} messages a run, median of {options.runs}, {DEVICES} devices"]

    def take(found: tuple[dict[str, Bar], list[str]]) -> None:
        bars.update(found[0])
        notes.extend(found[1])

    with tempfile.TemporaryDirectory(prefix="citywhistle-bench-") as place:
        folder = Path(place)
        with mosquitto(folder / "broker") as broker:
            if "ingest" in options.only:
                take(ingest(broker.port, folder, options))
            for qos in (0, 1) if "peers" in options.only else ():
                for name in ("paho", "aiomqtt"):
                    peers[f"{name}, QoS {qos}"] = peer(name, broker.port, options.peer_messages, qos)
                told = ordinary(
                    broker.port, Path(tempfile.mkdtemp(dir=folder)), options.peer_messages, qos, options.tools
                )
                peers[f"Telegraf -> InfluxDB, QoS {qos}"] = told
                peers[f"counting in C, QoS {qos}"] = counting(broker, folder, options.peer_messages, qos)
        for name, some in scenarios_of(options).items() if "fed" in options.only else ():
            place_of = [Path(tempfile.mkdtemp(dir=folder)) for _ in range(options.runs)]
            rates = [fed(where, some.form, some.messages, some.qos) for where in place_of]
            notes.append(f"{name}, broker taken out: {statistics.median(rates):,.0f} {some.unit}/CPU-s")
        if "production" in options.only:
            with mosquitto(folder / "broker-2") as broker:
                take(production(broker.port, Path(tempfile.mkdtemp(dir=folder)), options))
    whole = set(options.only) == set(PARTS) and not options.quick
    report("ingest", bars, peers, notes=notes, results=None if whole else Path(tempfile.mkdtemp()))


PARTS = ("ingest", "peers", "fed", "production")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=400_000, help="of one run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--hold", type=int, default=20, help="seconds at --rate; 0: not")
    parser.add_argument("--rate", type=int, default=60_000)
    parser.add_argument("--peer-messages", type=int, default=100_000)
    parser.add_argument("--city", type=int, default=20_000, help="devices of the city of the production wiring")
    parser.add_argument("--tools", type=Path, default=TOOLS, help="folder with telegraf/ and influxd/")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone (result not kept)")
    parser.add_argument("--quick", action="store_true", help="small and once: a look, no record")
    parser.add_argument("--topics", help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=("publisher", "feeder", "peer"), help=argparse.SUPPRESS)
    for name in ("--port", "--qos", "--boot"):
        parser.add_argument(name, type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--form", choices=FORMS, default="json", help=argparse.SUPPRESS)
    parser.add_argument("--peer", choices=("paho", "aiomqtt"), default="paho", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.messages, given.runs, given.hold, given.peer_messages = 100_000, 1, 5, 20_000
    return given


if __name__ == "__main__":
    main()
