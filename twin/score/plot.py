"""A scored table as PNG, without any drawing package: each column's course, alarms in red, the score below."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twin.records import F64

WIDTH, STRIP, GAP, MARGIN = 1400, 120, 26, 8
STRIPS = 12  # columns drawn at most
_INK = {"paper": (255, 255, 255), "frame": (225, 228, 232), "course": (38, 84, 160), "alarm": (250, 205, 205),
        "score": (196, 78, 22), "text": (70, 74, 80)}  # fmt: skip
# 5 x 7 letters, a row of five bits each, as two hexadecimal digits.
_FONT = {
    "a": "00000E010F110F", "b": "10101619111E00", "c": "00000E1010110E", "d": "01010D1311110F", "e": "00000E111F100E",
    "f": "0609081C080808", "g": "000F11110F010E", "h": "10101619111111", "i": "04000C0404040E", "j": "0200060202120C",
    "k": "10101214181412", "l": "0C04040404040E", "m": "00001A15151111", "n": "00001619111111", "o": "00000E1111110E",
    "p": "00001E111E1010", "q": "00000D130F0101", "r": "00001619101010", "s": "00000E100E011E", "t": "08081C08080906",
    "u": "0000111111130D", "v": "00001111110A04", "w": "0000111115150A", "x": "0000110A040A11", "y": "000011110F010E",
    "z": "00001F0204081F", "0": "0E11131519110E", "1": "040C040404040E", "2": "0E11010204081F", "3": "1F02040201110E",
    "4": "02060A121F0202", "5": "1F101E0101110E", "6": "0608101E11110E", "7": "1F010204080808", "8": "0E11110E11110E",
    "9": "0E11110F01020C", ".": "00000000000C0C", "-": "0000001F000000", "_": "0000000000001F", "%": "18190204081303",
    "/": "00010204081000", ":": "000C0C000C0C00",
}  # fmt: skip


class Picture:
    """Collects rows, keeps the range of every picture column, draws at the end."""

    def __init__(self, names: Sequence[str], rows: int) -> None:
        self.names = names[:STRIPS]
        self.rows = max(1, rows)
        shape = (len(self.names), WIDTH)
        self.low: F64 = np.full(shape, np.inf)
        self.high: F64 = np.full(shape, -np.inf)
        self.score: F64 = np.zeros(WIDTH)
        self.alarm: NDArray[np.bool_] = np.zeros(WIDTH, bool)

    def add(self, first: int, x: F64, score: F64, alarm: NDArray[np.bool_]) -> None:
        """Rows first .. of values x [N, C], scores [N], alarms [N]."""
        at = (np.arange(first, first + len(x)) * WIDTH) // self.rows
        np.maximum.at(self.score, at, score)
        np.logical_or.at(self.alarm, at, alarm)
        for c in range(len(self.names)):
            known = np.isfinite(x[:, c])
            held = np.clip(x[known, c], -1e150, 1e150)
            np.minimum.at(self.low[c], at[known], held)
            np.maximum.at(self.high[c], at[known], held)

    def png(self) -> bytes:
        """The picture."""
        height = MARGIN + (len(self.names) + 1) * (STRIP + GAP)
        canvas = np.full((height, WIDTH + 2 * MARGIN, 3), 255, np.uint8)
        for c, name in enumerate(self.names):
            top = MARGIN + c * (STRIP + GAP)
            self._strip(canvas, top, name)
            known = self.high[c] >= self.low[c]
            if known.any():
                self._bars(canvas, top, self.low[c], self.high[c], known)
        top = MARGIN + len(self.names) * (STRIP + GAP)
        self._strip(canvas, top, "score 0-1: 0.5 is one row in 10000")
        for i in np.flatnonzero(self.score > 0):
            high = round(self.score[i] * (STRIP - 1))
            canvas[top + GAP + STRIP - 1 - high : top + GAP + STRIP, MARGIN + i] = _INK["score"]
        return encoded(canvas)

    def _strip(self, canvas: NDArray[np.uint8], top: int, name: str) -> None:
        write(canvas, top + 8, MARGIN, name)
        box = canvas[top + GAP : top + GAP + STRIP, MARGIN : MARGIN + WIDTH]
        box[:, self.alarm] = _INK["alarm"]
        box[[0, -1], :] = _INK["frame"]

    @staticmethod
    def _bars(canvas: NDArray[np.uint8], top: int, low: F64, high: F64, known: NDArray[np.bool_]) -> None:
        bottom, reach = low[known].min(), high[known].max() - low[known].min()
        last = None
        for i in np.flatnonzero(known):
            ends = [(v - bottom) / reach if reach > 0 else 0.5 for v in (low[i], high[i])]
            a, b = (top + GAP + STRIP - 3 - round(e * (STRIP - 5)) for e in ends)
            joined = (b, a) if last is None else (min(b, last[1]), max(a, last[0]))
            canvas[joined[0] : joined[1] + 1, MARGIN + i] = _INK["course"]
            last = (b, a)


def write(canvas: NDArray[np.uint8], top: int, left: int, text: str) -> None:
    """Put small letters on the canvas; what has no letter becomes a dot."""
    for k, letter in enumerate(text.lower()[:120]):
        rows = bytes.fromhex(_FONT.get(letter, "00000000000404")) if letter != " " else bytes(7)
        for y, bits in enumerate(rows):
            for x in range(5):
                if bits >> (4 - x) & 1:
                    at, to = top + 2 * y, left + 12 * k + 2 * x
                    canvas[at : at + 2, to : to + 2] = _INK["text"]


def encoded(canvas: NDArray[np.uint8]) -> bytes:
    """A PNG of a canvas [H, W, 3] (ISO/IEC 15948, 8-bit RGB)."""
    height, width = canvas.shape[:2]
    raw = np.zeros((height, 1 + width * 3), np.uint8)
    raw[:, 1:] = canvas.reshape(height, -1)

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(raw.tobytes(), 6)) + part(b"IEND", b"")
    )
