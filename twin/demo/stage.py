"""The demo itself: broker, inbox, server, fleet and recording as children; what happens is told in the terminal."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from devices.cities.load import load_city
from devices.clock import SimulatedClock
from devices.errors import DeviceError
from devices.faults.fault import Fault
from devices.faults.scenario import read_scenario
from devices.fleet.fleet import Fleet
from devices.places import CityFiles
from twin.app.history import city_now
from twin.broker import nats
from twin.broker.conf import HOME, BrokerFiles
from twin.broker.process import Broker, BrokerFailed, PortTaken, check_port, prepare_broker
from twin.broker.provision import provision
from twin.demo.borrow import borrow
from twin.demo.children import Child
from twin.demo.inbox import Inbox
from twin.demo.past import write_past
from twin.demo.scene import FIRST_EVENING, DemoFailed, Scene, first_evening, wind
from twin.demo.series import series_for
from twin.settings import BrokerSettings, CitySettings, Settings, StoreSettings, WebSettings, WhistleSettings, commented

READY_S = 180.0
DRAIN_S = 20.0  # without progress
STATUS_EVERY_S = 10.0
FLEET_S = 30.0  # a fleet that does not report within this is waited for no longer
FAULT_EVERY_S = 10.0  # of this machine's time, whatever the speed: so many can be watched
SENDING = ("fleet", "recording")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked the demo for. `duration_s` 0: until Ctrl-C."""

    city: str  # name of a shipped city, or a directory
    seed: int = 1
    speed: float = 1.0
    port: int = 8080
    duration_s: float = 0.0
    begins: str = FIRST_EVENING  # local time at which the city's life begins
    faults: bool = True
    scenario: Path | None = None
    recording: bool = True
    history: bool = True
    store: str = "embedded"
    store_url: str = ""
    broker: str = ""  # host:port of one that runs already


@dataclass(slots=True)
class Stage:
    """One demo at work."""

    scene: Scene
    wishes: Wishes
    console: Console
    children: dict[str, Child] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    ready_s: float = 0.0
    ready_ms: int = 0  # city time
    ran_s: float = 0.0
    city: CityFiles | None = None
    _broker: Broker | None = None
    _inbox: Inbox | None = None
    _told: set[str] = field(default_factory=set)
    _api: httpx.Client | None = None
    _store: StoreSettings = field(default_factory=StoreSettings)
    _opened: str = ""
    _clock: SimulatedClock | None = None
    _broker_mb: float = 0.0
    _broker_cpu_s: float = 0.0

    def say(self, text: str) -> None:
        """One line for the person in front of it."""
        self.console.print(text, highlight=False, soft_wrap=True)

    # ---- starting --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything in order; returns when the page answers. Raises DemoFailed saying what to do."""
        began = time.monotonic()
        self.say(f"[bold]CityWhistle demo[/bold]  seed {self.wishes.seed}, folder {self.scene.root}")
        try:
            self.city = load_city(self.wishes.city)
        except DeviceError as error:
            raise DemoFailed(str(error)) from error
        self.say(f"  city      {self.city.name} {self.city.name_zh}: {len(self.city.devices)} devices")
        told = self._scenario(self.city)
        self.scene.prepare()
        host, port, files = self._start_broker()
        series = series_for(
            self.wishes.store, self.wishes.store_url, self.scene.root / self.wishes.store, self.scene.logs
        )
        if series.child is not None:
            self.children["store"] = series.child
        self._store = series.settings
        self.say(f"  store     {series.settings.kind} {series.settings.url}")
        self._inbox = Inbox(self.scene.inbox)
        self.say(f"  inbox     departments receive at {self._inbox.url}")
        self._write_past(told)
        clock = self._clock = wind(self.scene, self._begins_ms(), self.wishes.speed)
        self.scene.config.write_text(commented(self._settings(host, port, files)), encoding="utf-8")
        self._start("server", ["up", "--config", str(self.scene.config)])
        self._wait_for_page()
        devices = ["--city", str(self.city.folder), "--broker", f"{host}:{port}", "--clock", str(self.scene.clock)]
        devices += ["--credentials", str(files.credentials)]
        self._start_fleet(devices)
        if self.wishes.recording:
            self._start_recording(devices)
        self._wait_for_fleet()
        self.ready_s = time.monotonic() - began
        self.ready_ms = clock.now_ms()
        self.say(f"  ready     after {self.ready_s:.1f} s; city time runs {clock.speed:g}x from {_time(clock.city_ms)}")

    def _write_past(self, told: Sequence[Fault] | None) -> None:
        """The first time: four weeks of history, so that the twin knows what is usual."""
        assert self.city is not None
        if not self.wishes.history or (self.scene.data / "journal.db").exists():
            return
        columns = [TextColumn("  history  "), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn()]
        with Progress(*columns, console=self.console, transient=True) as progress:
            bar = progress.add_task("history", total=1.0)

            def shown(share: float) -> None:
                if self.stopping.is_set():
                    raise DemoFailed("stopped while the history was made; nothing of it is kept")
                progress.update(bar, completed=share)

            faults = self._past_faults(told)
            count = write_past(
                self.scene, self.city, self.wishes.seed, self._begins_ms(), faults=faults, progress=shown
            )
        self.say(f"  history   four simulated weeks, {count:,} readings: what is usual will be learnt from them")

    def _begins_ms(self) -> int:
        """When this city's life begins."""
        assert self.city is not None
        return first_evening(self.city.timezone, self.wishes.begins)

    def _scenario(self, city: CityFiles) -> Sequence[Fault] | None:
        """The faults that the user's scenario names, each of which can befall its subject; None without a scenario."""
        if self.wishes.scenario is None:
            return None
        begins = self._begins_ms()
        try:
            told = read_scenario(self.wishes.scenario, begins, city.timezone)
            Fleet(city, self.wishes.seed, begins, scenario=told, warm=False)
        except DeviceError as error:
            raise DemoFailed(str(error)) from error
        return told.faults

    def _past_faults(self, told: Sequence[Fault] | None) -> Sequence[Fault] | None:
        """What happens in the history: the faults of the scenario that begin in it, nothing without; None: drawn."""
        if told is None:
            return None if self.wishes.faults else ()
        return [fault for fault in told if fault.start_ms < self._begins_ms()]

    def _start_broker(self) -> tuple[str, int, BrokerFiles]:
        assert self.city is not None
        now = city_now(self.scene.data / "city.db", self.city)  # devices adopted in an earlier run keep their users
        provisioned = provision(now.devices, self.scene.broker)
        files = provisioned.files
        if self.wishes.broker:
            users = [account.user for account in provisioned.accounts]
            host, port, files = borrow(self.wishes.broker, users, (files, BrokerFiles(HOME)), self.say, self.stopping)
            self.say(f"  broker    yours at {host}:{port}, with the passwords of {files.dir}")
            return host, port, files
        try:
            prepared = prepare_broker(self.scene.broker)
            self._broker = Broker(prepared, leashed=True)
            self._broker.start()
        except BrokerFailed as error:
            raise DemoFailed(str(error)) from error
        self.say(
            f"  broker    {prepared.kind} on {prepared.host}:{prepared.port}, {len(provisioned.accounts)} accounts"
        )
        if prepared.kind == "nats":
            for words in nats.LOST:
                self.say(f"  [yellow]{words}[/]")
        return prepared.host, prepared.port, files

    def _settings(self, host: str, port: int, files: BrokerFiles) -> Settings:
        assert self._inbox is not None
        assert self.city is not None
        return Settings(
            data_dir=str(self.scene.data),
            city=CitySettings(dir=str(self.city.folder), clock_file=str(self.scene.clock)),
            broker=BrokerSettings(host=host, port=port, password_file=str(files.password_of("server"))),
            store=self._store,
            whistle=WhistleSettings(webhook_url=self._inbox.url),
            web=WebSettings(port=self._page_port()),
        )

    def _page_port(self) -> int:
        """The wished port, or any free one when another program has it (said so)."""
        try:
            check_port("127.0.0.1", self.wishes.port)
        except PortTaken:
            self.say(f"  [yellow]port {self.wishes.port} is taken by another program; the page takes a free one[/]")
            return 0
        return self.wishes.port

    def _start(self, name: str, arguments: Sequence[str], *, keep: bool = True) -> Child:
        child = Child(name, [sys.executable, "-m", "twin", *arguments], self.scene.logs / f"{name}.log", keep=keep)
        try:
            child.start()
        except OSError as error:
            raise DemoFailed(f"{name} cannot be started: {error}") from error
        self.children[name] = child
        return child

    def _start_fleet(self, common: Sequence[str]) -> None:
        arguments = ["devices", "run", *common, "--seed", str(self.wishes.seed), "--state", str(self.scene.senders)]
        arguments += ["--json", "--truth", str(self.scene.truth)]
        if self.wishes.scenario is not None:
            arguments += ["--scenario", str(self.wishes.scenario)]
        elif not self.wishes.faults:
            arguments += ["--no-faults"]
        else:
            arguments += ["--fault-every", f"{FAULT_EVERY_S * self.wishes.speed:g}"]
        self._start("fleet", arguments)
        self.say(
            "  fleet     simulated poles, cells and trucks publish" + ("" if self.wishes.faults else ", no faults")
        )

    def _wait_for_fleet(self) -> None:
        """Until the fleet says that it runs: ready means that the city lives, not that a page answers."""
        fleet = self.children["fleet"]
        until = time.monotonic() + FLEET_S
        while not self.stopping.is_set() and time.monotonic() < until:
            if fleet.code is not None:
                raise DemoFailed(f"the fleet ended with {fleet.code}:\n{fleet.tail()}")
            if self.last_word("fleet"):
                return
            self.stopping.wait(0.05)

    def _start_recording(self, common: Sequence[str]) -> None:
        self._start("recording", ["devices", "recording", *common, "--json", "--state", str(self.scene.senders)])
        self.say("  recording real air quality of Beijing (CC BY 4.0) is replayed beside them, shifted to now")

    def _wait_for_page(self) -> None:
        server = self.children["server"]
        note = self.scene.data / "running.json"
        until = time.monotonic() + READY_S
        while not self.stopping.is_set():
            if server.code is not None:
                raise DemoFailed(f"the server ended with {server.code}:\n{server.tail()}")
            if note.exists():
                told = json.loads(note.read_text(encoding="utf-8"))
                if told["pid"] == server.pid:
                    self._api = httpx.Client(
                        base_url=told["url"],
                        headers={"Authorization": f"Bearer {told['token']}"},
                        timeout=10.0,
                        trust_env=False,
                    )
                    self._opened = told["open"]
                    self.say(f"  page      [bold]open {told['open']}[/bold]")
                    return
            if time.monotonic() > until:
                raise DemoFailed(f"the server was not ready within {READY_S:g} s:\n{server.tail()}")
            self.stopping.wait(0.05)
        raise DemoFailed("stopped while starting")

    # ---- running ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Watch the children and tell of new whistles until the time is over or Ctrl-C comes."""
        began = time.monotonic()
        until = began + self.wishes.duration_s if self.wishes.duration_s else float("inf")
        status = time.monotonic() + STATUS_EVERY_S
        self.say("  Ctrl-C ends it; starting again continues this city.\n")
        while not self.stopping.wait(min(1.0, max(0.0, until - time.monotonic()))):
            for child in self.children.values():
                if child.watch():
                    self.say(f"[yellow]{child.name} had died; started again (see {child.log})[/]")
            self.watch_all()
            self._watch_broker()
            self._tell_whistles()
            if time.monotonic() >= status:
                self._tell_status()
                status = time.monotonic() + STATUS_EVERY_S
            self.ran_s = time.monotonic() - began
            if time.monotonic() >= until:
                return

    def _watch_broker(self) -> None:
        if self._broker is None or self._broker.pid is not None:
            return
        self.say("[yellow]broker had died; starting it again[/]")
        try:
            self._broker.start()
        except BrokerFailed as error:
            self.say(f"[red]{error}[/]")

    def ask(self, path: str, **query: str | int | bool) -> Any:
        """The server's API; None while it does not answer (it may be starting again)."""
        if self._api is None:
            return None
        try:
            answer = self._api.get(path, params=query)
        except httpx.HTTPError:
            self._find_server()
            return None
        return answer.json() if answer.status_code == 200 else None

    def _find_server(self) -> None:
        """After a restart the server may have another port and token: read its note again."""
        note = self.scene.data / "running.json"
        if self._api is None or not note.exists():
            return
        told = json.loads(note.read_text(encoding="utf-8"))
        if told["open"] != self._opened:
            self._opened = told["open"]
            self.say(f"the server has started again; open [bold]{told['open']}[/bold]")
        self._api.base_url = httpx.URL(told["url"])
        self._api.headers["Authorization"] = f"Bearer {told['token']}"

    def _tell_whistles(self) -> None:
        queue = self.ask("/api/cases", limit=50)
        for case in reversed(queue or []):
            if case["id"] not in self._told and case["state"] not in ("found", "filed"):
                self._told.add(case["id"])
                children = f" (+{case['children']})" if case["children"] else ""
                self.say(f"{_time(case['opened_ms'])}  [bold]{case['id']}[/bold]  {case['en']}{children}")

    def _tell_status(self) -> None:
        told = self.ask("/api/accounting")
        if told is None:
            self.say("[yellow]the server does not answer just now[/]")
            return
        total = told["total"]
        rejected = sum(total["rejected"].values())
        self.say(
            f"[dim]received {total['received']}  stored {total['stored']}  duplicate {total['duplicate']}  "
            f"missing {total['missing']}  rejected {rejected}[/dim]"
        )

    # ---- figures for the report ------------------------------------------------------------------------------

    def last_word(self, name: str) -> dict[str, Any]:
        """The newest status line that a sending child wrote since it was started; empty if it wrote none."""
        child = self.children.get(name)
        for line in reversed(child.tail(200).splitlines() if child is not None else []):
            if line.startswith("{") and '"buffered"' in line:
                told: dict[str, Any] = json.loads(line)
                return told
        return {}

    def in_city(self, machine_ms: int) -> int:
        """City time at a machine time, by this run's clock."""
        clock = self._clock
        if clock is None:
            return machine_ms
        return clock.city_ms + round((machine_ms - clock.machine_ms) * clock.speed)

    def rates(self) -> dict[str, float]:
        """Messages a second over the run, by the senders' own words."""
        words = {name: self.last_word(name) for name in SENDING}
        return {name: float(word.get("messages_per_s", 0.0)) for name, word in words.items() if word}

    def watch_all(self) -> None:
        """Sample everybody's memory and CPU time once more."""
        for child in self.children.values():
            child.watch()
        if self._broker is not None and self._broker.pid is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(self._broker.pid)
                times = process.cpu_times()
                self._broker_cpu_s = times.user + times.system
                self._broker_mb = max(self._broker_mb, process.memory_info().rss / 1e6)

    def memory_mb(self) -> dict[str, float]:
        """Highest resident memory of each process, MB."""
        own = {name: round(child.memory_mb, 1) for name, child in self.children.items()}
        return own | ({"broker": round(self._broker_mb, 1)} if self._broker is not None else {})

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds of each process since the demo began."""
        own = {name: round(child.cpu_s, 2) for name, child in self.children.items()}
        return own | ({"broker": round(self._broker_cpu_s, 2)} if self._broker is not None else {})

    # ---- ending ----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Stop the senders and wait until the store has taken, or refused, all that the server journalled."""
        self.watch_all()
        for name in SENDING:
            if name in self.children:
                self.children[name].stop()
        stored, until = -1, time.monotonic() + DRAIN_S
        while time.monotonic() < until:
            told = self.ask("/api/accounting")
            if told is not None and _stored(told["total"]) == told["total"]["journalled"]:
                return  # entries of ticks go on coming, so the store's own distance says less
            if told is not None and _stored(told["total"]) != stored:
                stored, until = _stored(told["total"]), time.monotonic() + DRAIN_S
            time.sleep(0.25)

    def stop(self) -> None:
        """Stop all children in order: senders, server, broker."""
        for name in (*SENDING, "server", "store"):
            if name in self.children:
                self.children[name].stop()
        if self._api is not None:
            self._api.close()
        if self._broker is not None:
            self._broker.stop()
        if self._inbox is not None:
            self._inbox.close()
        if self.scene.data.is_dir():  # else nothing was begun
            self.say("Ended; the city is kept in " + str(self.scene.root))

    def heed_signals(self) -> None:
        """Ctrl-C and SIGTERM end the demo in order; a second Ctrl-C does not hurry it."""

        def heard(_number: int, _frame: object) -> None:
            self.stopping.set()

        signal.signal(signal.SIGINT, heard)
        signal.signal(signal.SIGTERM, heard)


def _stored(total: Mapping[str, Any]) -> int:
    """Readings that the store has done with: kept, or refused for good."""
    return int(total["stored"]) + int(total["unstorable"])


def _time(ms: int) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.gmtime(ms / 1000)) + "Z"
