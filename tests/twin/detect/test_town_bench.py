"""The benchmark of the synthetic city lets faults befall whom they can befall, and tells what nobody could notice."""

from __future__ import annotations

from pathlib import Path

from bench.town import DRAWN, NOON_MS, SENSORS, drawn
from devices.fleet.fleet import Fleet
from devices.fleet.pole import Pole
from twin.detect import default_rules
from twin.survey.synth import Plan, synthesise


def test_every_kind_of_fault_is_drawn_and_bad_air_where_it_is_measured(tmp_path: Path) -> None:
    """As many of each type as are asked for; a gateway with devices behind it; a district with enough sensors."""
    files = synthesise(Plan(devices=200, area_km2=4.0, seed=3, gateways=10), tmp_path / "town")
    fleet = Fleet(files, 3, NOON_MS, kinds=("pole", "cell", "feeder", "gateway"))
    faults = drawn(fleet, 3)
    for name, (count, *_) in DRAWN.items():
        assert sum(fault.type == name for fault in faults) == count
    gateway = next(fault.subject for fault in faults if fault.type == "gateway_loss")
    assert sum(thing.device.gateway == gateway for thing in fleet.things.values()) >= 3
    district = next(fault.subject for fault in faults if fault.type == "air_episode")
    smelling = [t for t in fleet.things.values() if isinstance(t, Pole) and t.smells and t.device.district == district]
    assert len(smelling) >= SENSORS == default_rules()["air_episode"]["poles"]
