"""How a benchmark reports: a table for people, one JSON object as the last line, and a file in bench/results/."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Bar:
    """One measured value against its goal. `better`: whether higher or lower values are better."""

    value: float
    goal: float
    unit: str
    better: Literal["higher", "lower"] = "higher"

    @property
    def ok(self) -> bool:
        """Whether the goal is reached. A value that could not be measured (NaN) reaches none."""
        if math.isnan(self.value):
            return False
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def report(
    name: str,
    bars: Mapping[str, Bar],
    peers: Mapping[str, Any] | None = None,
    *,
    notes: Sequence[str] = (),
    results: Path | None = None,
) -> dict[str, Any]:
    """Print the table, then the JSON object as the last line; write it to bench/results/NAME.json; return it.

    `peers`: what others do with the same work, by name, any JSON. `notes`: scale and circumstances, kept in the result.
    """
    outcome: dict[str, Any] = {
        "bench": name,
        "bars": {
            bar: {
                "value": None if math.isnan(b.value) else round(b.value, 6),
                "goal": b.goal,
                "unit": b.unit,
                "ok": b.ok,
                "better": b.better,
            }
            for bar, b in bars.items()
        },
        "peers": dict(peers or {}),
        "notes": list(notes),
        "machine": machine(),
    }
    for line in (*table(bars), *_peer_lines(outcome["peers"]), *notes):
        print(line)
    folder = results or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(outcome, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(outcome, ensure_ascii=False, separators=(",", ":")), flush=True)
    return outcome


def table(bars: Mapping[str, Bar]) -> list[str]:
    """The bars as aligned lines of text."""
    rows = [("bar", "value", "goal", "unit", "")]
    for name, bar in bars.items():
        sign = ">=" if bar.better == "higher" else "<="
        rows.append((name, _number(bar.value), f"{sign} {_number(bar.goal)}", bar.unit, "ok" if bar.ok else "MISSED"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return [
        f"{r[0]:<{widths[0]}}  {r[1]:>{widths[1]}}  {r[2]:>{widths[2]}}  {r[3]:<{widths[3]}}  {r[4]}".rstrip()
        for r in rows
    ]


def machine() -> dict[str, Any]:
    """The machine that it ran on: processor, cores, memory, kernel, Python. No names."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                model = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(x, 2) for x in os.getloadavg()],
    }


def _peer_lines(peers: Mapping[str, Any]) -> list[str]:
    width = max((len(name) for name in peers), default=0)
    return [f"{name:<{width}}  {json.dumps(value, ensure_ascii=False)}" for name, value in peers.items()]


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
