"""High-water marks: tells every sender, retained, up to where its readings are durable in the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from devices.topics import topic_of
from twin.city import City
from twin.ingest.ledger import Ledger

LOT = 2000  # marks handed over at once

Message = tuple[str, bytes]  # topic, payload
Moved = Callable[[bool], Iterable[Message]]
Publish = Callable[[Sequence[Message]], bool]  # retained; False: none was handed over


def moved_marks(book: Ledger, city: City, everything: bool) -> Iterator[Message]:
    """The marks of devices of the city that moved since they were last asked for, or all."""
    for kind, rows, payloads in book.marks(changed_only=not everything):
        ids = city.registry.ids(kind)
        for row, payload in zip(rows, payloads, strict=True):
            device = city.describe(ids[row])
            if device is not None:
                yield topic_of(device.district, kind, device.id, "mark"), payload


class Marks:
    """A thread that publishes changed marks at most every `every_s`. What could not be published is tried again."""

    def __init__(self, changed: Moved, publish: Publish, every_s: float, connects: Callable[[], int]) -> None:
        """`changed(everything)` gives the marks that moved since it was last asked, or all: after each new connection
        (`connects()` counts them), because the broker may have lost what it held.
        """
        self._changed = changed
        self._publish = publish
        self._every_s = every_s
        self._stop = threading.Event()
        self._owed: dict[str, bytes] = {}
        self._connects, self._seen = connects, 0
        self._thread = threading.Thread(target=self._run, name="marks", daemon=True)
        self.published = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Publish what is owed once more, and end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._round()
        self._round()

    def _round(self) -> None:
        connects = self._connects()
        everything, self._seen = connects != self._seen, connects
        self._owed.update(self._changed(everything))  # newer marks take the place of older ones
        waiting = iter(self._owed.items())
        while lot := list(islice(waiting, LOT)):
            if not self._publish(lot):
                self._owed = dict([*lot, *waiting])  # not connected: all of these stay owed
                return
            self.published += len(lot)
        self._owed.clear()
