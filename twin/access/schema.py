"""The file of the room: `users.db` in the data directory, opened so that a power cut loses nothing answered."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twin.errors import AccessError

VERSION = 1
BUSY_MS = 10_000

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE users (
  name TEXT PRIMARY KEY, full_name TEXT NOT NULL, role TEXT NOT NULL, departments TEXT NOT NULL, password TEXT NOT NULL,
  disabled INTEGER NOT NULL, created_ms INTEGER NOT NULL, password_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE tokens (
  id TEXT PRIMARY KEY, digest BLOB NOT NULL, name TEXT NOT NULL, user TEXT NOT NULL, role TEXT NOT NULL,
  departments TEXT NOT NULL, created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE sessions (
  digest BLOB PRIMARY KEY, id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, created_ms INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_user ON sessions (user, seen_ms);
CREATE TABLE entries (
  book TEXT NOT NULL, n INTEGER NOT NULL, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, event TEXT NOT NULL,
  subject TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL,
  PRIMARY KEY (book, n)
) WITHOUT ROWID;
CREATE INDEX entries_key ON entries (book, event, subject, detail);
CREATE TABLE heads (
  book TEXT PRIMARY KEY, base_n INTEGER NOT NULL, base_hash TEXT NOT NULL, n INTEGER NOT NULL, hash TEXT NOT NULL
) WITHOUT ROWID;
"""


def open_file(path: str | Path) -> sqlite3.Connection:
    """A connection to the file, made with its tables where it is new. Raises AccessError."""
    try:
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch(mode=0o600, exist_ok=True)
        link = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
        link.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MS}", "secure_delete=ON"):
            link.execute(f"PRAGMA {pragma}")
        _prepare(link)
    except (sqlite3.DatabaseError, OSError) as error:
        raise AccessError(
            f"{path} cannot be used: {error}; restore it from a backup, or take it away to begin without users"
        ) from error
    return link


def _prepare(link: sqlite3.Connection) -> None:
    link.execute("BEGIN IMMEDIATE")
    try:
        there = link.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
        if there is None:
            for statement in TABLES.split(";\n"):
                if statement.strip():
                    link.execute(statement)
            link.execute("INSERT INTO meta VALUES ('version', ?)", (str(VERSION),))
        version = int(link.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()[0])
        link.execute("COMMIT")
    except BaseException:
        link.execute("ROLLBACK")
        raise
    if version > VERSION:
        raise AccessError(f"users.db has version {version}, this program knows {VERSION}: use the newer program")
