"""How often a log-in may be tried. Pure, but for the clock given and a lock.

Three brakes. A *pair* of name and address waits after five failures: 10 s, doubling up to 15 min; that stops one
guesser and touches nobody else. A *name* tried from everywhere has a budget (20 at once, then one in 2 s) on which
addresses do not draw from which the person has come in before: a crowd of guessers slows strangers down and locks
nobody out. *All* who come from such new places share another one (20 at once, then two a second): a log-in is .2 s of
CPU on purpose, and a crowd that tries a new name each time must not have the machine for itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

FREE = 5  # failures of a pair without a wait
FIRST_S, LONGEST_S = 10.0, 900.0
FORGET_S = 3600.0  # after so long without a failure a pair begins anew
NAME_RATE, NAME_BURST = 0.5, 20.0
ALL_RATE, ALL_BURST = 2.0, 20.0
MOST = 4096


class Throttle:
    """Counts failures of log-in; remembers at most 4,096 pairs and names."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pairs: OrderedDict[tuple[str, str], tuple[int, float, float]] = OrderedDict()  # failures, until, last
        self._names: OrderedDict[str, tuple[float, float]] = OrderedDict()  # budget left, at
        self._all = (ALL_BURST, clock())  # budget left, at
        self._lock = threading.Lock()

    def wait_s(self, name: str, address: str, *, known: bool) -> float:
        """0: try, and the try is counted against the name's budget; else the seconds to wait.

        `known`: the person has come in from this address before.
        """
        now = self._clock()
        with self._lock:
            _, until, _ = self._pair(name, address, now)
            if until > now:
                return until - now
            if known:
                return 0.0
            left, at = self._names.pop(name, (NAME_BURST, now))
            left = min(NAME_BURST, left + (now - at) * NAME_RATE)
            of_all = min(ALL_BURST, self._all[0] + (now - self._all[1]) * ALL_RATE)
            granted = left >= 1 and of_all >= 1
            self._names[name] = (left - granted, now)
            self._all = (of_all - granted, now)
            _trim(self._names)
            return 0.0 if granted else max((1 - left) / NAME_RATE, (1 - of_all) / ALL_RATE)

    def failed(self, name: str, address: str) -> None:
        """A wrong password."""
        now = self._clock()
        with self._lock:
            failures = self._pair(name, address, now)[0] + 1
            wait_s = 0.0 if failures < FREE else min(LONGEST_S, FIRST_S * 2.0 ** min(failures - FREE, 20))
            self._pairs[(name, address)] = (failures, now + wait_s, now)
            self._pairs.move_to_end((name, address))
            _trim(self._pairs)

    def succeeded(self, name: str, address: str) -> None:
        """The right password: the pair begins anew."""
        with self._lock:
            self._pairs.pop((name, address), None)

    def _pair(self, name: str, address: str, now: float) -> tuple[int, float, float]:
        failures, until, last = self._pairs.get((name, address), (0, 0.0, now))
        return (0, 0.0, now) if now - last > FORGET_S else (failures, until, last)


def _trim(book: OrderedDict[str, tuple[float, float]] | OrderedDict[tuple[str, str], tuple[int, float, float]]) -> None:
    while len(book) > MOST:
        book.popitem(last=False)
