"""Orders over HTTP: told, listed, refused by what a kind can be told."""

from __future__ import annotations

import httpx


async def test_a_device_is_told_and_its_orders_are_listed(script: httpx.AsyncClient) -> None:
    """The order comes back with its state; wrong ones are 422, strangers 404."""
    devices = (await script.get("/api/devices")).json()
    pole = next(one["id"] for one in devices if one["kind"] == "pole")
    path = f"/api/devices/{pole}/commands"
    done = await script.post(path, json={"action": "dim", "arguments": {"level": 0.4}, "reason": "star night"})
    assert done.status_code == 200, done.text
    assert (done.json()["device"], done.json()["actor"]) == (pole, "script")
    assert [one["id"] for one in (await script.get(path)).json()] == [done.json()["id"]]
    assert (await script.get("/api/commands")).json()[0]["reason"] == "star night"
    for body, words in (({"action": "burn"}, "can be told"), ({"action": "dim", "arguments": {"level": 9}}, "0..1")):
        refused = await script.post(path, json=body)
        assert (refused.status_code, words in refused.json()["detail"]) == (422, True), refused.text
    assert (await script.post("/api/devices/nobody/commands", json={"action": "report"})).status_code == 404
    assert (await script.get("/api/devices/nobody/commands")).status_code == 404
