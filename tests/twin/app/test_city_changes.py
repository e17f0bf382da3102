"""A city that changes under a running server: strangers adopted, hardware replaced, devices retired, kill -9."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

from devices.cities.load import load_city
from tests.broker import TestBroker, guarded_broker
from tests.devices.small_city import change, write_small_city
from tests.twin.app.serving import Serving, serving, settings_in
from tests.twin.ingest.conftest import Publisher, until
from twin.__main__ import app
from twin.broker.conf import BrokerFiles
from twin.broker.provision import provision, read_credentials
from twin.settings import BrokerSettings, CitySettings


def reading(boot: int, seq: int) -> bytes:
    return json.dumps({"boot": boot, "seq": seq, "t": time.time_ns() // 1_000_000, "voltage": 231.0}).encode()


def call(server: Serving, method: str, path: str, body: Any = None) -> Any:
    note = server.note()
    assert note is not None
    headers = {"Authorization": f"Bearer {note['token']}"}
    answer = httpx.request(method, note["url"] + path, json=body, headers=headers, timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def accounts(server: Serving) -> dict[str, dict[str, Any]]:
    return {one["device"]: one for one in server.ask("/api/accounting?limit=1000").json()["devices"]}


def test_adopt_replace_retire_and_start_again(tmp_path: Path) -> None:
    """A pole that knocks by a gateway's account becomes a device with its own user, read by the running broker; new
    hardware with old numbers loses nothing; a retired one knocks again; after kill -9 it is the same city with the
    same past, and the journal replayed from nothing gives the same."""
    city = write_small_city(tmp_path / "town")
    provision(load_city(city).devices, tmp_path / "broker")
    users = BrokerFiles(tmp_path / "broker")
    with guarded_broker(tmp_path / "broker") as broker:
        base = settings_in(tmp_path, broker.host, broker.port)
        settings = replace(
            base,
            city=CitySettings(dir=str(city)),
            broker=BrokerSettings(host=broker.host, port=broker.port, password_file=str(users.password_of("server"))),
        )
        topic = "city/310101/pole/pole-0009/telemetry"
        with serving(tmp_path, settings) as server:
            until(lambda: server.health()["link"] == "drained", "the link is up", 40)
            began = int(server.ask("/api/city").json()["clock"]["city_ms"])
            value = {"gateway": "", "lon": 121.5005, "lat": 31.2001, "street": "310101001", "cabinet": "cabinet-011"}
            done = call(server, "POST", "/api/registry/adopt", {
                "reason": "new pole", "devices": [{"device": "pole-0009", "kind": "pole",
                                                   "value": {**value, "district": "310101"}}]})  # fmt: skip
            assert done["version"] == 2
            assert any("pole-0009" in note for note in done["notes"]), done["notes"]
            password = read_credentials(users)["pole-0009"]
            poles: list[Publisher] = []
            until(lambda: _connected(broker, "pole-0009", password, poles), "the broker knows the new user")
            pole = poles[0]
            for seq in (1, 2, 3):
                pole.say(topic, reading(1, seq))
            until(lambda: accounts(server).get("pole-0009", {}).get("journalled") == 3, "three readings are there")
            call(server, "POST", "/api/registry/devices/pole-0009/replace", {"reason": "new board", "model": "reset"})
            for seq in (1, 2, 3, 4):
                pole.say(topic, reading(1, seq))
            until(lambda: accounts(server)["pole-0009"]["journalled"] == 7, "the new board's numbers are its own")
            assert accounts(server)["pole-0009"]["duplicate"] == 0
            assert accounts(server)["pole-0009"]["missing"] == 0
            server.process.kill()
            server.process.wait()
        with serving(tmp_path, settings) as server:
            until(lambda: server.health()["link"] == "drained", "the link is up again", 40)
            assert accounts(server)["pole-0009"]["journalled"] == 7
            assert server.ask("/api/devices/pole-0009").status_code == 200
            assert server.ask(f"/api/registry/devices/pole-0009?at={began - 1}").status_code == 404
            assert [v["version"] for v in server.ask("/api/registry/versions").json()] == [2, 3]
            pole.say(topic, reading(1, 5))
            until(lambda: accounts(server)["pole-0009"]["journalled"] == 8, "it goes on")
            assert accounts(server)["pole-0009"]["duplicate"] == 0
            retired = call(server, "DELETE", "/api/registry/devices/truck-001?reason=scrapped")
            assert {c["table"] for c in retired["changes"]} == {"devices", "permits"}
            assert server.ask("/api/devices/truck-001").status_code == 404
            told = CliRunner().invoke(app, ["city", "object", "show", "devices", "pole-0009", "-c", str(server.config)])
            assert "urn:citywhistle:310101" in told.output, told.output
            assert ended(server) == 0
        pole.close()
        change(
            city, "devices.csv", "pole-0002,pole,3101010201000002,121.5010", "pole-0002,pole,3101010201000002,121.5011"
        )
        with serving(tmp_path, settings) as server:
            past = server.ask("/api/registry/devices/pole-0002/history").json()
            assert [(v["version"], v["actor"]) for v in past] == [(5, "files")]
            assert server.ask("/api/devices/pole-0009").status_code == 200
            assert server.ask("/api/devices/truck-001").status_code == 404
            assert ended(server) == 0
        told = CliRunner().invoke(app, ["journal", "check", "-c", str(tmp_path / "citywhistle.toml"), "--json"])
        assert told.exit_code == 0, told.output
        assert json.loads(told.output)["chain_equal"]


def ended(server: Serving) -> int:
    """SIGTERM; its exit status. A machine that others load takes its time."""
    server.process.terminate()
    return server.process.wait(90)


def _connected(broker: TestBroker, user: str, password: str, found: list[Publisher]) -> bool:
    one = Publisher(broker, user=user, password=password)
    end_s, pause = time.monotonic() + 2, threading.Event()
    while not one.client.is_connected() and time.monotonic() < end_s:
        pause.wait(0.02)
    if one.client.is_connected():
        found.append(one)
        return True
    one.close()
    return False
