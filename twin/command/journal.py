"""`citywhistle journal`: look at the journal of a stopped server, and prove that it gives the recorded cases."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import asdict
from pathlib import Path

import typer
from rich.progress import Progress

from devices.errors import DeviceError
from twin.command.client import CONFIG, JSON, OUT, fail, settings_of
from twin.errors import TwinError

app = typer.Typer(no_args_is_help=True, help="The journal of a stopped server.")


@app.command()
def check(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Read every entry; then replay the journal from nothing and compare the cases with those recorded."""
    from devices.cities.load import load_city
    from twin.app.casebook import open_cases
    from twin.app.history import city_then
    from twin.app.rerun import rerun
    from twin.app.ways import city_policy
    from twin.journal import Journal

    settings = settings_of(config)
    data = Path(settings.data_dir)
    if not (data / "journal.db").exists():
        raise fail(f"{data} holds no journal; name the configuration with --config")
    try:
        with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as scratch:
            journal = Journal(data / "journal.db", max_bytes=settings.journal.max_bytes)
            stack.callback(journal.close)
            entries = journal.verify()
            recorded = open_cases(settings, reading=True)
            stack.callback(recorded.close)
            files = city_then(data / "city.db", load_city(settings.city.dir or "helsinki"))
            with Progress(disable=as_json, transient=True) as progress:
                bar = progress.add_task("replaying", total=journal.position)
                told = rerun(
                    journal,
                    files,
                    city_policy(files, settings),
                    recorded,
                    Path(scratch) / "cases.db",
                    lambda n: progress.update(bar, completed=n),
                )
    except (TwinError, DeviceError) as error:
        raise fail(str(error)) from error
    if as_json:
        OUT.print_json(data={"entries": entries, **asdict(told)})
    else:
        OUT.print(f"{entries} entries read; {told.ticks} ticks replayed; {told.cases} cases")
        OUT.print("same cases, same history" if told.chain_equal and not told.differing else "DIFFERENT")
    if told.differing or not told.chain_equal:
        raise fail(f"cases that differ: {', '.join(told.differing[:20]) or 'none, but the histories do'}")
