"""The page in a real browser, against the fake city: what an operator sees and does."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from dashboards.app import DIST
from dashboards.serve import Running
from devices.kinds import KINDS
from tests.dashboards.fake_desk import FakeDesk
from twin.errors import IllegalStep
from twin.records import Case

CHROMIUM = os.environ.get("CITYWHISTLE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
WAIT_MS = 15_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)"),
    pytest.mark.skipif(not (DIST / "index.html").is_file(), reason="the page is not built (make install)"),
    pytest.mark.xdist_group("browser"),
]

RESTING = "() => window.citywhistle.seen.map.resting"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless Chromium for the whole file."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield started
        started.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 720}, locale="en-GB", reduced_motion="reduce")
    made.set_default_timeout(WAIT_MS)
    yield made
    made.close()


@pytest.fixture
def running(serving: Callable[..., Running], desk: FakeDesk) -> Running:
    return serving(desk, beat_s=0.1)


@pytest.fixture
def page(context: BrowserContext, running: Running) -> Iterator[Page]:
    """The page, entered by its one-time address; a script error or a policy violation fails the test."""
    wrong: list[str] = []
    made = context.new_page()
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
    made.goto(running.open_url())
    made.wait_for_selector(".whistle")
    yield made
    assert wrong == []


def seen(page: Page, expression: str) -> Any:
    """An expression over the page's map and fleet."""
    return page.evaluate(f"() => {{ const {{ map, fleet }} = window.citywhistle.seen; return {expression}; }}")


def place_of(page: Page, device: str) -> tuple[float, float]:
    """Where a device is drawn, in the window's pixels."""
    x, y = seen(page, f"map.screenOf(fleet.rowOf('{device}'))")
    box = page.locator("#map").bounding_box()
    assert box is not None
    return box["x"] + x, box["y"] + y


def test_token_leaves_the_address(page: Page) -> None:
    """The one-time token is exchanged and gone from the address; a reload needs none."""
    assert "#" not in page.url
    page.reload()
    page.wait_for_selector(".whistle")


def test_without_session_the_page_says_what_to_do(context: BrowserContext, running: Running) -> None:
    """A stranger sees how to come in, and no city."""
    page = context.new_page()
    page.goto(running.url)
    expect(page.locator("#login")).to_contain_text("citywhistle open")
    assert page.locator(".whistle").count() == 0


def test_queue_shows_newest_on_top(page: Page, desk: FakeDesk) -> None:
    """Whistles stand newest first with severity as word and shape, department and number of symptoms; new ones come."""
    lines = page.locator(".whistle")
    expect(lines).to_have_count(2)
    expect(lines.first).to_contain_text("Urgent · Backhaul down")
    expect(lines.first).to_contain_text("3 symptoms")
    expect(lines.nth(1)).to_contain_text("Street lighting")
    expect(lines.first.locator("svg")).to_have_attribute("aria-label", "Urgent")
    desk.city_ms += 1000
    desk.whistle(3)
    expect(lines).to_have_count(3)
    expect(lines.first).to_contain_text("Emergency · Leakage current")
    expect(page.locator("#announce")).to_contain_text("New whistle, Emergency")


def test_accept_and_close_by_mouse(page: Page, desk: FakeDesk) -> None:
    """An operator opens a case, accepts it, closes it with a reason; it leaves the queue and history has the reason."""
    page.locator(".whistle", has_text="Lamp out").click()
    page.locator("#accept").click()
    expect(page.locator("#panel .steps .now")).to_have_text("accepted")
    assert desk.book["c00001"].state == "accepted"
    page.locator("#close").click()
    page.get_by_label("False whistle").check()
    page.locator("#whymore").fill("lamp is fine <b>really</b>")
    page.locator("#closenow").click()
    expect(page.locator(".whistle")).to_have_count(1)
    expect(page.locator("#panel .steps .now")).to_have_text("closed")
    assert desk.history("c00001")[-1].reason == "False whistle: lamp is fine <b>really</b>"
    expect(page.locator("#panel")).to_contain_text("lamp is fine <b>really</b>")


def test_keyboard(page: Page, desk: FakeDesk) -> None:
    """j and k move through the queue, a accepts, c asks for a reason, Escape leaves."""
    page.keyboard.press("j")
    expect(page.locator(".whistle[aria-current=true]")).to_contain_text("Backhaul down")
    expect(page.locator("#panel .said")).to_contain_text("Backhaul")
    page.keyboard.press("j")
    expect(page.locator("#panel .said")).to_contain_text("Lamp of")
    page.keyboard.press("k")
    expect(page.locator("#panel .said")).to_contain_text("Backhaul")
    page.keyboard.press("a")
    expect(page.locator("#panel .steps .now")).to_have_text("accepted")
    page.keyboard.press("c")
    expect(page.locator("#dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    assert desk.book["c00002"].state == "accepted"
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()


def test_a_repeat_offender_is_linked(page: Page, desk: FakeDesk) -> None:
    """The panel of a case lists the one before it on the same subject; its link opens that one."""
    desk.city_ms += 1000
    desk.whistle(0, desk.book["c00001"].subject)
    expect(page.locator(".whistle")).to_have_count(3)
    page.locator(".whistle").first.click()
    again = page.locator("#panel section", has_text="Again: same type")
    again.get_by_role("button", name="c00001").click()
    expect(again).to_have_count(0)
    expect(page.locator("#panel h2")).to_have_text("Lamp out")


def test_refused_step_is_told(page: Page, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that another one took before is refused in words; the page goes on."""
    page.locator(".whistle", has_text="Lamp out").click()
    expect(page.locator("#accept")).to_be_visible()

    async def too_late(*_: object) -> Case:
        raise IllegalStep("accept: case c00001 is verified; it can take no such step")

    monkeypatch.setattr(desk, "act", too_late)
    page.locator("#accept").click()
    expect(page.locator("#toast")).to_contain_text("it can take no such step")
    expect(page.locator("#accept")).to_be_enabled()


@pytest.mark.parametrize("device", ["pole-0010", "truck-003", "feeder-02", "gw-04"])
def test_hover_and_click_pick_the_device(page: Page, device: str) -> None:
    """The pointer over a mark names its device, and a click opens it."""
    x, y = place_of(page, device)
    page.mouse.move(x, y)
    expect(page.locator("#tip b")).to_have_text(device)
    page.mouse.click(x, y)
    expect(page.locator("#panel h2")).to_have_text(device)


def test_pin_opens_its_case(page: Page, desk: FakeDesk) -> None:
    """A click on a case's pin opens the case."""
    seen(page, "map.zoomBy(1)")
    subject = desk.book["c00001"].subject
    seen(page, f"map.goTo(fleet.x[fleet.rowOf('{subject}')], fleet.y[fleet.rowOf('{subject}')])")
    pin = "map.points.pins.find((pin) => pin.id === 'c00001')"
    x, y = seen(page, f"map.points.pinAt({pin}, fleet, map.camera, performance.now())")
    box = page.locator("#map").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + x, box["y"] + y)
    expect(page.locator("#panel h2")).to_have_text("Lamp out")


def test_device_panel_has_values_and_chart(page: Page, desk: FakeDesk) -> None:
    """A device shows its values beside their bands, and the chart says in words what it draws; ranges change it."""
    page.locator("#find").fill("pole-0007")
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_have_text("pole-0007")
    expect(page.locator("#panel tbody tr")).to_have_count(len(KINDS["pole"].quantities))
    page.get_by_role("button", name="voltage", exact=True).click()
    chart = page.locator("canvas.chart")
    expect(chart).to_have_attribute("aria-label", re.compile(r"^voltage: last observed .* V, expected"))
    with page.expect_response(lambda response: "/series" in response.url) as asked:
        page.get_by_role("button", name="7 d").click()
    assert asked.value.ok
    inked = page.evaluate(
        "() => { const c = document.querySelector('canvas.chart');"
        " const pixels = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return pixels.filter((v, i) => i % 4 === 3 && v > 0).length }"
    )
    assert inked > 1000
    account = page.locator("#panel .account")
    for told in ("Received", "Journalled", "Stored", "Duplicate", "Late", "Out of order5", "Missing"):
        expect(account).to_contain_text(told)
    expect(account).to_contain_text("Rejected217 (out of range 212")


def test_recorded_devices_say_so(page: Page) -> None:
    """A replayed recording is labelled as recorded, with its attribution."""
    page.locator("#find").fill("dongsi")
    page.keyboard.press("Enter")
    expect(page.locator("#panel .tag.recorded")).to_have_text("recorded")
    expect(page.locator("#panel")).to_contain_text("CC BY 4.0")


def test_trucks_move_and_stillness_is_free(page: Page, desk: FakeDesk) -> None:
    """A truck that moved is drawn at its new place; when nothing moves no frame is drawn."""
    before = seen(page, "[...fleet.x]")
    desk.advance(5)
    moved = "x => [...window.citywhistle.seen.fleet.x].filter((one, i) => one !== x[i]).length >= 3"
    page.wait_for_function(moved, arg=before)
    page.wait_for_function("() => window.citywhistle.seen.fleet.settle(performance.now()) === 0")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    quiet = page.evaluate(
        "async () => { const { map } = window.citywhistle.seen; let before = -1, n = map.frames;"
        " for (let i = 0; i < 100 && before !== n; i++) { before = n;"
        " for (let k = 0; k < 20; k++) await new Promise((done) => requestAnimationFrame(done)); n = map.frames }"
        " return n - before }"
    )
    assert quiet == 0


def test_map_by_keyboard_and_wheel(page: Page) -> None:
    """Arrows pan, plus and minus zoom, the wheel zooms where it points, and the whole city comes back."""
    whole = seen(page, "[map.camera.x, map.camera.y, map.camera.zoom]")
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    assert seen(page, "map.camera.x") > whole[0]
    page.keyboard.press("+")
    page.wait_for_function(RESTING)
    assert seen(page, "map.camera.zoom") == pytest.approx(whole[2] + 0.7, abs=0.01)
    x, y = place_of(page, "pole-0010")
    page.mouse.move(x, y)
    page.mouse.wheel(0, -240)
    page.wait_for_function("z => window.citywhistle.seen.map.camera.zoom > z + 1.6", arg=whole[2])
    page.wait_for_function(RESTING)
    there = place_of(page, "pole-0010")
    assert abs(there[0] - x) < 2
    assert abs(there[1] - y) < 2
    page.locator("#fit").click()
    assert seen(page, "[map.camera.x, map.camera.y, map.camera.zoom]") == pytest.approx(whole, abs=0.02)


def test_drag_pans_and_does_not_click(page: Page) -> None:
    """Dragging from a device moves the map with the hand and opens nothing."""
    x, y = place_of(page, "pole-0010")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=5)
    page.mouse.up()
    there = place_of(page, "pole-0010")
    assert there == pytest.approx((x + 60, y + 40), abs=1)
    expect(page.locator("#panel")).to_be_hidden()


def test_language_is_switched_and_remembered(page: Page) -> None:
    """Everything turns Chinese at one click, and is Chinese still after a reload."""
    page.locator("#language").click()
    expect(page.locator("#queuetitle")).to_have_text("吹哨队列")
    expect(page.locator(".whistle").first).to_contain_text("紧急 · 回传中断")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.reload()
    expect(page.locator("#queuetitle")).to_have_text("吹哨队列")
    expect(page.locator("#strip")).to_contain_text("已接收")


def test_no_word_is_missing_in_chinese(page: Page) -> None:
    """With Chinese chosen no English word of the page's own remains (names, units and keys aside)."""
    page.locator("#language").click()
    page.locator(".whistle").first.click()
    expect(page.locator("#panel h3").first).to_be_visible()
    text = page.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3, th, .head, .steps, .fact, .help, .acts, #census')]"
        ".map((e) => e.textContent).join(' ')"
    )
    assert [word for word in re.findall(r"[A-Za-z]{3,}", text) if word not in ("Enter", "English")] == []


def test_theme_and_large_text(page: Page) -> None:
    """Themes turn auto, dark, light; large text enlarges the page, and both are remembered."""
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    size = page.evaluate("() => parseFloat(getComputedStyle(document.body).fontSize)")
    page.locator("#large").click()
    page.reload()
    page.wait_for_selector(".whistle")
    assert page.evaluate("() => parseFloat(getComputedStyle(document.body).fontSize)") > size * 1.2
    expect(page.locator("html")).to_have_attribute("data-theme", "light")


def test_accounting_and_rejects(page: Page, desk: FakeDesk) -> None:
    """The strip tells the account by reason, and the rejected messages can be read as text, not run as code."""
    expect(page.locator("#strip")).to_contain_text("Rejected217")
    expect(page.locator("#strip")).to_contain_text("out of range 212")
    expect(page.locator("#strip")).to_contain_text("Out of order5")
    expect(page.locator("#strip")).not_to_contain_text("Refused by the store")
    desk.count["unstorable"] = 23
    expect(page.locator("#strip")).to_contain_text("Refused by the store23")
    expect(page.locator("#strip")).to_contain_text("Waiting33")
    page.locator("#rejects").click()
    expect(page.locator("#dialog")).to_contain_text("<script>alert(1)</script>")
    assert page.locator("#dialog script").count() == 0


def test_score_card_by_keyboard_and_on_paper(page: Page, desk: FakeDesk) -> None:
    """It opens, takes other days, says what is wrong with them, gives CSV, prints whole, and Escape leaves it."""
    page.locator("#scores").focus()
    page.keyboard.press("Enter")
    expect(page.locator("table.score caption").first).to_have_text("By type")
    expect(page.locator("table.score").first.locator("tbody tr")).to_have_count(3)  # two types and the total
    page.locator("#scorefrom").fill("2026-11-30")
    page.locator("#scoreto").fill("2026-11-01")
    page.locator("#scoreshow").press("Enter")
    expect(page.locator("dialog [role=alert]")).to_contain_text("period")
    page.locator("#scoreto").fill("2026-11-30")
    page.locator("#scoreshow").press("Enter")
    expect(page.locator("dialog [role=alert]")).to_be_empty()
    with page.expect_download() as down:
        page.locator("#scorecsv").click()
    assert down.value.suggested_filename == "citywhistle-score-2026-11-30-2026-11-30.csv"
    page.emulate_media(media="print")
    expect(page.locator("#map")).to_be_hidden()
    expect(page.locator("#scoreshow")).to_be_hidden()
    assert page.evaluate(
        "document.querySelector('.scores').scrollHeight <= document.querySelector('.scores').clientHeight"
    )
    page.emulate_media(media="screen")
    page.locator("#scoreshow").press("Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    expect(page.locator("#scores")).to_be_focused()


def test_trouble_banner(page: Page, desk: FakeDesk) -> None:
    """A store that is down is said in a banner, and the banner goes when it is back."""
    well = desk.health_told["store"]
    desk.health_told["store"] = {"name": "influxdb", "up": False, "behind": 812}
    expect(page.locator("#banner")).to_contain_text("The store (influxdb) cannot be reached: 812 batches wait")
    expect(page.locator("#health")).to_contain_text("1 in trouble")
    desk.health_told["store"] = well
    expect(page.locator("#banner")).to_be_hidden()


def test_server_gone_is_told(page: Page, running: Running) -> None:
    """When the server goes the page says so and keeps what it last heard."""
    running.stop()
    expect(page.locator("#banner")).to_contain_text("No connection to the server")
    expect(page.locator(".whistle")).to_have_count(2)


@pytest.mark.parametrize(("language", "theme"), [("en", "light"), ("zh", "dark")])
def test_accessible(context: BrowserContext, running: Running, language: str, theme: str) -> None:
    """axe finds nothing serious in queue, case, device and dialog, in both languages and themes."""
    from axe_playwright_python.sync_playwright import Axe

    context.add_init_script(
        f"localStorage.setItem('citywhistle.settings', JSON.stringify({{language: '{language}', theme: '{theme}'}}))"
    )
    page = context.new_page()
    page.goto(running.open_url())
    page.locator(".whistle").first.click()
    page.wait_for_selector("#panel .acts")
    found = serious(Axe().run(page).response)
    page.locator("#panel .link").first.click()
    page.wait_for_selector("canvas.chart")
    found |= serious(Axe().run(page).response)
    page.locator("#rejects").click()
    found |= serious(Axe().run(page).response)
    page.keyboard.press("Escape")
    page.locator("#scores").click()
    page.wait_for_selector("table.score")
    found |= serious(Axe().run(page).response)
    assert found == set()


def serious(response: dict[str, Any]) -> set[str]:
    """axe's serious and critical violations with the elements that they are about."""
    return {
        f"{one['id']}: {node['target']} {node['failureSummary'][:300]}"
        for one in response["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    }


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 720), (1920, 1080)])
def test_fits(context: BrowserContext, running: Running, width: int, height: int) -> None:
    """From a phone to a control room nothing is cut off sideways, and the queue and map are there."""
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.goto(running.open_url())
    page.locator(".whistle").first.scroll_into_view_if_needed()
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    box = page.locator("#map").bounding_box()
    assert box is not None
    assert box["width"] >= min(380, width * 0.4)
    assert box["height"] >= 300


def test_lockfile_names_no_registry() -> None:
    """The lock file holds no download address, so that it builds wherever npm is set to look."""
    text = (Path(DIST).parent / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert "registry" not in text
