"""Whom a fault can befall at a moment: lamps go out at night, hours are broken outside them, dumping needs a load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from devices.faults.catalogue import CATALOGUE
from devices.faults.fault import Fault
from devices.fleet.life import Life, Moment
from devices.fleet.pole import DUSK_DEG, Pole
from devices.fleet.thing import Thing
from devices.fleet.truck import Job, Truck

GROUPS = {"feeder": 3, "cabinet": 2, "area": 5, "cells": 3}  # least members that make such a fault worth having
CONFOUNDERS = {name for name, fault in CATALOGUE.items() if fault.confounder}
LOOK_MS = 600_000  # how often hours are compared over a fault's time
WET_MM = 0.1  # of rain, for a leak that comes with it
ON_THE_WAY = ("cover_open", "overload", "speeding", "off_route", "illegal_dumping", "phantom_trip")


def happens_on_the_way(fault: Fault) -> bool:
    """Whether a truck has to be under way for this fault to be seen."""
    if fault.type == "terminal_tampering":
        return fault.quantity in ("silence", "fix")
    return fault.type in (*ON_THE_WAY, "unpermitted_loading")


class Crowd(Protocol):
    """What is asked of a fleet here."""

    active: dict[tuple[str, str], Fault]
    things: dict[str, Thing]
    cut: set[str]
    life: Life
    now_ms: int

    def groups(self, scope: str, least: int) -> list[str]:
        """Feeders, cabinets or areas that so many devices belong to."""
        ...


def candidates(fleet: Crowd, name: str, quantity: str) -> Sequence[str]:
    """Ids of those that this fault could befall now, in the fleet's order; nobody who has a fault already."""
    scope = CATALOGUE[name].scope
    busy = {subject for _, subject in fleet.active} | {
        thing.id
        for thing in fleet.things.values()
        if (thing.troubles and thing.troubles.keys() - CONFOUNDERS) or thing.device.gateway in fleet.cut
    }
    if quantity == "gateway":
        return [name for name in fleet.groups("cells", GROUPS["cells"]) if name not in busy and name not in fleet.cut]
    if scope in GROUPS:
        if any(fault.type == name for fault in fleet.active.values()):
            return []
        return [subject for subject in fleet.groups(scope, GROUPS[scope]) if subject not in busy]
    now = fleet.life.at(fleet.now_ms)
    fits = _rule(fleet, name, quantity, now)
    kinds = (scope,) if scope != "any" else ("pole", "cell")
    return [t.id for t in fleet.things.values() if t.device.kind in kinds and t.id not in busy and fits(t)]


def _rule(fleet: Crowd, name: str, quantity: str, now: Moment) -> Callable[[Thing], bool]:
    if CATALOGUE[name].scope == "truck":
        return lambda thing: isinstance(thing, Truck) and _truck(thing, name, now)
    if name in ("lamp_out", "lamp_degraded", "meter_wrong"):
        return lambda _: now.sun_deg < DUSK_DEG - 5
    if name == "day_burner":
        return lambda _: now.sun_deg > 6
    if name == "night_noise":
        fits = _beside_a_site(fleet, lambda pole: pole.hears)
        return lambda thing: thing.id in fits and (now.hour >= 22 or now.hour < 5)
    if name == "dust":
        fits = _beside_a_site(fleet, lambda pole: pole.smells)
        return lambda thing: thing.id in fits
    if quantity == "rain":
        return lambda _: now.rain_mm > WET_MM
    if name in ("charger_fault", "charger_occupied"):
        return lambda thing: isinstance(thing, Pole) and thing.charges
    if quantity and CATALOGUE[name].scope == "any":
        return lambda thing: thing.says(quantity)
    return lambda _: True


def _beside_a_site(fleet: Crowd, able: Callable[[Pole], bool]) -> set[str]:
    """Poles with that sensor near a construction site; all with it where none is."""
    with_it = [thing for thing in fleet.things.values() if isinstance(thing, Pole) and able(thing)]
    return {pole.id for pole in with_it if pole.works} or {pole.id for pole in with_it}


def _truck(truck: Truck, name: str, now: Moment) -> bool:
    if name == "no_permit":
        return truck.job is None and truck.stray is not None
    if name == "outside_hours":
        return truck.phase == "parked" and truck.job is not None and not truck.job.open((now.hour + 1) % 24) and (
            not truck.job.open(now.hour)
        )  # fmt: skip
    done = truck.metres / max(1.0, truck.line.length_m)
    if name in ON_THE_WAY:
        return truck.phase == "laden" and done < 0.4
    if name == "unpermitted_loading":
        return truck.phase == "empty" and 0.2 < done < 0.6
    return truck.moving and done < 0.7


def contradicts(fault: Fault, thing: Thing, life: Life) -> str:
    """Why a violation of a permit would be none, with what to do; empty where it is one. A scenario that orders such
    a thing would have a label for what never happens."""
    if not isinstance(thing, Truck) or fault.type not in ("no_permit", "outside_hours"):
        return ""
    job = thing.job
    if fault.type == "no_permit":
        if job is not None:
            return "a permit names it (name a truck that stands in no line of permits.csv)"
        return "" if thing.stray is not None else "there is no route to drive (add permits with routes)"
    if job is None:
        return "no permit names it, so it has no hours (name a truck of permits.csv, or write no_permit)"
    times = (*range(fault.start_ms, fault.end_ms, LOOK_MS), fault.end_ms)
    if not all(_allowed(job, life.at(t_ms)) for t_ms in times):
        return ""
    return f"its permit is open then, {job.start_hour:g} to {job.end_hour:g} (name another truck, or another time)"


def _allowed(job: Job, now: Moment) -> bool:
    return job.valid_from <= now.date <= job.valid_to and job.open(now.hour)
