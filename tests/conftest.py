"""Fixtures that every room may use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.broker import TestBroker, need_mosquitto, open_broker
from twin.broker.find import Binary, find_mosquitto

# An example that takes long says that the machine is busy, not that the code is wrong.
settings.register_profile("house", settings(), deadline=None)
settings.load_profile("house")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TestBroker]:
    """A real Mosquitto of its own for each test, open to everybody: `.address`, `.stop()`, `.start()`, `.kill()`.

    With CITYWHISTLE_TEST_BROKER=host:port that broker is used instead, and tests which restart it are skipped.
    """
    with open_broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture(scope="session")
def mosquitto_binary() -> Binary:
    """The Mosquitto to start by hand."""
    need_mosquitto()
    found = find_mosquitto()
    assert found is not None
    return found


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Say how far a long test is, past pytest's capture."""

    def told(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {time.strftime('%H:%M:%S')} {text}", end="", flush=True)

    return told
