"""The score card over HTTP: days, CSV for spreadsheets, and what a department's people see of it."""

from __future__ import annotations

import csv
import io

import httpx
import pytest

from tests.dashboards.fake_desk import FakeDesk


async def test_card_and_csv_say_the_same(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The days asked for come back; every line of the JSON is in the CSV, which begins with a byte order mark."""
    for i in range(8):
        desk.whistle(i)
    card = (await script.get("/api/score", params={"from": "2026-11-01", "to": "2026-11-30"})).json()
    assert (card["first"], card["last"], card["children"]) == ("2026-11-01", "2026-11-30", 3)
    assert card["total"]["cases"] == 10 == sum(line["cases"] for line in card["by"]["type"])
    told = await script.get("/api/score.csv", params={"from": "2026-11-01", "to": "2026-11-30"})
    assert told.headers["content-disposition"] == 'attachment; filename="citywhistle-score-2026-11-01-2026-11-30.csv"'
    assert told.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(told.content.decode("utf-8-sig"))))
    by_type = {row["key"]: int(row["cases"]) for row in rows if row["group"] == "type"}
    assert by_type == {line["key"]: line["cases"] for line in card["by"]["type"]}


@pytest.mark.parametrize(
    "query", [{"from": "2026-13-01"}, {"from": "yesterday"}, {"from": "2026-11-30", "to": "2026-11-01"}, {"to": "-1"}]
)
async def test_days_that_cannot_be_are_told(script: httpx.AsyncClient, query: dict[str, str]) -> None:
    """Refused with what to give."""
    for path in ("/api/score", "/api/score.csv"):
        told = await script.get(path, params=query)
        assert told.status_code == 422
        assert told.json()["error"] == "invalid"
