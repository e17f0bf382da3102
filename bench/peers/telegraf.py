"""The ordinary way from MQTT to a database: Telegraf into InfluxDB 2, both real, their CPU time and what arrived."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench.peers.processes import cpu_s, find, free_port

TOKEN = "bench-token"
READY_S, QUIET_S = 60.0, 15.0
CONFIG = """
[agent]
  interval = "1s"
  flush_interval = "200ms"
  metric_batch_size = 5000
  metric_buffer_limit = 2000000
  omit_hostname = true
  quiet = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{broker}"]
  topics = ["city/#"]
  qos = {qos}
  client_id = "telegraf-bench"
  persistent_session = false
  max_undelivered_messages = 20000
  data_format = "json"
  json_time_key = "t"
  json_time_format = "unix_ms"
[[outputs.influxdb_v2]]
  urls = ["http://127.0.0.1:{influx}"]
  token = "{token}"
  organization = "bench"
  bucket = "bench"
"""
COUNT = (
    'from(bucket:"bench") |> range(start: 0) |> filter(fn: (r) => r._field == "voltage")'
    ' |> group() |> count() |> keep(columns: ["_value"])'
)


class Telegraf:
    """Telegraf and InfluxDB, running. `stored` counts what a query finds."""

    def __init__(self, influx_port: int, telegraf: int, influxd: int) -> None:
        self._url = f"http://127.0.0.1:{influx_port}"
        self._pids = (telegraf, influxd)

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of Telegraf and of InfluxDB."""
        return cpu_s(self._pids[0]), cpu_s(self._pids[1])

    def stored(self) -> int:
        """Readings that the database has."""
        told = httpx.post(
            f"{self._url}/api/v2/query",
            params={"org": "bench"},
            headers={"Authorization": f"Token {TOKEN}", "Content-Type": "application/vnd.flux"},
            content=COUNT,
            timeout=60,
        )
        told.raise_for_status()
        lines = [line for line in told.text.splitlines()[1:] if line.strip(",")]
        return int(lines[0].rsplit(",", 1)[1]) if lines else 0

    def settle(self, goal: int) -> dict[str, Any]:
        """Wait until all is stored, or nothing more comes. Call `cpu` before anything is sent."""
        seen, since = 0, time.monotonic()
        while seen < goal and time.monotonic() - since < QUIET_S:
            time.sleep(0.5)
            now = self.stored()
            if now != seen:
                seen, since = now, time.monotonic()
        return {"messages": seen, "lost": goal - seen}


@contextlib.contextmanager
def telegraf(broker: int, qos: int, tools: Path, scratch: Path) -> Iterator[Telegraf | None]:
    """Both programs, connected to the broker; None where they cannot be found."""
    programs = find("telegraf", tools, scratch), find("influxd", tools, scratch)
    if programs[0] is None or programs[1] is None:
        yield None
        return
    port, place = free_port(), scratch / f"influx-{qos}"
    place.mkdir()
    command = [
        str(programs[1]), "run", "--bolt-path", f"{place}/bolt", "--engine-path", f"{place}/engine",
        "--sqlite-path", f"{place}/sqlite", "--http-bind-address", f"127.0.0.1:{port}", "--reporting-disabled",
        "--log-level", "error",
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        influxd = _child(stack, command)
        _set_up(port)
        config = place / "telegraf.conf"
        config.write_text(CONFIG.format(broker=broker, influx=port, qos=qos, token=TOKEN), encoding="utf-8")
        told = (place / "log").open("wb+")
        stack.enter_context(told)
        running = _child(stack, [str(programs[0]), "--config", str(config)])
        time.sleep(3)  # it says nothing when it has subscribed
        if running.poll() is not None:
            raise RuntimeError("Telegraf ended at once")
        yield Telegraf(port, running.pid, influxd.pid)


def _child(stack: contextlib.ExitStack, command: list[str]) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(child.wait)
    stack.callback(child.kill)
    return child


def _set_up(port: int) -> None:
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + READY_S
    while True:
        try:
            if httpx.get(f"{url}/health", timeout=2).json().get("status") == "pass":
                break
        except (httpx.HTTPError, ValueError):
            pass
        if time.monotonic() > end:
            raise RuntimeError("InfluxDB did not become healthy")
        time.sleep(0.2)
    setup = {"username": "bench", "password": "bench-bench", "org": "bench", "bucket": "bench", "token": TOKEN}
    httpx.post(f"{url}/api/v2/setup", json={**setup, "retentionPeriodSeconds": 0}, timeout=30).raise_for_status()
