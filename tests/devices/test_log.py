"""The sender's own log: exact after kill -9, torn lines left out, merged when it grows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devices.boot import next_boot
from devices.errors import DeviceError
from devices.log import Sent, SentLog, read_log


def test_ranges_join_and_overlap_counts_once() -> None:
    """Re-sent numbers are one reading; gaps stay gaps."""
    sent = Sent()
    for first, last in ((1, 3), (4, 4), (8, 9), (2, 5), (7, 7)):
        sent.add(first, last)
    assert sent.ranges == [(1, 5), (7, 9)]
    assert sent.count == 8
    assert list(sent.seqs()) == [1, 2, 3, 4, 5, 7, 8, 9]


def test_it_is_read_as_written(tmp_path: Path) -> None:
    """Devices and boots stay apart, losses add up."""
    log = SentLog(tmp_path / "a.jsonl")
    log.write([("p", 1, 1, 5), ("q", 1, 1, 1)], [("p", 1, 2)])
    log.write([("p", 2, 1, 1), ("p", 1, 6, 6)], [("p", 1, 1)])
    log.close()
    read = read_log(tmp_path / "a.jsonl")
    assert read["p"][1] == Sent([(1, 6)], 3)
    assert read["p"][2] == Sent([(1, 1)], 0)
    assert read["q"][1].count == 1


def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    """What a killed writer left half-written was never published; the next writer starts on a line of its own."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"device":"p","boot":1,"sent":[1,2]}\n{"device":"p","boot":1,"se')
    assert read_log(path)["p"][1].ranges == [(1, 2)]
    log = SentLog(path)
    log.write([("p", 1, 3, 3)], [])
    log.close()
    assert read_log(path)["p"][1].ranges == [(1, 3)]


def test_damage_in_the_middle_is_named_by_line(tmp_path: Path) -> None:
    """A log that somebody has edited is refused with file and line."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"device":"p","boot":1,"sent":[1,2]}\nnonsense\n{"device":"p","boot":1,"sent":[3,3]}\n')
    with pytest.raises(DeviceError, match=r"a\.jsonl:2:"):
        read_log(path)


def test_it_is_merged_when_it_has_grown(tmp_path: Path) -> None:
    """The file stays small over any number of bursts and says the same."""
    log = SentLog(tmp_path / "a.jsonl", max_bytes=2000)
    for seq in range(1, 1001):
        log.write([("p", 1, seq, seq)], [("p", 1, 1)] if seq % 100 == 0 else [])
    log.close()
    assert (tmp_path / "a.jsonl").stat().st_size < 2500
    assert read_log(tmp_path / "a.jsonl")["p"][1] == Sent([(1, 1000)], 10)


WRITER = """
import sys
from pathlib import Path
from devices.log import SentLog
log = SentLog(Path(sys.argv[1]))
seq = 0
while True:
    log.write([("p", 1, seq + 1, seq + 3)], [])
    seq += 3
    sys.stdout.write(f"{seq}\\n")
    sys.stdout.flush()
"""


def test_kill_9_loses_no_line(tmp_path: Path) -> None:
    """Everything that a killed writer had logged before it went on is in the file."""
    path = tmp_path / "a.jsonl"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 3000:
            break
    os.kill(child.pid, signal.SIGKILL)
    rest = child.stdout.read()  # by the same reader, which has read ahead
    child.stdout.close()
    child.wait(20)
    said = max([3000, *(int(line) for line in rest.splitlines() if line.strip().isdigit() and int(line) % 3 == 0)])
    sent = read_log(path)["p"][1]
    assert len(sent.ranges) == 1
    assert sent.ranges[0][1] in (said, said + 3)


def test_boot_numbers_grow_even_when_the_clock_does_not(tmp_path: Path) -> None:
    """Each start gets a larger number; a state file that is no number is refused with the way out."""
    path = tmp_path / "boot"
    first = next_boot(path)
    assert next_boot(path) > first
    path.write_text(f"{first + 10_000_000}\n")
    assert next_boot(path) == first + 10_000_001
    path.write_text("?\n")
    with pytest.raises(DeviceError, match="delete the file"):
        next_boot(path)
