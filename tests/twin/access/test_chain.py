"""The books: what was altered, taken out or put elsewhere is found; retention shortens them and says so."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.twin.access.conftest import QUICK, Turned
from twin.access import Access


@pytest.fixture
def told(access: Access) -> Access:
    """Ten reveals."""
    for i in range(10):
        access.record("reveals", "mei", "revealed plate", f"truck-{i}", "a reason")
    return access


def test_an_untouched_book_is_proved(told: Access) -> None:
    """The proof names the head, which later proofs must still contain."""
    first = told.verify("reveals")
    assert (first.ok, first.checked) == (True, 10)
    told.record("reveals", "mei", "revealed plate", "truck-10", "a reason")
    assert told.verify("reveals", first.head).ok
    assert not told.verify("reveals", "f" * 64).ok
    assert told.verify("audit").ok


@pytest.mark.parametrize(("spoil", "flaw"), [
    ("UPDATE entries SET reason = 'another' WHERE n = 4", "line 4 was altered"),
    ("UPDATE entries SET at_ms = at_ms + 1 WHERE n = 10", "line 10 was altered"),
    ("DELETE FROM entries WHERE n = 7", "line 7 is missing"),
    ("DELETE FROM entries WHERE n = 10", "lines after 9 are missing"),
    ("DELETE FROM entries WHERE n = 1", "line 1 is missing"),
    ("DELETE FROM entries", "lines after 0 are missing"),
    ("DELETE FROM heads", "the head of the book is missing"),
    ("UPDATE entries SET n = n + 90 WHERE n IN (3, 4); UPDATE entries SET n = 97 - n WHERE n > 90",
     "line 3 was altered"),
])  # fmt: skip
def test_every_change_is_found(told: Access, tmp_path: Path, spoil: str, flaw: str) -> None:
    """Altered, taken out (also the last), or put elsewhere: the first such line is named."""
    with sqlite3.connect(tmp_path / "users.db") as link:
        link.executescript(spoil)
    link.close()
    found = told.verify("reveals")
    assert not found.ok
    assert flaw in found.flaw


def test_retention_shortens_and_says_so(told: Access, turned: Turned) -> None:
    """Old lines go, what is left proves itself from the new base, and the audit book has what went."""
    turned.now += 86_400
    told.record("reveals", "mei", "revealed plate", "truck-11", "a reason")
    assert told.shorten("reveals", int(turned.now * 1000) - 1000) == 10
    proof = told.verify("reveals")
    assert (proof.ok, proof.checked) == (True, 1)
    assert [(one.event, one.detail.split()[0]) for one in told.entries("audit")] == [("shortened", "10")]
    assert told.shorten("reveals", int(turned.now * 1000) + 10**9) == 0  # the newest line stays


def test_killed_while_writing(tmp_path: Path) -> None:
    """A writer that is killed leaves a book that proves itself, with every line that was answered."""
    child = (
        "import sys; from twin.access import Access\n"
        "a = Access(sys.argv[1])\n"
        "for i in range(10**6): print(a.record('reveals', 'x', 'e', str(i)).n, flush=True)\n"
    )
    path = tmp_path / "users.db"
    process = subprocess.Popen([sys.executable, "-c", child, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    answered = [int(process.stdout.readline()) for _ in range(50)][-1]
    process.kill()
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    answered = int(rest[-1]) if rest and rest[-1].isdigit() else answered
    access = Access(path, hasher=QUICK)
    proof = access.verify("reveals")
    access.close()
    assert proof.ok
    assert proof.checked >= answered
