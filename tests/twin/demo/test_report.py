"""The demo's account: every reading stands once, whether the server has it, its sender, or both without knowing."""

from __future__ import annotations

from devices.keep import Kept
from devices.records import Mark
from twin.demo.report import Buffered, accounting, with_senders


def kept(*numbers: tuple[int, int]) -> Kept:
    return Kept({(boot, seq): (boot, seq, False, b"") for boot, seq in numbers})


def test_what_the_server_has_is_not_with_the_sender_as_well() -> None:
    """A gateway that is cut off cannot hear the marks: what they cover counts as stored alone."""
    marks = {"a": Mark("a", 8, 3, ((6, 7),), (Mark("a", 7, 90),))}
    told = with_senders({"a": kept((7, 90), (7, 91), (8, 3), (8, 4), (8, 6), (8, 8)), "b": kept((1, 1))}, marks)
    assert told == Buffered(sent=4, counted_missing=1, waiting=0)  # 7.91, 8.4 (a gap for the server), 8.8, b's


def test_the_law() -> None:
    """sent = stored + unstorable + rejected + buffered + missing; a gap that its sender still fills is not missing."""
    total = {"stored": 88, "unstorable": 2, "rejected": {"range": 3}, "duplicate": 5, "missing": 4}
    told = accounting(100, 2, Buffered(sent=4, counted_missing=1, waiting=9), total)
    assert (told["missing"], told["buffered"], told["rejected"], told["unaccounted"]) == (3, 4, 3, 0)
    assert told["senders"] == {"dropped": 2, "waiting": 9}
    assert accounting(101, 0, Buffered(4, 1, 0), total)["unaccounted"] == 1
