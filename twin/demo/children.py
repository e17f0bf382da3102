"""Child processes of the demo: started with a log each, restarted when they die, stopped in order by their own pid."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil


def _leashed(command: Sequence[str]) -> list[str]:
    """The command so that the kernel ends it when we die (util-linux's setpriv); plain where that is missing."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--", *command] if setpriv else list(command)


@dataclass(slots=True)
class Child:
    """One process of the demo. `cpu_s` and `memory_mb` are summed over its restarts and sampled while it lives."""

    name: str
    command: Sequence[str]
    log: Path
    keep: bool = True  # start again when it dies by itself
    env: dict[str, str] = field(default_factory=dict)
    restarts: int = 0
    memory_mb: float = 0.0  # highest resident size seen
    _past_cpu_s: float = 0.0
    _cpu_s: float = 0.0
    _process: subprocess.Popen[bytes] | None = None
    _sink: IO[bytes] | None = None
    _not_before: float = 0.0
    _begins_at: int = 0  # bytes of the log that earlier demos wrote

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def code(self) -> int | None:
        """Exit code of the last run; None while it runs or before it ever did."""
        return self._process.poll() if self._process is not None else None

    @property
    def cpu_s(self) -> float:
        return self._past_cpu_s + self._cpu_s

    def start(self) -> None:
        """Start the process, its output appended to its log. Raises OSError when it cannot be started."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self._sink is None:
            self._sink = self.log.open("ab")
            self._begins_at = self._sink.tell()
        self._past_cpu_s += self._cpu_s
        self._cpu_s = 0.0
        self._process = subprocess.Popen(
            _leashed(self.command),
            stdin=subprocess.DEVNULL,
            stdout=self._sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.env},
            start_new_session=True,
        )

    def watch(self) -> bool:
        """Sample its figures; start it again if it died and should live. True when it was started again."""
        if self.pid is not None:
            self._sample(self.pid)
            return False
        if not self.keep or self._process is None or self._process.returncode == 0:
            return False
        if time.monotonic() < self._not_before:
            return False
        self._not_before = time.monotonic() + min(10.0, 0.5 * 2 ** min(5, self.restarts))
        self.restarts += 1
        self.start()
        return True

    def stop(self, grace_s: float = 15.0) -> int | None:
        """Ask it to end (SIGTERM), wait, insist (SIGKILL) after `grace_s`. The exit code."""
        self.keep = False
        process = self._process
        if process is not None and process.poll() is None:
            self._sample(process.pid)
            process.terminate()
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        return process.returncode if process is not None else None

    def tail(self, lines: int = 12) -> str:
        """The last lines that it wrote in this demo."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(self._begins_at, self.log.stat().st_size - 16_384))
            return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-lines:])

    def _sample(self, pid: int) -> None:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            self._cpu_s = times.user + times.system + times.children_user + times.children_system
            self.memory_mb = max(self.memory_mb, process.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            return  # it ended between the look and the reading: its last sample stands
