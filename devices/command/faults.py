"""`citywhistle devices faults`: what can befall simulated devices, by type, for scenarios."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from devices.command.shared import JsonOption, fail, out
from devices.faults.catalogue import CATALOGUE, WAYS, FaultType


def faults(
    befalls: Annotated[
        str, typer.Argument(help="Only what befalls this: pole, cell, truck, feeder, cabinet, gateway, area or any.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show the faults and violations that a scenario may name; how large they are is in docs/simulator.md."""
    scopes = sorted({fault.scope for fault in CATALOGUE.values()})
    if befalls and befalls not in scopes:
        fail(f"nothing befalls {befalls!r}; there are {', '.join(scopes)}")
    chosen = [fault for fault in CATALOGUE.values() if befalls in ("", fault.scope)]
    if as_json:
        typer.echo(json.dumps([_plain(fault) for fault in chosen], ensure_ascii=False))
        return
    table = Table()
    for heading in ("type", "befalls", "quantity", "usual duration", "what it is", "中文"):
        table.add_column(heading, no_wrap=heading == "type")
    for fault in chosen:
        least, most = (
            f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min" for seconds in fault.last_s
        )
        befallen = "any device" if fault.scope == "any" else "district" if fault.scope == "area" else fault.scope
        table.add_row(fault.name, befallen, _ways(fault), f"{least} to {most}", fault.en, fault.zh)
    out.print(table)


def _ways(fault: FaultType) -> str:
    if fault.name.startswith("sensor_"):
        return "what is measured"
    return ", ".join(way for way in WAYS.get(fault.name, ()) if way)


def _plain(fault: FaultType) -> dict[str, object]:
    return {
        "type": fault.name, "befalls": fault.scope, "quantities": [way for way in WAYS.get(fault.name, ()) if way],
        "usual_s": list(fault.last_s), "confounder": fault.confounder, "en": fault.en, "zh": fault.zh,
    }  # fmt: skip
