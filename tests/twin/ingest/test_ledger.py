"""The account against a naive model: random order, duplication, boots, batches; dumped and replayed at any point."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.envelope import decode_mark
from devices.records import Mark
from tests.twin.ingest.conftest import T0, columns_of, ids_of
from twin.ingest import native
from twin.ingest.flood import NO_FLOOD, Flood
from twin.ingest.ledger import Ledger
from twin.records import FLAG_LATE, FLAG_NO_CLOCK, NOT_ACCOUNTABLE, Batch, Refused

pytestmark = pytest.mark.usefixtures("loops")

Id = tuple[int, int, int, int]  # row, boot, seq, t


@dataclass
class Naive:
    """The same account by sets and loops."""

    seen: dict[tuple[int, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    order: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    newest: dict[int, int] = field(default_factory=dict)
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)

    def take(self, one: Id) -> bool:
        row, boot, seq, t = one
        if boot != NOT_ACCOUNTABLE:
            if seq in self.seen[row, boot]:
                self.counts["duplicate", row] += 1
                return False
            if self.seen[row, boot] and seq < max(self.seen[row, boot]):
                self.counts["out_of_order", row] += 1
            if boot not in self.order[row]:
                self.order[row].append(boot)
            self.seen[row, boot].add(seq)
        self.counts["journalled", row] += 1
        if t < self.newest.get(row, 0):
            self.counts["late", row] += 1
        self.newest[row] = max(t, self.newest.get(row, 0))
        return True

    def missing(self, row: int) -> int:
        return sum(
            sum(n not in seqs for n in range(min(1, *seqs, 1), max(seqs) + 1))
            for (of, _), seqs in self.seen.items()
            if of == row
        )


def batch_of(ids: Sequence[Id]) -> Batch:
    row, boot, seq, t = zip(*ids, strict=True)
    return Batch((columns_of(row, boot, seq, [T0 + x for x in t]),), messages=len(ids))


identity = st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 12), st.integers(0, 30)) | st.tuples(
    st.integers(0, 3), st.just(-1), st.just(-1), st.integers(0, 30)
)
batches = st.lists(st.lists(identity, min_size=1, max_size=12), min_size=1, max_size=8)


@given(batches)
@settings(max_examples=150)
def test_against_the_naive_model(stream: list[list[Id]]) -> None:
    """Every reading is accepted exactly when the model accepts it, and all counts agree."""
    ledger, naive = Ledger(), Naive()
    for n, ids in enumerate(stream, start=1):
        admitted = ledger.admit(batch_of(ids))
        kept = [key for c in admitted.columns for key in ids_of(c)]
        assert kept == [one[:3] for one in ids if naive.take(one)]
        ledger.commit(admitted, n)
    for row in range(4):
        tally = ledger.tally("pole", row)
        got = (tally.journalled, tally.duplicate, tally.late, tally.out_of_order, tally.missing)
        names = ("journalled", "duplicate", "late", "out_of_order")
        assert got == (*(naive.counts[name, row] for name in names), naive.missing(row))
        assert tally.received == tally.journalled + tally.duplicate
        assert tally.accountable == bool(naive.order[row])


@given(batches, st.integers(0, 8), st.sampled_from([NO_FLOOD, Flood(5000, 2, 3)]))
def test_replay_and_checkpoint_give_the_same(stream: list[list[Id]], cut: int, flood: Flood) -> None:
    """An account dumped in the middle and brought forward by the journal equals the one that went on."""
    ledger, journal = Ledger(flood), []
    dumped = ledger.dump()
    for n, ids in enumerate(stream, start=1):
        admitted = ledger.admit(batch_of(ids))
        journal.append((n, admitted))
        ledger.commit(admitted, n)
        if n == cut:
            dumped = ledger.dump()
    again = Ledger(flood)
    again.load(dumped)
    for n, batch in journal:
        again.commit(batch, n)  # those before the cut are passed over
    for row in range(4):
        assert again.tally("pole", row) == ledger.tally("pole", row)
    assert again.total() == ledger.total()
    next_batch = batch_of([(r, b, s, 0) for r in range(4) for b in (1, 2, 3) for s in range(1, 14)])
    assert [ids_of(c) for c in again.admit(next_batch).columns] == [ids_of(c) for c in ledger.admit(next_batch).columns]


step = st.tuples(
    st.integers(0, 70),  # row: beyond the room of a page at first
    st.sampled_from([1] * 12 + [0, 2, -1]),  # how far the number goes on
    st.sampled_from([0] * 20 + [1]),  # another boot
    st.sampled_from([5] * 12 + [0, -7]),  # event time goes on
    st.sampled_from([0] * 6 + [FLAG_NO_CLOCK, FLAG_LATE]),
)
hours = st.sampled_from([0] * 6 + [1, 2, -1])
steps = st.lists(st.tuples(st.lists(step, min_size=1, max_size=40), hours, st.booleans()), min_size=1, max_size=8)


bounds = st.sampled_from([NO_FLOOD, Flood(), Flood(30_000, 2, 3), Flood(10_000, 4, 1), Flood(6_000_000_000, 1, 1)])


@given(steps, bounds)
@settings(max_examples=200)
def test_both_loops_keep_one_account(
    compiled: Path, stream: list[tuple[list[tuple[int, ...]], int, bool]], flood: Flood
) -> None:
    """The loop in C and its double admit the same readings, and their accounts agree in every number."""
    libraries, before = (native.load(compiled), None), native.LIB
    ledgers = Ledger(flood), Ledger(flood)
    now: dict[int, list[int]] = {}
    hour = 0
    try:
        for n, (told, later, within) in enumerate(stream, start=1):
            hour += later
            ids, flags = [], []
            for row, seq_step, boot_step, t_step, flag in told:
                one = now.setdefault(row, [NOT_ACCOUNTABLE, NOT_ACCOUNTABLE, T0] if row % 5 == 4 else [1, 0, T0])
                one[2] += t_step
                if row % 5 != 4:
                    one[0], one[1] = one[0] + boot_step, max(0, one[1] + seq_step)
                ids.append((row, *one))
                flags.append(flag)
            row, boot, seq, t = zip(*ids, strict=True)
            arrived = np.full(len(ids), T0 + hour * 3_600_000)
            arrived[len(ids) // 2 :] += 3_600_000 if within else 1
            columns = replace(columns_of(row, boot, seq, list(t)), arrived=arrived, flags=np.array(flags, np.uint8))
            admitted = []
            for library, ledger in zip(libraries, ledgers, strict=True):
                native.LIB = library
                admitted.append(ledger.admit(Batch((columns,), messages=len(ids))))
                ledger.commit(admitted[-1], n)
            assert repr(admitted[0]) == repr(admitted[1])
            assert_same(ledgers[0].dump(), ledgers[1].dump())
            assert ledgers[0].marks() == ledgers[1].marks()
    finally:
        native.LIB = before


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Trees of mappings and arrays are equal."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, dict):
            assert_same(value, other[key])
        elif isinstance(value, np.ndarray):
            assert value.tolist() == other[key].tolist(), key
        else:
            assert value == other[key], key


def test_admit_changes_nothing() -> None:
    """A batch that the journal refused was never in the account: admitted again, it is as new."""
    ledger = Ledger()
    raw = batch_of([(0, 1, 1, 0), (0, 1, 1, 0), (0, 1, 2, 1)])
    first = ledger.admit(raw)
    second = ledger.admit(raw)
    assert [ids_of(c) for c in first.columns] == [ids_of(c) for c in second.columns] == [[(0, 1, 1), (0, 1, 2)]]
    assert first.duplicates == second.duplicates == {("pole", 0): 1}
    assert ledger.tally("pole", 0).received == 0


def test_late_is_older_than_the_newest() -> None:
    """A reading older than its device's newest is flagged, within a batch and across batches; an equal time is not."""
    ledger = Ledger()
    first = ledger.admit(batch_of([(0, 1, 1, 10), (1, 1, 1, 5), (0, 1, 2, 8), (0, 1, 3, 10), (0, 1, 4, 11)]))
    assert (first.columns[0].flags & FLAG_LATE).tolist() == [0, 0, FLAG_LATE, 0, 0]
    ledger.commit(first, 1)
    second = ledger.admit(batch_of([(1, 1, 2, 5), (0, 1, 5, 10), (1, 1, 3, 4)]))
    assert (second.columns[0].flags & FLAG_LATE).tolist() == [0, FLAG_LATE, FLAG_LATE]


def test_a_clock_that_was_ahead_makes_nothing_late_once_it_is_right() -> None:
    """What was said by a clock eight hours ahead is as new as its arrival, within a batch and across batches; by that
    clock an older reading is late all the same."""
    hours = 8 * 3_600_000

    def batch(*told: tuple[int, int, int]) -> Batch:
        seq, arrived, ahead = zip(*told, strict=True)
        said = [T0 + a + b for a, b in zip(arrived, ahead, strict=True)]
        columns = columns_of([0] * len(seq), [1] * len(seq), seq, said)
        return Batch((replace(columns, arrived=np.array([T0 + a for a in arrived], np.int64)),), messages=len(seq))

    ledger = Ledger()
    for n, told in enumerate((((1, 0, hours), (2, 60_000, hours)), ((3, 120_000, hours), (4, 180_000, 0))), start=1):
        admitted = ledger.admit(batch(*told))
        assert not admitted.columns[0].flags.any()
        ledger.commit(admitted, n)
    again = ledger.admit(batch((5, 240_000, 0), (6, 240_001, -120_000)))
    assert again.columns[0].flags.tolist() == [0, FLAG_LATE]
    ledger.commit(again, 3)
    assert ledger.tally("pole", 0).last_t_ms == T0 + 240_000


def test_two_readings_in_one_millisecond_are_two() -> None:
    """Equal times with different numbers are both kept."""
    ledger = Ledger()
    admitted = ledger.admit(batch_of([(0, 1, 1, 10), (0, 1, 2, 10)]))
    assert len(admitted) == 2


def test_answers_and_states_that_cannot_be_read_are_accounted_for() -> None:
    """As rejected, of their device, though they are no readings."""
    ledger = Ledger()
    ledger.commit(ledger.admit(Batch(messages=2, rejected={("pole", 0, "type"): 1}, asides={("pole", 0, "type"): 1})))
    assert ledger.tally("pole", 0).rejected == {"type": 2}
    assert ledger.total().rejected == {"type": 2}


def test_a_refused_reading_is_no_gap() -> None:
    """Its number counts as come: it is rejected once, a resend is a duplicate, the mark moves past it."""
    ledger = Ledger()
    bad = Refused("pole", 0, 1, 2, "range")
    raw = Batch((columns_of([0, 0], [1, 1], [1, 3]),), messages=3, refused=(bad, bad))
    admitted = ledger.admit(raw)
    assert admitted.refused == (bad,)
    assert admitted.rejected == {("pole", 0, "range"): 1}
    assert admitted.duplicates == {("pole", 0): 1}
    ledger.commit(admitted, 1)
    tally = ledger.tally("pole", 0)
    assert (tally.mark, tally.missing, tally.out_of_order, tally.received) == (3, 0, 0, 4)
    again = ledger.admit(Batch(messages=1, refused=(bad,)))
    assert again.refused == ()
    assert again.duplicates == {("pole", 0): 1}
    both = ledger.admit(Batch((columns_of([0], [1], [4]),), 2, refused=(Refused("pole", 0, 1, 4, "type"),)))
    assert (len(both), both.refused, both.duplicates) == (1, (), {("pole", 0): 1})


def marks_of(ledger: Ledger, *, changed_only: bool = True) -> list[Mark]:
    """The marks of poles as their senders read them."""
    told = ledger.marks(changed_only=changed_only)
    assert {kind for kind, _, _ in told} <= {"pole"}
    return [decode_mark(f"p-{row}", text) for _, rows, texts in told for row, text in zip(rows, texts, strict=True)]


def test_marks() -> None:
    """Marks name what is whole, ranges beyond a gap, and older boots; changed ones are told once."""
    ledger = Ledger()
    ledger.commit(ledger.admit(batch_of([(0, 1, 1, 0), (0, 1, 2, 1), (1, 1, 1, 0), (2, -1, -1, 0)])), 1)
    assert marks_of(ledger) == [Mark("p-0", 1, 2), Mark("p-1", 1, 1)]
    assert marks_of(ledger) == []
    ledger.commit(ledger.admit(batch_of([(0, 1, 5, 2), (0, 2, 1, 3)])), 2)
    (mark,) = marks_of(ledger)
    assert mark == Mark("p-0", 2, 1, (), (Mark("p-0", 1, 2, ((5, 5),)),))
    assert mark.covers(1, 5)
    assert not mark.covers(1, 4)
    assert [m.device for m in marks_of(ledger, changed_only=False)] == ["p-0", "p-1"]


def test_what_comes_again_has_its_mark_told_again() -> None:
    """A sender that sends again what is durable has not heard the mark; others are not told for it."""
    ledger = Ledger()
    ledger.commit(ledger.admit(batch_of([(0, 1, 1, 0), (0, 1, 2, 1), (1, 1, 1, 0)])), 1)
    assert len(marks_of(ledger)) == 2
    ledger.commit(ledger.admit(batch_of([(0, 1, 1, 0)])), 2)
    assert marks_of(ledger) == [Mark("p-0", 1, 2)]
    assert marks_of(ledger) == []


def test_a_boot_with_nothing_whole() -> None:
    """Of a boot whose first number is missing the mark is 0 with the ranges that came."""
    ledger = Ledger()
    ledger.commit(ledger.admit(batch_of([(0, 1, 3, 0)])), 1)
    assert marks_of(ledger) == [Mark("p-0", 1, 0, ((3, 3),))]


def test_clock_offset_is_a_rolling_minimum() -> None:
    """The offset is the smallest delay of this and the hour before; readings without a clock do not count."""
    ledger = Ledger()

    def say(seq: int, t: int, arrived: int, flags: int = 0) -> None:
        columns = columns_of([0], [1], [seq], [t])
        columns.arrived, columns.flags = np.array([arrived]), np.array([flags], np.uint8)
        ledger.commit(ledger.admit(Batch((columns,), 1)), seq)

    hour = 3_600_000
    start = T0 // hour * hour
    say(1, start, start, FLAG_NO_CLOCK)
    assert ledger.tally("pole", 0).offset_ms is None
    say(2, start, start + 900)
    say(3, start + 10_000, start + 10_400)
    say(4, start + 20_000, start + 29_000)
    assert ledger.tally("pole", 0).offset_ms == 400
    say(5, start + hour, start + hour - 5_000)
    assert ledger.tally("pole", 0).offset_ms == -5_000
    say(6, start + 3 * hour, start + 3 * hour + 700)
    assert ledger.tally("pole", 0).offset_ms == 700


def test_strangers_and_reasons() -> None:
    """Messages of no device, and values left out, are counted by reason and survive a dump."""
    ledger = Ledger()
    batch = Batch(
        messages=5,
        rejected={("", -1, "topic"): 2, ("pole", 3, "syntax"): 1},
        bad_values={("pole", 3, "range"): 4},
    )
    ledger.commit(batch, 1)
    again = Ledger()
    again.load(ledger.dump())
    assert again.total().rejected == {"topic": 2, "syntax": 1}
    assert again.tally("pole", 3).bad_values == {"range": 4}
    assert again.total().received == 3
    assert again.tally("pole", 99_999).received == 0
    assert again.tally("lamp", 0).received == 0


def test_a_damaged_dump_is_refused() -> None:
    """A dump of another version or with parts missing raises ValueError and leaves the account as it was."""
    ledger = Ledger()
    ledger.commit(ledger.admit(batch_of([(0, 1, 1, 0), (0, 1, 5, 0)])), 1)
    good = ledger.dump()
    page = good["pages"]["pole"]
    for bad in (
        {**good, "version": 99},
        {k: v for k, v in good.items() if k != "pages"},
        {**good, "pages": {"pole": {**page, "gaps": page["gaps"][:0]}}},
        {**good, "pages": {"pole": {**page, "top": page["top"][:3]}}},
        {**good, "pages": {"pole": {**page, "boots": page["boots"][:0], "gaps": page["gaps"][:0]}}},
    ):
        with pytest.raises(ValueError, match=r"account|length|books"):
            ledger.load(bad)
    assert ledger.tally("pole", 0).journalled == 2


def test_entries_already_seen_are_passed_over() -> None:
    """Committing an entry that the account has seen changes nothing."""
    ledger = Ledger()
    batch = ledger.admit(batch_of([(0, 1, 1, 0)]))
    ledger.commit(batch, 7)
    ledger.commit(batch, 7)
    assert (ledger.position, ledger.tally("pole", 0).journalled) == (7, 1)


def test_numbers_that_leap() -> None:
    """A sender that leaps to the highest number at each start, and a thousand senders that do: what is missing stays a
    number that every reader can hold, the account survives its dump, and nobody else's suffers."""
    highest = 2**53 - 1
    ledger = Ledger()
    for n in range(1, 1101):
        ledger.commit(ledger.admit(batch_of([(0, n, highest, n), (1, 7, n, n)])), n)
    ledger.commit(ledger.admit(batch_of([(row, 1, highest, 1) for row in range(2, 1102)])), 1101)
    leaping, steady = ledger.tally("pole", 0), ledger.tally("pole", 1)
    assert (leaping.journalled, leaping.missing) == (1100, highest)
    assert (steady.journalled, steady.missing, steady.mark) == (1100, 0, 1100)
    again = Ledger()
    again.load(ledger.dump())
    assert again.tally("pole", 0) == leaping
    assert again.total() == ledger.total()
    assert ledger.total().missing == highest
