"""A whole town under test: broker, server and fleet as processes of their own, on free ports, stopped by their pids."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx
import psutil

from devices.cities.load import load_city
from devices.clock import SimulatedClock, write_clock
from devices.envelope import decode_mark
from devices.keep import Kept, read_kept
from devices.log import Log, read_log
from devices.places import CityFiles
from tests.broker import TestBroker, guarded_broker
from twin.broker.process import free_port
from twin.broker.provision import provision
from twin.demo.inbox import Inbox
from twin.demo.report import accounting, with_senders
from twin.settings import (
    BrokerSettings,
    CitySettings,
    JournalSettings,
    Settings,
    StoreSettings,
    WebSettings,
    WhistleSettings,
    commented,
)

EVENING_MS = 1_795_205_100_000  # 2026-11-20 22:05 in Helsinki: dark, and outside the permits' hours
DRAIN_S = 300.0  # the fleet's end waits so long for what no mark covers, doing nothing
T = TypeVar("T")
MINUTES = float(os.environ.get("CITYWHISTLE_TEST_MINUTES", "inf"))


def rounds(count: int) -> Iterator[int]:
    """0, 1, 2 ... of a soak, at most `count`, and no more once CITYWHISTLE_TEST_MINUTES are over."""
    until = time.monotonic() + 60 * MINUTES
    for number in range(count):
        if time.monotonic() > until:
            return
        yield number


def wait_for(
    look: Callable[[], T | None],
    what: str,
    timeout_s: float = 60.0,
    *,
    moving: Callable[[], object] | None = None,
    longest_s: float = 1200.0,
) -> T:
    """The first thing that `look` finds; fails the test when it finds nothing in time.

    With `moving` it is patience, not a deadline: as long as what `moving` tells changes, the work goes on and only the
    machine is slow, so the time starts anew, up to `longest_s` in all. While all of us are suspended no time passes.
    """
    waited = still = 0.0
    before, last = time.monotonic(), moving() if moving is not None else None
    while True:
        found = look()
        if found:
            return found
        passed = min(5.0, time.monotonic() - before)
        before = time.monotonic()
        waited, still = waited + passed, still + passed
        if moving is not None and (told := moving()) != last:
            last, still = told, 0.0
        if still > timeout_s or waited > longest_s:
            raise AssertionError(f"not within {waited:.0f} s: {what}")
        time.sleep(0.02)  # a poll of another process, bounded by the deadlines


def working(*processes: subprocess.Popen[bytes] | None) -> Callable[[], object]:
    """What changes while a process works: the CPU time that it has had, in half seconds.

    A process that sleeps for ever does not move; one that spins for ever is stopped by the longest wait.
    """

    def told() -> object:
        had = []
        for process in processes:
            try:
                times = psutil.Process(process.pid).cpu_times() if process is not None else None
            except psutil.NoSuchProcess:
                times = None
            had.append(int(2 * (times.user + times.system)) if times is not None else -1)
        return had

    return told


@dataclass(slots=True)
class Town:
    """One town in a folder of its own."""

    root: Path
    files: CityFiles
    broker: TestBroker
    inbox: Inbox
    server: subprocess.Popen[bytes] | None = None
    fleet: subprocess.Popen[bytes] | None = None
    disk: Path | None = None  # where the server's data are, if elsewhere
    env: dict[str, str] = field(default_factory=dict)  # of the server, besides ours
    _sinks: list[IO[bytes]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return (self.disk or self.root) / "data"

    @property
    def config(self) -> Path:
        return self.root / "citywhistle.toml"

    def run(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """A command of citywhistle as a process; what it writes goes to a log."""
        sink = (self.root / f"{name}.log").open("ab")
        self._sinks.append(sink)
        env = {**os.environ, **(self.env if name == "server" else {})}
        return subprocess.Popen([sys.executable, "-m", "twin", *arguments], stdout=sink, stderr=sink, env=env)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "twin", *arguments], capture_output=True, text=True, timeout=300, check=False
        )

    def start_server(self) -> None:
        """Start the server and wait until its page answers, as long as it works on that."""
        self.launch_server()
        try:
            wait_for(self._note, "the server's note", moving=working(self.server))
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.log('server')}") from error

    def kill(self, name: str) -> None:
        """kill -9 to "server" or "fleet", by its pid."""
        process: subprocess.Popen[bytes] | None = getattr(self, name)
        assert process is not None
        process.kill()
        process.wait()

    def launch_server(self) -> None:
        """Start the server and go on at once."""
        self.server = self.run("server", ["up", "--config", str(self.config)])

    def stop(self, name: str, timeout_s: float = DRAIN_S + 60.0) -> int:
        """SIGTERM to a process by its pid, and its exit code, however long it works on its end."""
        process: subprocess.Popen[bytes] | None = getattr(self, name)
        assert process is not None
        process.terminate()
        wait_for(lambda: process.poll() is not None, f"the end of the {name}", timeout_s, moving=working(process))
        return process.wait()

    def start_fleet(self, *more: str) -> None:
        """The simulated fleet with its own log; `more` are further options."""
        clock, state = str(self.root / "clock.json"), str(self.root / "senders")
        common = ["--city", str(self.files.folder), "--broker", self.broker.address, "--clock", clock, "--json"]
        common += ["--credentials", str(self.broker.files.credentials), "--state", state, "--drain", f"{DRAIN_S:.0f}"]
        self.fleet = self.run("fleet", ["devices", "run", *common, "--truth", str(self.root / "truth.jsonl"), *more])

    def sent(self) -> Log:
        """What the senders' own logs say."""
        log: Log = {}
        for path in sorted((self.root / "senders").glob("*.sent.jsonl")):
            log |= read_log(path)
        return log

    def kept(self) -> dict[str, Kept]:
        """What the senders keep on disk, because no mark that they heard covers it."""
        return read_kept(self.root / "senders" / "fleet.sent.kept")

    def account(self) -> dict[str, Any]:
        """The report's account of the whole town, of senders that have ended."""
        total = self.get("/api/accounting")["total"]
        devices = self.get("/api/accounting?limit=1000")["devices"]
        marks = {one["device"]: decode_mark(one["device"], json.dumps(one["mark"]).encode())
                 for one in devices if one["mark"] is not None}  # fmt: skip
        sent = sum(one.count for boots in self.sent().values() for one in boots.values())
        return accounting(sent, 0, with_senders(self.kept(), marks), total)

    def last_word(self) -> dict[str, Any]:
        """The fleet's last status line."""
        lines = (self.root / "fleet.log").read_text(encoding="utf-8").splitlines()
        told: dict[str, Any] = json.loads([line for line in lines if line.startswith("{")][-1])
        return told

    def get(self, path: str) -> Any:
        """The API's answer; None while the server does not answer."""
        note = self._note()
        if note is None:
            return None
        headers = {"Authorization": f"Bearer {note['token']}"}
        try:
            answer = httpx.get(note["url"] + path, headers=headers, timeout=120, trust_env=False)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def post(self, path: str, told: Any = None) -> bool:
        """Have the server do something; whether it said that it is done."""
        note = self._note()
        if note is None:
            return False
        headers = {"Authorization": f"Bearer {note['token']}"}
        try:
            answer = httpx.post(note["url"] + path, headers=headers, json=told, timeout=120, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    def log(self, name: str) -> str:
        """The end of a log."""
        path = self.root / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace")[-3000:] if path.exists() else ""

    def close(self) -> None:
        """End whatever still runs, by pid."""
        for process in (self.fleet, self.server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        for sink in self._sinks:
            sink.close()

    def _note(self) -> dict[str, Any] | None:
        """Where the running server is, once it has said so."""
        path = self.data / "running.json"
        if self.server is None or self.server.poll() is not None:
            raise AssertionError(f"the server is not running: {self.log('server')}")
        if not path.exists():
            return None
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return told if told["pid"] == self.server.pid else None


@contextmanager
def town(root: Path, *, speed: float, store: StoreSettings | None = None, disk: Path | None = None) -> Iterator[Town]:
    """A town on the shipped city: broker and inbox run; server and fleet are the test's to start.

    `disk`: where the server keeps its data, if not beside all the rest.
    """
    files = load_city("helsinki")
    provision(files.devices, root / "broker")
    write_clock(root / "clock.json", SimulatedClock(EVENING_MS, time.time_ns() // 1_000_000, speed))
    inbox = Inbox(root / "inbox.jsonl")
    try:
        with guarded_broker(root / "broker") as broker:
            settings = Settings(
                data_dir=str((disk or root) / "data"),
                city=CitySettings(dir=str(files.folder), clock_file=str(root / "clock.json")),
                broker=BrokerSettings(
                    host=broker.host, port=broker.port, password_file=str(broker.files.password_of("server"))
                ),
                journal=JournalSettings(checkpoint_every_s=2.0),
                store=store or StoreSettings(),
                whistle=WhistleSettings(webhook_url=inbox.url),
                web=WebSettings(port=free_port()),  # the same after every start: messages name it
            )
            (root / "citywhistle.toml").write_text(commented(settings), encoding="utf-8")
            made = Town(root, files, broker, inbox, disk=disk)
            try:
                yield made
            finally:
                made.close()
    finally:
        inbox.close()
