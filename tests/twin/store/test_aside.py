"""The count of what a server refused: right whenever the process ends, and a damaged file stops nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin.store.aside import COUNT, Aside

LINE = b"pole,device=pole-0 lag=40,voltage=1.0 1"


def settled(folder: Path, entry: int, lines: int = 1) -> Aside:
    """A count to which a lot up to `entry` was written, before its position was."""
    aside = Aside(folder)
    aside.begin()
    aside.keep(b"\n".join([LINE] * lines), "why")
    aside.settle(entry)
    return aside


def test_a_lot_counts_once_wherever_the_process_ends(tmp_path: Path) -> None:
    """Ended before the position was written: it is sent and refused again, and counts once; ended after it: once."""
    settled(tmp_path, 5, lines=3)
    again = Aside(tmp_path)
    again.stand_at(2)
    assert again.refusals.total == 0
    again = settled(tmp_path, 7, lines=4)
    again = Aside(tmp_path)
    again.stand_at(7)
    assert (again.refusals.total, again.refusals.of("pole", "pole-0")) == (4, 4)


def test_what_is_sent_again_counts_as_it_is_refused_then(tmp_path: Path) -> None:
    """A lot whose position was not reached is sent again and taken: nothing of it counts, after a restart either."""
    aside = settled(tmp_path, 5)
    aside.stand_at(2)
    aside.begin()
    aside.settle(5)
    aside.stand_at(5)
    again = Aside(tmp_path)
    again.stand_at(5)
    assert again.refusals.total == 0


def test_a_new_bucket_begins_a_new_count(tmp_path: Path) -> None:
    """A bucket without a position is sent everything again, and refuses it again: it counts once."""
    settled(tmp_path, 5, lines=3).stand_at(5)
    aside = Aside(tmp_path)
    aside.stand_at(5)
    aside.stand_at(0)
    assert aside.refusals.total == 0
    aside.keep(b"\n".join([LINE] * 3), "why")
    aside.settle(5)
    aside.stand_at(5)
    again = Aside(tmp_path)
    again.stand_at(5)
    assert (aside.refusals.total, again.refusals.total) == (3, 3)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sure": 1}', '{"sure": {"a": "b"}, "lot": {}, "to": 0}'])
def test_a_damaged_count_is_said_and_put_aside(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is kept under another name, the log says so, and counting begins anew."""
    (tmp_path / COUNT).write_text(text)
    assert Aside(tmp_path).refusals.total == 0
    assert (tmp_path / f"{COUNT}.damaged").read_text() == text
    assert "cannot be read" in caplog.text
    settled(tmp_path, 1)
    assert Aside(tmp_path).refusals.total == 1
