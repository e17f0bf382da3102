"""Every case type of the domain's tables, in a city that ships: to whom, by when, and its life to the score card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from devices.cities.load import load_city
from devices.places import CityFiles
from twin.app.ways import city_policy
from twin.deliver.cases import Cases
from twin.query.score import COLUMNS, Where, score_card
from twin.records import Action, Changes, Finding
from twin.settings import Settings
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces

HOUR = 3600.0
DAY = 8 * HOUR  # of work
MONDAY = 1_795_420_800_000  # 2026-11-23 08:00 UTC, ten in the morning in Helsinki


@dataclass(frozen=True)
class Row:
    """What the domain's table says of a type: who, how long, in which hours, jointly with whom."""

    to: str
    deadline_s: float
    always: bool = False
    joint: tuple[str, ...] = ()
    subject: str = "pole-0001"
    emergency: bool = False


CELL, TRUCK = "cell-0001", "truck-001"
DISTRICT = "urban_management_091001"  # joins in where the table says jointly, and does not lead
TABLE: dict[str, Row] = {
    "lamp_out": Row("lighting", DAY),
    "day_burner": Row("lighting", DAY),
    "lamp_degraded": Row("lighting", 3 * DAY),
    "leakage": Row("power", HOUR, always=True, emergency=True),
    "leakage_warn": Row("power", DAY),
    "supply_lost": Row("power", 4 * HOUR),
    "feeder_trip": Row("power", 4 * HOUR, subject="feeder-01"),
    "cabinet_trip": Row("power", 4 * HOUR, subject="cabinet-011"),
    "door_open": Row("security", 4 * HOUR),
    "tilt": Row("structures", 2 * DAY),
    "tilt_emergency": Row("structures", HOUR, always=True, emergency=True),
    "charger_fault": Row("charging", DAY),
    "charger_occupied": Row("charging", DAY),
    "night_noise": Row("environment", 2 * HOUR, always=True, joint=(DISTRICT,)),
    "dust": Row("environment", 2 * HOUR),
    "air_episode": Row("environment", DAY, subject="091001"),
    "sensor_stuck": Row("maintenance", 3 * DAY),
    "sensor_spike": Row("maintenance", 10 * DAY),
    "sensor_noise": Row("maintenance", 10 * DAY),
    "sensor_drift": Row("maintenance", 10 * DAY),
    "sensor_bias": Row("maintenance", 10 * DAY),
    "clock_skew": Row("maintenance", 3 * DAY),
    "behaviour": Row("maintenance", 3 * DAY),
    "device_silent": Row("maintenance", DAY),
    "gateway_loss": Row("maintenance", 2 * HOUR, always=True, subject="gw-01"),
    "cell_down": Row("mobile_operator", 2 * HOUR, always=True, subject=CELL),
    "backhaul_down": Row("mobile_operator", 2 * HOUR, always=True, subject=CELL),
    "sleeping_cell": Row("mobile_operator", 8 * HOUR, subject=CELL),
    "congestion": Row("mobile_operator", 10 * DAY, subject=CELL),
    "access_failures": Row("mobile_operator", 8 * HOUR, subject=CELL),
    "handover_failures": Row("mobile_operator", 8 * HOUR, subject=CELL),
    "coverage_loss": Row("mobile_operator", DAY, subject=CELL),
    "cell_overheated": Row("mobile_operator", 8 * HOUR, subject=CELL),
    "interference": Row("mobile_operator", 3 * DAY, subject=CELL),
    "no_permit": Row("waste_management", 4 * HOUR, subject=TRUCK),
    "outside_hours": Row("waste_management", 4 * HOUR, subject=TRUCK),
    "off_route": Row("waste_management", 4 * HOUR, subject=TRUCK),
    "illegal_dumping": Row("waste_management", 4 * HOUR, always=True, subject=TRUCK, joint=("environment", DISTRICT)),
    "unpermitted_loading": Row("waste_management", 4 * HOUR, subject=TRUCK),
    "cover_open": Row("waste_management", 4 * HOUR, subject=TRUCK),
    "overload": Row("traffic_police", 4 * HOUR, subject=TRUCK),
    "speeding": Row("traffic_police", 4 * HOUR, subject=TRUCK),
    "terminal_tampering": Row("waste_management", DAY, subject=TRUCK),
    "phantom_trip": Row("waste_management", 2 * DAY, subject=TRUCK),
}  # fmt: skip


@cache
def city() -> CityFiles:
    """The city that ships."""
    return load_city("helsinki")


class Play:
    """One ledger and one case database over the shipped city, on a manual clock."""

    def __init__(self, folder: Path) -> None:
        self.policy = city_policy(city(), Settings(data_dir=str(folder)))
        self.ledger = Ledger(CityPlaces.of(city()), self.policy)
        self.cases = Cases(folder / "cases.db")
        self.now_ms, self.n = MONDAY, 0

    def step(self, seconds: float, *findings: Finding, verb: str = "", case: str = "", reason: str = "") -> Changes:
        """Let time pass and take one step."""
        self.now_ms += round(seconds * 1000)
        self.n += 1
        actions = [Action(f"a{self.n}", "li", verb, case, reason)] if verb else []
        changes = self.ledger.step(findings, actions, [], [], self.now_ms)
        assert not changes.refused
        self.cases.record(self.n, changes)
        return changes


def test_the_table_is_whole() -> None:
    """No type without a row, and every department that ships is somebody's."""
    assert set(TABLE) == set(city_policy(city(), Settings()).types)
    told = {row.to for row in TABLE.values()} | {name for row in TABLE.values() for name in row.joint}
    assert told | {"urban_management_091002"} == {office.id for office in city().departments}


@pytest.mark.parametrize("type_", sorted(TABLE))
def test_from_found_to_the_score_card(type_: str, tmp_path: Path) -> None:
    """Found, sent to whom the table says by when it says, accepted, handled, verified by telemetry (or, of what
    somebody did, by people), closed, judged, and one line on the score card; the history proves itself.
    """
    row, play = TABLE[type_], Play(tmp_path)
    policy = play.policy.of(type_)
    finding = Finding(type_, row.subject, True, play.now_ms, play.now_ms, 2, en="Found.", zh="发现。")
    sent = [*play.step(1, finding).deliveries, *play.step(61).deliveries]
    (case,) = play.ledger.open_cases()
    assert (case.state, case.department, case.parties) == ("dispatched", row.to, row.joint)
    told = {d.payload["department"]["id"]: d for d in sent if d.channel != "mqtt"}
    assert set(told) == {row.to, *row.joint}
    calendar = play.ledger._book.places.calendar(row.to) if not row.always else None
    began = next(step.at_ms for step in play.cases.history(case.id) if step.event == "dispatch")
    if row.always:
        assert case.deadline_ms == began + row.deadline_s * 1000
    else:
        assert case.deadline_ms == (calendar or play.policy.calendar).add(began, row.deadline_s)
    assert (policy.kind == "emergency", case.severity >= 4) == (row.emergency, row.emergency or case.severity >= 4)
    assert (policy.kind == "joint") >= bool(row.joint)
    json.dumps([dict(d.payload) for d in sent], allow_nan=False)

    for verb, reason in (("accept", ""), ("handle", "repaired")):
        play.step(60, verb=verb, case=case.id, reason=reason)
    play.step(60, Finding(type_, row.subject, False, play.now_ms, play.now_ms))
    if policy.act:
        play.step(14 * 24 * HOUR)
        assert play.ledger.case(case.id).state == "handled"
        play.step(1, verb="verify", case=case.id, reason="seen")
        ended = play.step(1, verb="close", case=case.id, reason="fined")
    else:
        play.step(policy.verify_s - 1)
        assert play.ledger.case(case.id).state == "handled"
        ended = play.step(1)
    assert {d.payload["department"]["id"] for d in ended.deliveries if d.purpose == "close"} == {row.to, *row.joint}
    play.step(60, verb="evaluate", case=case.id, reason="")
    life = ("find", "file", "dispatch", "accept", "handle", "recover", "verify", "close", "evaluate")
    assert tuple(step.event for step in play.cases.history(case.id) if step.event in life) == life
    rows = play.cases.scores(0, 2**60, COLUMNS)
    card = score_card(rows, lambda _subject: Where(), 0, 2**60, play.now_ms)
    assert (card.total.cases, card.total.closed, card.total.late) == (1, 1, 0)
    assert play.cases.verify().ok
    play.cases.close()
