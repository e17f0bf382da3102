"""`citywhistle backtest`: stored history through today's rules and new ones; which whistles come, go, sooner, later."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from devices.errors import DeviceError
from twin.command.client import CONFIG, JSON, OUT, clock, fail, words
from twin.command.store import data_of, instant, readable, told_progress
from twin.errors import BadPeriod, SettingsError, TwinError

RULES = typer.Option(..., "--rules", exists=True, dir_okay=False, help="The new rules: a whole rules.toml of the city.")
FROM = typer.Option("", "--from", help="ISO 8601; without a zone it is UTC. Default: a day before the end.")
TO = typer.Option("", "--to", help="ISO 8601. Default: the end of what is stored.")
MOST = 50  # lines of each list on the terminal


def backtest(
    rules: Path = RULES,
    start: str = FROM,
    to: str = TO,
    config: Path | None = CONFIG,
    learn_days: float = typer.Option(7.0, min=0, max=366, help="Days before the span that are learnt from."),
    tick_s: float = typer.Option(5.0, min=0.5, max=60, help="Seconds of city time between ticks."),
    as_json: bool = JSON,
) -> None:
    """Compare today's rules with new ones over stored history, beside a running server or without one."""
    from twin.app.backorder import order_in
    from twin.app.backtest import backtest as run
    from twin.detect.rules import default_rules, parse_rules
    from twin.query.backtest import Ask

    settings, data = data_of(config)
    span = [instant(text, 0) if text else None for text in (start, to)]
    try:
        other = parse_rules(rules.read_text(encoding="utf-8-sig"), str(rules))
        default_rules().override(other, str(rules))
    except (SettingsError, UnicodeDecodeError) as error:
        raise fail(f"{rules}: {error}" if isinstance(error, UnicodeDecodeError) else str(error), 2) from error
    with readable(config) as (store, rows):
        try:
            ask = Ask(other, span[0], span[1], learn_days, tick_s)
            order = order_in(data, settings, store, tuple(rows.names()), ask)
            began = time.process_time()
            with told_progress(as_json) as progress:
                bar = progress.add_task("learning", total=1.0)
                done = run(store, order, lambda share, what: progress.update(bar, completed=share, description=what))
            cpu_s = time.process_time() - began
        except (TwinError, DeviceError) as error:
            raise fail(str(error), 2 if isinstance(error, SettingsError | BadPeriod) else 1) from error
    told = {"from_ms": order.start_ms, "to_ms": order.end_ms, "rules": str(rules), "cpu_s": round(cpu_s, 2)}
    told |= done.told()
    OUT.print_json(data=told) if as_json else _tell(told)


def _tell(told: dict[str, Any]) -> None:
    span = f"{clock(told['from_ms'])} to {clock(told['to_ms'])} (UTC)"
    OUT.print(words(f"{span}: {told['readings']:,} readings, learnt from {clock(told['learnt_from_ms'])}"))
    OUT.print(words(f"today's rules {told['today']} whistles, new rules {told['other']}; the same {told['same']}"))
    for name, head in (("gained", "+"), ("lost", "-"), ("earlier", "<"), ("later", ">")):
        if not told[name]:
            continue
        table = Table(
            head, "at (UTC)", "type", "on", "", title=f"{name}: {len(told[name])}", title_justify="left", box=None
        )
        for one in told[name][:MOST]:
            by = f"{abs(one['by_s']):.0f} s {name}" if "by_s" in one else ""
            table.add_row(by, clock(one["at_ms"]), words(one["type"]), words(one["subject"]), words(one["en"][:100]))
        OUT.print(table)
        if len(told[name]) > MOST:
            OUT.print(f"and {len(told[name]) - MOST} more; --json has them all")
