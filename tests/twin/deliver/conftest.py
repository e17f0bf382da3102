"""Where cases may be kept: SQLite and a real PostgreSQL; every test that takes `target` runs over both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of this room."""
    server = Postgres()
    server.start()
    yield server
    server.discard()


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A path or URL of an empty case database."""
    if request.param == "sqlite":
        return str(tmp_path / "cases.sqlite")
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()
