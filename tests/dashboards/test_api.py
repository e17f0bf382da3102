"""The API's words: what each path answers and how it refuses."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import httpx
import pytest

from tests.dashboards.fake_desk import FakeDesk

READS = (
    "/api/city", "/api/devices", "/api/devices/pole-0001", "/api/devices/pole-0001/series?quantity=voltage",
    "/api/cases", "/api/cases/c00001", "/api/cases/c00002/children", "/api/cases/c00001/history",
    "/api/cases/c00001/deliveries", "/api/accounting", "/api/rejects", "/api/health", "/api/openapi.json", "/metrics",
    "/healthz", "/readyz",
)  # fmt: skip


@pytest.mark.parametrize("path", READS)
async def test_read(script: httpx.AsyncClient, path: str) -> None:
    """Every read answers 200 to a script."""
    response = await script.get(path)
    assert response.status_code == 200, response.text


async def test_city_names_kinds_but_no_paths(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The city tells its kinds with both languages, and never a path of the server's disk."""
    desk.basemap = "/etc/passwd-not-there"
    told = (await script.get("/api/city")).json()
    assert told["kinds"]["truck"]["zh"] == "渣土车"
    assert told["basemap"] is False
    assert "/etc" not in str(told)


async def test_devices_as_json_and_as_columns_agree(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The binary columns hold the very devices of the JSON list, in its order, to a centimetre."""
    listed = (await script.get("/api/devices")).json()
    binary = (await script.get("/api/devices", headers={"Accept": "application/octet-stream"})).content
    (size,) = struct.unpack_from("<I", binary)
    import json

    head = json.loads(binary[4 : 4 + size])
    n = head["n"]
    assert n == len(listed) == len(desk.rows)
    lon = struct.unpack_from(f"<{n}f", binary, 4 + size)
    kinds = binary[4 + size + 8 * n :][:n]
    states = binary[4 + size + 9 * n :][:n]
    ids = binary[4 + size + 11 * n :].decode().split("\n")
    for i, row in enumerate(listed):
        assert ids[i] == row["id"]
        assert head["kinds"][kinds[i]] == row["kind"]
        assert head["states"][states[i]] == row["state"]
        assert abs(head["centre"][0] + lon[i] - row["lon"]) < 1e-7


async def test_nan_is_null(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """What is not known leaves as null, not as a word that JSON lacks."""
    desk.book["c00001"] = replace(desk.book["c00001"], lon=math.nan)
    assert (await script.get("/api/cases/c00001")).json()["lon"] is None


async def test_a_repeat_offender_is_linked(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """A case names those of the same type on the same subject before it, each by id, state and time."""
    first, again = desk.whistle(0, "pole-0003"), desk.whistle(0, "pole-0003")
    (earlier,) = (await script.get(f"/api/cases/{again.id}")).json()["earlier"]
    assert (earlier["id"], earlier["subject"], earlier["state"]) == (first.id, "pole-0003", "dispatched")
    assert (await script.get(f"/api/cases/{first.id}")).json()["earlier"] == []


async def test_policy_is_replaced_and_a_wrong_one_is_named(script: httpx.AsyncClient) -> None:
    """The table is taken whole; a wrong one is 422 and names section, key and fix."""
    assert (await script.put("/api/policy", json={"type": {"tilt": {"deadline_s": 60}}})).status_code == 200
    refused = await script.put("/api/policy", json={"type": {"tilt": {"deadline_s": "soon"}}})
    assert refused.status_code == 422
    assert "[type.tilt]: deadline_s" in refused.text
    assert (await script.get("/api/policy")).json()["overrides"] == {"type": {"tilt": {"deadline_s": 60}}}


async def test_queue_is_newest_first_and_paged(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The queue leaves children out, and `after` goes on where a page ended."""
    assert [case["id"] for case in (await script.get("/api/cases")).json()] == ["c00002", "c00001"]
    rest = (await script.get("/api/cases", params={"after": "c00002", "limit": 5})).json()
    assert [case["id"] for case in rest] == ["c00001"]
    assert len((await script.get("/api/cases/c00002/children")).json()) == 3


async def test_accept_and_close(operator: httpx.AsyncClient, desk: FakeDesk) -> None:
    """A case is accepted, then closed for a reason, and history names the operator."""
    accepted = await operator.post("/api/cases/c00001/accept", json={})
    assert (accepted.status_code, accepted.json()["state"]) == (200, "accepted")
    closed = await operator.post("/api/cases/c00001/close", json={"reason": "replaced the lamp"})
    assert closed.json()["state"] == "closed"
    last = (await operator.get("/api/cases/c00001/history")).json()[-1]
    assert (last["actor"], last["reason"]) == ("guest", "replaced the lamp")


async def test_idempotency_key_makes_one_action(operator: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The same key twice is one step; without it the second step is illegal."""
    headers = {"Idempotency-Key": "key-0000-1"}
    for _ in range(2):
        assert (await operator.post("/api/cases/c00001/accept", json={}, headers=headers)).status_code == 200
    assert [step.event for step in desk.history("c00001")].count("accept") == 1
    again = await operator.post("/api/cases/c00001/accept", json={})
    assert (again.status_code, again.json()["error"]) == (409, "illegal_step")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/nothing", None, 404),
        ("GET", "/api/devices/nobody", None, 404),
        ("GET", "/api/devices/nobody/series?quantity=voltage", None, 404),
        ("GET", "/api/devices/pole-0001/series?quantity=colour", None, 404),
        ("GET", "/api/devices/pole-0001/series", None, 422),
        ("GET", "/api/devices/pole-0001/series?quantity=voltage&start_ms=5&end_ms=1", None, 422),
        ("GET", "/api/devices/pole-0001/series?quantity=voltage&start_ms=0&end_ms=9000000000000", None, 422),
        ("GET", "/api/devices/pole-0001/series?quantity=voltage&points=1000000", None, 422),
        ("GET", "/api/cases?limit=100000", None, 422),
        ("GET", "/api/cases/c99999", None, 404),
        ("GET", "/api/cases/c99999/history", None, 404),
        ("POST", "/api/cases/c99999/accept", {}, 404),
        ("POST", "/api/cases/c00001/close", {}, 422),
        ("POST", "/api/cases/c00001/close", {"reason": ""}, 422),
        ("POST", "/api/cases/c00001/close", {"reason": "x" * 501}, 422),
        ("POST", "/api/cases/c00001/close", {"reason": "bell \x07"}, 422),
        ("DELETE", "/api/cases/c00001", None, 405),
        ("GET", "/api/basemap", None, 404),
    ],
)
async def test_refusal(script: httpx.AsyncClient, method: str, path: str, body: object, status: int) -> None:
    """Every refusal has its status and says what was wrong and what to do."""
    response = await script.request(method, path, json=body)
    assert response.status_code == status, response.text
    told = response.json()
    assert set(told) == {"error", "detail", "fix"}
    assert all(told.values())


async def test_series_default_is_the_last_day(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Without a range the chart gets the last 24 hours of the city's clock."""
    told = (await script.get("/api/devices/pole-0001/series?quantity=voltage&points=100")).json()
    assert told["t_ms"][0] == desk.now_ms() - 86_400_000
    assert len(told["observed"]) == len(told["expected"]) == len(told["t_ms"]) <= 101


async def test_health_says_troubles(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """A store that is down is a sentence in both languages; readiness follows the desk."""
    desk.health_told["store"] = {"name": "influxdb", "up": False, "behind": 7}
    desk.health_told["ready"] = False
    (trouble,) = (await script.get("/api/health")).json()["troubles"]
    assert "influxdb" in trouble["en"]
    assert "influxdb" in trouble["zh"]
    assert (await script.get("/readyz")).status_code == 503


async def test_ingest_lines(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Good lines go down the ingest path; a bad one is named by its number and loses nothing else."""
    body = (
        '{"topic": "city/d1/pole/p-1/telemetry", "payload": {"t": 1, "voltage": 230}}\n'
        "not json\n"
        '{"topic": 5, "payload": {}}\n'
        '{"topic": "city/d1/pole/p-2/telemetry", "payload": "{\\"t\\": 2}"}\n'
    )
    response = await script.post("/api/ingest", content=body, headers={"Content-Type": "application/x-ndjson"})
    told = response.json()
    assert told["durable"] == 2
    assert [one["line"] for one in told["refused"]] == [2, 3]
    assert desk.ingested[1] == ("city/d1/pole/p-2/telemetry", b'{"t": 2}')


async def test_ingest_senml(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """A SenML pack is handed on untouched under the topic that the query names, and needs one."""
    pack = b'[{"bn":"urn:dev:ops:p-1:","n":"voltage","v":230}]'
    headers = {"Content-Type": "application/senml+json"}
    told = await script.post("/api/ingest?topic=city/d1/pole/p-1/telemetry", content=pack, headers=headers)
    assert told.json() == {"durable": 1, "refused_count": 0, "refused": []}
    assert desk.ingested == [("city/d1/pole/p-1/telemetry", pack)]
    assert (await script.post("/api/ingest", content=pack, headers=headers)).status_code == 422
    assert (await script.post("/api/ingest", content=pack, headers={"Content-Type": "text/csv"})).status_code == 415


async def test_ingest_counts_what_it_cannot_name(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Of many bad lines the first are named and all are counted; text that is no UTF-8 loses its own line alone."""
    good = '{"topic": "city/d1/pole/p-1/telemetry", "payload": {"t": 1, "voltage": 230}}\n'
    body = good + '{"topic": "city/d1/pole/p-1/telemetry", "payload": "\\ud800"}\n' + '{"topic": "x"}\n' * 250 + good
    response = await script.post("/api/ingest", content=body, headers={"Content-Type": "application/x-ndjson"})
    told = response.json()
    assert (response.status_code, told["durable"], told["refused_count"]) == (200, 2, 251)
    assert [one["line"] for one in told["refused"]] == list(range(2, 102))
    assert '"payload"' in told["refused"][1]["detail"]
    assert len(desk.ingested) == 2


async def test_ingest_refuses_in_words(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Where no line is good, or the body is compressed, the answer has the shape of all refusals and a remedy."""
    headers = {"Content-Type": "application/x-ndjson"}
    unread = await script.post("/api/ingest", content="[1]\nnot json\n", headers=headers)
    packed = await script.post("/api/ingest", content=b"\x1f\x8b", headers=headers | {"Content-Encoding": "gzip"})
    assert (unread.status_code, unread.json()["refused_count"], packed.status_code) == (422, 2, 415)
    for response in (unread, packed):
        assert response.json()["error"]
        assert response.json()["detail"]
        assert response.json()["fix"]
    assert desk.ingested == []


async def test_ingest_too_large(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """More than a mebibyte, or more than 10,000 lines, is refused whole."""
    headers = {"Content-Type": "application/x-ndjson"}
    assert (await script.post("/api/ingest", content=b" " * (1 << 20 | 1), headers=headers)).status_code == 413
    assert (await script.post("/api/ingest", content=b"{}\n" * 10_001, headers=headers)).status_code == 413
    assert desk.ingested == []


async def test_openapi_documents_refusals(script: httpx.AsyncClient) -> None:
    """Every operation behind the gate documents 400, 401, 403 and 429 with the refusal's schema."""
    paths = (await script.get("/api/openapi.json")).json()["paths"]
    assert "/api/cases/{case}/{verb}" in paths
    for path, operations in paths.items():
        if path == "/healthz":
            continue
        for operation in operations.values():
            assert {"400", "401", "403", "429"} <= set(operation["responses"]), path


async def test_basemap_is_served_packed(script: httpx.AsyncClient, desk: FakeDesk, tmp_path: object) -> None:
    """The base map leaves as it lies on disk, unpacked by the client."""
    import gzip
    from pathlib import Path

    path = Path(str(tmp_path)) / "basemap.geojson.gz"
    path.write_bytes(gzip.compress(b'{"type":"FeatureCollection","features":[]}'))
    desk.basemap = str(path)
    response = await script.get("/api/basemap")
    assert response.headers["content-encoding"] == "gzip"
    assert response.json()["features"] == []
