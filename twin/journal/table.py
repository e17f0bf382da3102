"""The SQLite file below the journal: its schema, pragmas and error codes. No threads, no policy."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twin.errors import JournalBroken, JournalFull

SCHEMA = 1
PAGE_BYTES = 16384
WAL_PAGES = 256  # checkpoint after 4 MiB: short stalls, and a log that the ballast can stand in for

# Room is missing, or the disk refuses for now: nothing was acknowledged, the same append may succeed later.
FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})


def open_file(path: Path) -> sqlite3.Connection:
    """Open the journal's file for writing, made if missing. Raises JournalBroken (not a journal, newer schema)."""
    try:
        link = _connect(path)
        try:
            _prepare(link, path)
        except BaseException:
            link.close()
            raise
    except sqlite3.DatabaseError as error:
        if primary_code(error) in FULL:
            raise JournalFull(f"no room to open the journal {path}: {error}; free some disk space") from error
        raise JournalBroken(f"{path} is not a readable journal: {error}; restore it from a backup") from error
    sync_folder(path.parent)
    return link


def open_reader(path: Path) -> sqlite3.Connection:
    """A second connection that reads while the first writes."""
    link = _connect(path)
    link.execute("PRAGMA query_only = ON")
    return link


def _connect(path: Path) -> sqlite3.Connection:
    link = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    link.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    return link


def _prepare(link: sqlite3.Connection, path: Path) -> None:
    (mode,) = link.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalBroken(f"{path} is on a file system without write-ahead logging ({mode}); use a local disk")
    link.execute("PRAGMA synchronous = FULL")  # NORMAL loses acknowledged commits when the power goes
    link.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    with transaction(link):
        link.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        found = dict(link.execute("SELECT key, value FROM meta"))
        if not found:
            link.execute("CREATE TABLE entry (n INTEGER PRIMARY KEY, body BLOB NOT NULL)")
            link.execute(
                "CREATE TABLE names (kind TEXT NOT NULL, row INTEGER NOT NULL, device TEXT NOT NULL,"
                " PRIMARY KEY (kind, row)) WITHOUT ROWID"
            )
            rows = [("schema", str(SCHEMA)), ("id", secrets.token_hex(8))]
            link.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            return
    schema = found.get("schema", "?")
    if schema != str(SCHEMA):
        raise JournalBroken(
            f"{path} has journal schema {schema}, this version writes {SCHEMA}: run the version that made it, or newer"
        )


@contextmanager
def transaction(link: sqlite3.Connection) -> Iterator[None]:
    """One durable transaction; rolled back whole by any error inside it or in its commit."""
    link.execute("BEGIN IMMEDIATE")
    try:
        yield
        link.execute("COMMIT")
    except BaseException:
        if link.in_transaction:
            link.execute("ROLLBACK")
        raise


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where the error carries none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def pages(link: sqlite3.Connection) -> tuple[int, int]:
    """Pages of the file and how many of them are free."""
    return int(link.execute("PRAGMA page_count").fetchone()[0]), int(
        link.execute("PRAGMA freelist_count").fetchone()[0]
    )


def sync_folder(folder: Path) -> None:
    """Make new and renamed names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
