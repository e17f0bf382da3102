"""The page behind a link: no account, no script, two languages; looking changes nothing, each answer counts once."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from dashboards.api.letter import CHINESE, ENGLISH, STATES, words_of
from tests.dashboards.conftest import ORIGIN
from tests.dashboards.fake_desk import FakeDesk
from twin.whistle.lifecycle import STATES as KNOWN

LINK = "/answer/c00001"
NONCE = "0123456789abcdef0123456789abcdef"


def form(verb: str, **more: Any) -> dict[str, Any]:
    """A filled form."""
    return {"verb": verb, "form": NONCE} | more


async def answer(client: httpx.AsyncClient, told: dict[str, Any], **headers: str) -> httpx.Response:
    """Send a form as a browser does."""
    return await client.post(f"{LINK}?lang=en", data=told, headers={"Origin": ORIGIN} | headers)


async def test_looking_needs_no_account_and_changes_nothing(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """A stranger with the link sees the whistle and its four answers; no step is taken, and nothing is kept."""
    page = await stranger.get(LINK, headers={"Accept-Language": "en"})
    assert page.status_code == 200
    assert desk.book["c00001"].en.split(":")[0] in page.text
    assert re.findall(r'name="verb" value="(\w+)"', page.text) == ["accept", "return", "extend", "handle", "comment"]
    assert desk.asked == []
    assert "<script" not in page.text
    assert page.headers["Cache-Control"] == "no-store"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "form-action 'self'" in policy
    assert page.headers["Referrer-Policy"] == "same-origin"


async def test_an_answer_is_taken_under_the_links_name(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Accepting is one step under the link's name, and leads back to the page, which then offers what is left."""
    response = await answer(stranger, form("accept"))
    assert response.status_code == 303
    assert desk.asked == [("accept", "c00001", "lighting by link c00001:dispatch:1:webhook", "", {})]
    page = await stranger.get(response.headers["Location"])
    assert ENGLISH["done"] in page.text
    assert re.findall(r'name="verb" value="(\w+)"', page.text) == ["return", "extend", "handle", "comment"]


async def test_the_same_form_twice_is_one_answer(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """A double tap on the same page's button is one step."""
    for _ in range(2):
        assert (await answer(stranger, form("comment", reason="on the way"))).status_code == 303
    assert [step.event for step in desk.history("c00001")].count("comment") == 1


@pytest.mark.parametrize(
    ("told", "reason", "arguments"),
    [
        (form("return", reason="不是我们的灯杆"), "不是我们的灯杆", {}),
        (form("extend", reason="parts", hours="4.5"), "parts", {"extra_s": 16_200.0}),
        (form("handle", reason="lamp\r\nreplaced"), "lamp\nreplaced", {}),
    ],
)
async def test_words_and_hours_arrive(
    stranger: httpx.AsyncClient, desk: FakeDesk, told: dict[str, Any], reason: str, arguments: dict[str, Any]
) -> None:
    """Reason, note and hours reach the desk as they were written."""
    assert (await answer(stranger, told)).status_code == 303
    assert (desk.asked[-1][0], *desk.asked[-1][3:]) == (told["verb"], reason, arguments)


@pytest.mark.parametrize(
    "told",
    [
        {"verb": "accept"},
        {"verb": "close", "form": NONCE, "reason": "x"},
        form("return"),
        form("handle", reason="x" * 501),
        form("handle", reason="bell \x07"),
        form("extend", reason="x", hours="nan"),
        form("extend", reason="x", hours="241"),
        form("extend", reason="x", hours="0"),
        form("extend", reason="x"),
        {f"field{i}": "x" for i in range(20)},
        {},
    ],
)
async def test_what_is_wrong_is_said_on_the_page(
    stranger: httpx.AsyncClient, desk: FakeDesk, told: dict[str, Any]
) -> None:
    """A form that is incomplete, too long or strange comes back with what to put right, and no step is taken."""
    response = await answer(stranger, told)
    assert (response.status_code, desk.asked) == (422, [])
    assert 'role="alert"' in response.text


async def test_a_step_that_is_no_longer_possible_is_said(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """When the case has moved on meanwhile the page says so; with another department it offers nothing."""
    await answer(stranger, form("accept"))
    again = await answer(stranger, {"verb": "accept", "form": NONCE[::-1]})
    assert again.status_code == 409
    assert ENGLISH["moved_on"] in again.text
    desk.book["c00001"] = replace(desk.book["c00001"], department="power")
    gone = await stranger.get(f"{LINK}?lang=en")
    assert ENGLISH["nothing"] in gone.text
    assert "<form" not in gone.text
    assert (await answer(stranger, form("handle", reason="x"))).status_code == 409


@pytest.mark.parametrize(("token", "why", "status"), [("x.1.y", "forged", 404), ("old", "expired", 410),
                                                      ("spent", "used", 410)])  # fmt: skip
async def test_bad_links_get_a_clear_page(
    stranger: httpx.AsyncClient, desk: FakeDesk, token: str, why: str, status: int
) -> None:
    """Forged, expired and used-up links say what they are, to look and to send, in both languages."""
    for lang, words in (("en", ENGLISH), ("zh", CHINESE)):
        page = await stranger.get(f"/answer/{token}", params={"lang": lang})
        assert (page.status_code, words[why] in page.text) == (status, True)
    sent = await stranger.post(f"/answer/{token}", data=form("accept"), headers={"Origin": ORIGIN})
    assert (sent.status_code, desk.asked) == (status, [])


async def test_other_sites_cannot_answer(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """A form on a foreign page is refused although it knows the link."""
    assert (await answer(stranger, form("accept"), Origin="https://evil.example")).status_code == 403
    assert (await answer(stranger, form("accept"), Origin="null")).status_code == 403
    assert desk.asked == []


async def test_many_calls_are_slowed_down(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """One address that knocks again and again gets 429 with a page that says so."""
    statuses = [(await stranger.get("/answer/guess")).status_code for _ in range(31)]
    assert statuses == [404] * 30 + [429]
    slowed = await stranger.get("/answer/guess", headers={"Accept-Language": "en"})
    assert ENGLISH["too_many"] in slowed.text
    assert int(slowed.headers["Retry-After"]) >= 1


async def test_markup_in_a_case_stays_text(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """What devices or people wrote cannot become markup on the page."""
    desk.book["c00001"] = replace(desk.book["c00001"], en="<script>alert(1)</script>")
    page = await stranger.get(f"{LINK}?lang=en")
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text


@pytest.mark.parametrize(
    ("wanted", "header", "language"),
    [
        ("", "", "zh"),
        ("", "en-GB,en;q=0.9", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "en;q=0.3,zh;q=0.7", "zh"),
        ("en", "zh-CN", "en"),
        ("fr", "fr,en;q=0.2", "en"),
        ("", "en;q=x,;;;", "zh"),
    ],
)
def test_language(wanted: str, header: str, language: str) -> None:
    """The switch decides, else the browser's preference, else Chinese."""
    assert words_of(wanted, header).language == language


def test_both_languages_say_the_same_things() -> None:
    """Every sentence exists in both languages, and every state has its word."""
    assert ENGLISH.keys() == CHINESE.keys()
    assert set(STATES) == set(KNOWN)
