"""Decimal numbers in bytes to float64, many at once, eight characters a machine word. Pure.

A token is a longest run of the characters `-./0-9`. It is read as JSON would: an optional minus, digits without a
leading zero, optionally a point and more digits; at most 16 characters, a mantissa m below 2**53. Its value
m / 10**k is one correctly rounded division of two exact numbers, hence the same float that strtod gives. Any other
token (more digits, "-", "1.2.3") is called not good and is for a slower reader.

Words: D. Lemire, "Quickly parsing eight digits" (2018); the point is found by carries (H. S. Warren, Hacker's Delight,
2nd ed., 6-1) and closed up before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.ingest.cuts import U64
from twin.records import F64, I64

BLOCK = 4096  # tokens at a time: their intermediate results stay in the cache
LONGEST = 16
EXACT = 1 << 53
MINUS, ZERO = 45, 48

_GONE: U64 = np.array([8 * max(0, 8 - n) for n in range(LONGEST + 1)], np.uint64)  # bits of a word ahead of n bytes
_PLACES: I64 = np.full(65, -1, np.int64)  # places behind a point, by the number of bits below it in its word
_PLACES[7:64:8] = range(7, -1, -1)
_POWERS: F64 = 10.0 ** np.maximum(_PLACES, 0)
_POINT_IS_LAST = 63
_TENS: I64 = np.array([10**8, 10**7], np.int64)  # digits in a word without a point, with one

_ZEROS = np.uint64(0x3030303030303030)
_CARRY = np.uint64(0x7676767676767676)
_TOPS = np.uint64(0x8080808080808080)
_LOWS = np.uint64(0x7F7F7F7F7F7F7F7F)
_POINT = np.uint64(0x2E ^ 0x30)
_ONE, _SEVEN, _BYTE = np.uint64(1), np.uint64(7), np.uint64(255)
_STEPS = tuple(
    (np.uint64(mask), np.uint64(factor), np.uint64(shift))
    for mask, factor, shift in (
        (0x0F0F0F0F0F0F0F0F, 2561, 8),
        (0x00FF00FF00FF00FF, 6553601, 16),
        (0x0000FFFF0000FFFF, 42949672960001, 32),
    )
)


@dataclass(slots=True)
class Numbers:
    """value: float64; whole: written without sign and point; good: read at all."""

    value: F64
    whole: NDArray[np.bool_]
    good: NDArray[np.bool_]


def tokens(data: NDArray[np.uint8]) -> tuple[I64, I64]:
    """(starts, ends) of all tokens in data, which must begin and end with a byte of no token."""
    inside = (data - np.uint8(MINUS)) <= np.uint8(12)
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    edges += 1
    return edges[0::2], edges[1::2]


def read(data: NDArray[np.uint8], words: U64, start: I64, end: I64, block: int = BLOCK) -> Numbers:
    """The numbers of tokens, each at least 16 bytes behind the beginning of data.

    Tokens that look alike are best in one block: what none of them has (a point, a sign, more than eight characters)
    costs nothing.
    """
    n = len(start)
    out = Numbers(np.empty(n), np.empty(n, np.bool_), np.empty(n, np.bool_))
    for at in range(0, n, block):
        piece = slice(at, at + block)
        out.value[piece], out.whole[piece], out.good[piece] = _block(data, words, start[piece], end[piece])
    return out


def _block(
    data: NDArray[np.uint8], words: U64, start: I64, end: I64
) -> tuple[F64, NDArray[np.bool_], NDArray[np.bool_]]:
    first = data[start]
    length = end - start
    negative = first == MINUS
    signed = bool(negative.any())
    if signed:
        length -= negative
        first = data[start + negative]
    good = (first - np.uint8(ZERO)) <= np.uint8(9)
    longest = int(length.max())
    if longest > LONGEST:
        good &= length <= LONGEST
        length = np.minimum(length, LONGEST)
    digits, below, whole = _word(words[end - 8], _GONE[length], good)
    value: F64
    if longest <= 8:
        value = digits.astype(np.float64)
        if below is not None:
            value /= _POWERS[below]
    else:
        value = _long(words, end, length, (digits, below), (whole, good))
    if below is not None and (last := below == _POINT_IS_LAST).any():
        good &= ~last
    zeros = np.flatnonzero((first == ZERO) & (length > 1))
    if len(zeros):  # "0.5" is one, "05" is none: the point is the second character
        good[zeros] &= data[start[zeros] + negative[zeros] + 1] == MINUS + 1
    if signed:
        np.negative(value, out=value, where=negative)
        whole &= ~negative
    return value, whole, good


def _long(
    words: U64,
    end: I64,
    length: I64,
    low: tuple[U64, NDArray[np.uint8] | None],
    marks: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> F64:
    """Values where some tokens have more than eight characters: the part ahead of the last eight is put before."""
    (digits, below), (whole, good) = low, marks
    long = np.flatnonzero(length > 8)
    mantissa = digits.astype(np.int64)
    places = np.full(len(length), -1, np.int64) if below is None else _PLACES[below]
    its_good = np.ones(len(long), np.bool_)
    high, high_below, _ = _word(words[end[long] - 16], _GONE[length[long] - 8], its_good)
    mantissa[long] += high.astype(np.int64) * _TENS[(places[long] >= 0).astype(np.int64)]
    if high_below is not None:
        high_places = _PLACES[high_below]
        its_good &= (high_places < 0) | (places[long] < 0)
        places[long] = np.where(high_places >= 0, high_places + 8, places[long])
        whole[long] &= high_places < 0
    good[long] &= its_good & (mantissa[long] < EXACT)
    return mantissa / _LONG_POWERS[places]


_LONG_POWERS: F64 = np.append(10.0 ** np.arange(LONGEST), 1.0)  # by places; -1, the last: no point


def _word(word: U64, gone: U64, good: NDArray[np.bool_]) -> tuple[U64, NDArray[np.uint8] | None, NDArray[np.bool_]]:
    """Of words without their first `gone` bits: (their digits as a number, how many bits lie below the point of each
    (64: no point; None: no point at all), which have no point). Where there is more than a point, `good` is cleared."""
    digits = word ^ _ZEROS
    digits >>= gone
    digits <<= gone
    other = digits & _LOWS
    other += _CARRY
    other |= digits
    other &= _TOPS  # the top bit of each byte that is no digit
    whole = other == 0
    below: NDArray[np.uint8] | None = None
    if not whole.all():
        lowest = other & (~other + _ONE)
        at = lowest >> _SEVEN
        point = at * _POINT
        good &= (other == lowest) & (digits & (at * _BYTE) == point)
        before = at - _ONE
        before *= ~whole  # all bits below the point, none where there is none
        digits += (digits & before) * _BYTE
        digits -= point
        below = np.bitwise_count(lowest - _ONE)
    for keep, factor, shift in _STEPS:
        digits &= keep
        digits *= factor
        digits >>= shift
    return digits, below, whole
