"""The commands that look at a running server and act on its cases, against a real one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from tests.broker import TestBroker, open_broker
from tests.twin.app.serving import Serving, serving, settings_in, write_config
from tests.twin.ingest.conftest import Publisher, until
from twin.__main__ import app
from twin.command.client import clock

RUNNER = CliRunner()
POLE = "city/091001/pole/pole-0001/telemetry"


@dataclass
class Running:
    """A server that has heard three leaking poles and some nonsense."""

    server: Serving
    broker: TestBroker

    def call(self, *arguments: str) -> tuple[int, str]:
        """A command against this server: exit status and everything that it said."""
        done = RUNNER.invoke(app, [*arguments, "--config", str(self.server.config)], env={"COLUMNS": "300"})
        return done.exit_code, done.output

    def read(self, *arguments: str) -> Any:
        """What a command says to scripts."""
        code, told = self.call(*arguments, "--json")
        assert code == 0, told
        return json.loads(told)

    def case_of(self, subject: str) -> str:
        """The id of the open case on a device."""
        (case,) = [c["id"] for c in self.read("whistles", "list") if c["subject"] == subject]
        return str(case)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    with open_broker(folder / "broker") as broker, serving(folder, settings_in(folder, broker.host, broker.port)) as up:
        made = Running(up, broker)
        until(lambda: up.health()["link"] == "drained", "the link is up and drained")
        device = Publisher(broker)
        for pole in (1, 2, 3):
            for seq in (1, 2, 3, 4):
                told = {"boot": 1, "seq": seq, "t": time.time_ns() // 1_000_000, "leakageCurrent": 0.2}
                device.say(f"city/091001/pole/pole-{pole:04d}/telemetry", json.dumps(told).encode())
        device.say(POLE, b"[web] \x1b[31m not JSON")
        device.close()
        until(lambda: len(made.read("whistles", "list")) == 3, "three whistles")
        yield made


def test_list_and_show(running: Running) -> None:
    """The queue names every open case; one case shows its sentence in both languages, its history, what was sent."""
    code, told = running.call("whistles", "list")
    assert code == 0
    assert told.count("leakage") == 3
    case = running.case_of("pole-0001")
    code, told = running.call("whistles", "show", case)
    assert code == 0
    assert case in told
    head = running.read("whistles", "show", case)
    assert head["case"]["en"] in told
    assert head["case"]["zh"] in told
    assert [step["serial"] for step in head["history"]] == list(range(1, len(head["history"]) + 1))
    assert head["deliveries"]


def test_accept_and_close(running: Running) -> None:
    """A case is accepted and closed by command; its history names the steps; what it cannot take is refused."""
    case = running.case_of("pole-0002")
    code, told = running.call("whistles", "accept", case, "--reason", "crew [7] goes")
    assert (code, told) == (0, f"{case}: accepted\n")
    code, told = running.call("whistles", "close", case, "--reason", "cable replaced")
    assert code == 0
    after = running.read("whistles", "show", case)
    assert after["case"]["state"] in told
    assert "crew [7] goes" in [step["reason"] for step in after["history"]]
    code, told = running.call("whistles", "accept", case)
    assert code == 1
    assert "citywhistle:" in told
    assert "Traceback" not in told


def test_a_maintenance_window_by_command(running: Running) -> None:
    """Made for types on subjects from an hour on, listed, ended before its time; one that is not there is said so."""
    made = ("quiet", "--subject", "feeder-01", "--type", "lamp_out", "--in", "1", "--hours", "2")
    code, told = running.call("whistles", *made, "--reason", "cable works")
    assert code == 0
    (one,) = running.read("whistles", "mutes")
    assert one["id"] == told.strip()
    assert (one["types"], one["subjects"], one["reason"]) == (["lamp_out"], ["feeder-01"], "cable works")
    assert one["until_ms"] - one["from_ms"] == 7_200_000
    told = running.call("whistles", "mutes")[1]
    assert "cable works" in told
    assert clock(one["from_ms"]) in told  # with its year
    assert running.call("whistles", "mutes", "--end", one["id"]) == (0, "Nothing is kept quiet.\n")
    code, told = running.call("whistles", "mutes", "--end", one["id"])
    assert code == 1
    assert "there is no mute" in told


def test_show_names_each_step(running: Running) -> None:
    """A step that leaves the state as it is has its name too."""
    case = running.case_of("pole-0003")
    running.call("whistles", "comment", case, "--reason", "seen")
    told = running.call("whistles", "show", case)[1]
    assert re.search(r"comment\s+seen", told)
    assert re.search(r"dispatch\s+dispatched", told)


def test_an_unknown_case_is_not_found(running: Running) -> None:
    """Exit status 4, for every command on a case."""
    for arguments in (["show", "CW-1"], ["accept", "CW-1"], ["close", "CW-1", "--reason", "x"]):
        assert running.call("whistles", *arguments)[0] == 4


def test_account_and_rejects(running: Running) -> None:
    """The account adds up, in all and by device; a refused message is shown with its reason, and steers no terminal."""
    total = running.read("account")["total"]
    assert (total["journalled"], total["missing"], sum(total["rejected"].values())) == (12, 0, 1)
    code, told = running.call("account", "--devices", "--after", "pole-0000")
    assert code == 0
    assert "pole-0001" in told
    for word in ["received", "journalled", "stored", "duplicate", "late", "order", "missing", "rejected"]:
        assert re.search(rf"\b{word}\b", told), word  # headings are whole, on one line or two
    code, told = running.call("rejects")
    assert code == 0
    assert "syntax" in told
    assert "[web]" in told
    assert "\x1b[31m not" not in told
    assert running.read("rejects")[0]["topic"] == POLE


def test_health_and_open(running: Running) -> None:
    """Health says what works; `open` gives a link that opens once."""
    assert running.read("health")["ready"] is True
    code, told = running.call("health")
    assert code == 0
    assert "journal" in told
    first, second = running.read("open")["url"], running.read("open")["url"]
    assert first != second
    assert first.startswith("http://127.0.0.1:")


def test_verify_the_history(running: Running) -> None:
    """The chain of steps holds while the server runs; an earlier head is found again, a foreign one is not."""
    first = running.read("whistles", "verify")
    assert first["ok"]
    assert first["checked"] >= 3
    assert running.call("whistles", "verify", "--head", first["head"])[0] == 0
    code, told = running.call("whistles", "verify", "--head", "f" * 64)
    assert code == 1
    assert "no longer part" in told


def test_route_asks_the_tables_in_force(running: Running, tmp_path: Path) -> None:
    """What was set by command counts, though no file says so; an hour is the city's; what there is not is status 4."""
    before = running.read("whistles", "route", "lamp_out", "pole-0001")
    assert (before["kind"], before["always"]) == ("single", False)
    table = tmp_path / "policy.toml"
    table.write_text('[type.lamp_out]\nkind = "emergency"\nalways = true\ndeadline_s = 3600\n', encoding="utf-8")
    assert running.call("policy", "set", str(table))[0] == 0
    now = running.read("whistles", "route", "lamp_out", "pole-0001", "--at", "2026-11-28T22:00")
    assert (now["kind"], now["always"], now["timezone"]) == ("emergency", True, "Europe/Helsinki")
    due = datetime(2026, 11, 28, 23, tzinfo=ZoneInfo("Europe/Helsinki"))
    assert now["deadline_ms"] == round(due.timestamp() * 1000)
    code, told = running.call("whistles", "route", "--explain", "lamp_out", "pole-0001")
    assert (code, "emergency; at that hour" in told) == (0, True), told
    assert running.call("whistles", "route", "lamp_out", "nobody")[0] == 4
    assert running.call("whistles", "route", "lamp_in", "pole-0001")[0] == 4
    table.write_text("", encoding="utf-8")
    assert running.call("policy", "set", str(table))[0] == 0


def test_doctor_of_a_running_server(running: Running) -> None:
    """With broker and server running nothing is bad, and the page is known to be served."""
    code, told = running.call("doctor")
    assert code == 0, told
    assert "a server runs in" in told


def test_journal_check_wants_the_server_stopped(running: Running) -> None:
    """A journal in use is not touched: the process that has it is named."""
    code, told = running.call("journal", "check")
    assert code == 1
    assert str(running.server.process.pid) in told


def test_a_channel_is_tried(running: Running, tmp_path: Path) -> None:
    """`channels test mqtt` sends to a device over the real broker; an unknown device, an unconfigured channel and a
    webhook that nobody answers are told apart by exit status."""
    code, told = running.call("channels", "test", "mqtt", "--to", "pole-0001")
    assert code == 0, told
    assert "taken by the broker" in told
    assert running.call("channels", "test", "mqtt", "--to", "nobody")[0] == 4
    assert running.call("channels", "test", "pigeon")[0] == 4
    assert running.call("channels", "test", "mail")[0] == 2
    code, told = running.call("channels", "test", "webhook", "--to", "http://127.0.0.1:9/")
    assert code == 1
    assert "webhook:" in told


def test_journal_check_of_a_stopped_server(tmp_path: Path) -> None:
    """Every entry is read and the replay from nothing gives the recorded cases; afterwards no server is running."""
    with open_broker(tmp_path / "broker") as broker:
        settings = settings_in(tmp_path, broker.host, broker.port)
        with serving(tmp_path, replace(settings, data_dir=str(tmp_path / "data"))) as server:
            here = Running(server, broker)
            until(lambda: server.health()["link"] == "drained", "the link is up and drained")
            device = Publisher(broker)
            for seq in range(1, 5):
                told = {"boot": 1, "seq": seq, "t": time.time_ns() // 1_000_000, "leakageCurrent": 0.2}
                device.say(POLE, json.dumps(told).encode())
            device.close()
            until(lambda: here.read("whistles", "list"), "a whistle")
            assert here.call("whistles", "accept", here.case_of("pole-0001"))[0] == 0
            assert server.end() == 0
        checked = here.read("journal", "check")
        assert (checked["cases"], checked["chain_equal"], checked["differing"]) == (1, True, [])
        code, said = here.call("journal", "check")
        assert (code, "same cases, same history" in said) == (0, True)
        code, said = here.call("health")
        assert code == 1
        assert "no server is running" in said


def test_the_store_is_told_copied_and_taken_out_while_it_runs(running: Running, tmp_path: Path) -> None:
    """info, backup and export work beside the server, and leave nothing of theirs in its directory."""
    told = running.read("store", "info")
    assert told["backend"] == "embedded"
    made = running.read("store", "backup", str(tmp_path / "copy"))
    assert made["rows"] >= 12
    assert running.call("store", "backup", str(tmp_path / "copy"))[0] == 1
    code, words = running.call("store", "restore", str(tmp_path / "copy"), "--yes")
    assert (code, "stop it" in words) == (1, True)
    out = tmp_path / "poles.csv"
    assert running.read("export", "pole", "--out", str(out)) == {"path": str(out), "rows": 12}
    assert out.read_text(encoding="utf-8").count("pole-0002") == 4
    code, words = running.call("export", "pole", "--out", str(out), "--from", "yesterday")
    assert (code, "2026-11-30" in words) == (2, True)
    assert list((running.server.data / "backups").iterdir()) == []


def test_a_backup_of_a_running_server_goes_on_elsewhere(running: Running, tmp_path: Path) -> None:
    """Taken while it works, restored into an empty directory: that server has the cases with their history, which is
    proved, the users and the readings, and goes on with the device where the journal ended."""
    case = running.case_of("pole-0001")
    head = running.read("whistles", "verify")["head"]
    copy = tmp_path / "whole"
    own = running.read("store", "backup", str(copy))["own"]
    assert {"users.db", "answer.key", "pseudonym.key", "city.db", "cases.db", "journal.db"} <= set(own)
    settings = settings_in(tmp_path / "other", running.broker.host, running.broker.port + 1)
    config = write_config(tmp_path / "other", settings)
    done = RUNNER.invoke(app, ["store", "restore", str(copy), "--yes", "--config", str(config)])
    assert done.exit_code == 0, done.output
    with serving(tmp_path / "other", settings) as server:
        other = Running(server, running.broker)
        assert other.case_of("pole-0001") == case
        assert other.read("whistles", "verify", "--head", head)["ok"]
        assert other.read("account")["total"]["stored"] >= 12
        assert other.read("store", "info")["position"] > 0
        assert server.end() == 0
    assert other.read("journal", "check")["chain_equal"]


def test_rules_are_shown_set_and_taken_back(running: Running, tmp_path: Path) -> None:
    """What is set is in force and shown as a difference; what is wrong is refused by name, and changes nothing."""
    assert "leakage" not in running.read("rules", "show")  # the city has wishes of its own
    assert running.read("rules", "show", "leakage")["leakage"]["limit"] == 0.030
    file = tmp_path / "rules.toml"
    file.write_text("[leakage]\nlimit = 0.05\n[[leakage.where]]\nhours = [22, 6]\nlimit = 0.02\n", encoding="utf-8")
    code, told = running.call("rules", "set", str(file))
    assert (code, "leakage" in told) == (0, True), told
    until(lambda: "leakage" in running.read("rules", "show"), "the rules are in force")
    assert running.read("rules", "show")["leakage"]["limit"] == 0.05
    code, told = running.call("rules", "show")
    assert "limit = 0.05" in told
    assert "where" in told
    wrong = {
        "leekage": "[leekage]\nlimit = 1\n",
        "limmit": "[leakage]\nlimmit = 1\n",
        "line 1": "[leakage\nlimit = 1\n",
    }
    for named, text in wrong.items():
        file.write_text(text, encoding="utf-8")
        code, told = running.call("rules", "set", str(file))
        assert code == 2
        assert named in told
    assert running.call("rules", "show", "leekage")[0] == 2
    assert running.call("rules", "set", str(tmp_path / "none.toml"))[0] == 2
    assert running.read("rules", "show")["leakage"]["limit"] == 0.05
    assert running.call("rules", "set", "/dev/null")[0] == 0
    until(lambda: running.read("rules", "show") == {}, "all as shipped")
    code, told = running.call("rules", "show")
    assert (code, "all as shipped" in told) == (0, True)


def test_budgets_are_told(running: Running) -> None:
    """Every class that keeps to a budget: what is allowed, and what verdicts did to its bars."""
    told = {one["detector"]: one for one in running.read("rules", "budgets")}
    assert {"sensors", "sleeping_cell", "coverage_loss", "interference", "night_noise", "dust"} <= set(told)
    assert told["sensors"]["per"] == "channel-days"
    assert told["sleeping_cell"]["bars_times"] == 1.0
    code, words = running.call("rules", "budgets")
    assert code == 0
    assert "sleeping_cell" in words
    assert "false_per_1000_channel_days" in words
