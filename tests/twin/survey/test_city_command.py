"""`citywhistle city`: what it prints, what it ends with, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devices.cities.load import load_city
from tests.devices.small_city import change, write_small_city
from tests.twin.survey.town import write_town
from twin.survey.command import app


def run(*words: object) -> tuple[int, str]:
    """Exit code and everything that the command printed."""
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_build_makes_a_city_that_checks(tmp_path: Path) -> None:
    """Building needs an extract and a directory only; the zone follows the longitude, and the credit is shown."""
    extract = write_town(tmp_path / "town.osm")
    code, said = run("build", extract, "--out", tmp_path / "city")
    assert code == 0, said
    assert "OpenStreetMap contributors" in said
    city = load_city(tmp_path / "city")
    assert (city.name, city.timezone) == ("town", "Etc/GMT-2")
    assert run("check", tmp_path / "city") == (0, f"{tmp_path / 'city'}: fine\n")


def test_build_takes_chinese_names(tmp_path: Path) -> None:
    """Names of areas are translated by a small table where OpenStreetMap has none."""
    names = tmp_path / "names.toml"
    names.write_text('"Row" = "行"\n', encoding="utf-8")
    extract = write_town(tmp_path / "town.osm")
    assert run("build", extract, "--out", tmp_path / "city", "--names", names, "--name-zh", "小镇")[0] == 0
    assert load_city(tmp_path / "city").name_zh == "小镇"
    names.write_text('"Row" = ', encoding="utf-8")
    code, said = run("build", extract, "--out", tmp_path / "other", "--names", names)
    assert code == 1
    assert "names.toml" in said


def test_a_refused_build_says_why(tmp_path: Path) -> None:
    """A file that is no extract ends with 1, a sentence and no directory."""
    bad = tmp_path / "bad.osm.pbf"
    bad.write_bytes(b"not an extract")
    code, said = run("build", bad, "--out", tmp_path / "city")
    assert code == 1
    assert "not a readable OpenStreetMap extract" in said
    assert "download it again" in said
    assert sorted(tmp_path.iterdir()) == [bad]


def test_synth_makes_a_city(tmp_path: Path) -> None:
    """A generated city is made by its size and seed, and says that it is generated."""
    code, said = run("synth", "--devices", 300, "--area-km2", 16, "--gateways", 10, "--out", tmp_path / "city")
    assert code == 0, said
    assert "no real places" in said
    assert run("check", tmp_path / "city")[0] == 0


def test_check_names_everything(tmp_path: Path) -> None:
    """Each mistake is printed with file, line and fix; scripts get the same as JSON; both end with 1."""
    city = write_small_city(tmp_path / "city")
    line = change(city, "permits.csv", "route-1,20", ",20")
    change(city, "devices.csv", "azimuth=150", "azimuth=x")
    code, said = run("check", city)
    assert code == 1
    assert f"permits.csv:{line}: permit-1: a permit without a route\n    fill in the id" in said
    assert "devices.csv:6: cell-0002: attributes" in said
    code, said = run("check", city, "--json")
    assert code == 1
    assert {problem["file"] for problem in json.loads(said)} >= {"permits.csv", "devices.csv"}


def test_info_lists_departments_and_types() -> None:
    """A city is described for people and scripts, by its shipped name too."""
    code, said = run("info", "helsinki", "--json")
    assert code == 0
    told = json.loads(said)
    assert told["devices"]["cell"] == 150
    assert "lamp_out" in told["departments"]["lighting"]
    assert "lamp_out" in run("info", "helsinki")[1]


def test_info_of_a_broken_city_points_to_check(tmp_path: Path) -> None:
    """A city that cannot be loaded says what to run."""
    city = write_small_city(tmp_path / "city")
    (city / "areas.csv").unlink()
    code, said = run("info", city)
    assert code == 1
    assert "city check" in said


@pytest.mark.parametrize("good", [True, False])
def test_import_takes_all_or_nothing(tmp_path: Path, good: bool) -> None:
    """A good table is counted; a wrong one is listed line by line and changes nothing."""
    city, sites = write_small_city(tmp_path / "city"), tmp_path / "sites.csv"
    sites.write_text("id,x,y\ns1,121.5,31.2\ns2,121.5," + ("31.21" if good else "?") + "\n", encoding="utf-8")
    before = load_city(city)
    code, said = run("import", sites, "--city", city, "--as", "site")
    if good:
        assert code == 0, said
        assert "2 of kind site taken in from sites.csv" in said
        assert len(load_city(city).nodes) == len(before.nodes) + 2
    else:
        assert code == 1
        assert "sites.csv:3: s2: position is no number" in said
        assert "nothing was changed" in said
        assert load_city(city) == before
