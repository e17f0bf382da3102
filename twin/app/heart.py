"""The heartbeat: a thread that journals a tick mark, runs the tick over what came since, and records its changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from devices.clock import Clock, SteadyClock
from twin.deliver.cases import Cases
from twin.errors import JournalFull, TwinError
from twin.journal import Journal
from twin.records import Entry, Tick
from twin.tick import Ticked, World, tick

LOG = logging.getLogger(__name__)

SOONEST_S = 0.05  # an event ticks at once, but not more often than this
RETRY_S = 1.0  # between attempts to record while the case database refuses
CHUNK = 4096  # entries read from the journal at a time


class StoppedHere(TwinError):
    """Told to stop while the case database refused a tick's changes: the next start gives them again."""


@dataclass(slots=True)
class Pulse:
    """Figures of the heartbeat, for health and /metrics."""

    last_tick: int = 0
    last_now_ms: int = 0
    ticks: int = 0
    replayed: int = 0
    lag_s: float = 0.0  # how long the last tick took
    longest_s: float = 0.0
    cpu_s: float = 0.0
    stalled: str = ""  # why no tick mark can be journalled just now


@dataclass(slots=True)
class Heart:
    """Owns the world. Nobody else touches it while `run` is going; others see it by `after` (called in this thread)."""

    world: World
    journal: Journal
    cases: Cases
    clock: Clock
    interval_s: float
    after: Callable[[Ticked, int, int], None]  # (what the tick did, its n, now_ms)
    position: int = 0  # number of the last entry that the world has seen
    pulse: Pulse = field(default_factory=Pulse)
    unrecorded: bool = False  # the world is in a tick that the case database does not have yet: it must not be kept
    _sooner: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _waiting: list[Entry] = field(default_factory=list)
    _leapt_ms: int = 0  # city time since the last mark that nobody lived through

    @property
    def ticked(self) -> int:
        """Number of the last entry that a tick has taken in; what is behind it waits for the next mark."""
        return self._waiting[0].n - 1 if self._waiting else self.position

    @property
    def stopping(self) -> threading.Event:
        """Set when `run` was told to end."""
        return self._stop

    def nudge(self) -> None:
        """An event or an action came: tick soon."""
        self._sooner.set()

    def stop(self) -> None:
        """End `run` after a last tick."""
        self._stop.set()
        self._sooner.set()

    def replay(self) -> int:
        """Run the journal after `position` through the same ticks, cut where the original cut. Returns ticks run."""
        ran = 0
        while entries := self.journal.read(self.position, CHUNK):
            for entry in entries:
                self.position = entry.n
                if isinstance(entry.body, Tick):
                    self._tick(entry.n, entry.body)
                    ran += 1
                else:
                    self._waiting.append(entry)
        self.pulse.replayed = ran
        return ran

    def run(self) -> None:
        """Tick until stopped: about every `interval_s`, and sooner when nudged."""
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                self._sooner.wait(max(0.0, due - time.monotonic()))
                self._sooner.clear()
                self.beat()
                due = time.monotonic() + self.interval_s
                self._stop.wait(SOONEST_S)
            self.beat()
        except StoppedHere as why:
            LOG.warning("stopped before the last tick was recorded; the next start records it: %s", why)

    def beat(self) -> bool:
        """One mark and its tick. False when the journal has no room: then nothing happened, and it says so."""
        now_ms = max(self.clock.now_ms(), self.pulse.last_now_ms + 1)
        if isinstance(self.clock, SteadyClock):
            self._leapt_ms += self.clock.leap_ms()
        try:
            n = self.journal.append([Tick(now_ms, self._leapt_ms)])
        except JournalFull as full:
            if not self.pulse.stalled:
                LOG.warning("no tick mark can be journalled: %s", full)
            self.pulse.stalled = str(full)
            return False
        self.pulse.stalled = ""
        self._leapt_ms = 0
        while self.position < n:
            for entry in self.journal.read(self.position, min(CHUNK, n - self.position)):
                self.position = entry.n
                if isinstance(entry.body, Tick):
                    self._tick(entry.n, entry.body)
                else:
                    self._waiting.append(entry)
        return True

    def _tick(self, n: int, mark: Tick) -> None:
        now_ms = mark.now_ms
        began, cpu = time.perf_counter(), time.thread_time()
        group: Sequence[Entry] = self._waiting
        self._waiting = []
        self.unrecorded = True
        ticked = tick(self.world, group, now_ms, n, mark.leap_ms)
        self._record(n, ticked)
        self.unrecorded = False
        pulse = self.pulse
        pulse.last_tick, pulse.last_now_ms = n, now_ms
        pulse.ticks += 1
        self.after(ticked, n, now_ms)
        pulse.lag_s = time.perf_counter() - began
        pulse.longest_s = max(pulse.longest_s, pulse.lag_s)
        pulse.cpu_s += time.thread_time() - cpu

    def _record(self, n: int, ticked: Ticked) -> None:
        """Write the changes; while the case database refuses (disk full, server away) wait and say so.

        When we are told to stop meanwhile, StoppedHere is raised: nothing is lost, the journal gives the same changes
        again at the next start, as long as no checkpoint is made of this world.
        """
        while True:
            try:
                self.cases.record(n, ticked.changes)
            except SQLAlchemyError as error:
                if not self.pulse.stalled:
                    LOG.warning("the case database refuses, trying again: %s", error)
                self.pulse.stalled = f"case database: {error}"[:300]
                if self._stop.wait(RETRY_S):
                    raise StoppedHere(str(error)) from error
            else:
                self.pulse.stalled = ""
                return
