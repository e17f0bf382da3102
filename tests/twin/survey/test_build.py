"""Building a city from an extract: what stands where, how it hangs together, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import shapely

from devices.cities.geometry import Plane, Streets, metres_between
from devices.cities.load import check_city, load_city
from devices.places import CityFiles
from tests.twin.survey.town import Town, shared_data, write_town
from twin.survey.build import Order, build_city
from twin.survey.errors import SurveyError
from twin.survey.extract import middle_of, read_extract

ORDER = Order(name="Town", timezone="Europe/Helsinki", adcode="091000", cells=30, trucks=20, gateways=4, sites=3,
              disposals=2, companies=2, recorded=("station-1", "station-2"))  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> CityFiles:
    """The town's city."""
    directory = tmp_path_factory.mktemp("town")
    return build_city(write_town(directory / "town.osm"), directory / "city", ORDER)


def test_areas_come_from_the_boundaries(built: CityFiles) -> None:
    """Streets (街道) carry the names of the boundaries on whose side they lie, and hold their grid cells."""
    streets = {area.name: area for area in built.areas if area.level == "street"}
    assert {name: area.name_zh for name, area in streets.items()} == {"Westend": "西区", "Eastend": "东区"}
    assert all(area.code.startswith(area.parent) for area in built.areas)
    for device in built.devices:
        if device.kind == "pole" and device.origin == "simulated":
            inside = shapely.Polygon(next(a.ring for a in built.areas if a.code == device.grid))
            assert inside.distance(shapely.Point(device.lon, device.lat)) < 1e-4


def test_poles_stand_on_streets(built: CityFiles) -> None:
    """Every pole stands within 10 m of a street, none nearer than 18 m to another, most 25-40 m from the next."""
    plane = Plane(built.centre)
    streets = Streets(plane, [line for _, _, line in built.roads])
    poles = [d for d in built.devices if d.kind == "pole" and d.origin == "simulated"]
    assert len(poles) > 100
    assert max(streets.nearest_m(pole.lon, pole.lat) for pole in poles) < 10
    gaps = [min(metres_between((a.lon, a.lat), (b.lon, b.lat)) for b in poles if b is not a) for a in poles]
    assert min(gaps) > 17.9
    assert sum(20 < gap < 42 for gap in gaps) > 0.9 * len(gaps)


def test_no_pole_stands_in_a_house(tmp_path: Path) -> None:
    """A pole whose place is built over stands across the street; where both sides are, there is none."""
    made = Town()
    for row in range(4):
        made.way([(x, row) for x in range(7)], highway="residential", name=f"Row {row}")
    for column in (0, 6):
        made.way([(column, y) for y in range(4)], highway="residential")
    made.way([(1, 0.97), (5, 0.97), (5, 1.03), (1, 1.03), (1, 0.97)], building="yes")  # over the whole street
    made.way([(1, 2.0), (5, 2.0), (5, 2.4), (1, 2.4), (1, 2.0)], building="yes")  # on its north side
    city = build_city(made.write(tmp_path / "houses.osm"), tmp_path / "city", ORDER)
    poles = [d for d in city.devices if d.kind == "pole" and d.origin == "simulated"]

    def between(south: float, north: float) -> int:
        low, high = 60.100 + 0.002 * south, 60.100 + 0.002 * north
        return sum(24.902 < d.lon < 24.910 and low <= d.lat <= high for d in poles)

    assert between(0.9, 1.1) == 0
    assert between(2.0, 2.4) == 0
    assert between(1.9, 2.0) >= 10


def test_everything_hangs_together(built: CityFiles) -> None:
    """Poles have cabinets and feeders, cells stand on poles with neighbours, and all are behind few gateways."""
    kinds = Counter(device.kind for device in built.devices)
    assert (kinds["cell"], kinds["truck"], kinds["gateway"]) == (30, 20, 4)
    devices = {device.id: device for device in built.devices}
    cabinets = {node.id: node.parent for node in built.nodes if node.cls == "cabinet"}
    for device in built.devices:
        if device.kind == "pole" and device.origin == "simulated":
            assert cabinets[device.cabinet] == device.feeder
            assert devices[device.feeder].kind == "feeder"
        if device.kind in ("pole", "cell", "feeder") and device.origin == "simulated":
            assert devices[device.gateway].kind == "gateway"
        if device.kind == "cell":
            assert devices[device.pole].gateway == device.gateway
            assert 3 <= len(built.neighbours[device.id]) <= 6
    fed = Counter(device.cabinet for device in built.devices if device.cabinet)
    assert max(fed.values()) <= 12
    assert len({device.code16 for device in built.devices}) == len(built.devices)


def test_feeders_are_rated_at_their_lamps(built: CityFiles) -> None:
    """A feeder's rated power is the sum of its poles'."""
    for feeder in (d for d in built.devices if d.kind == "feeder"):
        lamps = [d.attributes["ratedPower"] for d in built.devices if d.feeder == feeder.id]
        assert feeder.attributes == {"ratedPower": sum(lamps), "lamps": len(lamps)}


def test_routes_follow_roads_one_way(built: CityFiles) -> None:
    """Between its gates a route's every piece lies on a road, and never runs against a one-way street."""
    roads = shapely.MultiLineString([line for _, _, line in built.roads])
    oneway_lon = 24.900 + 0.002 * 3
    assert built.permits
    for permit in built.permits:
        for name in (permit.route, f"{permit.route}-back"):
            inner = built.routes[name][1:-1]
            for a, b in pairwise(inner):
                middle = shapely.Point((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
                assert roads.distance(middle) < 4e-5
                if abs(a[0] - oneway_lon) < 1e-6 and abs(b[0] - oneway_lon) < 1e-6:
                    assert b[1] > a[1]


def test_the_known_works_are_a_site(built: CityFiles) -> None:
    """A construction site of the extract is the first site, with its name."""
    site = next(node for node in built.nodes if node.id == "site-1")
    assert site.name == "Site 1 New Hall"
    assert metres_between((site.lon or 0, site.lat or 0), (24.905, 60.101)) < 60


def test_sites_keep_away_from_disposal_sites(built: CityFiles) -> None:
    """No construction site's circle touches that of a disposal site."""
    places = {cls: [node for node in built.nodes if node.cls == cls] for cls in ("site", "disposal")}
    for site in places["site"][1:]:  # the first stands where the extract has it
        for disposal in places["disposal"]:
            away = metres_between((site.lon or 0, site.lat or 0), (disposal.lon or 0, disposal.lat or 0))
            assert away > site.radius_m + disposal.radius_m


def test_recorded_stations_stand_at_the_edge(built: CityFiles) -> None:
    """Stations known by a recording alone are marked as recorded and stand in a row along the southern edge."""
    stations = [device for device in built.devices if device.origin == "recorded"]
    assert [station.id for station in stations] == ["station-1", "station-2"]
    assert all(station.lat < 60.0995 for station in stations)


def test_departments_answer_for_each_case_type(built: CityFiles) -> None:
    """The shipped departments have names in both languages, and urban management goes by district if there are more."""
    types = {word for department in built.departments for word in department.types}
    assert {"lamp_out", "backhaul_down", "outside_hours", "device_silent", "night_noise"} <= types
    assert all(department.name and department.name_zh != department.name for department in built.departments)
    urban = [department for department in built.departments if department.id.startswith("urban_management")]
    assert urban
    assert all((one.types, one.joins) == ((), ("night_noise", "illegal_dumping")) for one in urban)


def test_base_map_holds_the_town(built: CityFiles) -> None:
    """The base map has the sea behind the shore, the park, the house, the roads by class, and the credit."""
    assert built.basemap is not None
    told = json.loads(gzip.decompress(built.basemap.read_bytes()))
    assert "OpenStreetMap" in told["attribution"]
    layers = Counter(f["properties"]["layer"] for f in told["features"])
    assert (layers["park"], layers["building"], layers["road"]) == (1, 1, 12)
    sea = [f for f in told["features"] if f["properties"]["class"] == "sea"]
    shape = shapely.union_all([shapely.Polygon(f["geometry"]["coordinates"][0]) for f in sea])
    north, south = 60.100 + 0.002 * 4.5, 60.100 + 0.002 * 4.3
    assert shape.symmetric_difference(shapely.box(24.899, south, 24.913, north)).area < 1e-7


def test_equal_orders_give_equal_files(tmp_path: Path) -> None:
    """Two runs with other hash seeds write the same bytes, another seed does not."""
    extract = write_town(tmp_path / "town.osm")
    order = Order(name="T", timezone="UTC", seed=7)
    build_city(extract, tmp_path / "a", order)
    script = (
        "import sys; from pathlib import Path; from twin.survey.build import Order, build_city;"
        "build_city(Path(sys.argv[1]), Path(sys.argv[2]), Order(name='T', timezone='UTC', seed=7))"
    )
    seeded = {**os.environ, "PYTHONHASHSEED": "2"}
    subprocess.run([sys.executable, "-c", script, str(extract), str(tmp_path / "b")], check=True, env=seeded)
    build_city(extract, tmp_path / "c", replace(order, seed=8))
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 11
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    assert (tmp_path / "a" / "devices.csv").read_bytes() != (tmp_path / "c" / "devices.csv").read_bytes()


def test_an_extract_without_boundaries_is_divided_evenly(tmp_path: Path) -> None:
    """Where nothing bounds anything, the box is one district of equal streets."""
    made = Town()
    for row in range(5):
        made.way([(x, row) for x in range(7)], highway="residential", name=f"Row {row}")
    for column in range(7):
        made.way([(column, y) for y in range(5)], highway="residential")
    city = build_city(made.write(tmp_path / "plain.osm"), tmp_path / "city", ORDER)
    assert Counter(area.level for area in city.areas)["district"] == 1
    assert [area.name for area in city.areas if area.level == "street"] == [f"Street {n}" for n in range(1, 5)]


def test_an_existing_city_is_replaced_only_on_demand(tmp_path: Path) -> None:
    """A city that is there already stays unless --force is given, and nothing else is ever replaced."""
    extract = write_town(tmp_path / "town.osm")
    build_city(extract, tmp_path / "city", ORDER)
    with pytest.raises(SurveyError, match="is there already"):
        build_city(extract, tmp_path / "city", ORDER)
    build_city(extract, tmp_path / "city", ORDER, force=True)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(SurveyError, match="is no city directory"):
        build_city(extract, tmp_path / "papers", ORDER, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["city", "papers", "town.osm"]


@pytest.mark.parametrize("name", ["شارع التحرير", "人民路🚚", "a, &quot;b&quot; &amp; c", "'; DROP TABLE x; --"])
def test_names_of_any_script_come_through(tmp_path: Path, name: str) -> None:
    """Streets named in other scripts, with commas, quotation marks or emoji are built, written and read as they are."""
    city = build_city(gridded(tmp_path / "named", 31.2, name=name), tmp_path / "city", ORDER)
    assert check_city(tmp_path / "city") == []
    plain = name.replace("&quot;", '"').replace("&amp;", "&")
    assert any(road_name.startswith(plain) for road_name, _, _ in city.roads)
    assert any(plain in node.name for node in city.nodes if node.cls == "cabinet")


def test_a_countrys_header_does_not_make_a_country(tmp_path: Path) -> None:
    """An extract that was cut without a new header is as large as its roads."""
    wide = '<bounds minlon="19" minlat="-30" maxlon="40" maxlat="5"/>'
    city = build_city(gridded(tmp_path / "cut", 31.2, bounds=wide), tmp_path / "city", ORDER)
    west, south, east, north = city.bounds()
    assert east - west < 0.05
    assert north - south < 0.05


def test_the_middle_is_known_without_a_header(tmp_path: Path) -> None:
    """Whoever gives no time zone gets that of the place, whether or not the file's header says where it is."""
    assert middle_of(gridded(tmp_path / "plain", 121.5))[0] == pytest.approx(121.5, abs=0.02)


def test_a_hamlet_has_fewer_sites(tmp_path: Path) -> None:
    """What is ordered is an upper bound: three streets by three are a city with what fits."""
    made = Town()
    for row in range(3):
        made.way([(x, row) for x in range(3)], highway="residential", name=f"Row {row}")
        made.way([(row, y) for y in range(3)], highway="residential")
    city = build_city(made.write(tmp_path / "hamlet.osm"), tmp_path / "city", replace(ORDER, sites=6, disposals=3))
    places = Counter(node.cls for node in city.nodes)
    assert (places["site"], places["disposal"]) == (3, 1)
    assert len(city.permits) >= 2


def no_roads(path: Path) -> Path:
    """An extract with a house and no street."""
    made = Town()
    made.way([(0, 0), (1, 0), (1, 1), (0, 0)], building="yes")
    return made.write(path.with_suffix(".osm"))


def truncated(path: Path) -> Path:
    """The first half of a real extract in PBF."""
    import osmium

    whole = path.with_name("whole.osm.pbf")
    source = write_town(path.with_name("source.osm"))
    with osmium.SimpleWriter(str(whole)) as writer:
        for thing in osmium.FileProcessor(str(source)):
            writer.add(thing)
    half = path.with_suffix(".osm.pbf")
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return half


def foreign(path: Path) -> Path:
    """A file with the right name and other bytes."""
    made = path.with_suffix(".osm.pbf")
    made.write_bytes(b"\x00\x00\x00\x0d" + bytes(range(256)) * 20)
    return made


def empty(path: Path) -> Path:
    """A file of no bytes."""
    made = path.with_suffix(".osm.pbf")
    made.write_bytes(b"")
    return made


def missing(path: Path) -> Path:
    """A file that is not there."""
    return path.with_suffix(".osm.pbf")


def tiny(path: Path) -> Path:
    """One short street."""
    made = Town()
    made.way([(0, 0), (1, 0)], highway="residential")
    return made.write(path.with_suffix(".osm"))


def gridded(path: Path, west: float, *, step: float = 0.002, name: str = "Row", bounds: str = "") -> Path:
    """Eight by six streets from a longitude on; beyond 180 degrees it goes on at -180. `bounds`: the header's."""
    at = {(x, y): 1 + x * 6 + y for x in range(8) for y in range(6)}
    lons = {x: west + step * x - (360 if west + step * x > 180 else 0) for x in range(8)}
    nodes = "".join(
        f'<node id="{i}" version="1" lon="{lons[x]:.7f}" lat="{-17 + 0.002 * y:.7f}"/>' for (x, y), i in at.items()
    )
    lines = [[at[x, y] for x in range(8)] for y in range(6)] + [[at[x, y] for y in range(6)] for x in range(8)]
    ways = ""
    for w, line in enumerate(lines, 1):
        refs = "".join(f'<nd ref="{i}"/>' for i in line)
        tags = f'<tag k="highway" v="residential"/><tag k="name" v="{name} {w}"/>'
        ways += f'<way id="{w}" version="1">{refs}{tags}</way>'
    made = path.with_suffix(".osm")
    made.write_text(f'<osm version="0.6">{bounds}{nodes}{ways}</osm>', encoding="utf-8")
    return made


def round_the_world(path: Path) -> Path:
    """Streets on both sides of 180 degrees."""
    return gridded(path, 179.994)


def a_province(path: Path) -> Path:
    """Streets a hundred kilometres apart."""
    return gridded(path, 20.0, step=1.0)


def relations_only(path: Path) -> Path:
    """A boundary whose ways and nodes are not there."""
    made = Town()
    made.relation(1, [5], boundary="administrative", admin_level="9", name="Nowhere")
    return made.write(path.with_suffix(".osm"))


@pytest.mark.parametrize(
    ("make", "problem", "fix"),
    [
        (round_the_world, "crosses the antimeridian", "one side"),
        (a_province, "km wide", "--bbox"),
        (relations_only, "holds no nodes", "complete_ways"),
        (no_roads, "has no roads", "streets"),
        (truncated, "not a readable OpenStreetMap extract", "complete"),
        (foreign, "not a readable OpenStreetMap extract", "download it again"),
        (empty, "not a readable OpenStreetMap extract", "complete"),
        (missing, "no such file", "extract"),
        (tiny, "connected road nodes for trucks", "larger extract"),
    ],
)
def test_a_bad_extract_is_named_and_leaves_nothing(tmp_path: Path, make, problem: str, fix: str) -> None:  # type: ignore[no-untyped-def]
    """An extract that cannot become a city is refused with a way out, and no directory is left behind."""
    extract = make(tmp_path / "bad")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SurveyError) as caught:
        build_city(extract, tmp_path / "city", ORDER)
    assert problem in caught.value.problem
    assert fix in caught.value.fix
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"adcode": "09100"}, "six digits"),
        ({"timezone": "Europe/Helsingfors"}, "unknown time zone"),
        ({"gateways": 501}, "501 gateways"),
        ({"grid_m": 1.0}, "grid cells"),
        ({"trucks": 1}, "too few"),
        ({"departments": Path("nowhere.toml")}, "cannot be read"),
    ],
)
def test_an_impossible_order_is_refused(tmp_path: Path, wrong: dict[str, object], problem: str) -> None:
    """An order that no extract could fulfil is named before anything is written."""
    with pytest.raises(SurveyError, match=problem):
        build_city(write_town(tmp_path / "town.osm"), tmp_path / "city", replace(ORDER, **wrong))  # type: ignore[arg-type]
    assert not (tmp_path / "city").exists()


def test_the_centre_of_helsinki(tmp_path: Path) -> None:
    """The real extract becomes the city that is shipped: the same districts, kinds and shores."""
    extract = shared_data("osm_helsinki/Helsinki.osm.pbf")
    assert len(read_extract(extract).coast) == 4
    city = build_city(
        extract, tmp_path / "city", Order(name="Helsinki centre", timezone="Europe/Helsinki", adcode="091000")
    )
    shipped = load_city("helsinki")
    names = {area.name for area in city.areas if area.level == "street"}
    assert names == {"Kluuvi", "Kaartinkaupunki", "Kamppi", "Kruununhaka", "Punavuori", "Kallio"}
    assert names == {area.name for area in shipped.areas if area.level == "street"}
    assert Counter(d.kind for d in city.devices)["cell"] == Counter(d.kind for d in shipped.devices)["cell"]
    told = json.loads(gzip.decompress((tmp_path / "city" / "basemap.geojson.gz").read_bytes()))
    wet = shapely.union_all(
        [
            shapely.Polygon(f["geometry"]["coordinates"][0])
            for f in told["features"]
            if (f["properties"]["layer"], f["geometry"]["type"]) == ("water", "Polygon")
        ]
    )
    assert wet.covers(shapely.Point(24.9425, 60.1785))  # Kaisaniemenlahti, a bay cut by the box
    assert wet.covers(shapely.Point(24.9356, 60.1785))  # Töölönlahti, a lake cut by the box
    assert not wet.covers(shapely.Point(24.9414, 60.1719))  # the railway station
    assert check_city(tmp_path / "city") == []
