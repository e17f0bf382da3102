"""The newest entries, decoded and in memory: what tick and store writer read without touching the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from twin.records import Entry


class Tail:
    """Entries with consecutive numbers, at most about `max_bytes` of memory; the oldest go first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: deque[tuple[Entry, int]] = deque()

    def add(self, entries: Sequence[tuple[Entry, int]]) -> None:
        """Add entries (with their sizes in memory) that follow those already here."""
        for entry, size in entries:
            self._entries.append((entry, size))
            self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= self._entries.popleft()[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0

    def read(self, after: int, limit: int, max_bytes: int) -> list[Entry] | None:
        """Entries above `after`, up to `limit` and `max_bytes` (at least one); None if the first is not here."""
        if not self._entries:
            return None
        skip = after + 1 - self._entries[0][0].n
        if skip < 0:
            return None
        found: list[Entry] = []
        for at in range(skip, min(len(self._entries), skip + limit)):
            entry, size = self._entries[at]
            max_bytes -= size
            if found and max_bytes < 0:
                break
            found.append(entry)
        return found
