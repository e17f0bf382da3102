"""The gateway's own health, from /proc and /sys of Linux; what is not there is left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ROOT = Path("/")


class Health:
    """Reads load since the last look, memory and temperature. `root` is another place for proc and sys in tests."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._busy, self._all = self._ticks()

    def look(self) -> dict[str, float]:
        """cpuLoad (% since the last look), memoryUsed (%), temperature (degrees Celsius), as far as they are known."""
        told: dict[str, float] = {}
        busy, all_ = self._ticks()
        if all_ > self._all:
            told["cpuLoad"] = round(100 * max(0, busy - self._busy) / (all_ - self._all), 1)
        self._busy, self._all = busy, all_
        memory = self._memory()
        if memory.get("MemTotal") and "MemAvailable" in memory:
            told["memoryUsed"] = round(100 * (1 - memory["MemAvailable"] / memory["MemTotal"]), 1)
        heat = self._text("sys/class/thermal/thermal_zone0/temp").strip()
        if heat.lstrip("-").isdigit() and -60_000 <= int(heat) <= 150_000:
            told["temperature"] = int(heat) / 1000
        return told

    def _text(self, path: str) -> str:
        try:
            return (self._root / path).read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""

    def _ticks(self) -> tuple[int, int]:
        """(busy, all) ticks of all processors since the start of the machine."""
        words = self._text("proc/stat").split("\n", 1)[0].split()[1:9]
        if len(words) < 5 or not all(word.isdigit() for word in words):
            return 0, 0
        numbers = [int(word) for word in words]
        return sum(numbers) - numbers[3] - numbers[4], sum(numbers)  # idle and iowait are not busy

    def _memory(self) -> Mapping[str, int]:
        lines = (line.split() for line in self._text("proc/meminfo").splitlines())
        return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) >= 2 and words[1].isdigit()}


def resident_kb() -> int:
    """Resident memory of this process in kB; 0 where /proc does not tell."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = [line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:")]
    return int(found[0]) if found else 0
