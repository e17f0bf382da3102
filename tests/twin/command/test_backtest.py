"""`citywhistle backtest` over a stopped server's store: rules file, span, JSON, and what it says of wrong ones."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devices.cities.load import load_city
from tests.twin.tick.town import MINUTE, NIGHT_MS, said
from twin.__main__ import app
from twin.city import City, Registry
from twin.journal import Journal
from twin.records import Batch
from twin.store.embedded import EmbeddedStore
from twin.store.protocol import Rows

RUNNER = CliRunner()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Forty minutes of ten poles of Helsinki, one of which leaks, in a store."""
    city = City(load_city("helsinki"), Registry())
    names = city.registry.drain()
    assert names is not None
    poles = [d.id for d in city.files.devices if d.kind == "pole" and d.origin == "simulated"][:10]
    with closing(Journal(tmp_path / "data/journal.db", max_bytes=64 << 20)) as journal:
        journal.append([names])
        with closing(EmbeddedStore(tmp_path / "data/store", Rows(journal.names()), journal=journal.id)) as store:
            for n in range(80):
                leak = [0.2 if i == 0 and n > 40 else 0.001 for i in range(10)]
                heard = said(city, "pole", poles, NIGHT_MS + n * 30_000, seq=n + 1, leakageCurrent=leak)
                store.append(n + 2, Batch((heard,)))
            store.seal()
    path = tmp_path / "citywhistle.toml"
    path.write_text(f'data_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    return path


def call(*arguments: str) -> tuple[int, str]:
    done = RUNNER.invoke(app, ["backtest", *arguments], env={"COLUMNS": "300"})
    return done.exit_code, done.output


def test_what_new_rules_would_change(config: Path, tmp_path: Path) -> None:
    """The lost whistle is named, in words and as JSON; the span is cut to what is stored."""
    rules = tmp_path / "new.toml"
    rules.write_text("[leakage]\nlimit = 0.9\nclear = 0.5\n[leakage_warn]\nenabled = false\n", encoding="utf-8")
    common = ("--rules", str(rules), "-c", str(config), "--tick-s", "15")
    code, told = call(*common, "--json")
    assert code == 0, told
    found = json.loads(told)
    assert [one["type"] for one in found["lost"]] == ["leakage"]
    assert (found["gained"], found["today"], found["other"]) == ([], 1, 0)
    assert found["readings"] == 800
    code, told = call(*common, "--from", "2024-06-03T22:10", "--to", "2024-06-03T22:15Z")
    assert code == 0, told
    assert "the same 0" in told
    assert (tmp_path / "data/store").exists()
    assert found["to_ms"] - found["from_ms"] <= 50 * MINUTE


def test_wrong_rules_and_empty_spans_are_said(config: Path, tmp_path: Path) -> None:
    """A rules file that is wrong names type and key; a span without readings names what there is."""
    rules = tmp_path / "new.toml"
    for text, words in (("[leakage]\nlimt = 1\n", "limt"), ("[leakage\n", "new.toml")):
        rules.write_text(text, encoding="utf-8")
        code, told = call("--rules", str(rules), "-c", str(config))
        assert (code, words in told) == (2, True), told
    rules.write_text("", encoding="utf-8")
    code, told = call("--rules", str(rules), "-c", str(config), "--to", "2020-01-01")
    assert code == 2
    assert "nothing is stored in that span" in told
