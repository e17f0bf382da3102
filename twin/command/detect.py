"""`citywhistle detect`: how surprising is each row of a CSV, and why."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.progress import Progress, TaskID

from twin.command.client import JSON, OUT, fail
from twin.errors import TwinError


def detect(
    file: Path = typer.Argument(..., help="A CSV, also gzip-compressed; anything about it is recognised."),
    out: Path = typer.Option(..., "--out", help="Where the scores go: one row for each row of the file."),
    time_column: str = typer.Option("", help="Name or number (from 0) of the column with times."),
    value_columns: str = typer.Option("", help="Names or numbers of the columns to score: A,B."),
    plot: Path | None = typer.Option(None, help="Draw the columns, alarms and score into this PNG."),
    lang: str = typer.Option("en", help="Language of the reasons: en or zh."),
    as_json: bool = JSON,
) -> None:
    """Score each row of a CSV in one pass, without look-ahead and without tuning."""
    from twin.score.run import detect as run

    if lang not in ("en", "zh"):
        raise fail("--lang is en or zh")
    values = [name.strip() for name in value_columns.split(",") if name.strip()]
    try:
        with Progress(disable=as_json, transient=True) as progress:
            bars: dict[str, TaskID] = {}

            def show(what: str, done: int, whole: int) -> None:
                if what not in bars:
                    bars[what] = progress.add_task(what)
                progress.update(bars[what], completed=done, total=whole)

            told = run(file, out, time=time_column, values=values, plot=plot, chinese=lang == "zh", progress=show)
    except TwinError as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.filename or file}: {error.strerror or error}") from error
    shape = told.shape
    if as_json:
        OUT.print_json(data={"rows": told.rows, "alarms": told.alarms, "ordered": told.ordered,
                             "time": shape.names[shape.time] if shape.time >= 0 else None,
                             "time_format": shape.time_format or None, "values": list(shape.value_names),
                             "left_out": list(shape.left_out), "encoding": shape.encoding,
                             "delimiter": shape.delimiter})  # fmt: skip
        return
    time = (
        f"time: {shape.names[shape.time]!r} ({shape.time_format})" if shape.time >= 0 else "no time column: rows count"
    )
    names = shape.value_names
    OUT.print(f"{time}; values: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}", markup=False)
    if shape.left_out:
        OUT.print(
            f"not scored: {', '.join(shape.left_out)} (labels or calendar; name them to score them)", markup=False
        )
    order = "" if told.ordered else " (not in time order: judged by time)"
    OUT.print(f"{told.rows} rows{order}, {told.alarms} in alarm; scores in {out}", markup=False)
