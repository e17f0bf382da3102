"""High-water marks: tells every sender, retained, up to where its readings are durable in the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.places import CityFiles
from devices.topics import topic_of
from twin.city import City
from twin.ingest.ledger import Ledger

LOT = 2000  # marks handed over at once

Message = tuple[str | bytes, bytes]  # topic, payload
Moved = Callable[[bool], Iterable[Message]]
Publish = Callable[[Sequence[Message]], bool]  # retained; False: none was handed over


class Topics:
    """The topics of the marks of a city, by row: to look each device up again every second costs more than to send
    its mark."""

    def __init__(self, city: City) -> None:
        self._city = city
        self._files: CityFiles | None = None
        self._made: dict[str, NDArray[Any]] = {}

    def of(self, kind: str, rows: Sequence[int]) -> list[bytes]:
        """The topics of these rows, b"" of those that are no device of the city (any more)."""
        files, registry = self._city.files, self._city.registry
        if self._files is not files:
            self._files, self._made = files, {}
        made = self._made.get(kind)
        if made is None or len(made) < registry.rows(kind):
            known = {d.id: topic_of(d.district, kind, d.id, "mark").encode() for d in files.devices if d.kind == kind}
            made = self._made[kind] = np.array([known.get(id_, b"") for id_ in registry.ids(kind)], "S")
        topics: list[bytes] = made[rows].tolist()
        return topics


def moved_marks(book: Ledger, topics: Topics, everything: bool) -> Iterator[Message]:
    """The marks of devices of the city that moved since they were last asked for, or all."""
    for kind, rows, payloads in book.marks(changed_only=not everything):
        yield from (pair for pair in zip(topics.of(kind, rows), payloads, strict=True) if pair[0])


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
        self._owed: dict[str | bytes, bytes] = {}
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
        moved = self._changed(everything)
        if self._owed:
            self._owed.update(moved)  # newer marks take the place of older ones
            moved, self._owed = self._owed.items(), {}
        waiting = iter(moved)
        while lot := list(islice(waiting, LOT)):
            if not self._publish(lot):
                self._owed = dict([*lot, *waiting])  # not connected: all of these stay owed
                return
            self.published += len(lot)
