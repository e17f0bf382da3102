"""`citywhistle channels`: which ways out are configured, and a message that tries one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer
from rich.table import Table

from devices.cities.load import load_city
from devices.errors import DeviceError
from devices.places import CityFiles
from twin.command.client import CONFIG, JSON, OUT, fail, settings_of, veil_of, words
from twin.errors import DeliveryFailed, SettingsError, TwinError, UnknownPlace
from twin.records import Delivery
from twin.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Ways out: webhook, mqtt, mail, robots, sms, voice.")


@app.command("list")
def list_(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Every channel that there is, whether it is configured, and the departments that it reaches."""
    from twin.app.ways import ALWAYS, direct
    from twin.channels import CHANNELS

    settings = settings_of(config)
    try:
        files = direct(_city(settings), settings)
    except SettingsError as error:
        raise fail(str(error), 2) from error
    told = [
        {
            "channel": name,
            "configured": name in settings.channels or name in ALWAYS,
            "departments": [one.id for one in files.departments if one.channel == name],
        }
        for name in CHANNELS
    ]
    if as_json:
        OUT.print_json(data=told)
        return
    table = Table("channel", "configured", "departments", box=None)
    for name in told:
        departments = name["departments"]
        assert isinstance(departments, list)
        table.add_row(str(name["channel"]), "yes" if name["configured"] else "no", ", ".join(departments))
    OUT.print(table)


@app.command("test")
def try_(
    name: str = typer.Argument(..., help="The channel."),
    to: str = typer.Option("", help="Address in place of the configured one; for mqtt the id of a device."),
    config: Path | None = CONFIG,
) -> None:
    """Send one test message by a channel and say what the other side answered. Exit status 1 if it did not take it."""
    from twin.app.ways import ALWAYS, open_channel
    from twin.channels import CHANNELS

    settings = settings_of(config)
    if name not in CHANNELS:
        raise fail(f"no channel {name!r} (known: {', '.join(CHANNELS)})", 4)
    if name not in settings.channels and name not in ALWAYS:
        raise fail(f"there is no [channels.{name}] in the configuration", 2)
    try:
        channel = open_channel(settings, name)
    except SettingsError as error:
        raise fail(str(error), 2) from error

    async def send(delivery: Delivery) -> str:
        try:
            return await channel.send(delivery)
        finally:
            await channel.close()

    veil = veil_of(settings)
    try:
        said = asyncio.run(send(_message(settings, name, to)))
    except TwinError as why:
        raise fail(veil.text(f"{name}: {why}" if isinstance(why, DeliveryFailed) else str(why))) from why
    OUT.print(words(veil.text(f"{name}: {said}")), soft_wrap=True)


def _message(settings: Settings, name: str, to: str) -> Delivery:
    """The test message; to a device it is a text for its display."""
    from twin.app.exits import test_message

    try:
        return test_message(_city(settings), name, to)
    except UnknownPlace as error:
        raise fail(f"--to: {error}", 4) from error


def _city(settings: Settings) -> CityFiles:
    try:
        return load_city(settings.city.dir or "helsinki")
    except DeviceError as error:
        raise fail(str(error), 2) from error
