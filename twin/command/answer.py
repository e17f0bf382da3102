"""`citywhistle whistles VERB CASE`: every step of a case's life but accept and close, which stand with the list."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import typer

from twin.command.client import CONFIG, JSON, OUT, Client, clock, words

REASON = typer.Option("", "--reason", "-r", help="A word for the record.")
WHY = typer.Option(..., "--reason", "-r", prompt=True, help="Why; it is recorded.")
OVERRIDE = typer.Option("", help="Why, although telemetry still shows the trouble.")
SUBJECTS = typer.Option([], "--subject", help="A device, node or area, with what hangs on it; none: all.")
TYPES = typer.Option([], "--type", help="A case type; none: all.")
HOURS = typer.Option(..., min=0.1, max=8784, help="Working hours more.")


def step(config: Path | None, case: str, verb: str, reason: str, **arguments: Any) -> None:
    """Take one step and say where the case stands; arguments that are None or empty are not sent."""
    body = {"reason": reason} | {name: value for name, value in arguments.items() if value not in (None, "")}
    key = uuid.uuid4().hex
    told = Client(config).post(f"/api/cases/{case}/{verb}", body, key=key)
    OUT.print(f"{told['id']}: {told['state']}" + (f" (mute {key})" if verb == "mute" else ""), soft_wrap=True)


def handle(case: str, config: Path | None = CONFIG, reason: str = REASON) -> None:
    """Report a case as handled; telemetry verifies it."""
    step(config, case, "handle", reason)


def redo(case: str, config: Path | None = CONFIG, reason: str = WHY) -> None:
    """Not accepted: the department must do it again."""
    step(config, case, "redo", reason)


def give_back(case: str, config: Path | None = CONFIG, reason: str = WHY) -> None:
    """Return a case: it is not this department's."""
    step(config, case, "return", reason)


def transfer(case: str, department: str, config: Path | None = CONFIG, reason: str = WHY) -> None:
    """Give a case to another department."""
    step(config, case, "transfer", reason, department=department)


def dispatch(
    case: str,
    config: Path | None = CONFIG,
    department: str = typer.Option("", help="To this one; empty: where the routes say."),
    reason: str = REASON,
) -> None:
    """Send a filed case."""
    step(config, case, "dispatch", reason, department=department)


def extend(case: str, config: Path | None = CONFIG, hours: float = HOURS, reason: str = WHY) -> None:
    """Ask for more time."""
    step(config, case, "extend", reason, extra_s=hours * 3600)


def approve(
    case: str,
    config: Path | None = CONFIG,
    hours: float | None = typer.Option(None, min=0.1, max=8784, help="Working hours; empty: as asked for."),
    reason: str = REASON,
) -> None:
    """Grant an extension."""
    step(config, case, "approve", reason, extra_s=None if hours is None else hours * 3600)


def deny(case: str, config: Path | None = CONFIG, reason: str = WHY) -> None:
    """Refuse an extension."""
    step(config, case, "deny", reason)


def confirm(case: str, config: Path | None = CONFIG, override: str = OVERRIDE, reason: str = REASON) -> None:
    """Call a case verified by what a person saw."""
    step(config, case, "verify", reason, override=override)


def evaluate(
    case: str,
    config: Path | None = CONFIG,
    false: bool = typer.Option(False, "--false", help="It was a false whistle."),
    score: int | None = typer.Option(None, min=1, max=5, help="How well it was handled."),
    by: str = typer.Option("operator", help="Who judges: citizen, unit (the one concerned) or operator."),
    reason: str = REASON,
) -> None:
    """Say what a closed case was worth."""
    step(config, case, "evaluate", reason, verdict="false" if false else "useful", score=score, by=by)


def reopen(case: str, config: Path | None = CONFIG, reason: str = WHY) -> None:
    """Open a closed case again."""
    step(config, case, "reopen", reason)


def cancel(case: str, config: Path | None = CONFIG, reason: str = WHY) -> None:
    """Cancel a case that is none."""
    step(config, case, "cancel", reason)


def merge(case: str, into: str, config: Path | None = CONFIG, reason: str = WHY) -> None:
    """Put a case under another one, its cause."""
    step(config, case, "merge", reason, into=into)


def split(case: str, config: Path | None = CONFIG, reason: str = WHY) -> None:
    """Take a case out from under its cause."""
    step(config, case, "split", reason)


def comment(case: str, config: Path | None = CONFIG, reason: str = WHY) -> None:
    """Leave a word on a case."""
    step(config, case, "comment", reason)


def resend(
    case: str,
    config: Path | None = CONFIG,
    key: str = typer.Option("", help="Key of the dead letter; empty: the newest."),
    reason: str = REASON,
) -> None:
    """Send a dead letter again."""
    step(config, case, "resend", reason, key=key)


def mute(
    case: str,
    config: Path | None = CONFIG,
    hours: float = typer.Option(..., min=0.1, max=8000, help="For how long, in hours of the city's clock."),
    reason: str = WHY,
) -> None:
    """Keep this type on this subject quiet: recorded, not sent. Prints the mute's id."""
    now_ms = int(Client(config).get("/api/city")["clock"]["city_ms"])
    step(config, case, "mute", reason, until_ms=now_ms + round(hours * 3_600_000))


def unmute(case: str, mute: str, config: Path | None = CONFIG, reason: str = REASON) -> None:
    """End a mute before its time, by the id that `mute` printed."""
    step(config, case, "unmute", reason, mute=mute)


def quiet(
    config: Path | None = CONFIG,
    subject: list[str] = SUBJECTS,
    type_: list[str] = TYPES,
    hours: float = typer.Option(..., min=0.1, max=8000, help="For how long, in hours of the city's clock."),
    in_hours: float = typer.Option(0.0, "--in", min=0, max=8000, help="Begins in so many hours; 0: now."),
    reason: str = WHY,
) -> None:
    """A maintenance window: types on subjects are recorded and not sent; at its end what still fires is."""
    client = Client(config)
    now_ms = int(client.get("/api/city")["clock"]["city_ms"])
    begins = {"from_ms": now_ms + round(in_hours * 3_600_000)} if in_hours else {}
    until_ms = now_ms + round((in_hours + hours) * 3_600_000)
    body = {"reason": reason, "until_ms": until_ms, "types": type_, "subjects": subject} | begins
    OUT.print(client.post("/api/mutes", body, key=uuid.uuid4().hex)["id"])


def mutes(
    config: Path | None = CONFIG,
    end: str = typer.Option("", help="End the one of this id now; what still fires is sent."),
    as_json: bool = JSON,
) -> None:
    """Mutes and maintenance windows, in force or to come; or end one before its time."""
    client = Client(config)
    if end:
        client.send("DELETE", f"/api/mutes/{end}")
    told = client.get("/api/mutes")
    if as_json:
        OUT.print_json(data=told)
        return
    for one in told:
        begins, ends = (clock(one[name]) for name in ("from_ms", "until_ms"))
        types, subjects = (" ".join(one[name]) or "all" for name in ("types", "subjects"))
        OUT.print(f"{one['id']}  {begins} - {ends} (UTC)", soft_wrap=True)
        OUT.print(words(f"    {types} on {subjects}, by {one['actor']}: {one['reason']}"), soft_wrap=True)
    if not told:
        OUT.print("Nothing is kept quiet.")


COMMANDS = (
    handle, redo, transfer, dispatch, extend, approve, deny, confirm, evaluate, reopen, cancel, merge, split, comment,
    resend, mute, unmute, quiet, mutes,
)  # fmt: skip


def add_steps(app: typer.Typer) -> None:
    """Mount every step on the whistles' commands."""
    for command in COMMANDS:
        app.command()(command)
    app.command("return")(give_back)
