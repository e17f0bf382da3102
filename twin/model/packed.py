"""Learnt figures in one or two bytes, rounded so that what is learnt in steps far below their resolution is not lost.

A figure that creeps by a thousandth of itself would stand still, or creep one way only, if each step were rounded to
the nearest code. Here it is rounded up or down with a probability that keeps its mean (Croci et al. 2022, "Stochastic
rounding"). The chance is no die: it is hashed from the exact value and its event time, so that replays, restores and
any order of devices give the same. What was stored is what is read: nothing remembers the exact value.

Widths: 7 bits of exponent and 9 of fraction, 5e-20 to 1.8e19, steps of .1 to .2 %. Visits: 256 steps from 0 to 60,
as squares, so that the first ones are finest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.records import F64, I64

MOST_VISITS = 60.0  # of an hour: more makes no difference

_FRACTION = 9
_SHIFT = 23 - _FRACTION  # bits of a float32's fraction that are dropped
_LEAST = (127 - 64) << _FRACTION  # the code 0 means 0; 1 is just above 2**-64
_CODES = 1 << 16
_PIECE = 1 << 16  # figures encoded at a time, where there are very many
_WIDTHS: NDArray[np.float32] = ((np.arange(_CODES, dtype=np.uint32) + _LEAST) << _SHIFT).view(np.float32)
_WIDTHS[0] = 0.0
_VISITS: F64 = MOST_VISITS * np.square(np.arange(256) / 255.0)
_STEPS: F64 = np.diff(_VISITS, append=2.0 * MOST_VISITS)
_GOLDEN, _ODD, _MIX = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xBF58476D1CE4E5B9))
_HALF, _TOP, _LOW = np.uint64(32), np.uint64(64 - _SHIFT), np.uint64((1 << 32) - 1)


def widths(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The widths that these codes mean.

    >>> widths(np.array([0, 64 << 9, (64 << 9) + 256, 65535], np.uint16)).tolist()
    [0.0, 1.0, 1.5, 1.842872967520007e+19]
    """
    return _WIDTHS.take(codes)


def visits(codes: NDArray[np.uint8]) -> F64:
    """The visits that these codes mean.

    >>> visits(np.array([0, 1, 255], np.uint8)).round(4).tolist()
    [0.0, 0.0009, 60.0]
    """
    return _VISITS.take(codes)


def encoded(width: F64, visited: F64, t_ms: I64) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Codes of widths and of visits (both >= 0), as they are after an event at t_ms. Beyond the range is its end, and
    a width of NaN is 0."""
    chance = width.view(np.uint64) * _GOLDEN + t_ms.view(np.uint64) * _ODD
    chance = (chance ^ (chance >> _HALF)) * _MIX
    return _width_codes(width, (chance >> _TOP).astype(np.uint32)), _visit_codes(visited, (chance & _LOW) * 2.0**-32)


def nearest_width(width: NDArray[Any]) -> NDArray[np.uint16]:
    """Codes of widths that were kept exactly before."""
    return _in_pieces(width, np.dtype(np.uint16), lambda some: _width_codes(some, np.uint32(1 << (_SHIFT - 1))))


def nearest_visits(visited: NDArray[Any]) -> NDArray[np.uint8]:
    """Codes of visits that were kept exactly before."""
    return _in_pieces(visited, np.dtype(np.uint8), lambda some: _visit_codes(some.astype(np.float64), 0.5))


def _width_codes(width: NDArray[Any], chance: NDArray[np.uint32] | np.uint32) -> NDArray[np.uint16]:
    bits = width.astype(np.float32).view(np.uint32)  # of floats >= 0: numbers that grow with them
    codes = ((bits + chance) >> np.uint32(_SHIFT)).astype(np.int32) - _LEAST
    codes[np.isnan(width)] = 0
    return codes.clip(0, _CODES - 1).astype(np.uint16)


def _visit_codes(visited: F64, chance: F64 | float) -> NDArray[np.uint8]:
    visited = np.minimum(visited, MOST_VISITS)
    low = np.sqrt(visited * (255.0**2 / MOST_VISITS)).astype(np.uint8)
    low += visited - _VISITS.take(low) > chance * _STEPS.take(low)
    return low


def _in_pieces(
    figures: NDArray[Any], dtype: np.dtype[Any], encode: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """A whole table's codes, without a copy of it for each step of the calculation."""
    out = np.empty(figures.shape, dtype)
    for start in range(0, len(figures), _PIECE):
        out[start : start + _PIECE] = encode(figures[start : start + _PIECE])
    return out
