"""The gateway's own health, from a /proc and /sys of our own making."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.envelope import read_value
from devices.kinds.gateway import GATEWAY
from edge.health import Health, resident_kb


def write(root: Path, stat: str) -> None:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(stat + "\ncpu0 1 2 3\n", encoding="ascii")
    (root / "proc/meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n", encoding="ascii")
    zone = root / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "temp").write_text("48312\n", encoding="ascii")


def test_load_is_what_was_busy_since_the_last_look(tmp_path: Path) -> None:
    """Idle and waiting for the disk are not busy."""
    write(tmp_path, "cpu  100 0 100 700 100 0 0 0 0 0")
    health = Health(tmp_path)
    write(tmp_path, "cpu  110 0 110 750 130 0 0 0 0 0")
    assert health.look() == {"cpuLoad": 20.0, "memoryUsed": 75.0, "temperature": 48.312}


def test_a_machine_without_these_files_says_nothing(tmp_path: Path) -> None:
    """What is not there is left out; nothing is made up."""
    assert Health(tmp_path).look() == {}


@pytest.mark.parametrize("junk", ["", "cpu", "cpu a b c d e", "\0"])
def test_junk_is_left_out(tmp_path: Path, junk: str) -> None:
    """A file that is not what it should be is as none."""
    write(tmp_path, junk)
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").write_text("hot", encoding="ascii")
    (tmp_path / "proc/meminfo").write_text("MemTotal: many\n", encoding="ascii")
    assert Health(tmp_path).look() == {}


def test_this_machine_tells_what_a_gateway_may_say() -> None:
    """Whatever it finds here is within the kind's limits."""
    told = Health().look()
    assert "memoryUsed" in told
    for name, value in told.items():
        assert read_value(GATEWAY.quantity(name), value) == value
    assert resident_kb() > 1000
