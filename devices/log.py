"""A sender's own log: what it really handed to the broker. The truth that reports and crash tests compare with.

Append-only JSON lines, one per device and burst, written with a single write(2) *before* the burst is published: a
process killed at any instant may have logged a reading that never left, never the other way round.

    {"device":"pole-1","boot":1700000000,"sent":[1,24]}
    {"device":"pole-1","boot":1700000000,"dropped":3}

`sent` is an inclusive range of sequence numbers. `dropped` counts readings that were given up before they got a
number, because the sender's memory was full. Grown beyond `max_bytes`, the file is merged into one line per device,
boot and range (new file, then rename).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from devices.errors import DeviceError
from devices.keep import Keep, Kept


@dataclass(slots=True)
class Sent:
    """What one device sent in one boot: inclusive ranges of sequence numbers, ascending, not touching."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    dropped: int = 0

    @property
    def count(self) -> int:
        """How many different readings were sent."""
        return sum(last - first + 1 for first, last in self.ranges)

    def seqs(self) -> Iterator[int]:
        """Every sequence number that was sent, ascending."""
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def add(self, first: int, last: int) -> None:
        """Count the numbers from `first` to `last` as sent (again, perhaps)."""
        if self.ranges and self.ranges[-1][1] + 1 == first:
            self.ranges[-1] = (self.ranges[-1][0], last)
            return
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*self.ranges, (first, last)]):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self.ranges = merged


Log = dict[str, dict[int, Sent]]


def read_log(path: Path) -> Log:
    """What a log says: device -> boot -> Sent. A torn last line (killed while writing) was never published: left out.

    Raises DeviceError for a file that cannot be read, or a damaged line that is not the last one.
    """
    log: Log = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DeviceError(f"{path}: the sender's log cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line or number == len(lines):  # after the last newline stands nothing, or a torn line
            continue
        try:
            told = json.loads(line)
            sent = log.setdefault(str(told["device"]), {}).setdefault(int(told["boot"]), Sent())
            if "sent" in told:
                first, last = told["sent"]
                sent.add(int(first), int(last))
            else:
                sent.dropped += int(told["dropped"])
        except (ValueError, KeyError, TypeError) as error:
            raise DeviceError(f"{path}:{number}: not a line of a sender's log ({error})") from error
    return log


@dataclass(slots=True)
class Batch:
    """Lines that are written together before anything of theirs is published."""

    lines: list[str] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)  # the readings themselves, as lines of the kept file
    error: OSError | None = None


class SentLog:
    """Writes the log; one for all senders of a process. Thread-safe. A full disk raises OSError and writes nothing.

    With `keep`, the readings themselves are kept beside it (PATH with .kept in place of .jsonl) until a mark covers
    them: `restored` gives a device's readings that the last process could not bring to an end.
    """

    def __init__(self, path: Path, *, max_bytes: int = 64 << 20, keep: bool = False) -> None:
        """Open both. Raises OSError, DeviceError (a damaged kept file)."""
        self.path = path
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._open = Batch()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._bytes = self._mend()
        self._keep = Keep(kept_beside(path)) if keep else None
        if self._keep is not None:  # kept first, logged second: what was killed in between is logged now
            left = self._keep.restored.items()
            self.write([(device, boot, seq, seq) for device, kept in left for boot, seq in kept.held], [])

    def _mend(self) -> int:
        """Cut a torn last line off, so that the next one starts on its own. Returns the size in bytes."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, 4096, max(0, size - 4096))
        if tail and not tail.endswith(b"\n"):
            size -= len(tail) - (tail.rfind(b"\n") + 1)
            os.ftruncate(self._fd, size)
        return size

    @property
    def keeps(self) -> bool:
        """Whether readings are kept beside the log."""
        return self._keep is not None

    def restored(self, device: str) -> Kept:
        """What the last process left of a device; it is the caller's from now on."""
        with self._lock:
            return self._keep.take(device) if self._keep is not None else Kept()

    def tidy(self, held: Callable[[], Iterable[bytes] | None]) -> None:
        """Write the kept file anew with the lines that are `held`, where it has grown. Raises OSError.

        `held` is asked outside of our lock; it may say None: not now. Called in the thread that commits.
        """
        if self._keep is not None and self._keep.has_grown:
            lines = held()
            if lines is not None:
                self.leave(lines)

    def leave(self, held: Iterable[bytes]) -> None:
        """Have the kept file hold these lines alone. Raises OSError."""
        with self._lock:
            if self._keep is not None:
                self._keep.rewrite(held)

    def stage(self, sent: list[tuple[str, int, int, int]], kept: Iterable[bytes] = ()) -> Batch:
        """Take ranges (device, boot, first, last) into the open batch: one write for what many senders publish next.

        `kept`: those readings as lines of the kept file.
        """
        with self._lock:
            batch = self._open
            batch.kept += kept
            batch.lines += [
                f'{{"device":"{device}","boot":{boot},"sent":[{first},{last}]}}\n' for device, boot, first, last in sent
            ]
            return batch

    def commit(self, batch: Batch) -> None:
        """Write a batch, if it is not written yet. Raises OSError, for all who have staged in it, if that failed."""
        with self._lock:
            if batch is self._open:
                self._open = Batch()
                try:
                    if self._keep is not None and batch.kept:
                        self._keep.append(b"".join(batch.kept))
                    self._append("".join(batch.lines).encode())
                except OSError as error:
                    batch.error = error
            if batch.error is not None:
                raise batch.error

    def write(self, sent: list[tuple[str, int, int, int]], dropped: list[tuple[str, int, int]]) -> None:
        """Log ranges (device, boot, first, last) and losses (device, boot, count) at once. Raises OSError."""
        self.commit(self.stage(sent))
        lines = [f'{{"device":"{device}","boot":{boot},"dropped":{count}}}\n' for device, boot, count in dropped]
        with self._lock:
            self._append("".join(lines).encode())

    def _append(self, text: bytes) -> None:
        """One write(2), or nothing at all."""
        if not text:
            return
        done = 0
        try:
            while done < len(text):
                done += os.write(self._fd, text[done:])
        except OSError:
            os.ftruncate(self._fd, self._bytes)
            raise
        self._bytes += len(text)
        if self._bytes > self.max_bytes:
            self._merge()

    def _merge(self) -> None:
        log = read_log(self.path)
        aside = self.path.with_name(self.path.name + ".new")
        with aside.open("w", encoding="utf-8") as file:
            for device, boots in log.items():
                for boot, sent in boots.items():
                    for first, last in sent.ranges:
                        file.write(f'{{"device":"{device}","boot":{boot},"sent":[{first},{last}]}}\n')
                    if sent.dropped:
                        file.write(f'{{"device":"{device}","boot":{boot},"dropped":{sent.dropped}}}\n')
        fd = os.open(aside, os.O_RDWR | os.O_APPEND)
        aside.replace(self.path)
        os.close(self._fd)
        self._fd = fd
        self._bytes = os.fstat(fd).st_size
        # A log that is large even when merged grows to twice its size before the next merge.
        self.max_bytes = max(self.max_bytes, 2 * self._bytes)

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
                if self._keep is not None:
                    self._keep.close()


def kept_beside(log: Path) -> Path:
    """Where the readings are kept of which `log` tells."""
    return log.with_suffix(".kept")
