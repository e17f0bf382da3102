"""`citywhistle doctor`: looks at broker, store, clock, ports, disk and versions, and says what to do."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import typer
from rich.table import Table

from devices.clock import read_clock
from devices.errors import DeviceError
from twin.access import Access
from twin.access.access import FILE as USERS
from twin.access.chain import BOOKS
from twin.broker.knock import Certificates, Silent, refusal
from twin.command.client import CONFIG, JSON, OUT, read_note, settings_of, words
from twin.errors import AccessError, SettingsError
from twin.settings import Settings, read_secret

ENOUGH_FREE_BYTES = 2 << 30
EARLIEST_SANE_S = 1_735_689_600  # 2025-01-01: a machine that believes in an earlier date has no time yet


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing looked at: `verdict` is ok, warn or bad; `advice` says what to do unless it is ok."""

    what: str
    verdict: str
    found: str
    advice: str = ""


def examine(settings: Settings) -> list[Sign]:
    """Look at everything; no look takes longer than some seconds."""
    looks: list[Callable[[Settings], Iterator[Sign]]] = [_versions, _clock, _disk, _broker, _store, _access, _port]
    return [sign for look in looks for sign in look(settings)]


def doctor(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Look at broker, store, clock, ports, disk and versions; say what to do. Exit status 1 if something is bad."""
    signs = examine(settings_of(config))
    if as_json:
        OUT.print_json(data=[asdict(sign) for sign in signs])
    else:
        table = Table("", "what", "found", "what to do", box=None)
        colour = {"ok": "[green]ok[/green]", "warn": "[yellow]warn[/yellow]", "bad": "[red]bad[/red]"}
        for sign in signs:
            table.add_row(colour[sign.verdict], words(sign.what), words(sign.found), words(sign.advice))
        OUT.print(table)
    if any(sign.verdict == "bad" for sign in signs):
        raise typer.Exit(1)


def _versions(_: Settings) -> Iterator[Sign]:
    yield Sign("Python", "ok", platform.python_version())
    parts = ("citywhistle", "paho-mqtt", "numpy", "duckdb", "influxdb-client", "fastapi")
    absent = []
    for part in parts:
        try:
            yield Sign(part, "ok", importlib.metadata.version(part))
        except importlib.metadata.PackageNotFoundError:
            absent.append(part)
    if absent:
        yield Sign("packages", "bad", f"missing: {', '.join(absent)}", "run `make install`")
    yield Sign("SQLite", "ok", sqlite3.sqlite_version)
    mosquitto = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if mosquitto:
        yield Sign("Mosquitto", "ok", mosquitto)
    else:
        yield Sign("Mosquitto", "warn", "not on PATH", "`make install` fetches it; another broker may do as well")


def _clock(settings: Settings) -> Iterator[Sign]:
    if time.time() < EARLIEST_SANE_S:
        yield Sign("machine clock", "bad", time.ctime(), "set the clock (timedatectl set-ntp true)")
    else:
        yield Sign("machine clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))
    if settings.city.clock_file:
        try:
            told = read_clock(Path(settings.city.clock_file))
        except DeviceError as error:
            yield Sign("city clock", "bad", str(error), "start the city again by `citywhistle demo`")
        else:
            yield Sign("city clock", "ok", f"simulated, {told.speed:g}x")


def _disk(settings: Settings) -> Iterator[Sign]:
    place = Path(settings.data_dir).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free at {place}"
    if free < min(ENOUGH_FREE_BYTES, settings.journal.max_bytes):
        yield Sign("disk", "warn", found, "make room, or lower [journal] max_bytes and [store] retention_days")
    else:
        yield Sign("disk", "ok", found)


def _broker(settings: Settings) -> Iterator[Sign]:
    told = settings.broker
    address = f"{told.host}:{told.port}"
    try:
        password = read_secret(told.password_file)
    except SettingsError as error:
        yield Sign("broker", "bad", str(error), "`make install` makes the credentials")
        return
    tls = Certificates(told.ca_file, told.cert_file, told.key_file) if told.tls else None
    try:
        refused = refusal(told.host, told.port, told.user, password, tls)
    except Silent as error:
        yield Sign("broker", "bad", f"{address}: {error}", "is it an MQTT port?")
    except OSError as error:
        advice = "start it: `mosquitto -c mosquitto.conf` in the project folder, or set [broker] host and port"
        yield Sign("broker", "bad", f"{address}: {error.strerror or error}", advice)
    else:
        if refused:
            advice = "check [broker] user and password_file against the broker's password file"
            yield Sign("broker", "bad", f"{address}: {refused}", advice)
        else:
            yield Sign("broker", "ok", f"{address} takes user {told.user!r}")


def _store(settings: Settings) -> Iterator[Sign]:
    told = settings.store
    if told.kind == "embedded":
        yield Sign("store", "ok", f"embedded in {settings.data_dir}")
        return
    if not told.url:
        yield Sign("store", "bad", f"{told.kind} without an address", "set [store] url")
        return
    try:
        answer = httpx.get(f"{told.url.rstrip('/')}/health", timeout=5.0, trust_env=False)
    except httpx.HTTPError as error:
        yield Sign("store", "bad", f"{told.url}: {error}", f"start {told.kind}, or correct [store] url")
        return
    verdict = "ok" if answer.status_code < 400 else "bad"
    yield Sign("store", verdict, f"{told.url}: HTTP {answer.status_code}", "" if verdict == "ok" else "see its log")


def _access(settings: Settings) -> Iterator[Sign]:
    """Who may come in, and over what."""
    told = settings.web
    near = told.host in ("127.0.0.1", "::1", "localhost")
    if near or told.cert_file:
        yield Sign("page's wire", "ok", "TLS" if told.cert_file else "loopback only")
    else:
        advice = "set [web] cert_file and key_file, or host = 127.0.0.1 behind a proxy that ends TLS"
        yield Sign("page's wire", "bad", f"plain HTTP on {told.host}: passwords could be read on the way", advice)
    path = Path(settings.data_dir) / USERS
    if not path.exists():
        yield Sign("users", "warn", "nobody has an account", "`citywhistle users add NAME --role admin`")
        return
    try:
        with contextlib.closing(Access(path)) as access:
            there = sum(not one.disabled for one in access.users.all())
            flaws = [proof for book in BOOKS if not (proof := access.verify(book)).ok]
    except AccessError as error:
        yield Sign("users", "bad", str(error), "see docs/privacy.md")
        return
    if flaws:
        yield Sign("books", "bad", f"{flaws[0].book}: {flaws[0].flaw}", "compare with a backup of users.db")
    if there:
        yield Sign("users", "ok", f"{there} may log in")
    else:
        yield Sign("users", "warn", "nobody has an account", "`citywhistle users add NAME --role admin`")


def _port(settings: Settings) -> Iterator[Sign]:
    host, port = settings.web.host, settings.web.port
    if read_note(Path(settings.data_dir) / "running.json") is not None:
        yield Sign("page", "ok", f"a server runs in {settings.data_dir}")
        return
    try:
        with socket.create_server((host, port)):
            yield Sign("page", "ok", f"{host}:{port} is free" if port else f"{host}, any free port")
    except OSError as error:
        yield Sign("page", "bad", f"{host}:{port}: {error.strerror}", "set [web] port to another one (0: any free)")
