"""The configuration and the commands around it: everything wrong is named with file, line and fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.__main__ import app
from edge.config import EdgeConfig, example, load_config, parse_config
from edge.errors import ConfigError
from edge.gateway import write_aside

LEAST = '[gateway]\nid = "gw-1"\ndistrict = "d1"\n[broker]\nhost = "h"\n'


def parse(text: str, env: dict[str, str] | None = None) -> EdgeConfig:
    return parse_config(text, "edge.toml", env or {})


def test_the_written_configuration_is_valid_and_holds_the_defaults(tmp_path: Path) -> None:
    """`config init` writes what `config check` accepts, and its numbers are those that hold without it."""
    file = tmp_path / "edge.toml"
    runner = CliRunner()
    assert runner.invoke(app, ["config", "init", str(file)]).exit_code == 0
    assert file.read_text(encoding="utf-8") == example()
    checked = runner.invoke(app, ["config", "check", str(file)])
    assert checked.exit_code == 0
    assert "1 devices behind gw-1, 1 sources" in checked.output
    written, least = load_config(file, {}), parse(LEAST)
    for name in ("marks", "limits", "max_bytes", "commit_every_s", "commit_readings", "commit_acks", "health_every_s",
                 "status_every_s", "data_dir"):  # fmt: skip
        assert getattr(written, name) == getattr(least, name), name


def test_an_existing_configuration_is_not_overwritten(tmp_path: Path) -> None:
    """Only --force replaces a file."""
    file = tmp_path / "edge.toml"
    file.write_text("mine", encoding="utf-8")
    refused = CliRunner().invoke(app, ["config", "init", str(file)])
    assert (refused.exit_code, file.read_text(encoding="utf-8")) == (1, "mine")
    assert CliRunner().invoke(app, ["config", "init", str(file), "--force"]).exit_code == 0
    assert file.read_text(encoding="utf-8") == example()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[gateway", 1, "not TOML"),
        ('[gateway]\ndistrict = "d1"\nid = 3', 3, "no text"),
        ('[gateway]\nid = "a/b"\ndistrict = "d1"', 2, "cannot stand in a topic"),
        ('[gateway]\nid = "g"', 1, "no district"),
        (LEAST + "colour = 1", 6, "unknown key"),
        ("[colour]", 1, "unknown key"),
        (LEAST + "port = 99999", 6, "within 1..65535"),
        (LEAST + 'ca_file = "x"', 6, "without tls"),
        (LEAST + 'tls = true\nca_file = "/nowhere.pem"', 7, "TLS files"),
        (LEAST + 'password_file = "/nowhere"', 6, "no password"),
        (LEAST + "[spool]\nmax_bytes = 5", 7, "within"),
        (LEAST + "[spool]\nmax_bytes = 5e6\ncommit_readings = 1.5", 8, "no whole number"),
        (LEAST + '[devices]\np = "poll"', 7, "kind 'poll'"),
        (LEAST + '[devices]\ngw-1 = "gateway"', 7, "cannot be the id"),
        (LEAST + '[devices]\np = { kind = "pole", colour = 1 }', 7, "unknown key"),
        (LEAST + "[[policy]]\nlongest_s = 9\n[[policy]]\nlongest_s = 5\nshortest_s = 6", 9, "less than shortest_s"),
        (LEAST + '[[source]]\ntype = "pigeon"', 7, "one of lines, mqtt_local"),
        (LEAST + "marks = 1", 6, "neither true nor false"),
        (LEAST + "[uplink]\nwindow = true", 7, "no number"),
    ],
)
def test_what_is_wrong_names_its_line(text: str, line: int, said: str) -> None:
    """Every complaint begins with file:line, so that an editor can jump there."""
    with pytest.raises(ConfigError, match=rf"^edge\.toml:{line}: .*{said}"):
        parse(text)


def test_the_environment_overrides_plain_keys(tmp_path: Path) -> None:
    """CITYWHISTLE_EDGE_BROKER_HOST and its kin replace what the file says, of the right type."""
    config = parse(
        LEAST,
        {
            "CITYWHISTLE_EDGE_BROKER_HOST": "city.example",
            "CITYWHISTLE_EDGE_BROKER_PORT": "1999",
            "CITYWHISTLE_EDGE_BROKER_MARKS": "false",
            "CITYWHISTLE_EDGE_GATEWAY_DATA_DIR": str(tmp_path),
            "CITYWHISTLE_EDGE_SPOOL_COMMIT_EVERY_S": "2.5",
        },
    )
    assert (config.broker.host, config.broker.port, config.marks) == ("city.example", 1999, False)
    assert (config.data_dir, config.commit_every_s) == (tmp_path, 2.5)
    with pytest.raises(ConfigError, match=r"broker\.port"):
        parse(LEAST, {"CITYWHISTLE_EDGE_BROKER_PORT": "many"})


def test_devices_may_stand_in_another_district() -> None:
    """A device's district is the gateway's unless it says another."""
    config = parse(LEAST + '[devices]\np-1 = "pole"\nt-1 = { kind = "truck", district = "d2" }')
    assert [(a.device, a.kind, a.district) for a in config.behind] == [("p-1", "pole", "d1"), ("t-1", "truck", "d2")]


def test_status_without_a_running_gateway_fails_readably(tmp_path: Path) -> None:
    """No status file, a torn one, and one that has grown old: each ends with status 1 and says so."""
    file = tmp_path / "edge.toml"
    data = tmp_path / "data"
    file.write_text(LEAST.replace("[broker]", f'data_dir = "{data}"\n[broker]'), encoding="utf-8")
    runner = CliRunner()
    gone = runner.invoke(app, ["status", "-c", str(file)])
    assert gone.exit_code == 1
    assert "is the gateway running?" in gone.output
    data.mkdir()
    (data / "status.json").write_text("{", encoding="utf-8")
    assert runner.invoke(app, ["status", "-c", str(file)]).exit_code == 1
    old = {"id": "gw-1", "running": True, "written_ms": 0, "every_s": 10.0}
    write_aside(data / "status.json", old)
    stale = runner.invoke(app, ["status", "-c", str(file), "--json"])
    assert stale.exit_code == 1
    assert json.loads(stale.output)["alive"] is False
