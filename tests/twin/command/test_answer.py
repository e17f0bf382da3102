"""The whistles' steps on the command line, against a served city."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dashboards.serve import serve
from tests.dashboards.fake_desk import FakeDesk
from twin.command.whistles import app

KEY = "a-key-of-scripts-for-tests"


@pytest.fixture
def desk() -> FakeDesk:
    """A small city with one dispatched case, c00001."""
    made = FakeDesk(poles=20, cells=5, trucks=3)
    made.whistle(0)
    return made


@pytest.fixture
def config(tmp_path: Path, desk: FakeDesk) -> Iterator[Path]:
    """A configuration whose data directory says where the city is served."""
    running = serve(desk, token=KEY)
    (tmp_path / "running.json").write_text(json.dumps({"url": running.url, "token": KEY, "pid": os.getpid()}))
    path = tmp_path / "citywhistle.toml"
    path.write_text(f'data_dir = "{tmp_path}"\n')
    yield path
    running.stop()


@pytest.mark.parametrize(
    ("words", "verb", "reason", "arguments"),
    [
        (["handle", "-r", "lamp replaced"], "handle", "lamp replaced", {}),
        (["return", "-r", "not ours"], "return", "not ours", {}),
        (["transfer", "power", "-r", "theirs"], "transfer", "theirs", {"department": "power"}),
        (["extend", "--hours", "2", "-r", "parts"], "extend", "parts", {"extra_s": 7200.0}),
        (["approve"], "approve", "", {}),
        (["approve", "--hours", "1"], "approve", "", {"extra_s": 3600.0}),
        (["confirm", "--override", "seen"], "verify", "", {"override": "seen"}),
        (["comment", "-r", "on the way"], "comment", "on the way", {}),
        (["merge", "c00002", "-r", "one feeder"], "merge", "one feeder", {"into": "c00002"}),
        (["resend"], "resend", "", {}),
        (["unmute", "mute-0001"], "unmute", "", {"mute": "mute-0001"}),
    ],
)
def test_steps_reach_the_desk(
    config: Path, desk: FakeDesk, words: list[str], verb: str, reason: str, arguments: dict[str, Any]
) -> None:
    """Each command asks for its verb with its arguments."""
    result = CliRunner().invoke(app, [words[0], "c00001", *words[1:], "--config", str(config)])
    assert result.exit_code == 0, result.output
    assert desk.asked == [(verb, "c00001", "script", reason, arguments)]


def test_a_mute_is_in_city_time(config: Path, desk: FakeDesk) -> None:
    """`mute` counts its hours from the city's clock, on this type and subject alone."""
    words = ["mute", "c00001", "--hours", "2", "-r", "works", "--config", str(config)]
    assert CliRunner().invoke(app, words).exit_code == 0
    told = desk.asked[0][4]
    assert (told["until_ms"], told["subjects"]) == (desk.city_ms + 7_200_000, [desk.book["c00001"].subject])


def test_a_refusal_ends_the_command(config: Path, desk: FakeDesk) -> None:
    """A step that the case cannot take ends the command with status 1, and a bad verdict never leaves it."""
    refused = CliRunner().invoke(app, ["evaluate", "c00001", "--false", "--config", str(config)])
    assert (refused.exit_code, desk.asked) == (1, [])
    assert CliRunner().invoke(app, ["evaluate", "c00001", "--score", "9", "--config", str(config)]).exit_code == 2
