"""Checkpoint files: parts with their journal positions in one file; written aside, synced, renamed; two are kept."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from isal.isal_zlib import crc32  # of half a gigabyte in a tenth of the time that SHA-256 takes; damage, not deceit

from twin.errors import CheckpointBroken

LOG = logging.getLogger(__name__)

CHUNK = 1 << 20  # bytes read at a time to be summed
LONGEST_HEAD = 1 << 16
MAGIC = b"CWCHECK3\n"  # then: sum of the head, the head as JSON on one line, the parts
KEPT = 2


class Sum(Protocol):
    """A sum of bytes that come one piece after the other."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc:
    """CRC-32 with the face of hashlib's sums."""

    def __init__(self) -> None:
        self._crc = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._crc = crc32(data, self._crc)

    def hexdigest(self) -> str:
        return f"{self._crc:08x}"


# By what a file begins with: name and length in characters of its sums, and how one is made.
SUMS: Mapping[bytes, tuple[str, int, Callable[[], Sum]]] = {
    MAGIC: ("crc32", 8, _Crc),
    b"CWCHECK2\n": ("sha256", 64, hashlib.sha256),  # written before 2026-12
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a checkpoint: its state as bytes, and the last journal entry that this state has seen."""

    n: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Stored:
    """A part that lies in a file, whole when it was looked at; `n` as in `Part`."""

    n: int
    path: Path
    at: int
    size: int

    def open(self) -> io.FileIO:
        """The file, at the part's first byte; unbuffered, so that reads go straight to where they are wanted."""
        file = io.FileIO(self.path)
        file.seek(self.at)
        return file

    def data(self) -> bytes:
        """The part's bytes, at once."""
        with self.open() as file:
            return file.read(self.size)


@dataclass(frozen=True, slots=True)
class Pieces:
    """A part that is still in pieces, to be written one after the other; a large state is not held twice."""

    n: int
    pieces: Sequence[bytes | memoryview]


class Checkpoints:
    """The checkpoints of one data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        for leftover in directory.glob("*.new"):
            leftover.unlink()

    def write(self, parts: Mapping[str, Part | Pieces]) -> Path:
        """Write one durably and forget all but the newest two. Raises OSError (disk full): nothing changed."""
        aside = self.aside(part.n for part in parts.values())
        self.prepare(aside, parts)
        return self.adopt(aside)

    def aside(self, seen: Iterable[int]) -> Path:
        """Where a checkpoint is written before it is one; `seen`: the last journal entries that its parts have seen."""
        ns = sorted(seen)  # a quiet city's account stands still while its world ticks
        return self._directory / f"{ns[-1]:015d}-{ns[0]:015d}.new"

    @staticmethod
    def prepare(aside: Path, parts: Mapping[str, Part | Pieces]) -> None:
        """Write one aside, durably. Raises OSError (disk full): nothing changed."""
        try:
            with aside.open("wb") as file:
                head = json.dumps(_head(parts)).encode() + b"\n"
                file.write(MAGIC + _sum(_Crc(), head).encode() + head)
                for part in parts.values():
                    file.writelines(_pieces(part))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            aside.unlink(missing_ok=True)
            raise

    def adopt(self, aside: Path) -> Path:
        """What was written aside is the newest checkpoint from here on; all but the newest two are forgotten. Raises
        OSError: nothing changed."""
        path = aside.with_suffix(".check")
        try:
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        self._sync()
        for old in self.files()[KEPT:]:
            old.unlink()
        return path

    def files(self) -> list[Path]:
        """The checkpoints, newest first."""
        return sorted(self._directory.glob("*.check"), reverse=True)

    def floor(self) -> int:
        """Entries up to here are in every kept checkpoint; 0 unless two are kept: then the journal must keep all."""
        files = self.files()
        return int(files[KEPT - 1].stem.rpartition("-")[2]) if len(files) >= KEPT else 0

    @staticmethod
    def read(path: Path) -> dict[str, Stored]:
        """Where the parts of a checkpoint lie. Every byte of them was read and summed, none is kept in memory.

        Raises CheckpointBroken when a byte of it is wrong.
        """
        try:
            with path.open("rb", buffering=0) as file:
                magic = file.read(len(MAGIC))
                if magic not in SUMS:
                    raise CheckpointBroken(f"{path}: not a checkpoint of this version")
                name, length, made = SUMS[magic]
                told = file.read(length)
                head = file.read(LONGEST_HEAD).partition(b"\n")[0] + b"\n"
                if _sum(made(), head).encode() != told:
                    raise CheckpointBroken(f"{path}: its head is damaged")
                at = file.seek(len(magic) + length + len(head))
                parts = {}
                for one in json.loads(head):
                    if _sum_of(made(), file, one["bytes"]) != one[name]:
                        raise CheckpointBroken(f"{path}: part {one['name']} is damaged")
                    parts[one["name"]] = Stored(one["n"], path, at, one["bytes"])
                    at += one["bytes"]
                more = os.fstat(file.fileno()).st_size - at
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointBroken(f"{path}: cannot be read ({error})") from error
        if more:
            raise CheckpointBroken(f"{path}: {more} bytes too many")
        return parts

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sum(total: Sum, data: bytes | memoryview) -> str:
    total.update(data)
    return total.hexdigest()


def _sum_of(total: Sum, file: io.FileIO, size: int) -> str:
    """The sum of the next bytes, or of those that there are."""
    buffer = memoryview(bytearray(min(size, CHUNK)))
    while size > 0 and (count := file.readinto(buffer[:size])):
        total.update(buffer[:count])
        size -= count
    return total.hexdigest() if size == 0 else ""


def _pieces(part: Part | Pieces) -> Sequence[bytes | memoryview]:
    return part.pieces if isinstance(part, Pieces) else [part.data]


def _head(parts: Mapping[str, Part | Pieces]) -> list[dict[str, str | int]]:
    told: list[dict[str, str | int]] = []
    for name, part in parts.items():
        crc = size = 0
        for piece in _pieces(part):
            crc = crc32(piece, crc)
            size += len(piece)
        told.append({"name": name, "n": part.n, "bytes": size, "crc32": f"{crc:08x}"})
    return told
