"""Fixtures of the wiring room's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.twin.app.parts import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty data directory; what is opened there is closed in the end."""
    made = Place(tmp_path)
    yield made
    made.close()
