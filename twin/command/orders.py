"""`citywhistle devices command | desired`: tell a device of the running city something, and see what became of it."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import typer
from rich.table import Table

from twin.command.client import CONFIG, JSON, OUT, Client, clock, words
from twin.command.objects import fields_of

DEVICE = typer.Argument(..., help="The device.")


def command(
    device: str = DEVICE,
    action: str = typer.Argument(..., help="dim, report, speak (pole); text, report (truck); report (others)."),
    arguments: list[str] | None = typer.Argument(None, help="name=value ...: level=0.4 minutes=60, zh=..., en=..."),
    config: Path | None = CONFIG,
    reason: str = typer.Option("", "--reason", "-r", help="A word for the record."),
    wait_s: float = typer.Option(0.0, "--wait", min=0, max=300, help="Seconds to wait for the device's answer."),
    as_json: bool = JSON,
) -> None:
    """Tell a device something: journalled, sent, answered or not."""
    client, end_s = Client(config), time.monotonic() + wait_s
    body = {"action": action, "arguments": fields_of(arguments or []), "reason": reason}
    done = client.send("POST", f"/api/devices/{device}/commands", body, key=uuid.uuid4().hex)
    while done["state"] in ("waiting", "sent") and time.monotonic() < end_s:
        time.sleep(0.3)
        done = next(one for one in client.get(f"/api/devices/{device}/commands") if one["id"] == done["id"])
    if as_json:
        OUT.print_json(data=done)
        return
    OUT.print(words(f"{done['id']}: {done['action']} to {device}: {done['state']} {done['detail']}"), soft_wrap=True)


def desired(device: str = DEVICE, config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """What a device should report by orders, what it reports, and its last orders."""
    client = Client(config)
    told = client.get(f"/api/devices/{device}")
    orders = client.get(f"/api/devices/{device}/commands", limit=10)
    if as_json:
        OUT.print_json(data={"desired": told["desired"], "orders": orders})
        return
    for one in told["desired"]:
        sign = "differs" if one["differs"] else "as desired"
        OUT.print(words(f"{one['quantity']}: desired {one['value']}, reported {one['reported']} ({sign})"))
    if not told["desired"]:
        OUT.print("nothing is desired of it")
    table = Table("at (UTC)", "order", "by", "state", "attempts", "", box=None)
    for one in orders:
        said = f"{one['action']} {one['arguments'] or ''}"
        table.add_row(clock(one["at_ms"]), words(said), words(one["actor"]), one["state"], str(one["attempts"]),
                      words(one["detail"]))  # fmt: skip
    if orders:
        OUT.print(table)
