"""Mosquitto's saved sessions lost, damaged, old, or its disk full: it starts, it is told, and no reading is lost."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

from devices.sender import Address, Limits, Sender
from devices.wire import Broker as Where
from devices.wire import Wire
from tests.broker import need_mosquitto, prepare_open
from tests.twin.ingest.conftest import Memory, until
from twin.app.marks import Marks
from twin.broker.command import app
from twin.broker.process import Broker
from twin.broker.saved import FILE, damage, set_aside
from twin.ingest.endpoint import LinkSettings
from twin.ingest.ledger import Ledger
from twin.ingest.pump import Pump
from twin.records import Batch

pytestmark = pytest.mark.broker

POLES = [Address("091001", "pole", f"pole-000{n}") for n in range(1, 6)]
FIRST, LATER = 20, 240  # readings of each pole before the server stops, and while it is away


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    need_mosquitto()
    one = Broker(prepare_open(tmp_path / "broker"))
    yield one
    one.stop()


def fill(broker: Broker) -> Path:
    """Have the broker save a session with waiting messages; its file."""
    broker.start()
    for name, clean in (("away", False), ("device", True)):
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean)
        client.connect(broker.host, broker.port)
        client.loop_start()
        if not clean:
            client.subscribe("city/#", 1)
        for n in range(50 if clean else 0):
            client.publish("city/x", b"%d" % n, qos=1).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()
    broker.stop()
    path = broker.files.data / FILE
    assert path.stat().st_size > 1000
    return path


def test_what_mosquitto_cannot_read_is_set_aside(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """Cut short, or foreign: the broker starts, the log says so, one damaged file is kept at most. A sound
    file is left alone, and so is one that is empty or not there."""
    path = fill(broker)
    good = path.read_bytes()
    assert damage(path) == ""
    for broken in (good[:-7], good[:-1], b"x" * 5000, good[:10]):
        path.write_bytes(broken)
        assert damage(path)
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            broker.start()
        assert "set aside" in caplog.text
        broker.kill()
        assert len(list(path.parent.glob("*.damaged-*"))) == 1
    for sound in (good, b""):
        path.write_bytes(sound)
        assert set_aside(path.parent) == ""
        broker.start()
        broker.kill()
    path.unlink()
    assert set_aside(path.parent) == ""


def test_mosquitto_refuses_what_we_call_damaged(broker: Broker) -> None:
    """Held against Mosquitto itself: started by its own command line it ends with each of these, and runs with none
    that we call sound."""
    path = fill(broker)
    good = path.read_bytes()
    for size in range(len(good) - 1, 24, -len(good) // 9):
        path.write_bytes(good[:size])
        ended = subprocess.Popen(broker.prepared.command, stderr=subprocess.DEVNULL, cwd=broker.files.dir)
        try:
            code: int | None = ended.wait(1.0)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            ended.kill()
            ended.wait()
        assert (code is not None) == bool(damage(path)), (size, damage(path))


def test_the_command_for_a_broker_that_is_a_service(broker: Broker) -> None:
    """`citywhistle broker mend`: what the unit runs before Mosquitto."""
    path = fill(broker)
    path.write_bytes(path.read_bytes()[:-3])
    said = CliRunner().invoke(app, ["mend", "--dir", str(broker.files.dir)])
    assert said.exit_code == 0, said.output
    assert "set aside" in said.output
    assert not path.exists()
    assert "can be read" in CliRunner().invoke(app, ["mend", "--dir", str(broker.files.dir)]).output


def gone(broker: Broker) -> None:
    broker.stop()
    (broker.files.data / FILE).unlink()


def cut(broker: Broker) -> None:
    broker.stop()
    path = broker.files.data / FILE
    path.write_bytes(path.read_bytes()[:-100])


def killed(broker: Broker) -> None:
    """What is saved is older than all that it acknowledged since."""
    broker.kill()


class Hub:
    """The server's way in and its marks, without the rest: a pump over a journal in memory."""

    def __init__(self, memory: Memory, port: int) -> None:
        self.ledger = Ledger()
        for n, entry in enumerate(memory.entries, start=1):
            if isinstance(entry, Batch):
                self.ledger.commit(entry, n)
        settings = LinkSettings(port=port, client_id="server", backoff_s=(0.05, 0.2))
        self.pump = Pump(settings, Poles(), self.ledger, memory.append, lambda: time.time_ns() // 1_000_000)
        self.marks = Marks(self._moved, self.pump.link.say, 0.05, lambda: self.pump.link.figures.connections)

    def _moved(self, everything: bool) -> list[tuple[str, bytes]]:
        told = self.ledger.marks(changed_only=not everything)
        return [
            (POLES[row].topic("mark"), text) for _, rows, texts in told for row, text in zip(rows, texts, strict=True)
        ]

    def __enter__(self) -> Self:
        self.pump.start()
        self.marks.start()
        until(lambda: self.pump.link_state().drained, "the link is up and drained")
        return self

    def __exit__(self, *_: object) -> None:
        self.pump.halt()
        self.marks.stop()
        self.pump.stop()


class Poles:
    """A registry of POLES."""

    def lookup(self, kind: str, device: str, district: str = "") -> int | None:
        return next((row for row, one in enumerate(POLES) if (one.kind, one.device) == (kind, device)), None)


def lose(broker: Broker, how: Callable[[Broker], None]) -> Ledger:
    """The server is away, the broker has acknowledged what senders said and loses it; the account in the end."""
    memory, wire = Memory(), Wire()
    limits = Limits(patience_s=0.5, longest_patience_s=2.0)
    sender = Sender(wire, Where(broker.host, broker.port), None, POLES, boot=1_700_000_000, limits=limits)
    clock = iter(range(time.time_ns() // 1_000_000 - 3_600_000, 1 << 62, 100))

    def say(count: int) -> None:
        for _ in range(count):
            for pole in POLES:
                sender.send(pole.device, next(clock), {"voltage": 230.5})

    try:
        with Hub(memory, broker.port):
            say(FIRST)
            until(lambda: sender.buffered == 0, "the marks cover the first")
        broker.stop()
        broker.start()
        until(lambda: sender.link.is_up, "the sender is back")
        say(LATER)
        until(lambda: sender.counts.waiting == 0 and sender.link.unacknowledged == 0, "the broker has all")
        assert sender.buffered == LATER * len(POLES)
        how(broker)
        broker.start()
        with Hub(memory, broker.port) as hub:
            until(lambda: sender.buffered == 0, "the marks cover all")
        return hub.ledger
    finally:
        sender.close()
        wire.close()


@pytest.mark.parametrize("how", [gone, cut, killed], ids=lambda how: how.__name__)
def test_no_reading_is_lost_with_the_sessions(broker: Broker, how: Callable[[Broker], None]) -> None:
    """Its file is gone, cut short, or old, and with it all retained marks: senders say again what no mark covers, and
    everything is journalled once."""
    broker.start()
    total = lose(broker, how).total()
    assert total.journalled == (FIRST + LATER) * len(POLES)
    assert (total.missing, dict(total.rejected)) == (0, {})


def test_no_reading_is_lost_with_the_brokers_disk(tmp_path: Path) -> None:
    """The folder of its sessions is on a disk of 64 KiB: it cannot save what waits at its end, and does not say so; it
    begins with what it had saved before, and nothing is lost."""
    need_mosquitto()
    broker = Broker(prepare_open(tmp_path / "broker"))
    data = broker.files.data
    data.rmdir()
    with small_disk(tmp_path / "small", "64k") as (disk, _):
        data.symlink_to(disk)
        try:
            broker.start()
            total = lose(broker, Broker.stop).total()
            assert (data / FILE).stat().st_size < 4096, "what waited was not saved"
        finally:
            broker.stop()
    assert total.journalled == (FIRST + LATER) * len(POLES)
    assert (total.missing, dict(total.rejected)) == (0, {})


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A disk of its own that another process mounts: where we see it, and words that run a command where it is."""
    folder.mkdir()
    mount = f'mount -t tmpfs -o size={size} none "$0" && echo ready && exec sleep 600'
    with subprocess.Popen(["unshare", "-Urm", "sh", "-c", mount, str(folder)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            if holder.stdout.readline() != b"ready\n":
                pytest.skip("a small disk needs user namespaces, which are not allowed here")
            inside = ("nsenter", "-t", str(holder.pid), "-U", "-m", "--preserve-credentials", "--")
            yield Path(f"/proc/{holder.pid}/root{folder}"), inside
        finally:
            holder.kill()
