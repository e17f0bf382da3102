"""`citywhistle whistles`: the queue, one case, accept and close; proof of the history; who gets what."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import typer
from rich.table import Column, Table

from devices.errors import DeviceError
from twin.command import score
from twin.command.answer import add_steps
from twin.command.client import (
    CONFIG,
    JSON,
    OUT,
    Client,
    clock,
    fail,
    file_of_running,
    running,
    settings_of,
    veil_of,
    words,
)
from twin.errors import TwinError, UnknownPlace
from twin.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="Digital whistles: list, show, verify, route, and every step of a case's life."
)
add_steps(app)
app.command("score")(score.score)


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
    table = Table(
        Column("id", min_width=18), "opened (UTC)", "state", "!", "type", "subject", "children", "department", box=None
    )
    for case in cases:
        table.add_row(
            case["id"], clock(case["opened_ms"]), case["state"], str(case["severity"]), words(case["type"]),
            words(case["subject"]), str(case["children"] or ""), words(case["department"]),
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
    OUT.print(words(f"{head['id']} {head['type']} at {head['subject']}: {head['state']}"), style="bold", soft_wrap=True)
    OUT.print(words(head["en"]), soft_wrap=True)
    OUT.print(words(head["zh"]), soft_wrap=True)
    if head["department"]:
        OUT.print(words(f"with {head['department']}"), soft_wrap=True)
    for one in head["joined"]:
        last = f"{one['event']} at {clock(one['at_ms'])}" if one["event"] else "no answer yet"
        OUT.print(words(f"{one['department']} ({one['why']}): {last}"), soft_wrap=True)
    if head["returned_by"]:
        OUT.print(words(f"given back by {', '.join(head['returned_by'])}"), soft_wrap=True)
    if head["earlier"]:
        before = ", ".join(f"{one['id']} ({one['subject']}, {one['state']})" for one in head["earlier"])
        OUT.print(words(f"again: {before}"), soft_wrap=True)
    steps = Table("at (UTC)", "who", "step", "state", "reason", box=None, title="history", title_justify="left")
    for step in told["history"]:
        state = step["after"] if step["before"] != step["after"] else ""
        why = " ".join(one for one in (step["reason"], str(step["evidence"].get("reason_zh", ""))) if one)
        steps.add_row(clock(step["at_ms"]), words(step["actor"]), step["event"], state, words(why))
    OUT.print(steps)
    sent = Table("channel", "purpose", "state", "attempts", "key", box=None, title="sent", title_justify="left")
    for one in told["deliveries"]:
        sent.add_row(one["channel"], one["purpose"], one["state"], str(one["attempts"]), words(one["key"]))
    OUT.print(sent)
    if head["children"]:
        below = ", ".join(child["subject"] for child in told["children"][:20])
        OUT.print(words(f"children ({head['children']}): {below}"), soft_wrap=True)


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


@app.command()
def verify(
    config: Path | None = CONFIG,
    as_json: bool = JSON,
    head: str = typer.Option("", help="A head that an earlier verification printed; it must still be in the chain."),
) -> None:
    """Read the whole history of the cases, and the photos in it, and prove that nothing was altered, taken out or put
    elsewhere. A cut-off end is told by the heads that the server puts aside in its audit book.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from twin.access import Access
    from twin.access.access import FILE
    from twin.app.casebook import case_file, case_place, open_cases
    from twin.app.proof import prove

    settings = settings_of(config)
    file = case_file(settings)
    if file is not None and not file.exists() and config is None and (beside := file_of_running()) is not None:
        settings = settings_of(beside)
        file = case_file(settings)
    if file is not None and not file.exists():
        raise fail(f"{file.parent} holds no cases; name the configuration with --config")
    try:
        data = Path(settings.data_dir)
        with contextlib.ExitStack() as stack:
            cases = stack.enter_context(contextlib.closing(open_cases(settings, reading=True)))
            there = (data / FILE).exists()
            access = stack.enter_context(contextlib.closing(Access(data / FILE))) if there else None
            verdict = prove(cases, data, access, settings.retention.photos_days, head)
    except (TwinError, SQLAlchemyError) as error:
        raise fail(f"{case_place(settings)} cannot be read: {error}") from error
    if as_json:
        OUT.print_json(data=asdict(verdict) | {"ok": verdict.ok})
    else:
        OUT.print(f"{verdict.checked} steps read, head {verdict.head}", soft_wrap=True)
    if not verdict.ok:
        raise fail(f"{verdict.flaw}: {verdict.detail}; compare with a backup of the data directory")
    if not as_json:
        OUT.print("every step is as it was written")


@app.command()
def route(
    type_: str = typer.Argument(..., metavar="TYPE", help="A case type, like lamp_out."),
    subject: str = typer.Argument(..., help="A device or node of the city."),
    config: Path | None = CONFIG,
    as_json: bool = JSON,
    explain: bool = typer.Option(False, "--explain", help="Say why, in both languages."),
    at: datetime | None = typer.Option(
        None, formats=["%Y-%m-%dT%H:%M"], help="At that local time of the city; usually now."
    ),
) -> None:
    """Which department gets a case of that type on that subject, and by which channel.

    A running server is asked, for its tables may have been changed by command; without one the files say.
    """
    if running(config) or os.environ.get("CITYWHISTLE_URL"):
        hour = {"at": at.strftime("%Y-%m-%dT%H:%M")} if at is not None else {}
        told = Client(config).get("/api/route", type=type_, subject=subject, **hour)
    else:
        told = _route_by_files(settings_of(config), type_, subject, at)
    if as_json:
        OUT.print_json(data=told)
        return
    OUT.print(words(f"{told['department']} by {told['channel']} {told['address']}".rstrip()), soft_wrap=True)
    if explain:
        OUT.print(words(told["en"]), soft_wrap=True)
        OUT.print(words(told["zh"]), soft_wrap=True)
        who = "whoever is on call" if told["on_call"] else "the department itself"
        zone = ZoneInfo(told["timezone"])
        due = datetime.fromtimestamp(told["deadline_ms"] / 1000, zone).strftime("%Y-%m-%d %H:%M")
        hours = "every hour counts" if told["always"] else "working hours"
        OUT.print(words(f"{told['kind']}; at that hour {who} is reached; due {due} ({hours})"), soft_wrap=True)


def _route_by_files(settings: Settings, type_: str, subject: str, at: datetime | None) -> dict[str, Any]:
    """The same from the city's files, and from what was set by command and lies in the data directory."""
    from devices.cities.load import load_city
    from twin.app.ways import direct, policybook
    from twin.whistle.places import CityPlaces
    from twin.whistle.route import explain

    try:
        files = direct(load_city(settings.city.dir or "helsinki"), settings)
        policy = policybook(files, settings).policy
        told = asdict(explain(CityPlaces.of(files), policy, type_, subject, instant(at, files.timezone)))
    except UnknownPlace as error:
        raise fail(str(error), 4) from error
    except (TwinError, DeviceError) as error:
        raise fail(str(error), 2) from error
    return told | {"address": veil_of(settings).address(told["address"]), "joint": list(told["joint"])}


def instant(at: datetime | None, timezone: str) -> int:
    """A local time of the city as ms since 1970 UTC; now for none."""
    return round((datetime.now(UTC) if at is None else at.replace(tzinfo=ZoneInfo(timezone))).timestamp() * 1000)


def _act(config: Path | None, case: str, verb: str, reason: str) -> None:
    told = Client(config).post(f"/api/cases/{case}/{verb}", {"reason": reason}, key=uuid.uuid4().hex)
    OUT.print(f"{told['id']}: {told['state']}")
