"""Four weeks before the demo's first evening: a faultless past of the same fleet, journalled before the server starts.

The server replays it through its ordinary tick and stores it, so that expectations are learnt and charts have a past;
nothing of it is whistled. The past is accounted for like everything else: it has numbers and a sender's log.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np

from devices.fleet.fleet import history
from devices.log import SentLog
from devices.places import CityFiles
from twin.city import City, Registry
from twin.demo.scene import Scene
from twin.journal import Journal
from twin.records import Batch, Columns, Edit, Link, Tick

WEEKS = 4
KINDS = ("pole", "cell", "feeder", "gateway")  # a truck's trip cannot be told by a word every two hours
DAY_MS = 86_400_000
STEP_S = 7500.0  # two hours and five minutes: in four weeks it visits every hour of the day about equally
BOOT = 1  # of the past; boots of the fleet are larger
MOST_BYTES = 4 << 30
LATER_MS = 1000  # a reading arrives a second after it was said


def write_past(
    scene: Scene, files: CityFiles, seed: int, end_ms: int, progress: Callable[[float], None] = lambda _share: None
) -> int:
    """Journal the weeks before `end_ms` for a city that has no journal yet; returns how many readings.

    Made aside and put in place when complete: a run that is cut off leaves nothing behind.
    """
    start_ms = end_ms - WEEKS * 7 * DAY_MS
    aside = scene.root / "past.new"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with contextlib.closing(Journal(aside / "journal.db", max_bytes=MOST_BYTES)) as journal:
        city = City(files, Registry())
        fresh = city.registry.drain()
        journal.append([*([fresh] if fresh is not None else []), Edit("learning", "true"), Link("up"), Link("drained")])
        journal.append([Tick(start_ms - LATER_MS)])
        count = steps = 0
        devices: set[str] = set()
        for t_ms, said in _moments(files, seed, start_ms, end_ms):
            steps += 1
            columns = tuple(_columns(city.registry, kind, t_ms, steps, values) for kind, values in said)
            batch = Batch(columns, messages=sum(map(len, columns)))
            journal.append([batch, Tick(t_ms + 2 * LATER_MS)])
            devices.update(device for _, values in said for device, _ in values)
            count += len(batch)
            progress((t_ms - start_ms) / (end_ms - start_ms))
        journal.append([Link("down"), Tick(end_ms - 1), Edit("learning", "false"), Tick(end_ms)])
    with contextlib.closing(SentLog(scene.senders / "past.sent.jsonl")) as log:
        log.commit(log.stage([(device, BOOT, 1, steps) for device in sorted(devices)]))
    (aside / "journal.db").replace(scene.data / "journal.db")
    shutil.rmtree(aside)
    return count


Said = Sequence[tuple[str, Sequence[tuple[str, dict[str, float]]]]]  # (kind, (device, values))


def _moments(files: CityFiles, seed: int, start_ms: int, end_ms: int) -> Iterator[tuple[int, Said]]:
    """What all devices say at each instant, by kind."""
    told = history(files, seed, start_ms, end_ms, STEP_S, KINDS)
    for t_ms, readings in groupby(told, key=lambda one: one[0]):
        by_kind: dict[str, list[tuple[str, dict[str, float]]]] = {}
        for _, kind, device, values in readings:
            by_kind.setdefault(kind, []).append((device, values))
        yield t_ms, sorted(by_kind.items())


def _columns(
    registry: Registry, kind: str, t_ms: int, seq: int, said: Sequence[tuple[str, dict[str, float]]]
) -> Columns:
    """One instant of one kind as columns."""
    n = len(said)
    names = sorted({name for _, values in said for name in values})
    return Columns(
        kind=kind,
        row=np.array([registry.allocate(kind, device) for device, _ in said], np.int32),
        t=np.full(n, t_ms, np.int64),
        boot=np.full(n, BOOT, np.int64),
        seq=np.full(n, seq, np.int64),
        arrived=np.full(n, t_ms + LATER_MS, np.int64),
        flags=np.zeros(n, np.uint8),
        values={name: np.array([values.get(name, np.nan) for _, values in said], np.float64) for name in names},
    )
