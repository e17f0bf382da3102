"""Journal entries that were trimmed before the store could see them, remembered for good in a file beside the store."""

from __future__ import annotations

import json
import logging
from pathlib import Path

LOG = logging.getLogger(__name__)


class Skipped:
    """Spans of entries of one journal. Without a path they are remembered until the process ends."""

    def __init__(self, path: Path | None = None, journal: str = "") -> None:
        """A file of another journal is left behind, as numbers mean others there; a damaged one is put aside and
        logged."""
        self._path, self._journal = path, journal
        self._spans: list[tuple[int, int]] = []  # (after, until], apart and in order
        if path is None:
            return
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["journal"] == journal:
                self._spans = [(int(after), int(until)) for after, until in told["spans"]]
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError) as error:
            damaged = path.with_name(path.name + ".damaged")
            path.replace(damaged)
            LOG.error(
                "what the store never saw cannot be read (%s): it lies in %s, and a new list begins", error, damaged
            )

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
            new = self._path.with_name(self._path.name + ".new")
            new.write_text(json.dumps({"journal": self._journal, "spans": apart}), encoding="utf-8")
            new.replace(self._path)
        self._spans = apart
