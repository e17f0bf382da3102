"""The journal: the one durable, numbered log of everything that changes an outcome.

Law of the room: `append` returns only when its entries survive a power cut (SQLite, WAL, synchronous=FULL), all of
them or none; numbers have no gaps; nothing that was appended is ever changed. It is the point of acknowledgement, the
spool in front of every store and the source of replay. What the room does when it is full: docs/journal.md.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern

from twin.errors import BodyRefused, JournalBroken, JournalFull, TwinError
from twin.journal import table
from twin.journal.ballast import Ballast
from twin.journal.codec import decode, encode
from twin.journal.lock import Lock
from twin.journal.tail import Tail
from twin.records import Batch, Body, Entry, Names

MAX_BODY_BYTES = 256 << 20
GROUP_BYTES = 16 << 20  # several threads' appends are committed together up to here
ENTRY_BYTES = 512  # what an entry costs in memory beside its columns
UNPACKED = 6  # times that a batch takes more room in memory than on disk, about
TRIM_S = 0.01  # a trimming transaction holds appends back about this long


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes in use (pages, without free ones), the bound, entries kept, and why appends are refused ('': not)."""

    bytes: int
    max_bytes: int
    entries: int
    full: str


@dataclass(slots=True)
class _Request:
    """One call of `append` on its way to the disk: encoded bodies in, number of the last entry or an error out."""

    bodies: list[Body]
    data: list[bytes]
    names: list[tuple[str, int, str]]
    last: int | None = None
    error: Exception | None = None
    done: bool = False
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bytes = sum(map(len, self.data))


class Journal:
    """The log at `path`, held by this process alone. Every method may be called from any thread.

    `max_bytes` bounds the entries on disk, `tail_bytes` those kept decoded in memory; `ballast_bytes` (default 32 MiB,
    less for a small bound) is disk space held in reserve, so that trimming works on a full disk. Raises JournalBusy,
    JournalBroken, JournalFull.
    """

    def __init__(
        self, path: Path, *, max_bytes: int = 8 << 30, tail_bytes: int = 8 << 20, ballast_bytes: int | None = None
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._max_pages = max(16, max_bytes // table.PAGE_BYTES)
        self._lock = Lock(path.with_name(path.name + ".lock"))
        try:
            self._link = table.open_file(path)
            self._reader = table.open_reader(path)
            self.id = str(self._link.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()[0])
            self._position, self._first = self._bounds()
        except BaseException:
            self._lock.release()
            raise
        self._ballast = Ballast(
            path.with_name(path.name + ".ballast"),
            min(32 << 20, max_bytes // 8) if ballast_bytes is None else ballast_bytes,
        )
        self._tail = Tail(tail_bytes)
        self._waiting: list[_Request] = []
        self._commit_lock = threading.Lock()  # held by whoever writes to the file
        self._read_lock = threading.Lock()  # held by whoever uses the reading connection
        self._state = threading.Condition()  # guards _waiting, _tail, _position, _first, _full, _closed
        self._full = ""
        self._closed = False
        self._unsure = False  # a write failed and the file could not be asked what it has
        self._tight = True  # no ballast: the file may not grow. The first append takes the ballast and opens it.
        self._limit_pages()

    @property
    def position(self) -> int:
        """Number of the last durable entry; 0 before the first."""
        return self._position

    @property
    def first(self) -> int:
        """Number of the oldest entry kept; position + 1 while there is none."""
        return self._first

    @property
    def full(self) -> str:
        """Why the last append was refused; '' after one that was not."""
        return self._full

    def append(self, bodies: Sequence[Body]) -> int:
        """Make the bodies durable as consecutive entries, in one transaction. Returns the number of the last one.

        Nothing of this call was kept when it raises JournalFull (bound, or a disk that is full or fails: try again
        later) or BodyRefused (a body that breaks its own contract: never try again).
        """
        request = self._request(bodies)
        with self._state:
            self._waiting.append(request)
        with self._commit_lock:  # whoever comes first commits for all that queue behind it
            while not request.done:
                self._commit_waiting()
        if request.last is None:
            raise request.error or JournalBroken("an append ended without an answer")
        return request.last

    def read(self, after: int, limit: int, max_bytes: int = 64 << 20) -> list[Entry]:
        """Entries with numbers above `after`, in order: at most `limit` and about `max_bytes`, but at least one.

        Raises JournalBroken where an entry is damaged, missing or already trimmed.
        """
        with self._state:
            if after >= self._position or limit < 1:
                return []
            found = self._tail.read(after, limit, max_bytes)
        if found is not None:
            return found
        return [decode(n, data) for n, data in self._read_disk(after, limit, max_bytes)]

    def wait(self, after: int, timeout_s: float) -> bool:
        """Wait until there is an entry above `after`; False where there was none in time, or the journal closed."""
        with self._state:
            self._state.wait_for(lambda: self._position > after or self._closed, timeout_s)
            return self._position > after

    def trim(self, below: int) -> int:
        """Forget entries with numbers below `below` (never the last one); returns how many.

        Works in short transactions between which appends go on, and on a full disk. Raises JournalFull where even
        that has no room.
        """
        below = min(below, self._position)
        removed, step = 0, 32
        while self._first < below:
            until = min(below, self._first + step)
            started = time.monotonic()
            with self._commit_lock:
                self._delete(until)
            removed += until - self._first
            with self._state:
                self._first = until
            step = max(1, step // 2) if time.monotonic() - started > TRIM_S else min(1024, step * 2)
        return removed

    def names(self) -> list[tuple[str, int, str]]:
        """Every (kind, row, device) that was ever appended, trimmed entries included, by kind and row. Texts are the
        ones that the city's files are read into, wherever they are held."""
        with self._read_lock:
            rows = self._reader.execute("SELECT kind, row, device FROM names ORDER BY kind, row").fetchall()
        return [(intern(kind), row, intern(device)) for kind, row, device in rows]

    def verify(self) -> int:
        """Read and check the whole file: returns the number of entries. Raises JournalBroken naming the first fault."""
        with self._read_lock:
            try:
                found = self._reader.execute("PRAGMA quick_check(1)").fetchone()[0]
            except sqlite3.DatabaseError as error:
                found = str(error)
        if found != "ok":
            raise JournalBroken(f"the journal's file is damaged: {found}; restore it from a backup")
        count, after = 0, self._first - 1
        while entries := self._read_disk(after, 256, 64 << 20):
            for n, data in entries:
                decode(n, data)
            count, after = count + len(entries), entries[-1][0]
        return count

    def size(self) -> Size:
        """How much room the journal takes and has."""
        with self._read_lock:
            total, free = table.pages(self._reader)
        used = (total - free) * table.PAGE_BYTES
        return Size(used, self._max_pages * table.PAGE_BYTES, self._position - self._first + 1, self._full)

    def close(self) -> None:
        """Close the file and let another process have it. What waits in `wait` wakes."""
        with self._commit_lock:
            if self._closed:
                return
            with self._state:
                self._closed = True
                self._state.notify_all()
            with self._read_lock:
                self._reader.close()
            self._link.close()
            self._lock.release()

    def _request(self, bodies: Sequence[Body]) -> _Request:
        kept: list[Body] = []
        data: list[bytes] = []
        names: list[tuple[str, int, str]] = []
        for body in bodies:
            try:
                encoded = encode(body)
            except (TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
                raise BodyRefused(f"a {type(body).__name__} that breaks its own contract: {error}") from error
            if len(encoded) > MAX_BODY_BYTES:
                told = f"a {type(body).__name__} of {len(encoded)} bytes; an entry may hold {MAX_BODY_BYTES}"
                raise BodyRefused(told)
            data.append(encoded)
            # The tail must hold what a replay would read: columns are exact, small records go through JSON.
            kept.append(body if isinstance(body, Batch) else decode(0, encoded).body)
            if isinstance(body, Names):
                names.extend(body.rows)
        return _Request(kept, data, names)

    def _commit_waiting(self) -> None:
        with self._state:
            group: list[_Request] = []
            total = 0
            while self._waiting and (not group or total + self._waiting[0].bytes <= GROUP_BYTES):
                group.append(self._waiting.pop(0))
                total += group[-1].bytes
        try:
            self._commit_each(group)
        finally:
            for request in group:
                if request.last is None and request.error is None:  # interrupted: what is on disk is what counts
                    request.error = JournalBroken("interrupted while writing; whether this call is kept is unknown")
                    with contextlib.suppress(TwinError):  # then the next append asks again
                        self._resume()
                request.done = True

    def _commit_each(self, group: list[_Request]) -> None:
        try:
            self._commit(group)
        except TwinError as error:
            if len(group) == 1:
                group[0].error = error
                return
            for request in group:  # one that is too large, or contradicts the names, takes no other with it
                self._commit_each([request])

    def _commit(self, group: list[_Request]) -> None:
        if self._closed:
            raise JournalBroken("the journal is closed")
        if self._unsure:
            self._resume()
        if self._tight and self._ballast.hold():
            self._tight = False
            self._limit_pages()
        for attempt in (1, 2):
            try:
                last = self._insert(group)
                break
            except sqlite3.DatabaseError as error:
                self._resume()
                if table.primary_code(error) not in table.FULL:
                    raise JournalBroken(f"the journal cannot be written: {error}") from error
                try:
                    self._note_full(error, sum(request.bytes for request in group))
                except sqlite3.DatabaseError:  # not even how full it is can be read
                    self._resume()
                if attempt == 2:
                    raise JournalFull(self._full) from error
        self._publish(group, last)

    def _insert(self, group: list[_Request]) -> int:
        n = self._position
        with table.transaction(self._link):
            for request in group:
                for data in request.data:
                    n += 1
                    self._link.execute("INSERT INTO entry VALUES (?, ?)", (n, data))
                if request.names:
                    self._keep_names(request.names)
        return n

    def _keep_names(self, rows: list[tuple[str, int, str]]) -> None:
        self._link.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", rows)
        for kind, row, device in rows:
            (kept,) = self._link.execute("SELECT device FROM names WHERE kind = ? AND row = ?", (kind, row)).fetchone()
            if kept != device:
                raise BodyRefused(f"row {row} of kind {kind} belongs to {kept} for ever, not to {device}")

    def _publish(self, group: list[_Request], last: int) -> None:
        n = self._position
        entries = []
        for request in group:
            for body, data in zip(request.bodies, request.data, strict=True):
                n += 1
                entries.append((Entry(n, body), _footprint(body, data)))
            request.last = n
        with self._state:
            self._tail.add(entries)
            self._position = last
            self._full = ""
            self._state.notify_all()

    def _resume(self) -> None:
        """After a failed write: believe the file, not what was expected of it. Where even that cannot be read just now
        the next append asks again."""
        again, self._unsure = self._unsure, True
        try:
            position, first = self._bounds()
        except sqlite3.DatabaseError as error:
            if again and table.primary_code(error) not in table.FULL:
                raise JournalBroken(f"the journal cannot be read: {error}") from error
            with self._state:
                self._full = f"the disk below the journal fails ({error}): look at the disk, entries are tried again"
            raise JournalFull(self._full) from error
        self._unsure = False
        with self._state:
            if position != self._position:
                self._tail.clear()
            self._position, self._first = position, first

    def _note_full(self, error: sqlite3.Error, wanted: int) -> None:
        total, free = table.pages(self._link)
        room = (self._max_pages - total + free) * table.PAGE_BYTES
        if table.primary_code(error) != sqlite3.SQLITE_FULL:
            reason = f"the disk below the journal fails ({error}): look at the disk, entries are tried again"
            self._make_room()
        elif room < wanted + 8 * table.PAGE_BYTES:
            reason = f"the journal's bound of {self._max_pages * table.PAGE_BYTES} bytes is reached"
        else:
            reason = f"the disk below the journal is full ({error}): free some space"
            self._make_room()
        with self._state:
            self._full = reason

    def _make_room(self) -> None:
        """On a full disk: give the ballast to the log and keep the file from growing until there is room again."""
        self._ballast.drop()
        self._tight = True
        self._limit_pages()
        try:
            self._link.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.DatabaseError as error:
            if table.primary_code(error) not in table.FULL:
                raise JournalBroken(f"the journal cannot be written: {error}") from error

    def _limit_pages(self) -> None:
        limit = table.pages(self._link)[0] if self._tight else self._max_pages
        self._link.execute(f"PRAGMA max_page_count = {max(limit, 16)}").fetchone()

    def _delete(self, until: int) -> None:
        for attempt in (1, 2):
            try:
                with table.transaction(self._link):
                    self._link.execute("DELETE FROM entry WHERE n < ?", (until,))
                return
            except sqlite3.DatabaseError as error:
                if table.primary_code(error) not in table.FULL:
                    raise JournalBroken(f"the journal cannot be trimmed: {error}") from error
                if attempt == 2:
                    raise JournalFull(f"no room even to trim the journal ({error}): free some disk space") from error
                try:
                    self._make_room()
                except sqlite3.DatabaseError as worse:  # the disk fails: not even the size of the file can be read
                    raise JournalBroken(f"the journal cannot be trimmed: {worse}") from worse

    def _bounds(self) -> tuple[int, int]:
        first, last = self._link.execute("SELECT MIN(n), MAX(n) FROM entry").fetchone()
        return (0, 1) if last is None else (int(last), int(first))

    def _read_disk(self, after: int, limit: int, max_bytes: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        with self._read_lock:
            if self._closed:
                raise JournalBroken("the journal is closed")
            try:
                cursor = self._reader.execute(
                    "SELECT n, CAST(body AS BLOB) FROM entry WHERE n > ? ORDER BY n LIMIT ?", (after, limit)
                )
                for n, data in cursor:
                    max_bytes -= UNPACKED * len(data) + ENTRY_BYTES
                    if found and max_bytes < 0:
                        break
                    found.append((n, data))
                cursor.close()
            except sqlite3.DatabaseError as error:
                raise JournalBroken(f"the journal cannot be read after entry {after}: {error}") from error
        for expected, (n, _) in enumerate(found, after + 1):
            if n != expected:
                gone = "has been trimmed" if expected < self._first else "is missing: restore the journal from a backup"
                raise JournalBroken(f"journal entry {expected} {gone}")
        return found


def _footprint(body: Body, data: bytes) -> int:
    """Bytes that an entry takes in memory."""
    if not isinstance(body, Batch):
        return 2 * len(data) + ENTRY_BYTES
    count = ENTRY_BYTES
    for columns in body.columns:
        for array in (columns.row, columns.t, columns.boot, columns.seq, columns.arrived, columns.flags):
            count += array.nbytes
        count += sum(values.nbytes for values in columns.values.values())
    return count
