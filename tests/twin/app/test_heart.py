"""The heartbeat: marks, changes recorded once, refusals waited out, replays cut where the original was cut."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests.twin.app.parts import Notebook, Place, action
from tests.twin.ingest.conftest import until
from tests.twin.tick.town import NIGHT_MS
from twin.app import heart as room
from twin.errors import JournalFull
from twin.records import Changes, Tick
from twin.tick import World
from twin.tick.checkpoint import encode


def refusing() -> OperationalError:
    return OperationalError("INSERT", {}, Exception("database or disk is full"))


def test_a_beat_is_a_mark_and_its_tick(place: Place) -> None:
    """Each beat journals one mark and runs the tick over everything before it, under the mark's own number."""
    heart = place.open()
    place.journal.append([action("a"), action("b")])
    assert heart.beat()
    place.clock.city_ms += 1000
    assert heart.beat()
    assert [(n, now) for n, now, _ in place.ticks] == [(3, NIGHT_MS), (4, NIGHT_MS + 1000)]
    assert [len(ticked.changes.cases) for _, _, ticked in place.ticks] == [2, 0]
    assert [entry.body for entry in place.journal.read(2, 9)] == [Tick(NIGHT_MS), Tick(NIGHT_MS + 1000)]
    assert (heart.pulse.last_tick, heart.world.last_tick, heart.ticked) == (4, 4, 4)
    assert len(place.cases.cases()) == 2


def test_city_time_never_goes_back(place: Place) -> None:
    """A clock that is set back gives marks that still grow, a millisecond each, until it has caught up."""
    heart = place.open()
    heart.beat()
    place.clock.city_ms -= 60_000
    heart.beat()
    heart.beat()
    place.clock.city_ms = NIGHT_MS + 5
    heart.beat()
    assert [now - NIGHT_MS for _, now, _ in place.ticks] == [0, 1, 2, 5]


def test_a_full_journal_stalls_and_then_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for a mark nothing is ticked and health says why; with room the next beat takes what waited."""
    heart = place.open()
    place.journal.append([action("a")])

    def full(_bodies: object) -> int:
        raise JournalFull("the disk below the journal is full")

    with monkeypatch.context() as patched:
        patched.setattr(place.journal, "append", full)
        assert not heart.beat()
        assert "disk" in heart.pulse.stalled
        assert place.ticks == []
    assert heart.beat()
    assert heart.pulse.stalled == ""
    assert len(place.cases.cases()) == 1


def test_a_refusing_case_database_is_waited_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the case database refuses, the tick waits and says so; then its changes are recorded, once."""
    monkeypatch.setattr(room, "RETRY_S", 0.01)
    heart = place.open()
    place.journal.append([action("a")])
    refuse, record = threading.Event(), place.cases.record
    refuse.set()

    def sometimes(n: int, changes: Changes) -> bool:
        if refuse.is_set():
            raise refusing()
        return record(n, changes)

    monkeypatch.setattr(place.cases, "record", sometimes)
    beating = threading.Thread(target=heart.beat)
    beating.start()
    until(lambda: "case database" in heart.pulse.stalled, "the stall is shown")
    assert heart.unrecorded
    assert place.ticks == []
    refuse.clear()
    beating.join(10)
    assert (heart.pulse.stalled, heart.unrecorded, len(place.cases.cases())) == ("", False, 1)


def test_stopped_while_refused_the_next_start_records_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to stop while the case database refuses, the heart ends without a fault; its world, which has seen what
    nobody recorded, is marked, and a replay from nothing records the case."""
    monkeypatch.setattr(room, "RETRY_S", 0.01)
    heart = place.open()
    place.journal.append([action("a")])

    def never(_n: int, _changes: Changes) -> bool:
        raise refusing()

    with monkeypatch.context() as patched:
        patched.setattr(place.cases, "record", never)
        running = threading.Thread(target=heart.run)
        running.start()
        until(lambda: heart.pulse.stalled, "the stall is shown")
        heart.stop()
        running.join(10)
    assert not running.is_alive()
    assert heart.unrecorded
    place.close()
    again = place.open()
    assert again.replay() == 1
    assert [case.key for case in place.cases.cases()] == ["a"]


def test_what_waits_for_a_mark_is_not_ticked(place: Place) -> None:
    """Entries behind the last mark belong to the next tick: a checkpoint stands before them."""
    heart = place.open()
    place.journal.append([action("a")])
    heart.beat()
    place.journal.append([action("b"), action("c")])
    place.close()
    again = place.open()
    again.replay()
    assert (again.position, again.ticked) == (4, 2)
    again.beat()
    assert again.ticked == 5
    assert [case.key for case in place.cases.cases()] == ["c", "b", "a"]


def test_a_replay_cuts_where_the_original_cut(place: Place) -> None:
    """From nothing, and from a checkpoint in the middle, a replay gives the same ticks, the same changes and the same
    world; nothing of it is recorded twice and no difference is found."""
    heart = place.open()
    middle: tuple[int, bytes] = (0, b"")
    for i in range(12):
        place.journal.append([action(f"a{i}-{k}") for k in range(i % 3)])
        place.clock.city_ms += 700 + i
        heart.beat()
        if i == 5:
            middle = (heart.ticked, encode(heart.world.snapshot()))
    original = [(n, now, ticked.changes) for n, now, ticked in place.ticks]
    after, recorded = encode(heart.world.snapshot()), place.cases.verify()
    place.close()

    def replay(world: World | None, position: int) -> Sequence[Any]:
        place.ticks.clear()
        again = place.open(world=world, position=position)
        again.replay()
        assert encode(again.world.snapshot()) == after
        assert place.cases.verify() == recorded
        assert place.cases.differences == 0
        place.close()
        return [(n, now, ticked.changes) for n, now, ticked in place.ticks]

    assert replay(None, 0) == original
    n, data = middle
    assert replay(World.load(data, place.city(), Notebook()), n) == [told for told in original if told[0] > n]


def test_it_ticks_soon_when_nudged_and_once_more_at_the_end(place: Place) -> None:
    """An event does not wait for the interval, and what came just before the end is ticked."""
    heart = place.open()
    heart.interval_s = 3600.0
    running = threading.Thread(target=heart.run)
    running.start()
    until(lambda: place.ticks, "the first beat")
    place.journal.append([action("soon")])
    heart.nudge()
    until(lambda: len(place.cases.cases()) == 1, "the nudged beat")
    place.journal.append([action("last")])
    heart.stop()
    running.join(10)
    assert [case.key for case in place.cases.cases()] == ["last", "soon"]
