"""The demo whose parts are killed in turn, and then all at once: the same city goes on, every reading accounted for."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.test_demo import SCENARIO, demo, said
from tests.acceptance.town import wait_for

LASTING = SCENARIO.replace("3600", "360000")
SPEED = ("--speed", "20")
PARTS = ("server", "fleet", "recording", "broker")


def parts(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The demo's children by their part; what has just been killed is left out."""
    found = {}
    for child in psutil.Process(process.pid).children():
        try:
            words = child.cmdline()
            alive = child.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            continue
        for part, mark in zip(PARTS, ("up", "run", "recording", "mosquitto.conf"), strict=True):
            if alive and any(word == mark or word.endswith("/" + mark) for word in words):
                found[part] = child
    return found


def kill_part(folder: Path, process: subprocess.Popen[str], part: str) -> None:
    """kill -9 one part, and wait until the demo has another one running."""
    old = parts(process)[part]
    old.kill()

    def another() -> bool:
        assert process.poll() is None, said(folder)
        new = parts(process).get(part)
        return new is not None and new.pid != old.pid

    wait_for(another, f"another {part} after {old.pid}", 120)


def kill_all(process: subprocess.Popen[str]) -> None:
    """kill -9 everything: the demo is stopped first, so that it starts nothing again."""
    process.send_signal(signal.SIGSTOP)
    children = psutil.Process(process.pid).children(recursive=True)
    for child in children:
        child.kill()
    process.kill()
    process.wait()
    psutil.wait_procs(children, 30)


def report(folder: Path, name: str, *more: str) -> dict[str, Any]:
    """Run the demo to its end for its report."""
    process = demo(folder, "--report", str(folder / name), *SPEED, *more, scenario=LASTING)
    try:
        assert process.wait(240) == 0, said(folder)
    finally:
        process.kill()
        process.wait()
    told: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return told


@pytest.mark.acceptance
@pytest.mark.broker
@pytest.mark.timeout(900)
def test_a_demo_killed_in_parts_and_whole_goes_on_with_the_same_city(tmp_path: Path) -> None:
    """Server, fleet, recording and broker die by kill -9 in turn, then everything: same cases, nothing unaccounted."""
    before = report(tmp_path, "before.json", "--duration", "12")
    assert before["whistles"], "the scenario's faults are whistled"
    process = demo(tmp_path, *SPEED, scenario=LASTING)
    try:
        wait_for(lambda: said(tmp_path).count(" ready ") == 2, "the demo goes on", 180)
        for part in PARTS:
            kill_part(tmp_path, process, part)
        kill_all(process)
    finally:
        process.kill()
        process.wait()
    after = report(tmp_path, "after.json", "--duration", "8")
    books = after["accounting"]
    assert books["unaccounted"] == books["missing"] == books["buffered"] == 0, books
    assert books["sent"] == books["stored"] + books["rejected"] > before["accounting"]["sent"]
    known = {case["id"]: (case["type"], case["device"], case["opened_at"]) for case in before["whistles"]}
    assert known.items() <= {c["id"]: (c["type"], c["device"], c["opened_at"]) for c in after["whistles"]}.items()
    delivered = {one["key"] for case in before["whistles"] for one in case["delivered"]}
    assert delivered <= {one["key"] for case in after["whistles"] for one in case["delivered"]}
    labels = [case["type"] for case in after["whistles"] if case["injected"] == "leakage:pole-0100"]
    assert labels == ["leakage"], "one case of one fault, however often everything died"
