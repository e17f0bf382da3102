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
from twin.access import Access
from twin.access.veil import veil_key
from twin.deliver.links import link_secret
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


def test_users_and_keys_come_along_and_go_back(config: Path, tmp_path: Path) -> None:
    """A server that lost them has them again, one that has its own keeps them unless told; nobody is logged in."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    access = Access(data / "users.db")
    access.users.add("mei.lin", "a long enough password", "admin", by="test")
    session = access.sessions.open("mei.lin", "10.0.0.1", "browser")
    before = link_secret(data / "answer.key"), veil_key(data / "pseudonym.key")
    code, told = call(config, "store", "backup", str(copy))  # while another process has the file open
    assert (code, "users.db, answer.key, pseudonym.key" in told) == (0, True), told
    access.users.add("late", "a long enough password", "operator", by="test")
    access.close()
    private = {path: stat.S_IMODE(path.stat().st_mode) for path in (copy / "own").iterdir()}
    assert set(private.values()) == {0o600}, private

    code, told = call(config, "store", "restore", str(copy), "--yes")
    assert (code, "--users replaces them" in told) == (0, True), told
    assert names_in(data) == ["late", "mei.lin"]
    (data / "answer.key").write_text("00" * 32)
    code, told = call(config, "store", "restore", str(copy), "--no-series", "--users")
    assert (code, "are the backup's now" in told) == (0, True), told
    assert (names_in(data), len(list(data.glob("users.db.before-*")))) == (["mei.lin"], 1)
    assert (link_secret(data / "answer.key"), veil_key(data / "pseudonym.key")) == before
    access = Access(data / "users.db")
    assert access.sessions.caller(session) is None
    assert access.users.fits("mei.lin", "a long enough password") is not None
    assert access.entries("audit", limit=1)[0].event == "restored"
    assert access.verify("audit").ok
    access.close()

    for name in ("users.db", "answer.key", "pseudonym.key"):
        (data / name).unlink()
    assert call(config, "store", "restore", str(copy), "--no-series")[0] == 0
    assert names_in(data) == ["mei.lin"]
    assert link_secret(data / "answer.key") == before[0]
    (copy / "own" / "answer.key").write_text("11" * 32)
    code, told = call(config, "store", "restore", str(copy), "--no-series", "--users")
    assert (code, "answer.key is not as the backup was made" in told) == (1, True), told


def test_users_and_keys_alone_where_the_series_lie_elsewhere(config: Path, tmp_path: Path) -> None:
    """Without series there is a copy all the same; a directory without any says so."""
    config.write_text(config.read_text().replace('kind = "embedded"', 'kind = "influxdb"'))
    code, told = call(config, "store", "backup", str(tmp_path / "empty"), "--no-series")
    assert (code, "no users and no keys" in told, (tmp_path / "empty").exists()) == (1, True, False), told
    link_secret(tmp_path / "data" / "answer.key")
    code, told = call(config, "store", "backup", str(tmp_path / "own"), "--no-series")
    assert (code, "answer.key" in told) == (0, True), told
    (tmp_path / "data" / "answer.key").unlink()
    code, told = call(config, "store", "restore", str(tmp_path / "own"), "--no-series")
    assert (code, (tmp_path / "data" / "answer.key").exists()) == (0, True), told


def names_in(data: Path) -> list[str]:
    """The users that a data directory knows."""
    access = Access(data / "users.db")
    try:
        return sorted(user.name for user in access.users.all())
    finally:
        access.close()


def test_what_cannot_be_done_is_said(config: Path, tmp_path: Path) -> None:
    """A foreign directory, an unknown kind and another server's series are refused with what to do."""
    (tmp_path / "odd").mkdir()
    for words, said in (
        (("store", "restore", str(tmp_path / "odd"), "--yes"), "no whole backup"),
        (("store", "backup", str(tmp_path / "odd")), "is there already"),
        (("export", "lamp", "--out", "x.csv"), "the kinds are"),
        (("export", "pole", "--out", str(tmp_path / "x.csv"), "--from", "2026-11-02", "--to", "2026-11-01"), "before"),
    ):
        code, told = call(config, *words)
        assert code != 0
        assert said in told
    assert not (tmp_path / "x.csv").exists()
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


def test_journal_and_cases_come_along_and_go_back_together(config: Path, tmp_path: Path) -> None:
    """A server without gets them; one that has its own keeps them unless told, and the former stay beside; what was
    altered in the backup is named, and nothing is put back."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    (data / "photos" / "CW-1").mkdir(parents=True)
    (data / "photos" / "CW-1" / ("a" * 64 + ".jpg")).write_bytes(b"picture")
    code, told = call(config, "store", "backup", str(copy))
    assert (code, "photos, journal.db" in told) == (0, True), told
    assert {stat.S_IMODE(p.stat().st_mode) for p in (copy / "state").rglob("*") if p.is_file()} == {0o600}
    journal = Journal(data / "journal.db")
    journal.append([Names((("pole", 1, "pole-1"),))])
    journal.close()
    code, told = call(config, "store", "restore", str(copy), "--yes")
    assert (code, "--cases replaces them" in told, entries(data)) == (0, True, 2), told
    code, told = call(config, "store", "restore", str(copy), "--no-series", "--cases")
    assert (code, "restore them together" in told) == (1, True), told
    code, told = call(config, "store", "restore", str(copy), "--yes", "--cases")
    assert (code, entries(data), len(list(data.glob("journal.db.before-*")))) == (0, 1, 1), told

    fresh = tmp_path / "fresh"
    there = write_config(fresh, settings_in(fresh))
    code, told = call(there, "store", "restore", str(copy), "--yes")
    assert (code, entries(fresh / "data")) == (0, 1), told
    assert (fresh / "data" / "photos" / "CW-1" / ("a" * 64 + ".jpg")).read_bytes() == b"picture"
    with (copy / "state" / "journal.db").open("ab") as file:
        file.write(b"x")
    code, told = call(config, "store", "restore", str(copy), "--yes", "--cases")
    assert (code, "journal.db is not as the backup was made" in told, entries(data)) == (1, True, 1), told


def test_they_can_be_left_out(config: Path, tmp_path: Path) -> None:
    """`--no-cases` copies series, users and keys; asking for what is not there is refused."""
    copy = tmp_path / "copy"
    assert call(config, "store", "backup", str(copy), "--no-cases")[0] == 0
    assert not (copy / "state").exists()
    code, told = call(config, "store", "restore", str(copy), "--yes", "--cases")
    assert (code, "holds no journal and no cases" in told) == (1, True), told


def entries(data: Path) -> int:
    """How many entries a journal holds."""
    journal = Journal(data / "journal.db")
    try:
        return journal.position
    finally:
        journal.close()
