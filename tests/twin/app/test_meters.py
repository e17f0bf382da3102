"""/metrics is Prometheus text format 0.0.4, whatever the figures and labels are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from twin.app.heart import Pulse
from twin.app.meters import family, render
from twin.deliver.cases import Cases
from twin.query.desk import Account

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)\Z')
HEALTH = {
    "ready": True,
    "link": "drained",
    "journal": {"bytes": 5_000_000_123, "bound_bytes": 9, "full": "", "entries": 1},
    "store": {"name": 'odd "store"\\\n', "up": True, "behind": 3, "skipped": 5, "detail": ""},
    "disk": {"free_bytes": 12_345_678_901, "low": False},
}


@pytest.fixture
def text(tmp_path: Path) -> Iterator[str]:
    account = Account("", "", True, 0, 123_456_789, 2, 3, 4, 5, 6, 7, {"syntax": 8}, 0, 0, None)
    with closing(Cases(tmp_path / "cases.db")) as cases:
        yield render(account, HEALTH, Pulse(ticks=7, cpu_s=math.pi), cases, {"link": {"up": 1.0}})


def test_every_line_is_of_the_format(text: str) -> None:
    """Each family has its help and type once, before its samples; names, labels and values parse; no sample twice."""
    assert text.endswith("\n")
    typed: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in typed
            assert kind in ("counter", "gauge")
            typed[name] = kind
            continue
        found = SAMPLE.match(line)
        assert found, line
        assert found[1] in typed
        float(found[3])
        assert (found[1], found[2] or "") not in seen
        seen.add((found[1], found[2] or ""))
    assert all(name.endswith("_total") for name, kind in typed.items() if kind == "counter")


def test_figures_are_exact(text: str) -> None:
    """Counts are not rounded, however large; truth values are 0 and 1; odd labels are escaped."""
    assert 'citywhistle_readings_total{fate="received"} 123456789\n' in text
    assert "citywhistle_journal_bytes 5000000123\n" in text
    assert "citywhistle_disk_free_bytes 12345678901\n" in text
    assert "citywhistle_ready 1\n" in text
    assert 'citywhistle_rejected_total{reason="syntax"} 8\n' in text
    assert 'citywhistle_store_behind{store="odd \\"store\\"\\\\\\n"} 3\n' in text


def test_a_family_without_samples_is_said() -> None:
    """A family may have no sample yet; a value that is no number is written as the format wants it."""
    assert family("a", "gauge", "An a.", []) == ["# HELP a An a.", "# TYPE a gauge"]
    assert family("a", "gauge", "An a.", [({}, float("nan")), ({}, float("inf"))])[2:] == ["a NaN", "a +Inf"]
