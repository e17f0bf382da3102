"""Who knocks and is unknown: a bounded list of devices whose messages were refused because no register names them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

from devices.errors import PayloadError
from devices.topics import parse_topic
from twin.query.register import Stranger
from twin.records import Batch

MOST = 2000  # strangers remembered; the one not heard for longest goes
SAMPLE = 200  # characters of a message kept readable


class Strangers:
    """Kept from the rejected messages of each batch. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str, str], Stranger] = OrderedDict()

    def note(self, batch: Batch) -> None:
        """Look through what was refused."""
        for reject in batch.knocks or batch.samples:  # an entry of an older version has samples alone
            if reject.reason != "unknown_device":
                continue
            try:
                topic = parse_topic(reject.topic)
            except PayloadError:
                continue
            key = (topic.kind, topic.device, topic.district)
            sample = reject.payload[:SAMPLE].decode("utf-8", "replace")
            with self._lock:
                known = self._known.pop(key, None)
                if known is None:
                    known = Stranger(topic.device, topic.kind, topic.district, reject.at_ms, 0, 0, "", "")
                self._known[key] = replace(
                    known, last_ms=reject.at_ms, messages=known.messages + 1, topic=reject.topic, sample=sample
                )
                while len(self._known) > MOST:
                    self._known.popitem(last=False)

    def listed(self) -> list[Stranger]:
        """Everybody, newest first."""
        with self._lock:
            return list(self._known.values())[::-1]

    def forget(self, devices: set[str]) -> None:
        """These are known from now on."""
        with self._lock:
            for key in [key for key in self._known if key[1] in devices]:
                del self._known[key]
