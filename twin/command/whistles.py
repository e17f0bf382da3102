"""`citywhistle whistles`: the queue, one case, accept and close."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from twin.command.client import CONFIG, JSON, OUT, Client

app = typer.Typer(no_args_is_help=True, help="Digital whistles: list, show, accept, close.")


def clock(ms: int) -> str:
    """City time for people, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ms else "-"


@app.command("list")
def list_(
    config: Path | None = CONFIG,
    as_json: bool = JSON,
    everything: bool = typer.Option(False, "--all", help="Closed ones too."),
    limit: int = typer.Option(50, min=1, max=1000, help="At most this many, newest first."),
) -> None:
    """The queue, newest first; symptoms under a cause are counted, not listed."""
    cases = Client(config).get("/api/cases", open_only=not everything, limit=limit)
    if as_json:
        OUT.print_json(data=cases)
        return
    table = Table("id", "opened (UTC)", "state", "!", "type", "subject", "children", "department", box=None)
    for case in cases:
        table.add_row(
            case["id"], clock(case["opened_ms"]), case["state"], str(case["severity"]), case["type"], case["subject"],
            str(case["children"] or ""), case["department"],
        )  # fmt: skip
    OUT.print(table if cases else "No open whistle.")


@app.command()
def show(case: str, config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """One case: sentence, history, what was sent, its children."""
    client = Client(config)
    told = {
        "case": client.get(f"/api/cases/{case}"),
        "history": client.get(f"/api/cases/{case}/history"),
        "deliveries": client.get(f"/api/cases/{case}/deliveries"),
        "children": client.get(f"/api/cases/{case}/children"),
    }
    if as_json:
        OUT.print_json(data=told)
        return
    head: dict[str, Any] = told["case"]
    OUT.print(f"[bold]{head['id']}[/bold] {head['type']} at {head['subject']}: {head['state']}")
    OUT.print(head["en"])
    OUT.print(head["zh"])
    steps = Table("at (UTC)", "who", "step", "reason", box=None, title="history", title_justify="left")
    for step in told["history"]:
        steps.add_row(clock(step["at_ms"]), step["actor"], f"{step['before']} > {step['after']}", step["reason"])
    OUT.print(steps)
    sent = Table("channel", "purpose", "state", "attempts", "key", box=None, title="sent", title_justify="left")
    for one in told["deliveries"]:
        sent.add_row(one["channel"], one["purpose"], one["state"], str(one["attempts"]), one["key"])
    OUT.print(sent)
    if head["children"]:
        below = ", ".join(child["subject"] for child in told["children"][:20])
        OUT.print(f"children ({head['children']}): {below}")


@app.command()
def accept(
    case: str,
    config: Path | None = CONFIG,
    reason: str = typer.Option("", help="A word for the record."),
) -> None:
    """Accept a dispatched case."""
    _act(config, case, "accept", reason)


@app.command()
def close(
    case: str,
    config: Path | None = CONFIG,
    reason: str = typer.Option(..., prompt=True, help="Why it may be closed."),
) -> None:
    """Close a case, with a reason."""
    _act(config, case, "close", reason)


def _act(config: Path | None, case: str, verb: str, reason: str) -> None:
    told = Client(config).post(f"/api/cases/{case}/{verb}", {"reason": reason}, key=uuid.uuid4().hex)
    OUT.print(f"{told['id']}: {told['state']}")
