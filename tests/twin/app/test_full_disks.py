"""One of the server's disks full while the others have room: what is said, what goes on, and that it mends itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from devices.codec import encode_columns
from devices.records import Reading
from tests.broker import TestBroker
from tests.twin.app.serving import Serving, begun, settings_in, write_config
from tests.twin.app.test_flooded import send
from tests.twin.app.test_server import TOPIC, reading
from tests.twin.broker.test_saved import small_disk
from tests.twin.ingest.conftest import Publisher, until
from twin.settings import IngestSettings, Settings, TickSettings

ADD = "import sys; from twin.access import Access; Access(sys.argv[1]).users.add('anna', sys.argv[2], 'operator', 'x')"
PACK = 500
WORD = "correct horse battery"
SMALL = 'mount -t tmpfs -o size={size} none "$0" && exec "$@"'


@contextmanager
def on_small_disk(folder: Path, settings: Settings, small: Path, size: str) -> Iterator[tuple[Serving, Path]]:
    """A server for which `small` is a disk of its own, and where we see that disk."""
    small.mkdir(parents=True)
    wrap = ("unshare", "-Urm", "sh", "-c", SMALL.format(size=size), str(small))
    if subprocess.run([*wrap, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk needs user namespaces, which are not allowed here")
    with begun(write_config(folder, settings), folder / "data", wrap) as running:
        until(lambda: running.health()["link"] == "drained", "the link is up and drained")
        yield running, Path(f"/proc/{running.process.pid}/root{small}")


def log_in(person: httpx.Client) -> int:
    """The answer's status."""
    return person.post("/api/session", json={"user": "anna", "password": WORD}).status_code


def pack(number: int) -> bytes:
    """PACK readings of a device, the one of that number."""
    first, now = (number - 1) * PACK + 1, time.time_ns() // 1_000_000
    return encode_columns(
        [Reading("", now + n, {"voltage": 230 + (n * n % 97) / 10}, 1, first + n) for n in range(PACK)]
    )


def fill(disk: Path, name: str = "hog") -> Path:
    """Take all the room that a disk has left."""
    hog = disk / name
    with hog.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, shutil.disk_usage(disk).free // 4096 * 4096)
    return hog


def parts(running: Serving) -> set[str]:
    """The parts that are in trouble."""
    return {trouble["part"] for trouble in running.health()["troubles"]}


def test_the_stores_disk_full_stops_nothing_else(tmp_path: Path, broker: TestBroker) -> None:
    """Readings are acknowledged and wait in the journal, health names the store; with room all of it is stored."""
    settings = replace(settings_in(tmp_path, broker.host, broker.port), ingest=IngestSettings(flood_factor=0))
    with on_small_disk(tmp_path, settings, tmp_path / "data" / "store", "24m") as (running, disk):
        device = Publisher(broker)
        device.say(TOPIC, reading(1))
        until(lambda: running.ask("/api/accounting").json()["total"]["stored"] == 1, "the first is stored")
        hog = fill(disk)
        sent = 1
        while "store" not in parts(running):
            assert sent < 200_000, "the store never got full"
            for _ in range(2000):
                sent += 1
                device.client.publish(TOPIC, reading(sent), qos=1)
        until(lambda: running.ask("/api/accounting").json()["total"]["journalled"] == sent, "all is journalled", 60)
        assert running.ask("/api/accounting").json()["total"]["stored"] < sent
        assert not running.health()["store"]["up"]
        assert running.health()["journal"]["full"] == ""
        hog.unlink()
        until(lambda: running.ask("/api/accounting").json()["total"]["stored"] == sent, "all is stored", 90)
        until(lambda: "store" not in parts(running), "nothing is said of the store any more")
        device.close()
        assert running.end() == 0, running.log


def test_the_cases_disk_full_halts_the_ticks_alone(tmp_path: Path, broker: TestBroker) -> None:
    """Readings are acknowledged and stored, health says that nothing is decided; with room the ticks catch up."""
    settings = replace(settings_in(tmp_path, broker.host, broker.port), tick=TickSettings(interval_s=0.05))
    small = tmp_path / "data" / "small"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cases.db").symlink_to(small / "cases.db")
    with on_small_disk(tmp_path, settings, small, "3m") as (running, disk):
        device = Publisher(broker)
        device.say(TOPIC, reading(1))
        hog = fill(disk)
        until(lambda: "cases" in parts(running) or "tick" in parts(running), "it is said", 60)
        assert not running.health()["ready"]
        halted = running.health()["tick"]["last"]
        for seq in range(2, 102):
            device.say(TOPIC, reading(seq))
        until(lambda: running.ask("/api/accounting").json()["total"]["stored"] == 101, "readings are stored")
        assert running.health()["tick"]["last"] == halted
        hog.unlink()
        until(lambda: running.health()["tick"]["last"] > halted + 100, "the ticks go on", 60)
        until(lambda: running.health()["ready"], "it is ready again")
        device.close()
        assert running.end() == 0, running.log


def test_the_whole_disk_full_keeps_nobody_out(tmp_path: Path, broker: TestBroker) -> None:
    """Data directory on a full disk: nothing is acknowledged, and health says so; page, API and log-in answer (or say
    what is full, never an error of ours); with room what the broker held comes in by itself."""
    with small_disk(tmp_path / "small", "64m") as (disk, inside), contextlib.ExitStack() as stack:
        settings = replace(
            settings_in(tmp_path, broker.host, broker.port),
            data_dir=str(tmp_path / "small"),
            ingest=IngestSettings(flood_factor=0),
        )
        users = str(tmp_path / "small" / "users.db")
        subprocess.run([*inside, sys.executable, "-c", ADD, users, WORD], check=True)
        running = stack.enter_context(begun(write_config(tmp_path, settings), disk, inside))
        until(lambda: running.health()["link"] == "drained", "the link is up and drained", 40)
        note = running.note()
        assert note is not None
        headers = {"Origin": note["url"]}
        anna = stack.enter_context(httpx.Client(base_url=note["url"], headers=headers, timeout=30, trust_env=False))
        assert log_in(anna) == 204
        send(broker, [(TOPIC, pack(1))])
        until(lambda: running.ask("/api/accounting").json()["total"]["journalled"] == PACK, "the first are journalled")
        hogs, sent = [fill(disk)], 1
        while not running.health()["journal"]["full"]:
            assert sent < 2000, "the journal never got full"
            send(broker, [(TOPIC, pack(sent + n)) for n in range(1, 51)])
            sent += 50
        with contextlib.suppress(OSError):  # the server may be quicker
            hogs.append(fill(disk, "more"))  # also the room that the journal keeps in reserve
        assert parts(running) & {"journal", "disk"}, running.health()["troubles"]
        assert log_in(anna) in (204, 503)  # where the file has a page to spare it is written
        for path in ("/", "/api/health", "/api/cases", "/api/accounting", "/metrics", "/readyz"):
            assert running.ask(path).status_code in (200, 503), path
            if path != "/metrics":
                assert anna.get(path).status_code in (200, 503), path
        for hog in hogs:
            hog.unlink()
        until(lambda: log_in(anna) == 204, "she comes in", 30)
        until(lambda: running.ask("/api/accounting").json()["total"]["stored"] == sent * PACK, "all is stored", 90)
        until(lambda: running.health()["ready"], "it is ready again", 30)
        assert running.end() == 0, running.log
