"""`citywhistle city`: build, synthesise, check, import and describe the files of a city."""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from devices.cities import city_directory
from devices.cities.load import check_city, load_city
from devices.errors import CityFileError
from devices.places import CityFiles
from twin.survey.build import Order, build_city
from twin.survey.errors import SurveyError
from twin.survey.synth import Plan, synthesise
from twin.survey.take import NODES, Import, Refused, take

app = typer.Typer(no_args_is_help=True, help="The city's files: where everything stands and what hangs on what.")
OUT, ERR = Console(), Console(stderr=True)

BESIDES: list[Callable[[Path], list[CityFileError]]] = []  # what `check` looks at in rooms that this one does not see
CITY = typer.Argument(..., help="A city directory, or the name of a shipped city such as helsinki.")
NEW = typer.Option(..., "--out", "-o", help="The directory to make.")
FORCE = typer.Option(False, "--force", help="Replace a city that is there already.")
SEED = typer.Option(1, help="Equal seeds give equal cities.")
EXTRACT = typer.Argument(..., help="An OpenStreetMap extract (.osm.pbf).")
RECORDED = typer.Option([], help="Id of a pole that stands for a recording; may be repeated.")
NAMES = typer.Option(None, help="TOML table of Chinese names by local name.")
DEPARTMENTS = typer.Option(None, help="A departments.toml to use instead of the shipped one.")
TABLE = typer.Argument(..., help="A CSV table, or a GeoJSON file of points.")
INTO = typer.Option(..., "--city", help="The city directory that takes it in.")
RESULT = typer.Option(None, "--out", "-o", help="Write the result here instead of into the city.")
JSON = typer.Option(False, "--json", help="Print JSON for scripts.")


@app.command()
def build(
    extract: Path = EXTRACT,
    out: Path = NEW,
    name: str = typer.Option("", help="The city's name in English; default: the extract's file name."),
    name_zh: str = typer.Option("", help="Its Chinese name."),
    name_local: str = typer.Option("", help="Its name in the local script."),
    adcode: str = typer.Option("000000", help="Its administrative code, six digits."),
    timezone: str = typer.Option("", help="IANA time zone; default: whole hours by longitude."),
    seed: int = SEED,
    poles: int = typer.Option(1_000_000, help="At most this many poles (default: as many as the streets hold)."),
    cells: int = typer.Option(150, help="Small cells."),
    trucks: int = typer.Option(60, help="Construction-waste trucks."),
    gateways: int = typer.Option(15, help="Gateways, at most 500."),
    sites: int = typer.Option(6, help="Construction sites."),
    disposals: int = typer.Option(3, help="Disposal sites."),
    companies: int = typer.Option(5, help="Haulage companies."),
    grid_m: float = typer.Option(200.0, help="Side of a grid cell (单元网格) in metres."),
    recorded: list[str] = RECORDED,
    names: Path | None = NAMES,
    departments: Path | None = DEPARTMENTS,
    force: bool = FORCE,
) -> None:
    """Make a city from an OpenStreetMap extract. Shown with the credit © OpenStreetMap contributors (ODbL)."""
    with reported() as say:
        order = Order(
            name=name or extract.name.split(".")[0], name_zh=name_zh, name_local=name_local, adcode=adcode, seed=seed,
            timezone=timezone or zone_of(extract), poles=poles, cells=cells, trucks=trucks, gateways=gateways,
            sites=sites, disposals=disposals, companies=companies, grid_m=grid_m, recorded=recorded,
            zh=names_of(names), departments=departments,
        )  # fmt: skip
        city = build_city(extract, out, order, force=force, progress=say)
    told(city, out)


@app.command()
def synth(
    out: Path = NEW,
    devices: int = typer.Option(76_000, help="Poles, cells and trucks together (15 : 51 : 10)."),
    area_km2: float = typer.Option(900.0, help="Area of the square city."),
    seed: int = SEED,
    gateways: int = typer.Option(500, help="Gateways, at most 500."),
    force: bool = FORCE,
) -> None:
    """Make a city of any size on a generated road network; nothing in it is a real place."""
    with reported() as say:
        plan = Plan(devices=devices, area_km2=area_km2, seed=seed, gateways=gateways)
        city = synthesise(plan, out, force=force, progress=say)
    told(city, out)


@app.command()
def check(city: Path = CITY, as_json: bool = JSON) -> None:
    """Look for everything that is wrong with a city's files; names file, line and fix. Ends with 1 if anything is."""
    problems = check_city(city)
    problems += [problem for look in BESIDES for problem in look(city_directory(city))]
    if as_json:
        rows = [{"file": p.file, "line": p.line, "problem": p.problem, "fix": p.fix} for p in problems]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
    elif problems:
        listed(problems)
    else:
        OUT.print(f"{city_directory(city)}: fine", markup=False, highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)


@app.command()
def info(city: Path = CITY, as_json: bool = JSON) -> None:
    """Say what a city holds: areas, devices, departments and the case types that they answer for."""
    try:
        described = describe(load_city(city))
    except CityFileError as error:
        raise fail(f"{error}; `citywhistle city check {city}` lists everything") from error
    if as_json:
        typer.echo(json.dumps(described, ensure_ascii=False, indent=1))
        return
    table = Table(show_header=False, box=None)
    for key, value in described.items():
        shown = (
            "\n".join(f"{k}: {one_line(v)}" for k, v in value.items()) if isinstance(value, dict) else one_line(value)
        )
        table.add_row(key, shown)
    OUT.print(table)


@app.command("import")
def import_(
    table: Path = TABLE,
    city: Path = INTO,
    what: str = typer.Option(..., "--as", help="pole, cell, truck, feeder, gateway, site, disposal or company."),
    datum: str = typer.Option("wgs84", "--from", help="Coordinates of the table: wgs84, gcj02 or bd09."),
    out: Path | None = RESULT,
    id_: str = typer.Option("", "--id", help="Column of the id."),
    lon: str = typer.Option("", help="Column of the longitude."),
    lat: str = typer.Option("", help="Column of the latitude."),
    area: str = typer.Option("", help="Column of an area code; default: by outline."),
    name: str = typer.Option("", help="Column of the name."),
    prefix: str = typer.Option("", help="Put before each id."),
    origin: str = typer.Option("real", help="simulated, recorded or real."),
    radius_m: float | None = typer.Option(None, help="Radius of sites."),
    credit: str = typer.Option("", help="Whose data it is and its licence, shown with the city; default: the table."),
    force: bool = FORCE,
) -> None:
    """Take a table of devices, sites or companies into a city: all of it, or nothing with every wrong line named."""
    given = {"id": id_, "lon": lon, "lat": lat, "area": area, "name": name}
    credit = credit or (f"with {table.name}" if origin != "simulated" else "")
    columns = {key: value for key, value in given.items() if value}
    order = Import(what, datum, columns, prefix, origin, radius_m, credit)
    with reported() as say:
        say("table and city")
        before = load_city(city)
        after = take(table, city, order, out, force=force)
    count = len(after.nodes) - len(before.nodes) if what in NODES else len(after.devices) - len(before.devices)
    OUT.print(
        f"{out or city}: {count} of kind {what} taken in from {table.name}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@contextmanager
def reported() -> Iterator[Callable[[str], None]]:
    """A progress line on a terminal; anything that goes wrong ends the command with what and how to mend it."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=ERR,
        transient=True,
        disable=not ERR.is_terminal,
    )
    try:
        with bar:
            task = bar.add_task("")
            yield lambda step: bar.update(task, description=step)
    except Refused as error:
        listed(error.problems)
        raise fail("nothing was changed") from error
    except (SurveyError, CityFileError) as error:
        raise fail(str(error)) from error


def fail(message: str) -> typer.Exit:
    """Say what is wrong on standard error; raise what is returned."""
    ERR.print(f"[red]citywhistle:[/red] {escape(message)}", highlight=False, soft_wrap=True)
    return typer.Exit(1)


def listed(problems: Sequence[CityFileError]) -> None:
    """Print problems, one a paragraph."""
    for problem in problems:
        OUT.print(f"{problem.file}:{problem.line}: {problem.problem}", markup=False, highlight=False, soft_wrap=True)
        OUT.print(f"    {problem.fix}", markup=False, highlight=False, soft_wrap=True)
    OUT.print(f"{len(problems)} problem{'s' if len(problems) != 1 else ''}", highlight=False)


def told(city: CityFiles, out: Path) -> None:
    """Say what was made."""
    kinds = Counter(device.kind for device in city.devices)
    holds = ", ".join(f"{count} {kind}s" for kind, count in sorted(kinds.items()))
    OUT.print(f"{out}: {city.name} ({city.timezone}), {holds}", markup=False, highlight=False, soft_wrap=True)
    OUT.print(city.attribution, highlight=False, soft_wrap=True)


def describe(city: CityFiles) -> dict[str, Any]:
    """What a city holds, for people and scripts."""
    west, south, east, north = city.bounds()
    return {
        "name": city.name, "name_zh": city.name_zh, "name_local": city.name_local, "adcode": city.adcode,
        "timezone": city.timezone, "centre": list(city.centre), "bounds": [west, south, east, north],
        "attribution": city.attribution,
        "areas": dict(Counter(area.level for area in city.areas)),
        "devices": dict(Counter(device.kind for device in city.devices)),
        "origins": dict(Counter(device.origin for device in city.devices)),
        "nodes": dict(Counter(node.cls for node in city.nodes)),
        "permits": len(city.permits), "routes": len(city.routes), "roads": len(city.roads),
        "base map": city.basemap is not None,
        "departments": {
            department.id: [*department.types, *(f"{word} (joins)" for word in department.joins)]
            for department in city.departments
        },
    }  # fmt: skip


def one_line(value: Any) -> str:
    """A value as one line of text."""
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)


def zone_of(extract: Path) -> str:
    """The time zone of whole hours at an extract's longitude."""
    from twin.survey.extract import middle_of

    hours = math.floor(middle_of(extract)[0] / 15 + 0.5)
    return f"Etc/GMT{-hours:+d}" if hours else "Etc/GMT"


def names_of(path: Path | None) -> dict[str, str]:
    """A TOML table of texts. Raises SurveyError for anything else."""
    if path is None:
        return {}
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SurveyError(f"{path}: {error}", 'write lines such as "Kallio" = "卡利奥"') from error
    return {str(key): str(value) for key, value in told.items()}
