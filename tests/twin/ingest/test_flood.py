"""How much one device may say: a flood is bounded and counted, a backlog of whatever order is not touched."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.twin.ingest.conftest import T0, columns_of, ids_of
from twin.ingest.flood import Flood
from twin.ingest.ledger import RUNS, Ledger
from twin.journal.codec import decode, encode
from twin.records import FLAG_NO_CLOCK, NOT_ACCOUNTABLE, Batch, Refused

pytestmark = pytest.mark.usefixtures("loops")

NOW = T0 + 30 * 86_400_000
HOUR_MS = 3_600_000
CADENCE_MS = 30_000  # of a pole
TIGHT = Flood(factor=100.0, burst=2000, slowest_ms=500)
BOUND = 2 * TIGHT.burst + 2  # of one moment: both buckets, and the reading that finds each just full


def say(
    ledger: Ledger, ts: Sequence[int], first: int = 1, *, row: int = 0, boot: int = 1, clock: bool = True,
    arrived: int = NOW, n: int = 1, at_once: int = 4000,
) -> list[Batch]:  # fmt: skip
    """A device's readings of these times, numbered on, in batches; as they were journalled."""
    journal = []
    for at in range(0, len(ts), at_once):
        some = list(ts[at : at + at_once])
        counted = boot != NOT_ACCOUNTABLE
        seqs = list(range(first + at, first + at + len(some))) if counted else [NOT_ACCOUNTABLE] * len(some)
        columns = replace(
            columns_of([row] * len(some), [boot] * len(some), seqs, some),
            arrived=np.full(len(some), arrived),
            flags=np.full(len(some), 0 if clock else FLAG_NO_CLOCK, np.uint8),
        )
        admitted = ledger.admit(Batch((columns,), messages=len(some)))
        ledger.commit(admitted, n)
        journal.append(decode(n, encode(admitted)).body)
        n += 1
    return journal


def backlog(hours: float, step_ms: int = CADENCE_MS) -> list[int]:
    """Event times of an outage that ends now."""
    return list(range(NOW - int(hours * HOUR_MS), NOW, step_ms))


def test_a_flood_is_bounded_counted_and_no_gap() -> None:
    """50,000 readings of one minute: a burst is in, the rest is rejected as flood; the mark is past all of them."""
    ledger = Ledger(TIGHT)
    say(ledger, [NOW + i for i in range(50_000)])
    tally = ledger.tally("pole", 0)
    assert TIGHT.burst < tally.journalled <= BOUND + 50_000 / 300
    assert tally.rejected == {"flood": 50_000 - tally.journalled}
    assert (tally.mark, tally.missing, tally.received) == (50_000, 0, 50_000)


def test_what_was_refused_comes_again_as_duplicate() -> None:
    """A sender that did not hear its mark sends again: nothing is counted twice."""
    ledger = Ledger(TIGHT)
    say(ledger, [NOW] * 10_000)
    before = ledger.tally("pole", 0)
    say(ledger, [NOW] * 10_000, n=10)
    after = ledger.tally("pole", 0)
    assert (after.rejected, after.journalled) == (before.rejected, before.journalled)
    assert after.duplicate == 10_000


def test_it_speaks_again_after_the_flood() -> None:
    """What a device says at its cadence after a flood is in, and so is what its neighbours say meanwhile."""
    ledger = Ledger(TIGHT)
    say(ledger, [NOW] * 10_000)
    say(ledger, [NOW] * 20, row=1, n=10)
    later = [NOW + HOUR_MS + i * CADENCE_MS for i in range(100)]
    say(ledger, later, first=10_001, arrived=later[-1], n=20)
    assert ledger.tally("pole", 0).rejected["flood"] == 10_000 - ledger.tally("pole", 0).journalled + 100
    assert ledger.tally("pole", 1).journalled == 20


@pytest.mark.parametrize("order", ["oldest first", "newest first", "live first", "any"])
@pytest.mark.parametrize("hours", [8, 24 * 28])
def test_a_backlog_is_no_flood(order: str, hours: int) -> None:
    """The readings of an outage of hours or weeks, at once, in whatever order they come: none is refused."""
    ledger, ts = Ledger(TIGHT), backlog(hours)
    if order == "newest first":
        ts.reverse()
    elif order == "live first":
        ts.insert(0, NOW)
    elif order == "any":
        random.Random(7).shuffle(ts)
    say(ledger, ts)
    assert ledger.tally("pole", 0).rejected == {}
    assert ledger.tally("pole", 0).journalled == len(ts)


def test_a_backlog_without_times_is_no_flood() -> None:
    """What the broker held for a week of a device that tells no time arrives in one moment, and is in."""
    ledger, ts = Ledger(TIGHT), [NOW] * len(backlog(7 * 24))
    say(ledger, ts, boot=NOT_ACCOUNTABLE, clock=False)
    assert ledger.tally("pole", 0).rejected == {}
    say(ledger, [NOW] * 50_000, boot=NOT_ACCOUNTABLE, clock=False, n=100)
    tally = ledger.tally("pole", 0)
    assert tally.rejected["flood"] > 40_000
    assert tally.received == len(ts) + 50_000 == tally.journalled + tally.rejected["flood"]


def test_clocks_that_stand_or_are_set_back_are_no_flood() -> None:
    """A device that speaks at its cadence is heard, whatever its clock says."""
    ledger = Ledger(TIGHT)
    for i in range(5000):
        say(ledger, [NOW], first=i + 1, arrived=NOW + i * CADENCE_MS, n=i + 1)
    assert ledger.tally("pole", 0).rejected == {}
    say(ledger, [NOW + 86_400_000], first=1, row=1, n=6000)
    for i in range(5000):
        arrived = NOW + i * CADENCE_MS
        say(ledger, [arrived], first=i + 2, row=1, arrived=arrived, n=6001 + i)
    assert ledger.tally("pole", 1).rejected == {}


def test_times_that_are_made_up_are_bounded_too() -> None:
    """Who spreads a flood over times long past fills the bucket of the backlog, not the journal."""
    bound = replace(TIGHT, backlog=5000)
    ledger = Ledger(bound)
    say(ledger, [NOW, *(NOW - 86_400_000 + i % 1000 for i in range(20_000))])
    tally = ledger.tally("pole", 0)
    assert tally.journalled <= bound.backlog + 2
    assert tally.rejected == {"flood": 20_001 - tally.journalled}


def test_each_speaks_by_its_own_cadence() -> None:
    """A device that is registered to speak ten times a second may; one of an hour's cadence may twice a second."""
    ledger = Ledger(TIGHT)
    ledger.pace(TIGHT, {"pole": np.array([0.1, 3600.0])})
    say(ledger, [NOW + i * 100 for i in range(30_000)], arrived=NOW + 3_000_000)
    say(ledger, [NOW + i * 500 for i in range(30_000)], row=1, arrived=NOW + 15_000_000, n=100)
    assert ledger.total().rejected == {}


def test_off() -> None:
    """A factor of 0 is no bound."""
    ledger = Ledger(Flood(factor=0))
    say(ledger, [NOW] * 50_000)
    assert ledger.tally("pole", 0).journalled == 50_000


def test_the_journal_gives_the_same_account() -> None:
    """Replayed from what was journalled, account and buckets are the same; a flood's entry is small."""
    ledger, again = Ledger(TIGHT), Ledger(TIGHT)
    journal = say(ledger, [NOW] * 40_000)
    for n, body in enumerate(journal, start=1):
        assert isinstance(body, Batch)
        again.commit(body, n)
    assert again.tally("pole", 0) == ledger.tally("pole", 0)
    assert again.mark("pole", 0, "p") == ledger.mark("pole", 0, "p")
    assert len(encode(journal[-1])) < 400
    say(ledger, [NOW] * 100, first=40_001, n=100)
    say(again, [NOW] * 100, first=40_001, n=100)
    assert again.tally("pole", 0) == ledger.tally("pole", 0)


def test_numbers_at_random_fill_no_entry() -> None:
    """A flood whose numbers jump: so many runs of them are remembered in an entry, all are counted."""
    ledger = Ledger(replace(TIGHT, burst=10))
    ids = [3 * i + 5 for i in range(9000)]
    columns = replace(columns_of([0] * 9000, [1] * 9000, ids, [NOW] * 9000), arrived=np.full(9000, NOW))
    admitted = ledger.admit(Batch((columns,), messages=9000))
    ledger.commit(admitted, 1)
    assert len(admitted.refused) == RUNS
    assert admitted.rejected["pole", 0, "flood"] + len(admitted) == 9000


def test_a_refused_reading_beside_a_flood_counts_once() -> None:
    """A number that is refused for its value and comes again in the same flood is a duplicate."""
    ledger = Ledger(replace(TIGHT, burst=1))
    columns = replace(columns_of([0] * 50, [1] * 50, list(range(1, 51)), [NOW] * 50), arrived=np.full(50, NOW))
    bad = Refused("pole", 0, 1, 50, "range")
    ledger.commit(ledger.admit(Batch((columns,), messages=51, refused=(bad,))), 1)
    tally = ledger.tally("pole", 0)
    assert (tally.received, tally.duplicate, tally.mark, tally.missing) == (51, 1, 50, 0)
    assert [ids_of(c) for c in ledger.admit(Batch((columns,), 50)).columns] == []
