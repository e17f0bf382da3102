"""What devices really send, through broker, journal and tick of a whole server: counted, survived, and no alarm for it.

City time runs 240 times as fast as the machine's, so that hours of it go by (but where a thousand must speak in time).
Floating-point warnings are errors in the server: one would end it.
"""

from __future__ import annotations

import json
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from devices.clock import SimulatedClock, write_clock
from tests.broker import TestBroker
from tests.devices.small_city import write_small_city
from tests.twin.app.serving import Serving, serving, settings_in
from tests.twin.ingest.conftest import Publisher, until
from twin.settings import CitySettings, Settings

START_MS = 1_773_108_000_000  # 2026-03-10 10:00 in Shanghai
SPEED = 240.0
YEAR_MS = 365 * 86_400_000
pytestmark = [pytest.mark.broker, pytest.mark.acceptance, pytest.mark.timeout(900)]

Say = Callable[[int, int], bytes]  # (number, city time) -> payload


def plain(**values: Any) -> Say:
    """One flat JSON object a report."""
    return lambda seq, t: json.dumps({"boot": 1, "seq": seq, "t": t} | values).encode()


def lively(seed: int, **usual: float) -> Say:
    """Values around what is usual, as sensors tell them."""
    rng = random.Random(seed)

    def say(seq: int, t: int) -> bytes:
        told = {name: round(x * (1 + 0.02 * rng.gauss(0, 1)), 2) for name, x in usual.items()}
        return json.dumps({"boot": 1, "seq": seq, "t": t} | told).encode()

    return say


@dataclass
class Town:
    """A server over the small city, and everybody who speaks there each 30 s of city time."""

    folder: Path
    broker: TestBroker
    settings: Settings
    says: dict[str, Say] = field(default_factory=dict)  # topic -> what is said
    server: Serving | None = None
    seq: dict[str, int] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)
    clock: SimulatedClock = field(default_factory=lambda: SimulatedClock(0, 0))
    speed: float = SPEED

    def set_clock(self, city_ms: int) -> None:
        self.clock = SimulatedClock(city_ms, time.time_ns() // 1_000_000, self.speed)
        write_clock(self.folder / "clock.json", self.clock)

    def speak(self) -> None:
        """(a thread of its own)"""
        publisher = Publisher(self.broker)
        while not self.ended.wait(30.0 / self.speed):
            for topic, say in list(self.says.items()):
                n = self.seq[topic] = self.seq.get(topic, 0) + 1
                publisher.say(topic, say(n, self.clock.now_ms()))
        publisher.close()

    def live(self, hours: float) -> None:
        """Let so much city time go by."""
        end = self.clock.now_ms() + round(hours * 3_600_000)
        until(lambda: self.clock.now_ms() >= end and self.on(), f"{hours} h go by", 300)

    def on(self) -> bool:
        """Whether the server lives and keeps up."""
        return self.ask("/api/health")["tick"]["lag_ms"] < 600_000

    def ask(self, path: str) -> Any:
        assert self.server is not None
        answer = self.server.ask(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        assert self.server is not None
        note = self.server.note()
        assert note is not None
        headers = {"Authorization": f"Bearer {note['token']}"}
        answer = httpx.post(note["url"] + path, json=body, headers=headers, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def account(self, device: str) -> dict[str, Any]:
        after = ""
        while page := self.ask(f"/api/accounting?limit=1000&after={after}")["devices"]:
            for one in page:
                if one["device"] == device:
                    return dict(one)
            after = page[-1]["device"]
        raise AssertionError(f"no account of {device}")

    def cases(self) -> list[tuple[str, str]]:
        return [(case["type"], case["subject"]) for case in self.ask("/api/cases?open_only=false")]

    def nothing_broke(self) -> None:
        """No exception, no warning, and it still ticks."""
        assert self.server is not None
        assert self.server.process.poll() is None, self.server.log
        log = (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")
        for word in ("Traceback", "CRITICAL", "ERROR", "RuntimeWarning"):
            assert word not in log, log[-4000:]


POLE = {"voltage": 231.0, "powerConsumption": 0.7, "dimmingLevel": 0.0, "pm25": 40.0, "temperature": 12.0, "LAeq": 58.0}
CELL = {"rsrp": -90.0, "sinr": 14.0, "prbLoadDown": 30.0, "connectedUsers": 40.0, "temperature": 40.0}


def topic(kind: str, device: str) -> str:
    return f"city/310101/{kind}/{device}/telemetry"


@pytest.fixture
def town(
    request: pytest.FixtureRequest, tmp_path: Path, broker: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Town]:
    monkeypatch.setenv("PYTHONWARNINGS", "error::RuntimeWarning")
    city = write_small_city(tmp_path / "town")
    settings = replace(
        settings_in(tmp_path, broker.host, broker.port),
        city=CitySettings(dir=str(city), clock_file=str(tmp_path / "clock.json")),
    )
    made = Town(tmp_path, broker, settings, speed=getattr(request, "param", SPEED))
    made.set_clock(START_MS)
    made.says = {topic("pole", "pole-0001"): lively(1, **POLE), topic("cell", "cell-0001"): lively(2, **CELL)}
    speaker = threading.Thread(target=made.speak)
    with serving(tmp_path, settings) as server:
        made.server = server
        until(lambda: server.health()["link"] == "drained", "the link is drained", 40)
        speaker.start()
        try:
            yield made
            if made.server is server:
                made.nothing_broke()
        finally:
            made.ended.set()
            speaker.join()


def test_values_that_are_none_are_counted_and_alarm_nobody(town: Town) -> None:
    """NaN, infinities, numbers beyond every range, texts and nulls among good values; constant zeros for hours."""
    bad = ("NaN", "1e999", "Infinity", "-1e308", "-Infinity", '"warm"', "null", "true", "[1]", "2147483647")
    rng = random.Random(3)

    def odd(seq: int, t: int) -> bytes:
        volts = bad[seq % len(bad)] if seq > 40 else f"{231 + rng.gauss(0, 1):.1f}"
        good = f'"boot": 1, "seq": {seq}, "t": {t}, "temperature": 12.5'
        return f'{{{good}, "voltage": {volts}, "pm25": {bad[-1 - seq % 4]}}}'.encode()

    zeros = dict.fromkeys(("pm25", "pm10", "no2", "powerConsumption", "current", "dimmingLevel", "tilt", "LAeq",
                           "leakageCurrent", "precipitation", "windSpeed", "energy"), 0)  # fmt: skip
    town.says[topic("pole", "pole-0002")] = odd
    town.says[topic("pole", "pole-0003")] = plain(**zeros)
    town.says[topic("cell", "cell-0002")] = plain(**dict.fromkeys(CELL, 0), rrcSuccess=0, rrcAttempts=0)
    town.live(4)
    told = town.account("pole-0002")
    assert sum(told["rejected"].values()) > 0, told
    assert told["received"] > 80
    assert town.account("pole-0003")["missing"] == 0
    assert not [case for case in town.cases() if case[1] in ("pole-0001", "cell-0001", "pole-0003")], town.cases()
    assert not [case for case in town.cases() if case[0] in ("device_silent", "clock_skew")], town.cases()


def test_time_that_goes_backwards_moves_nothing(town: Town) -> None:
    """A device whose times fall from report to report, one whose time stands still, one a day behind with each third:
    stored, counted, and nobody is accused."""
    town.says[topic("pole", "pole-0002")] = lambda seq, t: plain(**POLE)(seq, START_MS - 40 * seq + 0 * t)
    town.says[topic("pole", "pole-0003")] = lambda seq, t: plain(**POLE)(seq, START_MS + 0 * t)
    third = lively(5, **CELL)
    town.says[topic("cell", "cell-0002")] = lambda seq, t: third(seq, t - 86_400_000 * (seq % 3 == 0))
    town.live(2)
    for device in ("pole-0002", "pole-0003", "cell-0002"):
        told = town.account(device)
        assert (told["missing"], sum(told["rejected"].values())) == (0, 0), told
        assert told["journalled"] > 40, told
    assert not [case for case in town.cases() if case[0] != "clock_skew"], town.cases()


def test_another_unit_or_kind_is_refused_by_reason(town: Town) -> None:
    """A pole that goes on in other units (SenML), and one that speaks as a cell: refused, counted, readable; the
    others go on; what it said before is not taken for something else."""
    right = lively(7, **POLE)

    switch = town.clock.now_ms() + 2_400_000

    def pack(seq: int, t: int) -> bytes:
        voltage = {"u": "V", "v": 231.0} if t < switch else {"u": "kV", "v": 0.231}
        records = [{"n": "boot", "v": 1}, {"n": "seq", "v": seq}, {"n": "voltage", "t": t / 1000} | voltage]
        return json.dumps(records).encode()

    town.says[topic("pole", "pole-0002")] = right
    town.says[topic("pole", "pole-0003")] = pack
    town.live(1.5)
    del town.says[topic("pole", "pole-0002")]
    town.says[topic("cell", "pole-0002")] = lively(8, **CELL)
    town.live(1)
    reasons = {reject["reason"] for reject in town.ask("/api/rejects?limit=500")}
    assert "unknown_device" in reasons
    strangers = {(one["kind"], one["device"]) for one in town.ask("/api/registry/strangers")}
    assert ("cell", "pole-0002") in strangers
    told = town.account("pole-0003")
    assert any(reason == "unit" for reason in told["rejected"]) or "unit" in reasons, (told, reasons)
    silent = {"device_silent", "gateway_loss", "cabinet_trip", "feeder_trip"}  # of who really says nothing any more
    assert not [c for c in town.cases() if c[0] not in silent or c[1] in ("pole-0001", "cell-0001")], town.cases()


@pytest.mark.parametrize("town", [1.0], indirect=True)
def test_a_thousand_new_devices_at_once(town: Town) -> None:
    """A thousand strangers knock in one burst: each is listed; adopted together they report, and nobody whistles."""
    publisher = Publisher(town.broker)
    names = [f"pole-{n:04d}" for n in range(1000, 2000)]

    def burst(seq: int) -> None:
        for name in names:
            body = json.dumps({"boot": 1, "seq": seq, "t": town.clock.now_ms(), "voltage": 230 + seq % 3}).encode()
            publisher.client.publish(topic("pole", name), body, qos=1)
        publisher.say(topic("pole", names[-1]), b"{}")

    burst(1)
    until(lambda: len(town.ask("/api/registry/strangers?limit=2000")) == 1000, "all are listed", 60)
    where = {"gateway": "gw-01", "cabinet": "cabinet-011", "lon": 121.5003, "lat": 31.2001, "street": "310101001"}
    devices = [{"device": name, "value": where} for name in names]
    began = time.monotonic()
    done = town.post("/api/registry/adopt", {"reason": "the new quarter", "devices": devices})
    assert len(done["changes"]) == 1000
    assert time.monotonic() - began < 60
    assert town.ask("/api/registry/strangers") == []
    for seq in range(2, 8):
        burst(seq)
    until(lambda: town.account(names[0])["journalled"] == 6, "they are heard", 60)
    assert len(town.ask("/api/registry/devices?limit=5000")) == 1009
    assert town.cases() == []
    publisher.close()


def test_a_channel_that_appears_after_a_year(town: Town) -> None:
    """A year in which nobody spoke and the server was away accuses nobody; a quantity that was never said before comes
    up then, and is only learnt."""
    town.live(2)
    assert town.server is not None
    town.server.process.send_signal(signal.SIGTERM)
    assert town.server.process.wait(60) == 0
    says, town.says = town.says, {}
    town.set_clock(START_MS + YEAR_MS)
    with serving(town.folder, town.settings) as server:
        town.server = server
        until(lambda: server.health()["link"] == "drained", "the link is drained", 40)
        wave = lively(9, no2=30.0, windSpeed=4.0, precipitation=0.4)
        first = says[topic("pole", "pole-0001")]

        def more(seq: int, t: int) -> bytes:
            told = json.loads(first(seq, t)) | json.loads(wave(seq, t))
            return json.dumps(told | {"relativeHumidity": round(60 + 20 * math.sin(seq / 90), 1)}).encode()

        town.says = says | {topic("pole", "pole-0001"): more}
        town.live(4)
        told = {one["quantity"]: one for one in town.ask("/api/devices/pole-0001")["values"]}
        assert told["no2"]["expected"] is not None
        assert town.cases() == []
        assert town.account("pole-0001")["missing"] == 0
        town.nothing_broke()
