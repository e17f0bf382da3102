"""Names that attack: script, marks that turn the line, names without end, in devices, cases and the base map."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from dashboards.serve import Running
from tests.dashboards.fake_desk import CENTRE, FakeDesk
from tests.dashboards.test_page import browser, context, pytestmark, seen  # noqa: F401 - fixtures
from twin.query.desk import Row

SCRIPT = '<img src=x onerror="window.hacked=1"><svg onload="window.hacked=2">'  # no slash: no topic has one
QUOTED = "a'\"`${window.hacked=3}&lt;b&gt;"
TURNED = "pole-\u202e9000-elop"  # looks like pole-pole-0009 where the mark is obeyed
ENDLESS = "灯" * 300 + "x" * 300
ARABIC = "شارع الملك 12"
NAMES = [SCRIPT, QUOTED, TURNED, ENDLESS, ARABIC]


def street(name: str, north: float) -> dict[str, Any]:
    """A straight street of the base map, 900 m long."""
    line = [[CENTRE[0] - 0.008, CENTRE[1] + north], [CENTRE[0] + 0.008, CENTRE[1] + north]]
    told = {"layer": "road", "class": "primary", "name": name}
    return {"type": "Feature", "properties": told, "geometry": {"type": "LineString", "coordinates": line}}


def place(name: str, north: float) -> dict[str, Any]:
    """A quarter's name."""
    told = {"layer": "place", "class": "suburb", "name": name}
    at = [CENTRE[0], CENTRE[1] + north]
    return {"type": "Feature", "properties": told, "geometry": {"type": "Point", "coordinates": at}}


class Hostile(FakeDesk):
    """A city whose every name attacks."""

    def city(self) -> dict[str, Any]:
        told = {**super().city(), "name": SCRIPT, "name_zh": ENDLESS, "attribution": f"© {SCRIPT} {ENDLESS}"}
        return told | {"departments": {"lighting": {"en": SCRIPT, "zh": ENDLESS}}}

    def device(self, device: str) -> Any:
        told = super().device(device)
        return told and {**told, "relations": dict(zip(("street", "cabinet", "feeder", "pole", "gateway"), NAMES,
                                                       strict=True))}  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    path = tmp_path / "basemap.geojson.gz"
    features = [street(name, i * 0.0012 - 0.002) for i, name in enumerate(NAMES)]
    features += [place(name, i * 0.0011 - 0.0025) for i, name in enumerate(NAMES)]
    path.write_bytes(gzip.compress(json.dumps({"type": "FeatureCollection", "features": features}).encode()))
    rows = [Row(name, "pole", CENTRE[0] + (i - 2) * 0.002, CENTRE[1], "simulated", 0) for i, name in enumerate(NAMES)]
    desk = Hostile(rows=rows, basemap=str(path))
    for name in NAMES:
        case = desk.whistle(0, name)
        desk.book[case.id] = replace(case, type=f"type {name}"[:80], department="lighting", evidence={
            "quantity": "powerConsumption", "observed": 3.0, name: name, "list": NAMES, "detector": name,
        })  # fmt: skip
    return desk


@pytest.fixture
def page(context: BrowserContext, serving: Callable[..., Running], hostile: Hostile) -> Iterator[Page]:  # noqa: F811
    """The page over that city; nothing of it may run, ask elsewhere or break the policy."""
    running = serving(hostile, beat_s=0.1)
    wrong: list[str] = []
    made = context.new_page()
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
    made.on("request", lambda asked: None if asked.url.startswith((running.url, "ws", "blob", "data"))
            else wrong.append(asked.url))  # fmt: skip
    made.goto(running.open_url())
    made.wait_for_selector(".whistle")
    yield made
    assert wrong == []
    assert made.evaluate("() => window.hacked") is None


def inside(page: Page, selector: str) -> None:
    """Nothing of the elements sticks out of the window or of the element itself to the side."""
    out = page.evaluate(
        "(selector) => [...document.querySelectorAll(selector)].filter((e) => { const box = e.getBoundingClientRect();"
        " return box.width && (box.right > innerWidth + 1 || box.left < -1); }).map((e) => e.outerHTML.slice(0, 200))",
        selector,
    )
    assert out == []
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


@pytest.mark.parametrize("width", [390, 1366])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_panel_stands_such_names(page: Page, width: int, language: str) -> None:
    """Head, queue, every case and device, dialogs, search and tooltip show them as text, inside their bounds."""
    page.set_viewport_size({"width": width, "height": 800})
    if language == "zh":
        page.locator("#language").click()
    for i in range(len(NAMES)):
        page.locator(".whistle").nth(i).click()
        expect(page.locator("#panel .said")).to_be_visible()
        inside(page, "#panel, #panel *, .whistle, .whistle *, .bar, .bar .brand *")
        page.locator("#panel .link").first.click()
        expect(page.locator("#panel .ranges")).to_be_visible()
        inside(page, "#panel, #panel *")
        page.keyboard.press("Escape")
    page.locator("#find").fill("e")
    inside(page, "#findings, #findings *")
    page.locator("#find").fill("")
    page.locator("#scores").click()
    page.wait_for_selector("table.score")
    inside(page, "#dialog")
    page.keyboard.press("Escape")
    inside(page, "#credit, .legend")
    assert page.locator("#queue img, #panel img, #dialog img, #tip img, #panel script").count() == 0


def test_no_mark_turns_the_line(page: Page) -> None:
    """A name with a mark that turns the direction shows the mark; nowhere in the document is it obeyed."""
    page.locator(".whistle", has_text="9000-elop").click()
    expect(page.locator("#panel .said")).to_contain_text("pole-�9000-elop")
    page.locator("#panel .link").first.click()
    expect(page.locator("#panel h2")).to_have_text("pole-�9000-elop")
    page.locator("#accept").or_(page.locator("#panel")).first.focus()
    text = page.evaluate("() => document.documentElement.textContent + document.title")
    assert not set(text) & set("\u200b\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_the_map_draws_them_short(page: Page) -> None:
    """Tiles are drawn with those names on them, and a name without end leaves most of the map free."""
    page.wait_for_function("() => window.citywhistle.seen.map.frames > 3")
    page.wait_for_function("() => window.citywhistle.seen.map.resting")
    inked = (
        "() => { const c = document.querySelector('canvas.base'), p = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; const seen = new Map();"
        " for (let i = 0; i < p.length; i += 4) { const k = (p[i] << 16) | (p[i + 1] << 8) | p[i + 2];"
        " seen.set(k, (seen.get(k) ?? 0) + 1); }"
        " return 1 - Math.max(...seen.values()) / (p.length / 4) }"
    )
    page.wait_for_function(f"() => ({inked})() > 0.002")
    assert page.evaluate(inked) < 0.25
    x, y = seen(page, "map.screenOf(3)")  # the endless one
    box = page.locator("#map").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x, box["y"] + y)
    expect(page.locator("#tip")).to_be_visible()
    inside(page, "#tip")
    tip = page.locator("#tip").bounding_box()
    assert tip is not None
    assert tip["height"] <= box["height"] * 0.62
