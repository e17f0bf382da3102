"""VictoriaMetrics: a position is durable only a flush margin after its rows, so that its crash loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests import servers
from tests.contracts.readings import HOUR_MS, T0, batch, rows
from tests.twin.ingest.conftest import until
from twin.errors import StoreDown
from twin.store.victoriametrics import VictoriaStore


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.Server]:
    """A server of its own for each test."""
    running = servers.victoriametrics(tmp_path)
    running.start()
    yield running
    running.stop()


def flush(server: servers.Server) -> None:
    """Make what was written visible."""
    httpx.get(f"{server.url}/internal/force_flush", timeout=30).raise_for_status()


def found_position(server: servers.Server) -> int:
    """What a store that is opened anew takes for its position."""
    with closing(VictoriaStore(server.url, rows())) as store:
        return store.position()


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.s


def test_the_position_follows_a_margin_behind(server: servers.Server) -> None:
    """Entries count as durable when the margin has passed since they were sent, not before."""
    clock = Hand()
    store = VictoriaStore(server.url, rows(), margin_s=30, monotonic=clock)
    store.append(1, batch([(0, T0, 1, {"voltage": 1.0})]))
    clock.s = 20.0
    store.append(2, batch([(0, T0 + 1000, 2, {"voltage": 2.0})]))
    assert store.position() == 0
    clock.s = 30.0
    assert store.position() == 1
    clock.s = 50.0
    assert store.position() == 2
    store.append(3, batch([(0, T0 + 2000, 3, {"voltage": 3.0})]))
    flush(server)
    # A busy server shows a series that is new to it some moments after it has taken it in.
    until(lambda: found_position(server) > 0, "its position is shown")
    assert found_position(server) == 2
    store.close()


def test_what_its_crash_takes_is_sent_again(server: servers.Server) -> None:
    """Killed at once after acknowledging, the server may have lost rows; sending from the position restores all."""
    store = VictoriaStore(server.url, rows(), margin_s=1000)
    lots = [batch([(0, T0 + i * 1000, i, {"voltage": float(i)})]) for i in range(50)]
    store.append_many(list(enumerate(lots, 1)))
    server.kill()
    with pytest.raises(StoreDown):
        store.append(51, lots[0])
    server.start()
    after = store.position()
    assert after == 0
    store.append_many([(n, lot) for n, lot in enumerate(lots, 1) if n > after])
    flush(server)
    t, v = store.range("pole", 0, "voltage", T0, T0 + HOUR_MS)
    assert_array_equal(t, T0 + np.arange(50) * 1000)
    assert_array_equal(v, np.arange(50.0))
    assert store.downsample("pole", 0, "voltage", T0, T0 + 60_000, 60_000).count.tolist() == [50]
    store.close()
