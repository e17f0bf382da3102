"""A full disk: the journal says so, keeps what it acknowledged, can be trimmed, and goes on when there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.twin.journal.bodies import batch, same
from twin.errors import JournalFull
from twin.journal import Journal
from twin.records import Tick

DISK_MB = 24
BALLAST = 6 << 20


def _fill(journal: Journal, limit: int = 5000) -> int:
    """Append until refused; the last number acknowledged."""
    for _ in range(limit):
        try:
            journal.append([batch(2000, start=journal.position)])
        except JournalFull:
            return journal.position
    pytest.fail("the disk never got full")


def _story(mount: Path, *, other: bool) -> None:
    """Fill the disk (with `other`: some other program fills it), trim, go on; run inside the small disk."""
    journal = Journal(mount / "journal.db", max_bytes=1 << 30, tail_bytes=0, ballast_bytes=BALLAST)
    hog = mount / "hog"
    if other:
        for _ in range(30):
            journal.append([batch(2000, start=journal.position)])
        free = shutil.disk_usage(mount).free
        with hog.open("wb") as out:
            os.posix_fallocate(out.fileno(), 0, free - (256 << 10))
    last = _fill(journal)
    assert "disk" in journal.full
    with pytest.raises(JournalFull):
        journal.append([batch(60_000)])
    assert journal.position == last
    assert journal.verify() == last
    assert same(journal.read(last - 1, 1)[0].body, batch(2000, start=last - 1))

    journal.trim(last - 5)
    assert journal.first == last - 5
    n = journal.append([batch(2000, start=last), Tick(1)])
    assert n == last + 2
    assert journal.full == ""
    assert journal.verify() == 8

    last = _fill(journal)
    hog.unlink(missing_ok=True)
    journal.trim(last)
    for _ in range(20):
        last = journal.append([batch(2000)])
    assert journal.verify() == 21
    journal.close()
    again = Journal(mount / "journal.db", max_bytes=1 << 30, ballast_bytes=BALLAST)
    assert again.position == last
    assert again.verify() == 21
    again.close()


@pytest.mark.parametrize("other", [False, True], ids=["the journal fills it", "another program fills it"])
def test_a_full_disk_refuses_heals_and_loses_nothing(other: bool, tmp_path: Path) -> None:
    """On a 24 MB disk: JournalFull with nothing half-written, trimming works, appending goes on by itself."""
    probe = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"no private mounts here: {probe.stderr.strip()}")
    script = 'mount -t tmpfs -o size="$1"m tmpfs "$2" && shift 2 && exec "$@"'
    inside = [sys.executable, "-m", "tests.powercut.test_disk_full", str(tmp_path), "other" if other else "alone"]
    ran = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", str(DISK_MB), str(tmp_path), *inside],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


if __name__ == "__main__":
    _story(Path(sys.argv[1]), other=sys.argv[2] == "other")
