"""The fleet over a real broker: through gateways, exact by its own log after kill -9, going on where it stopped."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devices.cities.load import load_city
from devices.clock import RealClock, SimulatedClock, write_clock
from devices.command import app
from devices.faults.fault import Fault
from devices.faults.scenario import Scenario
from devices.fleet.fleet import Fleet
from devices.fleet.memory import read_memory, recall, write_memory
from devices.fleet.run import Runner, connect, obey
from devices.fleet.truck import Truck
from devices.log import read_log
from devices.outlet import Outlet
from devices.topics import Topic
from devices.wire import Broker
from tests.broker import TestBroker
from tests.devices.server import Server

HELSINKI = Path(__file__).parents[3] / "devices" / "cities" / "helsinki"

pytestmark = pytest.mark.broker


@pytest.fixture
def server(broker: TestBroker) -> Iterator[Server]:
    made = Server(broker.host, broker.port, mark_at_once=True)
    yield made
    made.close()


def start(broker: TestBroker, folder: Path, *more: str) -> subprocess.Popen[str]:
    arguments = ["-m", "twin", "devices", "run", "--city", str(HELSINKI), "--broker", broker.address, "--state",
                 str(folder), "--seed", "7", "--json", *more]  # fmt: skip
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def by_device(log_path: Path) -> dict[tuple[str, int], set[int]]:
    return {(d, boot): set(sent.seqs()) for d, boots in read_log(log_path).items() for boot, sent in boots.items()}


def heard(server: Server) -> dict[tuple[str, int], set[int]]:
    found: dict[tuple[str, int], set[int]] = {}
    for device, boot, seq in server.heard:
        found.setdefault((device, boot), set()).add(seq)
    return found


def test_killed_and_started_again_the_log_says_exactly_what_was_sent(
    broker: TestBroker, server: Server, tmp_path: Path
) -> None:
    """kill -9 in full flight, then a graceful end: per device and boot the server heard what the log says."""
    clock = tmp_path / "clock.json"
    write_clock(clock, SimulatedClock(1_795_205_100_000, RealClock().now_ms(), 20.0))
    child = start(broker, tmp_path / "state", "--clock", str(clock), "--no-faults")
    try:
        server.wait(lambda: len(server.heard) > 1500)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate(timeout=20)
        first = by_device(tmp_path / "state" / "fleet.sent.jsonl")
        child = start(broker, tmp_path / "state", "--clock", str(clock), "--no-faults")
        before = len(server.heard)
        server.wait(lambda: len(server.heard) > before + 1000)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == 0, err
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["buffered"], last["dropped"]) == ("ended", 0, 0)
    log = by_device(tmp_path / "state" / "fleet.sent.jsonl")
    boots = {boot for _, boot in log}
    assert len(boots) == 2
    assert all(log[key] >= numbers for key, numbers in first.items())
    got = heard(server)
    # What the killed process had logged and not handed to the broker was kept on disk, and its successor sent it.
    assert got == log
    assert last["covered"] == last["sent"] >= sum(len(n) for (_, boot), n in log.items() if boot == max(boots))
    assert (tmp_path / "state" / "fleet.sent.kept").read_bytes() == b""


def test_a_lost_gateway_is_silent_and_loses_nothing(broker: TestBroker, server: Server) -> None:
    """Its last will is stated, its devices' readings wait and arrive with their own times when it is back."""
    city = load_city(HELSINKI)
    clock = SimulatedClock(1_795_205_100_000, RealClock().now_ms(), 30.0)
    begin = clock.now_ms()
    fault = Fault("gateway_loss", "gw-02", begin + 60_000, begin + 180_000)
    fleet = Fleet(city, 7, begin, scenario=Scenario((fault,)), kinds=["pole", "gateway"])
    outlet = Outlet(Broker(broker.host, broker.port), None, boot=5, answer=obey(fleet))
    connect(fleet, outlet)
    runner, stop = Runner(fleet, outlet, clock), threading.Event()
    thread = threading.Thread(target=runner.run, args=(stop,))
    thread.start()
    topic = Topic("091001", "gateway", "gw-02", "state")

    def states() -> list[object]:
        return [told["online"] for t, told in server.payloads if t == topic]

    server.wait(lambda: states()[-2:] == [1, 0])
    server.wait(lambda: states()[-1] == 1)
    server.wait(lambda: any(t > begin + 200_000 for t in times(server, "pole-0001")))
    stop.set()
    thread.join()
    assert outlet.drain(20)
    outlet.close()
    said = times_said(server, "pole-0001")
    assert said == sorted(said)
    gaps = [later - earlier for earlier, later in itertools.pairwise(said)]
    assert max(gaps) < 62_000  # nothing is missing from the time of the cut
    assert runner.said["pole"] + runner.said["gateway"] == outlet.counts.sent == outlet.counts.covered


def times(server: Server, device: str) -> list[int]:
    return [int(str(told["t"])) for topic, told in server.payloads if topic.device == device and "t" in told]


def times_said(server: Server, device: str) -> list[int]:
    """Event times in order of the sequence numbers, each once."""
    told = {int(str(m["seq"])): int(str(m["t"])) for t, m in server.payloads if t.device == device and "seq" in m}
    return [told[seq] for seq in sorted(told)]


def test_commands_are_answered(broker: TestBroker, server: Server) -> None:
    """A cab, a pole: whoever is told something says that it is done."""
    city = load_city(HELSINKI)
    clock = RealClock()
    fleet = Fleet(city, 7, clock.now_ms(), kinds=["truck"])
    outlet = Outlet(Broker(broker.host, broker.port), None, boot=5, answer=obey(fleet))
    connect(fleet, outlet)
    sender = outlet.sender_of("truck-001")
    assert sender is not None
    server.wait(lambda: sender.link.is_ready)
    server.command(Topic("091001", "truck", "truck-001", "cmd"), {"id": "c9", "action": "show", "text": "stop"})
    server.wait(lambda: bool(server.of("ack")))
    assert server.of("ack")[0]["ok"] is True
    outlet.close()


def test_the_fleet_remembers(tmp_path: Path) -> None:
    """Meters, odometers and faults that are not over go on at the next start; a damaged memory is refused by name."""
    city = load_city(HELSINKI)
    begin = 1_795_205_100_000
    fault = Fault("lamp_out", "pole-0001", begin + 1000, begin + 7_200_000)
    fleet = Fleet(city, 7, begin, scenario=Scenario((fault,)), kinds=["pole", "truck"])
    list(fleet.until(begin + 1_200_000))
    path = tmp_path / "fleet.json"
    write_memory(path, fleet, 0)
    again = Fleet(city, 7, begin + 1_260_000, kinds=["pole", "truck"])
    recall(again, read_memory(path))
    list(again.until(begin + 1_261_000))
    assert again.active.keys() == {("lamp_out", "pole-0001")}
    energy = {
        i: f.things["pole-0300"].reading(begin + 1_300_000, f.life)["energy"] for i, f in enumerate((fleet, again))
    }
    assert energy[0] == pytest.approx(energy[1], abs=3)
    for name, thing in fleet.things.items():
        if isinstance(thing, Truck):
            other = again.things[name]
            assert isinstance(other, Truck)
            assert (other.trip, other.odometer) == pytest.approx((thing.trip, thing.odometer), abs=40)
            assert other.line.distance(other.where[:2], thing.where[:2]) < 40
    assert Counter(type(t).__name__ for t in again.things.values())["Truck"] == 60
    path.write_text("[]")
    result = CliRunner().invoke(app, ["run", "--city", str(HELSINKI), "--state", str(tmp_path)])
    assert result.exit_code == 2
    assert "delete the file" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--city", "nowhere"], "nowhere"),
        (["--city", str(HELSINKI), "--kind", "lamp"], "--kind lamp"),
        (["--city", str(HELSINKI), "--broker", "host:port"], "is not host:port"),
        (["--city", str(HELSINKI), "--user", "u"], "--password-file"),
        (["--city", str(HELSINKI), "--credentials", "none.txt"], "none.txt"),
        (["--city", str(HELSINKI), "--ca", "none.pem"], "TLS files"),
        (["--city", str(HELSINKI), "--scenario", "none.toml"], "none.toml"),
        (["--city", str(HELSINKI), "--clock", "none.json"], "none.json"),
    ],
)
def test_wrong_options_end_with_a_readable_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback: one line that says what is wrong, exit code 2."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["run", *arguments])
    assert result.exit_code == 2
    assert says in result.stderr.replace("\n", "")
    assert "Traceback" not in result.output


def test_credentials_are_needed_user_by_user(broker: TestBroker, tmp_path: Path) -> None:
    """A file that lacks a gateway is refused with that gateway's name, before anything is sent."""
    (tmp_path / "credentials").write_text("gw-01:secret\n")
    result = CliRunner().invoke(app, ["run", "--city", str(HELSINKI), "--broker", broker.address, "--credentials",
                                      str(tmp_path / "credentials")])  # fmt: skip
    assert result.exit_code == 2
    assert "no credentials for" in result.stderr
    (tmp_path / "credentials").write_text("nonsense\n")
    result = CliRunner().invoke(app, ["run", "--city", str(HELSINKI), "--credentials", str(tmp_path / "credentials")])
    assert "credentials:1: not of the form" in result.stderr.replace("\n", "")
