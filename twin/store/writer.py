"""The thread between journal and store: entries in order, in bounded lots, waiting out a store that is down.

Law of the room: `durable` never runs ahead of what the store says survives a crash, so the journal may be trimmed below
it. After any failure the writer goes back to the store's own position and sends again: a store forgives repetition.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from devices.kinds import KINDS
from twin.errors import StoreBroken, StoreDown
from twin.records import Batch, Entry, Names
from twin.store.aside import Refusals
from twin.store.protocol import Rows, Store
from twin.store.skipped import Skipped

LOT_ROWS = 250_000
LOT_ENTRIES = 10_000
IDLE_S = 0.5
GATHER_S = 2.0  # a lot costs the store some 10 ms of CPU however small it is: let a trickle gather
GATHERED = 1000  # entries; with so many at once there is a backlog, and no reason to wait
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
PRUNE_EVERY_S = 3600.0
QUIET_ENTRIES = 60  # entries without readings that may pass before the store's position follows


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what is kept, ms; 0: for ever. kinds: those whose readings stay another time than `raw_ms`."""

    raw_ms: int = 0
    rollup_ms: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)

    def of(self, kind: str) -> int:
        """How long raw readings of a kind stay."""
        return self.kinds.get(kind, self.raw_ms)

    @property
    def longest_ms(self) -> int:
        """How long the kind that stays longest does; 0: for ever."""
        each = [self.of(kind) for kind in KINDS]
        return max(each) if all(each) else 0

    def prune(self, store: Store, now_ms: int) -> None:
        """Have a store forget what is older. Raises StoreDown."""
        for kind in KINDS:
            if self.of(kind):
                store.prune(now_ms - self.of(kind), kind)
        if self.rollup_ms and isinstance(store, RollsUp):
            store.prune_rollups(now_ms - self.rollup_ms)


@runtime_checkable
class RollsUp(Protocol):
    """A store that keeps roll-ups beside raw readings."""

    def prune_rollups(self, before_ms: int) -> None: ...


@runtime_checkable
class Refuses(Protocol):
    """A store whose server may refuse readings for good; any thread may ask which."""

    def refused(self) -> Refusals: ...


@dataclass(frozen=True, slots=True)
class WriterState:
    """How the writer stands. `skipped`: entries that were trimmed before this store could see them."""

    up: bool
    sent: int
    durable: int
    behind: int
    rows: int
    skipped: int
    error: str


class Journal(Protocol):
    """What the writer reads; `twin.journal.Journal` is one. Rooms side by side do not import each other."""

    @property
    def position(self) -> int:
        """Number of the last durable entry."""
        ...

    @property
    def first(self) -> int:
        """Number of the oldest entry kept."""
        ...

    def read(self, after: int, limit: int) -> Sequence[Entry]:
        """Entries with numbers above `after`, in order."""
        ...

    def wait(self, after: int, timeout_s: float) -> bool:
        """Wait until there is an entry above `after`."""
        ...


class StoreWriter:
    """Feeds one store from one journal. `start` once; `stop` ends it after the lot at hand.

    `on_stored` is told each lot after the store took it (accounting). With `now_ms` (city time) what is older than
    `keep` says is pruned hourly. `skipped` remembers what the store never saw. Raises
    StoreBroken where store and journal cannot belong together.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store,
        rows: Rows,
        *,
        on_stored: Callable[[Sequence[tuple[int, Batch]]], None] | None = None,
        keep: Keep = Keep(),
        now_ms: Callable[[], int] | None = None,
        skipped: Skipped | None = None,
        seed: int | None = None,
    ) -> None:
        self._journal = journal
        self._store = store
        self._rows = rows
        self._on_stored = on_stored
        self._keep = keep
        self._now_ms = now_ms
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._sent = 0
        self._pause_s = 0.0
        self._rows_sent = 0
        self._skipped = skipped or Skipped()
        self._error = ""
        self._told = 0  # `on_stored` knows of entries up to here
        self._known = False  # _sent has been read from the store
        self._drained = threading.Condition()

    def start(self) -> None:
        """Begin to feed the store in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the lot at hand; what is left stays in the journal."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def durable(self) -> int:
        """Entries up to here survive a crash of the store: the journal may be trimmed below it."""
        try:
            return min(self._store.position(), self._sent) if self._known else 0
        except StoreDown:
            return 0

    def state(self) -> WriterState:
        """How the writer stands, for pages and metrics."""
        behind = max(0, self._journal.position - self._sent)
        return WriterState(
            not self._error, self._sent, self.durable, behind, self._rows_sent, self._skipped.count, self._error
        )

    def wait_for(self, n: int, timeout_s: float) -> bool:
        """Wait until the store has taken entry `n`; False where it had not in time."""
        with self._drained:
            return self._drained.wait_for(lambda: self._sent >= n, timeout_s)

    def step(self, wait_s: float = 0.0) -> int:
        """Send one lot; the number of entries sent, 0 where none came within `wait_s`. Raises StoreDown, StoreBroken.

        For one thread at a time: the writer's own, or a caller that started none.
        """
        if not self._known:
            self._resume()
        if not self._journal.wait(self._sent, wait_s):
            return 0
        entries = self._journal.read(self._sent, LOT_ENTRIES)
        lot, last = self._lot(entries)
        try:
            if lot:
                self._store.append_many(lot)
        except StoreDown:
            self._known = False
            raise
        fresh = [(n, batch) for n, batch in lot if n > self._told]
        if self._on_stored is not None and fresh:
            self._on_stored(fresh)
        self._told = max(self._told, last)
        with self._drained:
            done = last - self._sent
            self._sent = last
            self._rows_sent += sum(len(batch) for _, batch in fresh)
            self._drained.notify_all()
        return done

    def _lot(self, entries: Sequence[Entry]) -> tuple[list[tuple[int, Batch]], int]:
        """What of `entries` is sent together, and the number of the last entry that it settles."""
        lot: list[tuple[int, Batch]] = []
        rows, last = 0, self._sent
        for entry in entries:
            if isinstance(entry.body, Names):
                self._rows.add(entry.body.rows)
            elif isinstance(entry.body, Batch) and len(entry.body):
                if lot and rows + len(entry.body) > LOT_ROWS:
                    break
                lot.append((entry.n, entry.body))
                rows += len(entry.body)
            last = entry.n
        if (lot and lot[-1][0] < last) or (not lot and last - self._store.position() >= QUIET_ENTRIES):
            lot.append((last, Batch()))  # the store's position follows, so that the journal may be trimmed
        return lot, last

    def _resume(self) -> None:
        """Go on where the store says that it stands."""
        position = self._store.position()
        if position > self._journal.position:
            raise StoreBroken(
                f"the store holds entry {position}, but the journal ends at {self._journal.position}: the journal was"
                " restored from an older copy; restore the store of the same time, or start with a new one"
            )
        lost = max(0, self._journal.first - 1 - position)
        if lost:
            self._skipped.add(position, position + lost)
        with self._drained:
            self._sent = position + lost
            self._known = True

    def _run(self) -> None:
        next_prune = 0.0
        while not self._stop.is_set():
            try:
                if time.monotonic() >= next_prune and self._now_ms is not None:
                    self._keep.prune(self._store, self._now_ms())
                    next_prune = time.monotonic() + PRUNE_EVERY_S
                done = self.step(IDLE_S)
                self._error, self._pause_s = "", 0.0
                if 0 < done < GATHERED:
                    self._stop.wait(GATHER_S)
            except Exception as error:  # noqa: BLE001 - shown, waited out, tried again
                self._error = str(error) or type(error).__name__
                self._known = False
                self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
                self._stop.wait(self._pause_s * self._random.uniform(0.5, 1.0))
