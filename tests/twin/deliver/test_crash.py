"""kill -9 at random instants during delivery: everything arrives, nothing is called sent that was not."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from pathlib import Path

import pytest

from tests.servers import Postgres
from tests.twin.channels.servers import Answer, Request, http_server
from tests.twin.deliver.crash_child import send_for_ever
from twin.deliver.cases import Cases

FORKS = multiprocessing.get_context("forkserver")  # modules are loaded once, each sender is a fork of its own
FORKS.set_forkserver_preload(["tests.twin.deliver.crash_child", "tests.twin.deliver.commit_child"])
FINDINGS = 120


async def crash(tmp_path: Path, target: str, kills: int, seed: int) -> None:
    """Kill the child `kills` times while it sends, then let it finish, and compare with what the receiver got."""
    rng = random.Random(seed)

    def answer(_request: Request) -> Answer:
        return Answer(503) if rng.random() < 0.2 else Answer()

    accepted: list[str] = []

    def counted(request: Request) -> Answer:
        told = answer(request)
        if told.status == 202:
            accepted.append(request.headers["idempotency-key"])
        return told

    async with http_server(counted) as server:
        for round_ in range(kills + 1):
            ours, theirs = FORKS.Pipe(duplex=False)
            child = FORKS.Process(target=send_for_ever, args=(tmp_path, server.url, FINDINGS, target, theirs))
            child.start()
            theirs.close()
            with ours:
                try:
                    if round_ < kills:
                        await server.until(len(server.requests) + rng.randint(1, 4), 60)
                        await asyncio.sleep(rng.random() * 0.01)  # the random instant
                    else:
                        assert await asyncio.to_thread(ours.poll, 90)
                        assert ours.recv() == "done"
                finally:
                    child.kill()
                    await asyncio.to_thread(child.join)
    cases = Cases(target)
    found = cases.cases(open_only=False, limit=1000)
    assert len({case.subject for case in found}) == len(found) == FINDINGS
    rows = [row for case in found for row in cases.deliveries(case.id) if row["channel"] == "webhook"]
    assert sorted(row["key"] for row in rows) == sorted(set(accepted))
    assert all(row["state"] == "sent" for row in rows)
    assert cases.differences == 0
    assert cases.verify().ok
    cases.close()


@pytest.mark.timeout(240)
async def test_twenty_kills_during_delivery(tmp_path: Path) -> None:
    """After 20 kill -9: every whistle delivered, each recorded as sent once, repeats only under the same key."""
    await crash(tmp_path, str(tmp_path / "cases.sqlite"), 20, seed=7)


@pytest.mark.timeout(240)
async def test_kills_during_delivery_from_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    """The same outbox in PostgreSQL, with five kills."""
    await crash(tmp_path, postgres.database(), 5, seed=8)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_two_hundred_kills_during_delivery(tmp_path: Path) -> None:
    """The same with 200 kills, in ten runs with their own seeds."""
    for run in range(10):
        folder = tmp_path / str(run)
        folder.mkdir()
        await crash(folder, str(folder / "cases.sqlite"), 20, seed=100 + run)
