"""Reading city files: what a good city becomes, and how each kind of mistake is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.cities import shipped_cities
from devices.cities.forms import department_from, department_told
from devices.cities.geometry import gcj02_of_wgs84
from devices.cities.load import check_city, load_city
from devices.errors import CityFileError
from devices.places import Calendar, CityFiles, Shift
from tests.devices.small_city import FILES, change, drop_feature, write_small_city


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """A small city on disk."""
    return write_small_city(tmp_path / "small")


def only(directory: Path) -> CityFileError:
    """The one problem of a city."""
    problems = check_city(directory)
    assert len(problems) == 1, [str(p) for p in problems]
    return problems[0]


def test_every_field_is_read(city: Path) -> None:
    """A city's files become its records, relations and defaults included."""
    read = load_city(city)
    assert isinstance(read, CityFiles)
    assert (read.name, read.name_zh, read.adcode, read.timezone) == ("Smallton", "小城", "310100", "Asia/Shanghai")
    assert read.centre == (121.50, 31.20)
    devices = {device.id: device for device in read.devices}
    assert list(devices) == [
        "pole-0001", "pole-0002", "pole-0003", "cell-0001", "cell-0002", "truck-001", "feeder-01", "gw-01", "station-1",
    ]  # fmt: skip
    assert devices["pole-0001"].attributes == {"ratedPower": 60.0}
    assert devices["pole-0001"].urn == "urn:citywhistle:3101010201000001"
    assert devices["cell-0001"].pole == "pole-0001"
    assert devices["truck-001"].attributes == {"tareWeight": 14500.0, "axles": 4.0}
    assert devices["station-1"].origin == "recorded"
    assert [node.cls for node in read.nodes] == ["feeder", "cabinet", "cabinet", "site", "disposal", "company"]
    assert read.permits[0].trucks == ("truck-001",)
    assert (read.permits[0].start_hour, read.permits[0].end_hour, read.permits[0].corridor_m) == (20.0, 6.0, 50.0)
    assert read.neighbours == {"cell-0001": ("cell-0002",), "cell-0002": ("cell-0001",)}
    assert read.routes["route-1"][0] == (121.505, 31.2)
    assert read.roads[0][:2] == ("Market Road", 40.0)
    assert read.areas[0].ring[0] == (121.48, 31.19)
    assert read.basemap is None
    assert read.bounds() == (121.48, 31.19, 121.52, 31.22)


def test_a_pole_has_its_cabinets_feeder(city: Path) -> None:
    """A pole whose line names only the cabinet hangs on that cabinet's feeder."""
    assert {d.id: d.feeder for d in load_city(city).devices}["pole-0002"] == "feeder-02"


def test_departments_have_hours_and_shifts(city: Path) -> None:
    """Calendars and on-call shifts are read as weekdays and local hours."""
    read = load_city(city)
    calendar = Calendar("office", (0, 1, 2, 3, 4), ((8.5, 12.0), (13.0, 17.5)), ("2026-10-01",))
    assert read.calendars == (calendar,)
    assert read.departments[0].calendar == "office"
    assert read.departments[0].on_call == (Shift((5, 6), 20.0, 6.0, "webhook", "https://example.org/night"),)


def test_a_department_may_join_in_types_without_leading_any(city: Path) -> None:
    """`joins` are read, and come again through the register's form; a type under both words is refused."""
    path = city / "departments.toml"
    path.write_text(path.read_text() + '\n[[department]]\nid = "street"\njoins = ["dust"]\n')
    street = load_city(city).departments[1]
    assert (street.types, street.joins) == ((), ("dust",))
    assert department_from(department_told(street.id, street)) == street
    path.write_text(path.read_text() + 'types = ["dust"]\n')
    with pytest.raises(CityFileError, match="both answers for dust and joins in it"):
        load_city(city)


@pytest.mark.parametrize("name", shipped_cities())
def test_shipped_cities_are_without_fault(name: str) -> None:
    """Every shipped city passes its own check, is found by name, and every pole and cell is behind a gateway."""
    read = load_city(name)
    assert 600 <= len(read.devices) <= 1500
    gateways = {d.id for d in read.devices if d.kind == "gateway"}
    assert all(d.gateway in gateways for d in read.devices if d.kind in ("pole", "cell") and d.origin == "simulated")
    assert read.basemap is not None
    assert "OpenStreetMap" in read.attribution


MISTAKES = [
    # file, old, new, what the problem says, what the fix says
    ("devices.csv", "pole-0002,", "pole-0001,", "'pole-0001' is there twice (first at devices.csv:2)", "of its own"),
    ("devices.csv", "3101010201000002", "3101010201000001", "3101010201000001 is pole-0001's", "its own serial"),
    ("devices.csv", "3101010201000002", "3101010202000009", "not numbered by district and class", "3101010201"),
    ("devices.csv", "3101010201000002", "31010102010000", "not sixteen digits", "6 of the district"),
    ("devices.csv", "cabinet-021,,,gw", "cabinet-029,,,gw", "cabinet 'cabinet-029' does not exist", "nodes.csv"),
    ("devices.csv", "cabinet-021,feeder-02", "cabinet-021,feeder-01", "is not its cabinet's", "'feeder-02'"),
    ("devices.csv", "cabinet-021,feeder-02", ",feeder-09", "feeder 'feeder-09' does not exist", "kind feeder"),
    (
        "devices.csv",
        "310101,310101001,310101001001001,cabinet-021,f",
        "310101,,,cabinet-021,f",
        "on no street",
        "street",
    ),
    ("devices.csv", "121.5020,31.2001", "121.5020,31.2101", "a pole on no street (no road", "missing road"),
    ("devices.csv", "121.5020,31.2001", "31.2001,121.5020", "longitude and latitude swapped", "swap the two"),
    ("devices.csv", "121.5020,31.2001", "24.9400,60.1700", "km from the city's centre", "centre"),
    ("devices.csv", "121.5020,31.2001", "121.5020,nan", "no number", "WGS84"),
    ("devices.csv", "pole-0001,gw-01,,,azimuth=30", ",gw-01,,,azimuth=30", "a cell on no pole", "carries it"),
    ("devices.csv", "pole-0001,gw-01,,,azimuth=30", "pole-7,gw-01,,,azimuth=30", "pole 'pole-7' does", "kind pole"),
    ("devices.csv", ",gw-01,,,azimuth=150", ",gw-77,,,azimuth=150", "gateway 'gw-77' does not exist", "kind gateway"),
    ("devices.csv", "azimuth=150", "azimuth=south", "attributes 'azimuth=south'", "name=number"),
    ("devices.csv", "company-1,CW-0001", "company-1,", "without a plate", "number plate"),
    ("devices.csv", "company-1,CW-0001", "company-1,TRUCK 001", "id holds its plate", "ids are public"),
    ("devices.csv", "cell-0002,cell,", "cell-0002,antenna,", "kind 'antenna'", "pole, cell, truck"),
    ("devices.csv", "station-1,", "sta/tion,", "cannot be used in topics", "letter or digit"),
    ("devices.csv", ",recorded", ",measured", "origin 'measured'", "simulated, recorded, real"),
    ("nodes.csv", "配电箱011,feeder-01", "配电箱011,feeder-07", "feeder 'feeder-07' does not exist", "class feeder"),
    ("nodes.csv", "31.2000,80", "31.2000,0", "no position or no radius", "radius_m"),
    ("nodes.csv", "site-1,site", "site-1,pit", "class 'pit'", "company"),
    ("permits.csv", "route-1,20", ",20", "a permit without a route", "routes.geojson"),
    ("permits.csv", "route-1,20", "route-2,20", "route 'route-2' does not exist", "routes.geojson"),
    ("permits.csv", "truck-001", "truck-002", "truck 'truck-002' does not exist", "kind truck"),
    ("permits.csv", "site-1,disposal-1", "site-1,site-1", "disposal 'site-1' does not exist", "class disposal"),
    ("permits.csv", "20,6", "20,25", "hours 20-25", "within 0..24"),
    ("permits.csv", "2026-01-01", "01.01.2026", "valid 01.01.2026", "2026-03-31"),
    ("neighbours.csv", "cell-0001,cell-0002", "cell-0001,cell-0009", "'cell-0009' is no cell", "kind cell"),
    ("neighbours.csv", "cell-0001,cell-0002", "cell-0001,cell-0001", "its own neighbour", "drop it"),
    ("areas.csv", "310101001001001,grid,310101001", "310101001001001,grid,310101", "is no street", "street"),
    ("departments.toml", '"310101"', '"310199"', "area '310199' does not exist", "areas.csv"),
    (
        "departments.toml",
        'calendar = "office"',
        'calendar = "always"',
        "calendar 'always' does not exist",
        "[[calendar]]",
    ),
    ("departments.toml", '"sat"', '"Samstag"', "weekday 'Samstag'", "mon, tue"),
    ("departments.toml", "address =", "adress =", "unknown key 'adress'", "known keys"),
    ("city.toml", "Asia/Shanghai", "Asia/Shanghi", "unknown time zone", "IANA"),
    ("city.toml", "WGS84", "GCJ-02", "coordinates are 'GCJ-02'", "--from gcj02"),
    ("city.toml", "format = 1", "format = 2", "format is 2", "format = 1"),
    ("city.toml", "[121.50, 31.20]", "[31.20, 121.50]", "not on the map", "longitude comes first"),
    ("routes.geojson", '"route-1"', '"a route"', "no line with an id", "LineString"),
    ("roads.geojson", "40", '"forty"', "maxspeed 'forty'", "km/h"),
    ("areas.geojson", "[121.48, 31.19]]]", "[121.47, 31.19]]]", "no closed polygon", "first point = last"),
]


@pytest.mark.parametrize(("file", "old", "new", "problem", "fix"), MISTAKES)
def test_a_mistake_is_named(city: Path, file: str, old: str, new: str, problem: str, fix: str) -> None:
    """One wrong value gives a problem with its file, its words and how to mend it, and the city is not loaded."""
    line = change(city, file, old, new)
    told = check_city(city)
    fitting = [p for p in told if p.file == file and problem in p.problem]
    assert fitting, [str(p) for p in told]
    assert fix in fitting[0].fix
    if not file.endswith(".geojson") and not file.endswith("s.toml"):
        assert fitting[0].line == line
    with pytest.raises(CityFileError):
        load_city(city)


def test_one_mistake_is_one_problem(city: Path) -> None:
    """A wrong position does not draw further complaints after it."""
    change(city, "devices.csv", "121.5020,31.2001", "31.2001,121.5020")
    assert only(city).line == 4


def test_all_mistakes_are_listed(city: Path) -> None:
    """The check does not stop at the first mistake, and loading says how many more there are."""
    change(city, "devices.csv", "azimuth=150", "azimuth=x")
    change(city, "permits.csv", "20,6", "20,25")
    change(city, "nodes.csv", "31.2000,80", "31.2000,0")
    files = {p.file for p in check_city(city)}
    assert {"devices.csv", "permits.csv", "nodes.csv"} <= files
    with pytest.raises(CityFileError) as caught:
        load_city(city)
    assert any("more" in note for note in caught.value.__notes__)


def test_mistakes_beside_one_of_city_toml_are_listed_too(city: Path) -> None:
    """A time zone or a centre that is wrong hides nothing that is wrong elsewhere."""
    change(city, "permits.csv", "20,6", "20,25")
    change(city, "city.toml", "Asia/Shanghai", "Asia/Shanghi")
    assert {p.file for p in check_city(city)} == {"city.toml", "permits.csv"}
    change(city, "city.toml", "centre = [", "center = [")
    told = [str(p) for p in check_city(city)]
    assert len(told) == 4, told
    assert "unknown key 'center' (known keys are: format, name" in told[0]
    (city / "city.toml").unlink()
    assert {p.file for p in check_city(city)} == {"city.toml", "permits.csv"}


def test_lines_of_commas_alone_are_no_lines(city: Path) -> None:
    """A spreadsheet that once held more lines leaves such behind, of any width."""
    for file, commas in (("devices.csv", 16), ("neighbours.csv", 1), ("areas.csv", 1)):
        path = city / file
        path.write_text(path.read_text(encoding="utf-8") + "," * commas + "\n ,\n", encoding="utf-8")
    assert check_city(city) == []


def test_a_folder_in_the_place_of_the_base_map_is_no_base_map(city: Path) -> None:
    """It is named by the command; here it is no crash."""
    (city / "basemap.geojson.gz").mkdir()
    assert load_city(city).basemap is None


@pytest.mark.parametrize("file", ["city.toml", "areas.csv", "nodes.csv", "devices.csv", "departments.toml"])
def test_a_missing_file_is_named(city: Path, file: str) -> None:
    """Each file that a city cannot do without is missed by name."""
    (city / file).unlink()
    assert any(p.file == file and "missing" in p.problem for p in check_city(city))


def test_a_missing_and_an_unknown_column_are_named(city: Path) -> None:
    """A heading without a needed column, and one with a misspelt one, name it and list the known ones."""
    change(city, "nodes.csv", "name_zh,parent", "namezh,parent")
    assert "unknown column 'namezh'" in only_first(city, "nodes.csv").problem
    change(city, "devices.csv", "lon,lat,", "lon,latitude,")
    problems = [p.problem for p in check_city(city) if p.file == "devices.csv"]
    assert "column 'lat' is missing" in problems
    assert "unknown column 'latitude'" in problems


def only_first(directory: Path, file: str) -> CityFileError:
    """The first problem of one file."""
    return next(p for p in check_city(directory) if p.file == file)


def test_a_short_row_is_left_out_and_named(city: Path) -> None:
    """A row with too few cells is named by its line."""
    line = change(city, "neighbours.csv", "cell-0002,cell-0001", "cell-0002")
    told = only(city)
    assert (told.line, told.problem) == (line, "1 cells where the heading has 2")


def test_files_saved_by_spreadsheets_are_read(city: Path) -> None:
    """A byte order mark and Windows line ends do no harm."""
    path = city / "devices.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert check_city(city) == []


def test_another_encoding_is_named(city: Path) -> None:
    """A file saved as GBK is no UTF-8, and the fix says how to save it."""
    path = city / "nodes.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("gbk"))
    told = only_first(city, "nodes.csv")
    assert "not UTF-8" in told.problem
    assert told.line == 2
    assert "UTF-8" in told.fix


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("routes.geojson", '{"type": "FeatureCollection", "features": [\n{"type": ', "not JSON"),
        ("routes.geojson", "[1, 2]", "not a GeoJSON FeatureCollection"),
        ("routes.geojson", '{"features": [3]}', "no geometry"),
        (
            "roads.geojson",
            '{"crs": {"properties": {"name": "EPSG:3857"}}, "features": []}',
            "another coordinate system",
        ),
        ("areas.geojson", "[" * 100_000, "nested too deeply"),
        ("departments.toml", "[[department]\n", "not TOML"),
        ("devices.csv", 'id,kind\n"pole,pole\n', "column"),
        ("neighbours.csv", 'cell,neighbours\n"cell-0001,cell-0002\n', "not CSV"),
    ],
)
def test_broken_files_are_named(city: Path, file: str, text: str, problem: str) -> None:
    """A file that is cut short, of another form or hostile gives a problem instead of an exception."""
    (city / file).write_text(text, encoding="utf-8")
    assert any(p.file == file and problem in p.problem for p in check_city(city)), check_city(city)


def test_swapped_axes_of_the_whole_city_are_one_problem(city: Path) -> None:
    """Where everything but the centre is swapped, the centre is what is named, once."""
    change(city, "city.toml", "[121.50, 31.20]", "[60.0, 30.0]")
    swap = city / "devices.csv"
    rows = swap.read_text(encoding="utf-8").splitlines()
    swap.write_text("\n".join([rows[0]] + [move(row, 30.0, 60.0) for row in rows[1:]]) + "\n", encoding="utf-8")
    for file in ("routes.geojson", "roads.geojson", "areas.geojson"):
        drop_feature(city, file)
    (city / "permits.csv").unlink()
    for place in ("121.5000,31.2001,0", "121.5050,31.2000,80", "121.4950,31.2000,100"):
        change(city, "nodes.csv", place, "30.0,60.0," + place.split(",")[2])
    told = only(city)
    assert told.file == "city.toml"
    assert "swapped" in told.problem


def move(row: str, lon: float, lat: float) -> str:
    """A line of devices.csv at another position."""
    cells = row.split(",")
    cells[3:5] = [str(lon), str(lat)]
    return ",".join(cells)


@pytest.mark.parametrize(("east", "told"), [(121.4995, ""), (121.4960, "m outside of 310101001001001")])
def test_poles_stand_in_the_area_that_they_are_listed_under(city: Path, east: float, told: str) -> None:
    """Cases are sent by it. Some ten metres beyond its outline are a matter of drawing, some hundred are not."""
    ring = [[121.49, 31.19], [east, 31.19], [east, 31.21], [121.49, 31.21], [121.49, 31.19]]
    grid = json.dumps({"type": "Feature", "properties": {"code": "310101001001001"},
                       "geometry": {"type": "Polygon", "coordinates": [ring]}})  # fmt: skip
    change(city, "areas.geojson", "]]]}}\n]}", f"]]]}}}},\n{grid}\n]}}")
    problems = [p for p in check_city(city) if p.file == "devices.csv"]
    assert all(told and told in p.problem and "its street and grid" in p.fix for p in problems)
    assert len(problems) == (3 if told else 0)


def test_poles_in_gcj02_are_suspected(city: Path) -> None:
    """Poles that stand off every street by what GCJ-02 shifts are named as such."""
    for place in ("121.5000,31.2001", "121.5010,31.2001", "121.5020,31.2001"):
        lon, lat = gcj02_of_wgs84(*(float(part) for part in place.split(",")))
        change(city, "devices.csv", f",{place}", f",{lon:.6f},{lat:.6f}")
    told = [p for p in check_city(city) if "pole on no street" in p.problem]
    assert len(told) == 3
    assert all("GCJ-02" in p.problem and "--from gcj02" in p.fix for p in told)


def test_a_cell_in_gcj02_is_suspected(city: Path) -> None:
    """A cell some hundred metres from its pole by what GCJ-02 shifts is named as such."""
    lon, lat = gcj02_of_wgs84(121.5, 31.2001)
    change(city, "devices.csv", "cell-0001,cell,3101010202000001,121.5000,31.2001",
           f"cell-0001,cell,3101010202000001,{lon:.6f},{lat:.6f}")  # fmt: skip
    told = only(city)
    assert "from its pole pole-0001; its position looks like GCJ-02" in told.problem


def test_routes_and_sites_in_gcj02_are_suspected(city: Path) -> None:
    """A route that runs beside the roads by what GCJ-02 shifts is named, and so is a site where no route ends."""
    points = ((121.505, 31.2), (121.503, 31.2), (121.5, 31.2), (121.498, 31.2), (121.495, 31.2))
    line = json.dumps([[round(x, 6) for x in gcj02_of_wgs84(*point)] for point in points])
    change(city, "routes.geojson", "[[121.5050, 31.2000], [121.5000, 31.2000], [121.4950, 31.2000]]", line)
    assert "if its points are GCJ-02" in only(city).problem
    assert only(city).file == "routes.geojson"
    change(city, "routes.geojson", line, json.dumps([list(point) for point in points]))
    assert check_city(city) == []
    for name, place in (("site-1", "121.5050,31.2000"), ("disposal-1", "121.4950,31.2000")):
        lon, lat = gcj02_of_wgs84(*(float(part) for part in place.split(",")))
        line_number = change(city, "nodes.csv", f",{place},", f",{lon:.6f},{lat:.6f},")
        assert any(p.line == line_number and name in p.problem and "GCJ-02" in p.problem for p in check_city(city))


def test_a_city_without_lines_still_loads(city: Path) -> None:
    """Roads, routes, permits, neighbours and outlines are optional; without roads no pole is off the street."""
    for file in ("roads.geojson", "routes.geojson", "areas.geojson", "permits.csv", "neighbours.csv"):
        (city / file).unlink()
    assert len(load_city(city).devices) == 9


def test_no_directory_is_named(tmp_path: Path) -> None:
    """A path that is no city gives one problem."""
    assert "no such city" in only(tmp_path / "nowhere").problem


def test_problems_are_bounded(city: Path) -> None:
    """Ten thousand wrong lines are counted, not kept."""
    path = city / "neighbours.csv"
    path.write_text("cell,neighbours\n" + "x\n" * 10_000, encoding="utf-8")
    problems = check_city(city)
    assert len(problems) == 501
    assert problems[-1].problem == "9500 more problems"


def test_an_unreadable_file_is_named(city: Path) -> None:
    """A file that may not be read says so (root may read everything, so the file is made a directory there)."""
    path = city / "nodes.csv"
    if os.geteuid() == 0:
        path.unlink()
        path.mkdir()
    else:
        path.chmod(0)
    assert any(p.file == "nodes.csv" and "cannot be read" in p.problem for p in check_city(city))


def test_a_line_separator_inside_a_name_is_no_line_end(city: Path) -> None:
    """Only line feeds end a row; Unicode's other separators may stand in a name."""
    change(city, "nodes.csv", "Haulage 1", "Haulage\u2028\x0b1")
    assert load_city(city).nodes[-1].name == "Haulage\u2028\x0b1"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(sorted(FILES)),
    at=st.floats(0, 1),
    cut=st.integers(0, 40),
    put=st.one_of(
        st.binary(max_size=12), st.sampled_from((b"[", b"null", b"1e999", b"9" * 400, b"NaN", b'"', b",", b"{}"))
    ),
)
def test_no_damage_raises_anything_else(tmp_path: Path, file: str, at: float, cut: int, put: bytes) -> None:
    """Whatever bytes stand in a file, checking gives a list, and loading a city or a CityFileError."""
    directory = tmp_path / "fuzzed"
    if not directory.exists():
        write_small_city(directory)
    whole = FILES[file].encode()
    start = int(at * len(whole))
    (directory / file).write_bytes(whole[:start] + put + whole[start + cut :])
    try:
        problems = check_city(directory)
        assert all(problem.problem and problem.fix and problem.line >= 1 for problem in problems)
        if problems:
            with pytest.raises(CityFileError):
                load_city(directory)
        else:
            assert load_city(directory).devices
    finally:
        (directory / file).write_bytes(whole)
