"""`citywhistle devices replay`: a recording over MQTT as devices, with a progress bar and an account of its junk."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from devices.cities.load import load_city
from devices.clock import RealClock, read_clock
from devices.command.shared import (
    BootOption,
    BrokerOption,
    CaOption,
    CityOption,
    ClockOption,
    CredentialsOption,
    DrainOption,
    JsonOption,
    LogOption,
    MarksOption,
    PasswordOption,
    StateOption,
    UserOption,
    err,
    is_terminal,
    open_outlet,
    out,
    stopping,
    told,
)
from devices.errors import DeviceError
from devices.mapping import Mapping, load_mapping
from devices.outlet import Outlet
from devices.places import Device
from devices.recording import find_members
from devices.records import Command
from devices.replay import Pace, Played, explain, play, summary
from devices.sender import Address

REPLAY_USER = "replay"  # may speak for every recorded device of the city


def replay(
    recording: Annotated[Path, typer.Argument(help="CSV, .gz, .zip or a directory of them.")],
    map_: Annotated[str, typer.Option("--map", help="Mapping file, or the name of a shipped one.", metavar="MAP")],
    speed: Annotated[float, typer.Option("--speed", help="The recording advances this many times as fast.")] = 1.0,
    as_fast: Annotated[bool, typer.Option("--as-fast-as-possible", help="No waiting between rows.")] = False,
    shift: Annotated[str, typer.Option("--shift", help='"now": move the times to now, hour of day kept.')] = "none",
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end, times going on.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after so many readings.")] = None,
    start: Annotated[str, typer.Option("--start", help="Time of the first row, for recordings without times.")] = "",
    broker: BrokerOption = "127.0.0.1:1883",
    user: UserOption = "",
    password_file: PasswordOption = None,
    credentials: CredentialsOption = None,
    ca: CaOption = None,
    clock: ClockOption = None,
    city: CityOption = None,
    district: Annotated[str, typer.Option("--district", help="District code in the topics.")] = "",
    zone: Annotated[str, typer.Option("--zone", help="Whose hour of day --shift now keeps.")] = "",
    state: StateOption = None,
    log: LogOption = None,
    boot_file: BootOption = None,
    marks: MarksOption = True,
    drain: DrainOption = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count only; no broker.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Replay a recording over MQTT as devices. Shipped mappings: `--map beijing_air` and others, see docs/replay.md."""
    with told(), stopping() as stop:
        mapping = load_mapping(map_)
        if not recording.exists():
            raise DeviceError(f"{recording}: no such file or directory")
        if shift not in ("none", "now"):
            raise DeviceError(f'--shift {shift}: it is "now" or "none"')
        if not 0 < speed <= 1e6:
            raise DeviceError(f"--speed {speed}: it is above 0 and at most 1000000")
        if state is not None:
            log, boot_file = log or state / "recording.sent.jsonl", boot_file or state / "recording.boot"
        files = load_city(city) if city is not None else None
        pace = Pace(
            speed=None if as_fast or dry_run else speed,
            shift=shift == "now" and not dry_run,
            loop=loop and not dry_run,
            limit=limit,
            start_ms=_start(start, mapping),
            zone=_zone(zone or (files.timezone if files is not None else "")),
        )
        total = sum(member.size for member in find_members(recording, mapping))
        played = Played()
        if dry_run:
            with _progress(played, total, as_json):
                play(recording, mapping, pace, RealClock(), lambda *_: True, stop, played)
            _report(played, mapping, as_json)
            return
        outlet = open_outlet(broker, user, password_file, credentials, ca, log=log, boot_file=boot_file, marks=marks,
                             answer=_cannot)  # fmt: skip
        registry = {d.id: d for d in files.devices} if files is not None else None
        say = _Speaker(outlet, user, mapping, registry, district, stop)
        try:
            with _progress(played, total, as_json):
                play(recording, mapping, pace, read_clock(clock), say, stop, played)
            if not stop.is_set() and not outlet.drain(drain):
                why = "; ".join(outlet.problems.values()) or "is the server running?"
                left = outlet.counts.buffered
                err.print(f"{left} readings are not covered by marks after {drain:g} s: {why}", markup=False)
        finally:
            counts = outlet.counts
            outlet.close()
            _report(played, mapping, as_json, {"published": counts.sent, "covered": counts.covered,
                                               "buffered": counts.buffered, "resent": counts.resent})  # fmt: skip


def _cannot(_command: Command) -> tuple[bool, str]:
    return False, "a recorded device cannot act"


def _start(text: str, mapping: Mapping) -> int | None:
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise DeviceError(f"--start {text}: not a time like 2020-01-01T12:00 ({error})") from error
    return round((when if when.tzinfo else when.replace(tzinfo=mapping.time.zone)).timestamp() * 1000)


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DeviceError(f"{name!r} is no time zone ({error})") from error


class _Speaker:
    """Says rows through the right connection: the device's own credentials, its gateway's, or those of `replay`."""

    def __init__(self, outlet: Outlet, user: str, mapping: Mapping, registry: dict[str, Device] | None,
                 district: str, stop: threading.Event) -> None:  # fmt: skip
        self._outlet, self._user, self._mapping, self._stop = outlet, user, mapping, stop
        self._registry, self._district = registry, district or mapping.district
        self._known: dict[str, bool] = {}

    def _introduce(self, device: str) -> bool:
        district = self._district
        if self._registry is not None:
            registered = self._registry.get(device)
            if registered is None or registered.kind != self._mapping.kind.name:
                return False
            district = registered.district
        address = Address(district, self._mapping.kind.name, device)
        user = self._user or next((u for u in (device, REPLAY_USER) if self._outlet.may(u)), "")
        if not user:
            raise DeviceError(f"no credentials for {device!r} nor for {REPLAY_USER!r}: give --credentials or --user")
        self._outlet.open(user, address if user == device else None, [address])
        return True

    def __call__(self, device: str, t_ms: int, values: dict[str, float]) -> bool:
        if device not in self._known:
            self._known[device] = self._introduce(device)
        if not self._known[device]:
            return False
        sender = self._outlet.sender_of(device)
        assert sender is not None
        while not sender.room(0.5) and not self._stop.is_set():
            self._outlet.check()
        sender.send(device, t_ms, values)
        return True


class _progress:  # noqa: N801 - used as a context manager, like a function
    """A progress bar by bytes read, drawn by a thread of its own; nothing when stderr is no terminal."""

    def __init__(self, played: Played, total: int, quiet: bool) -> None:
        self._played, self._total = played, total
        self._shown = is_terminal() and not quiet
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)

    def _draw(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(),
                   TextColumn("{task.fields[now]}"))  # fmt: skip
        with Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task("replay", total=self._total or None, now="")
            while not self._done.wait(0.2):
                tally = self._played.tally
                last = f"{self._played.sent} readings"
                if tally.last_ms is not None:
                    last += f", at {datetime.fromtimestamp(tally.last_ms / 1000).astimezone():%Y-%m-%d %H:%M}"
                progress.update(task, completed=tally.bytes % max(1, self._total), now=last)

    def __enter__(self) -> None:
        if self._shown:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._shown:
            self._thread.join()


def _report(played: Played, mapping: Mapping, as_json: bool, counts: dict[str, int] | None = None) -> None:
    tally = played.tally
    if as_json:
        typer.echo(json.dumps({"mapping": mapping.name, **summary(played), **(counts or {})}, ensure_ascii=False))
        return
    sent = f", {counts['published']} published, {counts['buffered']} not yet covered" if counts else ""
    out.print(f"{mapping.about or mapping.name} ({mapping.licence or 'licence not stated'})", markup=False)
    out.print(
        f"{tally.rows} rows of {len(tally.devices)} devices: {tally.readings} readings, {tally.values} values{sent}; "
        f"{tally.empty} rows without any value, {tally.disorder} out of order, {tally.same_time} at the same instant "
        f"as the one before, {tally.gaps} gaps ({tally.gap_s / 3600:.1f} h)"
    )
    if played.before:
        out.print(f"{played.before} rows lie before the start: left out, so that the hour of day is kept")
    for device, count in sorted(played.unknown.items()):
        out.print(f"{device}: {count} rows not sent, the city has no {mapping.kind.name} of that name", markup=False)
    lines = explain(tally) + [("(row)", "", count, why) for why, count in tally.bad_rows.most_common()]
    if not lines:
        return
    table = Table(title="Kept out, never sent as a value", title_justify="left")
    for heading in ("column", "mark", "how many", "why"):
        table.add_column(heading, justify="right" if heading == "how many" else "left")
    for column, mark, count, why in lines:
        table.add_row(column, mark, str(count), why)
    out.print(table)
