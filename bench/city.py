"""`make bench NAME=city`: how long it takes to build, generate and load a city, and what the full city costs at work.

Build: the extract of central Helsinki. Synth and load: the full city of 76,000 devices on 900 km2. At work: that city
at its real cadence through real Mosquitto, journal, store, tick and every detector (bench/livecity.py); --seconds 0
leaves it out.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.livecity import Lived, live
from bench.report import Bar, report
from devices.cities.load import load_city
from twin.survey.build import Order, build_city
from twin.survey.synth import Plan, synthesise

EXTRACT = Path(__file__).parents[2] / "shared" / "data" / "osm_helsinki" / "Helsinki.osm.pbf"


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds that some work takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def working(lived: Lived) -> dict[str, Bar]:
    """The bars of the full city at work."""
    waits = lived.whistle_s
    late = waits[int(0.99 * (len(waits) - 1))] if waits else math.nan
    account = lived.accounting
    told = account["stored"] + account["rejected"] + account["buffered"]
    return {
        "server_core": Bar(lived.server_share, 0.12, "core", "lower"),
        "server_memory": Bar(lived.server_mb / 1000, 1.0, "GB", "lower"),
        "fleet_core": Bar(lived.fleet_share, 0.40, "core", "lower"),
        "publish_to_whistle_p99": Bar(late, 2.0, "s", "lower"),
        "unaccounted": Bar(abs(account["sent"] - told) + account["missing"], 0, "readings", "lower"),
    }


def told_of(lived: Lived) -> list[str]:
    """What the bars do not say."""
    account = lived.accounting
    sent = ", ".join(f"{name} {account[name]}" for name in ("sent", "stored", "buffered", "duplicate", "missing"))
    rate = f"at work for {lived.seconds:.0f} s: {lived.messages_per_s:.0f} readings/s received"
    fleet = f"fleet {lived.fleet_mb:.0f} MB, {lived.lag_s:.1f} city s behind at the end"
    return [
        f"{rate}; broker {lived.broker_share:.3f} of a core; {fleet}; ready after {lived.ready_s:.1f} s",
        sent,
        f"{lived.probes} leaks, falls and open doors completed, {len(lived.whistle_s)} whistled while measured",
    ]


def main() -> None:
    """Measure and report."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--extract", type=Path, default=EXTRACT, help="the extract to build (.osm.pbf)")
    told.add_argument("--devices", type=int, default=76_000)
    told.add_argument("--area-km2", type=float, default=900.0)
    told.add_argument("--seed", type=int, default=1)
    told.add_argument("--loads", type=int, default=3, help="the median of so many loads is reported")
    told.add_argument("--seconds", type=float, default=600, help="how long the full city is measured at work")
    told.add_argument("--settle", type=float, default=60, help="seconds before that, in which connections are made")
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
        lived = live(full, Path(scratch) / "live", given.seconds, given.settle, given.seed) if given.seconds else None
        size = sum(path.stat().st_size for path in full.iterdir()) / 1e6
    bars = {
        "build": Bar(built, 20, "s", "lower"),
        "synth": Bar(made, 60, "s", "lower"),
        "load": Bar(loads[len(loads) // 2][0], 5, "s", "lower"),
    }
    if lived is not None:
        bars |= working(lived)
        notes += told_of(lived)
    cpu_load = loads[len(loads) // 2][1]
    notes.append(f"CPU seconds of it: build {cpu_built:.2f}, synth {cpu_made:.2f}, load {cpu_load:.2f}")
    report("city", bars, notes=[*notes, f"the full city's files: {size:.1f} MB"])


if __name__ == "__main__":
    main()
