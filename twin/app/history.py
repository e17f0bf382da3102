"""The city's past: what it began as, and every change since, with its time. One SQLite file, written by the tick.

A version is a number from 1 on; entry n of the journal made it. Recording an entry again changes nothing, so that a
replay after a crash writes the same history. Of a base map it knows the fingerprint; the file is kept beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from devices.cities.change import applied, change_in, change_out, difference
from devices.places import CityFiles
from twin.errors import JournalBroken
from twin.tick import Moved

SCHEMA = 2
KEPT = 4  # versions kept worked out
CODE = re.compile(r'"code16": "(\d{10})(\d{6})"')


@dataclass(frozen=True, slots=True)
class Version:
    """One change of the city as it is remembered. changes: as in the journal, each with `before`."""

    version: int
    n: int
    at_ms: int
    id: str
    actor: str
    reason: str
    changes: Sequence[dict[str, Any]]


class History:
    """The history in `path`. Any thread; written by one at a time. Raises JournalBroken where it cannot be read."""

    def __init__(self, path: Path, files: CityFiles, now_ms: int) -> None:
        """Open it; a new one begins with the city of `files`."""
        self._lock = threading.RLock()
        self._path = path
        self._files = files
        self._cache: OrderedDict[int, CityFiles] = OrderedDict()
        self.digest = digest_of(files)
        try:
            self._link = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._prepare(files, now_ms)
        except sqlite3.DatabaseError as error:
            raise JournalBroken(
                f"{path} cannot be read: {error}; restore it from a backup (without it the past has today's city)"
            ) from error

    def _prepare(self, files: CityFiles, now_ms: int) -> None:
        link = self._link
        link.execute("PRAGMA journal_mode = WAL")
        link.execute("PRAGMA synchronous = FULL")
        link.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        link.execute("CREATE TABLE IF NOT EXISTS city (name TEXT PRIMARY KEY, at_ms INTEGER, digest TEXT, body BLOB)")
        link.execute(
            "CREATE TABLE IF NOT EXISTS version (version INTEGER PRIMARY KEY, n INTEGER NOT NULL UNIQUE,"
            " at_ms INTEGER NOT NULL, id TEXT NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,"
            " changes TEXT NOT NULL)"
        )
        link.execute("CREATE INDEX IF NOT EXISTS asked ON version (id)")
        found = dict(link.execute("SELECT key, value FROM meta").fetchall())
        schema = int(found.get("schema", SCHEMA))
        if schema > SCHEMA:
            raise JournalBroken(f"the city's history has schema {schema}, this version reads {SCHEMA}: run the newer")
        if schema < SCHEMA:
            self._migrate(schema, files)
        link.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
        if link.execute("SELECT 1 FROM city WHERE name = 'base'").fetchone() is None:
            for name in ("base", "source"):
                self._keep(name, files, now_ms)

    def _migrate(self, schema: int, files: CityFiles) -> None:
        """Schema 1 kept neither roads nor base map, and told every version under the head of the day: it gets the head
        and roads of today's files, as it answered. A copy of the file is made first."""
        with closing(sqlite3.connect(self._path.with_name(f"{self._path.name}.schema{schema}.backup"))) as copy:
            self._link.backup(copy)
        self._link.execute("BEGIN IMMEDIATE")
        try:
            for name, at_ms, body in self._link.execute("SELECT name, at_ms, body FROM city").fetchall():
                then = msgspec.json.decode(zlib.decompress(body), type=CityFiles)
                self._keep(name, replace(then, roads=files.roads, **asdict(files.head)), at_ms)
            self._link.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(SCHEMA),))
            self._link.execute("COMMIT")
        except BaseException:
            self._link.execute("ROLLBACK")
            raise

    def _keep(self, name: str, files: CityFiles, at_ms: int) -> None:
        body = encoded(files)
        told = (name, at_ms, hashlib.sha256(body).hexdigest(), zlib.compress(body, 6))
        self._link.execute("INSERT OR REPLACE INTO city VALUES (?, ?, ?, ?)", told)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._link.close()

    # ---- writing ---------------------------------------------------------------------------------------------

    def record(self, moves: Sequence[Moved]) -> None:
        """Write what a tick took in. Raises sqlite3.Error where the disk refuses: nothing was written."""
        with self._lock:
            for moved in moves:
                edit = moved.edit
                changes = [change_out(c) | {"before": b} for c, b in zip(edit.changes, moved.before, strict=True)]
                self._link.execute(
                    "INSERT OR IGNORE INTO version VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (moved.version, moved.n, moved.at_ms, edit.id, edit.actor, edit.reason,
                     json.dumps(changes, ensure_ascii=False)),
                )  # fmt: skip

    def follow(self, now_ms: int) -> None:
        """The files of today are taken in: they are what the next start compares its own with."""
        with self._lock:
            self._keep("source", self._files, now_ms)

    def renew(self, files: CityFiles, now_ms: int) -> None:
        """The files are others than at the start, and their difference is taken in."""
        with self._lock:
            self._files, self.digest = files, digest_of(files)
            self._cache.clear()
            self._keep("source", files, now_ms)

    # ---- reading ---------------------------------------------------------------------------------------------

    def source(self) -> CityFiles | None:
        """The files as they were taken in last; None where they are those of today."""
        digest, body = self._city("source")
        return None if digest == self.digest else self._decoded(body)

    def newest(self) -> int:
        """The newest version."""
        with self._lock:
            (found,) = self._link.execute("SELECT MAX(version) FROM version").fetchone()
        return int(found) if found is not None else 1

    def before_entry(self, n: int) -> int:
        """The version that was in force when entry `n` of the journal had been taken in."""
        return self._one("SELECT MAX(version) FROM version WHERE n <= ?", n)

    def at_time(self, at_ms: int) -> int:
        """The version that was in force at a city time (the first one for a time before it)."""
        return self._one("SELECT MAX(version) FROM version WHERE at_ms <= ?", at_ms)

    def _one(self, query: str, value: int) -> int:
        with self._lock:
            (found,) = self._link.execute(query, (value,)).fetchone()
        return int(found) if found is not None else 1

    def asked(self, request: str) -> Version | None:
        """The version that a request made, None where it made none."""
        found = self._versions("WHERE id = ?", (request,), 1)
        return found[0] if found else None

    def versions(self, after: int = 0, limit: int = 200) -> list[Version]:
        """Versions above `after`, oldest first."""
        return self._versions("WHERE version > ? ORDER BY version", (after,), limit)

    def of(self, table: str, name: str, limit: int = 200) -> list[Version]:
        """The versions that changed one object, newest first, with its own changes only."""
        like = f"%{json.dumps(name, ensure_ascii=False)}%"
        found = self._versions("WHERE changes LIKE ? ORDER BY version DESC", (like,), 10 * limit)
        kept = []
        for version in found:
            mine = [c for c in version.changes if c["table"] == table and name in (c["id"], c.get("replaces"))]
            if mine:
                kept.append(replace(version, changes=mine))
        return kept[:limit]

    def serials(self) -> dict[str, int]:
        """The highest serial of every code that any version gave: by the ten digits before it."""
        with self._lock:
            rows = self._link.execute("SELECT changes FROM version WHERE changes LIKE '%\"code16\"%'").fetchall()
        found: dict[str, int] = {}
        for (changes,) in rows:
            for prefix, serial in CODE.findall(changes):
                found[prefix] = max(found.get(prefix, 0), int(serial))
        return found

    def _versions(self, where: str, values: tuple[Any, ...], limit: int) -> list[Version]:
        query = f"SELECT version, n, at_ms, id, actor, reason, changes FROM version {where} LIMIT ?"  # noqa: S608 - ours
        with self._lock:
            rows = self._link.execute(query, (*values, limit)).fetchall()
        return [Version(v, n, at, id_, actor, why, json.loads(told)) for v, n, at, id_, actor, why, told in rows]

    def files_at(self, version: int) -> CityFiles:
        """The city of a version. Raises KeyError for one that never was."""
        if not 1 <= version <= self.newest():
            raise KeyError(f"the city has no version {version}")
        with self._lock:
            if version in self._cache:
                self._cache.move_to_end(version)
                return self._cache[version]
            start = max((known for known in self._cache if known < version), default=1)
            files = self._cache[start] if start in self._cache else self._base()
        for one in self.versions(start, version - start):
            changes = [change_in({k: v for k, v in change.items() if k != "before"}) for change in one.changes]
            files = applied(files, changes)
        with self._lock:
            self._cache[version] = files
            while len(self._cache) > KEPT:
                self._cache.popitem(last=False)
        return files

    def basemap(self, version: int) -> Path | None:
        """The base map of a version: the file of today where it is the same, else the copy that was kept of it."""
        files = self.files_at(version)
        if files.basemap_sha256 == self._files.basemap_sha256:
            return self._files.basemap
        kept = self._kept_map(files.basemap_sha256)
        return kept if files.basemap_sha256 and kept.exists() else None

    def keep_basemap(self) -> None:
        """Copy the base map of today's files, so that it is there when they have another. Raises OSError."""
        if self._files.basemap is None:
            return
        kept = self._kept_map(self._files.basemap_sha256)
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            aside = kept.with_name(kept.name + ".new")
            shutil.copyfile(self._files.basemap, aside)
            aside.replace(kept)

    def _kept_map(self, sha256: str) -> Path:
        return self._path.with_name("basemaps") / f"{sha256}.geojson.gz"

    def began_ms(self) -> int:
        """City time from which the history goes back no further."""
        with self._lock:
            (at_ms,) = self._link.execute("SELECT at_ms FROM city WHERE name = 'base'").fetchone()
        return int(at_ms)

    def _base(self) -> CityFiles:
        digest, body = self._city("base")
        return self._files if digest == self.digest else self._decoded(body)

    def _city(self, name: str) -> tuple[str, bytes]:
        with self._lock:
            digest, body = self._link.execute("SELECT digest, body FROM city WHERE name = ?", (name,)).fetchone()
        return str(digest), bytes(body)

    def _decoded(self, body: bytes) -> CityFiles:
        """The city as it was; the files lie where they lie today."""
        told = msgspec.json.decode(zlib.decompress(body), type=CityFiles)
        return replace(told, folder=self._files.folder, basemap=self._files.basemap, tunnels=self._files.tunnels)


def encoded(files: CityFiles) -> bytes:
    """Everything of a city as JSON, but where its files lie; and the tunnels, which are the simulator's alone."""
    return msgspec.json.encode(replace(files, tunnels=(), folder=None, basemap=None))


def digest_of(files: CityFiles) -> str:
    """A city in short: equal cities, equal digests."""
    return hashlib.sha256(encoded(files)).hexdigest()


def city_then(path: Path, files: CityFiles) -> CityFiles:
    """The city that a data directory's history began with; `files` themselves where there is no history yet."""
    if not path.exists():
        return files
    history = History(path, files, 0)
    try:
        return history.files_at(1)
    finally:
        history.close()


def city_now(path: Path, files: CityFiles) -> CityFiles:
    """The city of a data directory's history as a start would have it: the newest version with what the files changed
    since; `files` themselves where there is no history yet."""
    if not path.exists():
        return files
    history = History(path, files, 0)
    try:
        now, source = history.files_at(history.newest()), history.source()
        return now if source is None else applied(now, difference(source, files))
    finally:
        history.close()
