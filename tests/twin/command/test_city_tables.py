"""`citywhistle city check` looks at rules, policy, departments' case types and base map too: file, line, fix."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devices.cities import shipped_cities
from devices.cities.load import load_city
from tests.devices.small_city import change, write_small_city
from twin.__main__ import app
from twin.command.city import more_problems


@pytest.mark.parametrize("name", shipped_cities())
def test_shipped_cities_pass(name: str) -> None:
    """Nothing is wrong with a city that is shipped."""
    folder = load_city(name).folder
    assert folder is not None
    assert more_problems(folder) == []


def rules(text: str) -> Callable[[Path], object]:
    return lambda city: (city / "rules.toml").write_text(text, encoding="utf-8")


def policy(text: str) -> Callable[[Path], object]:
    return lambda city: (city / "policy.toml").write_text(text, encoding="utf-8")


def basemap(whole: bytes) -> Callable[[Path], object]:
    return lambda city: (city / "basemap.geojson.gz").write_bytes(whole)


def department(city: Path) -> None:
    change(city, "departments.toml", '"day_burner"', '"day_burnr"')


LAYER = b'{"features": [{"properties": {"layer": 1}}]}'


@pytest.mark.parametrize(
    ("damage", "file", "line", "problem", "fix"),
    [
        (rules("[tilt]\nlimit = 4\n[tillt]\nlimit = 4\n"), "rules.toml", 3, "tillt", ""),
        (rules("[tilt]\nlimmit = 4\n"), "rules.toml", 2, "limmit", ""),
        (rules("[tilt\n"), "rules.toml", 1, "", ""),
        (policy("[type.lamp_out]\ndeadlin_s = 4\n"), "policy.toml", 2, "deadlin_s", ""),
        (department, "departments.toml", 8, "no case type 'day_burnr'", "day_burner"),
        (basemap(gzip.compress(b'{"features": []}')), "basemap.geojson.gz", 1, "holds nothing", "city build"),
        (basemap(gzip.compress(LAYER)[:30]), "basemap.geojson.gz", 1, "not readable", "city build"),
        (basemap(b"no gzip"), "basemap.geojson.gz", 1, "not readable", "delete it"),
        (basemap(gzip.compress(b"[]")), "basemap.geojson.gz", 1, "no base map", "city build"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, damage: Callable[[Path], object], file: str, line: int, problem: str, fix: str
) -> None:
    """The command ends with 1 and names each of them as it names what is wrong with the city's other files."""
    city = write_small_city(tmp_path / "city")
    damage(city)
    found = more_problems(city)
    assert [(one.file, one.line) for one in found] == [(file, line)], [str(one) for one in found]
    assert problem in found[0].problem
    assert fix in found[0].fix
    told = CliRunner().invoke(app, ["city", "check", str(city)], env={"COLUMNS": "200"})
    assert told.exit_code == 1
    assert f"{file}:{line}: " in told.output


def test_a_type_of_the_citys_own_policy_is_known(tmp_path: Path) -> None:
    """Who names a type of his own in policy.toml may give it to a department."""
    city = write_small_city(tmp_path / "city")
    change(city, "departments.toml", '"day_burner"', '"heat"')
    policy("[type.heat]\ndeadline_s = 3600\n")(city)
    assert more_problems(city) == []
