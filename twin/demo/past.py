"""Four weeks before the demo's first evening: the past of the same fleet, journalled before the server starts.

The server replays it through its ordinary tick and stores it, so that expectations are learnt and charts have a past;
nothing of it is whistled. What is wrong when it ends goes on, and is whistled once devices confirm it. The past is
accounted for like everything else: it has numbers and a sender's log; the server never sees the labels of its faults.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from devices.faults.fault import Fault
from devices.faults.truth import TruthFile
from devices.fleet.fleet import Fleet
from devices.fleet.memory import write_memory
from devices.fleet.past import history, slow_faults
from devices.log import SentLog
from devices.places import CityFiles
from twin.city import City, Registry
from twin.demo.scene import Scene
from twin.journal import Journal
from twin.records import Batch, Body, Columns, Edit, Link, Tick

WEEKS = 4
KINDS = ("pole", "cell", "feeder", "gateway")  # a truck's trip cannot be told by a word every two hours
DAY_MS = 86_400_000
BOOT = 1  # of the past; boots of the fleet are larger
MOST_BYTES = 4 << 30
LATER_MS = 1000  # a reading arrives a second after it was said


def write_past(
    scene: Scene,
    files: CityFiles,
    seed: int,
    end_ms: int,
    *,
    faults: Sequence[Fault] | None = (),
    progress: Callable[[float], None] = lambda _share: None,
) -> int:
    """Journal the weeks before `end_ms` for a city that has no journal yet; returns how many readings.

    `faults`: what happens in them; None: slow faults drawn by the seed. Made aside and put in place when complete: a
    run that is cut off leaves nothing behind. The fleet's memory and the labels are put in place with it.
    """
    start_ms = end_ms - WEEKS * 7 * DAY_MS
    aside = scene.root / "past.new"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    truth = TruthFile(aside / "truth.jsonl")
    fleet = Fleet(files, seed, start_ms, truth=truth, kinds=KINDS)
    for fault in slow_faults(fleet, end_ms) if faults is None else faults:
        if start_ms <= fault.start_ms < end_ms and fleet.members(fault):
            fleet.inject(fault)
    with contextlib.closing(Journal(aside / "journal.db", max_bytes=MOST_BYTES)) as journal:
        count, devices = journalled(journal, fleet, files, end_ms, progress)
    truth.close()
    with contextlib.closing(SentLog(scene.senders / "past.sent.jsonl")) as log:
        log.commit(log.stage([(device, BOOT, 1, steps) for device, steps in sorted(devices.items())]))
    write_memory(scene.senders / "fleet.json", fleet, turn=-1)
    (aside / "truth.jsonl").replace(scene.truth)
    (aside / "journal.db").replace(scene.data / "journal.db")
    shutil.rmtree(aside)
    return count


class Sink(Protocol):
    """What takes the past: the journal, or whoever wants to live through it."""

    def append(self, bodies: Sequence[Body], /) -> object: ...


def journalled(
    journal: Sink, fleet: Fleet, files: CityFiles, end_ms: int, progress: Callable[[float], None]
) -> tuple[int, dict[str, int]]:
    """Journal what the fleet says up to `end_ms`; readings in all, and by device."""
    city = City(files, Registry())
    fresh = city.registry.drain()
    journal.append([*([fresh] if fresh is not None else []), Edit("learning", "true"), Link("up"), Link("drained")])
    journal.append([Tick(fleet.start_ms - LATER_MS)])
    numbers: dict[str, int] = {}
    count = 0
    for t_ms, said in history(fleet, end_ms):
        by_kind: dict[str, list[tuple[str, dict[str, float]]]] = {}
        for thing, values in said:
            numbers[thing.id] = numbers.get(thing.id, 0) + 1
            by_kind.setdefault(thing.device.kind, []).append((thing.id, values))
        columns = tuple(_columns(city.registry, kind, t_ms, numbers, by_kind[kind]) for kind in sorted(by_kind))
        batch = Batch(columns, messages=len(said))
        journal.append([batch, Tick(t_ms + 2 * LATER_MS)])
        count += len(said)
        progress((t_ms - fleet.start_ms) / (end_ms - fleet.start_ms))
    journal.append([Link("down"), Tick(end_ms - 1), Edit("learning", '"sparse"'), Tick(end_ms)])
    return count, numbers


def _columns(
    registry: Registry, kind: str, t_ms: int, numbers: Mapping[str, int], said: Sequence[tuple[str, dict[str, float]]]
) -> Columns:
    """One instant of one kind as columns."""
    n = len(said)
    names = sorted({name for _, values in said for name in values})
    return Columns(
        kind=kind,
        row=np.array([registry.allocate(kind, device) for device, _ in said], np.int32),
        t=np.full(n, t_ms, np.int64),
        boot=np.full(n, BOOT, np.int64),
        seq=np.array([numbers[device] for device, _ in said], np.int64),
        arrived=np.full(n, t_ms + LATER_MS, np.int64),
        flags=np.zeros(n, np.uint8),
        values={name: np.array([values.get(name, np.nan) for _, values in said], np.float64) for name in names},
    )
