"""Where all sources hand over their readings: one bounded queue, and an account of what was malformed, by reason."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from devices.codec import Decoded
from devices.errors import PayloadError
from devices.records import Reading
from devices.sender import Address

KEPT = 20  # of the last malformed pieces, to be read by an operator
WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Taken:
    """What a source has read at once; `acknowledge` is called when it is durable; None: the bus does not ask."""

    readings: Sequence[Reading]
    thin: bool = True  # False: the policy does not thin these out
    acknowledge: Callable[[], None] | None = None
    came_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)  # by the gateway's clock


@dataclass(slots=True)
class SourceCounts:
    """What a source has read: pieces (messages, lines), readings in them, malformed ones by reason."""

    pieces: int = 0
    readings: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    last_refused: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))

    def refuse(self, error: PayloadError, piece: bytes | str = b"") -> None:
        """Count something malformed, and keep it to be looked at."""
        self.refused[error.reason] += 1
        self.last_refused.append(f"{error}{f' in {piece[:120]!r}' if piece else ''}")

    def take(self, decoded: Decoded, piece: bytes | str = b"") -> list[Reading]:
        """The readings of a piece; what was wrong with it is counted."""
        for refusal in decoded.refused:
            self.refuse(refusal.error, piece)
        for error in decoded.bad_values:
            self.refuse(error, piece)
        self.readings += len(decoded.readings)
        return decoded.readings


class Source(Protocol):
    """A southbound bus. It runs by itself from `start` to `stop`, and comes back by itself when the bus was gone."""

    name: str
    counts: SourceCounts

    def start(self) -> None:
        """Begin to read, in a thread of its own."""

    def stop(self) -> None:
        """Stop reading; returns when nothing more will be handed over."""

    def close(self) -> None:
        """Leave the bus, after all that was handed over has been acknowledged."""

    @property
    def problem(self) -> str:
        """Why nothing is read now; empty if all is well."""

    @property
    def ended(self) -> bool:
        """Whether there will be no more (a file read to its end)."""


class Intake:
    """The queue between sources and gateway. When it is full a source waits: the bus, or its broker, holds the rest."""

    def __init__(self, addresses: Mapping[str, Address], *, room: int = 2000) -> None:
        self.addresses = addresses  # device id -> where it speaks; other devices are unknown
        self.stopping = threading.Event()
        self._room = room
        self._pieces: deque[Taken] = deque()
        self._waiting = 0
        self._changed = threading.Condition()

    def give(self, taken: Taken) -> bool:
        """Hand over; waits while `room` readings wait. False if the gateway stops meanwhile and it was not taken."""
        with self._changed:
            while self._waiting >= self._room:
                if self.stopping.is_set():
                    return False
                self._changed.wait(WAIT_S)
            self._pieces.append(taken)
            self._waiting += len(taken.readings)
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> Taken | None:
        """The next one, None if nothing comes in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._pieces), timeout_s):
                return None
            taken = self._pieces.popleft()
            self._waiting -= len(taken.readings)
            self._changed.notify_all()
            return taken

    @property
    def waiting(self) -> int:
        """How many readings wait."""
        return self._waiting
