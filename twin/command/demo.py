"""`citywhistle demo`: the whole city in one terminal."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.console import Console

from twin.command.client import fail
from twin.errors import TwinError

REPORT = typer.Option(None, help="Write a report (JSON) here at the end.")
SCENARIO = typer.Option(None, exists=True, help="A schedule of faults (TOML) in place of random ones.")
HOME = typer.Option(Path(".citywhistle/demo"), help="Where the demo keeps its cities.")
CITY = typer.Option("helsinki", help="A shipped city by name, or the directory of one.")


def demo(
    city: str = CITY,
    duration: float = typer.Option(0.0, min=0.0, help="Seconds after which it ends by itself; 0: on Ctrl-C."),
    report: Path | None = REPORT,
    seed: int = typer.Option(1, help="Seed of the fleet and its faults; each city, seed and schedule has its folder."),
    port: int = typer.Option(8080, min=0, max=65535, help="Port of the page; 0: any free one."),
    speed: float = typer.Option(1.0, min=0.01, max=3600.0, help="City seconds in a second."),
    faults: bool = typer.Option(True, help="Whether faults are injected."),
    scenario: Path | None = SCENARIO,
    recording: bool = typer.Option(True, help="Whether the real recording is replayed beside the fleet."),
    history: bool = typer.Option(True, help="Whether the city begins with four simulated weeks behind it."),
    store: str = typer.Option("embedded", help="embedded | influxdb | victoriametrics"),
    store_url: str = typer.Option("", envvar="STORE_URL", help="Address of InfluxDB or VictoriaMetrics."),
    broker: str = typer.Option("", metavar="HOST:PORT", help="A broker that runs already; empty: our own."),
    home: Path = HOME,
    fresh: bool = typer.Option(False, "--fresh", help="Forget this seed's city and begin anew."),
) -> None:
    """Broker, server, a fleet with labelled faults and a real recording; says which address to open."""
    from twin.demo.play import play
    from twin.demo.scene import folder_of
    from twin.demo.stage import Wishes

    console = Console()
    wishes = Wishes(
        city=city,
        seed=seed,
        speed=speed,
        port=port,
        duration_s=duration,
        faults=faults,
        scenario=scenario,
        recording=recording,
        history=history,
        store=store,
        store_url=store_url,
        broker=broker,
    )
    try:
        told = play(
            home / folder_of(city, seed, faults, scenario), wishes, console, fresh=fresh, want_report=report is not None
        )
    except TwinError as error:
        raise fail(str(error)) from error
    if report is not None:
        try:
            report.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise fail(f"{report} cannot be written: {error.strerror}") from error
        console.print(f"Report written to {report}")
