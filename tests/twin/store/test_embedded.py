"""The embedded store: sealing, compaction, roll-ups, retention and restarts change nothing that a query sees."""

from __future__ import annotations

import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.contracts.readings import HOUR_MS, T0, batch, rows
from twin.errors import StoreBroken, StoreDown
from twin.records import Batch, Columns
from twin.store import hot, seal, sealed
from twin.store.embedded import EmbeddedStore
from twin.store.protocol import DAY_MS, Rows
from twin.store.seal import MERGE_LEAST, mergeable
from twin.store.sealed import bucket_for, exact, places_of

GOLDEN = Path(__file__).parents[2] / "golden" / "store" / "schema1.tar.xz"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """An empty store that seals only when told."""
    opened = EmbeddedStore(tmp_path / "store", rows(), seal_every_s=None)
    yield opened
    opened.close()


def hour(day: int, of_day: int, devices: int = 3) -> Batch:
    """A minute-by-minute hour of a few devices, with a wave in it."""
    start = T0 + day * DAY_MS + of_day * HOUR_MS
    return batch([
        (row, start + i * 60_000 + row, i + 60 * (24 * day + of_day), {"voltage": 220 + (i * 7 + row + of_day) % 9})
        for i in range(60) for row in range(devices)
    ])  # fmt: skip


def files(store: EmbeddedStore, level: str) -> int:
    """How many sealed files of a level the catalogue has."""
    return sum(file.level == level for file in store._hot.view.files)


def test_a_life_of_days_reads_the_same_sealed_or_not(tmp_path: Path) -> None:
    """Three days, sealed hourly, compacted and rolled up, answer every query as a store that never sealed."""
    plain = EmbeddedStore(tmp_path / "plain", rows(), seal_every_s=None)
    sealed = EmbeddedStore(tmp_path / "sealed", rows(), seal_every_s=None)
    n = 0
    for day in range(3):
        for of_day in range(0, 24, 3):
            n += 1
            for each in (plain, sealed):
                each.append(n, hour(day, of_day))
            sealed.seal()
    late = batch([(1, T0 + 5 * HOUR_MS, 9999, {"voltage": 1.5})])
    for each in (plain, sealed):
        each.append(n + 1, late)
    sealed.seal()
    assert files(sealed, "rollup") >= 2
    assert files(sealed, "raw") < 16
    span = (T0, T0 + 3 * DAY_MS)
    for row in range(3):
        for one, other in zip(
            plain.range("pole", row, "voltage", *span), sealed.range("pole", row, "voltage", *span), strict=True
        ):
            assert_array_equal(one, other)
        for step in (300_000, 3_600_000, 420_000):
            a, b = (s.downsample("pole", row, "voltage", *span, step) for s in (plain, sealed))
            assert_array_equal(a.t, b.t)
            assert_array_equal(a.count, b.count)
            assert_array_equal(a.min, b.min)
            assert_array_equal(a.max, b.max)
            assert_allclose(a.mean, b.mean, rtol=1e-12)
    for t in (T0 + 3 * HOUR_MS + 1000, T0 + DAY_MS + 10 * HOUR_MS, T0 + 3 * DAY_MS):
        a, b = (s.snapshot("pole", t, within_ms=6 * HOUR_MS) for s in (plain, sealed))
        assert_array_equal(a.row, b.row)
        assert_array_equal(a.t, b.t)
        assert_array_equal(a.values["voltage"], b.values["voltage"])
    plain.close()
    sealed.close()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """Hot and sealed rows, catalogue, position and floors survive closing and opening."""
    store = EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)
    store.append(1, hour(0, 0))
    store.seal()
    store.append(2, hour(0, 1))
    store.prune(T0 + HOUR_MS // 2)
    before = store.range("pole", 0, "voltage", T0, T0 + DAY_MS)
    store.close()
    again = EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)
    assert again.position() == 2
    after = again.range("pole", 0, "voltage", T0, T0 + DAY_MS)
    assert_array_equal(before[0], after[0])
    assert_array_equal(before[1], after[1])
    assert len(after[0]) == 90
    again.close()


def test_other_programs_read_sealed_files(store: EmbeddedStore, tmp_path: Path) -> None:
    """A sealed file is plain Parquet: device names, times, and numbers with their scale in the metadata."""
    store.append(1, hour(0, 0))
    store.seal()
    (path,) = (tmp_path / "store" / "sealed").glob("pole-*.parquet")
    table = pq.read_table(path)
    assert set(table.column("device").to_pylist()) == {"pole-0", "pole-1", "pole-2"}
    scale = int(table.schema.field("q.voltage").metadata[b"scale"])
    sent = hour(0, 0).columns[0]
    assert_array_equal(np.sort(table.column("q.voltage").to_numpy() / scale), np.sort(sent.values["voltage"]))
    count = duckdb.connect().execute(f"SELECT count(*) FROM read_parquet('{path}') WHERE device = 'pole-1'").fetchone()
    assert count == (60,)


def test_a_large_table_is_sealed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is held in memory at once, the file is the same: rows in order, row groups full to the bucket's end."""
    monkeypatch.setattr(sealed, "GROUP_ROWS", 7)
    monkeypatch.setattr(sealed, "SAMPLE_ROWS", 21)
    told = []
    for name, piece in (("whole", 10_000), ("pieces", 25)):
        monkeypatch.setattr(seal, "PIECE_ROWS", piece)
        one = EmbeddedStore(tmp_path / name, rows(), seal_every_s=None)
        one.append(1, hour(0, 0))
        one.append(2, hour(0, 1))
        one.seal()
        one.close()
        (path,) = (tmp_path / name / "sealed").glob("pole-*.parquet")
        file = pq.ParquetFile(path)
        groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        told.append((file.read(), groups))
    assert told[0][0].equals(told[1][0])
    assert told[0][1] == told[1][1]
    assert set(told[0][1][:-1]) == {7}
    assert {field.name for field in told[0][0].schema if field.nullable} == {"q.voltage"}


def test_pruning_deletes_files(store: EmbeddedStore, tmp_path: Path) -> None:
    """A file in which all is older than the limit is unlinked; its roll-up stays and still answers."""
    for day in range(3):
        store.append(day + 1, hour(day, 0))
        store.seal()
    folder = tmp_path / "store" / "sealed"
    before = len(list(folder.iterdir()))
    store.prune(T0 + DAY_MS)
    assert len(list(folder.iterdir())) == before - 1
    assert len(store.range("pole", 0, "voltage", T0, T0 + DAY_MS)[0]) == 0
    assert store.downsample("pole", 0, "voltage", T0, T0 + DAY_MS, 300_000).count.sum() == 60


def test_a_day_of_many_devices_is_rolled_up_in_little_memory(tmp_path: Path) -> None:
    """Steps by the hundred thousand: more than the database has memory for; every figure is that of the readings."""
    devices, rng = 1500, np.random.default_rng(3)
    named = Rows(("pole", row, f"pole-{row}") for row in range(devices))
    store = EmbeddedStore(tmp_path / "many", named, seal_every_s=None, memory_bytes=16 << 20)
    names = ("voltage", "current", "powerConsumption", "pm25", "temperature", "LAeq", "tilt", "illuminanceLevel")
    told: dict[int, list[float]] = {}
    for n, step in enumerate(range(288), 1):
        t = np.full(devices, T0 + step * 300_000 + 7, np.int64)
        none = np.full(devices, step + 1, np.int64)
        values = {name: np.round(rng.normal(50, 5, devices), 1) for name in names}
        values["pm25"][rng.random(devices) < 0.3] = np.nan
        told[step] = [values["pm25"][7], values["voltage"][1499]]
        columns = Columns("pole", np.arange(devices, dtype=np.int32), t, none, none, t, none.astype(np.uint8), values)
        store.append(n, Batch((columns,), devices))
    store.append(300, hour(1, 2))
    store.seal()
    assert files(store, "rollup") == 1
    found = store.downsample("pole", 7, "pm25", T0, T0 + DAY_MS, 300_000)
    said = {T0 + step * 300_000: x for step, (x, _) in told.items() if not np.isnan(x)}
    assert dict(zip(found.t.tolist(), found.mean.tolist(), strict=True)) == said
    found = store.downsample("pole", 1499, "voltage", T0, T0 + DAY_MS, 3_600_000)
    hours = np.array([x for _, x in told.values()]).reshape(24, 12)
    assert_allclose(found.mean, hours.mean(axis=1))
    assert_array_equal(found.min, hours.min(axis=1))
    assert_array_equal(found.max, hours.max(axis=1))
    assert_array_equal(found.count, np.full(24, 12))
    store.close()


def test_roll_ups_are_pruned_by_a_limit_of_their_own(store: EmbeddedStore, tmp_path: Path) -> None:
    """Older steps are gone at once, the file when all in it is older; also after a restart."""
    for day in range(4):
        store.append(day + 1, hour(day, 0))
        store.seal()
    assert files(store, "rollup") == 3
    store.prune(T0 + 3 * DAY_MS)
    store.prune_rollups(T0 + DAY_MS + HOUR_MS // 2)
    assert files(store, "rollup") == 2
    counts = [store.downsample("pole", 0, "voltage", T0 + d * DAY_MS, T0 + (d + 1) * DAY_MS, 300_000).count.sum()
              for d in range(4)]  # fmt: skip
    assert counts == [0, 30, 60, 60]
    store.close()
    again = EmbeddedStore(tmp_path / "store", rows(), seal_every_s=None)
    assert again.downsample("pole", 0, "voltage", T0, T0 + 2 * DAY_MS, 300_000).count.sum() == 30
    again.close()


def test_files_that_a_crash_left_are_swept(store: EmbeddedStore, tmp_path: Path) -> None:
    """A file that was written but never named in the catalogue is deleted at the next start; named ones stay."""
    store.append(1, hour(0, 0))
    store.seal()
    store.close()
    folder = tmp_path / "store" / "sealed"
    (folder / "pole-99999999.parquet").write_bytes(b"half")
    (folder / "pole-00000077.parquet.new").write_bytes(b"quarter")
    again = EmbeddedStore(tmp_path / "store", rows(), seal_every_s=None)
    assert len(list(folder.iterdir())) == 1
    assert len(again.range("pole", 0, "voltage", T0, T0 + DAY_MS)[0]) == 60
    again.close()


def test_a_segment_closed_before_a_crash_is_sealed_later(store: EmbeddedStore, tmp_path: Path) -> None:
    """Killed between closing a table and sealing it, the store answers from the table and seals it next time."""
    store.append(1, hour(0, 0))
    store._hot.rotate(1)
    store.append(2, hour(0, 1))
    store.close()
    again = EmbeddedStore(tmp_path / "store", rows(), seal_every_s=None)
    assert len(again.range("pole", 0, "voltage", T0, T0 + DAY_MS)[0]) == 120
    again.seal()
    assert again.info()["hot_rows"] == 0
    assert len(again.range("pole", 0, "voltage", T0, T0 + DAY_MS)[0]) == 120
    again.close()


def test_a_recording_of_years_makes_few_files(store: EmbeddedStore) -> None:
    """Four years of hourly readings in one segment become a handful of files, not one a day."""
    store.append(1, batch([(0, T0 + i * HOUR_MS, i, {"voltage": i / 10}) for i in range(35_000)]))
    store.seal()
    assert files(store, "raw") <= 60
    t, v = store.range("pole", 0, "voltage", T0, T0 + 35_000 * HOUR_MS)
    assert len(t) == 35_000
    assert_array_equal(v, np.arange(35_000) / 10)


def test_queries_and_sealing_at_once(store: EmbeddedStore) -> None:
    """While one thread appends and seals, another never sees a value missing or twice."""
    stop = threading.Event()
    seen: list[int] = []
    wrong: list[str] = []

    def look() -> None:
        least = 0
        while not stop.is_set():
            least = max(least, len(seen))
            t, v = store.range("pole", 0, "voltage", T0, T0 + DAY_MS)
            if len(set(t.tolist())) != len(t) or len(t) < least or not np.array_equal(v, np.arange(len(v))):
                wrong.append(f"{len(t)} values, {least} were acknowledged")

    looker = threading.Thread(target=look)
    looker.start()
    for i in range(60):
        store.append(i + 1, batch([(0, T0 + i * 1000, i, {"voltage": float(i)})]))
        seen.append(i)
        if i % 6 == 5:
            store.seal()
    stop.set()
    looker.join()
    assert wrong == []


def test_the_sealing_thread_works_by_rows(tmp_path: Path) -> None:
    """The thread of its own seals when enough rows have come, without being told."""
    store = EmbeddedStore(tmp_path / "s", rows(), seal_every_s=3600, seal_rows=100)
    sealed = threading.Event()
    exchange: Callable[..., None] = store._hot.exchange

    def told(*args: object, **named: object) -> None:
        exchange(*args, **named)
        sealed.set()

    store._hot.exchange = told  # type: ignore[method-assign]
    store.append(1, hour(0, 0))
    assert sealed.wait(30)
    store.close()


def test_a_second_process_is_refused(store: EmbeddedStore, tmp_path: Path) -> None:
    """Another opener of the same folder is told that it is taken."""
    import subprocess
    import sys

    code = (
        "from pathlib import Path; from twin.store.embedded import EmbeddedStore; from twin.store import Rows;"
        f"EmbeddedStore(Path({str(tmp_path / 'store')!r}), Rows())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert StoreDown.__name__ in ran.stderr


def test_a_newer_schema_is_refused(store: EmbeddedStore, tmp_path: Path) -> None:
    """A store of a later version is left alone, and the message says so."""
    store.close()
    with duckdb.connect(str(tmp_path / "store" / "hot.duckdb")) as link:
        link.execute("UPDATE schema SET version = 99")
    with pytest.raises(StoreBroken, match="schema 99"):
        EmbeddedStore(tmp_path / "store", rows(), seal_every_s=None)


def test_an_older_schema_is_backed_up_and_migrated(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening with a newer version copies the file aside, runs the steps and keeps every reading."""
    store.append(1, hour(0, 0))
    store.close()
    monkeypatch.setattr(hot, "SCHEMA", hot.SCHEMA + 1)
    monkeypatch.setitem(hot.MIGRATIONS, hot.SCHEMA - 1, lambda cursor: cursor.execute("CREATE TABLE added (x INTEGER)"))
    again = EmbeddedStore(tmp_path / "store", rows(), seal_every_s=None)
    assert len(again.range("pole", 0, "voltage", T0, T0 + DAY_MS)[0]) == 60
    again.close()
    (backup,) = (tmp_path / "store").glob("*.backup")
    with duckdb.connect(str(backup), read_only=True) as link:
        assert link.execute("SELECT version FROM schema").fetchone() == (hot.SCHEMA - 1,)


def test_a_store_that_the_first_schema_wrote_opens(tmp_path: Path) -> None:
    """Sealed days, a roll-up, a pruned day and hot rows of an older version are all there; a copy of its file stays;
    what the new schema can do works on it."""
    with tarfile.open(GOLDEN) as packed:
        packed.extractall(tmp_path, filter="data")
    (tmp_path / "schema1").rename(tmp_path / "store")
    old = EmbeddedStore(tmp_path / "store", rows(), journal="golden", seal_every_s=None)
    with duckdb.connect(str(tmp_path / "store" / "hot.duckdb.schema1.backup"), read_only=True) as link:
        assert link.execute("SELECT version FROM schema").fetchone() == (1,)
    told = json.loads((tmp_path / "schema1.json").read_text(encoding="utf-8"))
    assert old.position() == told["position"]
    for row in range(3):
        t, x = old.range("pole", row, "voltage", T0, T0 + 9 * DAY_MS)
        assert t.tolist() == told["range"][row][0]
        assert x.tolist() == told["range"][row][1]
    steps = old.downsample("pole", 1, "voltage", T0, T0 + 9 * DAY_MS, 300_000)
    assert [steps.t.tolist(), steps.mean.tolist(), steps.count.tolist()] == told["steps"]
    old.prune_rollups(T0 + DAY_MS)
    assert old.downsample("pole", 1, "voltage", T0, T0 + DAY_MS, 300_000).count.sum() == 0
    old.append(told["position"] + 1, hour(4, 0))
    old.seal()
    old.close()
    again = EmbeddedStore(tmp_path / "store", rows(), journal="golden", seal_every_s=None)
    assert len(again.range("pole", 0, "voltage", T0 + 4 * DAY_MS, T0 + 5 * DAY_MS)[0]) == 60
    again.close()


def test_garbage_instead_of_a_store_is_named(tmp_path: Path) -> None:
    """A file that is no DuckDB file raises StoreBroken naming it."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "hot.duckdb").write_bytes(b"nothing of the kind" * 1000)
    with pytest.raises(StoreBroken, match=r"hot\.duckdb"):
        EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)


@given(st.lists(st.floats(width=64) | st.integers(-(10**7), 10**7).map(lambda i: i / 1000), max_size=30))
def test_scaling_is_exact_or_not_done(values: list[float]) -> None:
    """Whenever decimal places are found, whole numbers of them give every value back to the last bit."""
    array = np.array(values, np.float64)
    places = places_of(array)
    if places is not None:
        kept = array[~np.isnan(array)]
        back = np.rint(kept * 10.0**places).astype(np.int64) / 10.0**places
        assert back.tobytes() == kept.tobytes()
        assert exact(array, places)


def test_buckets_follow_the_density() -> None:
    """A city's trucks get minutes, a lone station years: about a million rows a bucket."""
    assert bucket_for(7_200_000, HOUR_MS) == 450_000
    assert bucket_for(1_800_000, HOUR_MS) == 1_800_000
    assert bucket_for(35_000, 4 * 365 * DAY_MS) > 100 * DAY_MS


def test_a_large_file_is_not_rewritten_for_a_few_late_rows() -> None:
    """Small files are merged among themselves; a far larger one is left alone."""

    def file(name: str, count: int) -> hot.File:
        return hot.File(name, "pole", "raw", DAY_MS, T0, T0 + 1, count, count, 300_000)

    small = [file(f"s{i}", 10) for i in range(MERGE_LEAST)]
    assert mergeable([*small, file("large", 10_000_000)]) == small
    assert mergeable(small[:-1]) == []


def values(store: EmbeddedStore) -> list[float]:
    """What a query of two days tells of one pole."""
    return list(store.range("pole", 0, "voltage", T0, T0 + 2 * DAY_MS)[1])


def two_days(folder: Path) -> list[Path]:
    """A closed store with a sealed file of each of two days; the files, older first."""
    store = EmbeddedStore(folder, rows(), seal_every_s=None)
    store.append(1, hour(0, 0))
    store.append(2, hour(1, 0))
    store.seal()
    store.close()
    found = sorted((folder / "sealed").glob("pole-????????.parquet"))
    assert len(found) == 2
    return found


@pytest.mark.parametrize("damage", ["gone", "cut", "middle"])
def test_a_damaged_file_costs_what_it_held(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """One sealed file gone, cut or garbled: it is named once, the rest answers, and work and restarts go on."""
    older, newer = two_days(tmp_path / "s")
    if damage == "gone":
        newer.unlink()
    else:
        raw = bytearray(newer.read_bytes())
        kept = raw[: len(raw) // 2] if damage == "cut" else raw[:40] + bytes(len(raw) - 400) + raw[-360:]
        newer.write_bytes(kept)
    store = EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)
    assert len(values(store)) == 60
    assert len(values(store)) == 60
    assert store.unreadable == store.info()["unreadable"] == [newer.name]
    assert sum(newer.name in record.message for record in caplog.records) == 1
    store.append(3, hour(2, 0))
    store.seal()
    assert len(store.range("pole", 0, "voltage", T0, T0 + 3 * DAY_MS)[0]) == 120
    store.close()
    assert older.exists()


def test_a_lost_catalogue_takes_no_readings_with_it(tmp_path: Path) -> None:
    """Without hot.duckdb the store does not begin anew over its files (two days and a roll-up)."""
    kept = two_days(tmp_path / "s")
    for path in (tmp_path / "s").glob("hot.duckdb*"):
        path.unlink()
    for _ in range(2):
        with pytest.raises(StoreBroken, match=r"catalogue .* is gone, and 3 sealed files"):
            EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)
        assert all(path.exists() for path in kept)


def test_a_cut_catalogue_is_named(tmp_path: Path) -> None:
    """hot.duckdb that lost its end is refused with what to do, not taken for a disk that is busy."""
    store = EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)
    for n in range(1, 30):
        store.append(n, hour(n, 0))
    store.close()
    path = tmp_path / "s" / "hot.duckdb"
    for part in (0.9, 0.5):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
        with pytest.raises(StoreBroken, match="backup"):
            EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)


def test_files_newer_than_an_older_catalogue_are_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """hot.duckdb restored from an older copy: the files of since are kept, and it is said where."""
    first = EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)
    first.append(1, hour(0, 0))
    first.seal()
    first.close()
    copy = (tmp_path / "s" / "hot.duckdb").read_bytes()
    again = EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)
    again.append(2, hour(0, 1))
    again.seal()
    again.close()
    (tmp_path / "s" / "hot.duckdb").write_bytes(copy)
    older = EmbeddedStore(tmp_path / "s", rows(), seal_every_s=None)
    assert len(values(older)) == 60
    assert [path.name for path in (tmp_path / "s" / "stray").iterdir()] == ["pole-00000002.parquet"]
    assert "pole-00000002.parquet" in caplog.text
    older.append(2, hour(0, 1))
    older.seal()
    assert len(values(older)) == 120
    older.close()
