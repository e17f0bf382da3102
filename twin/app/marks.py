"""High-water marks: tells every sender, retained, up to where its readings are durable in the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from devices.envelope import encode_mark
from devices.records import Mark
from devices.topics import Topic

LOT = 2000  # marks handed over at once

Moved = Callable[[bool], Iterable[tuple[str, str, Mark]]]
Publish = Callable[[Sequence[tuple[str, bytes]]], bool]  # (topic, payload), retained; False: none was handed over


class Marks:
    """A thread that publishes changed marks at most every `every_s`. What could not be published is tried again."""

    def __init__(self, changed: Moved, publish: Publish, every_s: float, connects: Callable[[], int]) -> None:
        """`changed(everything)` gives (district, kind, mark) for senders whose mark moved since it was last asked, or
        for all: after each new connection (`connects()` counts them), because the broker may have lost what it held.
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
        for district, kind, mark in self._changed(everything):
            topic = str(Topic(district, kind, mark.device, "mark"))
            self._owed[topic] = encode_mark(mark)
        waiting = list(self._owed.items())
        for at in range(0, len(waiting), LOT):
            lot = waiting[at : at + LOT]
            if not self._publish(lot):
                return  # not connected: all that is owed stays, newer marks take the place of older ones
            for topic, _ in lot:
                del self._owed[topic]
            self.published += len(lot)
