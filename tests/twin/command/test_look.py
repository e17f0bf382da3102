"""How `citywhistle account` writes what the API tells."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from twin.command.look import account_table


def test_names_and_figures_are_whole_in_a_narrow_terminal() -> None:
    """On 80 columns a name stands in one piece, and of a large figure no digit is lost."""
    row: dict[str, Any] = dict.fromkeys(("received", "journalled", "stored", "duplicate", "late", "out_of_order"), 78)
    row["unstorable"] = 0
    reasons = {"syntax": 3, "shape": 2, "envelope": 2, "device": 1, "range": 1}
    row |= {"accountable": True, "missing": 2**53 - 1, "rejected": reasons}
    sink = io.StringIO()
    told = [row | {"device": "cell-0001"}, row | {"device": "cell-0002", "accountable": False}]
    Console(file=sink, width=80, color_system=None).print(account_table(told))
    written = sink.getvalue()
    assert "cell-0001" in written
    assert "cell-0002" in written
    assert "…" not in written
    assert "n/a: not accountable" in written
    assert "refused by" not in written


def test_what_the_store_refused_has_a_column_where_there_is_any() -> None:
    """A store's refusals stand beside what it keeps; a column of noughts does not."""
    fates = ("received", "journalled", "stored", "duplicate", "late", "out_of_order", "missing")
    row: dict[str, Any] = dict.fromkeys(fates, 1) | {"accountable": True, "rejected": {}, "device": "cell-0001"}
    sink = io.StringIO()
    Console(file=sink, width=200, color_system=None).print(account_table([row | {"unstorable": 4711}]))
    assert "refused by the store" in sink.getvalue()
    assert "4711" in sink.getvalue()
