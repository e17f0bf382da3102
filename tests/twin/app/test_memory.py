"""What the server remembers: the newest good checkpoint, no tick held up, a journal trimmed to what all have."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.twin.app.parts import action
from tests.twin.ingest.conftest import until
from tests.twin.tick.town import NIGHT_MS, said, town_files
from twin.app import checkpoints
from twin.app import memory as room
from twin.app.checkpoints import Checkpoints
from twin.app.forked import FORKS, ended, fork
from twin.app.memory import Keeper, recount, restore
from twin.city import City, Registry
from twin.errors import TwinError
from twin.ingest.ledger import Ledger as Book
from twin.journal import Journal
from twin.model import KindState
from twin.records import Batch, Columns, Tick
from twin.tick import World
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db", max_bytes=256 << 20)
    yield made
    made.close()


def city() -> City:
    return City(town_files(poles=2, cells=0, trucks=0), Registry())


def world(place: City) -> World:
    return World(place, Ledger(CityPlaces.of(place.files), Policy()))


def heard(place: City, seq: int) -> Columns:
    return said(place, "pole", "pole-0", NIGHT_MS + seq, seq=seq, voltage=230.0 + seq)


def keeper(folder: Path, journal: Journal, *, durable: int = 1 << 60, keep_bytes: int = 1 << 30) -> Keeper:
    return Keeper(Checkpoints(folder / "checkpoints"), journal, lambda: durable, 3600.0, keep_bytes)


def write(kept: Keeper, place: City, journal: Journal, seqs: list[int], book: Book) -> World:
    """Journal readings and a mark, and checkpoint a world which has seen them."""
    seen = world(place)
    for seq in seqs:
        batch = Batch((heard(place, seq),), messages=1)
        book.commit(batch, journal.append([batch]))
    n = journal.append([Tick(NIGHT_MS)])
    seen.last_tick = n
    kept.offer(seen, n, book, now=True)
    return seen


def test_the_newest_good_checkpoint_is_used(tmp_path: Path, journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """World and account come from the newest checkpoint; with that one damaged, from the one before, and it is said."""
    place, book = city(), Book()
    kept = keeper(tmp_path, journal)
    kept.start()
    for seqs in ([1], [2, 3]):
        write(kept, place, journal, seqs, book)
        until(lambda: kept._handed is None, "the checkpoint is written")
    kept.stop()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    newest = restore(checkpoints, city(), journal, Policy())
    assert (newest.world_n, newest.book.position, newest.world.last_tick) == (5, 4, 5)
    newest_file = checkpoints.files()[0]
    newest_file.write_bytes(newest_file.read_bytes()[:-1])
    older = restore(checkpoints, city(), journal, Policy())
    assert (older.world_n, older.book.position) == (2, 1)
    assert newest_file.name in caplog.text
    recount(older.book, journal, lambda _batch: None)
    assert older.book.total().journalled == 3
    for file in checkpoints.files():
        file.write_bytes(b"junk")
    nothing = restore(checkpoints, city(), journal, Policy())
    assert (nothing.world_n, nothing.book.position) == (0, 0)


def test_a_checkpoint_of_another_journal_is_not_used(tmp_path: Path, journal: Journal) -> None:
    """A checkpoint ahead of the journal (restored from an older copy) is left alone."""
    place = city()
    kept = keeper(tmp_path, journal)
    kept.start()
    kept.offer(world(place), 99, Book(), now=True)
    kept.stop()
    assert restore(kept.checkpoints, city(), journal, Policy()).world_n == 0


def test_trouble_is_shown_and_the_journal_is_kept(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs a checkpoint, no thread: trouble is told, the next one is written and clears it."""
    place, book = city(), Book()
    kept = keeper(tmp_path, journal)

    def full(_parts: object) -> Path:
        raise OSError(28, "No space left on device")

    kept.start()
    with monkeypatch.context() as patched:
        patched.setattr(kept.checkpoints, "write", full)
        write(kept, place, journal, [1], book)
        until(lambda: kept.trouble, "trouble is shown")
    assert kept.written == 0
    until(lambda: kept._handed is None, "the keeper takes the next")
    write(kept, place, journal, [2], book)
    kept.stop()
    assert (kept.written, kept.trouble) == (1, "")


@pytest.mark.parametrize(("durable", "first"), [(1 << 60, 3), (1, 2), (0, 1)])
def test_the_journal_is_trimmed_to_what_all_have(tmp_path: Path, journal: Journal, durable: int, first: int) -> None:
    """Entries go only when both kept checkpoints and the store are past them; a small journal keeps everything."""
    place, book = city(), Book()
    kept = keeper(tmp_path, journal, durable=durable, keep_bytes=0)
    kept.start()
    for seqs in ([1], [2, 3]):
        n = journal.append([action("a")])
        assert n
        write(kept, place, journal, seqs, book)
        until(lambda: kept._handed is None, "the checkpoint is written")
    kept.stop()
    assert kept.checkpoints.floor() == 2
    assert journal.first == first


def test_a_small_journal_keeps_everything(tmp_path: Path, journal: Journal) -> None:
    """Below keep_bytes nothing is trimmed."""
    place, book = city(), Book()
    kept = keeper(tmp_path, journal)
    kept.start()
    for seqs in ([1], [2], [3]):
        write(kept, place, journal, seqs, book)
        until(lambda: kept._handed is None, "the checkpoint is written")
    kept.stop()
    assert journal.first == 1


def test_nothing_slow_happens_on_the_ticking_thread(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offering copies and returns: cases are encoded and the file is written by the keeper's own thread, and what the
    world becomes meanwhile is not in it."""
    threads: list[str] = []
    pieces = room.pieces

    def watched(tree: Mapping[str, Any]) -> list[bytes | memoryview]:
        import threading

        threads.append(threading.current_thread().name)
        return pieces(tree)

    monkeypatch.setattr(room, "pieces", watched)
    monkeypatch.setattr(Ledger, "dump", lambda _self: pytest.fail("the ledger is dumped on the tick"))
    place, book = city(), Book()
    kept = keeper(tmp_path, journal)
    seen = write(kept, place, journal, [1], book)
    seen.models["pole"].arrays["arrived"][0] = 7
    kept.start()
    kept.stop()
    assert threads == ["checkpoints", "checkpoints"]
    again = restore(kept.checkpoints, city(), journal, Policy())
    assert again.world.models["pole"].arrays["arrived"][0] == 0
    assert 0 < kept.longest_hold_s < 1.0


@pytest.mark.skipif(not FORKS, reason="large worlds are forked on Linux alone")
def test_a_large_world_is_forked_and_not_copied(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child writes the world as it was when it was offered, with the cases and the account; no array of a model is
    copied for it; and it is a checkpoint only when it is whole."""
    place, book = city(), Book()
    kept = keeper(tmp_path, journal)
    kept.fork_from = 0
    monkeypatch.setattr(KindState, "dump", lambda _self: pytest.fail("a model is copied on the tick"))
    seen = write(kept, place, journal, [1], book)
    expected = seen.snapshot(copied=False)["models"]["pole"]["row.arrived"].copy()
    seen.models["pole"].arrays["arrived"][0] = 7
    assert kept.checkpoints.files() == []
    kept.start()
    until(lambda: kept.written == 1, "the child's checkpoint is taken over")
    again = restore(kept.checkpoints, city(), journal, Policy())
    assert again.world.models["pole"].arrays["arrived"][:2].tolist() == expected.tolist()
    assert again.book.total().journalled == 1
    kept.stop()
    assert [path.suffix for path in (tmp_path / "checkpoints").iterdir()] == [".check"]


@pytest.mark.skipif(not FORKS, reason="large worlds are forked on Linux alone")
def test_a_fork_waits_for_no_lock_of_another_thread(tmp_path: Path, journal: Journal) -> None:
    """However often the account is just being changed when the world is forked, the child can write it down."""
    place, book = city(), Book()
    kept = keeper(tmp_path, journal)
    kept.fork_from = 0
    kept.start()
    busy = threading.Event()

    def count() -> None:
        n = 1_000
        while not busy.is_set():
            n += 1
            book.commit(Batch((heard(place, n),), messages=1), n)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for seq in range(1, 6):
            n = journal.append([Tick(NIGHT_MS + seq)])
            kept.offer(world(place), n, book, now=True)
            until(lambda seq=seq: kept.written == seq, "the child has written it")
    finally:
        busy.set()
        thread.join()
        kept.stop()
    assert kept.trouble == ""


@pytest.mark.skipif(not FORKS, reason="large worlds are forked on Linux alone")
def test_a_child_without_room_is_told_and_the_next_one_tried(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the child is the keeper's trouble, leaves nothing behind, and the next offer goes on."""
    place, book = city(), Book()
    kept = keeper(tmp_path, journal)
    kept.fork_from = 0

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    kept.start()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.os, "fsync", full)
        write(kept, place, journal, [1], book)
    until(lambda: kept._handed is None, "the child has ended")
    assert "No space left" in kept.trouble
    assert list((tmp_path / "checkpoints").iterdir()) == []
    write(kept, place, journal, [2], book)
    kept.stop()
    assert (kept.written, kept.trouble) == (1, "")


@pytest.mark.skipif(not FORKS, reason="large worlds are forked on Linux alone")
def test_a_forked_child_holds_nothing_of_ours(tmp_path: Path) -> None:
    """The child has none of our files open, so that a lock of ours ends with us; a fault in it is an error here."""
    lock, told = tmp_path / "lock", tmp_path / "told"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended(fork(lambda: told.write_text("\n".join(_open_files()))))
    assert str(lock) not in told.read_text().splitlines()
    with pytest.raises(ChildProcessError, match="signal 9"):
        ended(fork(lambda: os.kill(os.getpid(), 9)))
    with pytest.raises(OSError, match="No space left"):
        ended(fork(_no_room))
    with pytest.raises(ChildProcessError, match="was ended after"):
        ended(fork(signal.pause), longest_s=0.2)


def _open_files() -> list[str]:
    return [str(handle.readlink()) for handle in Path("/proc/self/fd").iterdir() if handle.exists()]


def _no_room() -> None:
    raise OSError(28, "No space left on device")


def test_only_what_is_due_is_copied(tmp_path: Path, journal: Journal) -> None:
    """Between two checkpoints, and while one is being written, an offer costs nothing."""
    place = city()
    kept = keeper(tmp_path, journal)
    kept._due_s = time.monotonic() + 3600
    kept.offer(world(place), 1, Book())
    assert kept._handed is None
    kept._due_s = 0.0
    kept.offer(world(place), 1, Book())
    handed = kept._handed
    kept._due_s = 0.0
    kept.offer(world(place), 2, Book())
    assert kept._handed is handed
    assert np.isfinite(kept.longest_hold_s)


def test_an_account_is_counted_on_once(journal: Journal) -> None:
    """Recounting takes what the account has not seen, every batch once, and shows its rejects to whoever asks."""
    place, book = city(), Book()
    batches = [Batch((heard(place, seq),), messages=1) for seq in (1, 2, 3)]
    book.commit(batches[0], journal.append([batches[0]]))
    for batch in batches[1:]:
        journal.append([batch])
    noted: list[Batch] = []
    recount(book, journal, noted.append)
    recount(book, journal, noted.append)
    assert (book.total().journalled, len(noted), book.position) == (3, 2, 3)


def test_cases_that_were_lost_come_again_or_are_missed(
    tmp_path: Path, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """A checkpoint that has seen more than the case database has is not used: an older one is, or the whole journal;
    where that begins too late the start is refused with what to do, unless that loss is accepted."""
    place, book = city(), Book()
    kept = keeper(tmp_path, journal)
    kept.start()
    for seqs in ([1], [2, 3]):
        write(kept, place, journal, seqs, book)
        until(lambda: kept._handed is None, "the checkpoint is written")
    kept.stop()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    older, newest = (Checkpoints.read(path)["world"].n for path in reversed(checkpoints.files()))

    def began(cases_to: int, *, gaps: bool = False) -> int:
        return restore(checkpoints, city(), journal, Policy(), cases_to=cases_to, gaps=gaps).world_n

    assert began(newest) == newest
    assert began(newest - 1) == older
    assert began(0) == 0
    assert "case database ends at entry 0" in caplog.text
    journal.trim(older)
    assert began(newest) == newest
    assert began(older) == older
    for _ in range(40):
        newest = journal.append([Tick(NIGHT_MS)])
    seen = world(place)
    seen.last_tick = newest
    kept = keeper(tmp_path, journal)
    kept.start()
    for _ in range(2):
        kept.offer(seen, newest, book, now=True)
        until(lambda: kept._handed is None, "the checkpoint is written")
    kept.stop()
    with pytest.raises(TwinError, match=r"the case database ends at entry 0.*backup.*gaps"):
        began(0)
    assert began(0, gaps=True) == journal.first - 1


def test_no_checkpoint_while_the_cases_wait(tmp_path: Path, journal: Journal) -> None:
    """While the case database refuses, the world is not kept: it would be ahead of it."""
    place, book = city(), Book()
    kept = keeper(tmp_path, journal)
    kept.ready = lambda: False
    kept.start()
    write(kept, place, journal, [1], book)
    kept.stop()
    assert kept.written == 0
    assert Checkpoints(tmp_path / "checkpoints").files() == []
