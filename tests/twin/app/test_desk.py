"""The desk over a whole server in this process, asked as page, API and command line ask it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.twin.app.serving import settings_in
from tests.twin.ingest.conftest import until
from twin.app.server import Server
from twin.errors import IllegalStep, SettingsError, UnknownPlace
from twin.query.desk import Desk
from twin.records import Case

POLE = "city/091001/pole/pole-0001/telemetry"


class Face:
    """Stands where the web stands: takes the desk and the way in."""

    name = "web"
    url = "http://127.0.0.1:1"

    def __init__(self) -> None:
        self.desk: Any = None
        self.ingest: Any = None

    def load(self) -> Any:
        return self.serve

    def serve(self, desk: Desk, *, ingest: Any, **_more: Any) -> Face:
        self.desk, self.ingest = desk, ingest
        return self

    def open_url(self) -> str:
        return self.url

    def stop(self) -> None:
        self.desk = None

    def say(self, seq: int, t_ms: int, **values: float) -> None:
        """One reading of pole-0001 by HTTP's way in; returns when it is durable."""
        told = {"boot": 1, "seq": seq, "t": t_ms, **values}
        self.ingest(POLE, json.dumps(told).encode()).result(20)


def faces(made: Face) -> Any:
    """Entry points with one face; those that other packages ask for are theirs."""
    known = importlib.metadata.entry_points
    return lambda **group: [made] if group.get("group") == "citywhistle.faces" else known(**group)


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Face]:
    """A server without a broker that has heard a leaking pole and a message that is none."""
    made = Face()
    with pytest.MonkeyPatch.context() as patched, ExitStack() as stack:
        patched.setattr(importlib.metadata, "entry_points", faces(made))
        server = Server(settings_in(tmp_path_factory.mktemp("desk")), stack)
        server.start()
        now_ms = made.desk.city()["clock"]["city_ms"]
        for seq in range(1, 6):
            made.say(seq, now_ms - 5000 + seq * 100, leakageCurrent=0.2, voltage=230.0 + seq)
        made.ingest(POLE, b"not JSON").result(20)
        until(made.desk.cases, "a case")
        until(lambda: made.desk.account().stored == 5, "all is stored")
        yield made


def test_it_is_a_desk(face: Face) -> None:
    """Every question of the protocol is answered, with the same parameters."""
    for name, method in inspect.getmembers(Desk, inspect.isfunction):
        if not name.startswith("_"):
            mine = inspect.signature(getattr(type(face.desk), name))
            assert list(mine.parameters) == list(inspect.signature(method).parameters), name


def test_the_city_and_its_devices(face: Face) -> None:
    """City, rows and movements agree; a device tells its relations, its last values and its open cases."""
    city = face.desk.city()
    assert {"name", "name_zh", "version", "centre", "clock"} <= city.keys()
    rows = face.desk.devices()
    moved = face.desk.moved(0)
    assert len(moved.index) == len(rows)
    told = face.desk.device("pole-0001")
    assert (told["id"], told["kind"], told["relations"]["feeder"]) == ("pole-0001", "pole", "feeder-01")
    values = {one["quantity"]: one for one in told["values"]}
    assert (values["voltage"]["value"], values["voltage"]["unit"]) == (235.0, "V")
    assert values["voltage"]["age_s"] >= 0
    assert [case.type for case in told["cases"]] == ["leakage"]
    assert next(row.state for row in rows if row.id == "pole-0001") == 3
    assert face.desk.device("nobody") is None
    assert told["account"].device == "pole-0001"
    json.dumps({**told, "cases": [], "account": asdict(told["account"])}, allow_nan=False)


def test_a_series(face: Face) -> None:
    """Raw readings in order over a short range, steps over a long one; unknown devices and quantities are KeyErrors."""
    end = face.desk.city()["clock"]["city_ms"] + 1
    raw = face.desk.series("pole-0001", "voltage", end - 60_000, end)
    assert list(raw.observed) == [231.0, 232.0, 233.0, 234.0, 235.0]
    assert list(raw.t_ms) == sorted(raw.t_ms)
    assert len(raw.expected) == len(raw.low) == len(raw.high) == 5
    assert (raw.unit, raw.complete_to_ms >= raw.t_ms[-1]) == ("V", True)
    day = face.desk.series("pole-0001", "voltage", end - 86_400_000, end, 100)
    assert 1 <= len(day.t_ms) <= 2
    assert math.isclose(sum(day.observed) / len(day.observed), 233.0, abs_tol=2.0)
    for device, quantity in (("nobody", "voltage"), ("pole-0001", "colour")):
        with pytest.raises(KeyError):
            face.desk.series(device, quantity, 0, 1)


def test_account_rejects_and_metrics(face: Face) -> None:
    """Totals and the device's own account agree; the refused message is readable; metrics carry the same figures."""
    total = face.desk.account()
    assert (total.journalled, total.stored, total.missing, dict(total.rejected)) == (5, 5, 0, {"syntax": 1})
    (own,) = face.desk.accounts(after="pole-0000", limit=1)
    assert (own.device, own.journalled, own.accountable) == ("pole-0001", 5, True)
    (reject,) = face.desk.rejects()
    assert (reject.topic, reject.payload) == (POLE, b"not JSON")
    assert 'citywhistle_readings_total{fate="journalled"} 5\n' in face.desk.metrics()


def test_health_without_a_broker(face: Face) -> None:
    """The link is down, so that the server is not ready, and the reason is there; the rest is well."""
    told = face.desk.health()
    assert (told["ready"], told["link"]) == (False, "down")
    assert told["link_detail"]
    assert told["store"]["up"]
    assert (told["tick"]["stalled"], told["ingest"]["stalled"], told["journal"]["full"]) == ("", "", "")


def test_an_action_waits_for_its_tick(face: Face) -> None:
    """The answer is the case as it stands after the tick; a repeated request is one; what cannot be is refused."""

    async def act(verb: str, case: str, request: str) -> Any:
        return await asyncio.wait_for(face.desk.act(verb, case, "li", "seen", request), 20)

    (case,) = face.desk.cases()
    assert asyncio.run(act("accept", case.id, "r1")).state == "accepted"
    asyncio.run(act("accept", case.id, "r1"))
    assert [step.event for step in face.desk.history(case.id)].count("accept") == 1
    with pytest.raises(IllegalStep):
        asyncio.run(act("accept", case.id, "r2"))
    with pytest.raises(KeyError):
        asyncio.run(act("accept", "CW-0", "r3"))
    assert face.desk.case(case.id).state == "accepted"
    assert face.desk.deliveries(case.id)
    assert face.desk.children(case.id) == []


def test_a_server_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened, started and closed, a server has removed its note, written a checkpoint, and lets another one in."""
    made = Face()
    monkeypatch.setattr(importlib.metadata, "entry_points", faces(made))
    for _ in range(2):
        with ExitStack() as stack:
            Server(settings_in(tmp_path), stack).start()
            assert (tmp_path / "data" / "running.json").stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "data" / "running.json").exists()
        assert list((tmp_path / "data" / "checkpoints").glob("*.check"))


def test_rules_are_replaced_while_it_runs(face: Face) -> None:
    """A table that is set is in force after the next tick; a wrong one says what is wrong and changes nothing; the
    budgets name every statistical detector."""
    desk = face.desk
    desk.set_rules({"tilt": {"limit": 2, "where": [{"hours": [22, 6], "limit": 4}]}}, "ops")
    until(lambda: desk.rules()["rules"]["tilt"]["limit"] == 2, "rules in force")
    assert desk.rules()["overrides"] == {"tilt": {"limit": 2, "where": [{"hours": [22.0, 6.0], "limit": 4}]}}
    with pytest.raises(SettingsError, match="no parameter 'limits'"):
        desk.set_rules({"tilt": {"limits": 2}}, "ops")
    assert {one["detector"] for one in desk.rules()["budgets"]} >= {"sensors"}
    desk.set_rules({}, "ops")
    until(lambda: desk.rules()["overrides"] == {}, "rules as shipped")


def test_what_cannot_be_tried_is_named(face: Face) -> None:
    """A channel or a device that there is not, and one that is not set up."""
    for channel, to, why in (("pigeon", "", "no channel 'pigeon'"), ("mqtt", "pole-x", "there is no 'pole-x'")):
        with pytest.raises(UnknownPlace, match=why):
            asyncio.run(face.desk.try_channel(channel, to))
    with pytest.raises(SettingsError, match=r"no \[channels.mail\]"):
        asyncio.run(face.desk.try_channel("mail", "x@example.org"))
    with pytest.raises(UnknownPlace, match="no channel 'mail'"):
        asyncio.run(replace(face.desk, exits=None).try_channel("mail", "x@example.org"))


def test_a_case_given_back_shows_no_truck(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a department sees of the city goes by cases that it has a say in."""
    truck = next(one for one in face.desk.city_.files.devices if one.kind == "truck")
    case = Case("CW-1", "k", "off_route", truck.id, "truck", "dispatched", 2, 5_000_000_000, 5_000_000_000, 0, "power")
    held = [replace(case, returned_by=("security",))]
    monkeypatch.setattr(face.desk.cases_, "cases", lambda **_asked: held)
    assert face.desk.seen_since(truck.id, ["power"]) is not None
    assert face.desk.seen_since(truck.id, ["security"]) is None
    assert truck.id not in face.desk.needed(["security"])
    assert [one.id for one in face.desk.cases(departments=["security"])] == ["CW-1"]


def test_a_companys_vehicles_are_one_offender(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier cases are looked for on every vehicle of the company; of a pole, on it alone; 90 days back."""
    asked: list[tuple[set[str], int]] = []
    monkeypatch.setattr(face.desk.cases_, "earlier", lambda _case, subjects, since, _limit: asked.append(
        (set(subjects), since)) or [])  # fmt: skip
    trucks = [one for one in face.desk.city_.files.devices if one.kind == "truck"]
    fleet = {one.id for one in trucks if one.company == trucks[0].company}
    opened_ms = 100 * 86_400_000
    for subject in (trucks[0].id, "pole-0001"):
        case = Case("CW-1", "k", "off_route", subject, "truck", "filed", 2, opened_ms, opened_ms, opened_ms)
        assert face.desk.earlier(case) == []
    assert asked == [(fleet, 10 * 86_400_000), ({"pole-0001"}, 10 * 86_400_000)]
    assert len(fleet) > 1
