"""Wiring: sources -> policy -> spool -> uplink, our own health beside it. One loop, in the main thread."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices.errors import DeviceError
from devices.kinds import KINDS
from devices.records import Reading
from devices.wire import Wire
from edge.config import EdgeConfig
from edge.errors import EdgeError, SpoolError
from edge.health import Health, resident_kb
from edge.notify import notify
from edge.policy import Policy
from edge.sources.intake import Intake, Source, Taken
from edge.spool import Spool
from edge.uplink import Uplink

TURN_S = 0.2  # longest wait in the loop
AGAIN_S = 1.0  # before writing again to a spool that failed
LINGER_S = 5.0  # at the end, for marks that are on their way
NO_CLOCK_MS = 1_735_689_600_000  # 2025-01-01: a machine that believes in an earlier date has no time yet

log = logging.getLogger("citywhistle.edge")


class Gateway:
    """One running gateway. `run` returns when `stopping` is set, or with `once` when the sources have ended and
    everything is covered by the server's marks."""

    def __init__(self, config: EdgeConfig, stopping: threading.Event) -> None:
        """Opens spool and connection. Raises EdgeError, DeviceError."""
        self.config = config
        self.stopping = stopping
        self.suppressed = self.untimed = 0
        self._intake = Intake(config.addresses)
        self._sources: list[Source] = config.open_sources(self._intake)
        self._policy = Policy(config.rules)
        self._health = Health()
        self._batch: list[Reading] = []
        self._taken: list[Taken] = []
        self._batch_s = self._health_s = self._status_s = self._swept_s = 0.0
        self._problem = ""
        self._told: dict[str, str] = {}
        self._started_s = time.monotonic()
        self.spool = Spool(config.data_dir / "spool.db", max_bytes=config.max_bytes)
        self._wire = Wire()
        try:
            self.uplink = Uplink(
                self._wire,
                config.broker,
                config.own,
                config.behind,
                self.spool,
                limits=config.limits,
                marks=config.marks,
            )
        except DeviceError:
            self._wire.close()
            self.spool.close()
            raise

    def run(self, once: bool = False) -> None:
        """Run until told to stop; then write what has been read, and wait a little for marks. Raises EdgeError."""
        log.info("%s runs; %d readings wait from before", self.config.own.device, self.spool.counts.rows)
        try:
            for source in self._sources:
                source.start()
            notify("READY=1")
            while not self.stopping.is_set():
                self._turn(time.monotonic())
                if once and self._through():
                    break
        finally:
            self._end()

    def _turn(self, now_s: float) -> None:
        """One round: take in, write when it is time, look after ourselves."""
        if len(self._batch) < 2 * self.config.commit_readings:
            taken = self._intake.take(TURN_S)
            if taken is not None:
                self._take(taken, now_s)
        if now_s - self._health_s >= self.config.health_every_s:
            self._health_s = now_s
            self._take(Taken([self._own_reading()], thin=False), now_s)
        if self._due(now_s):
            self._commit()
        elif now_s - self._swept_s >= max(1.0, self.config.commit_every_s):
            self._swept_s = now_s
            self._sweep()
        if now_s - self._status_s >= self.config.status_every_s:
            self._status_s = now_s
            notify("WATCHDOG=1")
            self._write_status()
        if self._wire.failure is not None:
            raise EdgeError(f"the sending thread has ended: {self._wire.failure}") from self._wire.failure

    def _take(self, taken: Taken, now_s: float) -> None:
        if not self._taken:
            self._batch_s = now_s
        self._taken.append(taken)
        for reading in taken.readings:
            kind = KINDS[self._intake.addresses[reading.device].kind]
            left = self._policy.sift(kind, reading, now_s) if taken.thin else reading
            if left is None:
                self.suppressed += 1
            else:
                self._batch.append(self._timed(left, taken.came_ms))

    def _timed(self, reading: Reading, came_ms: int) -> Reading:
        """A reading without a time gets that at which it came; while we have no clock it stays without."""
        if reading.t_ms is not None:
            return reading
        if came_ms < NO_CLOCK_MS:
            self.untimed += 1
            return reading
        return Reading(reading.device, came_ms, reading.values)

    def _own_reading(self) -> Reading:
        values = {
            "backhaulUp": float(self.uplink.is_up),
            **self._health.look(),
            "spooled": float(self.spool.counts.rows),
        }
        return Reading(self.config.own.device, None, values)

    def _due(self, now_s: float) -> bool:
        config = self.config
        return bool(self._taken) and (
            now_s - self._batch_s >= config.commit_every_s
            or len(self._batch) >= config.commit_readings
            or sum(taken.acknowledge is not None for taken in self._taken) >= config.commit_acks
        )

    def _commit(self) -> bool:
        """Write the batch, acknowledge it, have it sent. On a full disk it waits here, and the sources behind it."""
        try:
            if self._batch:
                self.spool.put(self._batch)
        except SpoolError as error:
            self._problem = f"{error}; nothing more is taken in until it can be written"
            self._say()
            self.stopping.wait(AGAIN_S)
            return False
        self._problem = ""
        for taken in self._taken:
            if taken.acknowledge is not None:
                taken.acknowledge()
        self.uplink.notice({reading.device for reading in self._batch})
        self._batch.clear()
        self._taken.clear()
        self._swept_s = time.monotonic()
        return True

    def _sweep(self) -> None:
        try:
            self.spool.sweep()
            self._problem = ""
        except SpoolError as error:
            self._problem = str(error)

    def _through(self) -> bool:
        """Whether the sources have ended and the server has everything."""
        if self._intake.waiting or self._taken or not all(source.ended for source in self._sources):
            return False
        self._sweep()
        return self.spool.counts.rows == 0

    def _end(self) -> None:
        """Stop the sources, write what they have handed over, wait a little for marks, disconnect."""
        notify("STOPPING=1")
        self._intake.stopping.set()
        for source in self._sources:
            source.stop()
        now_s = time.monotonic()
        while (taken := self._intake.take(0)) is not None:
            self._take(taken, now_s)
        if self._taken and not self._commit():
            log.error("%d readings could not be written: %s", len(self._batch), self._problem)
        for source in self._sources:
            source.close()
        end_s = time.monotonic() + LINGER_S
        while self.spool.counts.rows and self.uplink.is_up and time.monotonic() < end_s:
            self.uplink.moved.wait(TURN_S)
            self.uplink.moved.clear()
            self._sweep()
        self.uplink.close()
        try:
            self._wire.close()
        finally:
            self._write_status(running=False)
            self.spool.close()
        log.info("%s stops; %d readings wait", self.config.own.device, self.spool.counts.rows)

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong now, by where."""
        uplink = self.uplink
        unmarked = f"no mark for {', '.join(uplink.unmarked[:5])}: are they registered behind this gateway?"
        told = {
            "spool": self._problem or self.spool.problem,
            "uplink": uplink.stuck or uplink.problem or ("" if uplink.is_up else uplink.link.problem or "connecting"),
            "marks": unmarked if uplink.unmarked else "",
            **{f"source {source.name}": source.problem for source in self._sources},
        }
        return {where: problem for where, problem in told.items() if problem}

    def status(self, running: bool = True) -> dict[str, Any]:
        """How it is, as `citywhistle-edge status` shows it. Times in s, sizes in bytes unless their name says kB."""
        spool, uplink = self.spool.counts, self.uplink.counts
        return {
            "id": self.config.own.device,
            "running": running,
            "written_ms": time.time_ns() // 1_000_000,
            "every_s": self.config.status_every_s,
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "boot": self.spool.boot,
            "connected": self.uplink.is_up,
            "spool": {
                "rows": spool.rows,
                "bytes": spool.bytes,
                "max_bytes": self.spool.max_bytes,
                "given": spool.given,
                "covered": spool.covered,
                "dropped": spool.dropped,
                "dropped_by_device": self.spool.dropped,
            },
            "uplink": {
                "published": uplink.published,
                "resent": uplink.resent,
                "held": uplink.held,
                "connects": uplink.connects,
                "behind": uplink.behind,
            },
            "suppressed": self.suppressed,
            "untimed": self.untimed,
            "sources": {source.name: _source_status(source) for source in self._sources},
            "memory_kb": resident_kb(),
            "problems": self.problems,
        }

    def _write_status(self, running: bool = True) -> None:
        if running:
            self._say()
        try:
            write_aside(self.config.status_file, self.status(running))
        except OSError as error:
            self._warn("status file", str(error))
        else:
            self._warn("status file", "")

    def _say(self) -> None:
        """Log each problem once when it comes, and once when it is gone."""
        now = self.problems
        dropped = self.spool.counts.dropped
        if dropped:
            now["full"] = f"the spool is full or was: {dropped} readings were dropped so far"
        for where in {*now, *self._told} - {"status file"}:
            self._warn(where, now.get(where, ""))

    def _warn(self, where: str, problem: str) -> None:
        before = self._told.pop(where, "")
        if problem:
            self._told[where] = problem
        if problem and problem != before:
            log.warning("%s: %s", where, problem)
        elif before and not problem:
            log.info("%s: well again", where)


def _source_status(source: Source) -> dict[str, Any]:
    counts = source.counts
    return {
        "pieces": counts.pieces,
        "readings": counts.readings,
        "refused": dict(counts.refused),
        "last_refused": list(counts.last_refused),
        "ended": source.ended,
    }


def write_aside(path: Path, told: Mapping[str, Any]) -> None:
    """A JSON file that readers never see half: written aside, then renamed. Raises OSError."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)
