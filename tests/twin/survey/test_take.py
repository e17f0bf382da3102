"""Importing a city's own tables: guessed columns, datums, areas, and all or nothing."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from devices.cities.geometry import gcj02_of_wgs84, metres_between
from devices.cities.load import load_city
from tests.devices.small_city import write_small_city
from tests.twin.survey.town import shared_data
from twin.survey.errors import SurveyError
from twin.survey.take import Import, Refused, take


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """A small city on disk."""
    return write_small_city(tmp_path / "small")


def table(path: Path, text: str) -> Path:
    """A table on disk."""
    path.write_text(text, encoding="utf-8")
    return path


def test_sites_from_a_csv(city: Path, tmp_path: Path) -> None:
    """Sites get their columns by usual names, their area by outline and the radius of their sort."""
    rows = table(tmp_path / "sites.csv", "site_id,Longitude,Latitude,name\na1,121.5,31.2,Tower\na2,121.51,31.21,\n")
    after = take(rows, city, Import("site", prefix="nb-"))
    sites = [node for node in after.nodes if node.cls == "site"]
    assert [(s.id, s.name, s.radius_m, s.area) for s in sites[1:]] == [
        ("nb-a1", "Tower", 80.0, "310101"),
        ("nb-a2", "nb-a2", 80.0, "310101"),
    ]
    assert load_city(city).nodes == after.nodes


def test_poles_from_geojson_get_codes(city: Path, tmp_path: Path) -> None:
    """Devices without a code get the next serial numbers of their district, and say that they are real."""
    features = [
        {"type": "Feature", "properties": {"id": f"p{i}", "area": "310101001", "attributes": "ratedPower=90"},
         "geometry": {"type": "Point", "coordinates": [121.5 + i / 1000, 31.2001]}}
        for i in (1, 2)
    ]  # fmt: skip
    path = table(tmp_path / "poles.geojson", json.dumps({"type": "FeatureCollection", "features": features}))
    made = {d.id: d for d in take(path, city, Import("pole")).devices}
    assert (made["p1"].code16, made["p2"].code16) == ("3101010201000005", "3101010201000006")
    assert (made["p1"].origin, made["p1"].street, made["p1"].attributes) == ("real", "310101001", {"ratedPower": 90.0})


def test_gcj02_is_undone(city: Path, tmp_path: Path) -> None:
    """Positions from a Chinese web map land where they belong."""
    lon, lat = gcj02_of_wgs84(121.5, 31.2)
    rows = table(tmp_path / "s.csv", f"id,lng,lat\ns1,{lon},{lat}\n")
    node = take(rows, city, Import("site", datum="gcj02")).nodes[-1]
    assert metres_between((node.lon or 0, node.lat or 0), (121.5, 31.2)) < 0.2


def test_a_named_datum_is_not_ignored(city: Path, tmp_path: Path) -> None:
    """Columns whose names say GCJ-02 are not read as WGS84."""
    rows = table(tmp_path / "s.csv", "id,lon_gcj02,lat_gcj02\ns1,121.5,31.2\n")
    with pytest.raises(Refused, match="say gcj02"):
        take(rows, city, Import("site", columns={"lon": "lon_gcj02", "lat": "lat_gcj02"}))


def test_what_the_whole_check_finds_is_told_by_the_tables_own_line(city: Path, tmp_path: Path) -> None:
    """The city's own files have no such line: nothing was changed."""
    rows = table(tmp_path / "trucks.csv", "id,lon,lat,company,plate\nt1,121.5,31.2,company-1,CW-9001\n"
                                          "t2,121.5,31.2,nobody,CW-9002\n")  # fmt: skip
    with pytest.raises(Refused) as refused:
        take(rows, city, Import("truck"))
    assert [(p.file, p.line, p.problem) for p in refused.value.problems] == [
        ("trucks.csv", 3, "t2: company 'nobody' does not exist")
    ]


def test_whose_data_it_is_stands_with_the_city(city: Path, tmp_path: Path) -> None:
    """A credit is added once; what else city.toml holds stays."""
    rows = table(tmp_path / "sites.csv", "id,lon,lat\na1,121.5,31.2\n")
    head = (city / "city.toml").read_text(encoding="utf-8")
    take(rows, city, Import("site", credit="sites © Smallton (CC BY 4.0)"))
    rows.write_text("id,lon,lat\na2,121.5,31.2\n", encoding="utf-8")
    after = take(rows, city, Import("site", credit="sites © Smallton (CC BY 4.0)"))
    assert after.attribution == "made for tests; sites © Smallton (CC BY 4.0)"
    changed = (city / "city.toml").read_text(encoding="utf-8")
    assert changed == head.replace("made for tests", "made for tests; sites © Smallton (CC BY 4.0)")


def test_a_city_is_not_replaced_under_ones_feet(
    city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """From inside of it nothing is changed; through a link what it leads to is; a file is no city; what a killed import
    left is cleared away."""
    rows = table(tmp_path / "sites.csv", "id,lon,lat\na1,121.5,31.2\n")
    monkeypatch.chdir(city)
    with pytest.raises(SurveyError, match="the directory that you are in"):
        take(rows, Path(), Import("site"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SurveyError, match="is a file"):
        take(rows, city, Import("site"), rows, force=True)
    (tmp_path / "link").symlink_to(city)
    (left := tmp_path / ".small.new-4194305").mkdir()  # beyond the highest process id
    take(rows, tmp_path / "link", Import("site"))
    assert "a1" in {node.id for node in load_city(city).nodes}
    assert (tmp_path / "link").is_symlink()
    assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"link", "small", "sites.csv"}


def test_the_result_may_go_elsewhere(city: Path, tmp_path: Path) -> None:
    """With another directory the city itself stays as it was."""
    rows = table(tmp_path / "s.csv", "id,lon,lat\ns1,121.5,31.2\n")
    before = load_city(city)
    assert len(take(rows, city, Import("site"), tmp_path / "other").nodes) == len(before.nodes) + 1
    assert load_city(city) == before
    with pytest.raises(SurveyError, match="is there already"):
        take(rows, city, Import("site"), tmp_path / "other")


WRONG = [
    ("site", "id,lon,lat\nsite-1,121.5,31.2\n", 2, "in the city already"),
    ("site", "id,lon,lat\na,121.5,31.2\na,121.5,31.2\n", 3, "in the city already"),
    ("site", "id,lon,lat\na,east,31.2\n", 2, "no number"),
    ("site", "id,lon,lat\na,31.2,121.5\n", 2, "swapped"),
    ("site", "id,lon,lat\na b,121.5,31.2\n", 2, "cannot be used in topics"),
    ("site", "id,lon,lat\na,121.5\n", 2, "cells"),
    ("site", "key,lon,lat\na,121.5,31.2\n", 1, "no column for id"),
    ("site", "id,lon,lat\n", 1, "no rows"),
    ("pole", "id,lon,lat,street\np9,121.502,31.219,310101001\n", 0, "a pole on no street"),
    ("truck", "id,lon,lat,company,plate\nt9,121.5,31.2,company-9,X\n", 0, "company 'company-9' does not exist"),
    ("truck", "id,lon,lat,company,plate,attributes\nt9,121.5,31.2,company-1,X,axles\n", 2, "attributes"),
]


@pytest.mark.parametrize(("what", "text", "line", "problem"), WRONG)
def test_wrong_rows_are_named_and_nothing_changes(
    city: Path, tmp_path: Path, what: str, text: str, line: int, problem: str
) -> None:
    """One wrong row leaves the city as it was, byte for byte, and is named by its line."""
    before = {path.name: path.read_bytes() for path in city.iterdir()}
    with pytest.raises(Refused) as caught:
        take(table(tmp_path / "t.csv", text), city, Import(what))
    fitting = [p for p in caught.value.problems if problem in p.problem]
    assert fitting, [str(p) for p in caught.value.problems]
    assert not line or fitting[0].line == line
    assert {path.name: path.read_bytes() for path in city.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "t.csv"]


def test_every_wrong_feature_and_line_is_named_at_once(city: Path, tmp_path: Path) -> None:
    """What has no shape hides nothing that is wrong with another, and each stands on the line where it is written."""

    def feature(name: str, geometry: str) -> str:
        properties = f'{{"id": "{name}", "area": "310101001"}}'
        return f'{{"type": "Feature",\n  "properties": {properties},\n  "geometry": {geometry}}}'

    point = '{"type": "Point", "coordinates": [121.5, 31.2]}'
    features = (feature("p1", point), feature("p2", "null"), feature("p 3", point), feature("p1", point),
                feature("p4", '{"type": "LineString", "coordinates": [[121.5, 31.2], [121.5, 31.3]]}'))  # fmt: skip
    text = '{"type": "FeatureCollection", "features": [\n' + ",\n".join(features) + "]}"
    with pytest.raises(Refused) as caught:
        take(table(tmp_path / "t.geojson", text), city, Import("pole"))
    assert sorted(p.line for p in caught.value.problems) == [5, 8, 11, 14], [str(p) for p in caught.value.problems]
    text = "id,lon,lat,area\ns1,121.5\ns 2,121.5,31.2,310101001\ns3,x,31.2,310101001\ns4,31.2,121.5,310101001\n"
    with pytest.raises(Refused) as caught:
        take(table(tmp_path / "t.csv", text), city, Import("site"))
    assert [p.line for p in caught.value.problems] == [2, 3, 4, 5]
    assert "swapped" in caught.value.problems[-1].problem


def test_unknown_sorts_and_datums_are_refused(city: Path, tmp_path: Path) -> None:
    """What cannot be imported is named together with what can."""
    rows = table(tmp_path / "s.csv", "id,lon,lat\ns1,121.5,31.2\n")
    with pytest.raises(SurveyError, match="import one of pole"):
        take(rows, city, Import("bench"))
    with pytest.raises(SurveyError, match="wgs84, gcj02, bd09"):
        take(rows, city, Import("site", datum="ed50"))


def ningbo(directory: Path) -> Path:
    """Ningbo as a hand-made city: its real districts and streets by code, without outlines or devices."""
    city = write_small_city(directory)
    for file in ("permits.csv", "neighbours.csv", "routes.geojson", "areas.geojson"):
        (city / file).unlink()
    for file in ("nodes.csv", "devices.csv"):
        (city / file).write_text((city / file).read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    head = (city / "city.toml").read_text(encoding="utf-8")
    head = head.replace("[121.50, 31.20]", "[121.55, 29.87]").replace("310100", "330200")
    (city / "city.toml").write_text(head, encoding="utf-8")
    staff = (city / "departments.toml").read_text(encoding="utf-8")
    (city / "departments.toml").write_text(staff.replace('"310101"', ""), encoding="utf-8")
    with (city / "areas.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["code", "level", "parent", "name"])
        for name, level, code, parent in (
            ("areas", "district", "code", ""),
            ("streets", "street", "code", "areaCode"),
        ):
            with shared_data(f"admin_div/{name}_shanghai_ningbo.csv").open(encoding="utf-8") as source:
                for row in csv.DictReader(source):
                    if row[code].startswith("3302"):
                        rows.writerow([row[code], level, row[parent] if parent else "", row["name"]])
    (city / "roads.geojson").unlink()
    return city


def test_real_sites_of_ningbo(tmp_path: Path) -> None:
    """Real permitted sites and disposal sites land in the streets that their own township codes name."""
    city = ningbo(tmp_path / "ningbo")
    sites, disposals = shared_data("ningbo_cdw/sites.csv"), shared_data("ningbo_cdw/disposal.csv")
    take(sites, city, Import("site", prefix="site-"))
    after = take(disposals, city, Import("disposal", prefix="disposal-"))
    count = Counter(node.cls for node in after.nodes)
    with sites.open(encoding="utf-8") as file:
        told = {f"site-{row['site_id']}": row for row in csv.DictReader(file)}
    assert count["site"] == len(told) > 40
    assert count["disposal"] == len(disposals.read_text(encoding="utf-8").splitlines()) - 1
    areas = {area.code: area.level for area in after.areas}
    for node in after.nodes:
        if node.cls == "site":
            assert node.area == told[node.id]["district_code"][: len(node.area)]
            assert (node.lon, node.lat) == (
                pytest.approx(float(told[node.id]["lng_wgs84"])),
                pytest.approx(float(told[node.id]["lat_wgs84"])),
            )
    assert sum(areas[node.area] == "street" for node in after.nodes) > 0.8 * len(after.nodes)
