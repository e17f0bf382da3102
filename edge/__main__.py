"""`citywhistle-edge`: the gateway's command line."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from devices.errors import DeviceError
from edge.config import EdgeConfig, example, load_config
from edge.errors import EdgeError
from edge.gateway import Gateway

OUT = Console(highlight=False, soft_wrap=True, markup=False)
ERR = Console(highlight=False, soft_wrap=True, markup=False, stderr=True)
CONFIG = typer.Option(Path("edge.toml"), "--config", "-c", help="The configuration.")
FILE = typer.Argument(Path("edge.toml"), help="The file.")
JSON = typer.Option(False, "--json", help="For programs.")

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="CityWhistle edge gateway (边缘网关): field buses in, readings kept on disk until the city has them.",
)
configs = typer.Typer(no_args_is_help=True, help="The configuration file.")
app.add_typer(configs, name="config")


def fail(problem: object) -> typer.Exit:
    """Say what is wrong; raise what is returned."""
    ERR.print(f"error: {problem}")
    return typer.Exit(1)


def config_of(path: Path) -> EdgeConfig:
    """A checked configuration; ends the program where it is wrong."""
    try:
        return load_config(path)
    except EdgeError as error:
        raise fail(error) from error


@app.command()
def run(
    config: Path = CONFIG,
    once: bool = typer.Option(False, help="End when all sources have ended and the city has everything."),
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stopping = threading.Event()
    told = config_of(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        Gateway(told, stopping).run(once)
    except (EdgeError, DeviceError) as error:
        raise fail(error) from error


@configs.command("init")
def init(file: Path = FILE, force: bool = typer.Option(False, help="Overwrite an existing file.")) -> None:
    """Write a configuration in which every key is explained."""
    if file.exists() and not force:
        raise fail(f"{file} is there already; --force overwrites it")
    try:
        file.write_text(example(), encoding="utf-8")
    except OSError as error:
        raise fail(f"{file} cannot be written: {error.strerror}") from error
    OUT.print(f"{file} written; check it with `citywhistle-edge config check {file}`")


@configs.command("check")
def check(file: Path = FILE) -> None:
    """Read a configuration with the environment's overrides; errors name file, line and fix."""
    config = config_of(file)
    sources = len(config.sources)
    OUT.print(f"{file}: fine; {len(config.behind)} devices behind {config.own.device}, {sources} sources")


@app.command()
def status(config: Path = CONFIG, as_json: bool = JSON) -> None:
    """How the running gateway is. Exit status 1 if it does not run, or has stopped telling."""
    told = config_of(config)
    try:
        found = json.loads(told.status_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise fail(f"{told.status_file}: {error}; is the gateway running?") from error
    age_s = max(0.0, time.time() - found["written_ms"] / 1000)
    alive = found["running"] and age_s <= 3 * found["every_s"] + 5
    if as_json:
        OUT.print_json(data={**found, "age_s": round(age_s, 1), "alive": alive})
    else:
        _show(found, age_s, alive)
    if not alive:
        raise typer.Exit(1)


def _show(found: dict[str, Any], age_s: float, alive: bool) -> None:
    spool, uplink = found["spool"], found["uplink"]
    table = Table(box=None, show_header=False)
    state = "running" if alive else "not running"
    table.add_row(
        "gateway", f"{found['id']} {state}, {'' if found['connected'] else 'not '}connected; told {age_s:.0f} s ago"
    )
    share = 100 * spool["bytes"] / spool["max_bytes"]
    table.add_row(
        "spool", f"{spool['rows']} readings wait ({share:.1f} % of the room), {spool['dropped']} dropped ever"
    )
    for device, count in spool["dropped_by_device"].items():
        table.add_row("", f"dropped of {device}: {count}")
    table.add_row("uplink", f"{uplink['published']} published, {uplink['resent']} again, {uplink['held']} on the way")
    table.add_row("policy", f"{found['suppressed']} readings held back")
    for name, source in found["sources"].items():
        refused = ", ".join(f"{reason} {count}" for reason, count in source["refused"].items()) or "none"
        table.add_row(f"source {name}", f"{source['readings']} readings; refused: {refused}")
    table.add_row("memory", f"{found['memory_kb'] / 1024:.0f} MB")
    for where, problem in found["problems"].items():
        table.add_row(where, problem, style="yellow")
    OUT.print(table)


@app.command()
def doctor(config: Path = CONFIG, as_json: bool = JSON) -> None:
    """Look at clock, disk, spool, sources and broker; say what to do. Exit status 1 if something is bad."""
    from edge.doctor import examine

    signs = examine(config_of(config))
    if as_json:
        OUT.print_json(data=[asdict(sign) for sign in signs])
    else:
        table = Table("", "what", "found", "what to do", box=None)
        for sign in signs:
            table.add_row(sign.verdict, sign.what, sign.found, sign.advice)
        OUT.print(table)
    if any(sign.verdict == "bad" for sign in signs):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
