"""InfluxDB 2: bad lines are set aside with the server's reason, outages are waited out, set-up is one call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests import servers
from tests.contracts.readings import HOUR_MS, T0, batch, rows
from twin.errors import StoreBroken, StoreDown
from twin.journal import Journal
from twin.records import Batch
from twin.store import influxdb, line
from twin.store.influxdb import InfluxStore
from twin.store.influxsetup import initialise
from twin.store.writer import StoreWriter


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A server that is set up by the first test that needs it."""
    running = servers.influxdb(tmp_path_factory.mktemp("influxd"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(server: servers.Server) -> str:
    """The operator's token, from a first set-up over the API."""
    setup = {"username": "test", "password": servers.PASSWORD, "org": "city", "bucket": "first", "token": "operator"}
    httpx.post(f"{server.url}/api/v2/setup", json=setup).raise_for_status()
    return "operator"


def open_bucket(server: servers.Server, token: str, bucket: str, folder: Path, retention_days: int = 0) -> InfluxStore:
    """A store on a bucket of its own."""
    own = initialise(server.url, "city", bucket, token=token, retention_days=retention_days)
    return InfluxStore(server.url, "city", bucket, own, folder, rows(), journal="j")


def one(i: int) -> Batch:
    """A batch of one reading."""
    return batch([(0, T0 + i, i, {"voltage": float(i)})])


def values(store: InfluxStore, row: int = 0) -> list[float]:
    """All that the store has of one device."""
    return store.range("pole", row, "voltage", T0 - HOUR_MS, T0 + HOUR_MS)[1].tolist()


def test_first_set_up_makes_a_server_ready(tmp_path: Path) -> None:
    """A fresh server gets organisation, bucket with retention and a token that writes; a second set-up is refused."""
    fresh = servers.influxdb(tmp_path)
    fresh.start()
    try:
        token = initialise(fresh.url, "city", "series", password=servers.PASSWORD, retention_days=30)
        store = InfluxStore(fresh.url, "city", "series", token, tmp_path / "aside", rows())
        store.append(1, batch([]))
        assert store.position() == 1
        seen = httpx.get(f"{fresh.url}/api/v2/buckets?name=series", headers={"Authorization": f"Token {token}"}).json()
        assert seen["buckets"][0]["retentionRules"][0]["everySeconds"] == 30 * 86_400
        store.close()
        with pytest.raises(StoreBroken, match="operator's token"):
            initialise(fresh.url, "city", "series", password=servers.PASSWORD)
    finally:
        fresh.stop()


def test_bad_lines_are_found_by_bisection(
    server: servers.Server, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand lines three are broken: the others are stored, the three are kept with the server's reason."""
    store = open_bucket(server, token, "bisect", tmp_path)
    whole = line.encode

    def spoil(*given: object) -> bytes:
        lines = whole(*given).split(b"\n")  # type: ignore[arg-type]
        for at in (0, 500, 999):
            lines[at] = lines[at].replace(b"voltage=", b"voltage=x")
        return b"\n".join(lines)

    monkeypatch.setattr(line, "encode", spoil)
    store.append(1, batch([(0, T0 + i, i, {"voltage": float(i)}) for i in range(1000)]))
    assert_array_equal(values(store), np.delete(np.arange(1000.0), [0, 500, 999]))
    assert store.info()["refused"] == 3
    kept = (tmp_path / "refused.lp").read_text()
    assert [each for each in kept.splitlines() if each.startswith("pole,")] == [
        f"pole,device=pole-0 lag=40,voltage=x{at} {stamp}"
        for at, stamp in ((i, line.stamps(1, one(i).columns[0])[0]) for i in (0, 500, 999))
    ]
    assert "unable to parse" in kept
    assert store.position() == 1
    store.close()


def test_a_type_conflict_keeps_the_rest(server: servers.Server, token: str, tmp_path: Path) -> None:
    """A field that the bucket holds as text refuses our number; the other readings of the request are kept."""
    store = open_bucket(server, token, "conflict", tmp_path)
    text = f'pole,device=pole-0 voltage="high" {T0 * 10**6 - 10**9}'
    post = f"{server.url}/api/v2/write?org=city&bucket=conflict"
    httpx.post(post, content=text, headers={"Authorization": f"Token {token}"}).raise_for_status()
    store.append(1, batch([(0, T0, 1, {"voltage": 1.0}), (1, T0, 1, {"pm25": 2.0})]))
    assert store.range("pole", 1, "pm25", T0, T0 + 1)[1].tolist() == [2.0]
    assert store.info()["refused"] == 1
    assert "conflict" in (tmp_path / "refused.lp").read_text()
    store.close()


def test_a_wrong_token_is_no_bad_line(server: servers.Server, token: str, tmp_path: Path) -> None:
    """A refusal of us, not of our data, is StoreDown: nothing is set aside and the journal keeps everything."""
    store = InfluxStore(server.url, "city", "first", "wrong", tmp_path, rows())
    with pytest.raises(StoreDown, match="401"):
        store.append(1, batch([(0, T0, 1, {"voltage": 1.0})]))
    assert not (tmp_path / "refused.lp").exists()
    store.close()


def test_a_server_that_is_not_there_is_down(tmp_path: Path) -> None:
    """No server at the address: StoreDown from every question."""
    store = InfluxStore(f"http://127.0.0.1:{servers.free_port()}", "city", "b", "t", tmp_path, rows(), timeout_s=2)
    with pytest.raises(StoreDown, match="cannot be reached"):
        store.position()
    with pytest.raises(StoreDown):
        store.range("pole", 0, "voltage", T0, T0 + 1)
    store.close()


def test_an_outage_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The server is killed under the writer and started again: afterwards each reading is there once."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = servers.influxdb(folder)
    server.start()
    journal = Journal(tmp_path / "journal.db")
    setup = {"username": "test", "password": servers.PASSWORD, "org": "city", "bucket": "first", "token": "operator"}
    httpx.post(f"{server.url}/api/v2/setup", json=setup).raise_for_status()
    store = open_bucket(server, "operator", "outage", tmp_path / "aside")
    writer = StoreWriter(journal, store, rows(), seed=1)
    writer.start()
    try:
        for i in range(90):
            if i == 30:
                server.kill()
            if i == 60:
                assert writer.durable <= 30
                server.start()
            journal.append([batch([(row, T0 + i * 1000, i, {"voltage": float(i)}) for row in range(20)])])
        assert writer.wait_for(90, 90)
    finally:
        writer.stop()
    assert writer.durable == 90
    for row in (0, 19):
        assert_array_equal(values(store, row), np.arange(90.0))
    store.close()
    journal.close()
    server.stop()


def test_what_is_older_than_the_bucket_keeps_is_counted(server: servers.Server, token: str, tmp_path: Path) -> None:
    """Readings beyond the bucket's retention are refused, in part or all of a lot, and counted by device."""
    store = open_bucket(server, token, "short", tmp_path, retention_days=7)
    now = int(time.time() * 1000)
    old = [(0, T0 + i, i, {"voltage": 1.0}) for i in range(30)]
    store.append(1, batch([*old[:10], *((1, now + i, i, {"voltage": 2.0}) for i in range(20)), *old[10:]]))
    assert (store.refused().total, store.refused().of("pole", "pole-0")) == (30, 30)
    store.append(2, batch([(2, T0 + i, i, {"voltage": 1.0}) for i in range(40)]))
    assert (store.refused().total, store.refused().of("pole", "pole-2")) == (70, 40)
    assert len(store.range("pole", 1, "voltage", now, now + 100)[0]) == 20
    store.close()


def test_refused_lines_that_are_not_searched_for_still_count(
    server: servers.Server, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it would take too many requests to find the lines, their number is the server's, of no device known."""
    monkeypatch.setattr(influxdb, "SEARCHES", 0)
    store = open_bucket(server, token, "hurried", tmp_path, retention_days=7)
    now = int(time.time() * 1000)
    store.append(1, batch([(0, T0 + i, i, {"voltage": 1.0}) for i in range(3)] + [(1, now, 1, {"voltage": 2.0})]))
    assert (store.refused().total, store.refused().of("pole", "pole-0")) == (3, 0)
    store.close()


def test_what_the_server_refuses_is_counted_by_device(server: servers.Server, token: str, tmp_path: Path) -> None:
    """Readings older than the bucket keeps and fields of another type: refused ones are counted by device, once."""
    store = open_bucket(server, token, "counted", tmp_path)
    post = f"{server.url}/api/v2/write?org=city&bucket=counted"
    text = f'pole,device=pole-0 voltage="high" {T0 * 10**6 - 10**9}'
    httpx.post(post, content=text, headers={"Authorization": f"Token {token}"}).raise_for_status()
    readings = [(0, T0 + i, i, {"voltage": 1.0}) for i in range(5)] + [(1, T0 + i, i, {"pm25": 2.0}) for i in range(7)]
    store.append(1, batch(readings))
    store.append(1, batch(readings))  # the store has it: no second refusal
    refused = store.refused()
    assert (refused.total, refused.of("pole", "pole-0"), refused.of("pole", "pole-1")) == (5, 5, 0)
    store.close()
    again = open_bucket(server, token, "counted", tmp_path)
    assert again.position() == 1
    assert again.refused().total == 5
    again.close()
