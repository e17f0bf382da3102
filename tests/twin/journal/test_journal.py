"""The journal: numbered, durable, bounded, held by one process, readable from memory and from disk."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.twin.journal.bodies import batch, same
from twin.errors import BodyRefused, JournalBroken, JournalBusy, JournalFull
from twin.journal import Journal
from twin.records import Batch, Edit, Link, Names, Tick


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal of a test lives."""
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """An open, empty journal."""
    opened = Journal(path)
    yield opened
    opened.close()


def test_numbers_start_at_one_and_have_no_gaps(journal: Journal) -> None:
    """One call's bodies get consecutive numbers and `append` returns the last."""
    assert (journal.position, journal.first) == (0, 1)
    assert journal.append([Tick(1), Tick(2)]) == 2
    assert journal.append([Link("up")]) == 3
    assert [entry.n for entry in journal.read(0, 10)] == [1, 2, 3]
    assert (journal.position, journal.first) == (3, 1)


def test_an_empty_append_returns_the_position(journal: Journal) -> None:
    """Nothing to append is no error and no entry."""
    assert journal.append([]) == 0
    journal.append([Tick(1)])
    assert journal.append([]) == 1


def test_it_is_all_there_after_opening_again(path: Path) -> None:
    """Entries, position and identity survive close and open, and the numbers go on."""
    body = batch(50)
    first = Journal(path)
    first.append([body, Tick(5)])
    first.close()
    again = Journal(path)
    try:
        assert again.id == first.id
        assert again.position == 2
        entries = again.read(0, 10)
        assert same(entries[0].body, body)
        assert entries[1].body == Tick(5)
        assert again.append([Tick(6)]) == 3
        assert again.verify() == 3
    finally:
        again.close()


def test_memory_and_disk_tell_the_same(path: Path) -> None:
    """With a tail of nothing, every read comes from disk and equals what memory tells."""
    bodies = [batch(20, start=i) for i in range(5)] + [Tick(9), Edit("rules", '{"a":[1,2]}')]
    for tail_bytes in (0, 64 << 20):
        with_tail = Journal(path, tail_bytes=tail_bytes)
        if with_tail.position == 0:
            with_tail.append(bodies)
        for after in range(8):
            found = with_tail.read(after, 3)
            assert [e.n for e in found] == list(range(after + 1, min(after + 4, 8)))
            assert all(same(e.body, bodies[e.n - 1]) for e in found)
        with_tail.close()


def test_reads_are_bounded_by_bytes_but_never_empty(journal: Journal) -> None:
    """A byte bound smaller than one entry still gives that one entry, so a reader always gets on."""
    journal.append([batch(1000), batch(1000), batch(1000)])
    assert [e.n for e in journal.read(0, 10, max_bytes=1)] == [1]
    assert [e.n for e in journal.read(1, 10, max_bytes=1)] == [2]


def test_wait_wakes_at_an_append(journal: Journal) -> None:
    """A waiting reader is woken by the entry it waits for, and a wait in vain says so."""
    assert not journal.wait(0, 0.0)
    woken: list[bool] = []
    reader = threading.Thread(target=lambda: woken.append(journal.wait(0, 30)))
    reader.start()
    journal.append([Tick(1)])
    reader.join(30)
    assert woken == [True]


def test_wait_wakes_at_close(path: Path) -> None:
    """Closing releases who waits, with False."""
    journal = Journal(path)
    woken: list[bool] = []
    reader = threading.Thread(target=lambda: woken.append(journal.wait(0, 30)))
    reader.start()
    journal.close()
    reader.join(30)
    assert woken == [False]
    with pytest.raises(JournalBroken, match="closed"):
        journal.append([Tick(1)])


def test_threads_append_at_once_and_none_is_lost(journal: Journal) -> None:
    """Eight threads' appends are all kept once, each call's bodies side by side, numbers told truly."""
    told: list[tuple[int, int]] = []

    def write(who: int) -> None:
        for i in range(40):
            told.append((who * 1000 + i, journal.append([Tick(who * 1000 + i), Tick(-1)])))  # noqa: PERF401

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = {entry.n: entry.body for entry in journal.read(0, 10_000)}
    assert sorted(entries) == list(range(1, 641))
    assert all(entries[n - 1] == Tick(mark) and entries[n] == Tick(-1) for mark, n in told)


def test_trimming_forgets_the_old_and_keeps_the_numbers(path: Path) -> None:
    """Entries below the mark go, the last one always stays, and opening again goes on counting."""
    journal = Journal(path, tail_bytes=0)
    journal.append([Tick(i) for i in range(100)])
    assert journal.trim(61) == 60
    assert (journal.first, journal.position) == (61, 100)
    with pytest.raises(JournalBroken, match="entry 1 has been trimmed"):
        journal.read(0, 5)
    assert journal.trim(10_000) == 39
    assert journal.trim(10_000) == 0
    journal.close()
    again = Journal(path)
    assert (again.first, again.position) == (100, 100)
    assert again.append([Tick(0)]) == 101
    again.close()


def test_names_stay_for_ever(path: Path) -> None:
    """Rows given to devices outlive the entries that gave them."""
    journal = Journal(path)
    journal.append([Names((("pole", 0, "p-0"), ("cell", 0, "c-0")))])
    journal.append([Names((("pole", 1, "p-1"), ("pole", 0, "p-0")))])
    journal.append([Tick(1)])
    journal.trim(3)
    journal.close()
    again = Journal(path)
    assert again.names() == [("cell", 0, "c-0"), ("pole", 0, "p-0"), ("pole", 1, "p-1")]
    again.close()


def test_a_row_is_never_given_twice(journal: Journal) -> None:
    """Giving a row to another device is refused whole: no entry, no name; others in the same commit pass."""
    journal.append([Names((("pole", 0, "p-0"),))])
    with pytest.raises(BodyRefused, match="belongs to p-0"):
        journal.append([Tick(1), Names((("pole", 1, "p-1"), ("pole", 0, "p-9")))])
    assert journal.position == 1
    assert journal.names() == [("pole", 0, "p-0")]
    assert journal.append([Tick(2)]) == 2


def test_a_body_that_breaks_its_contract_is_told_from_a_full_disk(journal: Journal) -> None:
    """It is refused for good, with nothing of its call kept, and the journal takes others as before."""
    broken = replace(batch(3).columns[0], seq=np.zeros(2, np.int64))
    with pytest.raises(BodyRefused, match="Batch that breaks its own contract: column seq"):
        journal.append([Tick(1), Batch(columns=(broken,), messages=3)])
    assert journal.position == 0
    assert journal.full == ""
    assert journal.append([Tick(2)]) == 1


def _fill(journal: Journal) -> int:
    """Append until the journal refuses; the number of the last acknowledged entry."""
    last = 0
    try:
        for i in range(10_000):
            last = journal.append([batch(500, start=i), Tick(i)])
    except JournalFull:
        return last
    pytest.fail("the journal took 10,000 batches and named no bound")


def test_the_bound_refuses_whole_calls_and_trimming_heals(path: Path) -> None:
    """At its bound the journal raises JournalFull keeping nothing of the call, and goes on after a trim."""
    journal = Journal(path, max_bytes=2 << 20)
    acknowledged = _fill(journal)
    assert journal.position == acknowledged
    assert "bound" in journal.full
    assert journal.size().bytes <= 2 << 20
    with pytest.raises(JournalFull):
        journal.append([batch(500), Tick(1)])
    journal.trim(acknowledged - 4)
    assert journal.append([batch(500), Tick(1)]) == acknowledged + 2
    assert journal.full == ""
    assert journal.verify() == 7
    journal.close()


def test_a_small_call_passes_beside_one_that_is_too_large(path: Path) -> None:
    """A call larger than the bound is refused alone; those waiting with it are kept."""
    journal = Journal(path, max_bytes=2 << 20)
    gate = threading.Barrier(5)
    failures: list[Exception] = []

    def large() -> None:
        gate.wait()
        try:
            journal.append([batch(200_000)])
        except JournalFull as error:
            failures.append(error)

    def small() -> None:
        gate.wait()
        for i in range(20):
            journal.append([Tick(i)])

    threads = [threading.Thread(target=large)] + [threading.Thread(target=small) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 1
    assert journal.position == 80
    journal.close()


def test_only_one_process_may_have_it(path: Path) -> None:
    """A second process is told which one has the journal, and gets it when that one is gone."""
    holder = subprocess.Popen(
        [sys.executable, "-c", f"""
import sys
from pathlib import Path
from twin.journal import Journal
journal = Journal(Path({str(path)!r}))
print("open", flush=True)
sys.stdin.read()
"""],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(JournalBusy, match=f"process {holder.pid} "):
            Journal(path)
        holder.kill()
        holder.wait(30)
    Journal(path).close()


def test_a_file_of_something_else_is_refused(path: Path) -> None:
    """A file that is no journal is named and left as it is."""
    path.write_bytes(b"not a database at all, " * 100)
    with pytest.raises(JournalBroken, match=r"journal\.db"):
        Journal(path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_newer_schema_is_refused(path: Path) -> None:
    """A journal of a later version is not touched by this one, and the message says what to run."""
    Journal(path).close()
    with sqlite3.connect(path) as link:
        link.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    link.close()
    with pytest.raises(JournalBroken, match="schema 99"):
        Journal(path)


def _damage(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as link:
        link.execute(statement)
    link.close()


def test_a_garbled_entry_is_named(path: Path) -> None:
    """Damage inside an entry is found by read and verify, which name its number; the others still read."""
    journal = Journal(path)
    journal.append([Tick(1), Tick(2), Tick(3)])
    journal.close()
    _damage(path, "UPDATE entry SET body = substr(body, 1, 12) || x'ff' || substr(body, 14) WHERE n = 2")
    again = Journal(path)
    with pytest.raises(JournalBroken, match="entry 2 "):
        again.verify()
    with pytest.raises(JournalBroken, match="entry 2 "):
        again.read(0, 10)
    assert again.read(2, 10)[0].body == Tick(3)
    again.close()


def test_a_missing_entry_is_named(path: Path) -> None:
    """A hole in the numbers is never read over in silence."""
    journal = Journal(path)
    journal.append([Tick(1), Tick(2), Tick(3)])
    journal.close()
    _damage(path, "DELETE FROM entry WHERE n = 2")
    again = Journal(path)
    with pytest.raises(JournalBroken, match="entry 2 is missing"):
        again.verify()
    again.close()


def test_kill_9_keeps_every_acknowledged_entry(path: Path) -> None:
    """A writer killed in the middle of its work leaves a journal that holds all it was told, and verifies."""
    writer = subprocess.Popen(
        [sys.executable, "-c", f"""
from pathlib import Path
from tests.twin.journal.bodies import batch
from twin.journal import Journal
from twin.records import Tick
journal = Journal(Path({str(path)!r}))
while True:
    print(journal.append([batch(300), Tick(1)]), flush=True)
"""],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert writer.stdout is not None
    with writer:
        for line in writer.stdout:
            if int(line) >= 60:
                writer.kill()
                break
        rest = writer.stdout.read().split()
    acknowledged = int(rest[-1]) if rest else 60
    journal = Journal(path)
    assert journal.position >= acknowledged
    assert journal.position % 2 == 0
    assert journal.verify() == journal.position
    journal.close()
