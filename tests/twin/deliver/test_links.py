"""Links to answer by: what was signed opens, everything else does not; and who may do what by which message."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.twin.whistle.city import Story
from twin.app.letters import MOST_ANSWERS, read_letter
from twin.deliver.cases import Cases
from twin.deliver.links import DAY_S, Links, link_secret
from twin.errors import LinkRefused, TwinError
from twin.records import Action, Delivery

SECRET = b"s" * 32
NOW_S = 1_782_280_800.0
KEY = "CW-20260624-000001:dispatch:1:webhook"
CASE = "CW-20260624-000001"


def test_a_token_opens_until_it_expires() -> None:
    """A token says its case and delivery for at least 14 days, and is the same all day."""
    links = Links(SECRET)
    token, expires_ms = links.token(CASE, KEY, NOW_S)
    assert (links.read(token, NOW_S).case, links.read(token, NOW_S).key) == (CASE, KEY)
    assert expires_ms / 1000 - NOW_S >= 14 * DAY_S
    assert links.token(CASE, KEY, NOW_S + 60) == (token, expires_ms)
    assert links.read(token, expires_ms / 1000 - 1).key == KEY
    with pytest.raises(LinkRefused, match="expired"):
        links.read(token, expires_ms / 1000)


@given(at=st.integers(0, 10_000), letter=st.characters(min_codepoint=33, max_codepoint=126))
def test_no_changed_token_opens(at: int, letter: str) -> None:
    """Any letter of a token changed to any other makes it forged."""
    links = Links(SECRET)
    token, _ = links.token(CASE, KEY, NOW_S)
    at %= len(token)
    if token[at] != letter:
        with pytest.raises(LinkRefused, match="forged"):
            links.read(token[:at] + letter + token[at + 1 :], NOW_S)


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.1.é", "x" * 10_000, "YQ.²0.YQ", "YQ.99999999.YQ"])
def test_nonsense_is_forged(token: str) -> None:
    """Whatever is no token is called forged, whatever it is."""
    with pytest.raises(LinkRefused, match="forged"):
        Links(SECRET).read(token, NOW_S)


def test_another_secret_opens_nothing() -> None:
    """A token of one server is forged for another."""
    token, _ = Links(SECRET).token(CASE, KEY, NOW_S)
    with pytest.raises(LinkRefused, match="forged"):
        Links(b"t" * 32).read(token, NOW_S)
    with pytest.raises(TwinError, match="32 are needed"):
        Links(b"short")


def test_the_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    """The first start makes a secret that only its owner reads; later ones find it; a damaged one is said."""
    path = tmp_path / "answer.key"
    secret = link_secret(path)
    assert (len(secret), link_secret(path)) == (32, secret)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("not hexadecimal")
    with pytest.raises(TwinError, match=r"answer\.key"):
        link_secret(path)


def test_a_message_is_dressed_when_it_can_be_answered() -> None:
    """Messages about a case get their link, commands and digests none, and nothing while our address is unknown."""
    told = Delivery(KEY, CASE, "webhook", "", "dispatch", {"case": CASE})
    answer = Links(SECRET, "https://city.example/").dress(told, NOW_S).payload["answer"]
    assert answer["url"].startswith("https://city.example/answer/")
    assert answer["api"] == f"https://city.example/api/cases/{CASE}"
    assert Links(SECRET).dress(told, NOW_S) == told
    for purpose in ("command", "digest", "test"):
        other = Delivery(KEY, CASE, "mqtt", "", purpose, {})
        assert Links(SECRET, "https://city.example").dress(other, NOW_S) == other


def recorded(path: Path, story: Story) -> Cases:
    """A database that holds every step of a story so far."""
    cases = Cases(path)
    for n, changes in enumerate(story.log, 1):
        cases.record(n, changes)
    return cases


def test_only_the_department_in_charge_may_step(tmp_path: Path) -> None:
    """The receiver has every step while the case is with it; after a transfer its link opens but offers nothing."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(61)
    (key,) = story.sent()
    links = Links(SECRET)
    token, _ = links.token(story.only(), key, NOW_S)
    cases = recorded(tmp_path / "a.db", story)
    letter = read_letter(cases, links, token, NOW_S)
    assert letter.offers == ("accept", "return", "extend", "handle", "comment")
    assert letter.department == ("lighting", "Lighting", "照明")
    assert letter.title == ("lamp out", "路灯不亮")
    cases.close()
    story.act("transfer", story.only(), "theirs", department="power")
    cases = recorded(tmp_path / "b.db", story)
    assert read_letter(cases, links, token, NOW_S).offers == ()
    token, _ = links.token(story.only(), story.sent()[-1], NOW_S)
    assert "accept" in read_letter(cases, links, token, NOW_S).offers
    cases.close()


def test_a_link_is_used_up(tmp_path: Path) -> None:
    """After twenty answers a link is used; one whose message is not kept is expired."""
    story = Story()
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(61)
    (key,) = story.sent()
    links = Links(SECRET)
    token, _ = links.token(story.only(), key, NOW_S)
    cases = recorded(tmp_path / "a.db", story)
    actor = read_letter(cases, links, token, NOW_S).actor
    for i in range(MOST_ANSWERS):
        story.after(1, actions=[story_action(i, actor, story.only())])
        cases.record(len(story.log), story.log[-1])
    with pytest.raises(LinkRefused, match="used"):
        read_letter(cases, links, token, NOW_S)
    gone, _ = links.token(CASE, f"{CASE}:dispatch:99:webhook", NOW_S)
    with pytest.raises(LinkRefused, match="expired"):
        read_letter(cases, links, gone, NOW_S)
    cases.close()


def story_action(number: int, actor: str, case: str) -> Action:
    """One answer by the link."""
    return Action(f"answer-{number}", actor, "comment", case, "on the way")
