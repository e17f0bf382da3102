"""A city of a dozen things, small enough to be read whole, and the means to break it."""

from __future__ import annotations

import json
from pathlib import Path

FILES = {
    "city.toml": """format = 1
name = "Smallton"
name_zh = "小城"
name_local = "小城"
adcode = "310100"
timezone = "Asia/Shanghai"
attribution = "made for tests"
coordinates = "WGS84"
centre = [121.50, 31.20]
""",
    "areas.csv": """code,level,parent,name,name_zh
310101,district,,East,东区
310101001,street,310101,Market Street,市场街道
310101001001001,grid,310101001,Market 1,市场一
""",
    "nodes.csv": """id,class,name,name_zh,parent,lon,lat,radius_m,area
feeder-02,feeder,Feeder 2,馈线2,,,,,
cabinet-011,cabinet,Cabinet 011,配电箱011,feeder-01,121.5000,31.2001,0,310101001001001
cabinet-021,cabinet,Cabinet 021,配电箱021,feeder-02,,,0,
site-1,site,Site 1,工地1,,121.5050,31.2000,80,310101001001001
disposal-1,disposal,Disposal 1,消纳场1,,121.4950,31.2000,100,310101001001001
company-1,company,Haulage 1,运输1,,,,,
""",
    "devices.csv": """id,kind,code16,lon,lat,district,street,grid,cabinet,feeder,pole,gateway,company,plate,attributes,origin
pole-0001,pole,3101010201000001,121.5000,31.2001,310101,310101001,310101001001001,cabinet-011,feeder-01,,gw-01,,,ratedPower=60,
pole-0002,pole,3101010201000002,121.5010,31.2001,310101,310101001,310101001001001,cabinet-021,,,gw-01,,,ratedPower=60,
pole-0003,pole,3101010201000003,121.5020,31.2001,310101,310101001,310101001001001,cabinet-021,feeder-02,,gw-01,,,,
cell-0001,cell,3101010202000001,121.5000,31.2001,310101,310101001,310101001001001,,,pole-0001,gw-01,,,azimuth=30,
cell-0002,cell,3101010202000002,121.5000,31.2001,310101,310101001,310101001001001,,,pole-0001,gw-01,,,azimuth=150,
truck-001,truck,3101010203000001,121.5050,31.2000,310101,,,,,,,company-1,CW-0001,tareWeight=14500;axles=4,
feeder-01,feeder,3101010204000001,121.5000,31.2001,310101,310101001,,,,,gw-01,,,,
gw-01,gateway,3101010205000001,121.5000,31.2001,310101,310101001,,,,,,,,,
station-1,pole,3101010201000004,121.4900,31.2100,310101,,,,,,,,,,recorded
""",  # noqa: E501
    "permits.csv": """id,company,trucks,site,disposal,route,start_hour,end_hour,valid_from,valid_to
permit-1,company-1,truck-001,site-1,disposal-1,route-1,20,6,2026-01-01,2026-12-31
""",
    "neighbours.csv": "cell,neighbours\ncell-0001,cell-0002\ncell-0002,cell-0001\n",
    "departments.toml": """[[calendar]]
id = "office"
days = ["mon", "tue", "wed", "thu", "fri"]
hours = [[8.5, 12], [13, 17.5]]
holidays = ["2026-10-01"]

[[department]]
id = "lighting"
name = "Street lighting"
name_zh = "路灯管理所"
types = ["lamp_out", "day_burner"]
areas = ["310101"]
calendar = "office"
  [[department.on_call]]
  days = ["sat", "sun"]
  hours = [20, 6]
  address = "https://example.org/night"
""",
    "areas.geojson": """{"type": "FeatureCollection", "features": [
{"type": "Feature", "properties": {"code": "310101"}, "geometry": {"type": "Polygon",
 "coordinates": [[[121.48, 31.19], [121.52, 31.19], [121.52, 31.22], [121.48, 31.22], [121.48, 31.19]]]}}
]}
""",
    "routes.geojson": """{"type": "FeatureCollection", "features": [
{"type": "Feature", "properties": {"id": "route-1"}, "geometry": {"type": "LineString",
 "coordinates": [[121.5050, 31.2000], [121.5000, 31.2000], [121.4950, 31.2000]]}}
]}
""",
    "roads.geojson": """{"type": "FeatureCollection", "features": [
{"type": "Feature", "properties": {"name": "Market Road", "maxspeed": 40}, "geometry": {"type": "LineString",
 "coordinates": [[121.4900, 31.2000], [121.5100, 31.2000]]}}
]}
""",
}


def write_small_city(directory: Path) -> Path:
    """Write the small city and return its directory."""
    directory.mkdir(parents=True)
    for name, text in FILES.items():
        (directory / name).write_text(text, encoding="utf-8")
    return directory


def change(directory: Path, file: str, old: str, new: str) -> int:
    """Replace the first `old` in a file by `new`; return the line on which it stood. Raises if it is not there."""
    path = directory / file
    text = path.read_text(encoding="utf-8")
    at = text.index(old)
    path.write_text(text[:at] + new + text[at + len(old) :], encoding="utf-8")
    return text.count("\n", 0, at) + 1


def drop_feature(directory: Path, file: str) -> None:
    """Leave a GeoJSON file without features."""
    (directory / file).write_text(json.dumps({"type": "FeatureCollection", "features": []}), encoding="utf-8")
