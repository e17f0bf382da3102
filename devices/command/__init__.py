"""`citywhistle devices ...`: kinds, faults, replay, the simulated fleet. Mounted by the command line, or run alone."""

from __future__ import annotations

import typer

from devices.command.faults import faults
from devices.command.kinds import kinds
from devices.command.recording import recording
from devices.command.replay import replay
from devices.command.run import run

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Devices: what they say, recordings replayed as devices, and a simulated fleet.",
)
app.command("kinds")(kinds)
app.command("faults")(faults)
app.command("replay")(replay)
app.command("recording")(recording)
app.command("run")(run)
