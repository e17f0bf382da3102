"""A real time-series server for the demo: one that you name, or one found on this machine and started beside us."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from twin.broker.process import free_port
from twin.demo.children import Child
from twin.demo.scene import DemoFailed
from twin.settings import StoreSettings

READY_S = 30.0
ORG = BUCKET = "citywhistle"
UNPACKED = Path(".cache/influxd")  # where the tests unpack theirs


@dataclass(frozen=True, slots=True)
class Series:
    """The settings of the store, and the server that we started for it (None: yours, or none needed)."""

    settings: StoreSettings
    child: Child | None = None


def series_for(kind: str, url: str, folder: Path, logs: Path) -> Series:
    """The store of a demo: `kind` embedded, influxdb or victoriametrics. Raises DemoFailed saying what to do."""
    if kind == "embedded":
        return Series(StoreSettings())
    if kind not in ("influxdb", "victoriametrics"):
        raise DemoFailed(f"--store {kind}: there are embedded, influxdb and victoriametrics")
    if url:
        token = os.environ.get("CITYWHISTLE_STORE_TOKEN_FILE", "")
        return Series(StoreSettings(kind=kind, url=url, token_file=token))
    folder.mkdir(parents=True, exist_ok=True)
    return _influxdb(folder, logs) if kind == "influxdb" else _victoriametrics(folder, logs)


def _influxdb(folder: Path, logs: Path) -> Series:
    named = (shutil.which("influxd"), os.environ.get("CITYWHISTLE_INFLUXD"), str(UNPACKED.absolute()))
    program = next((one for one in named if one and os.access(one, os.X_OK)), None)
    if program is None:
        raise DemoFailed(
            "no InfluxDB: give STORE_URL=http://host:8086 and CITYWHISTLE_STORE_TOKEN_FILE, or put influxd on PATH"
            " or into CITYWHISTLE_INFLUXD, and it is started here"
        )
    url = f"http://127.0.0.1:{free_port()}"
    command = [program, "run", "--bolt-path", str(folder / "influxd.bolt"), "--engine-path", str(folder / "engine")]
    command += ["--sqlite-path", str(folder / "influxd.sqlite"), "--http-bind-address", url.removeprefix("http://")]
    child = Child("influxdb", [*command, "--reporting-disabled"], logs / "influxdb.log", env={"HOME": str(folder)})
    _start(child, f"{url}/health")
    token = folder / "token"
    if not token.exists():
        secret = secrets.token_urlsafe(32)
        told = {"username": "citywhistle", "password": secrets.token_urlsafe(16), "org": ORG, "bucket": BUCKET}
        answer = httpx.post(
            f"{url}/api/v2/setup",
            json=told | {"token": secret, "retentionPeriodSeconds": 0},
            timeout=30,
            trust_env=False,
        )
        if answer.status_code != 201:
            child.stop()
            raise DemoFailed(f"InfluxDB could not be set up: {answer.status_code} {answer.text[:200]}")
        token.touch(mode=0o600)
        token.write_text(secret + "\n", encoding="utf-8")
    return Series(StoreSettings(kind="influxdb", url=url, org=ORG, bucket=BUCKET, token_file=str(token)), child)


def _victoriametrics(folder: Path, logs: Path) -> Series:
    program = shutil.which("victoria-metrics")
    if program is None:
        raise DemoFailed("no VictoriaMetrics: `apt install victoria-metrics`, or give STORE_URL=http://host:8428")
    url = f"http://127.0.0.1:{free_port()}"
    command = [program, "-storageDataPath", str(folder), "-httpListenAddr", url.removeprefix("http://")]
    child = Child(
        "victoriametrics", [*command, "-search.latencyOffset=0s", "-retentionPeriod=1y"], logs / "victoriametrics.log"
    )
    _start(child, f"{url}/health")
    return Series(StoreSettings(kind="victoriametrics", url=url), child)


def _start(child: Child, health: str) -> None:
    try:
        child.start()
    except OSError as error:
        raise DemoFailed(f"{child.name} cannot be started: {error}") from error
    trouble = ""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and child.code is None:
        try:
            if httpx.get(health, timeout=2, trust_env=False).status_code < 400:
                return
        except httpx.HTTPError as error:
            trouble = str(error)
        time.sleep(0.1)
    child.stop()
    raise DemoFailed(f"{child.name} was not ready within {READY_S:g} s ({trouble}):\n{child.tail()}")
