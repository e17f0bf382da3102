"""`citywhistle devices kinds`: every device kind with its quantities, units and limits."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from devices.command.shared import JsonOption, fail, out
from devices.kinds import KINDS
from devices.records import Kind


def kinds(
    kind: Annotated[str, typer.Argument(help="Only this kind.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show what devices say: kinds, quantities, units, physical limits."""
    if kind and kind not in KINDS:
        fail(f"no device kind {kind!r}; there are {', '.join(KINDS)}")
    chosen = [KINDS[kind]] if kind else list(KINDS.values())
    if as_json:
        typer.echo(json.dumps([_plain(k) for k in chosen], ensure_ascii=False))
        return
    for k in chosen:
        table = Table(title=f"{k.name}: {k.en} {k.zh}, every {k.cadence_s:g} s", title_justify="left")
        for heading in ("quantity", "unit", "range", "what it is", "中文", "states"):
            table.add_column(heading, no_wrap=heading == "quantity")
        for q in k.quantities:
            table.add_row(q.name, q.unit, f"{q.low:g} .. {q.high:g}", q.en, q.zh, ", ".join(q.states))
        out.print(table)


def _plain(kind: Kind) -> dict[str, object]:
    return {
        "kind": kind.name,
        "en": kind.en,
        "zh": kind.zh,
        "cadence_s": kind.cadence_s,
        "quantities": [
            {"name": q.name, "unit": q.unit, "low": q.low, "high": q.high, "role": q.role, "states": q.states,
             "en": q.en, "zh": q.zh}
            for q in kind.quantities
        ],
    }  # fmt: skip
