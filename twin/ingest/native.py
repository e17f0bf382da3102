"""The innermost loops of ingest in C, where they were compiled; None of it is needed.

    python -m twin.ingest.native        compile twin/ingest/native.c (`make install` does)

Each loop has its double in Python and numpy, which is what runs where there is no compiler, and whose outcome is the
same (tests/twin/ingest hold both against the strict codec). The library is named after its source, so that one which
is left from another version is never loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.records import AHEAD_MS, FLAG_LATE, FLAG_NO_CLOCK, I64, Columns

SOURCE = Path(__file__).with_name("native.c")
FLAGS = ("-O2", "-std=c11", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off")
OFF = "CITYWHISTLE_NO_NATIVE"  # set: the loops in Python run, though there are others


def library() -> Path:
    """Where the compiled loops are, or would be."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    return SOURCE.with_name(f"native-{digest}-{sysconfig.get_platform().replace('.', '_')}.so")


def compiler() -> str | None:
    """A C compiler."""
    return next((found for name in (os.environ.get("CC", ""), "cc", "gcc", "clang") if (found := _which(name))), None)


def _which(name: str) -> str | None:
    return shutil.which(name) if name else None


def build(target: Path, flags: tuple[str, ...] = ()) -> None:
    """Compile. Raises OSError, subprocess.CalledProcessError where that cannot be done."""
    cc = compiler()
    if cc is None:
        raise FileNotFoundError("no C compiler (cc)")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".native-") as folder:
        made = Path(folder) / "made.so"
        subprocess.run([cc, *FLAGS, *flags, "-o", str(made), str(SOURCE)], check=True, capture_output=True, text=True)
        made.replace(target)


def load(path: Path) -> ctypes.CDLL:
    """The loops of a library. Raises OSError."""
    found = ctypes.CDLL(str(path))
    number, pointer, flag = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int32
    text = ctypes.c_char_p
    found.cw_fit.restype = None
    found.cw_fit.argtypes = [
        flag, text, number, number, *[pointer] * 4, text, number, text, pointer, number, pointer, pointer, pointer,
        number, number, pointer,
    ]  # fmt: skip
    found.cw_publishes.restype = number
    found.cw_publishes.argtypes = [text, number, number, flag, number, number, *[pointer] * 4]
    found.cw_numbers.restype = None
    found.cw_numbers.argtypes = [
        text, number, number, pointer, pointer, pointer, ctypes.c_uint64, pointer, pointer, number, number, pointer,
        ctypes.c_uint64, number, pointer,
    ]  # fmt: skip
    found.cw_account.restype = flag
    found.cw_account.argtypes = [
        flag, number, *[pointer] * 6, ctypes.c_uint8, ctypes.c_uint8, number, number, *[pointer] * 14, number, number,
        pointer, number,
    ]  # fmt: skip
    return found


def _found() -> ctypes.CDLL | None:
    if os.environ.get(OFF):
        return None
    try:
        path = library()
        return load(path) if path.is_file() else None
    except OSError:
        return None


LIB = _found()


def publishes(buffer: bytes, at: int, five: bool, longest: int, room: int) -> tuple[int, I64, bytes]:
    """(where the PUBLISH packets from `at` on end, their bounds as in Cuts, packet ids of those of QoS 1)."""
    assert LIB is not None
    bounds = np.empty((4, room), np.int64)
    ids = np.empty(2 * room, np.uint8)
    told = np.zeros(2, np.int64)  # ids, and where the packets end
    known = told.ctypes.data
    count = LIB.cw_publishes(
        buffer, len(buffer), at, five, longest, room, bounds.ctypes.data, ids.ctypes.data, known, known + told.itemsize
    )
    kept = bounds if count == room else bounds[:, :count].copy()
    return int(told[1]), kept, ids[: 2 * int(told[0])].tobytes()


def numbers(
    data: bytes,
    at: I64,
    end: I64,
    table: NDArray[np.int32],
    texts: NDArray[np.uint64],
    lengths: I64,
    count: int,
    factors: NDArray[np.uint64],
    mix: int,
    tries: int,
) -> NDArray[np.int32]:
    """The numbers of topics by the table of twin/ingest/index.py."""
    assert LIB is not None
    at, end = np.ascontiguousarray(at), np.ascontiguousarray(end)
    found = np.empty(len(at), np.int32)
    LIB.cw_numbers(
        data, len(data), len(at), at.ctypes.data, end.ctypes.data, table.ctypes.data, len(table) - 1,
        texts.ctypes.data, lengths.ctypes.data, count, texts.shape[1], factors.ctypes.data, mix, tries,
        found.ctypes.data,
    )  # fmt: skip
    return found


def places(arrays: Sequence[NDArray[Any]]) -> tuple[int, ...]:
    """Where arrays lie in memory, for as long as they are kept: asking takes longer than most loops do."""
    return tuple(array.ctypes.data for array in arrays)


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """What a template is to its loop: texts one behind the other and where each ends, which number of the layout each
    number between them is, and whether it must be whole. `at`: where these arrays lie."""

    texts: bytes
    ends: I64
    place: I64
    whole: NDArray[np.bool_]
    at: tuple[int, ...]


def pattern(texts: Sequence[bytes], order: I64, whole: NDArray[np.bool_]) -> Pattern:
    """The pattern of texts around numbers; `whole` by number of the layout."""
    arrays = np.cumsum([len(text) for text in texts]), np.ascontiguousarray(order), whole[order]
    return Pattern(b"".join(texts), *arrays, places(arrays))


def fit(
    data: bytes,
    start: I64,
    stop: I64,
    names: tuple[I64, I64] | None,
    lead: bytes,
    pattern: Pattern,
    value: NDArray[np.float64],
    along: int,
    *,
    cbor: bool = False,
) -> NDArray[np.bool_]:
    """Which messages fit a template; their numbers go into `value`, that of a message at every `along`-th place."""
    assert LIB is not None
    n, (ends, place, whole) = len(start), pattern.at
    start, stop = np.ascontiguousarray(start), np.ascontiguousarray(stop)
    at: Any = [np.ascontiguousarray(one) for one in names] if names is not None else None
    good = np.empty(n, np.bool_)
    LIB.cw_fit(
        cbor, data, len(data), n, start.ctypes.data, stop.ctypes.data,
        at and at[0].ctypes.data, at and at[1].ctypes.data,
        lead, len(lead), pattern.texts, ends, len(pattern.place), place, whole,
        value.ctypes.data, 1 if along > 1 else n, along, good.ctypes.data,
    )  # fmt: skip
    return good


def account(
    columns: Columns, size: int, page: tuple[int, ...], *, hour_ms: int, burst: int, held_ms: int, take: bool
) -> bool:
    """Whether the readings simply go on in the account of `size` rows that lies at `page`; with `take` they are counted
    there. `burst`, `held_ms`: of twin/ingest/flood.py."""
    assert LIB is not None
    wanted = ((columns.row, np.int32), (columns.boot, np.int64), (columns.seq, np.int64), (columns.t, np.int64),
              (columns.arrived, np.int64), (columns.flags, np.uint8))  # fmt: skip
    mine = [np.ascontiguousarray(array, dtype) for array, dtype in wanted]
    if any(len(array) != len(columns) for array in mine):
        return False
    ahead = np.empty(0 if take else len(columns), np.int64)
    return bool(
        LIB.cw_account(
            take, len(columns), *places(mine), FLAG_LATE, FLAG_NO_CLOCK, hour_ms, size, *page, burst, held_ms,
            ahead.ctypes.data, AHEAD_MS,
        )
    )  # fmt: skip


def main() -> int:
    """Compile for this machine, unless that was done; whatever is left of other versions goes."""
    target = library()
    if not target.is_file():
        try:
            build(target)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", None) or str(error)
            sys.stderr.write(f"ingest: the loops in C are left out, the slower ones in Python run ({why.strip()})\n")
            return 0
    for other in target.parent.glob("native-*.so"):
        if other != target:
            other.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
