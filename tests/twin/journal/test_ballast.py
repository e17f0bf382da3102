"""The reserve on disk, where the disk does not do what it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin.journal.ballast import Ballast


def test_held_given_up_and_held_again(tmp_path: Path) -> None:
    """The space is really taken, and really given back."""
    path = tmp_path / "reserve"
    ballast = Ballast(path, 100_000)
    assert not ballast.held
    assert ballast.hold()
    assert path.stat().st_blocks * 512 >= 100_000
    assert ballast.drop()
    assert not path.exists()
    assert ballast.drop()
    assert ballast.hold()


def test_a_disk_that_lets_nothing_go_is_no_error_of_another_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What stands in its place can be neither removed nor opened: said, and the journal's own error counts."""
    (tmp_path / "reserve" / "something").mkdir(parents=True)
    ballast = Ballast(tmp_path / "reserve", 1 << 40)
    assert not ballast.drop()
    assert not ballast.hold()
    assert "cannot be given up" in caplog.text
    assert "no space can be held" in caplog.text
