"""The account of every device: what came, once, twice, late, out of order, not at all. Pure, and a fold of the journal.

`admit` frees a raw batch of duplicates and changes nothing; when the batch has been journalled, `commit` takes it into
the account; after a restart `commit` of the journalled batches builds the same account again. So account and journal
cannot disagree: a batch that the journal refuses was never in the account.

Rules: identity is (device, boot, seq). A number that comes again is a duplicate, whatever it carries. `missing` counts
numbers in gaps; it falls when one comes after all. Late is a reading older in event time than its device's newest.
Refused readings whose number is known are no gap. What is more than a device may say is refused as `flood`, whatever is
new of it (twin/ingest/flood.py). Senders that do not count are never duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.records import Mark
from twin.ingest.book import MOST
from twin.ingest.flood import NO_FLOOD, REASON, Flood
from twin.ingest.pages import Page, dump_page, load_page
from twin.ingest.parts import select
from twin.records import FLAG_LATE, I64, NOT_ACCOUNTABLE, Batch, Columns, Refused

VERSION = 1
RUNS = 256  # of numbers of flooding readings that are remembered of one device and batch
NOTHING: I64 = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Tally:
    """The account of one device, or (with row -1) of a kind or of all. Counts are of readings.

    `received` = `journalled` + `duplicate` + the sum of `rejected`. `bad_values` counts single values left out of
    journalled readings, by reason. `offset_ms`: smallest time of arrival minus event time of the last hour or two;
    None where no device time came.
    """

    kind: str
    row: int
    accountable: bool = False
    boot: int = NOT_ACCOUNTABLE
    mark: int = NOT_ACCOUNTABLE
    received: int = 0
    journalled: int = 0
    duplicate: int = 0
    late: int = 0
    out_of_order: int = 0
    missing: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    bad_values: Mapping[str, int] = field(default_factory=dict)
    last_t_ms: int = 0
    last_arrived_ms: int = 0
    offset_ms: int | None = None


class Ledger:
    """Accounts by kind and row. Every method may be called from any thread."""

    def __init__(self, flood: Flood = NO_FLOOD) -> None:
        """`flood`: how much a device may say; `pace` has the cadence of each."""
        self._lock = RLock()
        self._flood = flood
        self._steps: dict[str, I64] = {}
        self._pages: dict[str, Page] = {}
        self._strangers: Counter[str] = Counter()  # rejected messages of no device, by reason
        self.messages = 0
        self.position = 0  # number of the last journal entry taken in

    def pace(self, flood: Flood, cadence_s: Mapping[str, NDArray[np.float64]]) -> None:
        """How much a device may say; by kind the cadence of each row, in seconds."""
        with self._lock:
            self._flood = flood
            self._steps = {kind: flood.steps_ms(told) for kind, told in cadence_s.items()}
            for kind, page in self._pages.items():
                self._pace(kind, page)

    def admit(self, raw: Batch) -> Batch:
        """The batch as it is to be journalled: duplicates counted and left out, so what is more than a device may say
        (`flood`), late readings flagged."""
        with self._lock:
            if not raw.refused and all(self._goes_on(columns) for columns in raw.columns):
                return raw
            duplicates = Counter(raw.duplicates)
            rejected = Counter(raw.rejected)
            columns = tuple(one for c in raw.columns if len(one := self._admit_columns(c, duplicates)))
            fresh = self._admit_refused(raw.refused, columns, duplicates, rejected)
            flooded: list[Refused] = []
            columns = tuple(one for c in columns if len(one := self._admit_paced(c, rejected, flooded)))
            fresh = (*fresh, *flooded)
        return replace(raw, columns=columns, duplicates=dict(duplicates), rejected=dict(rejected), refused=fresh)

    def commit(self, batch: Batch, n: int = 0) -> None:
        """Take a journalled batch into the account. With `n`, entries up to `position` are passed over."""
        with self._lock:
            if n:
                if n <= self.position:
                    return
                self.position = n
            self.messages += batch.messages
            for (kind, row), count in batch.duplicates.items():
                page = self._page(kind, row)
                page.duplicate[row] += count
                page.touched[row] = True  # its sender has not heard the mark: it is told again
            for (kind, row, reason), count in (*batch.rejected.items(), *batch.asides.items()):
                if row < 0:
                    self._strangers[reason] += count
                else:
                    self._page(kind, row).rejected[row, reason] += count
            for (kind, row, reason), count in batch.bad_values.items():
                self._page(kind, row).bad_values[row, reason] += count
            for columns in batch.columns:
                if len(columns):
                    self._page(columns.kind, int(columns.row.max())).commit(columns)
            for refused in batch.refused:
                last = max(refused.seq, refused.last)
                self._page(refused.kind, refused.row).take(refused.row, refused.boot, refused.seq, last)

    def renew(self, kind: str, row: int, n: int) -> None:
        """Other hardware speaks for this device from journal entry `n` on: none of its numbers has come before."""
        with self._lock:
            if n > self.position:
                self.position = n
                self._page(kind, row).renew(row)

    def tally(self, kind: str, row: int) -> Tally:
        """The account of one device."""
        with self._lock:
            page = self._pages.get(kind)
            return Tally(kind, row) if page is None or row >= len(page) else _tally(kind, page, row)

    def total(self, kind: str = "") -> Tally:
        """The account of a kind, or of all with the messages that no device could be named for."""
        with self._lock:
            chosen = [page for name, page in self._pages.items() if kind in ("", name)]
            rejected: Counter[str] = Counter({} if kind else self._strangers)
            bad: Counter[str] = Counter()
            for page in chosen:
                for (_, reason), count in page.rejected.items():
                    rejected[reason] += count
                for (_, reason), count in page.bad_values.items():
                    bad[reason] += count
            sums = {
                name: sum(int(getattr(page, name).sum()) for page in chosen)
                for name in ("journalled", "duplicate", "late_count", "out_of_order")
            }
            return Tally(
                kind,
                -1,
                accountable=any((page.boot != NOT_ACCOUNTABLE).any() for page in chosen),
                received=sums["journalled"] + sums["duplicate"] + sum(rejected.values()),
                missing=min(MOST, sum(_sum(page.missing) for page in chosen)),
                rejected=dict(rejected),
                bad_values=dict(bad),
                last_t_ms=max((int(page.last_t.max(initial=0)) for page in chosen), default=0),
                last_arrived_ms=max((int(page.last_arrived.max(initial=0)) for page in chosen), default=0),
                journalled=sums["journalled"],
                duplicate=sums["duplicate"],
                late=sums["late_count"],
                out_of_order=sums["out_of_order"],
            )

    def mark(self, kind: str, row: int, device: str) -> Mark | None:
        """The mark of one device; None where nothing of it is whole yet, or it does not count."""
        with self._lock:
            page = self._pages.get(kind)
            return None if page is None or row >= len(page) else page.mark(row, device)

    def marks(self, *, changed_only: bool = True) -> list[tuple[str, list[int], list[bytes]]]:
        """By kind: rows of accountable devices, by default of those whose mark moved since it was last asked, and the
        marks as payloads (devices/envelope.py).

        A mark's seq is the number up to which all has come, beginning with 1 (or with the first that came, of a boot
        that began before we knew its sender). A boot with nothing whole yet has none.
        """
        with self._lock:
            return [(kind, *page.marks(page.moved(changed_only))) for kind, page in self._pages.items()]

    def held(self) -> AbstractContextManager[object]:
        """While this is entered, no other thread changes or reads the account."""
        return self._lock

    def dump(self) -> dict[str, Any]:
        """The account as a tree of mappings whose leaves are arrays and JSON values, for the checkpoint."""
        with self._lock:
            return {
                "version": VERSION,
                "position": self.position,
                "messages": self.messages,
                "strangers": dict(self._strangers),
                "pages": {kind: dump_page(page) for kind, page in self._pages.items()},
            }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take a dumped account in place of this one. Raises ValueError for one of another version or damaged."""
        if dumped.get("version") != VERSION:
            raise ValueError(f"an account of version {dumped.get('version')!r}; this is {VERSION}")
        try:
            pages = {str(kind): load_page(page) for kind, page in dumped["pages"].items()}
            strangers = Counter({str(reason): int(count) for reason, count in dumped["strangers"].items()})
            position, messages = int(dumped["position"]), int(dumped["messages"])
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"a damaged account: {error!r}") from error
        with self._lock:
            self._pages, self._strangers, self.position, self.messages = pages, strangers, position, messages
            for kind, page in pages.items():
                self._pace(kind, page)

    def _page(self, kind: str, row: int) -> Page:
        page = self._pages.get(kind)
        if page is None:
            page = self._pages[kind] = Page()
            self._pace(kind, page)
        page.reach(row)
        return page

    def _pace(self, kind: str, page: Page) -> None:
        page.pace(self._flood, self._flood.usual_ms(kind), self._steps.get(kind, NOTHING))

    def _admit_refused(
        self,
        refused: Iterable[Refused],
        columns: Iterable[Columns],
        duplicates: Counter[tuple[str, int]],
        rejected: Counter[tuple[str, int, str]],
    ) -> tuple[Refused, ...]:
        """Those whose number is new, also beside the accepted readings of the same batch."""
        waiting = tuple(refused)
        if not waiting:
            return ()
        taken: set[tuple[str, int, int, int]] = set()
        for one in columns:
            rows = {r.row for r in waiting if r.kind == one.kind}
            near = np.flatnonzero(np.isin(one.row, list(rows)))
            ids = (one.row[near].tolist(), one.boot[near].tolist(), one.seq[near].tolist())
            taken.update((one.kind, *key) for key in zip(*ids, strict=True))
        fresh: list[Refused] = []
        for r in waiting:
            key = (r.kind, r.row, r.boot, r.seq)
            page = self._pages.get(r.kind)
            if key in taken or (page is not None and page.knows(r.row, r.boot, r.seq)):
                duplicates[r.kind, r.row] += 1
            else:
                taken.add(key)
                fresh.append(r)
                rejected[r.kind, r.row, r.reason] += 1
        return tuple(fresh)

    def _goes_on(self, columns: Columns) -> bool:
        return len(columns) > 0 and self._page(columns.kind, int(columns.row.max())).goes_on(columns)

    def _admit_columns(self, columns: Columns, duplicates: Counter[tuple[str, int]]) -> Columns:
        if not len(columns):
            return columns
        page = self._page(columns.kind, int(columns.row.max()))
        keep = page.admit(columns)
        if keep is not None:
            for row, count in zip(
                *(a.tolist() for a in np.unique(columns.row[~keep], return_counts=True)), strict=True
            ):
                duplicates[columns.kind, row] += count
            columns = select(columns, keep)
        return columns

    def _admit_paced(
        self, columns: Columns, rejected: Counter[tuple[str, int, str]], refused: list[Refused]
    ) -> Columns:
        """Those that are not more than their device may say; of the others the numbers, of each device RUNS runs."""
        page = self._page(columns.kind, int(columns.row.max()))
        flood = page.flooding(columns)
        if flood is not None:
            beyond = select(columns, flood)
            for row, count in zip(*(a.tolist() for a in np.unique(beyond.row, return_counts=True)), strict=True):
                rejected[columns.kind, row, REASON] += count
            told: Counter[int] = Counter()
            for row, boot, first, last in page.runs(beyond):
                told[row] += 1
                if told[row] <= RUNS:
                    refused.append(Refused(columns.kind, row, boot, first, REASON, last))
            columns = select(columns, ~flood)
        late = page.late(columns) if len(columns) else None
        if late is None:
            return columns
        return replace(columns, flags=np.where(late, columns.flags | FLAG_LATE, columns.flags).astype(np.uint8))


def _sum(counts: I64) -> int:
    """The sum of counts below 2^53, however many: their halves are summed apart, which 64 bits hold."""
    return (int((counts >> 32).sum()) << 32) + int((counts & 0xFFFFFFFF).sum())


def _tally(kind: str, page: Page, row: int) -> Tally:
    rejected = {reason: count for (of, reason), count in page.rejected.items() if of == row}
    journalled, duplicate = int(page.journalled[row]), int(page.duplicate[row])
    return Tally(
        kind,
        row,
        accountable=bool(page.boot[row] != NOT_ACCOUNTABLE),
        boot=max(int(page.boot[row]), NOT_ACCOUNTABLE),
        mark=page.high(row),
        received=journalled + duplicate + sum(rejected.values()),
        journalled=journalled,
        duplicate=duplicate,
        late=int(page.late_count[row]),
        out_of_order=int(page.out_of_order[row]),
        missing=int(page.missing[row]),
        rejected=rejected,
        bad_values={reason: count for (of, reason), count in page.bad_values.items() if of == row},
        last_t_ms=int(page.last_t[row]),
        last_arrived_ms=int(page.last_arrived[row]),
        offset_ms=page.offset(row),
    )
