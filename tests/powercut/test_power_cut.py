"""Power cuts: whatever the journal acknowledged before the power went is there when it is back."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.powercut.disks import Disk, open_disk
from twin.journal import Journal

CUTS = 5
SOAK_CUTS = int(os.environ.get("CITYWHISTLE_TEST_CUTS", "40"))
SOAK_SEED = int(os.environ.get("CITYWHISTLE_TEST_SEED", "2"))


def _write_until(disk: Disk, entries: int) -> tuple[int, int]:
    """Cut the power when a writer has made `entries` appends; the last number surely acknowledged, and its first."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.powercut.writer", str(disk.mount)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer:
        assert writer.stdout.readline() == "open\n"
        told: list[tuple[int, int]] = []
        for line in writer.stdout:
            n, at = line.split()
            told.append((int(n), int(at)))
            if len(told) >= entries:
                break
        before = disk.cut()
        told += [(int(line.split()[0]), int(line.split()[1])) for line in writer.stdout.read().splitlines()]
        writer.kill()
        assert writer.wait(30) in (-9, 3), "an error of the disk is an error of the journal, no other"
    sure = [n for n, at in told if at < before]
    assert len(sure) >= entries
    return sure[-1], told[0][0]


def _survive(way: str, folder: Path, seed: int, cuts: int, tell: Callable[[str], None] = lambda _: None) -> None:
    """Cut the power `cuts` times, after a random number of entries, and look at the journal after each."""
    chance = random.Random(seed)
    disk = open_disk(way, folder, seed)
    disk.start()
    acknowledged = 0
    try:
        for number in range(cuts):
            sure, began = _write_until(disk, chance.randrange(5, 120))
            assert began > acknowledged, "numbers went back after a cut"
            disk.back()
            journal = Journal(disk.mount / "journal.db", ballast_bytes=0)
            try:
                assert journal.position >= sure, f"entry {journal.position + 1} was acknowledged and is gone"
                assert journal.position % 2 == 0, "half of an append survived"
                assert journal.verify() == journal.position - journal.first + 1
                acknowledged = journal.position
            finally:
                journal.close()
            if (number + 1) % 10 == 0:
                tell(f"{number + 1} of {cuts} power cuts on {way}, {acknowledged} entries, all there")
    finally:
        disk.close()


@pytest.mark.parametrize("way", ["ext4", "fuse"])
def test_five_power_cuts_lose_nothing(way: str, tmp_path: Path) -> None:
    """After each of five cuts under load, every acknowledged entry is there, whole, and the journal goes on."""
    _survive(way, tmp_path, seed=1, cuts=CUTS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["ext4", "fuse"])
def test_forty_power_cuts_lose_nothing(way: str, tmp_path: Path, tell: Callable[[str], None]) -> None:
    """The same forty times with other moments (or as often as CITYWHISTLE_TEST_CUTS says)."""
    _survive(way, tmp_path, SOAK_SEED, SOAK_CUTS, tell)
