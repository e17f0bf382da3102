"""The city of then: a year of changes by API, command and file, each asked for afterwards; an old history opened."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from devices.cities.change import Change, difference
from devices.cities.load import load_city
from tests.broker import TestBroker
from tests.devices.small_city import change, write_small_city
from tests.twin.app.serving import Serving, serving, settings_in
from tests.twin.app.test_city_changes import ended, reading
from tests.twin.ingest.conftest import Publisher, until
from tests.twin.tick.town import NIGHT_MS
from twin.__main__ import app
from twin.app.history import SCHEMA, History
from twin.errors import JournalBroken
from twin.settings import CitySettings
from twin.tick import CityEdit, Moved

OLD = Path(__file__).parents[2] / "golden" / "history" / "schema1.db"


class Asked:
    """One running server, asked by its API."""

    def __init__(self, server: Serving) -> None:
        note = server.note()
        assert note is not None
        self.url = note["url"]
        self.head = {"Authorization": f"Bearer {note['token']}"}
        self.config = str(server.config)

    def call(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = httpx.request(method, self.url + path, headers=self.head, timeout=30, trust_env=False, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def now_ms(self) -> int:
        return int(self.call("GET", "/api/city")["clock"]["city_ms"])

    def value(self, table: str, name: str, at: int | None = None) -> dict[str, Any]:
        told = self.call("GET", f"/api/registry/{table}/{name}", params={} if at is None else {"at": str(at)})
        return dict(told["value"])

    def command(self, *arguments: str) -> str:
        told = CliRunner().invoke(app, ["city", "object", *arguments, "-c", self.config], env={"COLUMNS": "300"})
        assert told.exit_code == 0, told.output
        return told.output


def test_every_change_is_answered_with_the_city_of_then(tmp_path: Path, broker: TestBroker) -> None:
    """A feeder renamed and a pole moved by API, a permit's hours by command, a pole's cabinet by a CSV file, a road's
    limit by GeoJSON, a stranger adopted, hardware replaced under its own and under another id, a truck retired: each
    before and after its time, with who and why; a retired device's readings are still drawn; after kill -9 the same;
    the journal replayed from nothing gives the same cases."""
    city = write_small_city(tmp_path / "town")
    settings = replace(settings_in(tmp_path, broker.host, broker.port), city=CitySettings(dir=str(city)))
    then: list[tuple[int, str, str, str, Any, Any]] = []  # (time, table, id, field, before, after)
    with serving(tmp_path, settings) as server:
        until(lambda: server.health()["link"] == "drained", "the link is drained", 40)
        ask = Asked(server)
        began = ask.now_ms()

        def patch(table: str, name: str, /, **fields: Any) -> None:
            before = ask.value(table, name)
            done = ask.call("PATCH", f"/api/registry/{table}/{name}", json={"reason": "survey", "value": fields})
            then.extend((done["at_ms"], table, name, f, before[f], value) for f, value in fields.items())

        patch("nodes", "feeder-02", name="Harbour feeder")
        patch("devices", "pole-0001", lon=121.5002)
        patch("city", "city", name="Smallton-on-Sea")
        ask.command("set", "permits", "permit-1", "start_hour=22", "end_hour=5", "-r", "new hours")
        at = ask.call("GET", "/api/registry/versions?after=4")[0]["at_ms"]
        then += [
            (at, "permits", "permit-1", "start_hour", 20.0, 22.0),
            (at, "permits", "permit-1", "end_hour", 6.0, 5.0),
        ]
        sheet = tmp_path / "poles.csv"
        sheet.write_text("id,cabinet,feeder\npole-0002,cabinet-011,feeder-01\n", encoding="utf-8")
        ask.command("import", "devices", str(sheet), "-r", "rewired")
        at = ask.call("GET", "/api/registry/versions?after=5")[0]["at_ms"]
        then.append((at, "devices", "pole-0002", "cabinet", "cabinet-021", "cabinet-011"))
        road = ask.call("GET", "/api/registry/roads?q=market")[0]
        line = {"type": "LineString", "coordinates": road["line"]}
        feature = {"type": "Feature", "properties": {"maxspeed": 30}, "geometry": line}
        sheet = tmp_path / "roads.geojson"
        sheet.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
        ask.command("import", "roads", str(sheet), "-r", "school ahead")
        at = ask.call("GET", "/api/registry/versions?after=6")[0]["at_ms"]
        then.append((at, "roads", road["id"], "maxspeed", 40.0, 30.0))
        assert ask.value("roads", road["id"])["name"] == "Market Road"

        pole = Publisher(broker)
        for seq in (1, 2, 3):
            pole.say("city/310101/pole/pole-0003/telemetry", reading(1, seq))
        until(lambda: server.ask("/api/accounting").json()["total"]["stored"] == 3, "three readings are stored")
        moved = ask.call("POST", "/api/registry/devices/pole-0003/replace",
                         json={"reason": "struck by a truck", "by": "pole-0033", "model": "carry"})  # fmt: skip
        ask.call("GET", "/api/registry/devices/pole-0003", 404)
        old = ask.call("GET", f"/api/registry/devices/pole-0003?at={moved['at_ms'] - 1}")
        code = old["value"]["code16"]
        assert ask.value("devices", "pole-0033")["code16"] == code
        drawn = ask.call("GET", "/api/devices/pole-0003/series?quantity=voltage")
        assert set(drawn["observed"]) == {231.0}
        ask.command("adopt", "pole-0044", "kind=pole", "district=310101", "street=310101001", "lon=121.5005",
                    "lat=31.2001", "cabinet=cabinet-011", "-r", "was never told")  # fmt: skip
        fresh = ask.value("devices", "pole-0044")["code16"]
        gone = ask.call("DELETE", "/api/registry/devices/pole-0044", params={"reason": "was a test"})
        ask.command("adopt", "pole-0045", "kind=pole", "district=310101", "street=310101001", "lon=121.5005",
                    "lat=31.2001", "cabinet=cabinet-011", "-r", "once more")  # fmt: skip
        assert ask.value("devices", "pole-0045")["code16"] == f"{int(fresh) + 1:016d}", "a code is given once"
        assert ask.value("devices", "pole-0044", gone["at_ms"] - 1)["code16"] == fresh
        retired = ask.call("DELETE", "/api/registry/devices/truck-001", params={"reason": "scrapped"})
        assert ask.value("permits", "permit-1")["trucks"] == []
        assert ask.value("permits", "permit-1", retired["at_ms"] - 1)["trucks"] == ["truck-001"]

        def answered() -> None:
            for at_ms, table, name, field, before, after in then:
                assert ask.value(table, name, at_ms - 1)[field] == before, (table, name, field)
                assert ask.value(table, name, at_ms)[field] == after, (table, name, field)
            ask.call("GET", f"/api/registry/devices/pole-0033?at={began}", 404)
            assert ask.value("devices", "pole-0003", began)["code16"] == code

        answered()
        versions = ask.call("GET", "/api/registry/versions")
        assert [v["version"] for v in versions] == list(range(2, len(versions) + 2))
        assert {v["reason"] for v in versions} >= {"survey", "new hours", "rewired", "school ahead", "scrapped"}
        assert all(v["actor"] == "script" for v in versions)
        assert "Harbour feeder" in ask.command("history", "nodes", "feeder-02")
        server.process.kill()
        server.process.wait()
    with serving(tmp_path, settings) as server:
        ask = Asked(server)
        answered()
        assert ask.call("GET", "/api/city")["name"] == "Smallton-on-Sea"
        for body, word in (
            ({"timezone": "Europe/Paris"}, "timezone"),
            ({"adcode": "310200"}, "adcode"),
            ({"name": ""}, "name"),
            ({"centre": [500, 0]}, "centre"),
        ):
            told = ask.call("PATCH", "/api/registry/city/city", 422, json={"reason": "x", "value": body})
            assert word in told["errors"][0]["field"], told
        ask.call("DELETE", "/api/registry/city/city", 422, params={"reason": "x"})
        ask.call(
            "PUT", "/api/registry/roads/road-1", 422, json={"reason": "x", "value": {"maxspeed": 3, "line": [[1, 2]]}}
        )
        pole.close()
        assert ended(server) == 0
    told = CliRunner().invoke(app, ["journal", "check", "-c", str(tmp_path / "citywhistle.toml"), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.output)["chain_equal"]


def test_what_the_files_say_of_city_and_roads_is_a_version(tmp_path: Path) -> None:
    """Name, time zone, roads and base map changed in the files between two starts are answered as they were before,
    too, the base map's file among them."""
    city = write_small_city(tmp_path / "town")

    def draw(word: str) -> bytes:
        drawn = gzip.compress(json.dumps({"type": "FeatureCollection", "features": [], "name": word}).encode())
        (city / "basemap.geojson.gz").write_bytes(drawn)
        return drawn

    draw("old")
    settings = replace(settings_in(tmp_path), city=CitySettings(dir=str(city)))
    with serving(tmp_path, settings) as server:
        before = Asked(server).now_ms()
        assert ended(server) == 0
    change(city, "city.toml", 'timezone = "Asia/Shanghai"', 'timezone = "Asia/Tokyo"')
    change(city, "city.toml", 'name = "Smallton"', 'name = "Bigton"')
    change(city, "roads.geojson", '"maxspeed": 40', '"maxspeed": 50')
    draw("new")
    for _ in range(2):
        with serving(tmp_path, settings) as server:
            ask = Asked(server)
            versions = ask.call("GET", "/api/registry/versions")
            assert [(v["version"], v["actor"]) for v in versions] == [(2, "files")]
            assert {c["table"] for c in versions[0]["changes"]} == {"city", "roads"}
            now, then = ask.value("city", "city"), ask.value("city", "city", before)
            assert (now["name"], now["timezone"]) == ("Bigton", "Asia/Tokyo")
            assert (then["name"], then["timezone"]) == ("Smallton", "Asia/Shanghai")
            road = ask.call("GET", "/api/registry/roads")[0]["id"]
            assert ask.value("roads", road)["maxspeed"] == 50
            assert ask.value("roads", road, before)["maxspeed"] == 40
            assert ask.call("GET", "/api/basemap")["name"] == "new"
            assert ask.call("GET", f"/api/basemap?at={before}")["name"] == "old"
            assert ended(server) == 0
    told = CliRunner().invoke(app, ["journal", "check", "-c", str(tmp_path / "citywhistle.toml"), "--json"])
    assert told.exit_code == 0, told.output


def test_an_old_history_is_copied_and_migrated(tmp_path: Path) -> None:
    """A history that the first schema wrote opens: its versions answer, roads and head are those of today's files, as
    it answered before; a copy of it stays; a newer one than ours is refused."""
    path = tmp_path / "city.db"
    shutil.copyfile(OLD, path)
    files = load_city(write_small_city(tmp_path / "town"))
    history = History(path, files, NIGHT_MS)
    with closing(sqlite3.connect(path)) as link:
        assert dict(link.execute("SELECT key, value FROM meta"))["schema"] == str(SCHEMA)
    with closing(sqlite3.connect(tmp_path / "city.db.schema1.backup")) as link:
        assert dict(link.execute("SELECT key, value FROM meta"))["schema"] == "1"
    assert history.newest() == 2
    assert difference(files, history.files_at(1)) == []
    moved = history.files_at(2)
    assert [c.id for c in difference(files, moved)] == ["pole-0001"]
    assert moved.roads == files.roads
    assert history.source() is None
    history.record(
        [Moved(3, 99, NIGHT_MS + 9, CityEdit("r", "li", "x", (Change("permits", "permit-1", None),)), (None,))]
    )
    history.close()
    history = History(path, files, NIGHT_MS)
    assert history.files_at(3).permits == ()
    history.close()
    with closing(sqlite3.connect(path)) as link:
        link.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        link.commit()
    with pytest.raises(JournalBroken, match="run the newer"):
        History(path, files, NIGHT_MS)
