"""`citywhistle devices run`: the simulated fleet of a city, with faults by a scenario or by seed."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from devices.cities.load import load_city
from devices.clock import Clock, read_clock
from devices.command.shared import (
    BootOption,
    BrokerOption,
    CaOption,
    ClockOption,
    CredentialsOption,
    DrainOption,
    JsonOption,
    LogOption,
    MarksOption,
    PasswordOption,
    StateOption,
    UserOption,
    err,
    open_outlet,
    out,
    stopping,
    told,
)
from devices.errors import DeviceError
from devices.faults.scenario import RandomPlan, Scenario, read_scenario
from devices.faults.truth import TruthFile
from devices.fleet.fleet import Fleet
from devices.fleet.memory import read_memory, recall
from devices.fleet.run import Runner, connect, obey
from devices.kinds import KINDS
from devices.places import CityFiles
from devices.sender import Limits

TOTAL_WAITING = 1_000_000  # readings that may wait in all senders together
STATUS_S = 10.0


def run(
    city: Annotated[Path, typer.Option("--city", help="Directory of the city's files.")],
    broker: BrokerOption = "127.0.0.1:1883",
    user: UserOption = "",
    password_file: PasswordOption = None,
    credentials: CredentialsOption = None,
    ca: CaOption = None,
    clock: ClockOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Everything random follows from it.")] = 1,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only this kind; may be given several times.")
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", help="Schedule of faults (TOML; `devices faults` lists them).")
    ] = None,
    faults: Annotated[bool, typer.Option("--faults/--no-faults", help="Random faults by seed.")] = True,
    every: Annotated[float, typer.Option("--fault-every", help="Seconds of city time between random faults.")] = 10.0,
    truth: Annotated[Path | None, typer.Option("--truth", help="File for the labels of the faults.")] = None,
    state: StateOption = None,
    log: LogOption = None,
    boot_file: BootOption = None,
    marks: MarksOption = True,
    duration: Annotated[float | None, typer.Option("--duration", min=0, help="Stop after so many seconds.")] = None,
    drain: DrainOption = 8.0,
    as_json: JsonOption = False,
) -> None:
    """Run the simulated devices of a city: poles, cells, trucks, feeders and gateways, in city time."""
    with told(), stopping() as stop:
        files = load_city(city)
        for name in kind or ():
            if name not in KINDS:
                raise DeviceError(f"--kind {name}: there are {', '.join(KINDS)}")
        if state is not None:
            log, boot_file = log or state / "fleet.sent.jsonl", boot_file or state / "fleet.boot"
        memory = state / "fleet.json" if state is not None else None
        clock_ = read_clock(clock)
        labels = TruthFile(truth) if truth is not None else None
        remembered = read_memory(memory)
        turn = int(remembered.get("turn", -1)) + 1
        warm = not remembered.get("trucks")
        fleet = _fleet(files, seed, clock_, scenario, faults, every, labels, kind or (), turn, warm=warm)
        recall(fleet, remembered)
        users = {thing.device.gateway or thing.id for thing in fleet.things.values()}
        limits = Limits(waiting=max(2000, TOTAL_WAITING // max(1, len(users))))
        outlet = open_outlet(broker, user, password_file, credentials, ca, log=log, boot_file=boot_file, marks=marks,
                             answer=obey(fleet), limits=limits)  # fmt: skip
        runner = Runner(fleet, outlet, clock_, memory=memory, turn=turn)
        try:
            connect(fleet, outlet)
            gc.freeze()  # the fleet stays as long as we do: the collector need not look at it again and again
            gc.set_threshold(50_000, 20, 20)
            _tell(runner, "begins", as_json)
            reporter = _Reporter(runner, as_json)
            try:
                runner.run(stop, duration)
            finally:
                reporter.end()
            if not outlet.drain(drain):
                err.print(f"{outlet.counts.buffered} readings are not covered by marks after {drain:g} s")
            if memory is None:
                fleet.end_faults()
        finally:
            last = runner.status()
            outlet.close()
            if labels is not None:
                labels.close()
            _tell(runner, "ended", as_json, last)


def _fleet(files: CityFiles, seed: int, clock: Clock, scenario: Path | None, faults: bool, every: float,
           labels: TruthFile | None, kinds: list[str] | tuple[()], turn: int, *, warm: bool) -> Fleet:  # fmt: skip
    now_ms = clock.now_ms()
    if scenario is not None:
        plan = read_scenario(scenario, now_ms, files.timezone)
    else:
        plan = Scenario(random=RandomPlan(every_s=every) if faults else None)
    fleet = Fleet(files, seed, now_ms, scenario=plan, truth=labels, kinds=kinds, turn=turn, warm=warm)
    if not fleet.things:
        raise DeviceError(f"{files.name} has no simulated device of that kind")
    return fleet


class _Reporter:
    """Tells the status every ten seconds, from a thread of its own."""

    def __init__(self, runner: Runner, as_json: bool) -> None:
        self._runner, self._as_json = runner, as_json
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)
        self._thread.start()

    def _report(self) -> None:
        while not self._done.wait(STATUS_S):
            _tell(self._runner, "running", self._as_json)

    def end(self) -> None:
        self._done.set()
        self._thread.join()


def _tell(runner: Runner, event: str, as_json: bool, status: Mapping[str, Any] | None = None) -> None:
    told_ = runner.status() if status is None else status
    if as_json:
        typer.echo(json.dumps({"event": event, **told_}, ensure_ascii=False))
        return
    devices = ", ".join(f"{count} {kind}s" for kind, count in told_["devices"].items())
    out.print(
        f"{event}: {devices}; {told_['messages_per_s']}/s; {told_['connected']} of {told_['connections']} connections; "
        f"sent {told_['sent']}, covered {told_['covered']}, buffered {told_['buffered']}, dropped {told_['dropped']}; "
        f"{len(told_['faults'])} faults",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    for name, problem in told_["problems"].items():
        err.print(f"  {name}: {problem}", markup=False, soft_wrap=True)
