"""A process for the kill -9 test: ledger, case database and sender over a small durable log; it never ends by itself.

The log is one JSON line an entry, synced, as the journal would keep it; at the start everything in it is replayed
through the same steps.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.twin.whistle.city import NOON, files
from twin.channels.protocol import Pace
from twin.channels.webhook import Webhook
from twin.deliver.cases import Cases
from twin.deliver.lane import Limits
from twin.deliver.post import Sender
from twin.records import Finding, Outcome
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy


class Log:
    """Numbered lines, each on the disk before `append` returns; a torn last line was never acknowledged."""

    def __init__(self, path: Path) -> None:
        whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        self.entries: list[dict[str, Any]] = [json.loads(line) for line in whole]
        size = sum(len(line) + 1 for line in whole)
        self._file = path.open("ab")
        self._file.truncate(size)
        self._lock = threading.Lock()

    def append(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self.entries.append(entry)


def send_for_ever(folder: Path, url: str, count: int, target: str, told: Connection) -> None:
    """Replay, then go on: one finding a tick until all are told, then ticks for the outcomes, for ever."""
    log, cases = Log(folder / "log.jsonl"), Cases(target)
    ledger = Ledger(CityPlaces.of(files(count)), Policy(storm_count=1000))
    fresh = threading.Event()

    def journal(outcome: Outcome) -> None:
        log.append({"outcome": asdict(outcome)})
        fresh.set()

    limits = Limits(attempts=1000, first_s=0.01, longest_s=0.05, breaker_after=1000)
    webhook = Webhook({"url": url, "timeout_s": 5})
    webhook.pace = Pace(per_s=50, burst=2, parallel=2, by_address=True)  # few messages between two kills
    sender = Sender(cases, {"webhook": webhook}, journal, limits=limits)
    taken, ticks = 0, 0
    waiting: list[Outcome] = []
    while True:
        if taken == len(log.entries):
            if ticks == 0 or sender._thread is None:
                sender.start()
            sender.wake()
            fresh.wait(0.02)
            fresh.clear()
            if ticks >= count and not cases.counts()["pending"]:
                told.send("done")
            log.append({"tick": NOON + (ticks + 1) * 100})
        entry = log.entries[taken]
        taken += 1
        if "outcome" in entry:
            waiting.append(Outcome(**entry["outcome"]))
            continue
        found = [Finding("leakage", f"pole-{ticks:04d}", True, NOON, NOON, 4, en="x", zh="x")] if ticks < count else []
        changes = ledger.step(found, [], waiting, [], entry["tick"])
        waiting, ticks = [], ticks + 1
        cases.record(taken, changes)
