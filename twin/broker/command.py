"""`citywhistle broker`: provision its users from a city's registry, list them, run it in the foreground."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from devices.cities.load import load_city
from devices.errors import CityFileError
from twin.broker.access import AccessError, accounts
from twin.broker.conf import HOME, BrokerFiles
from twin.broker.nats import LOST
from twin.broker.process import BrokerFailed, check_port, prepare_broker, record_pid, reload_broker, stop_leftover
from twin.broker.provision import provision, read_credentials
from twin.broker.saved import set_aside

app = typer.Typer(name="broker", no_args_is_help=True, help="The MQTT broker: its users, and running it. 消息代理。")

City = Annotated[Path, typer.Argument(help="directory of the city's files")]
Directory = Annotated[Path, typer.Option("--dir", help="where the broker's files lie")]
SHIPPED = Path("devices/cities/helsinki")


def _stop(message: str) -> typer.Exit:
    Console(stderr=True, soft_wrap=True).print(f"[red]error[/] {message}", highlight=False)
    return typer.Exit(1)


@app.command("provision")
def provision_users(city: City = SHIPPED, directory: Directory = HOME) -> None:
    """Make passwords and access list for a city's devices; those who have a password keep it."""
    try:
        made = provision(load_city(city).devices, directory)
    except (CityFileError, AccessError, OSError) as error:
        raise _stop(str(error)) from error
    told = f"broker: {len(made.accounts)} users in {directory} ({len(made.new)} new, {len(made.retired)} retired)"
    if made.changed and reload_broker(made.files):
        told += "; the running broker has read them"
    typer.echo(told)


@app.command("users")
def list_users(
    city: City = SHIPPED,
    directory: Directory = HOME,
    as_json: Annotated[bool, typer.Option("--json", help="for scripts")] = False,
) -> None:
    """Show who may speak for how many devices, and whether the broker knows them. Shows no password."""
    try:
        wanted = accounts(load_city(city).devices)
        known = read_credentials(BrokerFiles(directory))
    except FileNotFoundError as error:
        raise _stop(f"{error.filename} is missing: run `citywhistle broker provision`") from error
    except (CityFileError, AccessError, OSError) as error:
        raise _stop(str(error)) from error
    rows = [(a.user, a.role, len(a.devices), a.user in known) for a in wanted]
    if as_json:
        keys = ("user", "role", "devices", "provisioned")
        typer.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
        return
    table = Table("user", "role", "devices behind", "provisioned")
    for user, role, behind, there in rows:
        table.add_row(user, role, str(behind or ""), "yes" if there else "no")
    Console().print(table)


@app.command("mend")
def mend(directory: Directory = HOME) -> None:
    """Set saved sessions aside that Mosquitto cannot read, as it would not start. Run it before the broker starts."""
    files = BrokerFiles(directory.resolve())
    try:
        told = set_aside(files.data)
    except OSError as error:
        raise _stop(str(error)) from error
    typer.echo(told or "the saved sessions can be read, or there are none")


@app.command("start")
def start(
    directory: Directory = HOME,
    port: Annotated[int, typer.Option(min=1, max=65535, help="port on loopback")] = 1883,
) -> None:
    """Run the broker here until Ctrl-C, with mosquitto.conf as shipped and this directory's users."""
    files = BrokerFiles(directory.resolve())
    if not files.acl.exists():
        raise _stop(f"{directory} holds no users: run `citywhistle broker provision` first")
    try:
        stop_leftover(files)
        check_port("127.0.0.1", port)
        prepared = prepare_broker(directory, port=port)
        told = set_aside(files.data)
    except (BrokerFailed, OSError) as error:
        raise _stop(str(error)) from error
    if told:
        typer.echo(told, err=True)
    if prepared.kind == "nats":
        typer.echo("\n".join(LOST))
    typer.echo(f"broker on 127.0.0.1:{prepared.port}; Ctrl-C ends it")
    sys.stdout.flush()
    record_pid(files, os.getpid(), prepared.port)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what it becomes would inherit that
        signal.signal(ignored, signal.SIG_DFL)
    os.execv(prepared.command[0], list(prepared.command))  # noqa: S606 - becomes the broker: one process, its signals
