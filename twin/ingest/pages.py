"""The account of one kind: arrays by row, and a Book for the rows whose numbers do not simply go on. Pure.

Most senders count on without a gap in one boot: three numbers a row (boot, base, top) say all, and whole batches are
checked and taken in by array arithmetic. A row with gaps or several boots has a Book beside; of its newest boot the
arrays hold the truth about `top`, so that it, too, goes the fast way while its numbers go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import is_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.envelope import encode_mark, plain_mark
from devices.records import Mark
from twin.ingest import native
from twin.ingest.book import Book, Boot
from twin.ingest.flood import NO_FLOOD, Buckets, Flood
from twin.records import FLAG_LATE, FLAG_NO_CLOCK, I64, NOT_ACCOUNTABLE, Columns, known_by

HOUR_MS = 3_600_000
NO_OFFSET = np.iinfo(np.int64).max
BEYOND = 16  # ranges above a gap that a mark names
FORMER = -2  # from here down: numbers that boots of hardware which was replaced are kept under
T_BITS = 43  # event times are below 2^43 ms (the year 2248)

# What is dumped as it is; fill value of new rows.
ARRAYS: Mapping[str, int] = {
    "boot": NOT_ACCOUNTABLE,
    "base": 0,
    "top": NOT_ACCOUNTABLE,
    "journalled": 0,
    "duplicate": 0,
    "late_count": 0,
    "out_of_order": 0,
    "missing": 0,
    "last_t": 0,
    "last_arrived": 0,
    "offset_hour": 0,
    "offset_now": NO_OFFSET,
    "offset_before": NO_OFFSET,
    "filled": 0,
    "over": 0,
}
LATER = ("filled", "over")  # which older dumps lack


@dataclass(slots=True)
class _Order:
    """Readings sorted by row, those of a row in their order: sorted rows, and where each row's readings start."""

    order: NDArray[np.int64]
    row: NDArray[np.int32]
    first: NDArray[np.bool_]
    starts: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int32]:
        """The rows, once each."""
        return self.row[self.starts]

    def before(self, values: I64, initial: I64) -> I64:
        """Of each reading the value of the one before it in its row; of the first the row's `initial`."""
        out = np.empty_like(values)
        out[1:] = values[:-1]
        out[self.starts] = initial[self.rows]
        return out


def _sort(row: NDArray[np.int32]) -> _Order:
    order = np.argsort(row, kind="stable") if len(row) > 1 and (row[1:] < row[:-1]).any() else np.arange(len(row))
    rows = row[order]
    first = np.ones(len(row), np.bool_)
    first[1:] = rows[1:] != rows[:-1]
    return _Order(order, rows, first, np.flatnonzero(first))


@dataclass(slots=True)
class Page:
    """Accounts of the rows of one kind. `touched`: rows whose mark may have moved. `step`: what a reading of a row
    pours into its buckets (twin/ingest/flood.py), `usual_ms` for rows of which nothing else is said."""

    flood: Flood = NO_FLOOD
    usual_ms: int = 0
    boot: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    base: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    top: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    journalled: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    duplicate: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    late_count: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    out_of_order: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    missing: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    last_t: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    last_arrived: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    offset_hour: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    offset_now: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    offset_before: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    filled: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    over: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    step: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    touched: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    rejected: Counter[tuple[int, str]] = field(default_factory=Counter)
    bad_values: Counter[tuple[int, str]] = field(default_factory=Counter)
    books: dict[int, Book] = field(default_factory=dict)
    recent: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # for the loop in C: -1 throughout
    _placed: tuple[NDArray[Any], ...] = ()  # arrays that the loop in C was given, and where they lie
    _places: tuple[int, ...] = ()
    _sorted: tuple[NDArray[np.int32], _Order] | None = None  # the last rows sorted: admit and commit ask the same

    def __len__(self) -> int:
        return len(self.boot)

    def reach(self, row: int) -> None:
        """Make room for a row."""
        if row < len(self):
            return
        more = max(64, row + 1 - len(self), len(self) // 2)
        for name, fill in ARRAYS.items():
            setattr(self, name, np.concatenate([getattr(self, name), np.full(more, fill, np.int64)]))
        self.touched = np.concatenate([self.touched, np.zeros(more, np.bool_)])
        self.step = np.concatenate([self.step, np.full(len(self) - len(self.step), self.usual_ms, np.int64)])
        self.recent = np.full(len(self), -1, np.int32)

    def pace(self, flood: Flood, usual_ms: int, step: I64) -> None:
        """Bound the rows: by `step` ms a reading, by `usual_ms` the rows beyond."""
        self.flood, self.usual_ms = flood, usual_ms
        self.reach(len(step) - 1)
        self.step = np.full(len(self), usual_ms, np.int64)
        self.step[: len(step)] = step

    def knows(self, row: int, boot: int, seq: int) -> bool:
        """Whether that reading has come."""
        return row < len(self) and not self.book(row).copy().take(boot, seq)[0]

    def goes_on(self, columns: Columns) -> bool:
        """Whether, quickly told, all numbers are new, no reading is late and none too many. Changes nothing."""
        return native.LIB is not None and self._account(columns, take=False)

    def admit(self, columns: Columns) -> NDArray[np.bool_] | None:
        """Which readings are new; None if all are. Changes nothing but room."""
        sort = self._sort(columns.row)
        odd = self._odd(columns, sort)
        if odd is None:
            return None
        keep = np.ones(len(columns), np.bool_)
        copies: dict[int, Book] = {}
        runs = list(self._runs(columns, odd))
        rows = [None, *(run[1] for run in runs), None]
        for at, (start, row, boot, first, last) in enumerate(runs, start=1):
            if row not in (rows[at - 1], rows[at + 1]) and not self._heard(row, boot):
                continue  # a device began anew, as all do when their power comes back: nothing of it can be known
            book = copies.get(row)
            if book is None:
                book = copies[row] = self.book(row).copy()
            stale, _ = book.take_run(boot, first, last)
            for seq in stale:
                keep[odd[start + seq - first]] = False
        return None if keep.all() else keep

    def late(self, columns: Columns) -> NDArray[np.bool_] | None:
        """Which readings are older than the newest of their row before them; None if none is."""
        sort = self._sort(columns.row)
        t = columns.t[sort.order]
        known = known_by(t, columns.arrived[sort.order])
        if not (t < sort.before(known, self.last_t)).any():
            return None
        rank = (np.cumsum(sort.first) - 1).astype(np.int64) << T_BITS
        newest = known.copy()
        newest[sort.starts] = np.maximum(known[sort.starts], self.last_t[sort.rows])
        late = np.empty(len(t), np.bool_)
        late[sort.order] = t < np.maximum.accumulate(newest + rank) - rank
        return late

    def flooding(self, columns: Columns) -> NDArray[np.bool_] | None:
        """Which readings are more than their device may say; None if none is. Changes nothing."""
        flood: NDArray[np.bool_] | None = None
        for row, index in self._crowded(columns, self._sort(columns.row)):
            refused = self._pour(columns, row, index, Buckets(*self._buckets(row)), taken=False)
            if refused:
                flood = np.zeros(len(columns), np.bool_) if flood is None else flood
                flood[index[refused]] = True
        return flood

    def runs(self, columns: Columns) -> Iterator[tuple[int, int, int, int]]:
        """Runs of consecutive numbers: (row, boot, first, last); none of readings that have no number."""
        order = self._sort(columns.row).order
        return ((row, boot, first, last) for _, row, boot, first, last in self._runs(columns, order))

    def commit(self, columns: Columns) -> None:
        """Take admitted readings into the account."""
        if native.LIB is not None and self._account(columns, take=True):
            return
        sort = self._sort(columns.row)
        self._fill(columns, sort)
        self._count_numbers(columns, sort)
        rows, starts, order = sort.rows, sort.starts, sort.order
        self.journalled[rows] += np.diff(np.append(starts, len(columns)))
        if (columns.flags & FLAG_LATE).any():
            self.late_count[rows] += np.add.reduceat(((columns.flags & FLAG_LATE) > 0)[order].astype(np.int64), starts)
        known = known_by(columns.t, columns.arrived)[order]
        self.last_t[rows] = np.maximum(self.last_t[rows], np.maximum.reduceat(known, starts))
        arrived = np.maximum.reduceat(columns.arrived[order], starts)
        self.last_arrived[rows] = np.maximum(self.last_arrived[rows], arrived)
        lag = np.where(columns.flags & FLAG_NO_CLOCK, NO_OFFSET, columns.arrived - columns.t)[order]
        self._note_offset(rows, np.minimum.reduceat(lag, starts), arrived // HOUR_MS)

    def take(self, row: int, boot: int, first: int, last: int) -> None:
        """Take in the numbers of readings that were refused."""
        book = self.book(row)
        book.take_run(boot, first, last)
        self._keep(row, book)

    def renew(self, row: int) -> None:
        """Other hardware speaks for this row: its numbers are its own, whatever boots the old one had. What is missing
        of the old one stays missing."""
        self.reach(row)
        book = self.book(row).copy()
        self.last_t[row] = self.filled[row] = self.over[row] = 0
        self.offset_now[row] = self.offset_before[row] = NO_OFFSET
        if not book.boots:
            return
        past = {boot.boot for boot in book.boots if boot.boot < 0}
        for boot in book.boots:
            if boot.boot >= 0:
                boot.boot = next(n for n in range(FORMER, FORMER - len(past) - 2, -1) if n not in past)
                past.add(boot.boot)
        self._keep(row, book)

    def high(self, row: int) -> int:
        """The number up to which all of the newest boot has come; NOT_ACCOUNTABLE where there is none."""
        book = self.book(row)
        return book.boots[-1].mark if book.boots else NOT_ACCOUNTABLE

    def mark(self, row: int, device: str) -> Mark | None:
        """The row's mark: of its newest boot, and of older ones that are not forgotten."""
        marks = [
            Mark(device, boot.boot, max(boot.mark, 0), boot.beyond(BEYOND))
            for boot in reversed(self.book(row).boots)
            if boot.boot > FORMER and (boot.mark >= boot.base or boot.beyond(BEYOND))
        ]
        if not marks:
            return None
        newest = marks[0]
        return Mark(device, newest.boot, newest.seq, newest.beyond, tuple(marks[1:]))

    def marks(self, rows: list[int]) -> tuple[list[int], list[bytes]]:
        """Those of the rows that have a mark, and their marks as payloads. Of most rows the arrays say it all."""
        found: list[int] = []
        payloads: list[bytes] = []
        numbers = (array[rows].tolist() for array in (self.boot, self.base, self.top))
        for row, boot, base, top in zip(rows, *numbers, strict=True):
            if row in self.books:
                mark = self.mark(row, "")
                if mark is not None:
                    found.append(row)
                    payloads.append(encode_mark(mark))
            elif boot > max(FORMER, NOT_ACCOUNTABLE) and top >= base:
                found.append(row)
                payloads.append(plain_mark(boot, max(top, 0)))
        return found, payloads

    def moved(self, changed_only: bool) -> list[int]:
        """Accountable rows, by default those touched since the last call."""
        chosen = self.touched if changed_only else self.boot != NOT_ACCOUNTABLE
        rows: list[int] = np.flatnonzero(chosen).tolist()
        self.touched[:] = False
        return rows

    def offset(self, row: int) -> int | None:
        """Smallest arrival minus event time of this and the hour before, ms; None where no device time came."""
        smallest = int(min(self.offset_now[row], self.offset_before[row]))
        return None if smallest == NO_OFFSET else smallest

    def _account(self, columns: Columns, *, take: bool) -> bool:
        """The loop in C: whether it sees to these readings."""
        arrays = (
            self.boot, self.top, self.last_t, self.last_arrived, self.journalled, self.late_count, self.offset_hour,
            self.offset_now, self.offset_before, self.touched, self.recent, self.step, self.filled, self.over,
        )  # fmt: skip
        if not (self._places and all(map(is_, self._placed, arrays))):
            self._placed, self._places = arrays, native.places(arrays)
        return native.account(columns, len(self), self._places, hour_ms=HOUR_MS, burst=self.flood.burst,
                              held_ms=self.flood.held_ms, take=take)  # fmt: skip

    def _buckets(self, row: int) -> tuple[int, int, int]:
        return int(self.filled[row]), int(self.over[row]), int(self.last_t[row])

    def _pour(self, columns: Columns, row: int, index: NDArray[np.int64], one: Buckets, *, taken: bool) -> list[int]:
        timeless = (columns.flags[index] & FLAG_NO_CLOCK) > 0
        readings = zip(columns.t[index].tolist(), columns.arrived[index].tolist(), timeless.tolist(), strict=True)
        return one.pour(self.flood, int(self.step[row]), readings, taken=taken)

    def _crowded(self, columns: Columns, sort: _Order) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Rows whose readings may find their bucket full, and the indices of those readings in their order."""
        if not self.flood.factor:
            return
        rows, ends = sort.rows, np.append(sort.starts[1:], len(columns))
        t = columns.t[sort.order]
        step, oldest = self.step[rows], np.minimum.reduceat(t, sort.starts)
        highest = np.maximum(self.filled[rows], np.maximum.reduceat(t, sort.starts)) + (ends - sort.starts) * step
        for at in np.flatnonzero(highest - oldest > step * self.flood.burst).tolist():
            yield int(rows[at]), sort.order[sort.starts[at] : ends[at]]

    def _fill(self, columns: Columns, sort: _Order) -> None:
        """Pour readings that are in into the buckets."""
        if not self.flood.factor:
            return
        rows, count = sort.rows, np.diff(np.append(sort.starts, len(columns)))
        step = self.step[rows]
        crowded = [(row, index, Buckets(*self._buckets(row))) for row, index in self._crowded(columns, sort)]
        behind = np.repeat(sort.starts + count, count) - np.arange(len(columns))
        highest = np.maximum.reduceat(columns.t[sort.order] + behind * np.repeat(step, count), sort.starts)
        self.filled[rows] = np.maximum(self.filled[rows] + count * step, highest)
        for row, index, one in crowded:
            self._pour(columns, row, index, one, taken=True)
            self.filled[row], self.over[row] = one.filled, one.over

    def _sort(self, row: NDArray[np.int32]) -> _Order:
        if self._sorted is None or self._sorted[0] is not row:
            self._sorted = (row, _sort(row))
        return self._sorted[1]

    def _odd(self, columns: Columns, sort: _Order) -> NDArray[np.int64] | None:
        """Indices, row by row, of all readings of the rows whose numbers do not simply go on; None if none do."""
        boot, seq = columns.boot[sort.order], columns.seq[sort.order]
        simple = (seq == sort.before(seq, self.top) + 1) & (boot == self.boot[sort.row])
        simple |= (boot == NOT_ACCOUNTABLE) & (self.boot[sort.row] == NOT_ACCOUNTABLE)
        if simple.all():
            return None
        odd = np.zeros(len(self), np.bool_)
        odd[sort.row[~simple]] = True
        return sort.order[odd[sort.row]]

    @staticmethod
    def _runs(columns: Columns, odd: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int, int]]:
        """Runs of consecutive numbers among readings: (position in `odd`, row, boot, first seq, last seq)."""
        row, boot, seq = columns.row[odd], columns.boot[odd], columns.seq[odd]
        begins = np.ones(len(odd), np.bool_)
        begins[1:] = (row[1:] != row[:-1]) | (boot[1:] != boot[:-1]) | (seq[1:] != seq[:-1] + 1)
        starts = np.flatnonzero(begins)
        ends = np.append(starts[1:], len(odd)) - 1
        told = (starts.tolist(), row[starts].tolist(), boot[starts].tolist(), seq[starts].tolist(), seq[ends].tolist())
        return (run for run in zip(*told, strict=True) if run[2] != NOT_ACCOUNTABLE)

    def _count_numbers(self, columns: Columns, sort: _Order) -> None:
        odd = self._odd(columns, sort)
        last = np.append(sort.starts[1:], len(columns)) - 1
        index = sort.order[last]
        counted = columns.boot[index] != NOT_ACCOUNTABLE
        if odd is not None:
            odd_rows = np.zeros(len(self), np.bool_)
            odd_rows[columns.row[odd]] = True
            counted &= ~odd_rows[columns.row[index]]
        self.top[columns.row[index[counted]]] = columns.seq[index[counted]]
        self.touched[columns.row[index[counted]]] = True
        if odd is None:
            return
        books: dict[int, Book] = {}
        for _, row, boot, first, end in self._runs(columns, odd):
            book = books.get(row)
            if book is None:
                book = books[row] = self.book(row)
            _, out_of_order = book.take_run(boot, first, end)
            if out_of_order:
                self.out_of_order[row] += out_of_order
        for r, book in books.items():
            self._keep(r, book)

    def book(self, row: int) -> Book:
        """The row's book, up to date; a new one for a row without."""
        book = self.books.get(row)
        if book is not None:
            book.boots[-1].top = int(self.top[row])
            return book
        if row >= len(self) or self.boot[row] == NOT_ACCOUNTABLE:
            return Book()
        return Book([Boot(int(self.boot[row]), int(self.base[row]), int(self.top[row]))])

    def _heard(self, row: int, boot: int) -> bool:
        """Whether something of that boot is remembered."""
        book = self.books.get(row)
        return bool(self.boot[row] == boot) if book is None else book.find(boot) is not None

    def _keep(self, row: int, book: Book) -> None:
        """Write a book back: into the arrays alone where they say it all."""
        newest = book.boots[-1]
        self.boot[row], self.base[row], self.top[row] = newest.boot, newest.base, newest.top
        self.missing[row] = book.missing
        self.touched[row] = True
        if len(book.boots) == 1 and not newest.gaps and not book.given_up:
            self.books.pop(row, None)
        else:
            self.books[row] = book

    def _note_offset(self, rows: NDArray[np.int32], lag: I64, hour: I64) -> None:
        elapsed = hour - self.offset_hour[rows]
        now, before = self.offset_now[rows], self.offset_before[rows]
        before = np.where(elapsed == 1, now, np.where(elapsed > 1, NO_OFFSET, before))
        now = np.where(elapsed >= 1, NO_OFFSET, now)
        self.offset_now[rows], self.offset_before[rows] = np.minimum(now, lag), before
        self.offset_hour[rows] = np.maximum(self.offset_hour[rows], hour)


def dump_page(page: Page) -> dict[str, Any]:
    """A page as arrays and JSON."""
    boots, gaps, given_up = [], [], []
    for row in page.books:
        book = page.book(row)
        given_up.append((row, book.given_up))
        for boot in book.boots:
            boots.append((row, boot.boot, boot.base, boot.top, len(boot.gaps)))
            gaps += boot.gaps
    dumped: dict[str, Any] = {name: getattr(page, name).copy() for name in ARRAYS}
    for name in ("rejected", "bad_values"):
        dumped[name] = [[row, reason, count] for (row, reason), count in getattr(page, name).items()]
    dumped["given_up"] = np.array(given_up, np.int64).reshape(-1, 2)
    dumped["boots"] = np.array(boots, np.int64).reshape(-1, 5)
    dumped["gaps"] = np.array(gaps, np.int64).reshape(-1, 2)
    return dumped


def load_page(dumped: Mapping[str, Any]) -> Page:
    """A page from what `dump_page` gave. Raises KeyError, TypeError, ValueError or IndexError for anything else."""
    page = Page()
    for name in ARRAYS:
        kept = dumped[name] if name not in LATER or name in dumped else np.zeros(len(page), np.int64)
        setattr(page, name, np.array(kept, np.int64))
    if len({len(getattr(page, name)) for name in ARRAYS}) > 1:
        raise ValueError("arrays of different length")
    page.recent, page.step = np.full(len(page), -1, np.int32), np.zeros(len(page), np.int64)
    page.touched = page.boot != NOT_ACCOUNTABLE  # marks are published anew after a restart
    for name in ("rejected", "bad_values"):
        setattr(page, name, Counter({(int(row), str(reason)): int(count) for row, reason, count in dumped[name]}))
    page.books = {row: Book([], count) for row, count in dumped["given_up"].tolist()}
    gaps: list[list[int]] = dumped["gaps"].tolist()
    at = 0
    for row, boot, base, top, count in dumped["boots"].tolist():
        page.books[row].boots.append(Boot(boot, base, top, [(gap[0], gap[1]) for gap in gaps[at : at + count]]))
        at += count
    if at != len(gaps) or not all(book.boots for book in page.books.values()):
        raise ValueError("books that do not add up")
    return page
