"""The register over HTTP: objects now and then, changes that are judged, imports, replacements, strangers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest

from devices.cities.forms import road_id
from tests.dashboards.fake_desk import FakeDesk
from tests.twin.tick.town import NIGHT_MS
from twin.records import Batch, Reject

POLE = {"kind": "pole", "lon": 0.002, "lat": 0.0, "district": "010101", "street": "010101-1", "cabinet": "cab-11"}


async def call(script: httpx.AsyncClient, method: str, path: str, status: int = 200, **more: Any) -> Any:
    answer = await script.request(method, path, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_objects_are_listed_shown_and_related(script: httpx.AsyncClient) -> None:
    """Tables, one object with URN and both directions of its relations; what is not there is 404."""
    rows = await call(script, "GET", "/api/registry/devices?limit=2&q=POLE")
    assert [row["id"] for row in rows] == ["pole-0", "pole-1"]
    told = await call(script, "GET", "/api/registry/devices/pole-0")
    assert told["urn"].startswith("urn:citywhistle:010101")
    assert {"relation": "feeder", "table": "nodes", "id": "feeder-1"} in told["up"]
    assert {"relation": "pole", "table": "devices", "id": "cell-0"} in told["down"]
    for table in ("areas", "nodes", "permits", "departments", "calendars", "neighbours", "routes"):
        rows = await call(script, "GET", f"/api/registry/{table}")
        key = {"areas": "code", "neighbours": "cell"}.get(table, "id")
        for row in rows:
            assert (await call(script, "GET", f"/api/registry/{table}/{row[key]}"))["value"] == row
    await call(script, "GET", "/api/registry/devices/nobody", 404)
    await call(script, "GET", "/api/registry/devices/nobody/history", 404)
    await call(script, "GET", "/api/registry/lamps", 422)
    await call(script, "GET", "/api/registry/devices?at=yesterday", 422)


async def test_a_change_has_a_time_and_the_past_is_answered_with_the_past(
    script: httpx.AsyncClient, desk: FakeDesk
) -> None:
    """PUT, PATCH and DELETE make versions; `at` gives the city of then; history says who, when, why, and before."""
    done = await call(script, "PUT", "/api/registry/devices/pole-x", json={"reason": "new lamp", "value": POLE})
    assert (done["version"], len(done["changes"])) == (2, 1)
    assert done["notes"] == ["23 devices provided for"]
    assert done["changes"][0]["value"]["code16"] == "0101010201000014"
    body = {"reason": "moved", "value": {"cabinet": "cab-12"}, "version": 2}
    moved = await call(script, "PATCH", "/api/registry/devices/pole-x", json=body)
    gone = await call(script, "DELETE", "/api/registry/devices/pole-x?reason=felled")
    await call(script, "GET", "/api/registry/devices/pole-x", 404)
    then = await call(script, "GET", f"/api/registry/devices/pole-x?at={moved['at_ms']}")
    assert (then["value"]["cabinet"], then["version"]) == ("cab-12", 3)
    before = await call(script, "GET", f"/api/registry/devices/pole-x?at={moved['at_ms'] - 1}")
    assert (before["value"]["cabinet"], before["version"]) == ("cab-11", 2)
    await call(script, "GET", f"/api/registry/devices/pole-x?at={NIGHT_MS - 1}", 404)
    past = await call(script, "GET", "/api/registry/devices/pole-x/history")
    assert [(v["version"], v["actor"], v["reason"]) for v in past] == [
        (4, "script", "felled"), (3, "script", "moved"), (2, "script", "new lamp")]  # fmt: skip
    assert past[1]["changes"][0]["before"]["cabinet"] == "cab-11"
    assert [v["version"] for v in await call(script, "GET", "/api/registry/versions?after=2")] == [3, 4]
    assert desk.register.city.version == gone["version"] == 4


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        ({**POLE, "cabinet": "cab-99"}, "cabinet", "cabinet 'cab-99' does not exist"),
        ({**POLE, "lat": "x"}, "lat", "is no number"),
        ({**POLE, "colour": "red"}, "colour", "unknown field"),
        ({**POLE, "district": "999999"}, "district", "district '999999' does not exist"),
        ({**POLE, "lon": 60.0, "lat": 24.0}, "lon", "km from the city's centre"),
        ({**POLE, "code16": "0101010000000002"}, "code16", "code16"),
        ({"kind": "lamp", "lon": 0.0, "lat": 0.0, "district": "010101"}, "code16", "code16 is missing"),
        ({"kind": "truck", "lon": 0.0, "lat": 0.0, "district": "010101"}, "company", "a truck of no company"),
        ({**POLE, "attributes": {"ratedPower": "much"}}, "attributes", "is no number"),
    ],
)
async def test_what_does_not_fit_is_refused_by_object_field_and_fix(
    script: httpx.AsyncClient, desk: FakeDesk, value: dict[str, Any], field: str, words: str
) -> None:
    """The checks of `city check` speak of one object; nothing is changed."""
    body = {"reason": "try", "value": value}
    told = await call(script, "PUT", "/api/registry/devices/new-1", 422, json=body)
    mine = [one for one in told["errors"] if one["field"] == field]
    assert mine, told
    assert words in mine[0]["problem"]
    assert mine[0]["fix"]
    assert (mine[0]["table"], mine[0]["id"]) == ("devices", "new-1")
    assert desk.register.city.version == 1


async def test_what_hangs_on_a_thing_keeps_it(script: httpx.AsyncClient) -> None:
    """A pole that carries a cell is not retired before the cell; together they go, and neighbours forget the cell."""
    told = await call(script, "DELETE", "/api/registry/devices/pole-0?reason=x", 422)
    assert any("cell-0" in one["id"] for one in told["errors"])
    both = [{"table": "devices", "id": name, "value": None} for name in ("pole-0", "cell-0")]
    dry = await call(script, "POST", "/api/registry/changes",
                     json={"reason": "x", "changes": both, "dry_run": True})  # fmt: skip
    assert dry["version"] == 0
    done = await call(script, "POST", "/api/registry/changes", json={"reason": "x", "changes": both})
    assert done["version"] == 2
    assert done["changes"] == dry["changes"]
    lists = await call(script, "GET", "/api/registry/neighbours")
    assert all("cell-0" not in [row["cell"], *row["neighbours"]] for row in lists)


async def test_a_repeated_call_is_one_change_and_an_old_version_is_refused(script: httpx.AsyncClient) -> None:
    """Idempotency-Key; `version` of a city that has moved on is 409; a change needs a reason."""
    body = {"reason": "new", "value": POLE}
    key = {"Idempotency-Key": "request-0001"}
    first = await call(script, "PUT", "/api/registry/devices/pole-x", json=body, headers=key)
    again = await call(script, "PUT", "/api/registry/devices/pole-x", json=body, headers=key)
    assert first["version"] == again["version"] == 2
    stale = {"reason": "late", "value": {"lon": 0.0021}, "version": 1}
    assert (await call(script, "PATCH", "/api/registry/devices/pole-x", 409, json=stale))["error"] == "moved"
    await call(script, "PUT", "/api/registry/devices/pole-y", 422, json={"value": POLE})
    await call(script, "PUT", "/api/registry/devices/pole-y", 422, json={"reason": " ", "value": POLE})


async def test_a_table_is_brought_in_line_with_a_file(script: httpx.AsyncClient) -> None:
    """CSV and GeoJSON change only what differs; a dry run does nothing; wrong cells are named by line or object."""
    path = "/api/registry/import?table=devices&reason=survey"
    text = "id,kind,lon,lat,district,street,cabinet\npole-0,pole,0.0,0.0,010101,010101-1,cab-11\n"
    text += "pole-1,pole,0.00031,0.0,010101,010101-1,cab-21\nnew-1,pole,0.004,0.0,010101,010101-1,cab-12\n"
    dry = await call(script, "POST", path + "&dry_run=true", content=text)
    assert [change["id"] for change in dry["changes"]] == ["pole-1", "new-1"]
    done = await call(script, "POST", path, content=text)
    assert done["version"] == 2
    nothing = await call(script, "POST", path, 422, content=text)
    assert "no change" in nothing["detail"]
    shapes = {"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"id": "new-1"}, "geometry": {"type": "Point", "coordinates": [0.005, 0.0]}}
    ]}  # fmt: skip
    moved = await call(script, "POST", path, content=json.dumps(shapes))
    assert moved["changes"][0]["value"]["lon"] == 0.005
    for bad, words in (
        ("id,lon\npole-0,x\n", "lon 'x' is no number"),
        ("id,lon\npole-0\n", "1 cells where the heading has 2"),
        ("lon\n1\n", "no id"),
        ("id\npole-0\npole-0\n", "names it again"),
        ("", "no heading"),
        ("{}", "not a GeoJSON"),
        ('id\n"pole', "not CSV"),
        ("id,nonsense\npole-0,1\n", "unknown field 'nonsense'"),
    ):
        told = await call(script, "POST", path, 422, content=bad)
        assert words in told["detail"], told
    await call(script, "POST", path, 422, content=b"\xff\xfe\x00")
    gone = await call(script, "POST", path + "&drop_missing=true&dry_run=true",
                      content="id,kind\ntruck-0,truck\n")  # fmt: skip
    assert [(change["id"], change["value"]) for change in gone["changes"]] == [("truck-1", None)]


async def test_strangers_are_listed_and_adopted_a_thousand_at_once(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Who knocks is listed once each; adoption gives rows, codes and users, together or not at all."""
    knocks = [
        Reject(NIGHT_MS + i, f"city/010101/pole/wild-{i:04d}/telemetry", "unknown_device", "", b'{"voltage":1}')
        for i in range(1000)
    ]
    junk = [Reject(1, topic, "unknown_device", "", b"") for topic in ("x", "city/a/b/\x00/telemetry", "")]
    desk.register.knocking.note(Batch(samples=(*knocks, *knocks[:3], *junk)))
    told = await call(script, "GET", "/api/registry/strangers")
    assert len(told) == 1000
    assert (told[0]["device"], told[0]["messages"], told[0]["kind"]) == ("wild-0002", 2, "pole")
    wanted = [{"device": one["device"], "value": {"gateway": "gw-1", "cabinet": "cab-11"}} for one in told]
    lost = {"reason": "x", "devices": [{"device": "wild-0000"}]}
    assert "nobody knows where" in (await call(script, "POST", "/api/registry/adopt", 422, json=lost))["detail"]
    done = await call(script, "POST", "/api/registry/adopt", json={"reason": "new street", "devices": wanted})
    assert len(done["changes"]) == 1000
    assert len({change["value"]["code16"] for change in done["changes"]}) == 1000
    city = desk.register.city
    assert city.registry.lookup("pole", "wild-0999", "010101") is not None
    assert city.roster("pole").alive.sum() == 1012
    assert await call(script, "GET", "/api/registry/strangers") == []


async def test_hardware_is_replaced_and_what_hung_on_it_moves(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Under its id nothing else changes; by another device, cells, neighbours and permits follow."""
    body = {"reason": "burnt out", "model": "reset", "value": {"attributes": {"ratedPower": 80}}}
    done = await call(script, "POST", "/api/registry/devices/pole-2/replace", json=body)
    assert [(c["id"], c["replaces"], c["model"]) for c in done["changes"]] == [("pole-2", "pole-2", "reset")]
    done = await call(script, "POST", "/api/registry/devices/pole-0/replace", json={"reason": "new", "by": "pole-0b"})
    assert desk.register.city.describe("pole-0") is None
    assert desk.register.city.describe("cell-0").pole == "pole-0b"
    await call(script, "POST", "/api/registry/devices/cell-1/replace", json={"reason": "new", "by": "cell-1b"})
    await call(script, "POST", "/api/registry/devices/truck-0/replace",
               json={"reason": "new", "by": "truck-0b"})  # fmt: skip
    files = desk.register.files
    assert files.permits[0].trucks == ("truck-0b",)
    assert "cell-1b" in files.neighbours
    assert all("cell-1" not in others for others in files.neighbours.values())
    past = await call(script, "GET", "/api/registry/devices/pole-0/history")
    assert {change["id"] for change in past[0]["changes"]} == {"pole-0", "pole-0b"}
    await call(script, "POST", "/api/registry/devices/nobody/replace", 422, json={"reason": "x"})
    await call(script, "POST", "/api/registry/devices/pole-2/replace", 422, json={"reason": "x", "model": "keep"})


async def test_the_register_is_behind_the_gate(stranger: httpx.AsyncClient) -> None:
    """Nobody without a session or key reads or changes it."""
    for method, path in (("GET", "/api/registry/devices"), ("DELETE", "/api/registry/devices/pole-0?reason=x")):
        assert (await stranger.request(method, path)).status_code == 401


async def test_the_city_itself_and_its_roads_have_a_past(script: httpx.AsyncClient) -> None:
    """A road added, given another limit by GeoJSON, dropped; the city renamed: each is answered as it was; what only
    the files may change, a second city and a road under another's id are refused by field."""
    line = [[0.0, 0.0], [0.01, 0.0]]
    wrong = await call(script, "PUT", "/api/registry/roads/road-1", 422,
                       json={"reason": "new", "value": {"name": "Long", "maxspeed": 50, "line": line}})  # fmt: skip
    road = wrong["errors"][0]["fix"].split(": ")[1]
    body = {"reason": "new", "value": {"name": "Long", "maxspeed": 50, "line": line}}
    added = await call(script, "PUT", f"/api/registry/roads/{road}", json=body)
    feature = {
        "type": "Feature",
        "properties": {"maxspeed": 30},
        "geometry": {"type": "LineString", "coordinates": line},
    }
    sheet = json.dumps({"type": "FeatureCollection", "features": [feature]})
    slower = await call(script, "POST", "/api/registry/import?table=roads&reason=school", content=sheet)
    assert [(c["id"], c["value"]["name"], c["value"]["maxspeed"]) for c in slower["changes"]] == [(road, "Long", 30)]
    gone = await call(script, "DELETE", f"/api/registry/roads/{road}?reason=closed")
    for at, limit in ((added["at_ms"], 50), (slower["at_ms"], 30), (gone["at_ms"] - 1, 30)):
        assert (await call(script, "GET", f"/api/registry/roads/{road}?at={at}"))["value"]["maxspeed"] == limit
    await call(script, "GET", f"/api/registry/roads/{road}?at={added['at_ms'] - 1}", 404)
    await call(script, "GET", f"/api/registry/roads/{road}", 404)
    named = await call(script, "PATCH", "/api/registry/city/city", json={"reason": "merged", "value": {"name": "Both"}})
    assert (await call(script, "GET", "/api/registry/city/city"))["value"]["name"] == "Both"
    then = await call(script, "GET", f"/api/registry/city/city?at={named['at_ms'] - 1}")
    assert then["value"]["name"] == "Town"
    past = await call(script, "GET", "/api/registry/city/city/history")
    assert [(v["reason"], v["changes"][0]["before"]["name"]) for v in past] == [("merged", "Town")]
    for value, field in (
        ({"timezone": "Asia/Tokyo"}, "timezone"),
        ({"adcode": "310000"}, "adcode"),
        ({"name": ""}, "name"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"centre": [1]}, "centre"),
    ):
        refused = await call(script, "PATCH", "/api/registry/city/city", 422, json={"reason": "x", "value": value})
        assert refused["errors"][0]["field"] == field, refused
    await call(script, "DELETE", "/api/registry/city/city?reason=x", 422)


async def test_a_retired_devices_code_is_not_given_again(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Its successor in time gets the next one; the past still answers the old one by its own."""
    codes = []
    for name in ("pole-y", "pole-z"):
        await call(script, "PUT", f"/api/registry/devices/{name}", json={"reason": "new", "value": POLE})
        codes.append((await call(script, "GET", f"/api/registry/devices/{name}"))["value"]["code16"])
        await call(script, "DELETE", f"/api/registry/devices/{name}?reason=felled")
    assert int(codes[1]) == int(codes[0]) + 1
    assert desk.register.last("pole-y").code16 == codes[0]
    assert desk.register.last("nobody") is None


async def test_roads_that_change_are_driven_by_the_new_limit(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The detector of speeding asks the roads of the city as it is."""
    speeding = desk.register.world.detectors["speeding"]
    assert not np.isfinite(speeding.roads.lowest)
    line = ((0.0, 0.0), (0.01, 0.0))
    value = {"name": "Long", "maxspeed": 30, "line": line}
    await call(script, "PUT", f"/api/registry/roads/{road_id(line)}", json={"reason": "new", "value": value})
    assert speeding.roads.lowest == 30
