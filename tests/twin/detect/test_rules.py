"""The parameters: shipped defaults, overrides, and what is wrong said with its name."""

from __future__ import annotations

import pytest

from twin.detect import default_rules, parse_rules
from twin.errors import SettingsError


def test_overrides_count_at_once_and_replace_earlier_ones() -> None:
    """A city's file changes single values; a second override starts from the defaults again."""
    rules = default_rules()
    rules.override(parse_rules("[speeding]\nlimit = 50\n[tilt]\nenabled = false"))
    assert rules.number("speeding", "limit") == 50
    assert not rules.enabled("tilt")
    assert rules.overrides() == {"speeding": {"limit": 50}, "tilt": {"enabled": False}}
    rules.override({})
    assert rules.number("speeding", "limit") == 60
    assert rules.enabled("tilt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[speding]\nlimit = 50", "no finding type 'speding'"),
        ("[speeding]\nlimits = 50", "no parameter 'limits'"),
        ("[speeding]\nlimit = 'fast'", "must be a number"),
        ("[speeding]\nlimit = nan", "out of all proportion"),
        ("[speeding]\nenabled = 1", "true or false"),
        ("speeding = 3", "not a table"),
        ("[speeding\nlimit = 3", "line 1"),
    ],
)
def test_wrong_rules_are_named_and_change_nothing(text: str, words: str) -> None:
    """Unknown types and names, wrong types and broken TOML are SettingsError; the rules stay as they were."""
    rules = default_rules()
    with pytest.raises(SettingsError, match=words):
        rules.override(parse_rules(text, "city/rules.toml"))
    assert rules.overrides() == {}
