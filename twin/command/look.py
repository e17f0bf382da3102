"""`citywhistle open | health | account | rejects`: looks at the running server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from twin.command.client import CONFIG, JSON, OUT, Client, clock, words

UNCOUNTED = "n/a"  # stands where nothing can be missing


def open_(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Print a fresh link to the live page; it opens once."""
    client = Client(config)
    link = client.url + client.post("/api/session/token", {})["path"]
    OUT.print_json(data={"url": link}) if as_json else OUT.print(words(link), soft_wrap=True)


def health(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Link, journal, store, tick and disk of the running server."""
    told = Client(config).get("/api/health")
    if as_json:
        OUT.print_json(data=told)
        return
    for name, value in told.items():
        OUT.print(words(f"{name:>10}  {value}"), soft_wrap=True)


def account(
    config: Path | None = CONFIG,
    as_json: bool = JSON,
    devices: bool = typer.Option(False, "--devices", help="One line a device instead of the total."),
    limit: int = typer.Option(100, min=1, max=1000, help="At most this many devices."),
    after: str = typer.Option("", help="Go on after this device."),
) -> None:
    """What became of every reading: received, journalled, stored, duplicate, late, out of order, missing, rejected,
    refused by the store."""
    client = Client(config)
    told = client.get("/api/accounting", limit=limit if devices else 0, after=after)
    if as_json:
        OUT.print_json(data=told)
        return
    rows = told.get("devices", []) if devices else [told["total"]]
    OUT.print(account_table(rows))
    if skipped := client.get("/api/health")["store"]["skipped"]:
        OUT.print(f"{skipped} batches were trimmed from the journal before the store could take them: 'stored' counts "
                  "their readings all the same.")  # fmt: skip


def account_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Accounts as the API tells them, one a line; names and figures are never cut short."""
    told = list(rows)
    uncounted = not all(row["accountable"] for row in told)
    why = f"{UNCOUNTED}: not accountable, for it sends no numbers" if uncounted else None
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, caption=why, caption_justify="left")
    fates = ("received", "journalled", "stored", "duplicate", "late", "out of order", "missing", "rejected")
    for name in ("device", *fates):
        whole = max(map(len, name.split()))  # half a name, heading or figure says nothing
        table.add_column(name, overflow="fold", no_wrap=name == "device", min_width=whole)
    refused = any(row["unstorable"] for row in told)  # a store of one's own refuses nothing
    if refused:
        table.add_column("refused by the store", overflow="fold")
    for row in told:
        rejected = ", ".join(f"{why} {n}" for why, n in row["rejected"].items())
        missing = str(row["missing"]) if row["accountable"] else UNCOUNTED
        table.add_row(
            words(row["device"] or "total"), str(row["received"]), str(row["journalled"]), str(row["stored"]),
            str(row["duplicate"]), str(row["late"]), str(row["out_of_order"]), missing, words(rejected or "0"),
            *([str(row["unstorable"])] if refused else []),
        )  # fmt: skip
    return table


def rejects(
    config: Path | None = CONFIG,
    as_json: bool = JSON,
    limit: int = typer.Option(20, min=1, max=1000, help="At most this many, newest first."),
) -> None:
    """The newest refused messages: topic, reason, and what they said."""
    told = Client(config).get("/api/rejects", limit=limit)
    if as_json:
        OUT.print_json(data=told)
        return
    table = Table("at (UTC)", "reason", "topic", "detail", "payload", box=None)
    for one in told:
        told_of = (one["reason"], one["topic"], one["detail"], one["payload"][:60])
        table.add_row(clock(one["at_ms"]), *(words(text) for text in told_of))
    OUT.print(table if told else "Nothing was refused.")
