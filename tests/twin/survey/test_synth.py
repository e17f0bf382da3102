"""The generated city: its size, its bounds, and that equal plans give equal files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from devices.cities.geometry import Plane, metres_between
from devices.cities.load import check_city
from devices.places import CityFiles
from twin.survey.errors import SurveyError
from twin.survey.synth import Plan, synthesise

PLAN = Plan(devices=1520, area_km2=36, seed=3, gateways=40)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> CityFiles:
    """A fiftieth of the full city."""
    return synthesise(PLAN, tmp_path_factory.mktemp("synth") / "city")


def test_the_mix_is_that_of_the_full_city(made: CityFiles) -> None:
    """Poles, cells and trucks come 15 : 51 : 10 and together are what was ordered; gateways keep within their bound."""
    kinds = Counter(device.kind for device in made.devices)
    assert (kinds["pole"], kinds["cell"], kinds["truck"]) == (300, 1020, 200)
    assert kinds["gateway"] <= 40


def test_everything_reports_through_a_gateway(made: CityFiles) -> None:
    """No pole, cell, feeder or truck of a generated city needs a connection of its own."""
    gateways = {device.id for device in made.devices if device.kind == "gateway"}
    assert all(device.gateway in gateways for device in made.devices if device.kind != "gateway")
    behind = Counter(device.gateway for device in made.devices if device.gateway)
    assert max(behind.values()) < 400


def test_the_city_is_as_large_as_ordered(made: CityFiles) -> None:
    """The districts cover 36 square kilometres."""
    west, south, east, north = made.bounds()
    plane = Plane(made.centre)
    (x0, y0), (x1, y1) = plane.xy(west, south), plane.xy(east, north)
    assert (x1 - x0) * (y1 - y0) / 1e6 == pytest.approx(36, rel=1e-3)


def test_routes_follow_the_roads(made: CityFiles) -> None:
    """Every bend of a route is a bend or crossing of the road network."""
    corners = {point for _, _, line in made.roads for point in line}
    for line in made.routes.values():
        assert all(point in corners for point in line[1:-1])
        assert all(metres_between(a, b) < 7000 for a, b in pairwise(line))


def test_permits_cover_each_truck_once(made: CityFiles) -> None:
    """Every truck has one permit, of its own company; but one of each company has none."""
    told = Counter(truck for permit in made.permits for truck in permit.trucks)
    assert set(told.values()) == {1}
    spare = [d.company for d in made.devices if d.kind == "truck" and d.id not in told]
    assert len(told) + len(spare) == sum(d.kind == "truck" for d in made.devices) == 200
    assert sorted(spare) == sorted({d.company for d in made.devices if d.kind == "truck"})


def test_it_passes_its_own_check(made: CityFiles, tmp_path: Path) -> None:
    """The files that were written are without fault."""
    assert made.basemap is not None
    assert check_city(made.basemap.parent) == []


def test_equal_plans_give_equal_files(tmp_path: Path) -> None:
    """Two runs with other hash seeds write the same bytes; another seed does not."""
    plan = Plan(devices=300, area_km2=16, seed=7, gateways=10)
    synthesise(plan, tmp_path / "a")
    script = (
        "import sys; from pathlib import Path; from twin.survey.synth import Plan, synthesise;"
        "synthesise(Plan(devices=300, area_km2=16, seed=7, gateways=10), Path(sys.argv[1]))"
    )
    seeded = {**os.environ, "PYTHONHASHSEED": "2"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "b")], check=True, env=seeded)
    synthesise(replace(plan, seed=8), tmp_path / "c")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert (tmp_path / "a" / "roads.geojson").read_bytes() != (tmp_path / "c" / "roads.geojson").read_bytes()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"devices": 10}, "10 devices"),
        ({"area_km2": 1.0}, "1 km2"),
        ({"gateways": 501}, "501 gateways"),
        ({"devices": 400_000, "area_km2": 25.0}, "do not fit"),
    ],
)
def test_impossible_plans_are_refused(tmp_path: Path, wrong: dict[str, float], problem: str) -> None:
    """A plan that cannot be built is named before anything is written."""
    with pytest.raises(SurveyError, match=problem):
        synthesise(replace(PLAN, **wrong), tmp_path / "city")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
