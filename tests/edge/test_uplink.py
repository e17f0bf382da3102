"""The uplink against a real Mosquitto: nothing is let go before the mark, everything goes again with its number."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devices.records import Reading
from devices.sender import Address
from devices.topics import Topic
from devices.wire import Broker, Wire
from edge.spool import Spool
from edge.uplink import Uplink, UplinkLimits
from tests.broker import TestBroker
from tests.devices.server import Server

OWN = Address("d1", "gateway", "gw-1")
POLES = [Address("d1", "pole", f"pole-{i}") for i in (1, 2)]
TOPIC = Topic("d1", "pole", "pole-1", "telemetry")

pytestmark = pytest.mark.broker


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "edge" / "spool.db")
    yield made
    made.close()


@pytest.fixture
def server(broker: TestBroker) -> Iterator[Server]:
    made = Server(broker.host, broker.port)
    yield made
    made.close()


def until(what: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Wait for something that has no event of its own."""
    end_s, pause = time.monotonic() + deadline_s, threading.Event()
    while not what():
        assert time.monotonic() < end_s, "waited in vain"
        pause.wait(0.01)


def swept(spool: Spool, rows: int) -> Callable[[], bool]:
    """Whether so many rows are left once what has come is carried out."""

    def look() -> bool:
        spool.sweep()
        return spool.counts.rows == rows

    return look


def readings(count: int, device: str = "pole-1", first: int = 0) -> list[Reading]:
    return [Reading(device, 1_700_000_000_000 + i, {"pm25": float(i)}) for i in range(first, first + count)]


def up(wire: Wire, broker: TestBroker, spool: Spool, limits: UplinkLimits | None = None, marks: bool = True) -> Uplink:
    return Uplink(wire, Broker(broker.host, broker.port), OWN, POLES, spool, limits=limits, marks=marks)


def test_a_reading_stays_until_the_mark_covers_it(wire: Wire, broker: TestBroker, server: Server, spool: Spool) -> None:
    """The broker's acknowledgement lets nothing go; the mark lets go exactly what it covers."""
    uplink = up(wire, broker, spool)
    until(lambda: uplink.is_up)
    spool.put(readings(10))
    uplink.notice({"pole-1"})
    server.wait(lambda: len(server.heard) == 10)
    until(lambda: uplink.link.unacknowledged == 0)
    spool.sweep()
    assert spool.counts.rows == 10
    server.mark(TOPIC, spool.boot, 4, beyond=((7, 8),))
    until(swept(spool, 4))
    assert [r.seq for r in spool.peek("pole-1")] == [5, 6, 9, 10]
    until(lambda: uplink.counts.held == 4)
    server.mark(TOPIC, spool.boot, 10)
    until(swept(spool, 0))
    told = server.of("telemetry")[0]
    assert told == {"t": 1_700_000_000_000, "boot": spool.boot, "seq": 1, "pm25": 0}


def test_presence_is_stated_and_withdrawn(wire: Wire, broker: TestBroker, server: Server, spool: Spool) -> None:
    """`state` is retained: online while connected, offline after a proper stop."""
    uplink = up(wire, broker, spool)
    server.wait(lambda: server.of("state") == [{"online": 1}])
    uplink.close()
    server.wait(lambda: server.of("state")[-1] == {"online": 0})


def test_an_outage_of_the_broker_loses_nothing(wire: Wire, broker: TestBroker, spool: Spool) -> None:
    """Readings from before, during and after a killed broker all arrive, those sent twice under the same number."""
    uplink = up(wire, broker, spool)
    first = Server(broker.host, broker.port)
    spool.put(readings(300))
    uplink.notice({"pole-1"})
    first.wait(lambda: len(first.heard) >= 50)
    heard_before = set(first.heard)
    first.close()
    broker.kill()
    until(lambda: not uplink.is_up)
    spool.put(readings(200, first=300))
    uplink.notice({"pole-1"})
    broker.start()
    second = Server(broker.host, broker.port, mark_at_once=True)
    until(swept(spool, 0))
    assert set(second.heard) == {("pole-1", spool.boot, seq) for seq in range(1, 501)}
    assert heard_before <= set(second.heard)
    values = {told["seq"]: told["pm25"] for told in second.of("telemetry")}
    assert values == {seq: seq - 1 for seq in range(1, 501)}
    assert uplink.counts.resent > 0
    assert uplink.counts.connects == 2
    second.close()


def test_a_restart_sends_again_what_no_mark_covers(broker: TestBroker, server: Server, tmp_path: Path) -> None:
    """With marks withheld a new process sends the same readings under the same (boot, seq)."""
    for turn in (1, 2):
        wire, spool = Wire(), Spool(tmp_path / "spool.db")
        if turn == 1:
            spool.put(readings(40))
        up(wire, broker, spool)
        server.wait(lambda: len(server.heard) == 40 and set(server.heard.values()) == {turn})  # noqa: B023
        wire.close()
        assert spool.counts.rows == 40
        spool.close()


def test_a_mark_that_stands_still_makes_it_send_again(
    wire: Wire, broker: TestBroker, server: Server, spool: Spool
) -> None:
    """Where the server lost what the broker had, the readings go out again without a reconnect."""
    uplink = up(wire, broker, spool, UplinkLimits(patience_s=0.5))
    spool.put(readings(3))
    uplink.notice({"pole-1"})
    server.wait(lambda: server.heard["pole-1", spool.boot, 3] >= 2)
    assert uplink.counts.connects == 1
    assert uplink.unmarked == ["pole-1"]
    server.mark(TOPIC, spool.boot, 3)
    until(swept(spool, 0))
    until(lambda: uplink.unmarked == [])


def test_live_readings_do_not_wait_for_a_long_backlog(
    wire: Wire, broker: TestBroker, server: Server, spool: Spool
) -> None:
    """Once the server knows the boot, what is new overtakes what is old; both arrive, the old in order."""
    spool.put(readings(2000))
    uplink = up(wire, broker, spool, UplinkLimits(backlog_per_s=100))
    server.wait(lambda: len(server.heard) >= 10)
    server.mark_at_once = True
    server.mark(TOPIC, spool.boot, 1)
    spool.put(readings(5, first=2000))
    uplink.notice({"pole-1"})
    server.wait(lambda: server.heard["pole-1", spool.boot, 2005] > 0)
    order = [told["seq"] for told in server.of("telemetry")]
    old = [seq for seq in order if isinstance(seq, int) and seq <= 2000]
    assert 10 <= len(old) < 1500
    assert old == list(range(1, len(old) + 1))


def test_a_backlog_keeps_its_order_until_the_server_knows_the_boot(
    wire: Wire, broker: TestBroker, server: Server, spool: Spool
) -> None:
    """A server takes the first number it hears for the first there was; so new data waits for the first mark."""
    spool.put(readings(1200))
    uplink = up(wire, broker, spool, UplinkLimits(window=2000))
    server.wait(lambda: len(server.heard) >= 1)
    spool.put(readings(5, first=1200))
    uplink.notice({"pole-1"})
    server.wait(lambda: server.heard["pole-1", spool.boot, 1205] > 0)
    assert [told["seq"] for told in server.of("telemetry")] == list(range(1, 1206))


def test_the_backlog_goes_at_a_bounded_rate(wire: Wire, broker: TestBroker, server: Server, spool: Spool) -> None:
    """At 50 a second with a first burst of 50, 150 readings take about two seconds, over all devices."""
    server.mark_at_once = True
    spool.put(readings(75) + readings(75, "pole-2"))
    uplink = up(wire, broker, spool, UplinkLimits(backlog_per_s=50))
    until(lambda: uplink.is_up)
    begun_s = time.monotonic()
    server.wait(lambda: len(server.heard) == 150)
    assert 1.5 < time.monotonic() - begun_s < 10


def test_a_device_that_never_gets_a_mark_does_not_hold_up_the_others(
    wire: Wire, broker: TestBroker, server: Server, spool: Spool
) -> None:
    """An unregistered device fills its own window only."""
    uplink = up(wire, broker, spool, UplinkLimits(window=16))
    until(lambda: uplink.is_up)
    spool.put(readings(500))
    uplink.notice({"pole-1"})
    server.wait(lambda: len(server.heard) == 16)
    server.mark_at_once = True
    spool.put(readings(100, "pole-2"))
    uplink.notice({"pole-2"})
    server.wait(lambda: server.heard["pole-2", spool.boot, 100] > 0)
    assert server.heard["pole-1", spool.boot, 17] == 0


def test_without_marks_the_brokers_acknowledgement_counts(wire: Wire, broker: TestBroker, spool: Spool) -> None:
    """For servers that publish no marks, PUBACK lets go."""
    uplink = up(wire, broker, spool, marks=False)
    spool.put(readings(600))
    uplink.notice({"pole-1"})
    until(swept(spool, 0))
    assert uplink.counts.published == 600


def test_a_mark_that_is_nonsense_is_said_and_changes_nothing(
    wire: Wire, broker: TestBroker, server: Server, spool: Spool
) -> None:
    """A mark that cannot be read covers nothing and stops nothing."""
    uplink = up(wire, broker, spool)
    spool.put(readings(1))
    uplink.notice({"pole-1"})
    server.wait(lambda: len(server.heard) == 1)
    server.mark(TOPIC, -1, 5)
    until(lambda: "not understood" in uplink.problem)
    spool.sweep()
    assert spool.counts.rows == 1
    server.mark(TOPIC, spool.boot, 1)
    until(swept(spool, 0))
