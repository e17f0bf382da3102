"""One device gone mad beside well-behaved ones, and a gateway back after hours: the real server and broker."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from devices.cities.load import load_city
from devices.codec import encode_columns, encode_json
from devices.records import Reading
from tests.broker import TestBroker
from tests.twin.app.serving import Serving, serving, settings_in
from tests.twin.ingest.conftest import until
from twin.ingest.flood import Flood
from twin.ingest.frames import CONNACK, Parcel, Parser, connect, publish

FLOOD, NORMAL = 100_000, 20
HOURS, CADENCE_S = 8, 30

pytestmark = pytest.mark.broker


def poles(count: int) -> list[tuple[str, str]]:
    """(device, topic) of poles of the city that a server has without any other."""
    devices = load_city("helsinki").devices
    return [(d.id, f"city/{d.district}/pole/{d.id}/telemetry") for d in devices if d.kind == "pole"][:count]


def send(broker: TestBroker, messages: Iterable[tuple[str, bytes]]) -> None:
    """Publish at QoS 1 as fast as the broker takes it, until it has acknowledged all."""
    frames = [publish(topic, payload, packet_id=n % 65_535 + 1) for n, (topic, payload) in enumerate(messages)]
    with socket.create_connection((broker.host, broker.port)) as link:
        link.sendall(connect(f"sender-{time.monotonic_ns()}", clean=True, keepalive_s=600))
        parser, waiting = Parser(), len(frames)
        while not any(c.type == CONNACK for c in parser.feed(link.recv(4096), Parcel())):
            pass
        for at in range(0, len(frames), 500):
            link.sendall(b"".join(frames[at : at + 500]))
            left = waiting - len(frames[at : at + 500])
            while waiting > left:
                waiting -= len(parser.feed(link.recv(65536), Parcel()))


def account(server: Serving, device: str = "") -> dict[str, Any]:
    """The account of all, or of one device."""
    told = server.ask("/api/accounting?limit=1000").json()
    return next(one for one in told["devices"] if one["device"] == device) if device else told["total"]


def test_a_flooding_device_takes_no_room_from_the_others(tmp_path: Path, broker: TestBroker) -> None:
    """100,000 readings of one device in seconds beside 20 normal ones: theirs are stored, its own up to the bound; the
    rest is counted, told by /metrics and kept readable; the account closes, and again after a restart."""
    (mad, its), *others = poles(NORMAL + 1)
    now = time.time_ns() // 1_000_000
    values = {"voltage": 230.5, "temperature": 20.5, "powerConsumption": 81.5}
    settings = settings_in(tmp_path, broker.host, broker.port)
    with serving(tmp_path, settings) as server:
        until(lambda: server.health()["link"] == "drained", "the link is up and drained", 40)
        before = server.health()["journal"]["bytes"]
        messages = [(its, encode_json(Reading("", now + n // 40, values, 1, n + 1))) for n in range(FLOOD)]
        for turn in range(10):  # between the flood's
            messages[turn * 10_000 : turn * 10_000] = [
                (topic, encode_json(Reading("", now + turn * 1000, values, 1, turn + 1))) for _, topic in others
            ]
        send(broker, messages)
        until(lambda: account(server)["received"] == FLOOD + 10 * NORMAL, "all has come", 60)
        until(lambda: account(server)["stored"] == account(server)["journalled"], "all that is in is stored", 60)
        flooding = account(server, mad)
        assert (
            Flood().burst <= flooding["journalled"] <= 2 * Flood().burst + 250 + 6000
        )  # the times it tells of, and a minute
        assert flooding["rejected"] == {"flood": FLOOD - flooding["journalled"]}
        assert (flooding["missing"], flooding["mark"]["seq"]) == (0, FLOOD)
        for device, _ in others:
            assert account(server, device)["stored"] == 10
        assert server.health()["journal"]["bytes"] - before < 2 << 20
        counted = f'citywhistle_rejected_total{{reason="flood"}} {FLOOD - flooding["journalled"]}'
        assert counted in server.ask("/metrics").text
        said = server.ask("/api/rejects").json()
        assert any(one["reason"] == "flood" and one["topic"] == its for one in said), said
        assert server.end() == 0, server.log
    with serving(tmp_path, settings) as again:
        assert account(again, mad) == flooding


def test_a_gateway_with_hours_of_backlog_loses_nothing(tmp_path: Path, broker: TestBroker) -> None:
    """Twenty devices behind a gateway that was cut off for eight hours, its live readings first, then the backlog as
    fast as the broker takes it, some newest first: every reading is stored."""
    now = time.time_ns() // 1_000_000
    count = HOURS * 3600 // CADENCE_S
    messages = []
    for place, (device, topic) in enumerate(poles(NORMAL)):
        readings = [
            Reading(device, now - (count - n) * CADENCE_S * 1000, {"voltage": 230 + n % 9 / 10}, 1, n)
            for n in range(1, count + 1)
        ]
        packs = [encode_columns(readings[at : at + 60]) for at in range(0, count, 60)]
        if place % 2:
            packs.reverse()
        messages += [(topic, pack) for pack in packs]
    with serving(tmp_path, settings_in(tmp_path, broker.host, broker.port)) as server:
        until(lambda: server.health()["link"] == "drained", "the link is up and drained", 40)
        send(broker, messages)
        until(lambda: account(server)["stored"] == NORMAL * count, "all is stored", 60)
        total = account(server)
        assert (total["rejected"], total["missing"], total["duplicate"]) == ({}, 0, 0)
        assert server.end() == 0, server.log
