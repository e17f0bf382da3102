"""kill -9 in the middle of commits, on both databases, and a crash of PostgreSQL: ticks are whole or not there."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import signal
import threading
from contextlib import closing

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from tests.servers import Postgres
from tests.twin.deliver.commit_child import EACH, changes_of, record_for_ever
from twin.deliver.cases import Cases
from twin.deliver.schema import CASES, DELIVERIES, SCORES, TRANSITIONS

FORKS = multiprocessing.get_context("forkserver")  # modules are loaded once, each writer is a fork of its own
FORKS.set_forkserver_preload(["tests.twin.deliver.crash_child", "tests.twin.deliver.commit_child"])


def check(target: str, told: int) -> int:
    """All of the ticks up to the last are there, nothing of a later one, and none that was told is missing."""
    with closing(Cases(target)) as cases:
        last = cases.last_tick
        assert last >= told
        with cases._engine.connect() as link:
            counts = [int(link.execute(select(func.count()).select_from(t)).scalar_one())
                      for t in (CASES, SCORES, DELIVERIES, TRANSITIONS)]  # fmt: skip
        assert counts == [EACH * last, EACH * last, EACH * last, 2 * EACH * last]
        assert cases.counts()["pending"] == min(EACH, EACH * last)
        assert cases.verify().ok
        return last


def kill_often(target: str, kills: int, seed: int) -> None:
    """Kill the writer `kills` times, some ticks beyond what is recorded, and look each time."""
    rng, last = random.Random(seed), 0
    for _ in range(kills):
        ours, theirs = FORKS.Pipe(duplex=False)
        child = FORKS.Process(target=record_for_ever, args=(target, theirs))
        child.start()
        theirs.close()
        told, until = 0, last + rng.randint(1, 6)
        with ours:
            try:
                while told < until:
                    told = ours.recv()
                threading.Event().wait(rng.random() * 0.02)  # the random instant
            finally:
                child.kill()
                child.join()
            with contextlib.suppress(EOFError):
                while True:
                    told = ours.recv()
        last = check(target, told)
    assert last >= kills


def test_a_killed_writer_leaves_whole_ticks(target: str) -> None:
    """Ten kills: whatever was said to be recorded is, and nothing is there by halves."""
    kill_often(target, 10, seed=3)


@pytest.mark.soak
def test_a_writer_killed_two_hundred_times_leaves_whole_ticks(target: str) -> None:
    """The same with 200."""
    kill_often(target, 200, seed=4)


def test_postgresql_crashes_between_two_ticks() -> None:
    """The server dies and comes back: the tick that failed is recorded by trying again, once; nothing else is lost."""
    server = Postgres(fsync=True)
    server.start()
    try:
        target = server.database()
        with closing(Cases(target)) as cases:
            for n in (1, 2):
                assert cases.record(n, changes_of(n))
            server.end(signal.SIGQUIT)
            with pytest.raises(OperationalError):
                cases.record(3, changes_of(3))
            with pytest.raises(OperationalError):
                cases.record(3, changes_of(3))
            server.start()
            assert cases.record(3, changes_of(3))
            assert not cases.record(3, changes_of(3))
            assert cases.differences == 0
        assert check(target, 3) == 3
    finally:
        server.discard()


def test_a_commit_whose_answer_was_lost_is_not_made_twice(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has the tick, but the connection broke before it could say so: trying again finds it there."""
    with closing(Cases(target)) as cases:
        assert cases.record(1, changes_of(1))
        write = cases._write

        def committed_unheard(*told: object) -> object:
            write(*told)  # type: ignore[arg-type]
            told[0].get_transaction().commit()  # type: ignore[attr-defined]
            raise OperationalError("COMMIT", None, ConnectionError("gone"))

        with monkeypatch.context() as broken:
            broken.setattr(cases, "_write", committed_unheard)
            with pytest.raises(OperationalError):
                cases.record(2, changes_of(2))
        assert not cases.record(2, changes_of(2))
        assert cases.differences == 0
    assert check(target, 2) == 2
