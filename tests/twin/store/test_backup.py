"""Backups are of one moment, open as stores, tell what is wrong with them, and go back in the place of a store."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.contracts.readings import HOUR_MS, T0, batch, rows
from twin.errors import StoreBroken
from twin.store.backup import NOTE, back_up, check, open_copy, restore
from twin.store.embedded import EmbeddedStore
from twin.store.skipped import SKIPPED, Skipped

EVER = (0, 2**62)


def a_store(folder: Path) -> EmbeddedStore:
    """Two readings sealed, one hot."""
    store = EmbeddedStore(folder, rows(), journal="j1", seal_every_s=None)
    store.append(1, batch([(1, T0 + 10, 1, {"voltage": 1.5}), (0, T0 + 20, 1, {"pm25": 0.1})]))
    store.seal()
    store.append(2, batch([(1, T0 + HOUR_MS, 2, {"voltage": 2.5})]))
    return store


def test_a_backup_opens_as_a_store_of_its_own(tmp_path: Path) -> None:
    """It holds what was kept until then under the devices' names, and nothing that came later."""
    store = a_store(tmp_path / "store")
    note = back_up(store, rows().names(), tmp_path / "copy")
    assert (note["journal"], note["position"], note["rows"]) == ("j1", 2, 3)
    store.append(3, batch([(1, T0 + 2 * HOUR_MS, 3, {"voltage": 3.5})]))
    store.close()
    copy, names = open_copy(tmp_path / "copy")
    assert copy.range("pole", names.row("pole", "pole-1"), "voltage", *EVER)[1].tolist() == [1.5, 2.5]
    copy.close()


def test_what_a_store_never_saw_is_known_after_a_restore(tmp_path: Path) -> None:
    """The entries that were trimmed before the store could see them go along, and are still of its journal."""
    store = a_store(tmp_path / "store")
    Skipped(tmp_path / "store" / SKIPPED, "j1").add(7, 12)
    back_up(store, rows().names(), tmp_path / "copy")
    store.close()
    restore(tmp_path / "copy", tmp_path / "other" / "store")
    assert Skipped(tmp_path / "other" / "store" / SKIPPED, "j1").count == 5


def test_a_backup_under_load_holds_whole_entries(tmp_path: Path) -> None:
    """Entries that are appended meanwhile are in it with both of their readings, or not at all."""
    store = EmbeddedStore(tmp_path / "store", rows(), seal_every_s=None)
    stop = threading.Event()

    def feed() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            store.append(n, batch([(0, T0 + n, n, {"pm25": 1.0}), (1, T0 + n, n, {"pm25": 1.0})]))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        for i in range(3):
            back_up(store, rows().names(), tmp_path / f"copy{i}")
    finally:
        stop.set()
        feeder.join()
    store.close()
    for i in range(3):
        copy, _ = open_copy(tmp_path / f"copy{i}")
        seen = [len(copy.range("pole", row, "pm25", *EVER)[0]) for row in (0, 1)]
        assert seen[0] == seen[1] == copy.position()
        copy.close()


@pytest.mark.parametrize("harm", ["cut", "gone", "note", "bytes"])
def test_a_damaged_backup_is_refused_by_name(harm: str, tmp_path: Path) -> None:
    """A file that is cut, missing or altered, or a backup that was never finished, restores nothing."""
    store = a_store(tmp_path / "store")
    back_up(store, rows().names(), tmp_path / "copy")
    store.close()
    (file,) = [p for p in (tmp_path / "copy" / "sealed").iterdir() if p.stat().st_nlink > 1][:1]
    whole = file.read_bytes()
    file.unlink()  # a link: the store's own file stays
    if harm == "cut":
        file.write_bytes(whole[:-5])
    elif harm == "bytes":
        file.write_bytes(whole[:4] + bytes(255 - b for b in whole[4:60]) + whole[60:])
    elif harm == "note":
        file.write_bytes(whole)
        (tmp_path / "copy" / NOTE).unlink()
    with pytest.raises(StoreBroken, match=NOTE if harm == "note" else file.name):
        restore(tmp_path / "copy", tmp_path / "store")
    again = EmbeddedStore(tmp_path / "store", rows(), journal="j1", seal_every_s=None)
    assert again.position() == 2
    again.close()


def test_restore_keeps_the_former_store_beside(tmp_path: Path) -> None:
    """The backup stands where the store stood, at its position, so that the journal goes on from there."""
    store = a_store(tmp_path / "store")
    back_up(store, rows().names(), tmp_path / "copy")
    store.append(3, batch([(1, T0 + 2 * HOUR_MS, 3, {"voltage": 3.5})]))
    store.close()
    shares: list[float] = []
    kept = restore(tmp_path / "copy", tmp_path / "store", shares.append)
    assert kept is not None
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for place, position in ((tmp_path / "store", 2), (kept, 3)):
        one = EmbeddedStore(place, rows(), journal="j1", seal_every_s=None)
        assert one.position() == position
        one.close()
    check(tmp_path / "copy")
