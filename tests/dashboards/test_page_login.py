"""The log-in page in a real browser: by hand and keyboard, in both languages, and what each role is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from dashboards.serve import Running
from tests.dashboards.fake_desk import FakeDesk
from tests.dashboards.test_page import browser, context, pytestmark  # noqa: F401 - fixtures
from tests.dashboards.test_page import serious as grave
from twin.access import Access, Veil

WORD = "correct horse battery"
NASTY = '<img src=x onerror="window.hacked=1">林'


@pytest.fixture
def access(tmp_path: Path) -> Access:
    made = Access(tmp_path / "users.db", hasher=PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    made.users.add("mei.lin", WORD, "operator", "console", full_name=NASTY)
    made.users.add("lamp", WORD, "department", "console", departments=["lighting"])
    made.users.add("checks", WORD, "auditor", "console")
    return made


@pytest.fixture
def outside(context: BrowserContext, serving: Callable[..., Running], desk: FakeDesk, access: Access) -> Iterator[Page]:  # noqa: F811
    """The page before anybody has logged in; a script error or a policy violation fails the test."""
    desk.whistle(2, "truck-001")
    veil = Veil(b"k" * 32, {"truck-001": "沪A12345"})
    running = serving(desk, beat_s=0.1, access=access, veil=veil)
    wrong: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
    page.goto(running.url)
    page.wait_for_selector("#loginuser")
    yield page
    assert wrong == []
    assert page.evaluate("() => window.hacked") is None


def serious(page: Page) -> set[str]:
    """What axe finds grave in the page as it stands."""
    return grave(Axe().run(page).response)


def log_in(page: Page, user: str, word: str = WORD) -> None:
    """By keyboard alone."""
    page.locator("#loginuser").fill(user)
    page.keyboard.press("Tab")
    page.keyboard.type(word)
    page.keyboard.press("Enter")


def test_in_and_out_by_keyboard(outside: Page) -> None:
    """A wrong password is said and cleared; the right one opens the city; logging out closes it, also for `back`."""
    expect(outside.locator("#loginuser")).to_be_focused()
    expect(outside.locator("#map")).to_be_hidden()
    log_in(outside, "mei.lin", "wrong")
    expect(outside.get_by_role("alert").filter(has_text="wrong")).to_have_text("User or password is wrong.")
    expect(outside.locator("#loginpassword")).to_be_focused()
    expect(outside.locator("#loginpassword")).to_have_value("")
    outside.keyboard.type(WORD)
    outside.keyboard.press("Enter")
    expect(outside.locator(".whistle")).to_have_count(3)
    expect(outside.locator("#who")).to_have_text(f"{NASTY} · Operator")
    outside.locator("#who").click()
    expect(outside.locator("#dialog")).to_contain_text("this one")
    outside.locator("#logout").click()
    expect(outside.locator("#loginuser")).to_be_focused()
    outside.reload()
    expect(outside.locator("#loginuser")).to_be_visible()


def test_both_languages_and_nothing_serious(outside: Page) -> None:
    """The form speaks Chinese and English, and axe finds nothing serious in it, dark and light, narrow and wide."""
    assert serious(outside) == set()
    outside.get_by_role("button", name="中文").click()
    expect(outside.locator("#logintitle")).to_have_text("登录")
    log_in(outside, "mei.lin", "wrong")
    expect(outside.locator("#logintrouble")).to_have_text("用户名或密码错误。")
    assert serious(outside) == set()
    outside.set_viewport_size({"width": 360, "height": 640})
    assert outside.evaluate("() => document.documentElement.scrollWidth <= 360")
    log_in(outside, "mei.lin")
    expect(outside.locator("#queuetitle")).to_have_text("吹哨队列")
    expect(outside.locator("#who")).to_contain_text("值班员")


def test_a_department_is_shown_its_own(outside: Page, desk: FakeDesk) -> None:
    """One case of three, no list of rejects, accept but no close; a case that becomes another's leaves the queue."""
    log_in(outside, "lamp")
    expect(outside.locator(".whistle")).to_have_count(1)
    expect(outside.locator("#rejects")).to_have_count(0)
    outside.locator(".whistle").click()
    expect(outside.locator("#accept")).to_be_visible()
    expect(outside.locator("#close")).to_have_count(0)
    outside.keyboard.press("c")
    expect(outside.locator("#dialog")).to_be_hidden()
    with outside.expect_response(lambda response: response.url.endswith("/accept")):
        outside.locator("#accept").click()
    expect(outside.locator("#panel")).to_contain_text("lamp")
    assert desk.history("c00001")[-1].actor == "lamp"


def test_an_auditor_changes_nothing(outside: Page) -> None:
    """No buttons, and the keys do nothing."""
    log_in(outside, "checks")
    outside.locator(".whistle").first.click()
    expect(outside.locator("#panel .steps")).to_be_visible()
    expect(outside.locator("#accept")).to_have_count(0)
    expect(outside.locator("#close")).to_have_count(0)


def test_a_plate_is_told_for_a_reason(outside: Page, access: Access) -> None:
    """The truck's panel shows a pseudonym; a reason turns it into the plate, and the book has it."""
    log_in(outside, "mei.lin")
    expect(outside.locator(".whistle")).to_have_count(3)
    outside.locator("#find").fill("truck-001")
    outside.keyboard.press("Enter")
    expect(outside.locator("#plate")).to_have_text(re.compile("^plate-"))
    outside.locator("#reveal").click()
    outside.locator("#words").fill("the police asks at the gate")
    assert serious(outside) == set()
    outside.locator("#wordsnow").click()
    expect(outside.locator("#plate")).to_have_text("沪A12345")
    (line,) = access.entries("reveals")
    assert (line.actor, line.reason) == ("mei.lin", "the police asks at the gate")


def test_own_password_and_a_session_that_was_ended(outside: Page, access: Access) -> None:
    """The password is changed in the dialog; a user who is disabled meanwhile is back at the form by itself."""
    log_in(outside, "mei.lin")
    outside.locator("#who").click()
    outside.get_by_text("Change password").first.click()
    outside.locator("#oldpassword").fill(WORD)
    outside.locator("#newpassword").fill("aaaaaaaaaaaaaaaa")
    outside.locator("form:has(#newpassword) button[type=submit]").click()
    expect(outside.locator("#dialog .trouble")).to_contain_text("too easy")
    outside.locator("#newpassword").fill(WORD + " staple")
    outside.locator("form:has(#newpassword) button[type=submit]").click()
    expect(outside.locator("#toast")).to_contain_text("password is changed")
    assert access.log_in("mei.lin", WORD + " staple", "x")
    access.users.disable("mei.lin", "console")
    expect(outside.locator("#loginuser")).to_be_visible()
