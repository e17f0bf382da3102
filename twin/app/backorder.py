"""What a back-test compares: span, rules, policy and the city of that time, from a store and the data directory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from devices.cities.load import load_city
from twin.app.backtest import WINDOW_MS, Order, Past
from twin.app.history import History
from twin.app.rulebook import Rulebook
from twin.app.ways import city_toml, direct, policybook
from twin.detect.rules import default_rules
from twin.errors import BadPeriod
from twin.query.backtest import Ask
from twin.settings import Settings
from twin.whistle.policy import Policy

DAY_MS = 86_400_000
Names = Sequence[tuple[str, int, str]]


def order_of(past: Past, names: Names, history: History, policy: Policy, rules: Mapping[str, Any], ask: Ask) -> Order:
    """What is asked for, cut to what is stored. Raises SettingsError for rules that cannot be, BadPeriod."""
    default_rules().override(dict(ask.rules), "rules")
    spans = [span for kind in sorted({kind for kind, _, _ in names}) if (span := past.span(kind))[1] >= span[0]]
    if not spans:
        raise BadPeriod("nothing is stored yet")
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    heard = last + 1 + WINDOW_MS  # the newest may have come late
    end_ms = heard if ask.end_ms is None else min(ask.end_ms, heard)
    start_ms = max(ask.start_ms if ask.start_ms is not None else end_ms - DAY_MS, first)
    if start_ms >= min(end_ms, last + 1):
        raise BadPeriod(f"nothing is stored in that span: there is {_clock(first)} to {_clock(last)} (UTC)")
    learn_ms = round(ask.learn_days * DAY_MS)
    version = history.at_time(start_ms - learn_ms)
    versions = [one for one in history.versions(version, 100_000) if one.at_ms <= end_ms]
    return Order(
        start_ms, end_ms, rules, ask.rules, tuple(names), history.files_at(version), version, policy, versions,
        learn_ms, round(ask.tick_s * 1000),
    )  # fmt: skip


def order_in(data: Path, settings: Settings, past: Past, names: Names, ask: Ask) -> Order:
    """The same from a data directory whose server may run or not."""
    files = direct(load_city(settings.city.dir or "helsinki"), settings)
    rules = Rulebook(data, city_toml(files, "rules.toml"), lambda _bodies: None).wanted()
    policy = policybook(files, replace(settings, data_dir=str(data))).policy
    there = data / "city.db"
    history = History(there if there.exists() else Path(":memory:"), files, 0)
    try:
        return order_of(past, names, history, policy, rules, ask)
    finally:
        history.close()


def _clock(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms / 1000))
