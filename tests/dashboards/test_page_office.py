"""The office and the steps of a case in a real browser: what each role finds there, and that it does what it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, Route, expect

from dashboards.serve import Running
from tests.dashboards.fake_desk import FakeDesk
from tests.dashboards.test_page import browser, context, pytestmark, serious  # noqa: F401 - fixtures
from twin.access import Access, Veil
from twin.records import Transition

WORD = "correct horse battery"
ALL = {
    "Orders", "Quiet", "Letters", "Channels", "Strangers", "Versions", "Backtest", "Rules", "Users", "Tokens", "Books",
}  # fmt: skip


@pytest.fixture
def access(tmp_path: Path) -> Access:
    made = Access(tmp_path / "users.db", hasher=PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    made.users.add("boss", WORD, "admin", "console", full_name="Ms Boss")
    made.users.add("send", WORD, "dispatcher", "console")
    made.users.add("lamp", WORD, "department", "console", departments=["lighting"])
    made.users.add("checks", WORD, "auditor", "console")
    return made


@pytest.fixture
def enter(
    context: BrowserContext,  # noqa: F811
    serving: Callable[..., Running],
    desk: FakeDesk,
    access: Access,
) -> Iterator[Callable[[str], Page]]:
    """Log in as somebody; a script error or a policy violation fails the test."""
    running = serving(desk, beat_s=0.1, access=access, veil=Veil(b"k" * 32, {"truck-001": "沪A12345"}))
    wrong: list[str] = []

    def go(user: str) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
        page.goto(running.url)
        page.locator("#loginuser").fill(user)
        page.locator("#loginpassword").fill(WORD)
        page.keyboard.press("Enter")
        page.wait_for_selector(".whistle")
        return page

    yield go
    assert wrong == []


def office(page: Page, section: str) -> None:
    """Open a section of the office."""
    if not page.locator("#dialog.wide").is_visible():
        page.locator("#office").click()
    page.locator(f"[data-section={section}]").click()
    expect(page.locator(".office .place [role=status]", has_text="Loading")).to_have_count(0)


@pytest.mark.parametrize(
    ("user", "sections"),
    [
        ("boss", ALL),
        ("send", ALL - {"Users", "Tokens", "Books"}),
        ("checks", ALL - {"Backtest"}),
        ("lamp", {"Rules"}),
    ],
)
def test_each_role_finds_its_sections(enter: Callable[[str], Page], user: str, sections: set[str]) -> None:
    """Every section that the role has opens without a refusal, and axe finds nothing serious in it."""
    page = enter(user)
    page.locator("#office").click()
    found = {one.get_attribute("data-section") for one in page.locator("[data-section]").all()}
    assert found == {f"office{name}" for name in sections}
    for name in sorted(sections):
        office(page, f"office{name}")
        expect(page.locator(".office .place > .trouble")).to_have_count(0)
        assert serious(Axe().run(page).response) == set(), name
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    expect(page.locator("#office")).to_be_focused()


def test_users_are_added_changed_and_removed(enter: Callable[[str], Page], access: Access) -> None:
    """A department's user is made, a weak password told, disabled and removed; all of it is in the book."""
    page = enter("boss")
    office(page, "officeUsers")
    page.get_by_text("New user…").click()
    page.locator("#username").fill("wang.fang")
    page.locator("#userfull").fill("王芳")
    page.locator("#userpassword").fill("aaaaaaaaaaaaaa")
    page.locator("#userrole").select_option("department")
    page.locator("#userdepartments").select_option(["lighting", "environment"])
    page.get_by_role("button", name="Add the user").click()
    expect(page.locator(".office .trouble:not(:empty)")).to_contain_text("too easy")
    page.locator("#userpassword").fill("a lamp in the night")
    page.get_by_role("button", name="Add the user").click()
    row = page.locator(".office tr", has_text="wang.fang")
    expect(row).to_contain_text("Department · Street lighting, Environment")
    row.get_by_role("button", name="Disable").click()
    expect(row).to_contain_text("disabled")
    row.get_by_role("button", name="Remove", exact=True).click()
    assert access.users.get("wang.fang") is not None  # only asked so far
    row.get_by_role("button", name="Remove: really").click()
    expect(row).to_have_count(0)
    assert access.users.get("wang.fang") is None
    mine = page.locator(".office tr", has_text="boss")
    mine.get_by_role("button", name="Disable").click()
    expect(mine.locator(".trouble:not(:empty)")).to_contain_text("last administrator")
    office(page, "officeBooks")
    page.locator("#book").select_option("audit")
    for said in ("user added", "user disabled", "user removed"):
        expect(page.locator(".office table")).to_contain_text(said)


def test_roles_and_the_systems_reasons_in_both_languages(
    enter: Callable[[str], Page], desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each role may do stands beside the users; why the system did a step is said in the page's language, what
    a person wrote as it was written."""
    case, at, there = desk.cases()[0].id, desk.cases()[0].opened_ms, "dispatched"
    told = [
        Transition(case, 2, at, "system", "dispatch", "filed", there, "Lighting answers", {"reason_zh": "路灯负责"}),
        Transition(case, 3, at, "boss", "comment", there, there, "on our way", {}),
    ]
    monkeypatch.setattr(desk, "history", lambda _: told)
    page = enter("boss")
    for roles, said in (("sees the whole city", "Lighting answers"), ("查看全市", "路灯负责")):
        office(page, "officeUsers")
        page.locator("#rolesmay summary").click()
        expect(page.locator("#rolesmay")).to_contain_text(roles)
        expect(page.locator("#rolesmay tbody tr")).to_have_count(5)
        page.keyboard.press("Escape")
        page.locator(".whistle").first.click()
        history = page.locator("section", has=page.get_by_role("heading", name=re.compile("^(History|处理过程)$")))
        expect(history).to_contain_text(said)
        expect(history).to_contain_text("on our way")
        if roles.startswith("sees"):
            page.get_by_role("button", name="中文").click()


def test_a_token_is_shown_once(enter: Callable[[str], Page], access: Access) -> None:
    """What is shown opens the API; afterwards only its name is there, and revoking it closes the door."""
    page = enter("boss")
    office(page, "officeTokens")
    page.get_by_text("New token…").click()
    page.locator("#tokenname").fill("nightly")
    page.get_by_role("button", name="Make the token").click()
    secret = page.locator("#tokensecret").inner_text()
    caller = access.tokens.caller(secret)
    assert caller is not None
    assert caller.role == "auditor"
    page.get_by_role("button", name="I have copied it").click()
    expect(page.locator(".office tr", has_text="nightly")).to_be_visible()
    expect(page.locator("#dialog")).not_to_contain_text(secret)
    row = page.locator(".office tr", has_text="nightly")
    row.get_by_role("button", name="Revoke", exact=True).click()
    row.get_by_role("button", name="Revoke: really").click()
    expect(row).to_have_count(0)
    assert access.tokens.caller(secret) is None


def test_an_auditor_proves_the_books(enter: Callable[[str], Page], access: Access) -> None:
    """Every line is there with who and why; whole books are told so, and the first altered line is named."""
    access.record("reveals", "mei", "revealed plate", "truck-001", "the police asks <b>now</b>", "CW-20260624-000001")
    for i in range(130):
        access.record("audit", "boss", "logged_in", f"n{i}")
    page = enter("checks")
    office(page, "officeBooks")
    expect(page.locator(".office table")).to_contain_text("the police asks <b>now</b>")
    page.locator("#prove").click()
    expect(page.locator("#proofs .good")).to_have_count(3)
    page.locator("#book").select_option("audit")
    expect(page.locator(".office tbody tr")).to_have_count(100)
    page.get_by_role("button", name="Older lines").click()
    expect(page.locator(".office tbody tr").nth(120)).to_be_visible()
    with access._file.write() as link:
        link.execute("UPDATE entries SET subject = 'n99' WHERE book = 'audit' AND subject = 'n100'")
    page.locator("#prove").click()
    expect(page.locator("#proofs .late")).to_have_count(1)
    expect(page.locator("#proofs .late")).to_contain_text("NOT whole")


def test_a_maintenance_window_by_hand(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """Made in the city's own time, listed, and ended at the second press."""
    page = enter("send")
    office(page, "officeQuiet")
    page.get_by_text("New maintenance window…").click()
    expect(page.locator("#quiettypes option")).to_have_text(["Pole tilted"])  # those of the policy in force
    page.locator("#quietsubjects").fill("feeder-01， cabinet-002")
    page.locator("#quietuntil").fill("2025-07-30T06:30")  # Helsinki: three hours before UTC
    page.locator("#quietreason").fill("cable works")
    page.get_by_role("button", name="Keep quiet").click()
    row = page.locator(".office tbody tr")
    expect(row).to_contain_text("feeder-01, cabinet-002")
    expect(row).to_contain_text("30 Jul, 06:30:00")
    (verb, _, actor, reason, told) = desk.asked[-1]
    assert (verb, actor, reason) == ("mute", "send", "cable works")
    assert told["until_ms"] == 1_753_846_200_000
    assert told["subjects"] == ["feeder-01", "cabinet-002"]
    row.get_by_role("button", name="End now", exact=True).click()
    row.get_by_role("button", name="End now: really").click()
    expect(page.locator(".office .place")).to_contain_text("Nothing is kept quiet")


def test_dead_letters_and_channels(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """A message that was given up is sent again from its list; a channel is tried, and what it said is shown."""
    page = enter("boss")
    office(page, "officeLetters")
    with page.expect_response(lambda response: response.url.endswith("/resend")):
        page.get_by_role("button", name="Send again").click()
    assert desk.asked[-1][0] == "resend"
    office(page, "officeChannels")
    expect(page.locator(".office table")).to_contain_text("6 failures in a row")
    page.get_by_text("Try a channel…").click()
    page.get_by_role("button", name="Send a test message").click()
    expect(page.locator("#testsaid")).to_have_text("It arrived: 202 Accepted")
    page.locator("#testto").fill("nowhere")
    page.get_by_role("button", name="Send a test message").click()
    expect(page.locator("#testsaid")).to_have_text("It did not arrive: connection refused")


def test_a_late_answer_does_not_turn_the_page(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """Who went on to another section while an answer was under way stays there."""
    page = enter("boss")
    held: list[Route] = []
    read: list[str] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/resend", hold)
    office(page, "officeLetters")
    page.get_by_role("button", name="Send again").click()
    office(page, "officeChannels")
    expect(page.locator(".office table")).to_contain_text("6 failures in a row")
    page.on("request", lambda request: read.append(request.url) if "/api/letters" in request.url else None)
    with page.expect_response("**/resend") as answer:
        held[0].continue_()
    answer.value.finished()
    page.evaluate("async () => { for (let i = 0; i < 3; i++) await fetch('/api/whoami') }")
    assert not read, "the section that was left is read again"
    expect(page.locator("#officetitle")).to_have_text("Channels")


def test_a_section_that_fails_says_so_and_can_be_tried_again(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """An error is words and a button, not an empty box."""
    page = enter("send")
    page.route("**/api/letters*", lambda route: route.abort())
    office(page, "officeLetters")
    expect(page.locator(".office .place > .trouble")).to_contain_text("No connection")
    page.unroute("**/api/letters*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".office table")).to_contain_text("c00001")


def test_a_dispatcher_transfers_and_sends_a_returned_case(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """Transfer asks for department and reason; what is with nobody is offered for dispatch, and waits in the queue."""
    page = enter("send")
    page.locator(".whistle", has_text="Lamp out").click()
    page.get_by_text("Other steps").click()
    page.locator("[data-step=transfer]").click()
    page.locator("#stepdepartment").select_option("environment")
    page.locator("#stepreason").fill("theirs")
    page.locator("#dialog .primary").click()
    expect(page.locator("#dialog")).to_be_hidden()
    expect(page.locator("#panel .pairs").first).to_contain_text("Environment")
    assert desk.book["c00001"].department == "environment"
    page.locator("[data-step=return]").click()
    page.locator("#stepreason").fill("nobody's")
    page.locator("#dialog .primary").click()
    expect(page.locator(".whistle", has_text="Lamp out")).to_contain_text("to be dispatched")
    page.locator("#todo").click()
    expect(page.locator(".whistle", has_text="Lamp out")).to_be_visible()


def test_a_joint_case_shows_its_parties(enter: Callable[[str], Page], desk: FakeDesk, access: Access) -> None:
    """Each party with why it is one and its last step, also before a party's own eyes, in both languages."""
    access.users.add("town", WORD, "department", "console", departments=["urban_management"])
    access.users.add("air", WORD, "department", "console", departments=["environment"])
    case = next(one for one in desk.book.values() if one.type == "lamp_out")
    desk.book[case.id] = replace(case, parties=("environment", "urban_management"))
    told = {"department": "lighting", "joint": ["environment", "urban_management"]}
    desk.steps[case.id] += [
        Transition(case.id, 4, desk.now_ms(), "city", "dispatch", "filed", "dispatched", "", told),
        Transition(case.id, 5, desk.now_ms(), "air", "comment", "dispatched", "dispatched", "on our way"),
    ]
    page = enter("town")
    page.locator(".whistle", has_text="Lamp out").click()
    pairs = page.locator("#panel .pairs").first
    expect(pairs).to_contain_text("Acts jointlyEnvironment · remark · ")
    expect(pairs).to_contain_text("Acts jointlyUrban management · no answer yet")
    page.locator("#language").click()
    page.locator(".whistle", has_text="灯具熄灭").click()
    expect(pairs).to_contain_text("联合处置生态环境局 · 备注 · ")
    expect(pairs).to_contain_text("尚未回应")


def test_a_department_sees_that_it_gave_a_case_back(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """Read only: no step is offered, and the panel says who gave it back."""
    page = enter("lamp")
    page.locator(".whistle").click()
    page.get_by_text("Other steps").click()
    page.locator("[data-step=return]").click()
    page.locator("#stepreason").fill("not ours")
    page.locator("#dialog .primary").click()
    expect(page.locator("#panel .pairs").first).to_contain_text("Given back byStreet lighting")
    expect(page.locator("#panel .acts button")).to_have_count(0)
    expect(page.locator(".whistle", has_text="Lamp out")).to_be_visible()


def test_a_department_reports_handled_and_asks_for_time(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """What it may: accept, more time in hours, handled, a remark; no close, no transfer."""
    page = enter("lamp")
    page.locator(".whistle").click()
    page.locator("#accept").click()
    expect(page.locator("#panel .steps .now")).to_have_text("accepted")
    page.get_by_text("Other steps").click()
    offered = {one.get_attribute("data-step") for one in page.locator("#panel [data-step]").all()}
    assert offered == {"handle", "return", "extend", "comment", "attach"}
    page.locator("[data-step=extend]").click()
    page.locator("#stephours").fill("1.5")
    page.locator("#stepreason").fill("the part comes tomorrow")
    page.locator("#dialog .primary").click()
    expect(page.locator("#dialog")).to_be_hidden()
    assert desk.asked[-1][0] == "extend"
    assert desk.asked[-1][4] == {"extra_s": 5400}
    page.locator("#panel .acts [data-step=handle]").click()
    page.locator("#dialog .primary").click()
    expect(page.locator("#panel .steps .now")).to_have_text("handled")


def test_an_order_and_the_devices_answer(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """A lamp is dimmed from its panel within its bounds; the order is listed with its state."""
    page = enter("send")
    page.locator("#find").fill("pole-0007")
    page.keyboard.press("Enter")
    page.get_by_text("Tell the device…").click()
    page.locator("#order_level").fill("0.4")
    page.locator("#orderreason").fill("film team")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#orders")).to_contain_text(re.compile(r"dim the lamp \(0.4\)\s+done"))
    assert desk.told[0]["arguments"] == {"level": 0.4}
    page.locator("#order_level").fill("7")
    page.get_by_role("button", name="Send", exact=True).click()
    assert len(desk.told) == 1  # the field itself refuses it
    office(page, "officeOrders")
    page.locator(".office .link", has_text="pole-0007").click()
    expect(page.locator("#panel h2")).to_have_text("pole-0007")


def test_a_department_has_no_orders_and_not_every_truck(enter: Callable[[str], Page]) -> None:
    """No form to tell a device; trucks without a case of its own are not on its map."""
    page = enter("lamp")
    kinds = page.evaluate(
        "() => { const { fleet } = window.citywhistle.seen; return [...fleet.kind].map((k) => fleet.kinds[k]) }"
    )
    assert "pole" in kinds
    assert "truck" not in kinds
    page.locator("#find").fill("truck")
    expect(page.locator("#findings li")).to_have_count(0)
    page.locator("#find").fill("pole-0007")
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_have_text("pole-0007")
    expect(page.get_by_text("Tell the device…")).to_have_count(0)


def test_the_queue_is_filtered(enter: Callable[[str], Page]) -> None:
    """By words of type, device and department, and by severity; an empty answer says why."""
    page = enter("send")
    expect(page.locator(".whistle")).to_have_count(2)
    page.locator("#filter").fill("lighting lamp")
    expect(page.locator(".whistle")).to_have_count(1)
    expect(page.locator("#queuecount")).to_have_text("1 of 2 open")
    page.locator("#filter").fill("")
    page.locator("#least").select_option("3")
    expect(page.locator(".whistle")).to_contain_text("Backhaul down")
    page.locator("#least").select_option("4")
    expect(page.locator("#whistles")).to_contain_text("No whistle fits the filter")
    page.locator("#language").click()
    expect(page.locator("#whistles")).to_contain_text("没有符合筛选条件的吹哨")


def test_a_back_test_is_asked_for_watched_and_read(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """A rule is changed by its number, a wrong period is told, progress is shown, and the result names what differs."""
    page = enter("send")
    office(page, "officeBacktest")
    expect(page.locator("#backtest")).to_contain_text("No back-test has run yet")
    page.locator("#backtesttype").select_option("tilt")
    page.get_by_label("limit").fill("5")
    page.get_by_label("limit").press("Tab")
    expect(page.locator("#backtestchanges")).to_contain_text("limit = 5")
    page.locator("#backtestfrom").fill("2031-01-01T00:00")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator(".office form .trouble:not(:empty)")).to_contain_text("nothing is stored in that span")
    page.locator("#backtestfrom").fill("2025-07-28T00:00")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#backtest progress")).to_be_visible()
    expect(page.locator("#backtest .tiles")).to_contain_text(
        re.compile("2gained.*1lost.*1earlier.*1later"), timeout=15_000
    )
    assert dict(desk.backtests.asks[0].rules) == {"tilt": {"limit": 5}}
    assert desk.backtests.asks[0].start_ms == 1_753_650_000_000  # midnight in Helsinki
    expect(page.locator("#backtest")).to_contain_text("30 min")  # later by so much
    assert serious(Axe().run(page).response) == set()
    page.locator("#backtest .link", has_text="pole-0005").click()
    expect(page.locator("#panel h2")).to_have_text("pole-0005")


def test_a_back_test_is_ended(enter: Callable[[str], Page], desk: FakeDesk) -> None:
    """Its cancel button ends it, and the office says so."""
    page = enter("boss")
    office(page, "officeBacktest")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator("#backtest")).to_contain_text("Cancelled")
    assert desk.backtests.state()["state"] == "cancelled"
