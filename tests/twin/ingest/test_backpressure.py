"""A journal at its bound for long: what the broker holds meanwhile, by its own count, and what becomes of it after."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from devices.codec import encode_json
from devices.records import Reading
from tests.broker import need_mosquitto
from tests.twin.ingest.conftest import DEADLINE_S, T0, People, until
from twin.broker.conf import BrokerFiles, render, template_path
from twin.broker.find import find_mosquitto
from twin.broker.process import Broker, prepare_broker
from twin.errors import JournalFull
from twin.ingest.endpoint import LinkSettings
from twin.ingest.frames import CONNACK, PUBACK, Parcel, Parser, connect, publish
from twin.ingest.ledger import Ledger
from twin.ingest.pump import Pump
from twin.journal import Journal
from twin.records import Edit

pytestmark = pytest.mark.broker

DEVICES, ROUNDS = 50, 1000
TOTAL = DEVICES * ROUNDS
JOURNAL_BYTES = 8 << 20
INBOX_BYTES = 1 << 20
HELD, DROPPED = "$SYS/broker/store/messages/count", "$SYS/broker/publish/messages/dropped"


@contextmanager
def counting_broker(folder: Path, max_queued_bytes: int) -> Iterator[Broker]:
    """The shipped configuration, open to all, which tells its counts each second; the bound of a session is given."""
    need_mosquitto()
    files = BrokerFiles(folder)
    files.extra.mkdir(parents=True)
    files.passwords.touch(mode=0o600)
    files.acl.write_text("topic readwrite #\ntopic read $SYS/#\n", encoding="utf-8")
    (files.extra / "counts.conf").write_text("sys_interval 1\n", encoding="utf-8")
    changes = {"allow_anonymous": "true", "max_queued_bytes": str(max_queued_bytes)}
    template = render(template_path().read_text(encoding="utf-8"), changes)
    broker = Broker(prepare_broker(folder, template=template, binary=find_mosquitto()))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Counts:
    """What the broker says of itself."""

    def __init__(self, port: int) -> None:
        self.told: dict[str, int] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe([(HELD, 0), (DROPPED, 0)])
        self._client.on_message = lambda _c, _u, one: self.told.update({one.topic: int(one.payload)})
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Senders:
    """All devices behind one connection, which counts what the broker has acknowledged."""

    def __init__(self, port: int) -> None:
        self._link = socket.create_connection(("127.0.0.1", port))
        self._link.sendall(connect("senders", clean=True, keepalive_s=600))
        self._parser = Parser()
        while not any(c.type == CONNACK for c in self._parser.feed(self._link.recv(4096), Parcel())):
            pass
        self.sent = self.acknowledged = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def say(self, messages: int) -> None:
        """So many readings of the devices in turn, QoS 1."""
        frames = []
        for _ in range(messages):
            seq = self.sent // DEVICES + 1
            one = Reading("", T0 + seq, {"voltage": 230.0, "temperature": 20.5}, 1, seq)
            topic = f"city/d1/pole/p-{self.sent % DEVICES}/telemetry"
            frames.append(publish(topic, encode_json(one), packet_id=self.sent % 65_535 + 1))
            self.sent += 1
        self._link.sendall(b"".join(frames))

    def _listen(self) -> None:
        try:
            while data := self._link.recv(65536):
                self.acknowledged += sum(c.type == PUBACK for c in self._parser.feed(data, Parcel()))
        except OSError:
            return

    def close(self) -> None:
        self._link.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_S)
        self._link.close()


def full_journal(path: Path) -> Journal:
    """A journal that has come to its bound."""
    journal = Journal(path, max_bytes=JOURNAL_BYTES)
    for size in (1 << 20, 1 << 14, 1 << 10):
        while True:
            try:
                journal.append([Edit("settings", "x" * size)])
            except JournalFull:
                break
    return journal


@contextmanager
def everybody(folder: Path, max_queued_bytes: int) -> Iterator[tuple[Counts, Senders, Journal, Pump]]:
    """Broker, its counts, senders, a full journal, and the pump, connected."""
    with counting_broker(folder / "broker", max_queued_bytes) as broker:
        counts, senders = Counts(broker.port), Senders(broker.port)
        journal = full_journal(folder / "journal.db")
        settings = LinkSettings(port=broker.port, backoff_s=(0.05, 0.2), inbox_bytes=INBOX_BYTES)
        pump = Pump(settings, People(), Ledger(), journal.append, lambda: T0 + 1_000_000)
        pump.start()
        try:
            until(lambda: pump.link_state().state == "up" and HELD in counts.told, "all are connected")
            yield counts, senders, journal, pump
        finally:
            pump.stop()
            senders.close()
            counts.close()
            journal.close()


def in_journal(pump: Pump) -> int:
    return pump.ledger.total("pole").journalled


def unheard(pump: Pump) -> int:
    """Messages that the server wrote to itself and that the broker dropped, or still has."""
    return pump.link.figures.markers - pump.link.figures.markers_back


def test_up_to_its_bound_the_broker_holds_what_a_full_journal_refuses(tmp_path: Path) -> None:
    """The inbox fills to its bound and no further, the broker acknowledges to the senders and counts what it holds;
    when the journal has room, each device's readings are all there, once."""
    with everybody(tmp_path, 64 << 20) as (counts, senders, journal, pump):
        before = counts.told[HELD]
        senders.say(TOTAL)
        until(lambda: senders.acknowledged == TOTAL, "the broker has everything")
        until(lambda: pump.stalled and not pump.link.inbox.room, "the pump stalls and the inbox is full")
        until(lambda: counts.told[HELD] - before >= TOTAL - in_journal(pump), "the broker counts what it holds")
        assert counts.told[DROPPED] == 0
        assert in_journal(pump) < TOTAL // 10
        assert pump.link.inbox.bytes < 3 * INBOX_BYTES
        journal.trim(journal.position)
        until(lambda: in_journal(pump) == TOTAL, "everything is journalled")
        tallies = [pump.ledger.tally("pole", row) for row in range(DEVICES)]
        assert [(t.journalled, t.missing, t.duplicate) for t in tallies] == [(ROUNDS, 0, 0)] * DEVICES
        until(lambda: counts.told[HELD] - before < TOTAL // 100, "the broker holds nothing any more")


def test_beyond_its_bound_the_broker_drops_and_it_is_missing(tmp_path: Path) -> None:
    """What the broker drops beyond its bound is missing in the account, by as many as the broker says."""
    with everybody(tmp_path, 1 << 20) as (counts, senders, journal, pump):
        senders.say(TOTAL - DEVICES)
        until(lambda: senders.acknowledged == TOTAL - DEVICES, "the broker has taken everything")
        until(lambda: counts.told.get(DROPPED, 0) > 0, "the broker says that it dropped some")
        journal.trim(journal.position)
        until(lambda: not pump.stalled and pump.link.inbox.room, "the pump goes on")
        until(lambda: not pump.link.inbox.bytes and counts.told[HELD] < TOTAL // 100, "the broker is empty")
        senders.say(DEVICES)  # behind the gaps, so that they are seen to be such
        until(lambda: all(pump.ledger.mark("pole", row, "") is not None for row in range(DEVICES)), "all have spoken")
        until(
            lambda: in_journal(pump) + counts.told[DROPPED] - unheard(pump) == TOTAL, "dropped and journalled are all"
        )
        assert pump.ledger.total("pole").missing == TOTAL - in_journal(pump) > 0
