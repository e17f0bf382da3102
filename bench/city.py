"""`make bench NAME=city`: how long it takes to build, generate and load a city.

Build: the extract of central Helsinki. Synth and load: the full city of 76,000 devices on 900 km2.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.report import Bar, report
from devices.places import load_city
from twin.survey.build import Order, build_city
from twin.survey.synth import Plan, synthesise

EXTRACT = Path(__file__).parents[2] / "shared" / "data" / "osm_helsinki" / "Helsinki.osm.pbf"


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds that some work takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Measure and report."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--extract", type=Path, default=EXTRACT, help="the extract to build (.osm.pbf)")
    told.add_argument("--devices", type=int, default=76_000)
    told.add_argument("--area-km2", type=float, default=900.0)
    told.add_argument("--seed", type=int, default=1)
    told.add_argument("--loads", type=int, default=3, help="the median of so many loads is reported")
    given = told.parse_args()
    notes = [
        f"{given.devices} devices on {given.area_km2:g} km2, seed {given.seed}; wall time, other work not excluded"
    ]
    built = cpu_built = math.nan
    with tempfile.TemporaryDirectory() as scratch:
        town, full = Path(scratch) / "town", Path(scratch) / "full"
        if given.extract.is_file():
            order = Order(name="Helsinki centre", timezone="Europe/Helsinki", adcode="091000", seed=given.seed)
            built, cpu_built = seconds(lambda: build_city(given.extract, town, order))
        else:
            notes.append(f"{given.extract.name} is not here: the build was not measured")
        plan = Plan(devices=given.devices, area_km2=given.area_km2, seed=given.seed)
        made, cpu_made = seconds(lambda: synthesise(plan, full))
        loads = sorted(seconds(lambda: load_city(full)) for _ in range(given.loads))
        size = sum(path.stat().st_size for path in full.iterdir()) / 1e6
    bars = {
        "build": Bar(built, 20, "s", "lower"),
        "synth": Bar(made, 60, "s", "lower"),
        "load": Bar(loads[len(loads) // 2][0], 5, "s", "lower"),
    }
    cpu_load = loads[len(loads) // 2][1]
    notes.append(f"CPU seconds of it: build {cpu_built:.2f}, synth {cpu_made:.2f}, load {cpu_load:.2f}")
    report("city", bars, notes=[*notes, f"the full city's files: {size:.1f} MB"])


if __name__ == "__main__":
    main()
