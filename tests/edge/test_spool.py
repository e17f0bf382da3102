"""The spool: what `put` has returned from is never lost, no number is used twice, and it stays within its bound."""

from __future__ import annotations

import random
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.records import Mark, Reading
from edge.errors import SpoolError
from edge.spool import Spool
from tests.docs.read import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    made = Spool(path)
    yield made
    made.close()


def reading(device: str = "p-1", t_ms: int | None = 1, value: float = 1.0) -> Reading:
    return Reading(device, t_ms, {"pm25": value})


def numbers(spool: Spool, device: str = "p-1") -> list[int | None]:
    return [r.seq for r in spool.peek(device, limit=10_000)]


def test_each_device_is_numbered_from_one_in_the_order_of_put(spool: Spool) -> None:
    """Numbers have no gaps, and readings come back as they were given."""
    spool.put([reading(), reading("p-2", 7, 2.5), reading(value=3)])
    spool.put([reading(t_ms=None, value=4)])
    assert spool.peek("p-1") == [
        Reading("p-1", 1, {"pm25": 1.0}, spool.boot, 1),
        Reading("p-1", 1, {"pm25": 3.0}, spool.boot, 2),
        Reading("p-1", None, {"pm25": 4.0}, spool.boot, 3),
    ]
    assert spool.peek("p-2") == [Reading("p-2", 7, {"pm25": 2.5}, spool.boot, 1)]
    assert spool.peek("nobody") == []


def test_equal_milliseconds_are_two_readings(spool: Spool) -> None:
    """Time is no key: 500 readings of one millisecond are 500."""
    spool.put([reading(t_ms=5)] * 500)
    assert numbers(spool) == list(range(1, 501))


def test_peek_pages_by_number(spool: Spool) -> None:
    """`after` and `until` bound a page, `limit` its length."""
    spool.put([reading(value=i) for i in range(20)])
    boot = spool.boot
    assert [r.seq for r in spool.peek("p-1", (boot, 5), (boot, 12), 100)] == list(range(6, 13))
    assert [r.seq for r in spool.peek("p-1", (boot, 5), None, 3)] == [6, 7, 8]
    assert spool.peek("p-1", (boot, 20)) == []


def test_done_lets_go_what_a_mark_covers_and_nothing_else(spool: Spool) -> None:
    """Up to seq, the ranges beyond it, of this device and boot only; carried out by the next put or sweep."""
    spool.put([reading(value=i) for i in range(10)] + [reading("p-2")])
    spool.done(Mark("p-1", spool.boot - 1, 9))
    spool.done(Mark("p-1", spool.boot, 3, ((6, 7), (9, 9))))
    assert numbers(spool) == list(range(1, 11))
    spool.sweep()
    assert numbers(spool) == [4, 5, 8, 10]
    assert numbers(spool, "p-2") == [1]
    assert (spool.counts.rows, spool.counts.covered) == (5, 6)
    spool.done(Mark("p-1", spool.boot + 5, 3, (), (Mark("p-1", spool.boot, 8),)))
    spool.put([reading()])
    assert numbers(spool) == [10, 11]


def test_a_restart_goes_on_with_the_same_numbers(path: Path) -> None:
    """What waits keeps its boot and numbers, and new readings follow."""
    first = Spool(path)
    first.put([reading(value=i) for i in range(5)])
    boot = first.boot
    first.done(Mark("p-1", boot, 2))
    first.close()
    second = Spool(path)
    second.put([reading(), reading("p-2")])
    assert second.boot == boot
    assert numbers(second) == [3, 4, 5, 6]
    assert second.counts.rows == 5
    second.close()


def test_a_start_with_nothing_waiting_takes_a_higher_boot(path: Path) -> None:
    """Numbers begin at 1 again only under a boot that was never used, even within one second."""
    boots = []
    for _ in range(3):
        spool = Spool(path)
        spool.put([reading()])
        assert numbers(spool) == [1]
        spool.done(Mark("p-1", spool.boot, 1))
        boots.append(spool.boot)
        spool.close()
    assert boots == sorted(set(boots))


def test_a_full_spool_drops_the_oldest_and_counts_them_by_device(path: Path) -> None:
    """The bound holds on disk too; what is dropped is the oldest, whoever's, and the count survives a restart."""
    bound = 1 << 20
    spool = Spool(path, max_bytes=bound)
    given = 0
    for turn in range(60):
        spool.put([reading(f"p-{i % 2 + 1}", turn, i) for i in range(500)])
        given += 500
        assert spool.counts.bytes <= bound
    counts = spool.counts
    assert counts.dropped == given - counts.rows > 0
    assert counts.dropped == sum(spool.dropped.values())
    for device in ("p-1", "p-2"):
        left = numbers(spool, device)
        assert left == list(range(given // 2 - len(left) + 1, given // 2 + 1))
        assert spool.dropped[device] == given // 2 - len(left)
    dropped = spool.dropped
    spool.close()
    assert path.stat().st_size <= 1.1 * bound
    again = Spool(path, max_bytes=bound)
    assert again.dropped == dropped
    again.close()


def test_a_failed_put_keeps_and_numbers_nothing(path: Path, spool: Spool) -> None:
    """While another holds the file the put fails whole; afterwards it may be tried again, with no gap."""
    spool._db.execute("PRAGMA busy_timeout = 10")
    spool.put([reading()])
    spool.done(Mark("p-1", spool.boot, 1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolError, match="locked"):
        spool.put([reading()] * 3)
    assert spool.counts.rows == 1
    other.execute("ROLLBACK")
    other.close()
    spool.put([reading()] * 3)
    assert numbers(spool) == [2, 3, 4]


def test_a_full_disk_loses_nothing_that_was_durable(path: Path, spool: Spool) -> None:
    """SQLite's own limit of pages stands for a full disk: the put fails, what was kept stays, later ones succeed."""
    spool.put([reading(value=i) for i in range(100)])
    pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
    spool._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(SpoolError, match="full"):
        spool.put([reading(value=i) for i in range(5000)])
    assert numbers(spool) == list(range(1, 101))
    spool._db.execute("PRAGMA max_page_count = 1000000")
    spool.put([reading()])
    assert numbers(spool) == list(range(1, 102))


def test_two_gateways_cannot_share_a_spool(path: Path, spool: Spool) -> None:
    """They would give the same numbers; the second is told so, and the first goes on."""
    with pytest.raises(SpoolError, match="does another gateway use it"):
        Spool(path)
    spool.put([reading()])
    assert numbers(spool) == [1]


def test_a_damaged_file_is_put_aside(path: Path) -> None:
    """The gateway goes on unattended: a new spool is begun under a new boot, the old file is kept, and it says so."""
    spool = Spool(path)
    spool.put([reading(value=i) for i in range(3000)])
    boot = spool.boot
    spool.close()
    path.write_bytes(b"no database at all" * 1000)
    again = Spool(path)
    assert "damaged" in again.problem
    assert again.boot > boot
    again.put([reading()])
    assert numbers(again) == [1]
    again.close()
    assert len(list(path.parent.glob("spool.db.damaged-*"))) == 1


def test_an_old_copy_of_the_file_takes_new_numbers(path: Path, tmp_path: Path) -> None:
    """A card copied back gives numbers that the server has from before; its mark shows that, and they are changed."""
    spool = Spool(path)
    spool.put([reading(value=i) for i in range(3)])
    old = spool.boot
    spool.done(Mark("p-1", old, 50))  # 47 more than this copy knows of
    spool.put([reading("p-2")])
    assert spool.boot > old
    assert "old copy" in spool.problem
    assert [(r.boot, r.seq) for r in spool.peek("p-1")] == [(spool.boot, s) for s in (1, 2, 3)]
    spool.close()


@settings(deadline=None, max_examples=50)  # each example makes a file and syncs it
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.integers(0, 40)), max_size=25))
def test_waiting_is_given_less_covered(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Over any order of puts and marks: what waits is exactly what no mark has covered."""
    spool = Spool(tmp_path_factory.mktemp("spool") / "spool.db")
    given: dict[str, int] = {}
    covered: dict[str, set[int]] = {}
    for device, count, up_to in steps:
        spool.put([reading(device)] * count)
        given[device] = given.get(device, 0) + count
        seq = min(up_to, given[device])
        spool.done(Mark(device, spool.boot, seq))
        covered.setdefault(device, set()).update(range(1, seq + 1))
    spool.sweep()
    for device, last in given.items():
        assert numbers(spool, device) == [s for s in range(1, last + 1) if s not in covered[device]]
    assert spool.counts.rows == sum(given.values()) - sum(map(len, covered.values()))
    spool.close()


def test_killed_at_any_instant_it_loses_nothing_and_repeats_no_number(path: Path) -> None:
    """kill -9 at random instants: all that put returned from waits or was covered, each number names one reading."""
    rng = random.Random(4)
    kept: set[int] = set()
    sent: dict[tuple[str, int, int], int] = {}
    for turn in range(10):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.edge.spool_writer", str(path), str(1 + turn * 1_000_000)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        lines = _killed_after(child, rng.uniform(0.0, 0.25))
        for line in lines:
            word, *rest = line.split()
            if word == "kept":
                kept.update(range(int(rest[0]), int(rest[1]) + 1))
            else:
                key = (rest[0], int(rest[1]), int(rest[2]))
                assert sent.setdefault(key, int(rest[3])) == int(rest[3]), "a number names two readings"
    spool = Spool(path)
    waiting: set[int] = set()
    for device in ("p-1", "p-2", "p-3"):
        for one in spool.peek(device, limit=1_000_000):
            assert one.t_ms is not None
            waiting.add(one.t_ms)
            key = (device, one.boot or 0, one.seq or 0)
            assert sent.setdefault(key, one.t_ms) == one.t_ms, "a number names two readings"
    assert spool.problem == ""
    spool.close()
    assert len(kept) > 100
    assert kept <= waiting | set(sent.values())


def _killed_after(child: subprocess.Popen[bytes], wait_s: float) -> list[str]:
    """The complete lines of a child that is killed so long after its first one."""
    assert child.stdout is not None
    first = child.stdout.readline()
    end_s = time.monotonic() + wait_s
    text = first
    while (left_s := end_s - time.monotonic()) > 0:
        if select.select([child.stdout], [], [], left_s)[0]:
            text += child.stdout.read1(65536)
    child.kill()
    text += child.stdout.read()
    child.stdout.close()
    child.wait()
    return text.decode().split("\n")[:-1]
