"""The whole gateway as a field engineer runs it: a process, its configuration, signals, kill -9, TLS and users."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
import trustme
from paho.mqtt.enums import CallbackAPIVersion

from devices.topics import parse_topic
from tests.broker import TestBroker, guarded_broker
from tests.devices.server import Server
from tests.docs.read import ROOT
from tests.twin.broker.registry import FEW
from twin.broker.conf import Tls
from twin.broker.process import free_port
from twin.broker.provision import provision, read_credentials

pytestmark = pytest.mark.broker


def until(what: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Wait for something that has no event of its own."""
    end_s, pause = time.monotonic() + deadline_s, threading.Event()
    while not what():
        assert time.monotonic() < end_s, "waited in vain"
        pause.wait(0.02)


def edge(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


class Running:
    """One gateway process and its files."""

    def __init__(self, folder: Path, config: str) -> None:
        self.file = folder / "edge.toml"
        self.data = folder / "data"
        self.file.write_text(config, encoding="utf-8")
        self.log = folder / "edge.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "edge", "run", "--config", str(self.file), *words]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdin=subprocess.DEVNULL)

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def status(self) -> dict[str, object]:
        until((self.data / "status.json").exists)
        told: dict[str, object] = json.loads((self.data / "status.json").read_text(encoding="utf-8"))
        return told


@contextmanager
def gateway(folder: Path, host: str, port: int, rest: str, broker: str = "") -> Iterator[Running]:
    config = f"""
[gateway]
id = "gw-01"
district = "d1"
data_dir = "{folder / "data"}"
status_every_s = 0.2
[broker]
host = "{host}"
port = {port}
{broker}
[spool]
commit_every_s = 0.1
[devices]
pole-1 = "pole"
{rest}
"""
    made = Running(folder, config)
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait()


def fifo_of(folder: Path) -> tuple[Path, str]:
    fifo = folder / "bus"
    os.mkfifo(fifo)
    return fifo, f'[[source]]\ntype = "lines"\npath = "{fifo}"\ndevice = "pole-1"\n'


def test_from_a_noisy_bus_to_the_city_and_back_to_an_empty_spool(broker: TestBroker, tmp_path: Path) -> None:
    """Readings between garbage arrive numbered; marks empty the spool; status tells it; SIGTERM ends it properly."""
    server = Server(broker.host, broker.port, mark_at_once=True)
    fifo, source = fifo_of(tmp_path)
    with gateway(tmp_path, broker.host, broker.port, source) as running, fifo.open("r+b", buffering=0) as bus:
        running.start()
        server.wait(lambda: {"online": 1} in server.of("state"))
        for i in range(100):
            bus.write(b'{"pm25": %d}\n%s\n' % (i, b"\xffgarbage"))
        server.wait(lambda: server.heard["pole-1", running.status()["boot"], 100] > 0)
        until(lambda: running.status()["spool"]["rows"] == 0)  # type: ignore[index]
        said = edge("status", "--config", str(running.file), "--json")
        assert said.returncode == 0, said.stderr
        told = json.loads(said.stdout)
        assert told["sources"][str(fifo)]["refused"] == {"syntax": 100}
        assert told["connected"] is True
        shown = edge("status", "--config", str(running.file))
        assert "refused: syntax 100" in shown.stdout
        examined = json.loads(edge("doctor", "--config", str(running.file), "--json").stdout)
        assert {sign["verdict"] for sign in examined} == {"ok"}, examined
        health = [one for topic, one in server.payloads if topic.device == "gw-01" and topic.leaf == "telemetry"]
        assert {"backhaulUp", "cpuLoad", "memoryUsed", "spooled"} <= health[0].keys() | {"cpuLoad"}
        poles = [one for topic, one in server.payloads if topic.device == "pole-1"]
        assert [one["pm25"] for one in poles] == list(range(100))
        assert all(abs(int(str(one["t"])) - time.time() * 1000) < 60_000 for one in poles)
        assert running.end(signal.SIGTERM) == 0
        server.wait(lambda: server.of("state")[-1] == {"online": 0})
        assert running.status()["running"] is False
        assert edge("status", "--config", str(running.file)).returncode == 1
    server.close()


def test_killed_with_9_in_an_outage_it_sends_everything_later(broker: TestBroker, tmp_path: Path) -> None:
    """What was on disk when the process died arrives after broker and gateway are back, once under each number."""
    fifo, source = fifo_of(tmp_path)
    with gateway(tmp_path, broker.host, broker.port, source) as running, fifo.open("r+b", buffering=0) as bus:
        broker.stop()
        total = 0
        for _ in range(3):
            running.start()
            for _ in range(50):
                bus.write(b'{"t": %d, "pm25": %d}\n' % (1_700_000_000_000, total % 1000))
                total += 1
            until(lambda: _waiting(running) >= total)  # noqa: B023
            running.end(signal.SIGKILL)
        broker.start()
        server = Server(broker.host, broker.port, mark_at_once=True)
        running.start()
        until(lambda: len({key for key in server.heard if key[0] == "pole-1"}) == total)
        told = {one["seq"]: one["pm25"] for topic, one in server.payloads if topic.device == "pole-1"}
        assert told == {seq: seq - 1 for seq in range(1, total + 1)}
        until(lambda: running.status()["spool"]["rows"] == 0)  # type: ignore[index]
        assert running.end(signal.SIGINT) == 0
        server.close()


def _waiting(running: Running) -> int:
    """Readings of the pole that are on disk."""
    path = running.data / "spool.db"
    query = "SELECT count(*) FROM reading JOIN device ON reading.device = device.n WHERE name = 'pole-1'"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return int(db.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # not made yet


def test_once_ends_when_the_city_has_a_whole_file(broker: TestBroker, tmp_path: Path) -> None:
    """`run --once` reads files to their end and waits for the marks; a policy thins out what is not worth sending."""
    file = tmp_path / "day.csv"
    file.write_text("".join(f"{1_700_000_000_000 + i},{i % 2},{20 + i / 100}\n" for i in range(100)), encoding="utf-8")
    source = f"""
[[policy]]
quantity = "temperature"
absolute = 0.25
[[source]]
type = "lines"
path = "{file}"
format = "csv"
columns = ["t", "doorOpen", "temperature"]
device = "pole-1"
"""
    server = Server(broker.host, broker.port, mark_at_once=True)
    with gateway(tmp_path, broker.host, broker.port, source) as running:
        ended = edge("run", "--once", "--config", str(running.file))
        assert ended.returncode == 0, ended.stderr
        poles = [one for topic, one in server.payloads if topic.device == "pole-1"]
        assert [one["doorOpen"] for one in poles] == [i % 2 for i in range(100)]
        assert [one["temperature"] for one in poles if "temperature" in one] == [20, 20.26, 20.52, 20.78]
        assert running.status()["spool"]["rows"] == 0  # type: ignore[index]
    server.close()


def test_by_tls_with_a_password_as_the_city_provisions_it(tmp_path: Path) -> None:
    """User, password file and authority open the guarded broker; its access list takes what the gateway says."""
    words = read_credentials(provision(FEW, tmp_path / "b").files)
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "password").write_text(words["gw-01"] + "\n", encoding="utf-8")
    tls = Tls(free_port(), tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    secrets = (
        f'user = "gw-01"\npassword_file = "{tmp_path / "password"}"\ntls = true\nca_file = "{tmp_path / "ca.pem"}"'
    )
    fifo, source = fifo_of(tmp_path)
    with (
        guarded_broker(tmp_path / "b", tls) as broker,
        marking(broker, words["server"]) as heard,
        gateway(tmp_path, "localhost", tls.port, source, secrets) as running,
        fifo.open("r+b", buffering=0) as bus,
    ):
        running.start()
        bus.write(b'{"pm25": 7}\n')
        until(lambda: ("pole-1", 1) in heard)
        until(lambda: running.status()["spool"]["rows"] == 0)  # type: ignore[index]
        assert running.end(signal.SIGTERM) == 0
        (tmp_path / "password").write_text("wrong\n", encoding="utf-8")
        examined = edge("doctor", "--config", str(running.file), "--json")
        assert examined.returncode == 1
        bad = [sign["found"] for sign in json.loads(examined.stdout) if sign["verdict"] == "bad"]
        assert len(bad) == 1
        assert "refused by the broker" in bad[0]


@contextmanager
def marking(broker: TestBroker, password: str) -> Iterator[set[tuple[str, int]]]:
    """The server's user: hears what devices say, and marks it at once."""
    heard: set[tuple[str, int]] = set()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="server")
    client.username_pw_set("server", password)
    client.on_connect = lambda c, *_: c.subscribe("city/+/+/+/telemetry", 1)

    def hear(c: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        told = json.loads(message.payload)
        heard.add((parse_topic(message.topic).device, told["seq"]))
        mark = json.dumps({"boot": told["boot"], "seq": told["seq"]})
        c.publish(message.topic.replace("/telemetry", "/mark"), mark, 1, retain=True)

    client.on_message = hear
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_full_disk_holds_the_bus_back_and_loses_nothing(
    broker: TestBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the spool cannot be written nothing is taken in beyond a bound; then everything arrives."""
    from edge import gateway as room
    from edge.config import load_config
    from edge.errors import SpoolError

    file = tmp_path / "many.json"
    file.write_bytes(b"".join(b'{"t": %d, "pm25": 1}\n' % i for i in range(20_000)))
    monkeypatch.setattr(room, "AGAIN_S", 0.02)
    source = f'[[source]]\ntype = "lines"\npath = "{file}"\ndevice = "pole-1"\n'
    server = Server(broker.host, broker.port, mark_at_once=True)
    with gateway(tmp_path, broker.host, broker.port, source, "marks = true") as running:
        running.file.write_text(running.file.read_text(encoding="utf-8") + "[uplink]\nbacklog_per_s = 1e5\n", "utf-8")
        made = room.Gateway(load_config(running.file, {}), threading.Event())
        real, tries = made.spool.put, iter(range(1000))

        def put(readings: list[object]) -> None:
            if next(tries) < 20:
                raise SpoolError("disk is full")
            real(readings)  # type: ignore[arg-type]

        monkeypatch.setattr(made.spool, "put", put)
        worker = threading.Thread(target=made.run, args=(True,))
        worker.start()
        until(lambda: "disk is full" in made.problems.get("spool", ""))
        worker.join(60)
        assert not worker.is_alive()
        assert {seq for device, _, seq in server.heard if device == "pole-1"} == set(range(1, 20_001))
    server.close()
