"""Who may do what at the broker, from the city's registry. Pure: no file, no clock, no chance.

A device that stands alone has an account of its own name and writes under its own id. A gateway has one account and
writes for itself and for the devices registered behind it, which have none. `server` reads what comes up and writes
commands and marks; `monitor` reads everything and writes nothing; `replay` writes for recorded devices only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from devices.places import Device
from devices.topics import NAME, UPWARD, Leaf, Topic
from twin.errors import TwinError

Role = Literal["server", "monitor", "replay", "gateway", "device"]

SERVER, MONITOR, REPLAY = "server", "monitor", "replay"
RESERVED = (SERVER, MONITOR, REPLAY)
DOWNWARD: tuple[Leaf, ...] = ("cmd", "mark")


class AccessError(TwinError):
    """The registry holds a name that cannot be a user of the broker: the message names it."""


@dataclass(frozen=True, slots=True)
class Account:
    """One user of the broker, and the devices that it may speak for (its own id is understood)."""

    user: str
    role: Role
    devices: tuple[Device, ...] = ()


def accounts(devices: Iterable[Device]) -> tuple[Account, ...]:
    """The accounts that a registry needs: the three of our own, then gateways and lone devices by name.

    Raises AccessError for an id that topics may not hold, or that is one of our own three names.
    """
    alone: set[str] = set()
    behind: dict[str, list[Device]] = {}
    recorded: list[Device] = []
    for device in devices:
        for name in (device.id, device.gateway or device.id):
            if not NAME.match(name) or name in RESERVED:
                raise AccessError(f"{name!r} cannot be a user of the broker: rename the device (letters, digits, _.:-)")
        if device.kind == "gateway":
            behind.setdefault(device.id, [])
        elif device.gateway:
            behind.setdefault(device.gateway, []).append(device)
        else:
            alone.add(device.id)
        if device.origin == "recorded":
            recorded.append(device)
    ours = (Account(SERVER, "server"), Account(MONITOR, "monitor"), Account(REPLAY, "replay", tuple(recorded)))
    gateways = tuple(Account(name, "gateway", tuple(behind[name])) for name in sorted(behind))
    return ours + gateways + tuple(Account(name, "device") for name in sorted(alone - behind.keys()))


def _lines_for(devices: Sequence[Device]) -> list[str]:
    """Access lines of the devices that one account speaks for. Telemetry first: Mosquitto searches from the top."""
    lines = [f"topic write {Topic(d.district, d.kind, d.id, leaf)}" for leaf in UPWARD for d in devices]
    return lines + [f"topic read {Topic(d.district, d.kind, d.id, leaf)}" for leaf in DOWNWARD for d in devices]


def access_list(all_accounts: Iterable[Account]) -> str:
    """Mosquitto's access list for these accounts. What is not named is refused."""
    lines = ["# Written by `citywhistle broker provision`; changes by hand are lost. Read again on SIGHUP.", ""]
    for account in all_accounts:
        if account.role == "server":
            rules = [f"topic read city/+/+/+/{leaf}" for leaf in UPWARD]
            rules += ["topic readwrite city/+/+/+/mark", "topic write city/+/+/+/cmd", "topic read $SYS/#"]
        elif account.role == "monitor":
            rules = ["topic read city/#", "topic read $SYS/#"]
        else:
            rules = _lines_for(account.devices)
        if rules:
            lines += [f"user {account.user}", *rules, ""]
    lines.append("# Everybody: under the own name.")
    lines += [f"pattern write city/+/+/%u/{leaf}" for leaf in UPWARD]
    lines += [f"pattern read city/+/+/%u/{leaf}" for leaf in DOWNWARD]
    return "\n".join(lines) + "\n"
