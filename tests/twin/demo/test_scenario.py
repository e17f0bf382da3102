"""A scenario that cannot be played is said before anything starts, with its line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("start_s", [-3600, 30])
def test_a_fault_that_cannot_befall_its_subject(tmp_path: Path, start_s: int) -> None:
    """Of the past or of the time to come: file, line, fault and reason; no traceback, and no history is made."""
    told = tmp_path / "faults.toml"
    told.write_text(f'[[fault]]\ntype = "lamp_out"\nstart_s = {start_s}\nsubject = "truck-001"\n', encoding="utf-8")
    home = tmp_path / "home"
    ran = subprocess.run(
        [sys.executable, "-m", "twin", "demo", "--port", "0", "--home", str(home), "--scenario", str(told)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "COLUMNS": "300"},
    )
    assert ran.returncode == 1
    assert f"{told}:4: lamp_out cannot befall 'truck-001': it needs a pole of this city" in ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    assert not list(home.glob("*/data/journal.db"))
