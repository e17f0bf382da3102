"""Back-tests in a process of their own: beside a store that is written, cancelled, killed; over a running server."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from devices.cities.load import load_city
from tests.broker import TestBroker
from tests.devices.small_city import write_small_city
from tests.twin.app.serving import Serving, serving, settings_in
from tests.twin.ingest.conftest import Publisher, until
from tests.twin.tick.town import NIGHT_MS, said
from twin.__main__ import app
from twin.app.backorder import order_of
from twin.app.backtests import Backtesting
from twin.app.history import History
from twin.city import City, Registry
from twin.errors import BacktestRuns, BadPeriod, SettingsError
from twin.query.backtest import Ask
from twin.records import Batch
from twin.settings import CitySettings
from twin.store.backup import back_up
from twin.store.embedded import EmbeddedStore
from twin.store.protocol import Rows
from twin.whistle.policy import Policy

HALF_S = 30_000


class Kept:
    """A store of ten poles of Helsinki, one of which leaks from the second half on, and back-tests over it."""

    def __init__(self, folder: Path, reports: int) -> None:
        self.city = City(load_city("helsinki"), Registry())
        names = self.city.registry.drain()
        assert names is not None
        self.store = EmbeddedStore(folder / "store", Rows(names.rows), journal="j", seal_every_s=None)
        self.poles = [d.id for d in self.city.files.devices if d.kind == "pole" and d.origin == "simulated"][:10]
        self.reports = 0
        self.more(reports)
        history = History(Path(":memory:"), self.city.files, NIGHT_MS)
        self.backtesting = Backtesting(
            folder / "backtests",
            lambda ask: order_of(self.store, names.rows, history, Policy(), {}, ask),
            lambda to: back_up(self.store, names.rows, to),
        )
        self.folder = folder / "backtests"

    def more(self, reports: int) -> None:
        """Further reports come in."""
        for n in range(self.reports, self.reports + reports):
            leak = [0.2 if i == 0 and n > 40 else 0.001 for i in range(10)]
            at = NIGHT_MS + n * HALF_S
            self.store.append(n + 2, Batch((said(self.city, "pole", self.poles, at, seq=n + 1, leakageCurrent=leak),)))
        self.reports += reports

    def close(self) -> None:
        self.backtesting.stop()
        self.store.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Callable[[int], Kept]]:
    """A store with so many reports of each pole."""
    made: list[Kept] = []

    def make(reports: int) -> Kept:
        made.append(Kept(tmp_path, reports))
        return made[-1]

    yield make
    for one in made:
        one.close()


def child() -> psutil.Process | None:
    """The back-test's process."""
    for one in psutil.Process().children():
        if "spawn_main" in " ".join(one.cmdline()):
            return one
    return None


def ended(backtesting: Backtesting) -> dict[str, Any]:
    until(lambda: backtesting.state()["state"] in ("done", "failed", "cancelled"), "it ends", 90)
    return dict(backtesting.state())


def test_a_back_test_beside_a_store_that_is_written(kept: Callable[[int], Kept]) -> None:
    """What the new rules lose is told; what is hot is in it; the copy goes; appends went on; a second one is refused
    while it runs, and may start afterwards."""
    one = kept(80)
    rules = {"leakage": {"limit": 0.9, "clear": 0.5}, "leakage_warn": {"enabled": False}}
    begun = one.backtesting.start(Ask(rules, tick_s=15), "li")
    with pytest.raises(BacktestRuns, match="li started"):
        one.backtesting.start(Ask({}), "wang")
    one.more(20)
    told = ended(one.backtesting)
    assert (told["state"], told["share"], told["id"]) == ("done", 1.0, begun["id"]), told
    assert [(w["type"], w["subject"]) for w in told["result"]["lost"]] == [("leakage", one.poles[0])]
    assert told["result"]["counts"] == {"gained": 0, "lost": 1, "earlier": 0, "later": 0}
    assert 800 <= told["result"]["readings"] <= 1000
    assert not one.folder.exists()
    again = one.backtesting.start(Ask({}, tick_s=15), "wang")
    assert again["to_ms"] - begun["to_ms"] == 20 * HALF_S
    assert ended(one.backtesting)["result"]["same"] == 1


def test_it_gives_way_and_can_be_cancelled(kept: Callable[[int], Kept]) -> None:
    """Its process has the lowest priority; cancelled it is gone at once, with its copy."""
    one = kept(1500)
    one.backtesting.start(Ask({}, tick_s=0.5), "li")
    until(lambda: one.backtesting.state()["state"] == "comparing", "it compares", 90)
    process = child()
    assert process is not None
    assert process.nice() == 19
    told = one.backtesting.cancel()
    assert (told["state"], told["result"]) == ("cancelled", None)
    assert not process.is_running()
    assert not one.folder.exists()
    assert one.backtesting.cancel()["state"] == "cancelled"


def test_a_process_that_is_killed_is_told(kept: Callable[[int], Kept]) -> None:
    """As when memory runs out: failed, with the signal; the next one runs."""
    one = kept(1500)
    one.backtesting.start(Ask({}, tick_s=0.5), "li")
    until(lambda: one.backtesting.state()["state"] == "comparing", "it compares", 90)
    process = child()
    assert process is not None
    process.send_signal(signal.SIGKILL)
    told = ended(one.backtesting)
    assert (told["state"], "signal 9" in told["detail"]) == ("failed", True)
    one.backtesting.start(Ask({}, end_ms=NIGHT_MS + 20 * HALF_S), "li")
    assert ended(one.backtesting)["state"] == "done"


def test_what_cannot_be_asked_starts_nothing(kept: Callable[[int], Kept]) -> None:
    """Wrong rules and an empty span are refused at once."""
    one = kept(5)
    with pytest.raises(SettingsError, match="limt"):
        one.backtesting.start(Ask({"leakage": {"limt": 1}}), "li")
    with pytest.raises(BadPeriod, match="nothing is stored"):
        one.backtesting.start(Ask({}, end_ms=NIGHT_MS - 1), "li")
    assert one.backtesting.state()["state"] == "none"


def call(server: Serving, method: str, path: str, body: Any = None) -> httpx.Response:
    note = server.note()
    assert note is not None
    headers = {"Authorization": f"Bearer {note['token']}"}
    return httpx.request(method, note["url"] + path, json=body, headers=headers, timeout=30, trust_env=False)


def test_over_a_running_server(tmp_path: Path, broker: TestBroker) -> None:
    """By API and by command, while readings come in: both find the leak that the new rules would not whistle; the
    server goes on taking readings; killed, it leaves no process behind, and the next start no copy."""
    city = write_small_city(tmp_path / "town")
    settings = replace(settings_in(tmp_path, broker.host, broker.port), city=CitySettings(dir=str(city)))
    rules = tmp_path / "new.toml"
    rules.write_text("[leakage]\nlimit = 0.9\nclear = 0.5\n[leakage_warn]\nenabled = false\n", encoding="utf-8")
    began_ms = (time.time_ns() // 1_000_000) - 3_600_000
    with serving(tmp_path, settings) as server:
        until(lambda: server.health()["link"] == "drained", "the link is drained", 40)
        pole = Publisher(broker)
        seq = 0

        def report(count: int) -> None:
            nonlocal seq
            for _ in range(count):
                seq += 1
                leak = 0.2 if seq > 60 else 0.001
                body = {"boot": 1, "seq": seq, "t": began_ms + seq * HALF_S, "leakageCurrent": leak}
                pole.say("city/310101/pole/pole-0001/telemetry", json.dumps(body).encode())

        def stored() -> int:
            return int(server.ask("/api/accounting").json()["total"]["stored"])

        report(110)
        until(lambda: stored() == 110, "all is stored", 30)
        wanted = {"toml": rules.read_text(encoding="utf-8"), "from_ms": began_ms, "tick_s": 5}
        begun = call(server, "POST", "/api/backtest", wanted)
        assert begun.status_code == 202, begun.text
        report(5)
        until(lambda: call(server, "GET", "/api/backtest").json()["state"] in ("done", "failed"), "it ends", 90)
        told = call(server, "GET", "/api/backtest").json()
        assert told["state"] == "done", told
        until(lambda: stored() == 115, "readings went on", 30)
        command = ["backtest", "--rules", str(rules), "-c", str(server.config), "--json"]
        done = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
        assert done.exit_code == 0, done.output
        assert json.loads(done.output)["readings"] == 115
        assert not list((server.data / "backups").iterdir())
        begun = call(server, "POST", "/api/backtest", wanted | {"tick_s": 0.5})
        assert begun.status_code == 202, begun.text
        until(lambda: [p for p in psutil.Process(server.process.pid).children() if p.nice() == 19], "a process", 60)
        children = psutil.Process(server.process.pid).children()
        server.process.kill()
        server.process.wait()
        pole.close()
        until(lambda: not any(_lives(p) for p in children), "nothing is left of it", 60)
    with serving(tmp_path, settings) as server:
        assert not (server.data / "backtests").exists()
        assert call(server, "GET", "/api/backtest").json()["state"] == "none"


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
