"""`citywhistle backtest`: stored history through today's rules and new ones; which whistles come, go, sooner, later."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from devices.errors import DeviceError
from twin.command.client import CONFIG, JSON, OUT, fail, words
from twin.command.store import data_of, instant, readable, told_progress
from twin.command.whistles import clock
from twin.errors import SettingsError, TwinError

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
    from twin.app.backtest import backtest as run

    with readable(config) as (store, rows):
        try:
            order = _order(rules, start, to, config, learn_days, tick_s, store, rows)
            began = time.process_time()
            with told_progress(as_json) as progress:
                bar = progress.add_task("learning", total=1.0)
                done = run(store, order, lambda share, what: progress.update(bar, completed=share, description=what))
            cpu_s = time.process_time() - began
        except (TwinError, DeviceError) as error:
            raise fail(str(error), 2 if isinstance(error, SettingsError) else 1) from error
    told = {"from_ms": order.start_ms, "to_ms": order.end_ms, "rules": str(rules), "cpu_s": round(cpu_s, 2)}
    told |= done.told()
    OUT.print_json(data=told) if as_json else _tell(told)


def _order(
    rules: Path, start: str, to: str, config: Path | None, learn_days: float, tick_s: float, store: Any, rows: Any
) -> Any:
    """What is asked for, with the city and the rules of the data directory. Ends the command where it cannot be."""
    from devices.cities.load import load_city
    from twin.app.backtest import Order
    from twin.app.history import History
    from twin.app.ways import city_policy, city_toml, direct
    from twin.detect.rules import default_rules, parse_rules

    settings, data = data_of(config)
    files = direct(load_city(settings.city.dir or "helsinki"), settings)
    text = city_toml(files, "rules.toml")
    other = parse_rules(rules.read_text(encoding="utf-8-sig"), str(rules))
    default_rules().override(other, str(rules))
    names = tuple(rows.names())
    spans = [store.span(kind) for kind in {kind for kind, _, _ in names}]
    last = max((span[1] for span in spans if span[1] >= span[0]), default=0)
    first = min((span[0] for span in spans if span[1] >= span[0]), default=0)
    if not last:
        raise fail("nothing is stored yet")
    end_ms = min(instant(to, last + 1), last + 1)
    start_ms = max(instant(start, end_ms - 86_400_000), first)
    if start_ms >= end_ms:
        raise fail(f"nothing is stored in that span: there is {clock(first)} to {clock(last)} (UTC)", 2)
    learn_ms = round(learn_days * 86_400_000)
    history = History(data / "city.db", files, start_ms)
    try:
        version = history.at_time(start_ms - learn_ms)
        versions = [one for one in history.versions(version, 100_000) if one.at_ms <= end_ms]
        then = history.files_at(version)
    finally:
        history.close()
    return Order(
        start_ms, end_ms, parse_rules(text, "rules.toml") if text else {}, other, names, then, version,
        city_policy(files, settings), versions, learn_ms, round(tick_s * 1000),
    )  # fmt: skip


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
