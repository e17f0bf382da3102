"""Users, tokens and reveals on the command line, against a served city and its data directory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from typer.testing import CliRunner, Result

from dashboards.serve import serve
from tests.dashboards.fake_desk import FakeDesk
from twin.__main__ import app
from twin.access import Access, Veil
from twin.access import access as room

KEY = "a-key-of-scripts-for-tests"
WORD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost little; no token of the machine's own."""
    cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    real = room.Passwords
    monkeypatch.setattr(room, "Passwords", lambda hasher: real(hasher or cheap))
    for name in ("CITYWHISTLE_TOKEN", "CITYWHISTLE_TOKEN_FILE", "CITYWHISTLE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def desk() -> FakeDesk:
    made = FakeDesk(poles=20, cells=5, trucks=3)
    made.whistle(0)
    made.whistle(2, "truck-001")
    return made


@pytest.fixture
def home(tmp_path: Path, desk: FakeDesk) -> Iterator[Path]:
    """A configuration whose data directory says where the city is served."""
    access = Access(tmp_path / "users.db")
    running = serve(desk, token=KEY, access=access, veil=Veil(b"k" * 32, {"truck-001": "沪A12345"}))
    note = {"url": running.url, "token": KEY, "pid": os.getpid(), "ca": ""}
    (tmp_path / "running.json").write_text(json.dumps(note))
    (tmp_path / "citywhistle.toml").write_text(f'data_dir = "{tmp_path}"\n')
    yield tmp_path
    running.stop()
    access.close()


def run(home: Path, *words: str, typed: str = "", **env: str) -> Result:
    return CliRunner().invoke(app, [*words, "--config", str(home / "citywhistle.toml")], input=typed, env=env)


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def add(home: Path, name: str, role: str, *more: str) -> None:
    result = run(home, "users", "add", name, "--role", role, "--password-stdin", *more, typed=f"{WORD}\n")
    assert result.exit_code == 0, result.output


def test_users_from_the_first_to_the_last(home: Path) -> None:
    """Add, list, change, disable, remove; mistakes say in both languages what is wrong and change nothing."""
    add(home, "boss", "admin")
    add(home, "lamp", "department", "-d", "lighting", "--full-name", "张伟")
    listed = told(run(home, "users", "list", "--json"))
    assert [(one["name"], one["role"], one["departments"]) for one in listed] == [
        ("boss", "admin", []), ("lamp", "department", ["lighting"]),
    ]  # fmt: skip
    assert "argon2" not in json.dumps(listed)
    for words, typed in (
        (["users", "add", "weak", "--role", "operator", "--password-stdin"], "short\n"),
        (["users", "add", "boss", "--role", "operator", "--password-stdin"], f"{WORD}\n"),
        (["users", "add", "far", "--role", "department", "-d", "atlantis", "--password-stdin"], f"{WORD}\n"),
        (["users", "role", "boss", "auditor"], ""), (["users", "disable", "boss"], ""),
        (["users", "remove", "boss"], ""),
    ):  # fmt: skip
        refused = run(home, *words, typed=typed)
        assert refused.exit_code == 1, words
        assert " / " in refused.output, refused.output
    assert run(home, "users", "passwd", "nobody", "--password-stdin", typed=f"{WORD}\n").exit_code == 4
    assert run(home, "users", "role", "lamp", "auditor").exit_code == 0
    assert run(home, "users", "disable", "lamp").exit_code == 0
    assert [one["disabled"] for one in told(run(home, "users", "list", "--json"))] == [False, True]
    assert run(home, "users", "remove", "lamp").exit_code == 0
    book = told(run(home, "privacy", "list", "--book", "audit", "--json"))
    assert [one["event"] for one in book] == [
        "user_removed", "user_disabled", "role_changed", "user_added", "user_added",
    ]  # fmt: skip
    assert all(one["actor"].startswith("console ") for one in book)
    assert told(run(home, "privacy", "verify", "--book", "audit", "--json"))["ok"] is True


def test_whistles_as_a_user(home: Path, desk: FakeDesk) -> None:
    """With a token the command line acts as its user: the history has the name, the role decides, revoking ends it."""
    add(home, "mei", "dispatcher")
    made = told(run(home, "tokens", "create", "laptop", "--role", "operator", "--user", "mei", "--json"))
    env = {"CITYWHISTLE_TOKEN": made["token"]}
    assert run(home, "whistles", "accept", "c00001", **env).exit_code == 0
    assert desk.history("c00001")[-1].actor == "mei"
    refused = run(home, "whistles", "transfer", "c00001", "environment", "-r", "theirs", **env)
    assert refused.exit_code == 1
    assert "may not do this" in refused.output
    (home / "token").write_text(made["token"])
    note = json.loads((home / "running.json").read_text())
    elsewhere = {"CITYWHISTLE_URL": note["url"], "CITYWHISTLE_TOKEN_FILE": str(home / "token")}
    assert len(told(run(home, "whistles", "list", "--json", **elsewhere))) == 2
    assert "token" not in told(run(home, "tokens", "list", "--json"))[0]
    assert run(home, "tokens", "revoke", made["id"]).exit_code == 0
    assert run(home, "whistles", "list", **env).exit_code == 1


def test_a_reveal_needs_a_person(home: Path) -> None:
    """The key of the data directory reveals nothing; a user does, for a reason, and the book has it."""
    ask = ("privacy", "reveal", "truck-001", "--reason", "police asks at the gate")
    assert run(home, *ask).exit_code == 1
    add(home, "mei", "operator")
    made = told(run(home, "tokens", "create", "laptop", "--role", "operator", "--user", "mei", "--json"))
    shown = told(run(home, *ask, "--json", CITYWHISTLE_TOKEN=made["token"]))
    assert shown["value"] == "沪A12345"
    (line,) = told(run(home, "privacy", "list", "--json"))
    assert (line["actor"], line["reason"]) == ("mei", "police asks at the gate")
    assert "12345" not in run(home, "privacy", "list").output
    assert "every line is as it was written" in run(home, "privacy", "verify").output


def test_a_number_on_the_screen_is_a_pseudonym(tmp_path: Path) -> None:
    """`whistles route` says by which channel, not whose number."""
    config = tmp_path / "citywhistle.toml"
    config.write_text(
        f'data_dir = "{tmp_path}"\n[departments.lighting]\nchannel = "sms"\naddress = "+8613800000000"\n',
        encoding="utf-8",
    )
    shown = CliRunner().invoke(app, ["whistles", "route", "lamp_out", "pole-0001", "--config", str(config)])
    assert shown.exit_code == 0, shown.output
    assert "13800000000" not in shown.output
