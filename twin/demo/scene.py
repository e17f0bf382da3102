"""Where a demo lives and how its time runs: one folder per seed, so that starting again continues the same city."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from devices.clock import SimulatedClock, write_clock
from twin.errors import TwinError
from twin.journal import Journal
from twin.records import Tick

# The first evening of every demo city: dark, a Friday, after the hours of most permits. Fixed, so that a seed says all.
FIRST_EVENING = "2026-11-20T22:05:00"
SCAN = 4096


class DemoFailed(TwinError):
    """The demo cannot go on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The folder of one demo city."""

    root: Path

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.root / "data"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    @property
    def senders(self) -> Path:
        """The senders' own logs and boot numbers."""
        return self.root / "senders"

    @property
    def truth(self) -> Path:
        """Labels of the injected faults; the server is never told where."""
        return self.root / "truth.jsonl"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def clock(self) -> Path:
        return self.root / "clock.json"

    @property
    def config(self) -> Path:
        return self.root / "citywhistle.toml"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox.jsonl"

    def prepare(self) -> None:
        """Make the folders. Raises DemoFailed where they cannot be made."""
        try:
            for folder in (self.data, self.broker, self.senders, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DemoFailed(f"{self.root} cannot be made: {error.strerror}; choose another with --home") from error


def folder_of(city: str, seed: int, faults: bool, scenario: Path | None) -> str:
    """The folder's name: another city, seed or schedule is another life, which must not go on in this one's.

    >>> folder_of("helsinki", 7, True, None), folder_of("helsinki", 7, False, None)
    ('helsinki-7', 'helsinki-7-quiet')
    """
    schedule = f"-{scenario.stem}" if scenario is not None else "" if faults else "-quiet"
    return f"{Path(city).name}-{seed}{schedule}"


def last_mark(scene: Scene) -> int | None:
    """City time of the last tick mark in the journal; None before the first. The server must not be running."""
    path = scene.data / "journal.db"
    if not path.exists():
        return None
    journal = Journal(path)
    with contextlib.closing(journal):
        newest: int | None = None
        after = max(journal.first - 1, journal.position - SCAN)
        while entries := journal.read(after, SCAN):
            after = entries[-1].n
            for entry in entries:
                if isinstance(entry.body, Tick):
                    newest = entry.body.now_ms
        return newest


def first_evening(timezone: str, begins: str = FIRST_EVENING) -> int:
    """When a demo city's life begins (local time, ISO), in ms."""
    return int(datetime.fromisoformat(begins).replace(tzinfo=ZoneInfo(timezone)).timestamp() * 1000)


def wind(scene: Scene, begins_ms: int, speed: float) -> SimulatedClock:
    """Set the city's clock going: from the last mark of an earlier run, else from its beginning."""
    resumed = last_mark(scene)
    if resumed is None:
        resumed = begins_ms
    clock = SimulatedClock(resumed + 1, time.time_ns() // 1_000_000, speed)
    write_clock(scene.clock, clock)
    return clock


@contextlib.contextmanager
def alone(scene: Scene) -> Iterator[None]:
    """Hold the folder for this demo. Raises DemoFailed when another demo runs in it."""
    import fcntl
    import os

    scene.root.mkdir(parents=True, exist_ok=True)
    with (scene.root / "demo.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise DemoFailed(
                f"a demo runs in {scene.root} already (pid {lock.read().strip() or '?'}); stop it, or use --home"
            ) from error
        lock.truncate(0)
        lock.write(json.dumps(os.getpid()))
        lock.flush()
        yield
