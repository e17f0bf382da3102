"""`citywhistle-edge doctor`: looks at configuration, clock, disk, spool, sources and broker, and says what to do."""

from __future__ import annotations

import platform
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from devices.envelope import decode_mark
from devices.errors import PayloadError
from devices.wire import Link, Wire
from edge.config import EdgeConfig
from edge.gateway import NO_CLOCK_MS

ANSWER_S = 5.0
MARK_S = 2.0


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing looked at: `verdict` is ok, warn or bad; `advice` says what to do unless it is ok."""

    what: str
    verdict: str
    found: str
    advice: str = ""


def examine(config: EdgeConfig) -> list[Sign]:
    """Look at everything; no look takes longer than some seconds."""
    looks: list[Callable[[EdgeConfig], Iterator[Sign]]] = [_versions, _clock, _disk, _spool, _sources, _broker]
    return [sign for look in looks for sign in look(config)]


def _versions(config: EdgeConfig) -> Iterator[Sign]:
    yield Sign("configuration", "ok", f"{config.file}: {config.own.device} with {len(config.behind)} devices behind it")
    yield Sign("machine", "ok", f"Python {platform.python_version()} on {platform.machine()}")
    yield Sign("SQLite", "ok", sqlite3.sqlite_version)


def _clock(_: EdgeConfig) -> Iterator[Sign]:
    if time.time_ns() // 1_000_000 < NO_CLOCK_MS:
        yield Sign("clock", "bad", time.ctime(), "set the clock (timedatectl set-ntp true), or fit a clock module")
    else:
        yield Sign("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def _disk(config: EdgeConfig) -> Iterator[Sign]:
    place = config.data_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / 1e6:.0f} MB free at {place}"
    if free < 1.2 * config.max_bytes:
        yield Sign("disk", "warn", found, "make room, or lower [spool] max_bytes")
    else:
        yield Sign("disk", "ok", found)


def _spool(config: EdgeConfig) -> Iterator[Sign]:
    path = config.data_dir / "spool.db"
    if not path.exists():
        yield Sign("spool", "ok", "none yet; it is made at the first start")
        return
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)
        try:
            rows, dropped = db.execute(
                "SELECT coalesce((SELECT value FROM meta WHERE key = 'rows'), 0),"
                " (SELECT coalesce(sum(dropped), 0) FROM device)"
            ).fetchone()
        finally:
            db.close()
    except sqlite3.Error as error:
        yield Sign("spool", "bad", f"{path}: {error}", "the gateway puts a damaged spool aside when it starts")
        return
    verdict = "warn" if dropped else "ok"
    advice = "a larger [spool] max_bytes, a better link, or a stricter [[policy]]" if dropped else ""
    yield Sign("spool", verdict, f"{rows} readings wait; {dropped} were dropped so far", advice)
    damaged = sorted(config.data_dir.glob("spool.db.damaged-*"))
    if damaged:
        yield Sign("spool", "warn", f"put aside as damaged: {damaged[-1].name}", "save or delete it; check the card")


def _sources(config: EdgeConfig) -> Iterator[Sign]:
    for sheet in config.sources:
        if sheet.word("type") == "lines":
            yield _lines(sheet.word("path"))
        elif sheet.word("type") == "mqtt_local":
            host, port = sheet.word("host", "127.0.0.1"), sheet.whole("port", 1883)
            yield _reach(f"source {host}:{port}", host, port)
    if not config.sources:
        yield Sign("sources", "warn", "none", "write a [[source]]; until then only our own health is sent")


def _lines(path: str) -> Sign:
    if path == "-":
        return Sign("source -", "ok", "standard input")
    try:
        with Path(path).open("rb", buffering=0):
            return Sign(f"source {path}", "ok", "can be opened")
    except OSError as error:
        advice = "is it plugged in, and are we in its group (dialout)?"
        return Sign(f"source {path}", "bad", error.strerror or str(error), advice)


def _reach(what: str, host: str, port: int) -> Sign:
    try:
        socket.create_connection((host, port), timeout=3.0).close()
    except OSError as error:
        return Sign(what, "bad", f"{host}:{port}: {error.strerror or error}", "is it running, and is this its address?")
    return Sign(what, "ok", "answers")


class _Visitor:
    """A short visit to the city's broker: does it let us in, and is there a mark of ours?"""

    def __init__(self) -> None:
        self.granted, self.marked = threading.Event(), threading.Event()
        self.lost = threading.Event()

    def up(self) -> None:
        """Subscriptions are on their way."""

    def ready(self) -> None:
        self.granted.set()

    def down(self) -> None:
        self.lost.set()

    def heard(self, topic: str, payload: bytes) -> None:
        try:
            decode_mark(topic.split("/")[3], payload)
        except PayloadError:
            return  # not a mark: then none was seen, which is what is said
        self.marked.set()

    def acknowledged(self, mid: int) -> None:
        """We send nothing."""

    def stage(self) -> None:
        """We send nothing."""

    def pump(self) -> None:
        """We send nothing."""

    def tend(self, now_s: float) -> None:
        """Nothing to look after."""


def _broker(config: EdgeConfig) -> Iterator[Sign]:
    told = config.broker
    where = f"{told.host}:{told.port}{' by TLS' if told.ca else ''}"
    wire, visitor = Wire(), _Visitor()
    link = Link(wire, replace(told), f"{config.own.device}-doctor", visitor, topics=[config.own.topic("mark")])
    wire.add(link)
    try:
        if not visitor.granted.wait(ANSWER_S):
            problem = link.problem or "no answer to MQTT CONNECT"
            yield Sign(
                "broker", "bad", f"{where}: {problem}", "check [broker] host, port, user, password_file, ca_file"
            )
            return
        yield Sign("broker", "ok", f"{where} takes user {told.user!r}")
        if not config.marks:
            yield Sign("marks", "ok", "not asked for (marks = false)")
        elif visitor.marked.wait(MARK_S):
            yield Sign("marks", "ok", "the server has readings of ours")
        else:
            advice = "fine before the first start; else: is the server running, and this gateway registered?"
            yield Sign("marks", "warn", "none of ours", advice)
    finally:
        wire.remove(link)
        wire.close()
