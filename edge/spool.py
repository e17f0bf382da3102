"""The spool: readings wait on disk until the server has them. SQLite, write-ahead log, synchronous=FULL.

What `put` has returned from survives a power cut, with the number that it was given: numbers are assigned and stored in
the same transaction. One boot covers all that waits: it is taken anew at a start with an empty spool only, so that a
server which remembers few boots of a device remembers ours. Deletion is lazy (a reading sent twice is a duplicate by
(device, boot, seq), never a loss) and rides on the next `put`, to spare the card.

When `max_bytes` is reached the oldest readings go, whoever's they are, and are counted by device.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devices.boot import next_boot
from devices.errors import DeviceError
from devices.log import Sent
from devices.records import Mark, Reading
from edge.errors import SpoolError

Covered = dict[tuple[str, int], Sent]  # (device, boot) -> ranges that the server has
Number = tuple[int, int]  # (boot, seq): numbers of one device, ascending in the order of `put`

ROW_BYTES = 72  # of a reading beside its values: row, index entry, free space in pages; measured (docs/edge.md)
LEAST_BYTES = 1 << 20
DROP_SHARE = 64  # a full spool makes room for 1/64 of itself at once
PAGE = 500

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS device (n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL,
  dropped INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS reading (id INTEGER PRIMARY KEY, device INTEGER NOT NULL, boot INTEGER NOT NULL,
  seq INTEGER NOT NULL, t_ms INTEGER, said TEXT NOT NULL, UNIQUE (device, boot, seq));
"""


@dataclass(slots=True)
class _Numbers:
    """What is known of one device: its row in `device`, the last number given, readings given up."""

    n: int
    seq: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class SpoolCounts:
    """What waits, and what became of the rest since the spool was opened (`dropped`: ever)."""

    rows: int
    bytes: int
    given: int
    covered: int
    dropped: int


class Spool:
    """One file. `put`, `sweep` and `close` belong to one thread; `peek`, `last` and `done` may be called by another."""

    def __init__(self, path: Path, *, max_bytes: int = 256 << 20) -> None:
        """Open or make it. Raises SpoolError; a damaged file is put aside under another name, and `problem` says so."""
        self.path = path
        self.max_bytes = max(max_bytes, LEAST_BYTES)
        self.problem = ""
        self.boot = 0
        self._devices: dict[str, _Numbers] = {}
        self._rows = self._bytes = self._given = self._covered = 0
        self._covers: Covered = {}
        self._renewing = False
        self._lock = threading.Lock()  # of the reading connection
        self._told = threading.Lock()  # of `_covers`
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = _lock(path.with_name(path.name + ".lock"))
        except OSError as error:
            raise SpoolError(f"{path}: cannot be taken ({error}); does another gateway use it?") from error
        try:
            self._db = self._open()
            self._reader = _connect(path)
            self._load()
        except (OSError, sqlite3.Error, DeviceError) as error:
            os.close(self._lock_file)
            raise SpoolError(f"{path}: the spool cannot be opened ({error})") from error

    def _open(self) -> sqlite3.Connection:
        try:
            return _prepare(self.path)
        except sqlite3.OperationalError:
            raise  # locked, full, not permitted: no damage
        except sqlite3.DatabaseError as error:
            aside = self.path.with_name(f"{self.path.name}.damaged-{next_boot(self._boot_file)}")
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self.path.replace(aside)
            self.problem = f"the spool was damaged ({error}); what it held is in {aside}, and a new one was begun"
            return _prepare(self.path)

    @property
    def _boot_file(self) -> Path:
        return self.path.with_name(self.path.name + ".boot")

    def _load(self) -> None:
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        self.boot = meta.get("boot", 0)
        self._bytes = meta.get("bytes", 0)
        self._rows = meta.get("rows", 0)
        for n, name, seq, dropped in self._db.execute("SELECT n, name, seq, dropped FROM device"):
            self._devices[name] = _Numbers(n, seq, dropped)
        if not self.boot or not self._rows:
            with self._transaction():
                self._take_boot()
                self._db.execute("UPDATE device SET seq = 0")
            for numbers in self._devices.values():
                numbers.seq = 0

    def _take_boot(self) -> None:
        boot = next_boot(self._boot_file)
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (boot,))
        self.boot = boot

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def put(self, readings: Sequence[Reading]) -> None:
        """Number readings and keep them; durable on return. Marks that have come are carried out beside it.

        Raises SpoolError, e.g. on a full disk: then nothing was kept or numbered, and it may be tried again.
        """
        self._write(readings)

    def sweep(self) -> None:
        """Let go what marks have covered since the last `put`. Raises SpoolError."""
        if self._covers or self._renewing:
            self._write(())

    def _write(self, readings: Sequence[Reading]) -> None:
        before = (self._rows, self._bytes, self.boot)
        numbers = {name: _Numbers(known.n, known.seq, known.dropped) for name, known in self._devices.items()}
        with self._told:
            covers, self._covers = self._covers, {}
        renewing = self._renewing
        try:
            with self._transaction():
                if renewing:
                    self._take_boot()
                    self._db.execute("UPDATE reading SET boot = ?", (self.boot,))
                covered = self._cover(covers, numbers)
                self._insert(readings, numbers)
                if self._bytes > self.max_bytes:
                    self._drop(numbers)
                if (self._rows, self._bytes) != before[:2]:
                    totals = (("rows", self._rows), ("bytes", self._bytes))
                    self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", totals)
        except (sqlite3.Error, OSError, DeviceError) as error:
            self._rows, self._bytes, self.boot = before
            self._remember(covers)
            raise SpoolError(f"{self.path}: {error}") from error
        self._devices = numbers
        self._given += len(readings)
        self._covered += covered
        if renewing:
            self._renewing = False

    def _insert(self, readings: Sequence[Reading], numbers: dict[str, _Numbers]) -> None:
        rows = []
        for reading in readings:
            known = numbers.get(reading.device)
            if known is None:
                known = numbers[reading.device] = _Numbers(len(numbers) + 1)
                self._db.execute("INSERT INTO device VALUES (?, ?, 0, 0)", (known.n, reading.device))
            known.seq += 1
            said = json.dumps(dict(reading.values), separators=(",", ":"), allow_nan=False)
            rows.append((known.n, self.boot, known.seq, reading.t_ms, said))
            self._bytes += len(said) + ROW_BYTES
        self._rows += len(rows)
        self._db.executemany("INSERT INTO reading (device, boot, seq, t_ms, said) VALUES (?, ?, ?, ?, ?)", rows)
        touched = {reading.device for reading in readings}
        self._db.executemany(
            "UPDATE device SET seq = ? WHERE n = ?", [(numbers[name].seq, numbers[name].n) for name in touched]
        )

    def _cover(self, covers: Covered, numbers: dict[str, _Numbers]) -> int:
        """Delete what the server has; returns how many readings that were."""
        where = "device = ? AND boot = ? AND seq BETWEEN ? AND ?"
        gone = 0
        for (device, boot), sent in covers.items():
            known = numbers.get(device)
            for first, last in sent.ranges if known is not None else ():
                what = (known.n if known is not None else 0, boot, first, last)
                rows, size = self._db.execute(
                    f"SELECT count(*), coalesce(sum(length(said)), 0) FROM reading WHERE {where}",  # noqa: S608
                    what,
                ).fetchone()
                if rows:
                    self._db.execute(f"DELETE FROM reading WHERE {where}", what)  # noqa: S608
                    self._forget(rows, size)
                    gone += rows
        return gone

    def _remember(self, covers: Covered) -> None:
        """Keep ranges for the next `put`, together with those that came meanwhile."""
        with self._told:
            for key, sent in covers.items():
                known = self._covers.setdefault(key, Sent())
                for first, last in sent.ranges:
                    known.add(first, last)

    def _forget(self, rows: int, said_bytes: int) -> None:
        self._rows -= rows
        self._bytes -= said_bytes + rows * ROW_BYTES

    def _drop(self, numbers: dict[str, _Numbers]) -> None:
        """Give up the oldest readings until there is room, and count them by device."""
        names = {known.n: known for known in numbers.values()}
        wanted = self.max_bytes - self.max_bytes // DROP_SHARE
        losers: set[int] = set()
        while self._bytes > wanted and self._rows:
            page = self._db.execute(
                "SELECT id, device, length(said) FROM reading ORDER BY id LIMIT ?", (PAGE,)
            ).fetchall()
            last = 0
            for row, n, size in page:
                if self._bytes <= wanted:
                    break
                last = row
                names[n].dropped += 1
                losers.add(n)
                self._forget(1, size)
            self._db.execute("DELETE FROM reading WHERE id <= ?", (last,))
        self._db.executemany("UPDATE device SET dropped = ? WHERE n = ?", [(names[n].dropped, n) for n in losers])

    def peek(
        self, device: str, after: Number = (0, 0), until: Number | None = None, limit: int = PAGE
    ) -> list[Reading]:
        """Up to `limit` waiting readings of a device with numbers above `after`, not above `until`; oldest first.

        Some of them may be covered by a mark that is not carried out yet. Raises SpoolError.
        """
        known = self._devices.get(device)
        if known is None or limit <= 0:
            return []
        end = until or (1 << 60, 0)
        query = (
            "SELECT boot, seq, t_ms, said FROM reading WHERE device = ? AND (boot, seq) > (?, ?)"
            " AND (boot, seq) <= (?, ?) ORDER BY boot, seq LIMIT ?"
        )
        try:
            with self._lock:
                rows = self._reader.execute(query, (known.n, *after, *end, limit)).fetchall()
        except sqlite3.Error as error:
            raise SpoolError(f"{self.path}: {error}") from error
        return [Reading(device, t_ms, json.loads(said), boot, seq) for boot, seq, t_ms, said in rows]

    def last(self, device: str) -> Number:
        """The last number that this device was given; (boot, 0) for none."""
        known = self._devices.get(device)
        return self.boot, known.seq if known is not None else 0

    def done(self, mark: Mark) -> None:
        """The server has what this mark covers; carried out by the next `put` or `sweep`.

        A mark that names numbers of our boot that we never gave shows that this file is older than it seems (a card
        that was copied back, or one that lies about what it has written): everything that waits moves to a new boot,
        because its numbers may have been used before.
        """
        boot, seq = self.last(mark.device)
        tops = [max([one.seq, *(last for _, last in one.beyond)]) for one in (mark, *mark.older) if one.boot == boot]
        if tops and max(tops) > seq:
            self._renewing = True
            self.problem = (
                f"the server has {mark.device} up to number {max(tops)}, this spool only up to {seq}: it is an old"
                " copy; what waits is sent under new numbers"
            )
            return
        self._remember({(mark.device, one.boot): Sent([(0, one.seq), *one.beyond]) for one in (mark, *mark.older)})

    @property
    def dropped(self) -> dict[str, int]:
        """Readings ever given up because the spool was full, by device."""
        return {name: known.dropped for name, known in self._devices.items() if known.dropped}

    @property
    def counts(self) -> SpoolCounts:
        """Rows, bytes and what became of the rest."""
        return SpoolCounts(self._rows, self._bytes, self._given, self._covered, sum(self.dropped.values()))

    def close(self) -> None:
        """Carry out the marks that have come, and close the file."""
        try:
            self.sweep()
        finally:
            with self._lock:
                self._reader.close()
            self._db.close()
            os.close(self._lock_file)


def _lock(path: Path) -> int:
    """A descriptor that holds the lock; two gateways on one spool would give the same numbers. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA cache_size = -1024")
    return db


def _prepare(path: Path) -> sqlite3.Connection:
    """The writing connection on a sound file. Raises sqlite3.Error."""
    db = _connect(path)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 500")
        db.execute("PRAGMA journal_size_limit = 4194304")
        db.executescript(SCHEMA)
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    except BaseException:
        db.close()
        raise
    return db
