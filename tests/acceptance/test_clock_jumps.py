"""The server's clock jumps, or the broker stands still with its connections open, while the city goes on as ever."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.test_crash import check_books, check_cases, check_replay, settle
from tests.acceptance.town import Town, town, wait_for
from twin.deliver.cases import Cases
from twin.journal import Journal
from twin.records import Tick

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
SPEED = 20.0
HOUR_S, TWO_DAYS_S = 3600 / SPEED, 2 * 86_400 / SPEED  # of the machine, by which city time jumps so far
SILENT = {"device_silent", "gateway_loss", "supply_lost", "feeder_trip", "cabinet_trip", "backhaul_down"}

FAULT = """
[[fault]]
type = "leakage"
subject = "pole-0100"
start_s = 2
duration_s = 1000000
magnitude = 2.0
"""


def lived(place: Town, readings: int = 3000) -> None:
    """Wait until the server has journalled so many more, and has ticked."""
    began, ticked = place.get("/api/accounting")["total"]["journalled"], place.get("/api/health")["tick"]["last"]

    def on() -> bool:
        total, health = place.get("/api/accounting")["total"], place.get("/api/health")
        return bool(total["journalled"] > began + readings and health["tick"]["last"] > ticked)

    wait_for(on, "the city goes on", 120)


def leaps(place: Town) -> list[int]:
    """City time in ms that each journalled mark says was leapt over."""
    found, after = [], 0
    with closing(Journal(place.data / "journal.db")) as journal:
        while entries := journal.read(after, 4096):
            after = entries[-1].n
            found += [entry.body.leap_ms for entry in entries if isinstance(entry.body, Tick)]
    return found


@pytest.mark.broker
@pytest.mark.acceptance
@pytest.mark.timeout(600)
@pytest.mark.skipif(FAKETIME is None, reason="no libfaketime here (apt-get install libfaketime)")
def test_jumps_of_the_clock_whistle_nobody_and_stop_nothing(tmp_path: Path) -> None:
    """No silence for everybody, no deadline twice, no reading refused or lost, and ticks go on after each jump."""
    offset = tmp_path / "offset"

    def jump(seconds: float) -> None:
        """The file is read by every clock call of every thread, one after the other, unless it is kept for a second."""
        aside = tmp_path / "offset.new"
        aside.write_text(f"{seconds:+.0f}\n", encoding="utf-8")
        aside.replace(offset)

    jump(0)
    with town(tmp_path, speed=SPEED) as place:
        place.env = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset),
                     "FAKETIME_CACHE_DURATION": "1", "DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
        place.start_server()
        (tmp_path / "faults.toml").write_text(FAULT, encoding="utf-8")
        place.start_fleet("--seed", "5", "--scenario", str(tmp_path / "faults.toml"))
        wait_for(lambda: [c for c in place.get("/api/cases") or [] if c["state"] == "dispatched"], "the whistle", 120)
        lived(place)
        for seconds in (HOUR_S, 0.0, -HOUR_S, TWO_DAYS_S, -TWO_DAYS_S, 0.0):
            jump(seconds)
            lived(place)  # some seconds in which it reads that file each second
        assert place.get("/api/accounting")["total"]["rejected"] == {}
        told = place.get("/api/cases?open_only=false&limit=200")
        assert not [case for case in told if case["type"] in SILENT], Counter(case["type"] for case in told)
        assert len(told) < 10, Counter(case["type"] for case in told)
        settle(place)
        assert check_books(place) > 0
        assert check_cases(place) > 0
        check_replay(place)
        assert len([ms for ms in leaps(place) if ms > 3_000_000]) >= 2, "the server has seen its clock jump ahead"
        with closing(Cases(place.data / "cases.db")) as cases:
            for case in cases.cases(open_only=False, limit=1000):
                levels = [step.evidence["level"] for step in cases.history(case.id) if step.event == "escalate"]
                assert len(levels) == len(set(levels)), f"{case.id} went up twice to one level: {levels}"


@pytest.mark.broker
@pytest.mark.acceptance
@pytest.mark.timeout(600)
def test_a_broker_that_stands_still_whistles_nobody(tmp_path: Path) -> None:
    """Nothing comes, but no connection ends either, for minutes of the city's time: no device is blamed for it."""
    with town(tmp_path, speed=SPEED) as place:
        place.start_server()
        place.start_fleet("--seed", "5", "--no-faults")
        wait_for(lambda: (place.get("/api/health") or {}).get("link") == "drained", "the link", 120)
        lived(place)
        assert place.broker.pid is not None

        def now_ms() -> int:
            return int(place.get("/api/city")["clock"]["city_ms"])

        os.kill(place.broker.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: place.get("/api/health")["link"] == "up", "the server notices", 120)
            until_ms = now_ms() + 300_000  # as long as a device may be silent, and more
            wait_for(lambda: now_ms() > until_ms, "five minutes of the city's", 120)
        finally:
            os.kill(place.broker.pid, signal.SIGCONT)
        wait_for(lambda: place.get("/api/health")["link"] == "drained", "the backlog is read", 120)
        lived(place)
        assert place.get("/api/accounting")["total"]["rejected"] == {}
        told = place.get("/api/cases?open_only=false&limit=200")
        assert not [case for case in told if case["type"] in SILENT], Counter(case["type"] for case in told)
        settle(place)
        assert check_books(place) > 0
