"""Any split of what arrives between the same marks gives identical findings: through account, tick and detectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.kinds import KINDS
from tests.twin.tick.town import NIGHT_MS, Tally, town
from twin.ingest.ledger import Ledger as Book
from twin.records import Batch, Columns, Entry, Link
from twin.tick import World, tick

KNOWN = {"pole": 12, "cell": 6, "truck": 2}
STEP_MS = 30_000
Row = tuple[str, int, int, int, int, dict[str, float]]  # kind, row, t, seq, arrived, values

# A reading as hypothesis draws it: whose, how old it is, what happens to it on its way, and which values it carries.
readings = st.tuples(
    st.sampled_from(sorted(KNOWN)),
    st.integers(0, 11),
    st.integers(0, 3 * STEP_MS),
    st.sampled_from(("once", "once", "once", "twice", "again later")),
    st.integers(0, 2**31),
)


def day(drawn: Sequence[Sequence[tuple[str, int, int, str, int]]]) -> list[tuple[int, list[Row]]]:
    """What arrives before each mark, in the order of arrival: doubled, repeated later, older than what came before."""
    marks: list[tuple[int, list[Row]]] = []
    seqs: dict[tuple[str, int], int] = {}
    owed: list[Row] = []
    for n, group in enumerate(drawn):
        now = NIGHT_MS + (n + 1) * STEP_MS
        arriving, owed = owed, []
        for kind, device, age, fate, salt in group:
            row = device % KNOWN[kind]
            seq = seqs[kind, row] = seqs.get((kind, row), 0) + 1
            told = (kind, row, now - age, seq, now - age % STEP_MS, values(kind, salt))
            arriving += [told] * (2 if fate == "twice" else 1)
            owed += [told] if fate == "again later" else []
        marks.append((now, arriving))
    return marks


def values(kind: str, salt: int) -> dict[str, float]:
    """A few quantities of a kind, often far outside what they were."""
    rng = np.random.default_rng(salt)
    chosen = [q for q in KINDS[kind].quantities if rng.random() < 0.4] or [KINDS[kind].quantities[0]]
    return {q.name: round(float(rng.uniform(q.low, min(q.high, q.low + 400.0))), q.decimals) for q in chosen}


def one(told: Sequence[Row]) -> Batch:
    """Rows that came together, as the columns of a batch."""
    parts = []
    for kind in sorted({row[0] for row in told}):
        mine = [row for row in told if row[0] == kind]
        names = dict.fromkeys(name for row in mine for name in row[5])
        parts.append(
            Columns(
                kind,
                np.array([row[1] for row in mine], np.int32),
                np.array([row[2] for row in mine], np.int64),
                np.ones(len(mine), np.int64),
                np.array([row[3] for row in mine], np.int64),
                np.array([row[4] for row in mine], np.int64),
                np.zeros(len(mine), np.uint8),
                {name: np.array([row[5].get(name, np.nan) for row in mine]) for name in names},
            )
        )
    return Batch(tuple(parts), messages=len(told))


def lived(marks: Sequence[tuple[int, list[Row]]], cuts: Sequence[float]) -> tuple[list[str], bytes, str]:
    """Findings, world and account of a day cut at these shares of each group."""
    world, book, found, n = World(town(), Tally()), Book(), [], 1
    tick(world, [Entry(1, Link("drained"))], NIGHT_MS, 1)
    for now, rows in marks:
        edges = sorted({0, len(rows), *(round(cut * len(rows)) for cut in cuts)})
        entries = []
        for low, high in pairwise(edges):
            n += 1
            batch = book.admit(one(rows[low:high]))
            book.commit(batch, n)
            entries.append(Entry(n, batch))
        found += [repr(finding) for finding in tick(world, entries, now, 1).findings]
    tallies = [book.tally(kind, row) for kind, rows in KNOWN.items() for row in range(rows)]
    return found, world.dump(), repr(tallies)


@settings(max_examples=25, deadline=None)
@given(
    drawn=st.lists(st.lists(readings, max_size=25), min_size=4, max_size=12),
    cuts=st.lists(st.floats(0, 1), min_size=1, max_size=30),
)
def test_any_split_gives_the_same_findings_world_and_account(
    drawn: list[list[tuple[str, int, int, str, int]]], cuts: list[float]
) -> None:
    """In one batch, one by one, or cut anywhere: doubled, late and several readings of a device among them."""
    marks = day(drawn)
    whole = lived(marks, ())
    assert lived(marks, cuts) == whole
    assert lived(marks, np.linspace(0, 1, 60).tolist()) == whole


def test_such_days_hold_what_they_must() -> None:
    """The days that are cut above hold findings, duplicates, late readings and several readings of one device."""
    rng = np.random.default_rng(3)
    fates = ("once", "twice", "again later")
    drawn = [
        [("pole", int(rng.integers(12)), int(rng.integers(0, 90_000)), fates[i % 3], int(rng.integers(2**31)))
         for i in range(25)]
        for _ in range(12)
    ]  # fmt: skip
    assert lived(day(drawn), (0.3, 0.5))[0]
    book = Book()
    for n, (_, rows) in enumerate(day(drawn), 1):
        book.commit(book.admit(one(rows)), n)
    total = book.total()
    assert total.duplicate > 20
    assert total.late > 20
    assert total.journalled > 200
