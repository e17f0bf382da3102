"""Journal entries that were trimmed before the store could see them, remembered for good in a file beside the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twin.store.notes import read_note, write_note

SKIPPED = "skipped.json"  # in the store's folder


class Skipped:
    """Spans of entries of one journal. Without a path they are remembered until the process ends."""

    def __init__(self, path: Path | None = None, journal: str = "") -> None:
        """A file of another journal is left behind, as numbers mean others there; a damaged one is put aside and
        logged."""
        self._path, self._journal = path, journal
        self._spans: list[tuple[int, int]] = []  # (after, until], apart and in order
        if path is None:
            return
        known = read_note(
            path, _known, "what the store never saw is listed anew, and what it missed before counts as stored"
        )
        if known is not None and known[0] == journal:
            self._spans = known[1]

    @property
    def count(self) -> int:
        """How many entries."""
        return sum(until - after for after, until in self._spans)

    def add(self, after: int, until: int) -> None:
        """Entries above `after` up to `until` are lost to the store; again is no harm. Raises OSError."""
        apart: list[tuple[int, int]] = []
        for start, end in sorted([*self._spans, (after, until)]):
            if apart and start <= apart[-1][1]:
                apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
            else:
                apart.append((start, end))
        if apart == self._spans:
            return
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_note(self._path, {"journal": self._journal, "spans": apart})
        self._spans = apart


def _known(told: Any) -> tuple[str, list[tuple[int, int]]]:
    return str(told["journal"]), [(int(after), int(until)) for after, until in told["spans"]]
