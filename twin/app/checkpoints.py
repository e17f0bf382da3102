"""Checkpoint files: parts with their journal positions in one file; written aside, synced, renamed; two are kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isal.isal_zlib import crc32  # of half a gigabyte in a tenth of the time that SHA-256 takes; damage, not deceit

from twin.errors import CheckpointBroken

LOG = logging.getLogger(__name__)

MAGIC = b"CWCHECK3\n"  # then: sum of the head, the head as JSON on one line, the parts
KEPT = 2


def _crc(data: bytes | memoryview) -> str:
    return f"{crc32(data):08x}"


def _sha(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


# By what a file begins with: name and length in characters of its sums, and how one is made.
SUMS: Mapping[bytes, tuple[str, int, Callable[[bytes | memoryview], str]]] = {
    MAGIC: ("crc32", 8, _crc),
    b"CWCHECK2\n": ("sha256", 64, _sha),  # written before 2026-12
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a checkpoint: its state as bytes, and the last journal entry that this state has seen."""

    n: int
    data: bytes | memoryview


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
                file.write(MAGIC + _crc(head).encode() + head)
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
    def read(path: Path) -> dict[str, Part]:
        """The parts of a checkpoint, as views of the file's bytes: a large one is in memory once.

        Raises CheckpointBroken when a byte of it is wrong.
        """
        try:
            with path.open("rb") as file:
                whole = bytearray(os.fstat(file.fileno()).st_size)
                if file.readinto(whole) != len(whole):
                    raise CheckpointBroken(f"{path}: cut short")
            raw = memoryview(whole).toreadonly()
            magic = bytes(raw[: len(MAGIC)])
            if magic not in SUMS:
                raise CheckpointBroken(f"{path}: not a checkpoint of this version")
            name, length, made = SUMS[magic]
            start = len(magic) + length
            at = whole.index(b"\n", start) + 1
            head = bytes(raw[start:at])
            if made(head).encode() != raw[len(magic) : start]:
                raise CheckpointBroken(f"{path}: its head is damaged")
            told = json.loads(head)
            parts = {}
            for one in told:
                data = raw[at : at + one["bytes"]]
                at += one["bytes"]
                if len(data) != one["bytes"] or made(data) != one[name]:
                    raise CheckpointBroken(f"{path}: part {one['name']} is damaged")
                parts[one["name"]] = Part(one["n"], data)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointBroken(f"{path}: cannot be read ({error})") from error
        if at != len(raw):
            raise CheckpointBroken(f"{path}: {len(raw) - at} bytes too many")
        return parts

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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
