"""Real store servers as children of the tests: InfluxDB 2 and VictoriaMetrics on free loopback ports.

A server that cannot be found skips its tests with one visible line; with CI=true its absence fails them.
"""

from __future__ import annotations

import lzma
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache"
PASSWORD = secrets.token_hex(8)


def missing(what: str) -> None:
    """Skip, or fail where CI asks for everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not here, and CI=true wants it")
    pytest.skip(f"{what} is not here")


def find_influxd() -> Path | None:
    """influxd on PATH, by CITYWHISTLE_INFLUXD, or packed beside the project (unpacked into its cache once)."""
    for named in (shutil.which("influxd"), os.environ.get("CITYWHISTLE_INFLUXD")):
        if named and Path(named).exists():
            return Path(named)
    cached = CACHE / "influxd"
    packed = ROOT.parent / "shared" / "tools" / "influxd" / "influxd.xz"
    if not cached.exists() and packed.exists():
        CACHE.mkdir(exist_ok=True)
        aside = CACHE / f"influxd.{os.getpid()}"
        with lzma.open(packed) as source, aside.open("wb") as target:
            shutil.copyfileobj(source, target)
        aside.chmod(0o755)
        aside.replace(cached)
    return cached if cached.exists() else None


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A child process that answers HTTP; `start`, `stop`, `kill` and start again on the same port and folder."""

    def __init__(self, command: Callable[[int], list[str]], health: str, folder: Path) -> None:
        self._command = command
        self._health = health
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        log = (self._folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            self._command(self.port), stdout=log, stderr=log, env={**os.environ, "HOME": str(self._folder)}
        )
        log.close()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                if httpx.get(self.url + self._health, timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                select_for(0.02)
        pytest.fail(f"no healthy server:\n{(self._folder / 'server.log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it gently."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)


def select_for(seconds: float) -> None:
    """Wait a moment between two looks at a starting server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as idle:
        idle.settimeout(seconds)
        idle.bind(("127.0.0.1", 0))
        try:
            idle.recv(1)
        except TimeoutError:
            return


def influxdb(folder: Path) -> Server:
    """An InfluxDB 2 that nobody has set up yet. Skips where there is none."""
    found = find_influxd()
    if found is None:
        missing("influxd (InfluxDB 2)")

    def command(port: int) -> list[str]:
        return [
            str(found), "run", "--bolt-path", f"{folder}/influxd.bolt", "--engine-path", f"{folder}/engine",
            "--sqlite-path", f"{folder}/influxd.sqlite", "--http-bind-address", f"127.0.0.1:{port}",
            "--reporting-disabled", "--log-level", "error",
        ]  # fmt: skip

    return Server(command, "/health", folder)


def victoriametrics(folder: Path) -> Server:
    """A VictoriaMetrics. Skips where there is none."""
    found = shutil.which("victoria-metrics") or shutil.which("victoria-metrics-prod")
    if found is None:
        missing("victoria-metrics")

    def command(port: int) -> list[str]:
        return [
            str(found), f"-storageDataPath={folder}/vm", f"-httpListenAddr=127.0.0.1:{port}",
            "-search.latencyOffset=0s", "-dedup.minScrapeInterval=1ms", "-retentionPeriod=100y",
            "-search.disableCache",
        ]  # fmt: skip

    return Server(command, "/health", folder)
