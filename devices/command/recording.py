"""`citywhistle devices recording`: the recording that comes with the product, for demos; see `devices replay`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from devices.command.replay import replay
from devices.command.shared import (
    BrokerOption,
    CaOption,
    CityOption,
    ClockOption,
    CredentialsOption,
    JsonOption,
    PasswordOption,
    StateOption,
    UserOption,
)

SHIPPED = "beijing_air.csv.gz"


def shipped_recording() -> Path:
    """The extract of the Beijing air-quality data that comes with the product (licence: devices/recordings)."""
    return Path(str(resources.files("devices") / "recordings" / SHIPPED))


def recording(
    speed: Annotated[float, typer.Option("--speed", help="The recording advances this many times as fast.")] = 1.0,
    broker: BrokerOption = "127.0.0.1:1883",
    user: UserOption = "",
    password_file: PasswordOption = None,
    credentials: CredentialsOption = None,
    ca: CaOption = None,
    clock: ClockOption = None,
    city: CityOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay the shipped recording (real air quality of Beijing) shifted to now, again and again."""
    replay(
        shipped_recording(), "beijing_air", speed, shift="now", loop=True, broker=broker, user=user,
        password_file=password_file, credentials=credentials, ca=ca, clock=clock, city=city, state=state, drain=8.0,
        as_json=as_json,
    )  # fmt: skip
