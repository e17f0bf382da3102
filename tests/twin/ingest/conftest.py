"""What the tests of ingest share: a registry, a journal in memory that can refuse, a publisher, a waiting loop."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.broker import TestBroker
from twin.errors import JournalFull
from twin.ingest import native
from twin.records import Batch, Body, Columns

DEADLINE_S = 20.0
LOOPS = ("C", "Python")  # that the innermost loops are written in
T0 = 1_700_000_000_000


class People:
    """A registry: pole p-0..p-99, truck t-0..t-9, cell c-0..c-9, all in district d1."""

    def lookup(self, kind: str, device: str, district: str = "") -> int | None:
        first, _, number = device.partition("-")
        sizes = {"pole": ("p", 100), "truck": ("t", 10), "cell": ("c", 10)}
        letter, size = sizes.get(kind, ("", 0))
        fits = first == letter and number.isdigit() and str(int(number)) == number and int(number) < size
        return int(number) if fits and district in ("", "d1") else None


@dataclass
class Memory:
    """A journal in memory. While `refuse` is set, it refuses; `tried` counts refusals."""

    entries: list[Body] = field(default_factory=list)
    refuse: threading.Event = field(default_factory=threading.Event)
    tried: int = 0

    def append(self, bodies: Sequence[Body]) -> int:
        if self.refuse.is_set():
            self.tried += 1
            raise JournalFull("no room left for this test")
        self.entries.extend(bodies)
        return len(self.entries)

    @property
    def batches(self) -> list[Batch]:
        return [body for body in list(self.entries) if isinstance(body, Batch)]

    def ids(self) -> list[tuple[int, int, int]]:
        """(row, boot, seq) of every journalled pole reading, in order."""
        return [key for batch in self.batches for c in batch.columns if c.kind == "pole" for key in ids_of(c)]


def ids_of(columns: Columns) -> list[tuple[int, int, int]]:
    """(row, boot, seq) of columns, in order."""
    return list(zip(columns.row.tolist(), columns.boot.tolist(), columns.seq.tolist(), strict=True))


def until(met: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for an event that another thread or process brings about; fail where it does not come in time."""
    end = time.monotonic() + deadline_s
    pause = threading.Event()
    while not met():
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s:.0f} s: {what}")
        pause.wait(0.01)


class Publisher:
    """A device's connection (paho-mqtt): `say` waits until the broker has it (QoS 1)."""

    def __init__(self, broker: TestBroker, **options: str) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        if options.get("user"):
            self.client.username_pw_set(options["user"], options.get("password"))
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()

    def say(self, topic: str, payload: bytes, qos: int = 1) -> None:
        info = self.client.publish(topic, payload, qos=qos)
        info.wait_for_publish(DEADLINE_S)
        assert info.is_published()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def publisher(broker: TestBroker) -> Iterator[Publisher]:
    """Somebody who publishes at the test's broker."""
    one = Publisher(broker)
    yield one
    one.close()


def columns_of(
    rows: Sequence[int], boots: Sequence[int], seqs: Sequence[int], ts: Sequence[int] | None = None, kind: str = "pole"
) -> Columns:
    """Columns of readings by identity; t counts up unless given."""
    n = len(rows)
    t = np.arange(n, dtype=np.int64) + T0 if ts is None else np.array(ts, np.int64)
    return Columns(
        kind,
        np.array(rows, np.int32),
        t,
        np.array(boots, np.int64),
        np.array(seqs, np.int64),
        t + 100,
        np.zeros(n, np.uint8),
        {"voltage": np.full(n, 230.0)},
    )


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loops in C, compiled for these tests with every check that the compiler knows to be cheap."""
    path = tmp_path_factory.mktemp("native") / "loops.so"
    if native.compiler() is None:
        pytest.skip("no C compiler (cc): the loops in Python are the only ones")
    try:
        native.build(path, ("-Werror", "-fsanitize=undefined", "-fno-sanitize-recover"))
    except subprocess.CalledProcessError as error:
        pytest.fail(f"twin/ingest/native.c does not compile: {error.stderr}")
    return path


@pytest.fixture(scope="module", params=LOOPS)
def loops(request: pytest.FixtureRequest) -> Iterator[str]:
    """Everything twice: by the loops in C, and by their doubles in Python."""
    before = native.LIB
    native.LIB = native.load(request.getfixturevalue("compiled")) if request.param == "C" else None
    yield request.param
    native.LIB = before
