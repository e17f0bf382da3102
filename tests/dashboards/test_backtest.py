"""The back-test's words over HTTP: start, look, cancel; what is refused, and how."""

from __future__ import annotations

import httpx

from tests.dashboards.fake_desk import START_MS, FakeDesk


async def test_start_look_and_result(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """None at first; started it is 202 and tells how far it is, then what comes, goes, sooner and later."""
    assert (await script.get("/api/backtest")).json()["state"] == "none"
    wanted = {"rules": {"door_open": {"hold_s": 60}}, "from_ms": START_MS - 7200_000, "to_ms": START_MS, "tick_s": 15}
    begun = await script.post("/api/backtest", json=wanted)
    assert begun.status_code == 202, begun.text
    assert (begun.json()["state"], begun.json()["actor"]) == ("comparing", "script")
    ask = desk.backtests.asks[0]
    assert (ask.rules, ask.start_ms, ask.end_ms, ask.learn_days, ask.tick_s) == (
        wanted["rules"], START_MS - 7200_000, START_MS, 7.0, 15.0)  # fmt: skip
    shares = []
    for _ in range(10):
        told = (await script.get("/api/backtest")).json()
        shares.append(told["share"])
        if told["state"] == "done":
            break
    assert shares == sorted(shares)
    assert told["result"]["counts"] == {"gained": 2, "lost": 1, "earlier": 1, "later": 1}
    assert told["result"]["gained"][0]["zh"]


async def test_toml_is_read_and_one_runs_at_a_time(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The text of a rules file does as well; a second one is 409 until the first is ended."""
    text = "[door_open]\nhold_s = 60\n"
    assert (await script.post("/api/backtest", json={"toml": text})).status_code == 202
    assert desk.backtests.asks[0].rules == {"door_open": {"hold_s": 60}}
    again = await script.post("/api/backtest", json={"rules": {}})
    assert (again.status_code, again.json()["error"]) == (409, "runs")
    assert (await script.delete("/api/backtest")).json()["state"] == "cancelled"
    assert (await script.post("/api/backtest", json={"rules": {}})).status_code == 202


async def test_what_is_wrong_is_said(script: httpx.AsyncClient) -> None:
    """No rules, both, no TOML, an unknown type, a span without readings, numbers out of bounds: 422 with the reason."""
    for body, word in (
        ({}, "either"),
        ({"rules": {}, "toml": ""}, "either"),
        ({"toml": "[door_open\n"}, "TOML"),
        ({"rules": {"dor_open": {}}}, "dor_open"),
        ({"rules": {}, "from_ms": START_MS + 5}, "nothing is stored"),
        ({"rules": {}, "tick_s": 0.01}, "tick_s"),
        ({"rules": {}, "learn_days": 9999}, "learn_days"),
        ({"rules": {}, "speed": 1}, "speed"),
    ):
        answer = await script.post("/api/backtest", json=body)
        assert (answer.status_code, word in answer.json()["detail"]) == (422, True), answer.text
    assert (await script.get("/api/backtest")).json()["state"] == "none"
