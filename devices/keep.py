"""What senders keep on disk: every reading that was published, or waits, and that no mark covers yet.

Lines of device, leaf and payload, tabs between, appended *before* a reading is first published: a process killed at any
instant has it, and its next start sends it again under its old boot and number. A reading without a number was never
published; such ones are written when a sender ends in order. Covered readings stay in the file until it has grown, and
is written anew with what is still held (new file, then rename): sending one of them again is a duplicate, not a loss.

    pole-1	telemetry	{"t":1700000000000,"boot":1700000000,"seq":24,"pm25":12.0}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.codec import encode_json
from devices.errors import DeviceError
from devices.records import Reading

GROWN_BYTES = 256 << 10  # beyond this and GROWN times what was held when it was last written, it is written anew
GROWN = 4

Held = tuple[int, int, bool, bytes]  # boot, seq, whether it is an event, payload
Waiting = tuple[int | None, dict[str, float], bool]  # device time in ms, values, whether it is an event


@dataclass(slots=True)
class Kept:
    """One device's readings: `held` by boot and number, `waiting` in the order in which they were said."""

    held: dict[tuple[int, int], Held] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)


def line(device: str, event: bool, payload: bytes) -> bytes:
    """A reading as a line of the file."""
    return b"%s\t%s\t%s\n" % (device.encode(), b"event" if event else b"telemetry", payload)


def read_kept(path: Path) -> dict[str, Kept]:
    """What a file holds, by device; nothing where there is none. A torn last line was never published: left out.

    Raises DeviceError for a file that cannot be read, or a damaged line that is not the last one.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DeviceError(f"{path}: the readings kept there cannot be read ({error})") from error
    found: dict[str, Kept] = {}
    for number, told in enumerate(lines[:-1], 1):
        try:
            name, leaf, payload = told.split(b"\t", 2)
            _take(found.setdefault(name.decode(), Kept()), leaf == b"event", payload)
        except (ValueError, KeyError, TypeError) as error:
            raise DeviceError(f"{path}:{number}: not a kept reading ({error}); remove the line to go on") from error
    return found


def _take(kept: Kept, event: bool, payload: bytes) -> None:
    said: dict[str, Any] = json.loads(payload)
    if "seq" in said:
        boot, seq = int(said["boot"]), int(said["seq"])
        kept.held[boot, seq] = (boot, seq, event, payload)
        return
    t_ms = said.pop("t", None)
    kept.waiting.append((t_ms, {name: float(value) for name, value in said.items()}, event))


class Keep:
    """The file, open for appending. Not thread-safe: its user locks. `restored` is what the last process left."""

    def __init__(self, path: Path) -> None:
        """Open it and read what it holds. Raises OSError, DeviceError."""
        self.path = path
        self.restored = read_kept(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._bytes, self._base = os.fstat(self._fd).st_size, 0
        self._cut_torn()

    @property
    def has_grown(self) -> bool:
        """Whether most of it is probably covered by now."""
        return self._bytes > GROWN_BYTES + GROWN * self._base

    def take(self, device: str) -> Kept:
        """What the last process left of a device; whoever takes it holds it from now on."""
        return self.restored.pop(device, None) or Kept()

    def append(self, lines: bytes) -> None:
        """All of them, or nothing. Raises OSError."""
        done = 0
        try:
            while done < len(lines):
                done += os.write(self._fd, lines[done:])
        except OSError:
            os.ftruncate(self._fd, self._bytes)
            raise
        self._bytes += len(lines)

    def rewrite(self, lines: Iterable[bytes]) -> None:
        """Hold these alone, and what nobody has taken yet. Raises OSError: then it holds what it held."""
        aside = self.path.with_name(self.path.name + ".new")
        try:
            with open(aside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.writelines(lines)
                file.writelines(self._untaken())
            fd = os.open(aside, os.O_RDWR | os.O_APPEND)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        aside.replace(self.path)
        os.close(self._fd)
        self._fd = fd
        self._bytes = self._base = os.fstat(fd).st_size

    def close(self) -> None:
        os.close(self._fd)

    def _untaken(self) -> Iterator[bytes]:
        """Readings of devices that nobody sends for at present: a later start may."""
        for device, kept in self.restored.items():
            for _, _, event, payload in kept.held.values():
                yield line(device, event, payload)
            for t_ms, values, event in kept.waiting:
                yield line(device, event, encode_json(Reading(device, t_ms, values)))

    def _cut_torn(self) -> None:
        tail = os.pread(self._fd, 1 << 20, max(0, self._bytes - (1 << 20)))
        if tail and not tail.endswith(b"\n"):
            self._bytes -= len(tail) - (tail.rfind(b"\n") + 1)
            os.ftruncate(self._fd, self._bytes)
