"""The account as the desk shows it: the ledger's tallies, less what the store has yet to keep; the newest rejects."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from twin.city import Registry, grown
from twin.errors import JournalBroken
from twin.ingest.ledger import Ledger, Tally
from twin.journal import Journal
from twin.query.desk import Account
from twin.records import I64, Batch, Columns, Reject
from twin.store.aside import Refusals

RING = 500  # rejected messages kept readable
CHUNK = 2048
BLOCK = 256  # entries that share one oldest time
MOST_BYTES = 32 << 20  # of journal entries looked through at once


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is journalled and not stored yet: readings in all, by kind and row, and about the oldest event time."""

    readings: int
    by_row: Mapping[str, I64]
    oldest_ms: int
    refused: Refusals = field(default_factory=Refusals)  # by the store's server, for good

    def of(self, kind: str, row: int) -> int:
        """Readings of one device."""
        counts = self.by_row.get(kind)
        return int(counts[row]) if counts is not None and row < len(counts) else 0


class Accounts:
    """Reads the ledger; remembers the newest rejects. Any thread."""

    def __init__(
        self,
        ledger: Ledger,
        registry: Registry,
        journal: Journal,
        stored: Callable[[], int],
        refused: Callable[[], Refusals] = Refusals,
    ) -> None:
        """`stored()`: number of the last entry that the store has; `refused()`: what its server refused until now."""
        self._ledger, self._registry, self._journal, self._stored = ledger, registry, journal, stored
        self._refused = refused
        self._lock = threading.Lock()
        self._ring: deque[Reject] = deque(maxlen=RING)
        self._waiting = Waiting(0, {}, 0)
        self._from = self._to = 0  # entries behind the one, up to the other, are counted in what follows
        self._by_row: dict[str, I64] = {}
        self._oldest: dict[int, int] = {}  # event time that a block of entries begins with

    def note(self, batch: Batch) -> None:
        """Keep the batch's rejected messages readable."""
        if batch.samples:
            with self._lock:
                self._ring.extend(batch.samples)

    def rejects(self, limit: int) -> list[Reject]:
        """The newest rejects, newest first."""
        with self._lock:
            return list(self._ring)[::-1][:limit]

    def total(self) -> Account:
        """The account of all."""
        tally = self._ledger.total()  # before what waits is counted: nothing is said to be stored too early
        waiting = self.waiting()
        return self._account("", tally, waiting.readings, waiting.refused.total)

    def page(self, after: str, limit: int) -> Sequence[Account]:
        """Devices in the order of their ids."""
        names = sorted((device, kind, row) for kind, row, device in self._registry.names() if device > after)
        return self._each(names[:limit])

    def of(self, kind: str, row: int, device: str) -> Account:
        """The account of one device."""
        return self._each([(device, kind, row)])[0]

    def _each(self, names: Sequence[tuple[str, str, int]]) -> list[Account]:
        tallies = [self._ledger.tally(kind, row) for _, kind, row in names]
        waiting = self.waiting()
        found = []
        for (device, kind, row), tally in zip(names, tallies, strict=True):
            account = self._account(device, tally, waiting.of(kind, row), waiting.refused.of(kind, device))
            found.append(replace(account, mark=self._ledger.mark(kind, row, device)))
        return found

    def waiting(self) -> Waiting:
        """What the store has yet to keep; counted on from where the last look ended."""
        with self._lock:
            if (self._stored(), self._journal.position) != (self._from, self._to):
                self._waiting = self._count()
            return replace(self._waiting, refused=self._refused())

    def complete_to_ms(self, now_ms: int) -> int:
        """The store holds everything said up to here: now, unless something waits."""
        waiting = self.waiting()
        return waiting.oldest_ms if waiting.readings else now_ms

    def _count(self) -> Waiting:
        """Take in what was journalled since the last look and leave out what the store has got since."""
        for _ in range(2):
            stored, end = self._stored(), self._journal.position
            try:
                if not self._from <= stored <= self._to:
                    self._begin_anew(stored)
                self._take(self._from, stored, -1)
                self._from = stored
                self._take(self._to, end, 1)
                self._to = max(end, stored)
                break
            except JournalBroken:  # trimmed while we looked: the store has moved on
                self._begin_anew(max(self._stored(), self._journal.first - 1))
        done = self._from // BLOCK
        self._oldest = {block: t for block, t in self._oldest.items() if block >= done}
        counted = {kind: counts.copy() for kind, counts in self._by_row.items()}
        readings = sum(int(counts.sum()) for counts in counted.values())
        return Waiting(readings, counted, min(self._oldest.values(), default=0))

    def _begin_anew(self, n: int) -> None:
        self._from = self._to = n
        self._by_row.clear()
        self._oldest.clear()

    def _take(self, after: int, until: int, sign: int) -> None:
        """Count the readings of the entries behind `after` up to `until`, or (sign -1) count them out."""
        while after < until and (entries := self._journal.read(after, min(CHUNK, until - after), MOST_BYTES)):
            after = entries[-1].n
            for entry in entries:
                if not isinstance(entry.body, Batch):
                    continue
                for columns in entry.body.columns:
                    if not len(columns):
                        continue
                    self._count_rows(columns, sign)
                    if sign > 0:
                        first = int(columns.t.min())
                        self._oldest[entry.n // BLOCK] = min(self._oldest.get(entry.n // BLOCK, first), first)

    def _count_rows(self, columns: Columns, sign: int) -> None:
        counts = grown(self._by_row.get(columns.kind, np.zeros(0, np.int64)), int(columns.row.max()) + 1, 0)
        np.add.at(counts, columns.row, sign)
        self._by_row[columns.kind] = counts

    @staticmethod
    def _account(device: str, tally: Tally, waiting: int, refused: int) -> Account:
        return Account(
            device=device,
            kind=tally.kind,
            accountable=tally.accountable,
            boot=tally.boot,
            received=tally.received,
            journalled=tally.journalled,
            stored=max(0, tally.journalled - waiting - refused),
            duplicate=tally.duplicate,
            late=tally.late,
            out_of_order=tally.out_of_order,
            missing=tally.missing,
            rejected=dict(tally.rejected),
            last_t_ms=tally.last_t_ms,
            last_arrived_ms=tally.last_arrived_ms,
            clock_offset_ms=tally.offset_ms,
            unstorable=refused,
        )
