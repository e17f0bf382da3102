"""The counter where actions of people wait: answered after their tick, never before."""

from __future__ import annotations

import pytest

from tests.twin.app.parts import Place, action
from twin.app.actions import Counter
from twin.errors import IllegalStep, JournalFull, TwinError


def test_an_action_is_answered_after_its_tick(place: Place) -> None:
    """The future is done when a tick behind the action's entry is recorded; refused ones raise what to do instead."""
    heart = place.open()
    nudged: list[int] = []
    counter = Counter(place.journal.append, lambda: nudged.append(1))
    heart.after = lambda ticked, n, _now: counter.settle(n, ticked.changes.refused)
    good, bad = counter.hand_in(action("a")), counter.hand_in(action("b", reason=""))
    assert not good.done()
    assert len(nudged) == 2
    counter.settle(1, [])
    assert not good.done()
    heart.beat()
    assert good.result(0) is None
    with pytest.raises(IllegalStep, match="give a reason"):
        bad.result(0)
    late = counter.hand_in(action("c"))
    counter.settle(heart.pulse.last_tick, [("c", "not this tick's")])
    assert not late.done()


def test_without_room_nothing_is_done(place: Place) -> None:
    """JournalFull reaches the caller, and nobody is left waiting."""

    def full(_bodies: object) -> int:
        raise JournalFull("no room")

    counter = Counter(full, lambda: pytest.fail("nothing was journalled, so nothing is nudged"))
    with pytest.raises(JournalFull):
        counter.hand_in(action("a"))
    counter.settle(10, [])


def test_who_waits_at_the_end_is_told(place: Place) -> None:
    """Closing answers everybody who waits; what was handed in is in the journal all the same."""
    place.open()
    counter = Counter(place.journal.append, lambda: None)
    waiting = counter.hand_in(action("a"))
    counter.close()
    with pytest.raises(TwinError, match="journalled"):
        waiting.result(0)
    assert place.journal.position == 1
