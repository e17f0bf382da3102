"""kill -9 at random instants during delivery: everything arrives, nothing is called sent that was not."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.twin.channels.servers import Answer, Request, http_server
from twin.deliver.cases import Cases

ROOT = Path(__file__).parents[3]
FINDINGS = 120


async def crash(tmp_path: Path, kills: int, seed: int) -> None:
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
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.twin.deliver.crash_child",
                str(tmp_path),
                server.url,
                str(FINDINGS),
                cwd=ROOT,
                stdout=PIPE,
            )
            try:
                if round_ < kills:
                    await server.until(len(server.requests) + rng.randint(1, 4), 30)
                    await asyncio.sleep(rng.random() * 0.01)  # the random instant
                else:
                    async with asyncio.timeout(90):
                        assert child.stdout
                        assert await child.stdout.readline() == b"done\n"
            finally:
                child.kill()
                await child.wait()
    cases = Cases(tmp_path / "cases.sqlite")
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
    await crash(tmp_path, 20, seed=7)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_two_hundred_kills_during_delivery(tmp_path: Path) -> None:
    """The same with 200 kills, in ten runs with their own seeds."""
    for run in range(10):
        folder = tmp_path / str(run)
        folder.mkdir()
        await crash(folder, 20, seed=100 + run)
