"""The store's commands beside a stopped server."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import servers
from tests.contracts.readings import HOUR_MS, T0, batch
from tests.twin.app.serving import settings_in, write_config
from twin.__main__ import app
from twin.journal import Journal
from twin.records import Names
from twin.store.embedded import EmbeddedStore
from twin.store.protocol import Rows

RUNNER = CliRunner()


def call(config: Path, *words: str) -> tuple[int, str]:
    """A command: exit status and everything that it said."""
    done = RUNNER.invoke(app, [*words, "--config", str(config)], env={"COLUMNS": "300"})
    return done.exit_code, done.output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a stopped server whose store holds two readings; a killed one left its note."""
    data = tmp_path / "data"
    data.mkdir()
    journal = Journal(data / "journal.db")
    journal.append([Names((("pole", 0, "pole-0"),))])
    store = EmbeddedStore(data / "store", Rows(journal.names()), journal=journal.id, seal_every_s=None)
    store.append(2, batch([(0, T0, 1, {"pm25": 7.0}), (0, T0 + HOUR_MS, 2, {"pm25": 8.0})]))
    store.close()
    journal.close()
    (data / "running.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "token": "x", "pid": 2**22 + 1}))
    return write_config(tmp_path, settings_in(tmp_path))


def test_backup_restore_and_export(config: Path, tmp_path: Path) -> None:
    """A copy goes back, the former store stays beside it, and the readings are still there to be taken out."""
    copy = tmp_path / "copy"
    code, told = call(config, "store", "backup", str(copy))
    assert (code, "2 sealed rows" in told) == (0, True), told
    code, told = call(config, "store", "restore", str(copy), "--yes")
    assert (code, "former store" in told) == (0, True), told
    out = tmp_path / "out.csv"
    code, told = call(config, "export", "pole", "--out", str(out), "--from", "2023-11-14T00:30:00Z")
    assert (code, "1 rows" in told) == (0, True), told
    assert "8.0" in out.read_text(encoding="utf-8")
    code, told = call(config, "store", "info", "--json")
    assert json.loads(told)["position"] == 2


def test_what_cannot_be_done_is_said(config: Path, tmp_path: Path) -> None:
    """A foreign directory, an unknown kind and another server's series are refused with what to do."""
    (tmp_path / "odd").mkdir()
    for words, said in (
        (("store", "restore", str(tmp_path / "odd"), "--yes"), "no whole backup"),
        (("store", "backup", str(tmp_path / "odd")), "is there already"),
        (("export", "lamp", "--out", "x.csv"), "the kinds are"),
    ):
        code, told = call(config, *words)
        assert code != 0
        assert said in told
    text = config.read_text().replace('kind = "embedded"', 'kind = "influxdb"')
    config.write_text(text)
    for words in (("store", "info"), ("export", "pole", "--out", "x.csv"), ("store", "backup", str(tmp_path / "c"))):
        code, told = call(config, *words)
        assert (code, "influx backup" in told) == (1, True), told
    code, told = call(config, "store", "init")
    assert (code, "token_file" in told) == (2, True)
    config.write_text(text.replace('token_file = ""', f'token_file = "{tmp_path / "token"}"'))
    code, told = call(config, "store", "init")
    assert (code, "--password-file" in told) == (2, True)


def test_init_makes_a_real_influxdb_ready(config: Path, tmp_path: Path) -> None:
    """Bucket and token are made; the token's file is its owner's alone; again is refused."""
    (tmp_path / "influx").mkdir()
    server = servers.influxdb(tmp_path / "influx")
    server.start()
    try:
        text = (
            config.read_text()
            .replace('kind = "embedded"', 'kind = "influxdb"')
            .replace('url = ""', f'url = "{server.url}"', 1)
        )
        config.write_text(text.replace('token_file = ""', f'token_file = "{tmp_path / "token"}"'))
        (tmp_path / "password").write_text("a-password-for-tests\n")
        code, told = call(config, "store", "init", "--password-file", str(tmp_path / "password"))
        assert (code, "is ready" in told) == (0, True), told
        assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
        code, told = call(config, "store", "init", "--password-file", str(tmp_path / "password"))
        assert (code, "holds a token already" in told) == (1, True)
    finally:
        server.stop()
