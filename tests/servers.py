"""Real servers as children of the tests: InfluxDB 2, VictoriaMetrics, PostgreSQL, on free loopback ports.

A server that cannot be found skips its tests with one visible line; with CI=true its absence fails them.
"""

from __future__ import annotations

import lzma
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
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
    """A port that nobody has at this moment, below those that the system gives to outgoing connections.

    So a server that is stopped and started again finds it free, whatever other tests connect to meanwhile.
    """
    for port in random.SystemRandom().sample(range(10_240, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.fail("no free port on the loopback")


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


class Postgres:
    """A PostgreSQL of our own, as an unprivileged user; a database costs 40 ms."""

    def __init__(self, *, fsync: bool = False) -> None:
        """Make its files (initdb) in a directory of its own: pytest's are closed to other users again and again.

        Skips where there is no PostgreSQL.
        """
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        if not found and shutil.which("postgres") is None:
            missing("postgres (PostgreSQL)")
        self.programs = found[-1].parent if found else Path(str(shutil.which("postgres"))).parent
        folder = Path(tempfile.mkdtemp(prefix="citywhistle-postgres-"))
        self._data, self._log = folder / "data", folder / "postgres.log"
        self._as: dict[str, object] = {}
        if os.geteuid() == 0:  # it refuses root
            self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(folder, "nobody", "nogroup")
        self._fsync = fsync
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self.port = free_port()
        self._run(
            "initdb", "-D", str(self._data), "--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust", "-U", "city"
        )

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        told = {"cwd": self._data.parent, "capture_output": True, "text": True, "timeout": 120}
        done = subprocess.run(command, check=False, **told, **self._as)  # type: ignore[call-overload]
        if done.returncode:
            pytest.fail(f"{program}: {done.stderr[-1000:]}")

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1",
                 "-k", "", "-c", f"fsync={'on' if self._fsync else 'off'}"],
                stdout=log, stderr=log, cwd=self._data.parent, **self._as,  # type: ignore[call-overload]
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                select_for(0.02)
            else:
                return
        pytest.fail(f"PostgreSQL does not start:\n{self._log.read_text()[-2000:]}")

    def end(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT at once and clean, SIGQUIT as a crash (it recovers at the next start)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def discard(self) -> None:
        """End it and remove its files."""
        self.end()
        shutil.rmtree(self._data.parent)

    def url(self, database: str) -> str:
        """Where a database is."""
        return f"postgresql://city@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The URL of a fresh, empty database."""
        self._count += 1
        name = f"test{self._count}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as link:
            link.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self.url(name)
