"""`citywhistle policy`: holds, deadlines and closure of whistles on a running server, looked at and changed."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.table import Table

from twin.app.policybook import read_policy
from twin.command.client import CONFIG, JSON, OUT, Client, fail, words
from twin.errors import SettingsError

app = typer.Typer(help="Holds, deadlines, closure and calendar of whistles.", no_args_is_help=True)


@app.command()
def show(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """What holds for every case type."""
    told = Client(config).get("/api/policy")
    if as_json:
        OUT.print_json(data=told)
        return
    table = Table("type", "kind", "hold s", "deadline h", "hours", "closes after clear for", box=None)
    for name, one in told["types"].items():
        closes = "people verify it" if one["act"] else f"{one['verify_s'] / 60:g} min"
        table.add_row(words(name), one["kind"], f"{one['hold_s']:g}", f"{one['deadline_s'] / 3600:g}",
                      "every" if one["always"] else "working", closes)  # fmt: skip
    OUT.print(table)
    OUT.print(words(f"of the city's own: {', '.join(sorted(told['overrides'])) or 'nothing, all as shipped'}"))


@app.command("set")
def set_(
    file: Path = typer.Argument(..., help="A policy.toml; it replaces the one set before. /dev/null: as shipped."),
    config: Path | None = CONFIG,
) -> None:
    """Replace the policy of the running server; it counts from the next tick on, and after a restart."""
    try:
        table = read_policy(file.read_text(encoding="utf-8-sig"), timezone="UTC", hold_s=0.0)
    except (OSError, UnicodeDecodeError, SettingsError) as error:
        raise fail(str(error), 2) from error
    Client(config).put("/api/policy", json.loads(json.dumps(table, default=str)))
    OUT.print(words(f"in force: {', '.join(sorted(table)) or 'all as shipped'}"))
