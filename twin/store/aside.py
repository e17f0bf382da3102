"""What a server refused: each line kept with the reason in a bounded file, and for ever how many, by device.

The count belongs to the store's position. What a lot of entries had refused is written (`settle`) before the store's
position says that the lot is done, apart from what was counted before; once the position is known (`stand_at`), it is
taken in, or forgotten where the position did not get there: those entries are sent, and refused, again. So no line
counts twice and none is lost, whenever the process ends. A bucket that is new (position 0) begins a new count.
One case is left: one that was restored from an older backup is filled again, and what it refuses then counts again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twin.store import line
from twin.store.notes import read_note, write_note

MAX_BYTES = 16 << 20
COUNT = "refused.json"
ANYONE = ""  # stands for the device of lines that the server did not name


@dataclass(frozen=True, slots=True)
class Refusals:
    """How many readings a store's server refused for good. `total` includes those of no device known."""

    total: int = 0
    by_head: Mapping[str, int] = field(default_factory=dict)

    def of(self, kind: str, device: str) -> int:
        """Those that are known to be of one device."""
        return self.by_head.get(line.head(kind, device), 0) if self.by_head else 0


class Aside:
    """Refused lines in `folder`/refused.lp (and the file before it), their number in refused.json. One thread writes;
    `refusals` may be read by any."""

    def __init__(self, folder: Path) -> None:
        """A count that cannot be read is put aside under another name, which is logged, and a new one begun."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "refused.lp"
        self._count = folder / COUNT
        self.newest: deque[str] = deque(maxlen=200)  # reasons
        self._fresh: Counter[str] = Counter()  # of the lot at hand, by head of line
        lost = "the count of what the store refused begins anew, and the account takes earlier ones for stored"
        known = read_note(self._count, _known, lost) or (Counter(), Counter(), 0)
        self._sure, self._lot, self._to = known  # `_lot`: of the last lot that was settled, up to entry `_to`
        self._stale = False  # the file has a lot that was forgotten
        self.refusals = _told(self._sure + self._lot)

    def keep(self, body: bytes, reason: str) -> None:
        """Keep refused lines (parted by line feeds) with the reason; they count from the next `settle` on."""
        lines = body.split(b"\n")
        self._fresh.update(one.partition(b" lag=")[0].decode("utf-8", "replace") for one in lines)
        self._write(body.decode("utf-8", "replace"), reason)

    def keep_unnamed(self, count: int, reason: str) -> None:
        """Count refused lines of which the server does not say which they were."""
        self._fresh[ANYONE] += count
        self._write(f"# {count} of the lines written together", reason)

    def begin(self) -> None:
        """A lot is sent, for the first time or again: what of it was kept before does not count."""
        self._fresh.clear()

    def settle(self, entry: int) -> None:
        """The rows up to `entry` have been sent: write down what was refused. Raises OSError."""
        if not self._fresh and not self._stale:
            return
        self._lot, self._to = Counter(self._fresh), entry
        self._fresh.clear()
        write_note(self._count, {"sure": dict(self._sure), "lot": dict(self._lot), "to": self._to})
        self._stale = False

    def stand_at(self, position: int) -> None:
        """The store has the entries up to `position`: take the last lot in, or forget it. At 0 the bucket is a new one,
        which is sent everything again: all that was counted is forgotten."""
        if position == 0 and self._sure:
            self._sure, self._stale = Counter(), True
        elif not self._lot:
            return
        if position >= self._to:
            self._sure.update(self._lot)
        else:
            self._stale = True
        self._lot = Counter()
        self.refusals = _told(self._sure)

    def _write(self, text: str, reason: str) -> None:
        told = reason.replace("\n", " ")[:500]
        self.newest.append(told)
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._path.replace(self._path.with_suffix(".lp.1"))
        with self._path.open("a", encoding="utf-8") as out:
            out.write(f"# {told}\n{text}\n")


def _known(told: Any) -> tuple[Counter[str], Counter[str], int]:
    return _counts(told["sure"]), _counts(told["lot"]), int(told["to"])


def _counts(told: Any) -> Counter[str]:
    return Counter({str(head): int(count) for head, count in dict(told).items()})


def _told(counts: Counter[str]) -> Refusals:
    return Refusals(counts.total(), dict(counts))
