"""Chance without state: every draw is a function of (seed, device, time), so that a city is the same in any order.

Draws come from the hash of a tuple of ints, which CPython defines without salt (xxHash rounds), cut into indices of a
table of normal quantiles: about 0.3 microseconds for five normal numbers, and no generator per device to keep.
"""

from __future__ import annotations

import math
from statistics import NormalDist

SIZE = 4096
NORMAL: tuple[float, ...] = tuple(NormalDist().inv_cdf((i + 0.5) / SIZE) for i in range(SIZE))
MASK = (1 << 61) - 1


def bits(*key: int) -> int:
    """60 well-mixed bits of a key of ints.

    >>> bits(1, 2) == bits(1, 2), bits(1, 2) == bits(2, 1)
    (True, False)
    """
    x = hash(key) & 0xFFFFFFFFFFFFFFFF
    x ^= x >> 31
    x = (x * 0x7FB5D329728EA185) & 0xFFFFFFFFFFFFFFFF
    x ^= x >> 27
    return x >> 4


def normals(*key: int) -> tuple[float, float, float, float, float]:
    """Five independent standard normal numbers (cut at 3.7) of a key."""
    x = bits(*key)
    return (NORMAL[x & 4095], NORMAL[x >> 12 & 4095], NORMAL[x >> 24 & 4095], NORMAL[x >> 36 & 4095],
            NORMAL[x >> 48 & 4095])  # fmt: skip


def uniform(*key: int) -> float:
    """A number in 0..1 of a key."""
    return (bits(*key) >> 7) / (1 << 53)


def text_salt(text: str, seed: int) -> int:
    """A number for a name, the same in every process (Python salts the hash of texts; this is FNV-1a)."""
    x = 0xCBF29CE484222325 ^ (seed * 0x9E3779B97F4A7C15 & MASK)
    for byte in text.encode():
        x = (x ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return x & MASK


def drift(salt: int, t_s: float, period_s: float) -> float:
    """Smooth noise around 0 with deviation about 1: normal values every `period_s`, joined by a smooth step."""
    return Drift(salt).at(stretch(t_s, period_s))


def stretch(t_s: float, period_s: float) -> tuple[int, float]:
    """Which stretch of a drift that is, and how far between its ends (0..1, smooth). The same for everybody."""
    place = t_s / period_s
    low = math.floor(place)
    part = place - low
    return low, part * part * (3 - 2 * part)


class Drift:
    """`drift` for who asks often: the values at the ends of the stretch that it was asked for last are kept."""

    __slots__ = ("_ends", "_salt", "_stretch")

    def __init__(self, salt: int) -> None:
        self._salt, self._stretch, self._ends = salt, -1, (0.0, 0.0)

    def at(self, stretched: tuple[int, float]) -> float:
        """Its value where `stretch` says that we are."""
        low, part = stretched
        if low != self._stretch:
            self._stretch, self._ends = (
                low,
                (NORMAL[bits(self._salt, low) & 4095], NORMAL[bits(self._salt, low + 1) & 4095]),
            )
        a, b = self._ends
        return a + (b - a) * part
