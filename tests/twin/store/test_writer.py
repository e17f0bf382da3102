"""The writer between journal and store: in order, nothing skipped in silence, never ahead of what is durable."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from tests.contracts.readings import HOUR_MS, T0, batch, rows
from twin.errors import SettingsError, StoreBroken, StoreDown
from twin.journal import Journal
from twin.records import Batch, Names, Tick
from twin.settings import StoreSettings
from twin.store import keep_of
from twin.store.embedded import EmbeddedStore
from twin.store.protocol import DAY_MS, Rows, Store
from twin.store.writer import Keep, StoreWriter


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """An empty journal."""
    opened = Journal(tmp_path / "journal.db")
    yield opened
    opened.close()


class Moody(EmbeddedStore):
    """An embedded store that is down whenever the test says so."""

    down = False
    asked = threading.Event()

    def append_many(self, entries: Sequence[tuple[int, Batch]]) -> None:
        """As the store, or down."""
        if self.down:
            self.asked.set()
            raise StoreDown("out to lunch")
        super().append_many(entries)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Moody]:
    """An empty store that never seals by itself."""
    opened = Moody(tmp_path / "store", rows(), seal_every_s=None)
    opened.asked.clear()
    yield opened
    opened.close()


def one(i: int) -> Batch:
    """A batch of one reading."""
    return batch([(0, T0 + i * 1000, i, {"voltage": float(i)})])


def values(store: EmbeddedStore) -> list[float]:
    """All that the store has of the one device."""
    return store.range("pole", 0, "voltage", T0, T0 + HOUR_MS)[1].tolist()


def test_it_feeds_the_store_in_order(journal: Journal, store: Moody) -> None:
    """Batches between other entries arrive in order, and the position follows to the last entry."""
    journal.append([one(0), Tick(1), one(1), one(2), Tick(2)])
    told: list[int] = []
    writer = StoreWriter(journal, store, rows(), on_stored=lambda lot: told.extend(n for n, b in lot if len(b)))
    assert writer.step() == 5
    assert values(store) == [0.0, 1.0, 2.0]
    assert (writer.durable, store.position(), told) == (5, 5, [1, 3, 4])
    assert writer.step() == 0
    state = writer.state()
    assert (state.up, state.behind, state.rows, state.skipped) == (True, 0, 3, 0)


def test_names_are_learned_on_the_way(journal: Journal, store: Moody) -> None:
    """Rows given to new devices in the journal are known before the readings that use them are stored."""
    names = Rows()
    journal.append([Names((("pole", 0, "p-new"),)), one(0)])
    StoreWriter(journal, store, names).step()
    assert names.device("pole", 0) == "p-new"


def test_a_store_that_is_down_is_waited_for(journal: Journal, store: Moody) -> None:
    """While the store is down nothing counts as durable and the state says why; when it is back nothing is missing."""
    store.down = True
    writer = StoreWriter(journal, store, rows(), seed=1)
    writer.start()
    try:
        journal.append([one(0)])
        assert store.asked.wait(30)
        journal.append([one(1), Tick(1)])
        assert writer.durable == 0
        store.down = False
        assert writer.wait_for(3, 30)
    finally:
        writer.stop()
    assert values(store) == [0.0, 1.0]
    assert writer.durable == 3


def test_after_a_restart_it_goes_on_where_the_store_stands(journal: Journal, store: Moody) -> None:
    """A second writer neither doubles nor skips, whatever the first one had sent."""
    journal.append([one(0), one(1)])
    StoreWriter(journal, store, rows()).step()
    journal.append([one(2)])
    again = StoreWriter(journal, store, rows())
    again.step()
    assert values(store) == [0.0, 1.0, 2.0]


def test_entries_trimmed_too_early_are_told(journal: Journal, store: Moody) -> None:
    """A store that comes to a trimmed journal gets the rest, and the state says how many entries it never saw."""
    journal.append([one(i) for i in range(10)])
    journal.trim(6)
    writer = StoreWriter(journal, store, rows())
    writer.step()
    assert values(store) == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert writer.state().skipped == 5


def test_a_store_ahead_of_its_journal_is_refused(journal: Journal, store: Moody) -> None:
    """A journal restored from an older copy is not taken for the store's own: entries would vanish."""
    store.append(7, one(0))
    journal.append([one(1)])
    with pytest.raises(StoreBroken, match="older copy"):
        StoreWriter(journal, store, rows()).step()


def test_quiet_hours_move_the_position_now_and_then(journal: Journal, store: Moody) -> None:
    """With ticks alone the store is not written each time, yet the journal can be trimmed in the end."""
    writer = StoreWriter(journal, store, rows())
    for i in range(59):
        journal.append([Tick(i)])
        writer.step()
    assert store.position() == 0
    journal.append([Tick(60), Tick(61)])
    writer.step()
    assert store.position() == 61


def test_it_prunes_by_city_time(journal: Journal, store: Moody) -> None:
    """Readings older than the retention are forgotten by the writer's own thread."""
    journal.append([one(0), one(100)])
    StoreWriter(journal, store, rows()).step()
    pruned = threading.Event()
    original = store.prune

    def prune(before_ms: int, kind: str | None = None) -> None:
        original(before_ms, kind)
        pruned.set()

    store.prune = prune  # type: ignore[method-assign]
    writer = StoreWriter(journal, store, rows(), keep=Keep(50_000), now_ms=lambda: T0 + 100_000)
    writer.start()
    try:
        assert pruned.wait(30)
    finally:
        writer.stop()
    assert values(store) == [100.0]


def test_kinds_stay_as_long_as_they_are_said_to() -> None:
    """By kind, or as all; 0 is for ever; what cannot be is refused with the kinds there are."""
    told: list[tuple[str, int]] = []

    class Told:
        def prune(self, before_ms: int, kind: str | None = None) -> None:
            told.append((kind or "", before_ms))

        def prune_rollups(self, before_ms: int) -> None:
            told.append(("rollups", before_ms))

    keep = keep_of(StoreSettings(retention_days=30, kinds_days="truck=14, cell=0", rollup_days=400))
    keep.prune(cast(Store, Told()), 1000 * DAY_MS)
    pruned = dict(told)
    assert (pruned["pole"], pruned["truck"], pruned["rollups"]) == (970 * DAY_MS, 986 * DAY_MS, 600 * DAY_MS)
    assert "cell" not in pruned
    assert keep.longest_ms == 0
    assert keep_of(StoreSettings(kinds_days="truck=90")).longest_ms == 90 * DAY_MS
    told.clear()
    keep_of(StoreSettings(retention_days=0)).prune(cast(Store, Told()), 1000 * DAY_MS)
    assert told == []
    for wrong in ("lorry=3", "truck", "truck=x", "truck=-1", "truck=inf"):
        with pytest.raises(SettingsError, match="KIND=DAYS"):
            keep_of(StoreSettings(kinds_days=wrong))


def test_a_trickle_gathers(journal: Journal, store: Moody) -> None:
    """Entries that come one by one are stored together: each lot costs the store the same work however small it is."""
    lots: list[int] = []
    append = store.append_many

    def counted(entries: Sequence[tuple[int, Batch]]) -> None:
        lots.append(len(entries))
        append(entries)

    store.append_many = counted  # type: ignore[method-assign]
    writer = StoreWriter(journal, store, rows())
    writer.start()
    try:
        for i in range(1, 31):
            n = journal.append([one(i)])
        assert writer.wait_for(n, 30)
    finally:
        writer.stop()
    assert values(store) == [float(i) for i in range(1, 31)]
    assert len(lots) < 15
