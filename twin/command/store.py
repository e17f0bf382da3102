"""`citywhistle store` and `citywhistle export`: the series on disk, of a running server or of a stopped one."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.progress import Progress

from devices.kinds import KINDS
from twin.command.client import CONFIG, COPY_S, ERR, JSON, OUT, Client, fail, running, settings_of, words
from twin.errors import TwinError
from twin.settings import Settings
from twin.store import keep_of
from twin.store.backup import back_up, check, elsewhere, open_copy, read_note, restore
from twin.store.embedded import EmbeddedStore
from twin.store.export import export
from twin.store.protocol import DAY_MS, Rows

app = typer.Typer(no_args_is_help=True, help="The store of series: what it holds, backups, setting one up.")

DEMOS = Path(".citywhistle/demo")
TO = typer.Argument(..., help="A new directory for the backup.")
BACKUP = typer.Argument(..., help="A backup's directory.")
KIND = typer.Argument(..., help=f"What to take out: {', '.join(KINDS)}.")
FILE = typer.Option(..., "--out", "-o", help="The file to write; .csv writes CSV, anything else Parquet.")
START = typer.Option(
    "", "--from", help="First instant of event time, like 2026-11-30 or 2026-11-30T06:00Z; empty: all."
)
END = typer.Option("", "--to", help="The instant before which it ends; empty: all.")


@app.command()
def info(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Backend, position, rows, files and bytes, and what it cannot keep."""
    if running(config):
        told = Client(config).get("/api/store")
    else:
        with _opened(config) as (store, _):
            told = dict(store.info())
    if as_json:
        OUT.print_json(data=told)
        return
    for name, value in told.items():
        OUT.print(words(f"{name:>16}  {value}"), soft_wrap=True)


@app.command()
def backup(
    to: Path = TO,
    config: Path | None = CONFIG,
    as_json: bool = JSON,
    series: bool = typer.Option(True, help="The embedded store's series; --no-series copies users and keys alone."),
    cases: bool | None = typer.Option(
        None, "--cases/--no-cases", help="Journal, cases, what was learned, photos; with the series unless told."
    ),
) -> None:
    """Copy all that a server needs to go on elsewhere, while it runs or not; it is read through once it lies there.

    That is the embedded store, journal and cases with photos, users with tokens and books, and the keys. Not in it: the
    city's files and the configuration, the broker's passwords, series and cases that lie in a database server.
    """
    from twin.app import keys, state

    if to.exists():
        raise fail(f"{to} is there already; name a new directory")
    settings, data = data_of(config)
    if not series:
        try:
            to.mkdir(parents=True, mode=0o700)
            own = keys.keep(data, to)
            own += state.keep(data, to) if cases else ()
            keys.kept(to)
            state.kept(to)
        except (TwinError, OSError) as error:
            shutil.rmtree(to, ignore_errors=True)
            raise fail(str(error)) from error
        if not own:
            shutil.rmtree(to)
            raise fail(f"{data} holds no users and no keys; name the configuration with --config")
        _told_backup(as_json, {"path": str(to), "own": own}, f"{to}: {', '.join(own)}")
        return
    with told_progress(as_json) as progress, _copy(config, to) as folder:
        own = keys.keep(data, folder)
        own += state.keep(data, folder, read_note(folder)["position"]) if cases in (None, True) else ()
        bar = progress.add_task("reading it through", total=1.0)
        note = check(folder, lambda share: progress.update(bar, completed=share))
        keys.kept(folder)
        state.kept(folder)
    size = sum(note["files"].values())
    told = {"path": str(to), "position": note["position"], "rows": note["rows"], "bytes": size, "own": own}
    line = f"{to}: {note['rows']:,} sealed rows, {size:,} bytes, up to entry {note['position']}"
    line += f"; {', '.join(own)}" if own else ""
    if settings.cases.url:
        line += f"; not in it: the cases, which lie in {settings.cases.url} (pg_dump copies them)"
    _told_backup(as_json, told, line)


def _told_backup(as_json: bool, told: dict[str, Any], line: str) -> None:
    if as_json:
        OUT.print_json(data=told)
    else:
        OUT.print(words(line), soft_wrap=True)


@app.command("restore")
def restore_(
    folder: Path = BACKUP,
    config: Path | None = CONFIG,
    as_json: bool = JSON,
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    series: bool = typer.Option(True, help="The series; --no-series leaves the store as it is."),
    users: bool = typer.Option(
        False, "--users", help="Also users, tokens and keys where this server has its own; a server without gets them."
    ),
    cases: bool = typer.Option(
        False, "--cases", help="Also journal, cases, photos where this server has its own; a server without gets them."
    ),
) -> None:
    """Put a backup in the place of what a stopped server has; the former stays beside.

    Users who were removed or disabled since the backup are there again, and everybody logs in anew: the audit book says
    when that was.
    """
    settings, data = data_of(config)
    place = data / "store"
    if running(config):
        raise fail("the server is running: stop it, restore, start it again; the journal fills in what came since")
    former: Path | None = None
    try:
        _check_backup(folder, cases=cases, series=series or settings.store.kind != "embedded", alone=not series)
        if series:
            _embedded(settings)
            if not yes and not as_json and place.exists():
                typer.confirm(f"Replace the store in {place} (it is kept beside it)?", abort=True)
            former = _restore_series(folder, place, as_json)
        back, left = _restore_own(folder, data, users=users, cases=cases, series=series)
    except (TwinError, OSError) as error:
        raise fail(str(error)) from error
    if as_json:
        told = {"store": str(place) if series else None, "former": str(former) if former else None, "own": back}
        OUT.print_json(data=told)
        return
    if series:
        OUT.print(words(f"{place} is {folder} now" + (f"; the former store is {former}" if former else "")),
                  soft_wrap=True)  # fmt: skip
    if back:
        OUT.print(words(f"{', '.join(back)} are the backup's now; what was there before is kept beside them"))
    for option, names in left.items():
        OUT.print(
            words(f"left as they are: {', '.join(names)}; {option} replaces them by the backup's"), soft_wrap=True
        )


def _check_backup(folder: Path, *, cases: bool, series: bool, alone: bool) -> None:
    """Whether the backup holds what is asked for, all of it as it was written."""
    from twin.app import keys, state

    whole = state.kept(folder)
    if cases and not whole:
        raise fail(f"{folder} holds no journal and no cases")
    if cases and not series:
        raise fail("journal and series are of one time: restore them together, without --no-series")
    if not keys.kept(folder) and alone and not cases:
        raise fail(f"{folder} holds no users and no keys")


def _restore_own(
    folder: Path, data: Path, *, users: bool, cases: bool, series: bool
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Put back users and keys, journal and cases where the server has none or was told to: what was, and by the option
    that would have replaced it what was left.
    """
    from twin.app import keys, state

    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    held, whole = keys.kept(folder), state.kept(folder)
    mine = tuple(name for name in held if (data / name).exists())
    lived = (data / state.JOURNAL).exists()
    left = {}
    back: tuple[str, ...] = ()
    if held and (users or not mine):
        back += keys.put_back(folder, data)
    elif mine:
        left["--users"] = mine
    if whole and (cases or (series and not lived)):
        back += state.put_back(folder, data)
    elif whole and series:
        left["--cases"] = whole
    return back, left


def _restore_series(folder: Path, place: Path, as_json: bool) -> Path | None:
    if (place / "hot.duckdb").exists():
        EmbeddedStore(place, Rows(), seal_every_s=None).close()  # refused while another process has it
    with told_progress(as_json) as progress:
        bar = progress.add_task("restoring", total=1.0)
        return restore(folder, place, lambda share: progress.update(bar, completed=share))


@app.command()
def init(
    config: Path | None = CONFIG,
    user: str = typer.Option("citywhistle", help="Name of the first user, where InfluxDB has none yet."),
    password_file: Path | None = typer.Option(None, help="File with that user's password alone."),
    operator_token_file: Path | None = typer.Option(None, help="File with the operator's token, where it is set up."),
) -> None:
    """Make the configured store ready: InfluxDB gets bucket, retention and a token that reaches this bucket alone."""
    from twin.settings import read_secret
    from twin.store.influxsetup import initialise

    settings = settings_of(config)
    told = settings.store
    if told.kind != "influxdb":
        OUT.print(f"the {told.kind} store needs no setting up")
        return
    if not told.token_file:
        raise fail("name the file for the new token first: token_file in [store]", 2)
    token_file = Path(told.token_file)
    if token_file.exists() and token_file.stat().st_size:
        raise fail(f"{token_file} holds a token already; remove it to make another")
    secrets = [read_secret(str(path)) if path else "" for path in (operator_token_file, password_file)]
    if not any(secrets):
        raise fail("give --password-file for a new InfluxDB, or --operator-token-file for one that is set up", 2)
    try:
        token = initialise(
            told.url or "http://127.0.0.1:8086", told.org, told.bucket, token=secrets[0], user=user,
            password=secrets[1], retention_days=keep_of(told).longest_ms / DAY_MS,
        )  # fmt: skip
        token_file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(token + "\n")
    except (TwinError, OSError) as error:
        raise fail(str(error)) from error
    OUT.print(words(f"bucket {told.bucket} of {told.org} is ready; its token is in {token_file}"), soft_wrap=True)


def export_(
    kind: str = KIND,
    out: Path = FILE,
    start: str = START,
    end: str = END,
    config: Path | None = CONFIG,
    as_json: bool = JSON,
) -> None:
    """Write readings of one kind to a Parquet or CSV file; the server may run meanwhile."""
    if kind not in KINDS:
        raise fail(f"there is no kind {kind!r}; the kinds are {', '.join(KINDS)}", 2)
    span = instant(start, 0), instant(end, 2**62)
    if span[0] >= span[1]:
        raise fail(f"--from {start or '1970'} must come before --to {end}; nothing was written", 2)
    try:
        with told_progress(as_json) as progress, readable(config) as (store, rows):
            bar = progress.add_task(f"writing {out}", total=1.0)
            count = export(store, rows, kind, *span, out, progress=lambda share: progress.update(bar, completed=share))
    except (TwinError, OSError) as error:
        raise fail(str(error)) from error
    if as_json:
        OUT.print_json(data={"path": str(out), "rows": count})
    else:
        OUT.print(words(f"{out}: {count:,} rows"), soft_wrap=True)


def data_of(config: Path | None) -> tuple[Settings, Path]:
    """Settings and data directory; without a configuration of one's own also the newest demo's."""
    settings = settings_of(config)
    data = Path(settings.data_dir)
    demos = sorted(DEMOS.glob("*/data"), key=lambda folder: folder.stat().st_mtime)
    if config is None and not data.exists() and demos:
        data = demos[-1]
    return settings, data


def instant(text: str, default: int) -> int:
    """Milliseconds since 1970 of an ISO 8601 date or time; without a zone it is UTC."""
    if not text:
        return default
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise fail(f"{text!r} is no time; write 2026-11-30 or 2026-11-30T06:00Z", 2) from error
    return int((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def told_progress(as_json: bool) -> Progress:
    return Progress(console=ERR, disable=as_json, transient=True)


def _embedded(settings: Settings) -> None:
    if settings.store.kind != "embedded":
        raise fail(elsewhere(settings.store.kind))


@contextlib.contextmanager
def _opened(config: Path | None) -> Iterator[tuple[EmbeddedStore, Rows]]:
    """The embedded store of a stopped server."""
    from twin.journal import Journal

    settings, data = data_of(config)
    _embedded(settings)
    if not (data / "store" / "hot.duckdb").exists():
        raise fail(f"{data} holds no store; name the configuration with --config")
    try:
        with contextlib.ExitStack() as stack:
            journal = Journal(data / "journal.db", max_bytes=settings.journal.max_bytes)
            stack.callback(journal.close)
            rows = Rows(journal.names())
            store = EmbeddedStore(data / "store", rows, journal=journal.id, seal_every_s=None)
            stack.callback(store.close)
            yield store, rows
    except TwinError as error:
        raise fail(str(error)) from error


@contextlib.contextmanager
def _copy(config: Path | None, to: Path) -> Iterator[Path]:
    """A backup at `to`; what was made of it is removed where something fails."""
    try:
        if running(config):
            made = Path(Client(config).post("/api/store/backup", {}, within_s=COPY_S)["path"])
            try:
                shutil.copytree(made, to)
            finally:
                shutil.rmtree(made, ignore_errors=True)
        else:
            with _opened(config) as (store, rows):
                back_up(store, rows.names(), to)
        yield to
    except (TwinError, OSError) as error:
        shutil.rmtree(to, ignore_errors=True)
        raise fail(str(error)) from error


@contextlib.contextmanager
def readable(config: Path | None) -> Iterator[tuple[EmbeddedStore, Rows]]:
    """The store to read from: of a running server a copy, made of links, that is removed afterwards."""
    if not running(config):
        with _opened(config) as opened:
            yield opened
        return
    made = Path(Client(config).post("/api/store/backup", {}, within_s=COPY_S)["path"])
    try:
        store, rows = open_copy(made)
        try:
            yield store, rows
        finally:
            store.close()
    finally:
        shutil.rmtree(made, ignore_errors=True)
