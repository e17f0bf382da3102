"""The world as bytes: a JSON head, then the raw arrays; versioned, with a checksum, no pickle.

Layout: magic, length of the head (8 bytes, little-endian), head, arrays (8-byte aligned), CRC-32 of all before.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from isal.isal_zlib import crc32  # zlib's, at a third of its cost or less
from numpy.typing import NDArray

from twin.errors import CheckpointBroken

MAGIC = b"CWWORLD1"
VERSION = 2  # 1, which is still read, kept figures that are codes now (model/packed.py, model/yesterday.py)
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Later:
    """A leaf whose value is worked out when the tree is encoded: `make` reads only what nobody changes any more."""

    make: Callable[[], Any]


_ALLOWED = "biuf"  # array types that a checkpoint may hold


Piece = bytes | memoryview


def pieces(tree: Mapping[str, Any]) -> list[Piece]:
    """A tree of mappings whose leaves are arrays, JSON values or `Later`, as the pieces of a file, one after the other.

    Arrays are not copied: their pieces are views, and nothing of the tree may change until they are written.
    """
    arrays: list[NDArray[Any]] = []
    head = json.dumps({"version": VERSION, "tree": _lay_out(tree, arrays)}, separators=(",", ":")).encode()
    parts: list[Piece] = [MAGIC, struct.pack("<Q", len(head)), head, bytes(-len(head) % 8)]
    for array in arrays:
        if array.size:
            parts += [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, bytes(-array.nbytes % 8)]
    crc = 0
    for part in parts:
        crc = crc32(part, crc)
    return [*parts, struct.pack("<I", crc)]


def encode(tree: Mapping[str, Any]) -> bytes:
    """The tree as bytes: its `pieces`, joined."""
    return b"".join(pieces(tree))


class Stream(Protocol):
    """Bytes that are read one after the other, straight to where they are to lie."""

    def readinto(self, into: memoryview, /) -> int | None: ...


def decode(data: Piece) -> dict[str, Any]:
    """The tree that `encode` gave. Raises CheckpointBroken for anything else, or what was damaged since."""
    return read(io.BytesIO(data), len(data))


def read(stream: Stream, size: int) -> dict[str, Any]:
    """The tree of the next `size` bytes of a stream. Its arrays are read into memory of their own, which is the
    caller's to keep: nothing is in memory twice. Raises as `decode` does, and OSError."""
    source = _Source(stream, size)
    try:
        if size < len(MAGIC) + 12 or source.take(len(MAGIC)) != MAGIC:
            raise CheckpointBroken("the world's part of the checkpoint is not one of this version")
        (length,) = struct.unpack("<Q", source.take(8))
        text = source.take(length + (-length % 8))
        head = json.loads(text[:length])
        if head["version"] > VERSION:
            raise CheckpointBroken(f"the checkpoint is of version {head['version']}, this program reads {VERSION}")
        tree = _pick_up(head["tree"], source)
        source.end()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointBroken(f"the world's part of the checkpoint cannot be read: {error}") from error
    if not isinstance(tree, dict):
        raise CheckpointBroken("the world's part of the checkpoint is not a tree")
    return tree


class _Source:
    """A stream whose bytes are counted and summed."""

    def __init__(self, stream: Stream, size: int) -> None:
        self._stream, self._left, self._crc = stream, size - 4, 0

    def expect(self, size: int) -> None:
        """Raise ValueError where so many bytes are not left."""
        if size > self._left:
            raise ValueError("cut short, or damaged")

    def take(self, size: int) -> bytes:
        """The next bytes. Raises ValueError where so many are not left."""
        self.expect(size)
        out = bytearray(size)
        self.fill(memoryview(out))
        return bytes(out)

    def fill(self, view: memoryview) -> None:
        """Read as many bytes as `view` has. Raises ValueError where so many are not left."""
        self.expect(len(view))
        self._left -= len(view)
        while len(view):
            piece = view[: self._read(view[:CHUNK])]
            self._crc = crc32(piece, self._crc)
            view = view[len(piece) :]

    def end(self) -> None:
        """All was read. Raises CheckpointBroken where it is not what was written."""
        told = bytearray(4)
        if self._left or self._read(memoryview(told)) != len(told) or struct.unpack("<I", told)[0] != self._crc:
            raise CheckpointBroken("the world's part of the checkpoint is damaged (checksum)")

    def _read(self, view: memoryview) -> int:
        count = self._stream.readinto(view)
        if not count:
            raise ValueError("cut short")
        return count


def _lay_out(node: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(node, Later):
        node = node.make()
    if isinstance(node, np.ndarray):
        if node.dtype.kind not in _ALLOWED:
            raise TypeError(f"a checkpoint holds no arrays of {node.dtype}")
        arrays.append(node)
        return {"a": node.dtype.str, "s": list(node.shape)}
    if isinstance(node, Mapping):
        return {"d": {str(name): _lay_out(value, arrays) for name, value in node.items()}}
    return {"j": node}


def _pick_up(node: Any, source: _Source) -> Any:
    if "a" in node:
        dtype, shape = np.dtype(node["a"]), [int(n) for n in node["s"]]
        if dtype.kind not in _ALLOWED or min(shape, default=0) < 0:
            raise ValueError(f"array of {dtype} {shape}")
        size = math.prod(shape) * dtype.itemsize
        source.expect(size)
        array = np.empty(shape, dtype)
        if size:
            source.fill(array.reshape(-1).view(np.uint8).data)
            source.take(-size % 8)
        return array
    if "d" in node:
        return {name: _pick_up(value, source) for name, value in node["d"].items()}
    return node["j"]
