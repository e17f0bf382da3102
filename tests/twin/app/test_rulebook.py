"""Rules set while the server runs: kept over a restart, until the city's own file changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twin.app.rulebook import Rulebook
from twin.errors import SettingsError
from twin.records import Edit


def test_what_was_set_stands_until_the_file_changes(tmp_path: Path) -> None:
    """Set rules are wanted by the next server with the same file, and no longer by one with another."""
    journal: list[Any] = []
    book = Rulebook(tmp_path, "[tilt]\nlimit = 5", journal.extend)
    assert book.wanted() == {"tilt": {"limit": 5}}
    book.replace({"speeding": {"limit": 50}}, "ops")
    assert [json.loads(edit.text) for edit in journal if isinstance(edit, Edit)] == [{"speeding": {"limit": 50}}]
    assert Rulebook(tmp_path, "[tilt]\nlimit = 5", journal.extend).wanted() == {"speeding": {"limit": 50}}
    assert Rulebook(tmp_path, "[tilt]\nlimit = 6", journal.extend).wanted() == {"tilt": {"limit": 6}}


def test_wrong_rules_and_a_damaged_file_change_nothing(tmp_path: Path) -> None:
    """A wrong table is refused before anything is written; garbage on disk leaves the city's own file in force."""
    journal: list[Any] = []
    book = Rulebook(tmp_path, "", journal.extend)
    with pytest.raises(SettingsError):
        book.replace({"tilt": {"limit": float("nan")}}, "ops")
    assert journal == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "rules.json").write_text('{"file": 7', encoding="utf-8")
    assert book.wanted() == {}
