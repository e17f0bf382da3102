"""What a server refused, kept: the line, the server's reason, in a bounded file that a person can read."""

from __future__ import annotations

from collections import deque
from pathlib import Path

MAX_BYTES = 16 << 20


class Aside:
    """Refused lines in `folder`/refused.lp (and the file before it), the newest also in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "refused.lp"
        self.count = 0
        self.newest: deque[tuple[str, str]] = deque(maxlen=200)

    def keep(self, line: bytes, reason: str) -> None:
        """Keep one line with the reason why it was refused."""
        told = reason.replace("\n", " ")[:500]
        text = line.decode("utf-8", "replace")
        self.count += 1
        self.newest.append((told, text))
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._path.replace(self._path.with_suffix(".lp.1"))
        with self._path.open("a", encoding="utf-8") as out:
            out.write(f"# {told}\n{text}\n")
