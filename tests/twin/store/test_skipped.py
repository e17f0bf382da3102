"""Entries that a store never saw are counted once, over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin.store.skipped import Skipped


def test_spans_count_once_and_stay(tmp_path: Path) -> None:
    """The same span again, and spans that overlap, count each entry once; a later process knows them."""
    path = tmp_path / "store" / "skipped.json"
    skipped = Skipped(path, "j")
    for after, until in ((0, 5), (0, 5), (3, 8), (20, 21)):
        skipped.add(after, until)
    assert skipped.count == 9
    again = Skipped(path, "j")
    assert again.count == 9
    again.add(0, 30)
    assert again.count == Skipped(path, "j").count == 30
    assert Skipped(path, "another journal").count == 0


@pytest.mark.parametrize("text", ["", "[]", '{"journal": "j"}', '{"journal": "j", "spans": [1]}'])
def test_a_damaged_file_is_said_and_put_aside(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is kept under another name, the log says so, and a new list begins."""
    (path := tmp_path / "skipped.json").write_text(text)
    assert Skipped(path, "j").count == 0
    assert (tmp_path / "skipped.json.damaged").read_text() == text
    assert "cannot be read" in caplog.text
