"""The weeks before a city is shown: the same fleet at a coarser cadence, and the slow faults that began in them.

Nobody saw them begin: a sleeping cell, a drifting sensor. They go on into the life that follows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from devices.faults.catalogue import CATALOGUE, SENSED
from devices.faults.fault import Fault
from devices.fleet.fleet import Fleet
from devices.fleet.pole import Pole
from devices.fleet.thing import Thing, Values

# Two steps are two hours and ten minutes: in four weeks everybody visits every hour of the day about equally. Who
# measures the air speaks at each step, so that sensors can be held against each other hour by hour.
STEP_MS = 3_900_000
TAIL_MS, TAIL_STEP_MS = 5_400_000, 300_000  # the last hour and a half is told closely: what lasts shows by then

# What befell the city before it is shown: type -> hours since, when it is first looked at. Twice: twice.
SLOW: tuple[tuple[str, tuple[float, float]], ...] = (
    ("sleeping_cell", (3.0, 8.0)),
    ("sensor_bias", (14.0, 30.0)),
    ("sensor_noise", (14.0, 30.0)),
    ("sleeping_cell", (3.0, 8.0)),
    ("sensor_stuck", (12.0, 24.0)),
    ("interference", (1.5, 5.0)),
    ("sensor_drift", (120.0, 200.0)),
    ("coverage_loss", (1.5, 5.0)),
    ("tilt", (1.0, 10.0)),
    ("sensor_bias", (14.0, 30.0)),
)
LASTS_H = (4.0, 30.0)  # and goes on for so long if nobody mends it
SIZES = (1.2, 1.8)
GROSS, GROSS_SIZES = 0.4, (2.0, 3.0)


def slow_faults(fleet: Fleet, end_ms: int, turn: str = "") -> list[Fault]:
    """Slow faults that began before `end_ms` and go on after it, drawn by the fleet's seed; nobody has two."""
    chance = random.Random(f"slow {fleet.seed} {turn}")  # noqa: S311 - a simulation
    drawn: list[Fault] = []
    for name, ago in SLOW:
        quantity = chance.choice(SENSED["pole"]) if CATALOGUE[name].scope == "any" else ""
        taken = {fault.subject for fault in drawn}
        subjects = [subject for subject in fleet.candidates(name, quantity) if subject not in taken]
        start_ms = end_ms - round(chance.uniform(*ago) * 3_600_000)
        until_ms = end_ms + round(chance.uniform(*LASTS_H) * 3_600_000)
        size = chance.uniform(*GROSS_SIZES if chance.random() < GROSS else SIZES)
        if subjects:
            drawn.append(Fault(name, chance.choice(subjects), start_ms, until_ms, round(size, 2), quantity))
    return drawn


def moments(start_ms: int, end_ms: int) -> Iterator[tuple[int, bool]]:
    """(t_ms, whether everybody speaks or only who measures the air), in order, before `end_ms`."""
    tail_ms = max(start_ms, end_ms - TAIL_MS)
    for n, t_ms in enumerate(range(start_ms, tail_ms, STEP_MS)):
        yield t_ms, n % 2 == 0
    for t_ms in range(tail_ms, end_ms, TAIL_STEP_MS):
        yield t_ms, True


def history(fleet: Fleet, end_ms: int) -> Iterator[tuple[int, list[tuple[Thing, Values]]]]:
    """(t_ms, who says what) from the fleet's start to `end_ms`; those of one moment speak together.

    It is the same city that `Fleet.until` shows with the same seed. Faults begin and end on the way.
    """
    everybody = list(fleet.things.values())
    air = [thing for thing in everybody if isinstance(thing, Pole) and thing.smells]
    for t_ms, all_ in moments(fleet.start_ms, end_ms):
        fleet.befall(t_ms)
        yield t_ms, [(one, one.reading(t_ms, fleet.life)) for one in (everybody if all_ else air) if one.speaks()]
    fleet.befall(end_ms)
