"""`citywhistle whistles score`: the score card of a period, for people, as CSV or as JSON."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from twin.command.client import CONFIG, JSON, OUT, Client, fail, words

DAY = "%Y-%m-%d"
FIRST = typer.Option(None, "--from", formats=[DAY], help="First day, of the city's time zone; usually 29 days before.")
LAST = typer.Option(None, "--to", formats=[DAY], help="Last day, in the period; usually the city's today.")
GROUPS = {"type": "By type", "district": "By district", "street": "By street", "department": "By department"}
STAGES = ("dispatch", "accept", "handle", "verify", "close", "whole")


def score(
    config: Path | None = CONFIG,
    first: datetime | None = FIRST,
    last: datetime | None = LAST,
    as_csv: bool = typer.Option(False, "--csv", help="Print CSV."),
    as_json: bool = JSON,
) -> None:
    """The score card: cases by type, area and department, stage times, share in time, false ones, repeat offenders."""
    if as_csv and as_json:
        raise fail("give --csv or --json, not both", 2)
    days = {"from": first, "to": last}
    query = {name: day.strftime(DAY) for name, day in days.items() if day is not None}
    client = Client(config)
    if as_csv:
        typer.echo(str(client.get("/api/score.csv", **query)).lstrip("\ufeff"), nl=False)
        return
    card = client.get("/api/score", **query)
    if as_json:
        OUT.print_json(data=card)
        return
    _show(card)


def _show(card: dict[str, Any]) -> None:
    total = card["total"]
    OUT.print(words(f"{card['first']} to {card['last']}: {total['cases']} cases, {total['open']} open, "
                    f"{total['false']} false, {card['children']} symptoms under causes"), style="bold")  # fmt: skip
    for group, heading in GROUPS.items():
        table = Table(
            "", "cases", "open", "in time", "late", "reopened", "false", *(f"{stage}" for stage in STAGES), box=None,
            title=f"{heading} (medians of the stages)", title_justify="left",
        )  # fmt: skip
        for line in card["by"][group]:
            name = card["names"].get(group, {}).get(line["key"], {}).get("en", "") or line["key"] or "-"
            share = line["share_in_time"]
            table.add_row(
                words(name), str(line["cases"]), str(line["open"]), "-" if share is None else f"{share:.0%}",
                str(line["late"]), str(line["reopened"]), str(line["false"]),
                *(_span(line["median_s"][stage]) for stage in STAGES),
            )  # fmt: skip
        OUT.print(table)
    for one in card["judged"]:
        if one["count"]:
            mean = "-" if one["mean_score"] is None else f"{one['mean_score']:.1f} of 5"
            OUT.print(words(f"evaluated by {one['judge']}: {one['count']}, mean {mean}, {one['false']} false"))
    for one in card["offenders"][:20]:
        kinds = ", ".join(f"{kind} {n}" for kind, n in one["types"].items())
        OUT.print(words(f"repeat: {one['subject']} {one['company']} {one['cases']} cases ({kinds})"), soft_wrap=True)


def _span(seconds: float | None) -> str:
    """A duration as people say it."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
