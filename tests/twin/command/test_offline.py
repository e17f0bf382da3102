"""The commands that need no server: configuration, doctor, routes, the history; what they say without one."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devices.cities.load import load_city
from tests.broker import TestBroker, guarded_broker
from tests.devices.small_city import write_small_city
from tests.servers import free_port
from tests.twin.app.serving import settings_in, write_config
from tests.twin.whistle.city import Story
from twin.__main__ import app
from twin.broker.provision import provision
from twin.deliver.cases import Cases
from twin.settings import Settings, StoreSettings, WebSettings

RUNNER = CliRunner()


def call(*arguments: str) -> tuple[int, str]:
    """A command: exit status and everything that it said."""
    done = RUNNER.invoke(app, list(arguments), env={"COLUMNS": "300"})
    return done.exit_code, done.output


def test_config_init_and_check(tmp_path: Path) -> None:
    """init writes what check finds fine, does not overwrite unless forced, and says where it cannot write."""
    path = str(tmp_path / "citywhistle.toml")
    assert call("config", "init", path)[0] == 0
    assert call("config", "check", path) == (0, f"{path}: fine\n")
    code, told = call("config", "init", path)
    assert code == 1
    assert "--force" in told
    assert call("config", "init", path, "--force")[0] == 0
    assert call("config", "init", str(tmp_path / "no" / "x.toml"))[0] == 1
    code, told = call("config", "check", path, "--json")
    assert json.loads(told)["web"]["port"] == 8080


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[web]\nprt = 1\n", "citywhistle.toml:2: unknown key 'prt' in [web]"),
        ("[tick]\ninterval_s = '3 MB'\n", "citywhistle.toml:2"),
        ("[channels.pigeon]\nloft = 3\n", "citywhistle.toml:1: no channel 'pigeon'"),
        ("[channels.mail]\nhost = 'x'\nprt = 1\n", "citywhistle.toml:3: channel mail: unknown key 'prt'"),
        ("[channels.mail]\nport = 'x'\n", "citywhistle.toml:2: channel mail: port = 'x'"),
        ("[channels.mail]\npassword = 'x'\n", "citywhistle.toml:2: password stands in a file of its own"),
        ("[channels.mail]\npassword_file = '/nowhere/x'\n", "citywhistle.toml:2: /nowhere/x: secret cannot be read"),
        ("[channels]\nmail = 3\n", "citywhistle.toml:1: channels holds tables"),
        ("[departments.lighting]\nchanel = 'mail'\n", "citywhistle.toml:2: unknown key 'chanel'"),
        ("a = = 1\n", "not TOML"),
    ],
)
def test_a_wrong_configuration_names_file_line_and_fix(tmp_path: Path, text: str, words: str) -> None:
    """Whatever is wrong in a configuration ends `config check` with status 2 and its place."""
    path = tmp_path / "citywhistle.toml"
    path.write_text(text, encoding="utf-8")
    code, told = call("config", "check", str(path))
    assert code == 2
    assert words in told


def verdicts(settings: Settings, folder: Path) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status of the doctor, and what it found by what it looked at."""
    code, told = call("doctor", "--config", str(write_config(folder, settings)), "--json")
    return code, {sign["what"]: sign for sign in json.loads(told)}


def test_doctor_finds_what_is_wrong(tmp_path: Path) -> None:
    """Broker and store away and the page's port taken: each is bad, says where, and what to do; status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = replace(
            settings_in(tmp_path),
            web=WebSettings(port=port),
            store=StoreSettings(kind="influxdb", url=f"http://127.0.0.1:{free_port()}"),
        )
        code, found = verdicts(settings, tmp_path)
        code_of_people, told = call("doctor", "--config", str(tmp_path / "citywhistle.toml"))
    assert code == code_of_people == 1
    assert {what for what, sign in found.items() if sign["verdict"] == "bad"} == {"broker", "store", "page"}
    assert str(settings.broker.port) in found["broker"]["found"]
    assert "start" in found["broker"]["advice"]
    assert str(port) in found["page"]["found"]
    assert "[web] port" in found["page"]["advice"]
    assert "[web] port" in told


def test_doctor_is_content_with_a_good_broker(tmp_path: Path, broker: TestBroker) -> None:
    """With everything there nothing is bad, and the status is 0."""
    code, found = verdicts(settings_in(tmp_path, broker.host, broker.port), tmp_path)
    assert code == 0, found
    assert found["broker"]["verdict"] == "ok"


def test_doctor_tells_a_wrong_password(tmp_path: Path) -> None:
    """A broker that refuses the server's user is told from one that is away, and from a file that is not there."""
    provision(load_city("helsinki").devices[:2], tmp_path / "broker")
    with guarded_broker(tmp_path / "broker") as broker:
        settings = settings_in(tmp_path, broker.host, broker.port)
        wrong = tmp_path / "wrong"
        wrong.write_text("not it\n", encoding="utf-8")
        for file, word in ((str(wrong), "password_file"), (str(tmp_path / "absent"), "credentials")):
            told = replace(settings, broker=replace(settings.broker, user="server", password_file=file))
            code, found = verdicts(told, tmp_path)
            assert (code, found["broker"]["verdict"]) == (1, "bad")
            assert word in found["broker"]["advice"]


def test_doctor_tells_a_port_that_speaks_no_mqtt(tmp_path: Path) -> None:
    """A server that takes the connection and says nothing is no broker."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        code, found = verdicts(settings_in(tmp_path, "127.0.0.1", deaf.getsockname()[1]), tmp_path)
    assert code == 1
    assert "MQTT" in found["broker"]["found"]


@pytest.mark.parametrize("note", [None, "half a no", '{"url": "http://127.0.0.1:1", "token": "x", "pid": %d}'])
def test_without_a_server_the_commands_say_so(tmp_path: Path, note: str | None) -> None:
    """No note, a damaged one, and one of a process that was killed: status 1 and how to start a server."""
    config = str(write_config(tmp_path, settings_in(tmp_path)))
    if note is not None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "running.json").write_text(note % gone.pid if "%d" in note else note, encoding="utf-8")
    for command in (["health"], ["account"], ["rejects"], ["open"], ["whistles", "list"], ["whistles", "show", "x"]):
        code, told = call(*command, "--config", config)
        assert code == 1
        assert "citywhistle up" in told


def test_route_explains_itself(tmp_path: Path) -> None:
    """Where a case goes and why, in both languages; [departments.ID] directs it; what is unknown is status 4."""
    more = '\n[departments.lighting]\nchannel = "mail"\naddress = "li@example.org"\n[channels.mail]\nport = 25\n'
    config = str(write_config(tmp_path, settings_in(tmp_path), more))
    code, told = call("whistles", "route", "--explain", "lamp_out", "pole-0001", "--config", config)
    assert code == 0
    assert re.fullmatch(r"lighting by mail mail-[a-z2-7]{12}", told.splitlines()[0])
    assert "answers for lamp_out" in told
    assert "负责" in told
    code, told = call("whistles", "route", "lamp_out", "pole-0001", "--config", config, "--json")
    assert json.loads(told)["department"] == "lighting"
    assert call("whistles", "route", "lamp_in", "pole-0001", "--config", config)[0] == 4
    assert call("whistles", "route", "lamp_out", "nobody", "--config", config)[0] == 4
    code, told = call("channels", "list", "--config", config, "--json")
    mail = next(one for one in json.loads(told) if one["channel"] == "mail")
    assert (mail["configured"], mail["departments"]) == (True, ["lighting"])


@pytest.mark.parametrize(
    ("table", "word"),
    [('[departments.nobody]\nchannel = "mail"\n', "nobody"), ('[departments.lighting]\nchannel = "x"\n', "no channel")],
)
def test_a_wrong_direction_is_a_wrong_configuration(tmp_path: Path, table: str, word: str) -> None:
    """A department that the city has not, or a channel that there is not: status 2 with file and line."""
    config = str(write_config(tmp_path, settings_in(tmp_path), "\n" + table))
    code, told = call("whistles", "route", "lamp_out", "pole-0001", "--config", config)
    assert code == 2
    assert word in told
    assert "citywhistle.toml:" in told


def test_a_forged_history_is_found(tmp_path: Path) -> None:
    """One word changed in one step of the history: verify names the step and ends with status 1."""
    story = Story()
    story.after(1, [story.finding("leakage", "pole-0005")])
    story.act("accept", story.only())
    config = str(write_config(tmp_path, settings_in(tmp_path)))
    code, told = call("whistles", "verify", "--config", config)
    assert code == 1
    assert "no cases" in told
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "cases.db"
    with closing(Cases(path)) as cases:
        for n, changes in enumerate(story.log, 1):
            cases.record(n, changes)
    assert call("whistles", "verify", "--config", config)[0] == 0
    with closing(sqlite3.connect(path)) as link:
        link.execute("UPDATE transitions SET actor = 'wang' WHERE n = 2")
        link.commit()
    code, told = call("whistles", "verify", "--config", config)
    assert code == 1
    assert "altered" in told
    assert "entry 2" in told


def test_journal_check_without_a_journal(tmp_path: Path) -> None:
    """A directory without a journal is said, not made."""
    config = write_config(tmp_path, settings_in(tmp_path))
    code, told = call("journal", "check", "--config", str(config))
    assert code == 1
    assert "no journal" in told
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("devices.csv", "cabinet-011", "cabinet-999", "cabinet 'cabinet-999' does not exist"),
        ("rules.toml", "", "[lamp_out]\nshare = 'x'\n", "rules.toml: lamp_out.share must be a number"),
        ("rules.toml", "", "[lamp_out\n", "rules.toml: "),
        ("policy.toml", "", "[types\n", "policy.toml: "),
    ],
)
def test_config_check_loads_the_city_too(tmp_path: Path, file: str, old: str, new: str, words: str) -> None:
    """What a start would read of the city is read: files, rules, policy; and a department without a way is told."""
    city = write_small_city(tmp_path / "town")
    config = tmp_path / "citywhistle.toml"
    config.write_text(f'[city]\ndir = "{city}"\n', encoding="utf-8")
    code, told = call("config", "check", str(config))
    assert code == 0, told
    path = city / file
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "").replace(old, new, 1) or new)
    code, told = call("config", "check", str(config))
    assert code == 2
    assert words in told
    config.write_text('[city]\ndir = "/no/such/city"\n', encoding="utf-8")
    assert call("config", "check", str(config))[0] == 2


def test_config_check_tells_of_a_department_that_nothing_reaches(tmp_path: Path) -> None:
    """Its whistles would become dead letters: said, though the configuration is fine."""
    city = write_small_city(tmp_path / "town")
    path = city / "departments.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("areas =", 'channel = "mail"\nareas =', 1))
    config = tmp_path / "citywhistle.toml"
    config.write_text(f'[city]\ndir = "{city}"\n', encoding="utf-8")
    code, told = call("config", "check", str(config))
    assert code == 0
    assert "there is no [channels.mail]" in told
