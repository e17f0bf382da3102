"""`citywhistle`: the command line. Groups live in twin/command and in the rooms that they speak for.

A command's room is imported when the command is called: a list of whistles does not wait for the server's packages.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from devices.files import allow_files


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command or group is ("module:attribute"), what the list of commands says of it, and what other rooms
    put into the group."""

    place: str
    help: str
    more: Mapping[str, Entry] = field(default_factory=dict)


MENU: Mapping[str, Entry] = {
    "demo": Entry(
        "twin.command.demo:demo",
        "Broker, server, a fleet with labelled faults and a real recording; says which address to open.",
    ),
    "up": Entry("twin.command.up:up", "Run the server: subscribe, journal, tick, store, deliver, and serve the page."),
    "watch": Entry(
        "twin.command.watch:watch", "Hear a server's heartbeat and tell somebody when it stops and when it comes back."
    ),
    "doctor": Entry(
        "twin.command.doctor:doctor", "Look at broker, store, clock, ports, disk and versions; say what to do."
    ),
    "detect": Entry(
        "twin.command.detect:detect", "Score each row of a CSV in one pass, without look-ahead and without tuning."
    ),
    "backtest": Entry(
        "twin.command.backtest:backtest",
        "Compare today's rules with new ones over stored history, beside a running server or without one.",
    ),
    "open": Entry("twin.command.look:open_", "Print a fresh link to the live page; it opens once."),
    "health": Entry("twin.command.look:health", "Link, journal, store, tick and disk of the running server."),
    "export": Entry(
        "twin.command.store:export_",
        "Write readings of one kind to a Parquet or CSV file; the server may run meanwhile.",
    ),
    "account": Entry(
        "twin.command.look:account",
        "What became of every reading: received, journalled, stored, duplicate, late, out of order, missing, rejected,"
        " refused by the store.",
    ),
    "rejects": Entry("twin.command.look:rejects", "The newest refused messages: topic, reason, and what they said."),
    "devices": Entry(
        "devices.command:app",
        "Devices: what they say, recordings replayed as devices, and a simulated fleet.",
        {
            "command": Entry(
                "twin.command.orders:command", "Tell a device something: journalled, sent, answered or not."
            ),
            "desired": Entry(
                "twin.command.orders:desired",
                "What a device should report by orders, what it reports, and its last orders.",
            ),
        },
    ),
    "city": Entry(
        "twin.command.cities:app",
        "The city's files: where everything stands and what hangs on what.",
        {
            "object": Entry(
                "twin.command.objects:app",
                "Objects of the running city: look, change, retire, replace, adopt, import.",
            ),
        },
    ),
    "broker": Entry("twin.broker.command:app", "The MQTT broker: its users, and running it. 消息代理。"),
    "whistles": Entry(
        "twin.command.whistles:app",
        "Digital whistles: list, show, verify, route, and every step of a case's life.",
    ),
    "channels": Entry("twin.command.channels:app", "Ways out: webhook, mqtt, mail, robots, sms, voice."),
    "policy": Entry("twin.command.policy:app", "Holds, deadlines, closure and calendar of whistles."),
    "rules": Entry("twin.command.rules:app", "Parameters of findings, by kind, area and hour; false-alarm budgets."),
    "users": Entry("twin.command.users:users", "People who may log in. 用户管理。"),
    "tokens": Entry("twin.command.users:tokens", "Tokens of programs: shown once, expiring. 程序令牌。"),
    "privacy": Entry("twin.command.privacy:app", "Personal data: reveals, and the books about them. 个人信息保护。"),
    "journal": Entry("twin.command.journal:app", "The journal of a stopped server."),
    "store": Entry("twin.command.store:app", "The store of series: what it holds, backups, setting one up."),
    "config": Entry("twin.command.config:app", "The configuration file."),
}


def menu(entries: Mapping[str, Entry]) -> type[TyperGroup]:
    """A group that holds these entries besides its own commands, and imports one when it is called."""

    class Menu(TyperGroup):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self._waiting = dict(entries)
            self._listing = False
            for name, entry in entries.items():
                self.commands[name] = TyperCommand(name=name, help=entry.help)  # stands in until it is called

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name in self._waiting and not self._listing:
                self.commands[cmd_name] = load(cmd_name, self._waiting.pop(cmd_name))
            return super().get_command(ctx, cmd_name)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            self._listing = True
            try:
                super().format_commands(ctx, formatter)
            finally:
                self._listing = False

    return Menu


def load(name: str, entry: Entry) -> Any:
    """The command or group of an entry. Ends the program where the server's packages are not installed."""
    module, _, attribute = entry.place.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as missing:  # the base package is the edge's; the server's parts are an extra
        sys.exit(
            f"citywhistle: {missing.name} is not installed; the server comes with: pip install 'citywhistle[server]'"
        )
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    alone.callback()(lambda: None)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name, cls=menu(entry.more))
    else:
        alone.command(name)(found)
    group = typer.main.get_group(alone)
    return group.commands[name]


app = typer.Typer(
    cls=menu(MENU),
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="CityWhistle: a digital twin of city sensing. Telemetry in by MQTT, digital whistles (数字吹哨) out.",
)


@app.callback()
def citywhistle() -> None:
    """The commands stand in the menu."""


def main() -> None:
    """Entry point of the console script."""
    allow_files()
    app()


if __name__ == "__main__":
    main()
