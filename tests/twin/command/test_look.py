"""How `citywhistle account` writes what the API tells."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from twin.command.look import account_table


def test_names_and_figures_are_whole_in_a_narrow_terminal() -> None:
    """On 80 columns a name stands in one piece, and of a large figure no digit is lost."""
    row: dict[str, Any] = dict.fromkeys(("received", "journalled", "stored", "duplicate", "late", "out_of_order"), 78)
    reasons = {"syntax": 3, "shape": 2, "envelope": 2, "device": 1, "range": 1}
    row |= {"accountable": True, "missing": 2**53 - 1, "rejected": reasons}
    sink = io.StringIO()
    told = [row | {"device": "cell-0001"}, row | {"device": "cell-0002", "accountable": False}]
    Console(file=sink, width=80, color_system=None).print(account_table(told))
    written = sink.getvalue()
    assert "cell-0001" in written
    assert "cell-0002" in written
    assert "…" not in written
