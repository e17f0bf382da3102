"""The server under bad circumstances, as a process: what it cannot do without it says; without the rest it goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from tests.broker import TestBroker
from tests.servers import PASSWORD, free_port, influxdb
from tests.twin.app.serving import Serving, begin, refused, serving, settings_in, write_config
from tests.twin.ingest.conftest import Publisher, until
from twin.__main__ import app
from twin.app.server import _ours
from twin.errors import TwinError
from twin.journal import Journal
from twin.settings import JournalSettings, StoreSettings, WebSettings
from twin.store.influxsetup import initialise

TOPIC = "city/091001/pole/pole-0001/telemetry"


def reading(seq: int) -> bytes:
    return b'{"boot": 1, "seq": %d, "t": %d, "voltage": 231.0}' % (seq, time.time_ns() // 1_000_000)


def test_without_a_broker_it_starts_says_so_and_goes_on(tmp_path: Path, broker: TestBroker) -> None:
    """Broker absent at start: page and ticks are there, health names it; when it comes the city is heard, and marks
    and stored readings follow; when it goes and comes back, again."""
    broker.stop()
    with serving(tmp_path, settings_in(tmp_path, broker.host, broker.port)) as server:
        until(lambda: server.health()["tick"]["last"] > 2, "it ticks without a broker")
        told = server.health()
        assert (told["ready"], told["link"]) == (False, "down")
        assert str(broker.port) in told["link_detail"]
        assert any(trouble["part"] == "link" and trouble["zh"] for trouble in told["troubles"])
        assert server.ask("/readyz").status_code == 503
        for first in (1, 4):
            broker.start()
            until(lambda: server.health()["link"] == "drained", "the link is up and drained", 40)
            device = Publisher(broker)
            for seq in range(first, first + 3):
                device.say(TOPIC, reading(seq))
            device.close()
            until(lambda n=first + 2: server.ask("/api/accounting").json()["total"]["stored"] == n, "all is stored")
            assert server.health()["ready"]
            broker.stop()
            until(lambda: server.health()["link"] == "down", "the broken link is seen")
        assert server.end() == 0
    with serving(tmp_path, settings_in(tmp_path, broker.host, broker.port)) as again:
        assert again.ask("/api/accounting").json()["total"]["journalled"] == 6


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """The second one names the first's process and the way out; the first goes on, its note stays."""
    settings = settings_in(tmp_path)
    with serving(tmp_path, settings) as first:
        code, said = refused(first.config)
        assert code == 1
        assert str(first.process.pid) in said
        assert "its own data folder" in said
        assert first.health()["tick"]["last"] > 0


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """With the page's port taken the server says which, and serves at another, which its note names."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(tmp_path, replace(settings_in(tmp_path), web=WebSettings(port=port))) as server:
            note = server.note()
            assert note is not None
            assert not note["url"].endswith(f":{port}")
            assert server.ask("/healthz").status_code == 200
            assert f"port {port} of [web] is taken" in server.log


def test_a_foreign_address_is_said(tmp_path: Path) -> None:
    """With an address that is not this machine's the start ends with one sentence: which, and what to do."""
    web = WebSettings(host="192.0.2.1")
    code, said = refused(write_config(tmp_path, replace(settings_in(tmp_path), web=web)))
    assert code == 1
    assert "192.0.2.1:" in said
    assert "[web]" in said
    assert not (tmp_path / "data" / "running.json").exists()


@pytest.mark.parametrize("kind", ["influxdb", "victoriametrics"])
def test_without_its_store_it_starts_and_ticks(tmp_path: Path, kind: str) -> None:
    """Nobody at the store's address: the server starts, ticks, says so; a query is 503 with a time to come again."""
    store = StoreSettings(kind=kind, url=f"http://127.0.0.1:{free_port()}")
    with serving(tmp_path, replace(settings_in(tmp_path), store=store)) as server:
        until(lambda: server.health()["tick"]["last"] > 2, "it ticks without its store")
        until(lambda: not server.health()["store"]["up"], "the store is said to be down")
        (account,) = server.ask("/api/accounting?limit=1&after=pole-0000").json()["devices"]
        assert server.ask("/api/devices/pole-0001").json()["account"] == account
        answer = server.ask("/api/devices/pole-0001/series?quantity=voltage")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert server.ask("/metrics").status_code == 200
        assert server.end() == 0


def test_what_its_store_refuses_is_told_and_not_counted_as_stored(tmp_path: Path, broker: TestBroker) -> None:
    """InfluxDB holds a quantity as text: readings with it are `unstorable`, after a restart too, and others stored."""
    (folder := tmp_path / "influxd").mkdir()
    influxd = influxdb(folder)
    influxd.start()
    try:
        token = initialise(influxd.url, "city", "series", password=PASSWORD)
        (token_file := tmp_path / "token").write_text(token)
        httpx.post(
            f"{influxd.url}/api/v2/write?org=city&bucket=series",
            content=f'pole,device=pole-0001 voltage="high" {time.time_ns()}',
            headers={"Authorization": f"Token {token}"},
        ).raise_for_status()
        store = StoreSettings(kind="influxdb", url=influxd.url, org="city", bucket="series", token_file=str(token_file))
        settings = replace(settings_in(tmp_path, broker.host, broker.port), store=store)
        for restart in (False, True):
            with serving(tmp_path, settings) as server:
                if not restart:
                    device = Publisher(broker)
                    for seq in range(1, 4):
                        device.say(TOPIC, reading(seq))
                    device.say(TOPIC, b'{"boot": 1, "seq": 4, "t": %d, "pm25": 12.0}' % (time.time_ns() // 1_000_000))
                    device.close()

                def told(server: Serving = server) -> list[tuple[int, int, int]]:
                    answer = server.ask("/api/accounting?limit=1&after=pole-0000").json()
                    each = (answer["total"], *answer["devices"])
                    return [(one["journalled"], one["stored"], one["unstorable"]) for one in each]

                until(lambda: told() == [(4, 1, 3), (4, 1, 3)], "three are refused and one is stored")
                assert 'fate="unstorable"} 3' in server.ask("/metrics").text
                assert server.end() == 0
    finally:
        influxd.stop()


def test_what_was_trimmed_before_a_new_store_saw_it_is_told(tmp_path: Path, broker: TestBroker) -> None:
    """The store is lost and the journal short: health, page and metrics say how much the new store lacks."""
    settings = settings_in(tmp_path, broker.host, broker.port)
    with serving(tmp_path, settings) as server:
        device = Publisher(broker)
        device.say(TOPIC, reading(1))
        device.close()
        until(lambda: server.ask("/api/accounting").json()["total"]["stored"] == 1, "the reading is stored")
        assert server.health()["store"]["skipped"] == 0
        assert server.end() == 0
    with contextlib.closing(Journal(tmp_path / "data" / "journal.db")) as journal:
        last = journal.position
        journal.trim(last)
        lost = journal.first - 1
    assert 0 < lost <= last
    shutil.rmtree(tmp_path / "data" / "store")
    with serving(tmp_path, settings) as server:
        until(lambda: server.health()["store"]["skipped"] == lost, "what was skipped is told")
        assert f"{lost} batches were trimmed" in str(server.health()["troubles"])
        assert f"}} {lost}\n" in server.ask("/metrics").text.partition("# TYPE citywhistle_store_skipped")[2]
        told = CliRunner().invoke(app, ["account", "--config", str(server.config)], env={"COLUMNS": "300"})
        assert f"{lost} batches were trimmed" in told.output
        assert server.end() == 0
    with serving(tmp_path, settings) as server:
        assert server.health()["store"]["skipped"] == lost
        assert server.end() == 0


def test_damaged_checkpoints_cost_only_time(tmp_path: Path, broker: TestBroker) -> None:
    """With its newest checkpoint damaged, and with all of them, the server starts and has every reading."""
    settings = settings_in(tmp_path, broker.host, broker.port)
    with serving(tmp_path, settings) as server:
        device = Publisher(broker)
        for seq in range(1, 6):
            device.say(TOPIC, reading(seq))
        device.close()
        until(lambda: server.ask("/api/accounting").json()["total"]["journalled"] == 5, "all is journalled")
        until(lambda: len(list((server.data / "checkpoints").glob("*.check"))) == 2, "two checkpoints")
        assert server.end() == 0
    for damaged in (1, 2):
        files = sorted((tmp_path / "data" / "checkpoints").glob("*.check"), reverse=True)
        for file in files[:damaged]:
            file.write_bytes(file.read_bytes()[:-9] + b"damage..!")
        with serving(tmp_path, settings) as again:
            total = again.ask("/api/accounting").json()["total"]
            assert (total["journalled"], total["missing"]) == (5, 0)
            assert files[0].name in again.log
            assert again.end() == 0


def spoil_file(data: Path) -> str:
    (data / "journal.db").write_bytes(b"this is no database, whatever its name says" * 1000)
    return "journal"


def spoil_pages(data: Path) -> str:
    path = data / "journal.db"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 :] = os.urandom(len(raw) - len(raw) // 2)
    path.write_bytes(raw)
    return "journal"


def spoil_entry(data: Path) -> str:
    with sqlite3.connect(data / "journal.db") as link:
        link.execute("UPDATE entry SET body = x'00ff00ff' WHERE n = (SELECT max(n) FROM entry)")
    link.close()
    return "entry"


def spoil_cases(data: Path) -> str:
    (data / "cases.db").write_bytes(b"neither is this one a database at all" * 1000)
    return "cases.db"


def spoil_store(data: Path) -> str:
    (data / "store" / "hot.duckdb").write_bytes(b"no database of series either" * 1000)
    return "hot.duckdb"


def spoil_users(data: Path) -> str:
    (data / "users.db").write_bytes(b"and nobody is known here" * 1000)
    return "users.db"


def spoil_folder(data: Path) -> str:
    shutil.rmtree(data / "checkpoints")
    (data / "checkpoints").write_text("a file where a folder ought to be", encoding="utf-8")
    return "checkpoints"


def older_journal(data: Path) -> str:
    with sqlite3.connect(data / "cases.db") as link:
        link.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('last_tick', '999999')")  # it may have none yet
    link.close()
    return "older copy"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a server that was killed, with everything in its files and nothing in their logs."""
    folder = tmp_path_factory.mktemp("killed")
    with serving(folder, settings_in(folder)) as server:
        until(lambda: server.health()["tick"]["last"] > 3, "some entries")
        server.process.kill()
        server.process.wait()
    for log in ("journal.db", "cases.db", "users.db"):
        with sqlite3.connect(folder / "data" / log) as link:
            link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        link.close()
    return folder


@pytest.mark.parametrize(
    "spoil",
    [spoil_file, spoil_pages, spoil_entry, spoil_cases, spoil_store, spoil_users, spoil_folder, older_journal],
)
def test_damaged_data_is_an_error_that_says_what_to_do(
    tmp_path: Path, killed: Path, spoil: Callable[[Path], str]
) -> None:
    """A damaged journal or case database ends the start with one sentence that names it, not with a traceback."""
    shutil.copytree(killed / "data", tmp_path / "data")
    word = spoil(tmp_path / "data")
    code, said = refused(write_config(tmp_path, settings_in(tmp_path)))
    assert code == 1, said
    assert "Traceback" not in said
    assert word in said
    assert "backup" in said or "restore" in said


@pytest.mark.parametrize("name", ["users.db", "journal.db", "pseudonym.key", "store", "store/hot.duckdb"])
def test_a_file_of_another_user_is_named(tmp_path: Path, killed: Path, name: str) -> None:
    """One rightless file in the data directory ends the start by its name and the way out, whichever it is: not with
    advice to restore it from a backup, or to remove it."""
    data = tmp_path / "data"
    shutil.copytree(killed / "data", data)
    _ours(data)
    root = os.geteuid() == 0
    try:
        if root:  # whom no mode stops
            for path in (tmp_path, *tmp_path.parents[:3], data, *data.rglob("*")):
                path.chmod(0o777 if path.is_dir() else 0o666)
            (data / name).chmod(0o700 if (data / name).is_dir() else 0o600)
            os.seteuid(65_534)
        else:
            (data / name).chmod(0)
        with pytest.raises(TwinError, match=f"{name} cannot be read and written by user .*chown"):
            _ours(data)
    finally:
        if root:
            os.seteuid(0)
        (data / name).chmod(0o700)


def test_a_secret_that_cannot_be_read_is_a_wrong_configuration(tmp_path: Path) -> None:
    """The password file is not there: exit status 2, its name is said, and nothing was opened."""
    settings = settings_in(tmp_path)
    settings = replace(settings, broker=replace(settings.broker, password_file=str(tmp_path / "nothing")))
    code, said = refused(write_config(tmp_path, settings))
    assert code == 2
    assert "nothing" in said
    assert not (tmp_path / "data" / "journal.db").exists()


def test_sigterm_at_any_time_of_the_start_ends_it_well(tmp_path: Path) -> None:
    """However early SIGTERM comes once the command runs, the server ends with status 0 and leaves no note."""
    for mark in ("journal.db.lock", "cases.db", "checkpoints", "running.json"):
        folder = tmp_path / mark
        config = write_config(folder, settings_in(folder))
        running = begin(config, folder / "data")
        try:
            until(lambda at=folder / "data" / mark: at.exists(), f"{mark} is there", 40)
            assert running.end() == 0, running.log
            assert not (folder / "data" / "running.json").exists()
            assert "Traceback" not in running.log
        finally:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
            running.sink.close()


def test_sigterm_under_load_loses_nothing(tmp_path: Path, broker: TestBroker) -> None:
    """SIGTERM while readings pour in: status 0 in time, and the next start has all of them, each once."""
    settings = settings_in(tmp_path, broker.host, broker.port)
    device = Publisher(broker)
    with serving(tmp_path, settings) as server:
        until(lambda: server.health()["link"] == "drained", "the link is up and drained")
        for seq in range(1, 2001):
            device.client.publish(TOPIC, reading(seq), qos=1)
        assert server.end() == 0
    with serving(tmp_path, settings) as again:
        until(lambda: again.ask("/api/accounting").json()["total"]["journalled"] == 2000, "all is journalled", 40)
        assert again.ask("/api/accounting").json()["total"]["missing"] == 0
        assert again.end() == 0
    device.close()


SMALL = 'mount -t tmpfs -o size=40m none "$0" && exec "$@"'


def test_a_full_disk_is_said_and_waited_out(tmp_path: Path, broker: TestBroker) -> None:
    """The disk of the data directory full under load: nothing more is acknowledged, health says so, the server stays;
    with room again everything that the broker held comes in, each once, by itself."""
    data = tmp_path / "data"
    data.mkdir()
    wrap = ("unshare", "-Urm", "sh", "-c", SMALL, str(data))
    if subprocess.run([*wrap, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk needs user namespaces, which are not allowed here")
    settings = settings_in(tmp_path, broker.host, broker.port)
    settings = replace(settings, journal=JournalSettings(max_bytes=16 << 20, checkpoint_every_s=3600))
    running = begin(write_config(tmp_path, settings), data, wrap=wrap)
    running.data = Path(f"/proc/{running.process.pid}/root{data}")  # the disk as the server sees it
    try:
        running.ready()
        until(lambda: running.health()["link"] == "drained", "the link is up and drained")
        hog = running.data / "hog"
        with hog.open("wb") as out:
            os.posix_fallocate(out.fileno(), 0, shutil.disk_usage(running.data).free)
        device = Publisher(broker)
        sent = 0
        until_full = time.monotonic() + 60
        while not running.health()["journal"]["full"]:
            assert time.monotonic() < until_full, "the disk never got full"
            for _ in range(200):
                sent += 1
                device.client.publish(TOPIC, reading(sent), qos=1)
        assert sent > 0
        until(lambda: running.health()["ready"] is False, "health is not ready")
        # A mark that still fits clears the journal's word for a moment; that ingest waits stands all the same.
        assert {"journal", "ingest"} & {trouble["part"] for trouble in running.health()["troubles"]}
        for _ in range(100):
            sent += 1
            device.client.publish(TOPIC, reading(sent), qos=1)
        hog.unlink()
        until(lambda: running.ask("/api/accounting").json()["total"]["journalled"] == sent, "all that was held", 60)
        total = running.ask("/api/accounting").json()["total"]
        assert (total["missing"], total["journalled"]) == (0, sent)
        until(lambda: running.health()["ready"], "it is ready again")
        device.close()
        assert running.end() == 0, running.log
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        running.sink.close()
