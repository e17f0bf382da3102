"""The demo as a user runs it: an injected fault is whistled, accepted and closed on the page; the report says so."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.acceptance.town import wait_for

CHROMIUM = os.environ.get("CITYWHISTLE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
WAIT_MS = 90_000

SCENARIO = """
[[fault]]
type = "leakage"
subject = "pole-0100"
start_s = 2
duration_s = 3600
magnitude = 2.0

[[fault]]
type = "backhaul_down"
subject = "cell-0010"
start_s = 4
duration_s = 3600
magnitude = 2.0
"""


def demo(folder: Path, *more: str, scenario: str = SCENARIO) -> subprocess.Popen[str]:
    """The demo's command as a process, its words in demo.txt."""
    (folder / "faults.toml").write_text(scenario, encoding="utf-8")
    command = [sys.executable, "-m", "twin", "demo", "--seed", "7", "--port", "0", "--home", str(folder / "home")]
    command += ["--scenario", str(folder / "faults.toml"), *more]
    with (folder / "demo.txt").open("a", encoding="utf-8") as words:
        return subprocess.Popen(command, stdout=words, stderr=words, text=True, env={**os.environ, "COLUMNS": "200"})


def said(folder: Path) -> str:
    return (folder / "demo.txt").read_text(encoding="utf-8")


def address(folder: Path, process: subprocess.Popen[str]) -> str:
    """The address that the demo tells the user to open."""

    def look() -> str | None:
        assert process.poll() is None, said(folder)
        found = re.search(r"open (http://\S+)", said(folder)) if " ready " in said(folder) else None
        return found[1] if found else None

    return wait_for(look, f"the page's address in {folder / 'demo.txt'}", 400)


def close_on_page(url: str, type_words: str) -> None:
    """An operator opens the page, waits for the whistle, accepts it and closes it with a reason."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = browser.new_page(viewport={"width": 1600, "height": 900}, locale="en-GB")
        page.set_default_timeout(WAIT_MS)
        page.goto(url)
        page.locator(".whistle", has_text=type_words).first.click()
        page.locator("#accept").click()
        expect(page.locator("#panel .steps .now")).to_have_text("accepted", timeout=WAIT_MS)
        page.locator("#close").click()
        page.get_by_label("False whistle").check()
        page.locator("#whymore").fill("tested")
        page.locator("#closenow").click()
        expect(page.locator("#panel .steps .now")).to_have_text("closed", timeout=WAIT_MS)
        browser.close()


@pytest.mark.acceptance
@pytest.mark.broker
@pytest.mark.timeout(1200)
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)")
def test_a_fault_goes_from_injection_to_a_closed_case(tmp_path: Path) -> None:
    """An operator sees the injected fault's whistle and closes it; after Ctrl-C the report accounts for every reading,
    and the same demo started again has the same cases."""
    report = tmp_path / "report.json"
    process = demo(tmp_path, "--report", str(report))
    try:
        close_on_page(address(tmp_path, process), "Leakage current")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, said(tmp_path)
    finally:
        process.kill()
    told = json.loads(report.read_text(encoding="utf-8"))
    books = told["accounting"]
    assert books["sent"] == books["stored"] + books["rejected"] + books["buffered"]
    assert books["missing"] == books["unaccounted"] == 0
    assert books["sent"] > 0
    case = _one(told, "leakage")
    assert case["state"] == "closed"
    assert case["injected"] == "leakage:pole-0100"
    assert any(one["channel"] == "webhook" for one in case["delivered"])
    before = {case["id"]: case["type"] for case in told["whistles"]}

    again = tmp_path / "again.json"
    process = demo(tmp_path, "--report", str(again), "--duration", "5")
    try:
        assert process.wait(400) == 0, said(tmp_path)
    finally:
        process.kill()
    after = {case["id"]: case["type"] for case in json.loads(again.read_text(encoding="utf-8"))["whistles"]}
    assert before.items() <= after.items()


def _one(report: dict[str, Any], type_: str) -> dict[str, Any]:
    found = [case for case in report["whistles"] if case["type"] == type_]
    assert len(found) == 1, report["whistles"]
    return dict(found[0])
