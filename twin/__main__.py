"""`citywhistle`: the command line. Groups live in twin/command and in the rooms that they speak for."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from devices.errors import CityFileError
from devices.files import allow_files

try:
    from devices.command import app as devices
    from twin.broker.command import app as broker
    from twin.command import (
        backtest,
        channels,
        config,
        demo,
        detect,
        doctor,
        journal,
        look,
        objects,
        orders,
        policy,
        privacy,
        rules,
        store,
        up,
        users,
        watch,
        whistles,
    )
    from twin.survey.command import BESIDES
    from twin.survey.command import app as city
except ModuleNotFoundError as missing:  # the base package is the edge's; the server's parts are an extra
    sys.exit(f"citywhistle: {missing.name} is not installed; the server comes with: pip install 'citywhistle[server]'")


def _more_problems(directory: Path) -> list[CityFileError]:
    from twin.command.city import more_problems

    return more_problems(directory)


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="CityWhistle: a digital twin of city sensing. Telemetry in by MQTT, digital whistles (数字吹哨) out.",
)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("watch")(watch.watch)
app.command("doctor")(doctor.doctor)
app.command("detect")(detect.detect)
app.command("backtest")(backtest.backtest)
app.command("open")(look.open_)
app.command("health")(look.health)
app.command("export")(store.export_)
app.command("account")(look.account)
app.command("rejects")(look.rejects)
devices.command("command")(orders.command)
devices.command("desired")(orders.desired)
app.add_typer(devices, name="devices")
BESIDES.append(_more_problems)
city.add_typer(objects.app, name="object")
app.add_typer(city, name="city")
app.add_typer(broker, name="broker")
app.add_typer(whistles.app, name="whistles")
app.add_typer(channels.app, name="channels")
app.add_typer(policy.app, name="policy")
app.add_typer(rules.app, name="rules")
app.add_typer(users.users, name="users")
app.add_typer(users.tokens, name="tokens")
app.add_typer(privacy.app, name="privacy")
app.add_typer(journal.app, name="journal")
app.add_typer(store.app, name="store")
app.add_typer(config.app, name="config")


def main() -> None:
    """Entry point of the console script."""
    allow_files()
    app()


if __name__ == "__main__":
    main()
