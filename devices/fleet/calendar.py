"""Who speaks next, of many: a list for each second, sorted when that second comes.

A heap of tens of thousands takes some seventeen comparisons a word, all over the memory; a list of one second's takes
one append and its part of one sort.
"""

from __future__ import annotations

import heapq
from bisect import insort

SECOND = 10  # bits of milliseconds in one list
NUMBER = 24  # bits of who it is
NEVER = 1 << 62


class Calendar:
    """Numbers below 2^24 with the times (ms) at which they are due; equal times in the order of the numbers."""

    __slots__ = ("_at", "_come", "_due", "_later", "_second")

    def __init__(self) -> None:
        self._later: dict[int, list[int]] = {}  # second -> entries, in no order
        self._come: list[int] = []  # those seconds, a heap
        self._second = -1  # of the list that is taken from: it holds all entries up to this one
        self._due: list[int] = []
        self._at = 0  # its next entry

    def add(self, due_ms: int, number: int) -> None:
        """Enter it once more."""
        second, entry = due_ms >> SECOND, due_ms << NUMBER | number
        if second <= self._second:
            insort(self._due, entry, lo=self._at)
            return
        later = self._later.get(second)
        if later is None:
            self._later[second] = [entry]
            heapq.heappush(self._come, second)
        else:
            later.append(entry)

    def first_ms(self) -> int:
        """When the next is due; NEVER where there is none."""
        if self._at >= len(self._due) and not self._turn():
            return NEVER
        return self._due[self._at] >> NUMBER

    def take(self) -> int:
        """The number of the next, which leaves. Raises IndexError where there is none."""
        if self._at >= len(self._due) and not self._turn():
            raise IndexError("nothing is due")
        self._at += 1
        return self._due[self._at - 1] & (1 << NUMBER) - 1

    def _turn(self) -> bool:
        """Go on to the next second in which somebody is due."""
        if not self._come:
            return False
        self._second = heapq.heappop(self._come)
        self._due, self._at = sorted(self._later.pop(self._second)), 0
        return True
