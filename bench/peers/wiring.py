"""The server as it runs in a city: `citywhistle up` as a child, its CPU time, and when all that was sent is through."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from bench.peers.processes import cpu_s
from devices.cities.load import load_city
from twin.settings import BrokerSettings, CitySettings, IngestSettings, Settings, WebSettings, commented
from twin.survey.synth import Plan, synthesise

READY_S, QUIET_S = 180.0, 60.0
ABOUND = 10_000_000  # readings of a device at once that are no flood here: the bound is kept, and never met


@dataclass
class Wired:
    """A running server. Journal, store, tick, every registered detector, cases, page: nothing is left out."""

    pid: int
    url: str
    token: str

    def ask(self, path: str) -> Any:
        """An answer of its API."""
        told = httpx.get(
            self.url + path, headers={"Authorization": f"Bearer {self.token}"}, timeout=60, trust_env=False
        )
        told.raise_for_status()
        return told.json()

    def cpu(self) -> float:
        """CPU seconds so far."""
        return cpu_s(self.pid)

    def through(self, goal: int) -> tuple[int, float]:
        """Wait until `goal` readings are journalled, stored and ticked: (how many came, CPU seconds at that moment).

        The tick's mark goes on by itself, so it is no progress: without a reading for QUIET_S the rest is lost.
        """
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_S:
            total = self.ask("/api/accounting")["total"]
            health = self.ask("/api/health")
            if total["journalled"] >= goal and not health["store"]["behind"] and health["tick"]["lag_ms"] < 2500:
                return total["journalled"], self.cpu()
            if total["received"] + total["journalled"] != seen:
                seen, since = total["received"] + total["journalled"], time.monotonic()
            time.sleep(0.25)
        raise RuntimeError(f"of {goal} readings only {total['journalled']} are journalled; the account: {total}")


@contextlib.contextmanager
def wired(broker: int, devices: int, scratch: Path) -> Iterator[tuple[Wired, list[str]]]:
    """A server of a generated city, and the topics of its poles."""
    city = scratch / "city"
    synthesise(Plan(devices=devices, area_km2=max(4.0, devices / 84), gateways=max(4, devices // 150)), city)
    topics = [f"city/{d.district}/pole/{d.id}/telemetry" for d in load_city(city).devices if d.kind == "pole"]
    settings = Settings(
        data_dir=str(scratch / "data"),
        city=CitySettings(dir=str(city)),
        broker=replace(BrokerSettings(), port=broker, user=""),
        web=WebSettings(port=0),
        ingest=IngestSettings(flood_burst=ABOUND),
    )
    config = scratch / "citywhistle.toml"
    config.write_text(commented(settings), encoding="utf-8")
    with (scratch / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "twin", "up", "--config", str(config)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield _ready(server, scratch), topics
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _ready(server: subprocess.Popen[bytes], scratch: Path) -> Wired:
    note, end = scratch / "data" / "running.json", time.monotonic() + READY_S
    while time.monotonic() < end and server.poll() is None:
        if note.exists():
            told = json.loads(note.read_text(encoding="utf-8"))
            wired = Wired(server.pid, told["url"], told["token"])
            if wired.ask("/api/health")["link"] == "drained":
                return wired
        time.sleep(0.1)
    log = (scratch / "server.log").read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(f"the server did not become ready:\n{log}")
