"""The world as bytes: a JSON head, then the raw arrays; versioned, with a checksum, no pickle.

Layout: magic, length of the head (8 bytes, little-endian), head, arrays (8-byte aligned), CRC-32 of all before.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from isal.isal_zlib import crc32  # zlib's, at a third of its cost or less
from numpy.typing import NDArray

from twin.errors import CheckpointBroken

MAGIC = b"CWWORLD1"
VERSION = 1


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


def decode(data: Piece) -> dict[str, Any]:
    """The tree. The arrays are read-only views of `data`. Raises CheckpointBroken for anything that `encode` did
    not write, or that was damaged since."""
    if len(data) < len(MAGIC) + 12 or data[: len(MAGIC)] != MAGIC:
        raise CheckpointBroken("the world's part of the checkpoint is not one of this version")
    if crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise CheckpointBroken("the world's part of the checkpoint is damaged (checksum)")
    (length,) = struct.unpack_from("<Q", data, len(MAGIC))
    start = len(MAGIC) + 8
    try:
        head = json.loads(bytes(data[start : start + length]))
        if head["version"] > VERSION:
            raise CheckpointBroken(f"the checkpoint is of version {head['version']}, this program reads {VERSION}")
        tree, _ = _pick_up(head["tree"], data, start + length + (-length % 8))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointBroken(f"the world's part of the checkpoint cannot be read: {error}") from error
    if not isinstance(tree, dict):
        raise CheckpointBroken("the world's part of the checkpoint is not a tree")
    return tree


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


def _pick_up(node: Any, data: Piece, at: int) -> tuple[Any, int]:
    if "a" in node:
        dtype = np.dtype(node["a"])
        if dtype.kind not in _ALLOWED:
            raise ValueError(f"array of {dtype}")
        count = int(np.prod(node["s"], dtype=np.int64))
        array = np.frombuffer(data, dtype, count, at).reshape(node["s"])
        size = count * dtype.itemsize
        return array, at + size + (-size % 8)
    if "d" in node:
        out = {}
        for name, value in node["d"].items():
            out[name], at = _pick_up(value, data, at)
        return out, at
    return node["j"], at
