"""policy.toml and departments.toml while the server runs: journalled, kept, read again; wrong ones change nothing."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from devices.clock import ManualClock
from tests.devices.small_city import write_small_city
from tests.twin.app.serving import Serving, serving, settings_in
from tests.twin.ingest.conftest import until
from tests.twin.tick.town import NIGHT_MS, said, town_files
from twin.__main__ import app
from twin.app.heart import Heart
from twin.app.policybook import Policybook
from twin.app.rerun import rerun
from twin.app.tables import Tables
from twin.city import City, Registry
from twin.deliver.cases import Cases
from twin.errors import SettingsError
from twin.journal import Journal
from twin.records import Batch, Edit, Link
from twin.settings import CitySettings
from twin.tick import World
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy, policy_text

SLOW = {"type": {"leakage": {"deadline_s": 7200}}, "city": {"storm_count": 3}}


def book(folder: Path, text: str, journal: list[Any]) -> Policybook:
    return Policybook(folder, text, journal.extend, timezone="Asia/Shanghai", hold_s=5.0)


def test_a_policy_counts_from_its_tick_and_a_replay_gives_the_same(tmp_path: Path) -> None:
    """One pole leaks before the change, one after it: each case has the deadline of its time, and has it again when the
    journal is replayed from nothing, and when the ledger is restored from its dump."""
    files = town_files(poles=3, cells=0, trucks=0)
    with (
        closing(Journal(tmp_path / "journal.db", max_bytes=64 << 20)) as journal,
        closing(Cases(tmp_path / "cases.db")) as cases,
    ):
        city = City(files, Registry())
        names = city.registry.drain()
        assert names is not None
        journal.append([names, Link("drained"), Edit("policy", policy_text({}, timezone="UTC"))])
        clock = ManualClock(NIGHT_MS)
        ledger = Ledger(CityPlaces.of(files), Policy())
        heart = Heart(World(city, ledger), journal, cases, clock, 1.0, lambda *_: None)
        for seq in range(1, 15):
            clock.city_ms += 10_000
            if seq == 7:
                journal.append([Edit("policy", policy_text(SLOW, timezone="UTC"))])
            heard = said(city, "pole", ["pole-1"] if seq < 7 else ["pole-1", "pole-2"], clock.city_ms, seq=seq,
                         leakageCurrent=0.2)  # fmt: skip
            journal.append([Batch((heard,), messages=1)])
            heart.beat()
        allowed = {case.subject: case.deadline_ms - case.opened_ms for case in cases.cases()}
        assert allowed == {"pole-1": 3_600_000, "pole-2": 7_200_000}
        told = rerun(journal, files, Policy(), cases, tmp_path / "scratch.db")
        assert (told.cases, list(told.differing), told.chain_equal) == (2, [], True)
        restored = Ledger(CityPlaces.of(files), Policy())
        restored.load(ledger.dump())
        assert restored.policy == ledger.policy
        assert restored.policy.of("leakage").deadline_s == 7200


def test_what_was_set_stands_until_the_file_changes(tmp_path: Path) -> None:
    """Set by API: kept for the next start; then the file speaks, is in force at once and stays so after a restart, also
    where it says what it said at first."""
    journal: list[Any] = []
    first = "[city]\nstorm_count = 9\n[calendar]\nholidays = [2026-10-01]"
    one = book(tmp_path, first, journal)
    assert one.policy.storm_count == 9
    one.replace(SLOW, "ops")
    assert one.policy.storm_count == 3
    assert json.loads(journal[-1].text)["table"] == SLOW
    assert book(tmp_path, first, journal).policy.storm_count == 3
    one.reread("[city]\nstorm_count = 4")
    one.reread(first)
    assert [json.loads(edit.text)["table"]["city"] for edit in journal[-2:]] == [{"storm_count": 4}, {"storm_count": 9}]
    again = book(tmp_path, first, journal)
    assert again.policy == one.policy
    assert again.policy.storm_count == 9


@pytest.mark.parametrize(
    ("text", "place", "fix"),
    [
        ("[city]\n\nstorm_count = 'x'", "line 3", "give a number"),
        ("[type.tilt]\nhold_s = 1\nhold = 2", "line 3", "known: "),
        ("[city]\nstorm_s = 1\n[typo]\nx = 1", "line 3", "known: city, calendar"),
        ("[calendar]\nweekdays = [9]", "line 2", "1 = Monday"),
        ("[calendar]\nholidays = [5]", "line 2", "ISO dates"),
        ("[city]\ndepartment = operations", "line 2", "quotation marks"),
        ("type = 5", "line 1", "on a line of its own"),
        ("[type]\ntilt = 5", "line 2", "write [type.tilt]"),
        ("[type.tilt]\nhold_s = 1\nkind = 'jointly'", "line 3", "'emergency'"),
        ("[default]\ncommand = 'shout'", "line 2", "'speak'"),
        ("[explains]\ntilt = 1", "line 2", "give a list"),
        ("[city]\nescalate_at = [1, 'a', 2]", "line 2", "ascending"),
    ],
)
def test_a_wrong_policy_is_refused_with_file_line_and_fix(tmp_path: Path, text: str, place: str, fix: str) -> None:
    """Nothing is journalled, the policy before stays in force."""
    journal: list[Any] = []
    one = book(tmp_path, "", journal)
    with pytest.raises(SettingsError) as refused:
        one.reread(text)
    assert "policy.toml" in str(refused.value)
    assert place in str(refused.value)
    assert fix in str(refused.value)
    assert journal == []
    assert one.policy == Policy(calendar=one.policy.calendar)


def test_a_file_is_read_once_it_stands_still(tmp_path: Path) -> None:
    """A change is taken one turn after it was seen, once; a wrong file is said until it is mended or gone."""
    path, read = tmp_path / "policy.toml", []

    def reader() -> None:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text == "bad":
            raise SettingsError("policy.toml, line 1: bad")
        read.append(text)

    tables = Tables(tmp_path, {"policy.toml": reader})
    tables.turn()
    path.write_text("one", encoding="utf-8")
    for _ in range(3):
        tables.turn()
    path.write_text("bad", encoding="utf-8")
    for _ in range(3):
        tables.turn()
    assert (read, tables.trouble) == (["one"], {"policy.toml": "policy.toml, line 1: bad"})
    path.unlink()
    for _ in range(2):
        tables.turn()
    assert (read, tables.trouble) == (["one", ""], {})


def put(server: Serving, path: str, body: Any) -> httpx.Response:
    note = server.note()
    assert note is not None
    headers = {"Authorization": f"Bearer {note['token']}"}
    return httpx.put(note["url"] + path, json=body, headers=headers, timeout=30, trust_env=False)


def test_a_running_server_takes_its_tables_in(tmp_path: Path) -> None:
    """Changed files are in force without a restart; wrong ones are said in health and change nothing; what was set by
    API is there after kill -9; and the journal replayed from nothing gives the same."""
    city = write_small_city(tmp_path / "town")
    settings = replace(settings_in(tmp_path), city=CitySettings(dir=str(city)))
    policy, offices = city / "policy.toml", city / "departments.toml"
    with serving(tmp_path, settings) as server:
        policy.write_text("[type.tilt]\ndeadline_s = 60\n", encoding="utf-8")
        until(lambda: tilt(server) == 60, "the file is in force", 30)
        policy.write_text("[type.tilt]\ndeadline_s = 'soon'\n", encoding="utf-8")
        until(lambda: "policy.toml" in server.health()["tables"]["trouble"], "the wrong file is said", 30)
        told = next(one for one in server.health()["troubles"] if one["part"] == "tables")
        assert "policy.toml, line 2" in told["en"]
        assert tilt(server) == 60
        text = offices.read_text(encoding="utf-8")
        offices.write_text(text.replace("types = [", 'types = ["pigeon", ', 1), encoding="utf-8")
        until(lambda: "pigeon" in server.ask("/api/registry/departments").text, "the new table of departments", 30)
        offices.write_text("[[department]]\nid = 5\n", encoding="utf-8")
        until(lambda: "departments.toml" in server.health()["tables"]["trouble"], "the wrong table is said", 30)
        assert "pigeon" in server.ask("/api/registry/departments").text
        assert put(server, "/api/policy", {"type": 5}).status_code == 422
        assert put(server, "/api/policy", SLOW).status_code == 200
        server.process.kill()
        server.process.wait()
    policy.write_text("[type.tilt]\ndeadline_s = 60\n", encoding="utf-8")
    offices.write_text(text.replace("types = [", 'types = ["pigeon", ', 1), encoding="utf-8")
    with serving(tmp_path, settings) as server:
        assert server.ask("/api/policy").json()["overrides"] == SLOW
        assert [v["actor"] for v in server.ask("/api/registry/versions").json()] == ["files"]
        shown = CliRunner().invoke(app, ["policy", "show", "-c", str(server.config)])
        assert "leakage" in shown.output, shown.output
        new = tmp_path / "new.toml"
        new.write_text("[calendar]\nholidays = [2026-10-01]\n", encoding="utf-8")
        done = CliRunner().invoke(app, ["policy", "set", str(new), "-c", str(server.config)])
        assert done.exit_code == 0, done.output
        assert server.ask("/api/policy").json()["overrides"] == {"calendar": {"holidays": ["2026-10-01"]}}
        assert server.end() == 0
    checked = CliRunner().invoke(app, ["journal", "check", "-c", str(tmp_path / "citywhistle.toml"), "--json"])
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.output)["chain_equal"]


def tilt(server: Serving) -> float:
    return float(server.ask("/api/policy").json()["types"]["tilt"]["deadline_s"])
