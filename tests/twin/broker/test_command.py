"""`citywhistle broker`: provision, users, start."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.broker import need_mosquitto
from twin.broker.command import SHIPPED, app
from twin.broker.conf import BrokerFiles
from twin.broker.process import answers, free_port, reload_broker
from twin.broker.provision import read_credentials

CITY = str(Path(__file__).resolve().parents[3] / SHIPPED)


def test_provisioning_the_shipped_city_says_what_it_did(tmp_path: Path) -> None:
    """The first time everybody is new, the second time nobody."""
    said = CliRunner().invoke(app, ["provision", CITY, "--dir", str(tmp_path)])
    assert said.exit_code == 0, said.output
    users = len(read_credentials(BrokerFiles(tmp_path)))
    assert f"{users} users" in said.output
    assert f"({users} new, 0 retired)" in said.output
    assert "(0 new, 0 retired)" in CliRunner().invoke(app, ["provision", CITY, "--dir", str(tmp_path)]).output


def test_users_are_listed_without_passwords(tmp_path: Path) -> None:
    """A script sees roles and counts; no secret leaves by this way."""
    CliRunner().invoke(app, ["provision", CITY, "--dir", str(tmp_path)])
    said = CliRunner().invoke(app, ["users", CITY, "--dir", str(tmp_path), "--json"])
    rows = {row["user"]: row for row in json.loads(said.output)}
    assert rows["server"] == {"user": "server", "role": "server", "devices": 0, "provisioned": True}
    assert all(row["devices"] > 0 for row in rows.values() if row["role"] == "gateway")
    for word in read_credentials(BrokerFiles(tmp_path)).values():
        assert word not in said.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["provision", "nowhere"], "nowhere"),
        (["users", CITY], "citywhistle broker provision"),
        (["start"], "citywhistle broker provision"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Exit status 1 and one sentence, no traceback."""
    said = CliRunner().invoke(app, [*arguments, "--dir", str(tmp_path / "empty")])
    assert said.exit_code == 1
    assert words in " ".join(said.output.split())


@pytest.mark.broker
def test_start_runs_the_broker_in_the_foreground_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """It becomes the broker: one process, which others can reload and which ends by SIGTERM."""
    need_mosquitto()
    CliRunner().invoke(app, ["provision", CITY, "--dir", str(tmp_path)])
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-m", "twin.broker", "start", "--dir", str(tmp_path), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        assert f"127.0.0.1:{port}" in child.stdout.readline()
        while "running" not in child.stderr.readline():
            assert child.poll() is None
        assert answers("127.0.0.1", port)
        assert reload_broker(BrokerFiles(tmp_path))
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    finally:
        child.kill()
        child.communicate()


@pytest.mark.broker
def test_start_on_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    """One sentence with the port, exit status 1."""
    need_mosquitto()
    CliRunner().invoke(app, ["provision", CITY, "--dir", str(tmp_path)])
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        said = CliRunner().invoke(app, ["start", "--dir", str(tmp_path), "--port", port])
    assert said.exit_code == 1
    assert f"port {port} of 127.0.0.1 is taken" in " ".join(said.output.split())
