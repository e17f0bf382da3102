"""What the fuzzers throw at ingest, and what must hold of anything: run by test_fuzz.py.

    python -m tests.twin.ingest.fuzz frames|payloads --seconds 60 --seed 1 [--library PATH]     mutations of our own
    python -m tests.twin.ingest.fuzz frames|payloads --guided -max_total_time=60 CORPUS          by coverage (atheris)

No input may raise anything but ProtocolError, be kept beyond the parser's bound, or be read otherwise by the loops in C
than by those in Python and, payload by payload, by the strict codec.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType
from typing import Any

from tests.twin.ingest.conftest import T0, People
from tests.twin.ingest.test_columns import OPEN, columnise, reasons, said, strictly
from tests.twin.ingest.test_frames import taken_apart
from tests.twin.ingest.test_templates import flat_or_packed, in_cbor, pack
from twin.ingest import native
from twin.ingest.columns import Columniser
from twin.ingest.frames import HEAD_BYTES, publish

BREAK = b"\xff\xfe"  # between the messages of one input
GROWTH_KB = 256 * 1024
NUMBERS = {"voltage": 229.5, "temperature": -3.25}
LIB = native.LIB


def frames(data: bytes) -> None:
    """Bytes as a stream from a broker, cut where the first ones say."""
    version = 5 if data[:1] > b"\x7f" else 4
    step = 1 + data[1] * 16 if len(data) > 1 else 1
    stream = data[2:]
    chunks = [stream[at : at + step] for at in range(0, len(stream), step)]
    told = []
    for library in (LIB, None):
        native.LIB = library
        told += [taken_apart(chunks, version, bulk_from) for bulk_from in (0, 1 << 60)]
    assert all(one == told[0] for one in told[1:])
    assert len(str(told[0][5])) <= 4 * (HEAD_BYTES + step) + 16


def payloads(data: bytes) -> None:
    """Bytes as messages of one batch."""
    some = data.split(BREAK)[:8]
    messages = [("pole", f"p-{1 + at % 2}", payload) for at, payload in enumerate(some)]
    told = []
    for library in (LIB, None):
        native.LIB = library
        columniser = Columniser(People(), window=OPEN, templates=True)
        columnise(columniser, messages)
        received = columnise(columniser, messages)  # by what was learned
        told.append((written(said(received)), reasons(received)))
    assert told[0] == told[1]
    if not any(payload[:1] and 0x80 <= payload[0] <= 0x9F for payload in some):
        readings, refused, bad = strictly(messages)
        assert told[0] == (written(readings), (refused, bad))


def written(readings: Iterable[tuple[Any, ...]]) -> str:
    """Readings as text, which tells -0.0 and NaN apart from others; a reading's values in one order."""
    return repr([(*identity, sorted(values.items())) for *identity, values in readings])


TARGETS: dict[str, Callable[[bytes], None]] = {"frames": frames, "payloads": payloads}


def seeds(target: str) -> list[bytes]:
    """Good inputs to begin with."""
    golden = sorted((Path(__file__).parents[2] / "golden" / "payloads").glob("*.json"))
    bodies = [flat_or_packed("", 7, rounds, NUMBERS, spaced) for rounds in (0, 1, 5) for spaced in (False, True)]
    bodies += [pack("p-1", 7, rounds, NUMBERS) for rounds in (1, 3)]
    if target == "payloads":
        bodies += [
            in_cbor(pack("p-1", 300, rounds, NUMBERS), by_label=by_label) for rounds in (1, 3) for by_label in (0, 1)
        ]
        return [BREAK.join([body, body.replace(b"7", b"8"), body]) for body in bodies] + [
            p.read_bytes() for p in golden
        ]
    topics = ["a", "city/d1/pole/p-1/telemetry", "x" * 300]
    return [
        b"%c\x10" % version
        + b"".join(publish(t, b, packet_id=i, version=level) for i, b in enumerate(bodies))
        + b"\xd0\0"
        for version, level in ((0, 4), (255, 5))
        for t in topics
    ]


TOKENS = [b"", b"0", b"9" * 20, b"-", b".", b"e5", b",", b'"', b"[", b"]", b"{", b"}", b"null", b"true", b"\0", b"\x7f",
          b"\x80", b"\xff\xff\xff\x7f", b"\xba", b"\\u0000", str(T0).encode(), BREAK]  # fmt: skip


def mutated(rng: random.Random, known: list[bytes]) -> bytes:
    """An input that differs from a known one, or from two, in a few places."""
    data = bytearray(rng.choice(known))
    for _ in range(rng.randrange(1, 6)):
        at, until = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0:
                data[at : at + rng.randrange(4)] = rng.choice(TOKENS)
            case 1 if data:
                data[min(at, len(data) - 1)] = rng.randrange(256)
            case 2:
                del data[at : min(until, at + 64)]
            case 3:
                data[at:at] = data[at : min(until, at + 256)]
            case 4:
                other = rng.choice(known)
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case _:
                data[at:at] = rng.randbytes(rng.randrange(9))
    return bytes(data[: 1 << 16])


def run(target: str, seconds: float, seed: int) -> int:
    """Mutations of our own; returns how many inputs. Says which one failed."""
    rng, known, count, end = random.Random(seed), seeds(target), 0, time.monotonic() + seconds
    before = 0
    while time.monotonic() < end:
        data = mutated(rng, known)
        try:
            TARGETS[target](data)
        except BaseException:
            sys.stderr.write(f"input: {data!r}\n")
            raise
        count += 1
        if count == 500:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        elif count > 500 and count % 500 == 0:
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + GROWTH_KB, "memory grows"
        if rng.random() < 0.02 and len(known) < 4000:
            known.append(data)
    return count


def covered() -> list[FunctionType]:
    """The functions and methods whose lines guide the search."""
    found = []
    for name, module in list(sys.modules.items()):
        if name.startswith(("twin.ingest.", "devices.")):
            owners = [module, *(one for one in vars(module).values() if isinstance(one, type))]
            members = [one for owner in owners for one in vars(owner).values()]
            found += [one for one in members if isinstance(one, FunctionType) and one.__module__ == name]
    return list(dict.fromkeys(found))


def main() -> None:
    global LIB
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--library", type=Path)
    parser.add_argument("--guided", action="store_true")
    given, rest = parser.parse_known_args()
    if given.library:
        LIB = native.load(given.library)
    if not given.guided:
        print(run(given.target, given.seconds, given.seed))
        return
    import atheris

    for function in covered():
        atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], *rest], TARGETS[given.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
