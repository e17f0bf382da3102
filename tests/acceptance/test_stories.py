"""One story a kind, told by commands against a whole server whose cases are in PostgreSQL (docs/stories.md).

A fault is said by the device, a message reaches a real server, its link answers (with a photo), telemetry recovers, the
case is verified and closed, judged by its unit, and on the score card; the history is proven, one altered byte named.
City time runs 90 times as fast as the machine's.
"""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from devices.clock import SimulatedClock, write_clock
from tests.broker import open_broker
from tests.dashboards.test_photos import with_everything
from tests.servers import Postgres
from tests.twin.app.serving import Serving, serving, settings_in
from tests.twin.channels.test_mail import Box
from tests.twin.channels.test_mail import serving as mail_server
from tests.twin.ingest.conftest import Publisher, until
from twin.__main__ import app
from twin.demo.inbox import Inbox
from twin.settings import CasesSettings, CitySettings, WhistleSettings

START_MS = 1_795_168_800_000  # Friday 2026-11-20 10:00 UTC, noon in Helsinki
SPEED = 90.0
PATIENCE_S = 120.0
RUNNER = CliRunner()

HERE = {
    "latitude": 60.168456,
    "longitude": 24.940443,
}  # on a permit's route, a third of a kilometre from where it may tip
CABINET = [f"pole/pole-{i:04d}" for i in range(483, 494)]  # every pole of cabinet-114
ABOVE = [f"pole/pole-{i:04d}" for i in range(471, 483)]  # those of cabinet-113: their feeder stands
WELL: dict[str, dict[str, float]] = {
    "pole/pole-0001": {"leakageCurrent": 0.001},
    "cell/cell-0001": {"operationalState": 1, "alarmState": 0, "backhaulUp": 1},
    "truck/truck-001": {"grossWeight": 20_000, "speed": 30, "latitude": 60.164394, "longitude": 24.937229},
    "truck/truck-003": {"grossWeight": 28_000, "speed": 30, "hopperRaised": 0} | HERE,
} | {pole: {"supplyPresent": 1} for pole in (*CABINET, *ABOVE)}
ILL: dict[str, dict[str, float]] = {
    "pole/pole-0001": {"leakageCurrent": 0.2},
    "cell/cell-0001": {"operationalState": 0, "alarmState": 4},
    "truck/truck-001": {"grossWeight": 41_000, "speed": 30},
    "truck/truck-003": {"grossWeight": 15_000, "speed": 0, "hopperRaised": 1},
} | {pole: {"supplyPresent": 0} for pole in CABINET}


@dataclass
class Devices:
    """Some devices that say every fifth of a second how they are."""

    publisher: Publisher
    clock: SimulatedClock
    ill: set[str] = field(default_factory=set)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        seq = 0
        while not self.ended.wait(0.2):
            seq += 1
            for device, well in WELL.items():
                told = {"boot": 1, "seq": seq, "t": self.clock.now_ms()} | well
                told |= ILL[device] if device in self.ill else {}
                self.publisher.say(f"city/091001/{device}/telemetry", json.dumps(told).encode())


@dataclass
class Stage:
    """Everything that a story needs."""

    server: Serving
    inbox: Inbox
    mails: Box
    devices: Devices
    database: str
    postgres: Postgres

    def command(self, *arguments: str) -> str:
        """A command of citywhistle against this server; what it said."""
        done = RUNNER.invoke(app, [*arguments, "--config", str(self.server.config)], env={"COLUMNS": "250"})
        assert done.exit_code == 0, done.output
        return done.output

    def case(self, type_: str) -> dict[str, Any] | None:
        """The newest case of a type, open or closed."""
        told = json.loads(self.command("whistles", "list", "--all", "--json"))
        return next((case for case in told if case["type"] == type_), None)

    def messages(self, case: str, purpose: str) -> dict[str, dict[str, Any]]:
        """The messages of that purpose that the departments' own server received so far, by department."""
        told = [record["message"]["data"] for record in list(self.inbox.received)]
        return {
            data["department"]["id"]: data
            for data in told
            if data.get("case") == case and data["purpose"] == purpose
        }  # fmt: skip

    def message(self, case: str, purpose: str) -> dict[str, Any]:
        """The first message of that purpose, once it is there."""
        until(lambda: self.messages(case, purpose), f"{purpose} of {case}", PATIENCE_S)
        return next(iter(self.messages(case, purpose).values()))

    def answer(self, url: str, verb: str, photo: bytes = b"", **fields: str) -> None:
        """What a person at the other end does: open the link, fill the form that it offers, send it."""
        with httpx.Client(trust_env=False, timeout=30) as browser:
            page = browser.get(f"{url}?lang=en").text
            form = re.search(rf'name="form" value="([0-9a-f]+)"><input type="hidden" name="verb" value="{verb}"', page)
            assert form is not None, page
            origin = url.split("/answer/", maxsplit=1)[0]
            told = {"verb": verb, "form": form[1]} | fields
            files = {"photo": ("IMG_1.jpg", photo, "image/jpeg")} if photo else None
            done = browser.post(url, data=told, files=files, headers={"Origin": origin})
            assert done.status_code == 303, done.text


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stories")
    postgres = Postgres()
    postgres.start()
    clock = SimulatedClock(START_MS, time.time_ns() // 1_000_000, SPEED)
    write_clock(folder / "clock.json", clock)
    box = Box()
    try:
        with (
            open_broker(folder / "broker") as broker,
            closing(Inbox(folder / "inbox.jsonl")) as inbox,
            mail_server(box) as mail_port,
        ):
            settings = replace(
                settings_in(folder, broker.host, broker.port),
                city=CitySettings(clock_file=str(folder / "clock.json")),
                cases=CasesSettings(url=postgres.database()),
                whistle=WhistleSettings(webhook_url=inbox.url),
            )
            more = (
                f'\n[channels.mail]\nhost = "127.0.0.1"\nport = {mail_port}\ntls = "none"\nto = "duty@example.org"\n'
                '[departments.traffic_police]\nchannel = "mail"\naddress = "traffic@example.org"\n'
            )
            with serving(folder, settings, more) as server:
                until(lambda: server.health()["link"] == "drained", "the link is up and drained", PATIENCE_S)
                publisher = Publisher(broker)
                devices = Devices(publisher, clock)
                talking = threading.Thread(target=devices.run)
                talking.start()
                try:
                    yield Stage(server, inbox, box, devices, settings.cases.url, postgres)
                finally:
                    devices.ended.set()
                    talking.join()
                    publisher.close()
    finally:
        postgres.discard()


def opened(stage: Stage, type_: str) -> str:
    """The id of the case of a type, once it has been sent."""

    def sent() -> bool:
        case = stage.case(type_)
        return case is not None and case["state"] != "found" and case["state"] != "filed"

    until(sent, f"a whistle of type {type_}", PATIENCE_S)
    case = stage.case(type_)
    assert case is not None
    return str(case["id"])


def is_state(stage: Stage, case: str, *states: str) -> Callable[[], bool]:
    """Whether a case stands so, by the command that shows it."""
    return lambda: json.loads(stage.command("whistles", "show", case, "--json"))["case"]["state"] in states


def children(stage: Stage, case: str) -> list[dict[str, Any]]:
    """What is recorded under a case."""
    told: list[dict[str, Any]] = json.loads(stage.command("whistles", "show", case, "--json"))["children"]
    return told


def events(stage: Stage, case: str) -> list[str]:
    """The steps of a case."""
    return [step["event"] for step in json.loads(stage.command("whistles", "show", case, "--json"))["history"]]


@pytest.mark.timeout(600)
def test_the_pole_leaks_and_is_repaired(stage: Stage) -> None:
    """Leakage: to the power company by webhook, accepted and handled by its link with a photo, closed by telemetry."""
    stage.devices.ill.add("pole/pole-0001")
    case = opened(stage, "leakage")
    told = stage.message(case, "dispatch")
    assert told["subject"]["id"] == "pole-0001"
    assert told["title"] == {"en": "leakage current", "zh": "漏电"}
    stage.answer(told["answer"]["url"], "accept")
    stage.answer(told["answer"]["url"], "handle", with_everything(), reason="cable replaced")
    stage.devices.ill.clear()
    until(is_state(stage, case, "closed"), "half an hour of telemetry closes it", PATIENCE_S)
    closed = stage.message(case, "close")
    stage.answer(closed["answer"]["url"], "evaluate", score="5")
    life = ("accept", "attach", "handle", "recover", "verify", "close", "evaluate")
    assert tuple(step for step in events(stage, case) if step in life) == life


@pytest.mark.timeout(600)
def test_the_cell_is_down_and_comes_back(stage: Stage) -> None:
    """Cell down: to the operator; it comes back by itself, and closes after a quarter of an hour."""
    stage.devices.ill.add("cell/cell-0001")
    case = opened(stage, "cell_down")
    told = stage.message(case, "dispatch")
    stage.answer(told["answer"]["url"], "accept")
    stage.devices.ill.clear()
    until(is_state(stage, case, "closed"), "a quarter of an hour of telemetry closes it", PATIENCE_S)
    assert stage.message(case, "close")["state"] == "closed"


@pytest.mark.timeout(600)
def test_the_truck_is_too_heavy_and_people_decide(stage: Stage) -> None:
    """Overload: an act stays done when the load is gone; by mail to the police, jointly; people verify and close."""
    stage.devices.ill.add("truck/truck-001")
    case = opened(stage, "overload")

    def letters() -> list[str]:
        bodies = [mail.get_content() for mail in list(stage.mails.mails)]
        return [body for body in bodies if case in body]

    until(letters, "the mail", PATIENCE_S)
    link = re.search(r"https?://\S+/answer/\S+", letters()[0])
    assert link is not None
    stage.answer(link[0], "accept")
    stage.answer(link[0], "handle", reason="fined, load taken off")
    stage.devices.ill.clear()
    until(lambda: "recover" in events(stage, case), "the weight is within limits", PATIENCE_S)
    assert is_state(stage, case, "handled")()
    stage.command("whistles", "confirm", case, "--reason", "seen at the scales")
    stage.command("whistles", "close", case, "--reason", "fined")
    stage.command("whistles", "evaluate", case, "--score", "3", "--by", "citizen")


@pytest.mark.timeout(600)
def test_a_load_is_tipped_and_three_offices_act_jointly(stage: Stage) -> None:
    """Dumping: the waste office leads; environment and the district's urban management are told, may leave a word by
    links of their own, and hear of the end.
    """
    stage.devices.ill.add("truck/truck-003")
    case = opened(stage, "illegal_dumping")
    told = stage.message(case, "dispatch")
    assert told["department"]["id"] == "waste_management"
    partners = {"environment", "urban_management_091001"}
    until(lambda: set(stage.messages(case, "joint")) == partners, "the partners are told", PATIENCE_S)
    for name, message in stage.messages(case, "joint").items():
        stage.answer(message["answer"]["url"], "comment", reason=f"{name} has seen it")
    stage.answer(told["answer"]["url"], "accept")
    stage.answer(told["answer"]["url"], "handle", with_everything(), reason="taken away, driver fined")
    stage.devices.ill.clear()
    until(lambda: "recover" in events(stage, case), "the truck drives on", PATIENCE_S)
    assert is_state(stage, case, "handled")()
    stage.command("whistles", "confirm", case, "--reason", "the place is clean")
    stage.command("whistles", "close", case, "--reason", "fined")
    until(
        lambda: set(stage.messages(case, "close")) == {*partners, "waste_management"},
        "all hear of it",
        PATIENCE_S,
    )
    assert events(stage, case).count("comment") == 2


@pytest.mark.timeout(600)
def test_a_cabinet_trips_and_its_poles_are_one_case(stage: Stage) -> None:
    """Eleven poles lose their supply: one whistle, eleven children that are recorded and never sent; when all are back
    for five minutes, cause and children close.
    """
    stage.devices.ill.update(CABINET)
    case = opened(stage, "cabinet_trip")
    told = stage.message(case, "dispatch")
    assert told["subject"]["id"] == "cabinet-114"
    until(lambda: len(children(stage, case)) == len(CABINET), "every pole is under its cause", PATIENCE_S)
    stage.answer(told["answer"]["url"], "accept")
    stage.answer(told["answer"]["url"], "handle", reason="fuse replaced")
    stage.devices.ill.clear()
    until(is_state(stage, case, "closed"), "five minutes of supply close it", PATIENCE_S)
    until(lambda: {one["state"] for one in children(stage, case)} == {"closed"}, "the children too", PATIENCE_S)
    stage.message(case, "close")
    sent = {record["message"]["data"].get("case") for record in list(stage.inbox.received)}
    assert not sent & {one["id"] for one in children(stage, case)}


@pytest.mark.timeout(600)
def test_the_score_card_tells_it_all_and_the_history_is_proven(stage: Stage) -> None:
    """Five cases on the card, in time, judged; the history is whole; one altered byte is named."""
    days = [(datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=n)).strftime("%Y-%m-%d") for n in (-1, 2)]
    period = ("--from", days[0], "--to", days[1])
    card = json.loads(stage.command("whistles", "score", *period, "--json"))
    lines = {line["key"]: line for line in card["by"]["type"]}
    for type_ in ("leakage", "cell_down", "overload", "illegal_dumping", "cabinet_trip"):
        assert (lines[type_]["cases"], lines[type_]["share_in_time"]) == (1, 1.0), card
    judged = {one["judge"]: one for one in card["judged"]}
    assert (judged["unit"]["mean_score"], judged["citizen"]["mean_score"]) == (5.0, 3.0)
    assert "leakage" in stage.command("whistles", "score", *period, "--csv")
    assert "every step is as it was written" in stage.command("whistles", "verify")
    with psycopg.connect(stage.database, autocommit=True) as link:
        link.execute("UPDATE transitions SET reason = 'Cable replaced' WHERE reason = 'cable replaced'")
    done = RUNNER.invoke(app, ["whistles", "verify", "--config", str(stage.server.config)])
    assert done.exit_code == 1
    assert re.search(r"altered: entry \d+ \(CW-\d+-\d+ step \d+, handle\)", done.output), done.output


@pytest.mark.timeout(600)
def test_the_database_crashes_and_comes_back(stage: Stage) -> None:
    """Meanwhile the API says so, the server is not ready and hears on; then what happened is recorded and sent."""
    before = len(stage.inbox.received)
    stage.postgres.end(signal.SIGQUIT)
    away = stage.server.ask("/api/cases")
    assert (away.status_code, away.json()["error"]) == (503, "cases_away")
    stage.devices.ill.add("pole/pole-0001")
    until(lambda: stage.server.health()["tick"]["stalled"], "the tick waits", PATIENCE_S)
    assert stage.server.health()["ready"] is False
    heard = stage.server.ask("/api/accounting").json()["total"]["journalled"]
    until(lambda: stage.server.ask("/api/accounting").json()["total"]["journalled"] > heard, "ingest goes on")
    stage.postgres.start()
    until(lambda: len(stage.inbox.received) > before, "what happened meanwhile is sent", PATIENCE_S)
    until(lambda: stage.server.health()["ready"], "the server is ready", PATIENCE_S)
    case = stage.case("leakage")
    assert case is not None
    assert "reopen" in events(stage, case["id"])
