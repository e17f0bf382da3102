"""What senders keep on disk: nothing that was published is forgotten before a mark covers it, whatever happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices import keep
from devices.errors import DeviceError
from devices.keep import Keep, line, read_kept
from devices.log import SentLog, kept_beside, read_log
from devices.outlet import Outlet
from devices.sender import Address, Limits, Sender
from devices.topics import Topic
from devices.wire import Broker, Wire
from tests.broker import TestBroker
from tests.devices.server import Server
from tests.devices.test_sender import until

POLE = Address("d1", "pole", "pole-1")
TOPIC = Topic("d1", "pole", "pole-1", "telemetry")


def reading(boot: int, seq: int) -> bytes:
    return line("pole-1", False, b'{"t":1,"boot":%d,"seq":%d,"pm25":1.0}' % (boot, seq))


def test_a_torn_last_line_was_never_published(tmp_path: Path) -> None:
    """Killed while writing: the whole lines count, the torn one is cut off, and appending goes on behind them."""
    path = tmp_path / "x.kept"
    path.write_bytes(reading(7, 1) + reading(7, 2)[:-9])
    one = Keep(path)
    assert set(one.restored["pole-1"].held) == {(7, 1)}
    one.append(reading(7, 2))
    one.close()
    assert set(read_kept(path)["pole-1"].held) == {(7, 1), (7, 2)}


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """A line in the middle that is no reading is an error with its number, never a silent loss."""
    path = tmp_path / "x.kept"
    path.write_bytes(b"nonsense\n" + reading(7, 1))
    with pytest.raises(DeviceError, match=r"x\.kept:1: not a kept reading"):
        Keep(path)


def test_what_nobody_has_taken_survives_a_rewriting(tmp_path: Path) -> None:
    """Devices that this run does not send for keep their readings for a later one, with and without numbers."""
    path = tmp_path / "x.kept"
    path.write_bytes(reading(7, 1) + line("pole-2", True, b'{"t":5,"doorOpen":1.0}'))
    one = Keep(path)
    assert set(one.take("pole-1").held) == {(7, 1)}
    one.rewrite([])
    one.close()
    left = read_kept(path)
    assert left.keys() == {"pole-2"}
    assert left["pole-2"].waiting == [(5, {"doorOpen": 1.0}, True)]


def test_kept_first_and_logged_second_is_logged_at_the_next_start(tmp_path: Path) -> None:
    """A process killed between the two writes: what is sent again from the kept file stands in the log as well."""
    log = tmp_path / "a.sent.jsonl"
    kept_beside(log).write_bytes(reading(7, 1) + reading(7, 2))
    SentLog(log, keep=True).close()
    assert read_log(log)["pole-1"][7].ranges == [(1, 2)]


@pytest.mark.broker
def test_what_waits_and_what_is_held_goes_out_at_the_next_start(broker: TestBroker, tmp_path: Path) -> None:
    """Cut off and ended: published readings come again under their old numbers, the others under new ones; all once."""
    log, where = tmp_path / "a.sent.jsonl", Broker(broker.host, broker.port)
    server = Server(broker.host, broker.port)
    outlet = Outlet(where, None, boot=7, log=SentLog(log, keep=True), limits=Limits(window=4))
    sender = outlet.open("pole-1", POLE, [POLE])
    for i in range(6):
        sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0 * i}, event=i == 5)
    server.wait(lambda: len(server.heard) == 4)
    sender.cut(True)
    until(lambda: not sender.link.is_up)
    assert not outlet.drain(60)  # at once: nothing can come through
    outlet.close()
    kept = read_kept(kept_beside(log))["pole-1"]
    assert (set(kept.held), len(kept.waiting)) == ({(7, 1), (7, 2), (7, 3), (7, 4)}, 2)

    server.mark_at_once = True
    outlet = Outlet(where, None, boot=8, log=SentLog(log, keep=True))
    again = outlet.open("pole-1", POLE, [POLE])
    assert outlet.drain(20)
    outlet.close()
    assert (again.counts.given, again.counts.sent, again.counts.covered) == (6, 6, 6)
    assert set(server.heard) == {("pole-1", 7, seq) for seq in (1, 2, 3, 4)} | {("pole-1", 8, 1), ("pole-1", 8, 2)}
    assert [told["pm25"] for told in server.of("event")] == [5.0]
    assert {boot: one.ranges for boot, one in read_log(log)["pole-1"].items()} == {7: [(1, 4)], 8: [(1, 2)]}
    assert kept_beside(log).read_bytes() == b""
    server.close()


@pytest.mark.broker
def test_the_file_is_written_anew_when_it_has_grown(
    broker: TestBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covered readings do not fill the disk: what is kept stays in proportion to what is held."""
    monkeypatch.setattr(keep, "GROWN_BYTES", 4000)
    log = tmp_path / "a.sent.jsonl"
    server = Server(broker.host, broker.port, mark_at_once=True)
    outlet = Outlet(Broker(broker.host, broker.port), None, boot=7, log=SentLog(log, keep=True))
    sender = outlet.open("pole-1", POLE, [POLE])
    for i in range(500):
        sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0})
    assert outlet.drain(20)
    until(lambda: kept_beside(log).stat().st_size < 4000)
    outlet.close()
    assert len(server.heard) == 500
    server.close()


@pytest.mark.broker
def test_newer_readings_that_come_through_do_not_make_an_older_one_wait(broker: TestBroker) -> None:
    """One that got lost goes out again in time although marks go on moving beyond it."""
    wire, server = Wire(), Server(broker.host, broker.port)
    limits = Limits(patience_s=1.0, longest_patience_s=60)
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7, limits=limits)
    seq = 0

    def another() -> bool:
        nonlocal seq
        seq += 1
        sender.send("pole-1", 1_700_000_000_000 + seq, {"pm25": 1.0})
        server.wait(lambda: server.heard["pole-1", 7, seq] > 0)
        if seq > 1:
            server.mark(TOPIC, 7, 0, beyond=((2, seq),))  # the first one never got to the journal
        return server.heard["pole-1", 7, 1] > 1

    until(another)
    wire.close()
    server.close()
