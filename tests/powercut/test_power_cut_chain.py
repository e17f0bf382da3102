"""Power cuts of a whole server: journal, case database with its outbox, checkpoints and store on one disk.

The power goes while the server works for a town whose broker and senders live on. Whatever was acknowledged to anybody
is there afterwards: readings that a mark covered, messages that were delivered, what an operator was told is done.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.test_crash import check_books, check_cases, check_replay, received, settle
from tests.acceptance.town import Town, rounds, town, wait_for
from tests.powercut.disks import Disk, open_disk
from twin.app.checkpoints import Checkpoints
from twin.deliver.cases import Cases
from twin.journal import Journal

CUTS = 5
SOAK_CUTS = int(os.environ.get("CITYWHISTLE_TEST_CUTS", "40"))
SOAK_SEED = int(os.environ.get("CITYWHISTLE_TEST_SEED", "4"))
DISK_MB = 512
FAULTS = "[random]\nfirst_s = 1\nevery_s = 15\ntypes = ['leakage', 'door_open', 'backhaul_down', 'cell_down']\n"


def work(place: Town, chance: random.Random, before: Collection[str]) -> str:
    """Let the server whistle anew and accept that whistle; then on to a random instant. The case's id."""

    def fresh() -> str:
        queue = place.get("/api/cases?limit=100") or []
        waiting = [case["id"] for case in queue if case["state"] == "dispatched" and case["id"] not in before]
        return waiting[0] if waiting else ""

    case = wait_for(fresh, "a whistle", 120)
    assert place.post(f"/api/cases/{case}/accept"), place.log("server")
    time.sleep(chance.uniform(0.0, 1.5))  # the random instant
    return case


def cut(place: Town, disk: Disk) -> None:
    """The power goes and comes back; what survived is looked at before a server touches it."""
    told = {line["key"] for line in received(place)}
    disk.cut()
    place.kill("server")
    disk.back()
    with closing(Journal(place.data / "journal.db", ballast_bytes=0)) as journal:
        assert journal.verify() == journal.position - journal.first + 1
    with closing(Cases(place.data / "cases.db")) as cases:
        assert cases.verify().ok
        assert all(cases.delivery(key) is not None for key in told), "a message was sent that nothing tells of"
    for path in Checkpoints(place.data / "checkpoints").files():
        assert Checkpoints.read(path).keys() == {"world", "account"}


def survive(way: str, folder: Path, seed: int, cuts: int, tell: Callable[[str], None] = lambda _: None) -> None:
    """Cut the power so often; then the books, the cases, and the journal replayed from nothing."""
    chance = random.Random(seed)
    (folder / "disk").mkdir()
    disk = open_disk(way, folder / "disk", seed, DISK_MB)
    disk.start()
    try:
        with town(folder, speed=40.0, disk=disk.mount) as place:
            place.start_server()
            (folder / "faults.toml").write_text(FAULTS, encoding="utf-8")
            place.start_fleet("--seed", str(seed), "--scenario", str(folder / "faults.toml"))
            accepted: list[str] = []
            made = 0
            for number in rounds(cuts):
                accepted.append(work(place, chance, accepted))
                cut(place, disk)
                place.start_server()
                for one in accepted:  # it may have been closed since, and whistled again
                    steps = [step["event"] for step in place.get(f"/api/cases/{one}/history")]
                    assert steps.count("accept") == 1, (one, steps)
                tell(f"{number + 1} of {cuts} power cuts on {way}, {len(accepted)} accepted cases still are")
                made = number + 1
            settle(place)
            assert check_books(place) > 0
            assert check_cases(place) >= len(accepted)
            whole = check_replay(place)
            log = (place.root / "server.log").read_text(encoding="utf-8")
            ticks = [int(found) for found in re.findall(r"restored to entry \d+ by (\d+) ticks", log)]
            assert len(ticks) > made > 0
            assert max(ticks) < whole, "no checkpoint was used"
    finally:
        disk.close()


@pytest.mark.broker
@pytest.mark.acceptance
@pytest.mark.timeout(600)
def test_five_power_cuts_of_a_whole_server_lose_nothing(tmp_path: Path) -> None:
    """After five cuts nothing acknowledged is lost or doubled, and a replay from nothing gives the same cases."""
    survive("either", tmp_path, seed=3, cuts=CUTS)


@pytest.mark.soak
@pytest.mark.broker
@pytest.mark.acceptance
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("way", ["ext4", "fuse"])
def test_forty_power_cuts_of_a_whole_server_lose_nothing(way: str, tmp_path: Path, tell: Callable[[str], None]) -> None:
    """The same forty times (or CITYWHISTLE_TEST_CUTS times) on each kind of disk, with other moments."""
    survive(way, tmp_path, SOAK_SEED, SOAK_CUTS, tell)
