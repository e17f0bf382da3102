"""Back-tests as page, API and command line ask for them: one at a time, started, looked at, cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be compared with the rules in force. None: a day before the end; the end of what is stored."""

    rules: Mapping[str, Any]  # the overrides of a whole rules.toml
    start_ms: int | None = None
    end_ms: int | None = None
    learn_days: float = 7.0
    tick_s: float = 5.0


class Backtests(Protocol):
    """The back-test of a running city, the one that runs or ran last."""

    def start(self, ask: Ask, actor: str) -> Mapping[str, Any]:
        """Begin one; `state()` of it. Raises SettingsError (rules), BadPeriod (nothing stored there), BacktestRuns,
        StoreElsewhere."""

    def state(self) -> Mapping[str, Any]:
        """How it stands. Keys: id ("" before the first), state ("none" | "copying" | "learning" | "comparing" | "done"
        | "failed" | "cancelled"), share (0 to 1), detail, actor, started_ms, ended_ms (machine time, 0: not yet),
        from_ms, to_ms, rules; result: None, or {same, today, other, readings, ticks, learnt_from_ms, cpu_s, counts:
        {gained, lost, earlier, later}, and under each of these names the first of its whistles: {type, subject, at_ms,
        en, zh, severity}, of earlier and later also before_ms and by_s}."""

    def cancel(self) -> Mapping[str, Any]:
        """End the one that runs; `state()`. Where none runs nothing changes."""
