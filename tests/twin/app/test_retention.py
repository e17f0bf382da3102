"""Retention by the city's clock: at night, once, also after the server was away; counted, and in the audit book."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from twin.access import Access
from twin.app.privacy import retention_of
from twin.app.retention import Class, Night, due, forget_files
from twin.deliver.cases import Cases
from twin.errors import SettingsError
from twin.settings import RetentionSettings, Settings

SHANGHAI = ZoneInfo("Asia/Shanghai")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def at(day: int, hour: int, minute: int = 0) -> int:
    """An instant of June 2026 in Shanghai."""
    return int(datetime(2026, 6, day, hour, minute, tzinfo=SHANGHAI).astimezone(UTC).timestamp() * 1000)


@pytest.mark.parametrize(("now", "last", "expected"), [
    (at(2, 3), at(1, 3), True), (at(2, 2, 59), at(1, 3), False), (at(2, 5, 59), at(1, 3), True),
    (at(2, 6), at(1, 3), False), (at(2, 4), at(2, 3), False), (at(2, 16), at(1, 3), True), (at(2, 12), 0, True),
    (at(2, 14), at(1, 3), False),
])  # fmt: skip
def test_when_it_is_due(now: int, last: int, expected: bool) -> None:
    """Between 3 and 6 in the city's zone, once a night; by day only when more than 36 hours have passed."""
    assert due(now, last, SHANGHAI, 3) is expected


def test_a_moved_clock_carries_it_out(tmp_path: Path) -> None:
    """Forty nights by a turned clock: each class loses what is older than its days, counted, and the book says so."""
    clock = [at(1, 12)]
    access = Access(tmp_path / "users.db", now_s=lambda: clock[0] / 1000)
    held = {"messages": [at(1, 10)], "cases": [at(1, 10)]}

    def forget(name: str) -> object:
        def work(before_ms: int) -> int:
            old = [one for one in held[name] if one < before_ms][:1]  # some at a time
            held[name] = [one for one in held[name] if one not in old]
            return len(old)

        return work

    def reveals(before_ms: int) -> int:
        return access.shorten("reveals", before_ms)

    classes = [Class("messages", 10, forget("messages")), Class("cases", 0, forget("cases")),
               Class("reveals", 5, reveals, city=False)]  # type: ignore[arg-type]  # fmt: skip
    night = Night(classes, access, lambda: clock[0], lambda: clock[0], SHANGHAI, 3)
    assert night.look()
    assert not night.look()
    ran = 0
    for _ in range(40 * 8):
        clock[0] += 3 * HOUR_MS
        access.record("reveals", "mei", "revealed plate", "truck-1", "a reason")
        held["messages"].append(clock[0])
        ran += night.look()
    assert ran == 40
    assert held["cases"] == [at(1, 10)]  # 0 days: for ever
    assert all(clock[0] - one <= 11 * DAY_MS for one in held["messages"])
    assert len(held["messages"]) + night.removed["messages"] == 321
    entries = access.entries("reveals", limit=1000)
    assert all(clock[0] - one.at_ms <= 6 * DAY_MS for one in entries)
    assert len(entries) + night.removed["reveals"] == 320
    assert access.verify("reveals").ok
    assert access.verify("audit").ok
    said = [one.detail for one in access.entries("audit", limit=1000) if one.event == "retention"]
    assert "messages" in said[0]
    assert "reveals" in said[0]
    access.close()


def test_it_remembers_over_a_restart(tmp_path: Path) -> None:
    """A server that is started again in the same night does not do it twice."""
    for ran in (True, False):
        access = Access(tmp_path / "users.db")
        night = Night([], access, lambda: at(2, 3, 30), lambda: 0, SHANGHAI, 3)
        assert night.look() is ran
        access.close()


def test_files(tmp_path: Path) -> None:
    """Old files go, young ones and what a link points to stay."""
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    old, young, outside = folder / "a" / "old.jpg", folder / "young.jpg", tmp_path / "outside.jpg"
    for path in (old, young, outside):
        path.write_bytes(b"x")
    (folder / "link.jpg").symlink_to(outside)
    os.utime(old, (1, 1))
    os.utime(outside, (1, 1))
    assert forget_files(folder, 10_000_000) == 1
    assert (old.exists(), young.exists(), outside.exists()) == (False, True, True)
    assert forget_files(tmp_path / "none", 1) == 0


def test_what_is_too_short_is_refused(tmp_path: Path) -> None:
    """Messages whose links are still answered, and cases that may still be reopened, are not taken out."""
    access, cases = Access(tmp_path / "users.db"), Cases(tmp_path / "cases.db")
    for short in (RetentionSettings(messages_days=5), RetentionSettings(cases_days=10)):
        with pytest.raises(SettingsError, match="give at least"):
            retention_of(Settings(str(tmp_path), retention=short), "UTC", lambda: 0, access, cases)
    night = retention_of(Settings(str(tmp_path)), "UTC", lambda: at(1, 1), access, cases)
    assert night.look()
    assert set(night.removed) == {"messages", "photos", "cases", "reveals", "audit", "tokens"}
    cases.close()
    access.close()
