"""Users with a hash that costs little, and clocks that a test turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from twin.access import Access

QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
WORD = "correct horse battery"


@dataclass
class Turned:
    """The machine's time in s, and a monotonic clock, both turned by the test."""

    now: float = 1_780_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def turned() -> Turned:
    return Turned()


@pytest.fixture
def access(tmp_path: Path, turned: Turned) -> Iterator[Access]:
    made = Access(tmp_path / "users.db", now_s=turned, clock=turned, hasher=QUICK)
    yield made
    made.close()
