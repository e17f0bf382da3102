"""What a fleet remembers from one start to the next: meters, trucks, stuck sensors, faults not over, its starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from devices.errors import DeviceError
from devices.faults.fault import Fault
from devices.fleet.feeder import Feeder
from devices.fleet.fleet import Fleet
from devices.fleet.pole import Pole
from devices.fleet.truck import Truck


def read_memory(path: Path | None) -> dict[str, Any]:
    """What was remembered; empty before the first time. Raises DeviceError for a file that is none of ours."""
    if path is None or not path.exists():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict):
            raise TypeError("not an object")
    except (OSError, ValueError, TypeError) as error:
        raise DeviceError(f"{path}: no memory of a fleet ({error}); delete the file to begin anew") from error
    return told


def recall(fleet: Fleet, told: dict[str, Any]) -> None:
    """Set the meters forth and let the faults go on that are not over. Raises DeviceError."""
    try:
        meters = {str(name): float(value) for name, value in told.get("meters", {}).items()}
        faults = [Fault(**fault) for fault in told.get("faults", ())]
        for name, doing in told.get("trucks", {}).items():
            truck = fleet.things.get(name)
            if isinstance(truck, Truck):
                truck.recall(doing)
        frozen = {str(n): {str(q): float(x) for q, x in values.items()} for n, values in told.get("frozen", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DeviceError(f"the fleet's memory is damaged ({error}); delete its file to begin anew") from error
    for name, value in meters.items():
        thing = fleet.things.get(name)
        if isinstance(thing, Pole | Feeder):
            thing.energy = value
    for name, values in frozen.items():
        if name in fleet.things:
            fleet.things[name].frozen.update(values)
    for fault in faults:
        if fault.end_ms > fleet.start_ms and fleet.members(fault):
            fleet.inject(fault, labelled=True)


def write_memory(path: Path, fleet: Fleet, turn: int) -> None:
    """Remember a fleet (new file, then rename). Raises DeviceError."""
    meters = {}
    for thing in fleet.things.values():
        if isinstance(thing, Pole | Feeder):
            meters[thing.id] = round(thing.energy, 3)
    faults = [
        {name: getattr(fault, name) for name in ("type", "subject", "start_ms", "end_ms", "magnitude", "quantity")}
        for fault in fleet.active.values()
    ]
    frozen = {thing.id: thing.frozen for thing in fleet.things.values() if thing.frozen}
    trucks = {thing.id: thing.remember() for thing in fleet.things.values() if isinstance(thing, Truck)}
    told = {"turn": turn, "meters": meters, "trucks": trucks, "frozen": frozen, "faults": faults}
    aside = path.with_name(path.name + ".new")
    try:
        aside.write_text(json.dumps(told) + "\n", encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise DeviceError(f"{path}: the fleet's memory cannot be written ({error})") from error
