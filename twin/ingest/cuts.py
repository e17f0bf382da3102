"""Where messages lie in bytes: topics and payloads as offsets into what was read, so that no object is made of each.

A batch is joined into one run of bytes between two pads; `words` reads eight of its bytes at any offset as one number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.records import I64

U64 = NDArray[np.uint64]

PAD = bytes(256)  # around a joined batch: words read a little beyond a text, masked
MASKS: U64 = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # the first n bytes of a word
NONE: I64 = np.zeros((4, 0), np.int64)


@dataclass(slots=True)
class Cuts:
    """Messages in `data`. bounds: int64 of shape (4, n), offsets of topic, its end, payload, its end."""

    data: bytes
    bounds: I64

    def __len__(self) -> int:
        return int(self.bounds.shape[1])

    @property
    def topics(self) -> list[bytes]:
        """The topics as bytes of their own."""
        data = self.data
        return [data[a:b] for a, b in zip(self.bounds[0].tolist(), self.bounds[1].tolist(), strict=True)]

    @property
    def payloads(self) -> list[bytes]:
        """The payloads as bytes of their own."""
        data = self.data
        return [data[a:b] for a, b in zip(self.bounds[2].tolist(), self.bounds[3].tolist(), strict=True)]

    def topic(self, index: int) -> bytes:
        """One message's topic."""
        return self.data[self.bounds[0, index] : self.bounds[1, index]]

    def payload(self, index: int) -> bytes:
        """One message's payload."""
        return self.data[self.bounds[2, index] : self.bounds[3, index]]

    def some(self, members: I64) -> Cuts:
        """These messages alone."""
        return Cuts(self.data, self.bounds[:, members])

    def bytes(self) -> NDArray[np.uint8]:
        """The data as numbers."""
        return np.frombuffer(self.data, np.uint8)

    def words(self) -> U64:
        """Eight bytes at each offset as one number, the first the lowest. Offsets up to len(data) - 8."""
        return np.ndarray((len(self.data) - 7,), "<u8", self.data, 0, (1,))


def cut(topics: Sequence[bytes], payloads: Sequence[bytes]) -> Cuts:
    """Messages that are at hand as single texts."""
    lengths = np.array([[len(t) for t in topics], [len(p) for p in payloads]], np.int64)
    topic_end = np.cumsum(lengths[0])
    payload_end = np.cumsum(lengths[1]) + int(lengths[0].sum())
    bounds = np.stack([topic_end - lengths[0], topic_end, payload_end - lengths[1], payload_end])
    return Cuts(b"".join((*topics, *payloads)), bounds)


def join(parts: Iterable[Cuts]) -> Cuts:
    """All messages in one run of bytes, in order, with a pad at either end."""
    some = [part for part in parts if len(part)]
    at, shifted = len(PAD), [NONE]
    for part in some:
        shifted.append(part.bounds + at)
        at += len(part.data)
    return Cuts(b"".join((PAD, *(part.data for part in some), PAD)), np.concatenate(shifted, axis=1))
