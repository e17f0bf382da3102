"""Every verb of a case's life over HTTP: what it takes, what it passes on, what it refuses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dashboards.api.steps import NEEDS_REASON, TAKES, VERBS
from tests.dashboards.fake_desk import FakeDesk
from twin.whistle.actions import ACT
from twin.whistle.lifecycle import CITY_VERBS
from twin.whistle.lifecycle import VERBS as KNOWN

CASE = "/api/cases/c00001"


def test_verbs_are_the_lifecycle_s() -> None:
    """The API offers exactly the verbs that the lifecycle knows, and its tables speak of no other."""
    assert set(VERBS) == {*KNOWN, *CITY_VERBS} == {*ACT, *CITY_VERBS}
    assert set(VERBS) >= {*NEEDS_REASON, *TAKES}


@pytest.mark.parametrize(
    ("verb", "body", "passed"),
    [
        ("return", {"reason": "not our pole"}, {}),
        ("transfer", {"reason": "theirs", "department": "power"}, {"department": "power"}),
        ("extend", {"reason": "parts", "extra_s": 7200}, {"extra_s": 7200.0}),
        ("approve", {}, {}),
        ("handle", {"reason": "lamp replaced"}, {}),
        ("verify", {"override": "seen on site"}, {"override": "seen on site"}),
        ("comment", {"reason": "on the way"}, {}),
        ("merge", {"reason": "same feeder", "into": "c00002"}, {"into": "c00002"}),
        ("attach", {"name": "a.jpg", "sha256": "0" * 64, "media_type": "image/jpeg", "size_bytes": 9},
         {"name": "a.jpg", "sha256": "0" * 64, "media_type": "image/jpeg", "size_bytes": 9}),
        ("resend", {"key": "c00001:dispatch:1:webhook"}, {"key": "c00001:dispatch:1:webhook"}),
        ("unmute", {"mute": "mute-0001"}, {"mute": "mute-0001"}),
    ],
)  # fmt: skip
async def test_arguments_reach_the_desk(
    script: httpx.AsyncClient, desk: FakeDesk, verb: str, body: dict[str, Any], passed: dict[str, Any]
) -> None:
    """A verb's arguments arrive at the desk as they were given, with reason and actor."""
    response = await script.post(f"{CASE}/{verb}", json=body)
    assert response.status_code == 200, response.text
    assert desk.asked[-1] == (verb, "c00001", "script", body.get("reason", ""), passed)


async def test_a_mute_is_about_this_type_on_this_subject(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Muting a case keeps its type quiet on its subject, and the answer names the mute for its end."""
    body = {"reason": "works on the line", "until_ms": desk.city_ms + 3_600_000}
    response = await script.post(f"{CASE}/mute", json=body, headers={"Idempotency-Key": "mute-0001"})
    assert response.headers["Action-Id"] == "mute-0001"
    case = desk.book["c00001"]
    assert desk.asked[-1][4] == {"until_ms": body["until_ms"], "types": [case.type], "subjects": [case.subject]}


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("return", {}),
        ("transfer", {"reason": "theirs"}),
        ("extend", {"reason": "parts", "extra_s": -1}),
        ("extend", {"reason": "parts", "extra_s": True}),
        ("accept", {"department": "power"}),
        ("accept", {"colour": "red"}),
        ("evaluate", {"score": 6}),
        ("evaluate", {"verdict": "bad"}),
        ("attach", {"name": "a", "sha256": "x", "media_type": "image/jpeg", "size_bytes": 1}),
        ("handle", {"reason": "bell \x07"}),
        ("explode", {}),
    ],
)
async def test_what_a_verb_does_not_take_is_refused(
    script: httpx.AsyncClient, desk: FakeDesk, verb: str, body: dict[str, Any]
) -> None:
    """Missing, strange and impossible arguments are 422 and never reach the desk."""
    response = await script.post(f"{CASE}/{verb}", json=body)
    assert (response.status_code, desk.asked) == (422, []), response.text
    assert set(response.json()) == {"error", "detail", "fix"}


@pytest.mark.parametrize("verb", ["approve", "reopen", "evaluate"])
async def test_an_impossible_step_is_409(script: httpx.AsyncClient, desk: FakeDesk, verb: str) -> None:
    """The lifecycle's refusal comes back as 409 and names the steps that are possible."""
    await script.post(f"{CASE}/handle", json={})
    response = await script.post(f"{CASE}/{verb}", json={"reason": "x"})
    assert (response.status_code, response.json()["error"]) == (409, "illegal_step")
    assert "verify" in response.json()["detail"]
