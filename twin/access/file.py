"""One file, two connections: one that writes, under a lock, and one that reads and never waits for a write."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twin.access.schema import open_file
from twin.errors import AccessError


class File:
    """`users.db`; several processes may have it open (server and command line). Safe from any thread."""

    def __init__(self, path: str | Path, now_s: Callable[[], float] = time.time) -> None:
        """Open or make it; ":memory:" forgets. Raises AccessError."""
        self._path = str(path)
        self._link = open_file(path)
        self._reader = self._link if self._path == ":memory:" else open_file(path)
        self._writing, self._reading = threading.RLock(), threading.RLock()
        if self._reader is self._link:
            self._reading = self._writing
        self._now_s = now_s

    def now_ms(self) -> int:
        """The machine's time."""
        return int(self._now_s() * 1000)

    def close(self) -> None:
        """Let go of the file."""
        with self._writing, self._reading:
            self._link.close()
            self._reader.close()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, durable when the block is left. Raises AccessError where the disk refuses."""
        with self._writing:
            try:
                self._link.execute("BEGIN IMMEDIATE")
                try:
                    yield self._link
                    self._link.execute("COMMIT")
                except BaseException:
                    if self._link.in_transaction:  # a full disk has ended it already
                        self._link.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                raise AccessError(
                    f"users.db cannot be written ({error}); make room on the disk and try again",
                    f"users.db 无法写入（{error}）；请释放磁盘空间后重试", why="disk",
                ) from error  # fmt: skip

    def read(self, query: str, arguments: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows of a query. Raises AccessError where the file is damaged."""
        with self._reading:
            try:
                return self._reader.execute(query, arguments).fetchall()
            except sqlite3.DatabaseError as error:
                raise AccessError(
                    f"{self._path} cannot be read ({error}); stop the server and restore it from a backup"
                ) from error

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A reader of its own that sees one state while others write, for what takes long."""
        if self._path == ":memory:":
            with self._reading:
                yield self._reader
            return
        link = open_file(self._path)
        try:
            link.execute("BEGIN")
            yield link
        finally:
            link.close()
