"""PUBLISH packets found in a chunk by array arithmetic. Sans I/O, and exact: what is not sure is left to the slow loop.

A topic shorter than 256 bytes gives its packet a zero byte behind the remaining length, and text holds no zero. So each
zero byte is a candidate; the bytes around it say where its packet would begin and end. From a position that is known to
begin a packet, candidates of which each ends where the next begins are packets, by induction; nothing is guessed.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from twin.ingest import native
from twin.records import I64

ROOM = 4096  # packets of one run of the loop in C
AT_LEAST = 32 * 1024  # bytes of a chunk from which it is worth the fixed cost
NATIVE_AT_LEAST = 1024  # the same of the loop in C
SHORTEST = 4  # bytes of a packet, at least


class Candidates:
    """Packets that a chunk may hold. `run` gives those that it surely holds from a position on."""

    def __init__(self, buffer: bytes, five: bool, longest: int) -> None:
        """`longest`: bytes of a packet behind its length; a longer one is none of ours."""
        data = np.frombuffer(buffer or b"\xff", np.uint8)
        zero = np.flatnonzero(data == 0)
        zero = zero[(zero >= 2) & (zero < len(data) - 1)]
        last, second, third = data[zero - 1], data[zero - 2], data[np.maximum(zero - 3, 0)]
        fourth = data[np.maximum(zero - 4, 0)]
        ends = last < 128
        one = ends & (second >> 4 == 3)
        two = ends & (second > 127) & (third >> 4 == 3) & (zero >= 3)
        three = ends & (second > 127) & (third > 127) & (fourth >> 4 == 3) & (zero >= 4)
        length = last.astype(np.int64)
        length = np.where(one, length, (second & 127) | length << 7)
        if three.any():
            wide = (third & 127).astype(np.int64) | (second & 127).astype(np.int64) << 7 | last.astype(np.int64) << 14
            length = np.where(three, wide, length)
        start = zero - 2 - two - 2 * three
        self._build(data, zero, start, length, (one | two | three) & (length <= longest), five)

    def _build(
        self, data: NDArray[np.uint8], zero: I64, start: I64, length: I64, form: NDArray[np.bool_], five: bool
    ) -> None:
        flags = data[start]
        quality = (flags >> 1) & 3
        topic = zero + 2
        topic_end = topic + data[zero + 1]
        payload = topic_end + 2 * (quality > 0)
        end = zero + length
        good = form & (quality < 2) & (payload <= end) & (end <= len(data))
        if five:
            size = data[np.minimum(payload, len(data) - 1)]
            good &= (payload < end) & (size < 128)
            payload += 1 + size.astype(np.int64)
            good &= payload <= end
        if not good.all():
            zero, start, quality = zero[good], start[good], quality[good]
            topic, topic_end, payload, end = topic[good], topic_end[good], payload[good], end[good]
        self._data = data
        self._start = start
        self._known = quality > 0
        self._bounds = np.stack([topic, topic_end, payload, end]) if len(start) else np.zeros((4, 0), np.int64)
        self._breaks: list[int] = np.flatnonzero(end[:-1] != start[1:]).tolist() if len(start) else []
        self._starts: list[int] | None = None

    def run(self, position: int) -> tuple[int, I64, bytes]:
        """(where the packets from `position` on end, their bounds as in Cuts, packet ids of those of QoS 1)."""
        index = self._find(position)
        if index < 0:
            return position, self._bounds[:, :0], b""
        broken = bisect_left(self._breaks, index)
        stop = self._breaks[broken] + 1 if broken < len(self._breaks) else len(self._start)
        bounds = self._bounds[:, index:stop]
        ids = b""
        known = self._known[index:stop]
        if known.any():
            at = bounds[1] if known.all() else bounds[1][known]
            ids = np.stack([self._data[at], self._data[at + 1]], axis=1).tobytes()
        return int(bounds[3, -1]), bounds, ids

    def _find(self, position: int) -> int:
        if not self._breaks:
            return 0 if len(self._start) and self._start[0] == position else -1
        if self._starts is None:
            self._starts = self._start.tolist()
        index = bisect_left(self._starts, position)
        return index if index < len(self._starts) and self._starts[index] == position else -1


class Walked:
    """The same by the loop in C, which walks from packet to packet."""

    def __init__(self, buffer: bytes, five: bool, longest: int) -> None:
        self._buffer, self._five, self._longest = buffer, five, longest

    def run(self, position: int) -> tuple[int, I64, bytes]:
        """(where the packets from `position` on end, their bounds as in Cuts, packet ids of those of QoS 1)."""
        room = min(ROOM, (len(self._buffer) - position) // SHORTEST + 1)
        return native.publishes(self._buffer, position, self._five, self._longest, room)
