"""`citywhistle city object ...`: the running city's objects: look, change, retire, replace, adopt, import, past."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from twin.command.client import CONFIG, JSON, OUT, Client, clock, fail, words

app = typer.Typer(
    no_args_is_help=True, help="Objects of the running city: look, change, retire, replace, adopt, import."
)

TABLE = typer.Argument(
    ..., help="city, areas, nodes, devices, permits, departments, calendars, neighbours, routes, roads."
)
NAME = typer.Argument(..., help="The object's id (code of an area, cell of a neighbour list).")
REASON = typer.Option(..., "--reason", "-r", prompt=True, help="Why; it is recorded.")
FIELDS = typer.Argument(None, help="field=value ...; numbers and JSON lists as they are, attributes.NAME=number.")
AT = typer.Option("", "--at", help="As the city was then: ISO 8601, or milliseconds since 1970 UTC.")
DRY = typer.Option(False, "--dry-run", help="Say what would be done, and do nothing.")
MODEL = typer.Option("carry", help="carry: what was learnt goes on; reset: it begins anew.")


@app.command("list")
def list_(
    table: str = TABLE,
    config: Path | None = CONFIG,
    at: str = AT,
    q: str = typer.Option("", "--find", "-f", help="Only those whose id or name holds this."),
    limit: int = typer.Option(100, min=1, max=5000, help="At most this many."),
    after: str = typer.Option("", help="Go on after this id."),
    as_json: bool = JSON,
) -> None:
    """Objects of one table, by id."""
    found = Client(config).get(f"/api/registry/{table}", limit=limit, after=after, q=q, **_when(at))
    if as_json:
        OUT.print_json(data=found)
        return
    if not found:
        OUT.print("none")
        return
    columns = [name for name in found[0] if name not in ("ring", "line", "attributes", "on_call", "plate")][:9]
    shown = Table(*columns, box=None)
    for value in found:
        shown.add_row(*(words(_brief(value.get(name))) for name in columns))
    OUT.print(shown)


@app.command()
def show(
    table: str = TABLE, name: str = NAME, config: Path | None = CONFIG, at: str = AT, as_json: bool = JSON
) -> None:
    """One object: its fields, what it hangs on, what names it."""
    found = Client(config).get(f"/api/registry/{table}/{name}", **_when(at))
    if as_json:
        OUT.print_json(data=found)
        return
    OUT.print(words(f"{found['table']} {found['id']}  {found['urn']}  (city version {found['version']})"))
    for field, value in found["value"].items():
        if value not in ("", [], {}, None):
            OUT.print(words(f"  {field:>12}  {_brief(value)}"), soft_wrap=True)
    for way, sign in (("up", "->"), ("down", "<-")):
        for link in found[way][:50]:
            OUT.print(words(f"  {link['relation']:>12}  {sign} {link['table']} {link['id']}"), soft_wrap=True)


@app.command()
def history(table: str = TABLE, name: str = NAME, config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Everything that changed an object, newest first: when, who, why, which fields."""
    found = Client(config).get(f"/api/registry/{table}/{name}/history")
    OUT.print_json(data=found) if as_json else _tell_versions(found)


@app.command()
def versions(
    config: Path | None = CONFIG,
    after: int = typer.Option(0, min=0, help="Versions above this one."),
    limit: int = typer.Option(50, min=1, max=1000, help="At most this many."),
    as_json: bool = JSON,
) -> None:
    """The city's versions, oldest first."""
    found = Client(config).get("/api/registry/versions", after=after, limit=limit)
    OUT.print_json(data=found) if as_json else _tell_versions(found)


@app.command("set")
def set_(
    table: str = TABLE,
    name: str = NAME,
    fields: list[str] | None = FIELDS,
    config: Path | None = CONFIG,
    reason: str = REASON,
    dry_run: bool = DRY,
    as_json: bool = JSON,
) -> None:
    """Change fields of an object; those that are not named stay."""
    body = {"reason": reason, "dry_run": dry_run, "value": fields_of(fields or [])}
    _done(Client(config).send("PATCH", f"/api/registry/{table}/{name}", body, key=uuid.uuid4().hex), as_json)


@app.command()
def add(
    table: str = TABLE,
    name: str = NAME,
    fields: list[str] | None = FIELDS,
    config: Path | None = CONFIG,
    reason: str = REASON,
    dry_run: bool = DRY,
    as_json: bool = JSON,
) -> None:
    """A new object. A device without code16 is given one, and the areas whose outlines hold it."""
    client = Client(config)
    if any(_key(value) == name for value in client.get(f"/api/registry/{table}", limit=1, q=name)):
        raise fail(f"{table} {name} is there already; change it with `citywhistle city object set`")
    body = {"reason": reason, "dry_run": dry_run, "value": fields_of(fields or [])}
    _done(client.send("PUT", f"/api/registry/{table}/{name}", body, key=uuid.uuid4().hex), as_json)


@app.command()
def retire(
    table: str = TABLE,
    name: str = NAME,
    config: Path | None = CONFIG,
    reason: str = REASON,
    dry_run: bool = DRY,
    as_json: bool = JSON,
) -> None:
    """Take an object out of the city: it is no longer missed, its open cases are closed, its past stays."""
    path = f"/api/registry/{table}/{name}"
    _done(Client(config).send("DELETE", path, key=uuid.uuid4().hex, reason=reason, dry_run=dry_run), as_json)


@app.command()
def replace(
    device: str = typer.Argument(..., help="The device whose hardware is another from now on."),
    fields: list[str] | None = FIELDS,
    by: str = typer.Option("", "--by", help="Id of the device that takes its place; empty: it keeps its id."),
    model: str = MODEL,
    config: Path | None = CONFIG,
    reason: str = REASON,
    dry_run: bool = DRY,
    as_json: bool = JSON,
) -> None:
    """Other hardware in a device's place: history stays, its readings count anew, nothing is lost."""
    body = {"reason": reason, "dry_run": dry_run, "by": by, "model": model, "value": fields_of(fields or [])}
    path = f"/api/registry/devices/{device}/replace"
    _done(Client(config).send("POST", path, body, key=uuid.uuid4().hex), as_json)


@app.command()
def strangers(config: Path | None = CONFIG, as_json: bool = JSON) -> None:
    """Devices that knock and are in no register."""
    found = Client(config).get("/api/registry/strangers")
    if as_json:
        OUT.print_json(data=found)
        return
    shown = Table("device", "kind", "district", "last (UTC)", "messages", "", "says", box=None)
    for one in found:
        shown.add_row(
            words(one["device"]), words(one["kind"]), words(one["district"]), clock(one["last_ms"]),
            str(one["messages"]), "retired" if one["retired"] else "", words(one["sample"][:60]),
        )  # fmt: skip
    OUT.print(shown if found else "Nobody knocks.")


@app.command()
def adopt(
    devices: list[str] = typer.Argument(..., help="Ids of strangers; field=value among them goes for all."),
    config: Path | None = CONFIG,
    reason: str = REASON,
    dry_run: bool = DRY,
    as_json: bool = JSON,
) -> None:
    """Strangers become devices: give lon= and lat=, or the pole= or gateway= beside which they stand."""
    names = [one for one in devices if "=" not in one]
    value = fields_of([one for one in devices if "=" in one])
    kind = str(value.pop("kind", ""))
    body = {
        "reason": reason, "dry_run": dry_run,
        "devices": [{"device": name, "kind": kind, "value": value} for name in names],
    }  # fmt: skip
    _done(Client(config).send("POST", "/api/registry/adopt", body, key=uuid.uuid4().hex), as_json)


@app.command("import")
def import_(
    table: str = TABLE,
    file: Path = typer.Argument(..., help="A CSV table with a heading, or GeoJSON; columns are named like fields."),
    config: Path | None = CONFIG,
    reason: str = REASON,
    dry_run: bool = DRY,
    drop_missing: bool = typer.Option(False, "--drop-missing", help="Retire what the file does not name (by kind)."),
    as_json: bool = JSON,
) -> None:
    """Bring the city in line with a file: only what differs is changed, all of it or nothing."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}") from error
    told = Client(config).send(
        "POST", "/api/registry/import", content=content, key=uuid.uuid4().hex, table=table, reason=reason,
        dry_run=dry_run, drop_missing=drop_missing,
    )  # fmt: skip
    _done(told, as_json)


def fields_of(told: list[str]) -> dict[str, Any]:
    """`field=value` as JSON: numbers, true, false, null and lists as they are, else text; `attributes.x=1` nests.

    >>> fields_of(["lon=24.9", "name=A b", "attributes.axles=4", "trucks=[]", "code16='007'"])
    {'lon': 24.9, 'name': 'A b', 'attributes': {'axles': 4}, 'trucks': [], 'code16': '007'}
    """
    value: dict[str, Any] = {}
    for one in told:
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise fail(f"{one!r} is not field=value")
        quoted = len(text) > 1 and text[0] == text[-1] == "'"
        worth: Any = text[1:-1] if quoted else _worth(name, text)
        if name.startswith("attributes."):
            value.setdefault("attributes", {})[name.partition(".")[2]] = worth
        else:
            value[name] = worth
    return value


TEXTS = (
    "code16",
    "code",
    "district",
    "street",
    "grid",
    "parent",
    "area",
    "plate",
    "id",
    "cell",
)  # digits are no number


def _worth(name: str, text: str) -> Any:
    if name in TEXTS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _when(at: str) -> dict[str, str]:
    return {"at": at} if at else {}


def _key(value: dict[str, Any]) -> str:
    return str(value.get("id") or value.get("code") or value.get("cell"))


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "..."


def _done(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        OUT.print_json(data=told)
        return
    for change in told["changes"][:200]:
        OUT.print(words(_line(change)), soft_wrap=True)
    if len(told["changes"]) > 200:
        OUT.print(f"and {len(told['changes']) - 200} more")
    word = f"the city is at version {told['version']}" if told["version"] else "nothing was done (dry run)"
    OUT.print(words(f"{len(told['changes'])} changes; {word}"), soft_wrap=True)
    for note in told["notes"]:
        OUT.print(words(note), soft_wrap=True)


def _line(change: dict[str, Any]) -> str:
    """A change in words: what it is of, and which fields differ."""
    head, value, before = f"{change['table']} {change['id']}", change["value"], change["before"]
    if change.get("replaces"):
        head += f" (replaces {change['replaces']}, model {change['model']})"
    if value is None:
        return f"- {head}"
    if before is None:
        return f"+ {head}: {_brief({k: v for k, v in value.items() if v not in ('', [], {}, None)})}"
    fields = [f for f in value if value.get(f) != before.get(f)]
    return f"* {head}: " + ", ".join(f"{f} {_brief(before.get(f))} -> {_brief(value.get(f))}" for f in fields)


def _tell_versions(found: list[dict[str, Any]]) -> None:
    for one in found:
        OUT.print(words(f"{one['version']}  {clock(one['at_ms'])}Z  {one['actor']}: {one['reason']}"), soft_wrap=True)
        for change in one["changes"][:20]:
            OUT.print(words("    " + _line(change)), soft_wrap=True)
        if len(one["changes"]) > 20:
            OUT.print(f"    and {len(one['changes']) - 20} more")
    if not found:
        OUT.print("none")
