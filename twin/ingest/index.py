"""Topics to numbers, many at once: a hash table in arrays, compared word by word. Pure.

Multiplicative hashing of the topic's words (Knuth, TAOCP 3, 6.4), a few places after the first one tried. A topic is
found only where all its bytes agree. Topics longer than LONGEST are never found here: the caller's slow way has them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.ingest import native
from twin.ingest.cuts import MASKS, U64, Cuts
from twin.records import I64

STRANGER = -1  # number of a topic that belongs to no device
LONGEST = 128  # bytes of a topic
TRIES = 8  # four would make a hundred thousand topics' table four times as large
FULL = 4  # places for each topic, at least

_WIDTH = LONGEST // 8
_FACTORS: U64 = np.array([0x9E3779B97F4A7C15 * (2 * i + 1) & 0xFFFFFFFFFFFFFFFF | 1 for i in range(_WIDTH)], np.uint64)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


class Index:
    """Numbers 0, 1, 2, ... by topic."""

    def __init__(self) -> None:
        self._texts: U64 = np.zeros((64, _WIDTH), np.uint64)
        self._lengths: I64 = np.zeros(64, np.int64)
        self._hashes: U64 = np.zeros(64, np.uint64)
        self._count = 0
        self._table: NDArray[np.int32] = np.full(1024, STRANGER, np.int32)

    def add(self, topic: bytes, number: int) -> list[tuple[int, bytes]]:
        """Remember a topic; number is one more than the last one's. Returns the (number, topic) of those that will not
        be found from here on: this one where it is too long, and any that had no place when the table grew."""
        if number == len(self._lengths):
            for name in ("_texts", "_lengths", "_hashes"):
                array = getattr(self, name)
                room = np.zeros((2 * number, *array.shape[1:]), array.dtype)  # its pages come when they are written
                room[:number] = array
                setattr(self, name, room)
        self._count = number + 1
        if not 0 < len(topic) <= LONGEST:
            self._lengths[number] = -1
            return [(number, topic)]
        words = np.frombuffer(topic.ljust(LONGEST, b"\0"), "<u8")
        self._texts[number] = words
        self._lengths[number] = len(topic)
        self._hashes[number : number + 1] = _finish((words * _FACTORS).sum(dtype=np.uint64, keepdims=True))
        if self._count * FULL > len(self._table) or not self._place(number):
            return [(n, self._texts[n].tobytes()[: int(self._lengths[n])]) for n in self._grow()]
        return []

    def numbers(self, cuts: Cuts) -> NDArray[np.int32]:
        """The number of each message's topic in a joined batch; STRANGER where it is not known."""
        n = len(cuts)
        if not self._count or not n:
            return np.full(n, STRANGER, np.int32)
        at, end = cuts.bounds[0], cuts.bounds[1]
        if native.LIB is not None:
            return native.numbers(
                cuts.data, at, end, self._table, self._texts, self._lengths, self._count, _FACTORS, int(_MIX), TRIES
            )
        length = end - at
        source, words = cuts.words(), []
        hashed = np.zeros(n, np.uint64)
        for word in range(-(-min(int(length.max()), LONGEST) // 8)):
            piece = source[at + 8 * word]
            if int(length.min()) < 8 * word + 8:
                piece &= MASKS[np.clip(length - 8 * word, 0, 8)]
            words.append(piece)
            hashed += piece * _FACTORS[word]
        place = _finish(hashed)
        mask = np.uint64(len(self._table) - 1)
        found = self._table[place & mask]
        good = self._agrees(found, length, words)
        for step in range(1, TRIES):
            if good.all():
                break
            rest = np.flatnonzero(~good)
            again = self._table[(place[rest] + np.uint64(step)) & mask]
            found[rest] = again
            good[rest] = self._agrees(again, length[rest], [word[rest] for word in words])
        return np.where(good, found, STRANGER).astype(np.int32)

    def _agrees(self, number: NDArray[np.int32], length: I64, words: list[U64]) -> NDArray[np.bool_]:
        good: NDArray[np.bool_] = (number >= 0) & (self._lengths[number] == length)
        texts = self._texts.take(number, axis=0)
        for which, word in enumerate(words):
            good &= texts[:, which] == word
        return good

    def _place(self, number: int) -> bool:
        mask = len(self._table) - 1
        for step in range(TRIES):
            place = (int(self._hashes[number]) + step) & mask
            if self._table[place] == STRANGER:
                self._table[place] = number
                return True
        return False

    def _grow(self) -> list[int]:
        """Twice the places, again where that is not enough; beyond reason a topic is left to the slow way. Returns
        those."""
        size = len(self._table)
        while True:
            size *= 2
            self._table = np.full(size, STRANGER, np.int32)
            missed = [n for n in range(self._count) if self._lengths[n] > 0 and not self._place(n)]
            if not missed or size > 64 * self._count + 4096:
                return missed


def _finish(hashed: U64) -> U64:
    """The high bits, which depend on all, brought down."""
    hashed = (hashed ^ (hashed >> _HALF)) * _MIX
    return hashed ^ (hashed >> _HALF)
