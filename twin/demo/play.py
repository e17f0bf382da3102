"""One demo from start to end: start the stage, run it, drain it, write the report, stop everything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from rich.console import Console

from devices.envelope import decode_mark
from devices.errors import DeviceError
from devices.keep import Kept, read_kept
from devices.log import read_log
from devices.records import Mark
from twin.demo.report import Buffered, accounting, read_labels, whistles, with_senders
from twin.demo.scene import DemoFailed, Scene, alone
from twin.demo.stage import Stage, Wishes

MOST_CASES = 1000
MOST_LOOKS = 10  # at totals that go on moving
PAGE = 1000


def play(root: Path, wishes: Wishes, console: Console, *, fresh: bool, want_report: bool) -> dict[str, Any]:
    """Run a demo in `root`; the report, empty unless it is wanted. Raises DemoFailed."""
    scene = Scene(root)
    with alone(scene):
        if fresh:
            for child in root.iterdir():
                if child.name != "demo.lock":
                    shutil.rmtree(child) if child.is_dir() else child.unlink()
        stage = Stage(scene, wishes, console)
        stage.heed_signals()
        try:
            stage.start()
            stage.run()
            stage.drain()
            return summary(stage) if want_report else {}
        except DemoFailed:
            if stage.stopping.is_set():
                return {}
            raise
        finally:
            stage.stop()


def sent_by_logs(folder: Path) -> tuple[int, int]:
    """(sent, dropped) over all senders' own logs of a demo. Raises DemoFailed for one that cannot be read."""
    sent = dropped = 0
    for path in sorted(folder.rglob("*.sent.jsonl")):
        try:
            log = read_log(path)
        except DeviceError as error:
            raise DemoFailed(str(error)) from error
        for boots in log.values():
            sent += sum(one.count for one in boots.values())
            dropped += sum(one.dropped for one in boots.values())
    return sent, dropped


def kept_by_senders(folder: Path) -> dict[str, Kept]:
    """What all senders of a demo, ended by now, keep on disk. Raises DemoFailed for a file that cannot be read."""
    kept: dict[str, Kept] = {}
    for path in sorted(folder.rglob("*.sent.kept")):
        try:
            for device, one in read_kept(path).items():
                mine = kept.setdefault(device, Kept())
                mine.held |= one.held
                mine.waiting += one.waiting
        except DeviceError as error:
            raise DemoFailed(str(error)) from error
    return kept


def books(stage: Stage) -> tuple[dict[str, Any], Buffered]:
    """The server's total, and what is with the senders alone, at one moment: between two totals that agree."""
    kept = kept_by_senders(stage.scene.senders)
    for _ in range(MOST_LOOKS):
        before = stage.ask("/api/accounting")
        marks = _marks(stage, kept.keys())
        after = stage.ask("/api/accounting")
        if before is None or after is None:
            raise _mute(stage)
        if before["total"] == after["total"]:
            break
    return dict(after["total"]), with_senders(kept, marks)


def _marks(stage: Stage, wanted: AbstractSet[str]) -> dict[str, Mark]:
    """What the server has of these devices."""
    marks: dict[str, Mark] = {}
    after = ""
    while wanted and (told := stage.ask("/api/accounting", after=after, limit=PAGE)) and told["devices"]:
        after = told["devices"][-1]["device"]
        for one in told["devices"]:
            if one["device"] in wanted and one["mark"] is not None:
                marks[one["device"]] = decode_mark(one["device"], json.dumps(one["mark"]).encode())
    return marks


def _mute(stage: Stage) -> DemoFailed:
    return DemoFailed("the server does not answer, so there is no report; see " + str(stage.scene.logs))


def summary(stage: Stage) -> dict[str, Any]:
    """The report of a drained stage."""
    account, buffered = books(stage)
    cases = stage.ask("/api/cases", open_only=False, limit=MOST_CASES)
    if cases is None:
        raise _mute(stage)
    deliveries = {case["id"]: stage.ask(f"/api/cases/{case['id']}/deliveries") or [] for case in cases}
    sent, dropped = sent_by_logs(stage.scene.senders)
    assert stage.city is not None
    return {
        "seed": stage.wishes.seed,
        "ready_s": round(stage.ready_s, 2),
        "ready_at": stage.ready_ms,
        "ran_s": round(stage.ran_s, 1),
        "devices": len(stage.city.devices),
        "accounting": accounting(sent, dropped, buffered, account),
        "whistles": whistles(cases, deliveries, read_labels(stage.scene.truth), stage.in_city),
        "rates": stage.rates(),
        "memory_mb": stage.memory_mb(),
        "cpu_s": stage.cpu_s(),
        "restarts": {name: child.restarts for name, child in stage.children.items()},
    }
