"""Mutes, undelivered messages and channels over HTTP: seen by the centre, changed by those whose role has it."""

from __future__ import annotations

import httpx
import pytest

from tests.dashboards.fake_desk import FakeDesk

HOUR = 3_600_000


async def test_a_maintenance_window_comes_and_goes(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Made for a feeder, listed with who and why, repeated by its key it is one, ended before its time."""
    told = {"reason": "cable works", "until_ms": desk.city_ms + 4 * HOUR, "subjects": ["feeder-01"]}
    headers = {"Idempotency-Key": "window-0001"}
    made = await script.post("/api/mutes", json=told, headers=headers)
    assert (made.status_code, made.json()) == (201, {"id": "window-0001"})
    await script.post("/api/mutes", json=told, headers=headers)
    (listed,) = (await script.get("/api/mutes")).json()
    assert (listed["subjects"], listed["types"], listed["actor"], listed["reason"]) == (
        ["feeder-01"],
        [],
        "script",
        "cable works",
    )
    assert (await script.delete("/api/mutes/window-0001")).status_code == 204
    assert (await script.get("/api/mutes")).json() == []
    assert (await script.delete("/api/mutes/window-0001")).status_code == 409


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"until_ms": 0, "reason": "past"}, 409),
        ({"until_ms": 2**52, "reason": "for ever"}, 409),
        ({"until_ms": 1}, 422),
        ({"reason": "no end"}, 422),
        ({"until_ms": "tomorrow", "reason": "x"}, 422),
        ({"until_ms": 1, "reason": "bell \x07"}, 422),
        ({"until_ms": 1, "reason": "x", "subjects": [""]}, 422),
        ({"until_ms": 1, "reason": "x", "colour": "red"}, 422),
    ],
)
async def test_a_window_that_cannot_be(script: httpx.AsyncClient, told: dict[str, object], status: int) -> None:
    """It is refused in words and nothing is quiet."""
    answer = await script.post("/api/mutes", json=told)
    assert answer.status_code == status, answer.text
    assert {"error", "detail", "fix"} <= answer.json().keys()
    assert (await script.get("/api/mutes")).json() == []


async def test_undelivered_messages_and_sending_one_again(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The list names case and key; the case's own step sends it again."""
    (letter,) = (await script.get("/api/letters")).json()
    assert (letter["case"], letter["channel"], letter["detail"]) == ("c00001", "webhook", "refused")
    again = await script.post(f"/api/cases/{letter['case']}/resend", json={"key": letter["key"]})
    assert again.status_code == 200
    assert desk.asked[-1][0] == "resend"
    assert desk.asked[-1][4] == {"key": letter["key"]}


async def test_channels_and_their_test(script: httpx.AsyncClient) -> None:
    """Which are set up and how they fare; a test says what the other side said, or why it could not be."""
    webhook, mail = (await script.get("/api/channels")).json()
    assert (webhook["configured"], webhook["lanes"][0]["open"], mail["configured"]) == (True, True, False)
    good = await script.post("/api/channels/webhook/test", json={})
    assert good.json() == {"ok": True, "said": "202 Accepted"}
    bad = await script.post("/api/channels/webhook/test", json={"to": "nowhere"})
    assert bad.json() == {"ok": False, "said": "connection refused"}
    assert (await script.post("/api/channels/mail/test", json={})).status_code == 409
    strange = await script.post("/api/channels/pigeon/test", json={})
    assert (strange.status_code, strange.json()["detail"]) == (404, "there is no channel 'pigeon'.")


async def test_a_fault_of_ours_is_no_unknown_channel(
    script: httpx.AsyncClient, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A KeyError from within a channel is a fault, and is not told as a channel that there is not."""

    async def broken(_channel: str, _to: str) -> str:
        raise KeyError("address")

    monkeypatch.setattr(desk, "try_channel", broken)
    with pytest.raises(KeyError):
        await script.post("/api/channels/webhook/test", json={})
