"""A real server process for the tests: its configuration, its page's answers, its end by SIGTERM."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from tests.acceptance.town import wait_for, working
from tests.servers import free_port
from twin.settings import BrokerSettings, JournalSettings, Settings, WebSettings, commented

READY_S = 40.0
STOP_S = 15.0


def settings_in(folder: Path, host: str = "127.0.0.1", port: int = 0) -> Settings:
    """A configuration for a folder; without a port one where nobody listens."""
    return Settings(
        data_dir=str(folder / "data"),
        broker=BrokerSettings(host=host, port=port or free_port(), user=""),
        journal=JournalSettings(checkpoint_every_s=0.5),
        web=WebSettings(port=0),
    )


def write_config(folder: Path, settings: Settings, more: str = "") -> Path:
    """The configuration as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "citywhistle.toml"
    path.write_text(commented(settings) + more, encoding="utf-8")
    return path


@dataclass
class Serving:
    """One `citywhistle up`."""

    config: Path
    data: Path
    process: subprocess.Popen[bytes]
    sink: IO[bytes]

    @property
    def log(self) -> str:
        """The end of what it wrote."""
        return (self.config.parent / "server.log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def note(self) -> dict[str, Any] | None:
        """What it says of itself once its page answers."""
        path = self.data / "running.json"
        assert self.process.poll() is None, self.log
        if not path.exists():
            return None
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return told if told["pid"] == self.process.pid else None

    def ready(self) -> None:
        """Wait until its page answers, as long as it works on that."""
        wait_for(self.note, "the server's note", READY_S, moving=working(self.process))

    def ask(self, path: str) -> httpx.Response:
        """The API's answer, whatever it is."""
        note = self.note()
        assert note is not None
        headers = {"Authorization": f"Bearer {note['token']}"}
        return httpx.get(note["url"] + path, headers=headers, timeout=20, trust_env=False)

    def health(self) -> Any:
        """GET /api/health."""
        return self.ask("/api/health").json()

    def end(self) -> int:
        """SIGTERM; its exit status, which must come in time."""
        self.process.send_signal(signal.SIGTERM)
        wait_for(lambda: self.process.poll() is not None, "its end", STOP_S, moving=working(self.process))
        return self.process.wait()


def begin(config: Path, data: Path, *, wrap: tuple[str, ...] = ()) -> Serving:
    """Start a server; `wrap` is a command that runs it."""
    sink = (config.parent / "server.log").open("ab")
    command = [*wrap, sys.executable, "-m", "twin", "up", "--config", str(config)]
    return Serving(config, data, subprocess.Popen(command, stdout=sink, stderr=sink), sink)


@contextmanager
def serving(folder: Path, settings: Settings, more: str = "", *, wait: bool = True) -> Iterator[Serving]:
    """A server that is gone in the end."""
    with begun(write_config(folder, settings, more), Path(settings.data_dir), wait=wait) as running:
        yield running


@contextmanager
def begun(config: Path, data: Path, wrap: tuple[str, ...] = (), *, wait: bool = True) -> Iterator[Serving]:
    """A server of that configuration, run by `wrap`, and gone in the end."""
    running = begin(config, data, wrap=wrap)
    try:
        if wait:
            running.ready()
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        running.sink.close()


def refused(config: Path, timeout_s: float = 110.0) -> tuple[int, str]:
    """A start that must fail: its exit status, and what it said on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "twin", "up", "--config", str(config)],
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr
