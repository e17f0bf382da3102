"""Mosquitto's saved sessions: whether it could read them, and what to do where it could not.

Mosquitto 2 ends at once ("Couldn't open database") where its file is cut short or foreign, and would do so for ever.
What the file held is not needed: senders keep their readings until the server's mark covers them, and the server
publishes all marks anew on each connection. So a file that cannot be read is set aside, and the broker starts without.

The format (src/persist.h of Mosquitto, versions 5 and 6): 15 bytes of name, two big-endian uint32 (checksum, unused;
version), then chunks, each of two uint32 (type, length) and so many bytes.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

FILE = "mosquitto.db"
NAME = b"\x00\xb5\x00mosquitto db"
HEAD, CHUNK = struct.Struct(">15sII"), struct.Struct(">II")
WALKED = (5, 6)  # versions whose chunks have this head; of others only the name is looked at


def damage(path: Path) -> str:
    """What is wrong with a file, in words; "" where nothing is to be seen, and where there is none. Raises OSError."""
    try:
        saved = path.open("rb")
    except FileNotFoundError:
        return ""
    with saved:
        size = os.fstat(saved.fileno()).st_size
        head = saved.read(HEAD.size)
        if not size:
            return ""  # Mosquitto takes it for none
        if len(head) < HEAD.size or HEAD.unpack(head)[0] != NAME:
            return "it is no file of Mosquitto's"
        at = HEAD.size
        while at < size and HEAD.unpack(head)[2] in WALKED:
            saved.seek(at)
            chunk = saved.read(CHUNK.size)
            if len(chunk) < CHUNK.size:
                return ""  # Mosquitto takes it for the end
            at += CHUNK.size + CHUNK.unpack(chunk)[1]
        return "" if at <= size or HEAD.unpack(head)[2] not in WALKED else f"it is cut short at byte {size}"


def set_aside(folder: Path) -> str:
    """Rename a file of `folder` that Mosquitto could not read; what was done, in words, or "". Raises OSError."""
    path = folder / FILE
    why = damage(path)
    if not why:
        return ""
    aside = path.with_name(f"{FILE}.damaged-{time.time_ns()}")
    path.rename(aside)
    for older in sorted(folder.glob(f"{FILE}.damaged-*"))[:-1]:
        older.unlink()
    return (
        f"the broker's saved sessions cannot be read ({why}) and are set aside as {aside}; it starts without them, and "
        "senders say again what the server has not got"
    )
