"""`citywhistle rules`: what the findings of a running server go by, changed while it runs; and the budgets."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.table import Table

from twin.command.client import CONFIG, JSON, OUT, Client, fail, words
from twin.detect import default_rules, parse_rules
from twin.errors import SettingsError

app = typer.Typer(help="Parameters of findings, by kind, area and hour; false-alarm budgets.", no_args_is_help=True)


@app.command()
def show(
    type_: str = typer.Argument("", metavar="[TYPE]", help="One finding type; all that differ where none is named."),
    config: Path | None = CONFIG,
    as_json: bool = JSON,
) -> None:
    """The parameters in force: of one type, or all that differ from the shipped ones."""
    told = Client(config).get("/api/rules")
    if type_ and type_ not in told["rules"]:
        raise fail(f"no finding type {type_!r}; there are {', '.join(sorted(told['rules']))}", 2)
    shown = {type_: told["rules"][type_]} if type_ else told["overrides"]
    if as_json:
        OUT.print_json(data=shown)
        return
    for name, values in shown.items():
        OUT.print(words(f"[{name}]"), style="bold")
        for key, value in values.items():
            for one in value if key == "where" else [value]:
                OUT.print(words(f"  {key} = {one}"))
    if not shown:
        OUT.print("all as shipped")


@app.command("set")
def set_(
    file: Path = typer.Argument(..., help="A rules.toml; it replaces the rules set before. /dev/null: as shipped."),
    config: Path | None = CONFIG,
) -> None:
    """Replace the rules of the running server; they count from the next tick on, and after a restart."""
    try:
        table = parse_rules(file.read_text(encoding="utf-8"), str(file))
        default_rules().override(table, str(file))
    except (OSError, UnicodeDecodeError, SettingsError) as error:
        raise fail(str(error), 2) from error
    Client(config).put("/api/rules", table)
    OUT.print(words(f"in force: {', '.join(sorted(table)) or 'all as shipped'}"))


@app.command()
def budgets(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """The false alarms that each statistical detector may raise, and what operators' verdicts did to its bars."""
    told = Client(config).get("/api/rules")["budgets"]
    if as_json:
        OUT.print_json(data=told)
        return
    table = Table("detector", "kind", "false alarms per 1,000 allowed", "bars times", "days since a verdict", box=None)
    for one in told:
        table.add_row(one["detector"], one["kind"], f"{one['allowed']:g} {one['per']}", f"{one['bars_times']:.2f}",
                      f"{one['days']:.1f}")  # fmt: skip
    OUT.print(table)
    OUT.print("Set `false_per_1000_device_days` of a type, `false_per_1000_channel_days` in [sensor].", markup=False)
