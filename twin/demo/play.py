"""One demo from start to end: start the stage, run it, drain it, write the report, stop everything."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from devices.errors import DeviceError
from devices.log import read_log
from twin.demo.report import accounting, read_labels, whistles
from twin.demo.scene import DemoFailed, Scene, alone
from twin.demo.stage import SENDING, Stage, Wishes

MOST_CASES = 1000


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


def summary(stage: Stage) -> dict[str, Any]:
    """The report of a drained stage."""
    account = (stage.ask("/api/accounting") or {}).get("total")
    cases = stage.ask("/api/cases", open_only=False, limit=MOST_CASES)
    if account is None or cases is None:
        raise DemoFailed("the server does not answer, so there is no report; see " + str(stage.scene.logs))
    deliveries = {case["id"]: stage.ask(f"/api/cases/{case['id']}/deliveries") or [] for case in cases}
    sent, dropped = sent_by_logs(stage.scene.senders)
    words = [stage.last_word(name) for name in SENDING]
    buffered = sum(int(word.get("published", word.get("sent", 0))) - int(word.get("covered", 0)) for word in words)
    waiting = sum(int(word.get("buffered", 0)) for word in words) - buffered  # never published: a device that is down
    assert stage.city is not None
    return {
        "seed": stage.wishes.seed,
        "ready_s": round(stage.ready_s, 2),
        "ready_at": stage.ready_ms,
        "ran_s": round(stage.ran_s, 1),
        "devices": len(stage.city.devices),
        "accounting": accounting(sent, buffered, account, {"dropped": dropped, "waiting": waiting}),
        "whistles": whistles(cases, deliveries, read_labels(stage.scene.truth), stage.in_city),
        "rates": stage.rates(),
        "memory_mb": stage.memory_mb(),
        "cpu_s": stage.cpu_s(),
        "restarts": {name: child.restarts for name, child in stage.children.items()},
    }
