"""`citywhistle whistles`: the queue, one case, accept and close; proof of the history; who gets what."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import typer
from rich.table import Table

from devices.errors import DeviceError
from twin.command import score
from twin.command.answer import add_steps
from twin.command.client import CONFIG, JSON, OUT, Client, fail, settings_of, words
from twin.errors import TwinError
from twin.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="Digital whistles: list, show, verify, route, and every step of a case's life."
)
add_steps(app)
app.command("score")(score.score)


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
    if head["earlier"]:
        before = ", ".join(f"{one['id']} ({one['subject']}, {one['state']})" for one in head["earlier"])
        OUT.print(words(f"again: {before}"), soft_wrap=True)
    steps = Table("at (UTC)", "who", "step", "reason", box=None, title="history", title_justify="left")
    for step in told["history"]:
        change = f"{step['before']} > {step['after']}"
        steps.add_row(clock(step["at_ms"]), words(step["actor"]), change, words(step["reason"]))
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
    """Read the whole history of the cases and prove that no step was altered, taken out or put elsewhere."""
    from sqlalchemy.exc import SQLAlchemyError

    from twin.app.casebook import case_file, case_place, open_cases

    settings = settings_of(config)
    file = case_file(settings)
    if file is not None and not file.exists():
        raise fail(f"{file.parent} holds no cases; name the configuration with --config")
    try:
        with contextlib.closing(open_cases(settings, reading=True)) as cases:
            verdict = cases.verify(head)
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
    """Which department gets a case of that type on that subject, and by which channel."""
    from devices.cities.load import load_city
    from twin.app.ways import direct, policybook
    from twin.whistle.oncall import reach
    from twin.whistle.places import CityPlaces
    from twin.whistle.policy import TYPES
    from twin.whistle.route import clock_of
    from twin.whistle.route import route as decide

    settings = settings_of(config)
    try:
        files = direct(load_city(settings.city.dir or "helsinki"), settings)
        policy = policybook(files, settings).policy
    except (TwinError, DeviceError) as error:
        raise fail(str(error), 2) from error
    places = CityPlaces.of(files)
    if type_ not in policy.types:
        raise fail(f"no case type {type_!r} (known: {', '.join(sorted(TYPES))})", 4)
    if not places.kind(subject):
        raise fail(
            f"the city has no {subject!r}; `citywhistle devices kinds` and the city's files tell what there is", 4
        )
    found = decide(places, policy, type_, subject)
    now_ms = instant(at, files.timezone)
    way = reach(found.department, now_ms, policy.calendar.zone)
    due_ms = clock_of(places, policy, type_, found.department.id).add(now_ms, policy.of(type_).deadline_s)
    told = {
        "department": found.department.id, "channel": way.channel, "address": veiled(settings, way.address),
        "on_call": way.shift is not None, "kind": policy.of(type_).kind, "deadline_ms": due_ms,
        "joint": [one.id for one in found.joint], "en": found.en, "zh": found.zh,
    }  # fmt: skip
    if as_json:
        OUT.print_json(data=told)
        return
    OUT.print(words(f"{told['department']} by {told['channel']} {told['address']}".rstrip()), soft_wrap=True)
    if explain:
        OUT.print(words(found.en), soft_wrap=True)
        OUT.print(words(found.zh), soft_wrap=True)
        who = "whoever is on call" if way.shift is not None else "the department itself"
        due = datetime.fromtimestamp(due_ms / 1000, policy.calendar.zone).strftime("%Y-%m-%d %H:%M")
        hours = "every hour counts" if policy.of(type_).always else "working hours"
        OUT.print(words(f"{policy.of(type_).kind}; at that hour {who} is reached; due {due} ({hours})"), soft_wrap=True)


def instant(at: datetime | None, timezone: str) -> int:
    """A local time of the city as ms since 1970 UTC; now for none."""
    return round((datetime.now(UTC) if at is None else at.replace(tzinfo=ZoneInfo(timezone))).timestamp() * 1000)


def veiled(settings: Settings, address: str) -> str:
    """An address as it may stand on a screen: a telephone number as its pseudonym."""
    from twin.access.veil import FILE, Veil, is_number, veil_key

    if not any(is_number(part) for part in address.split(",")):
        return address
    veil = Veil(veil_key(Path(settings.data_dir) / FILE))
    return ",".join(veil.pseudonym("phone", part) if is_number(part) else part for part in address.split(","))


def _act(config: Path | None, case: str, verb: str, reason: str) -> None:
    told = Client(config).post(f"/api/cases/{case}/{verb}", {"reason": reason}, key=uuid.uuid4().hex)
    OUT.print(f"{told['id']}: {told['state']}")
