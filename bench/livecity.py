"""The full city at work, for `make bench NAME=city`: 76,000 devices at their real cadence through everything.

Real Mosquitto, the server's process (journal, store, tick, every detector, page), the fleet's process, an inbox that
takes the whistles. CPU and memory are those of the processes over the measured time, after a settling time. Leaking,
falling and open poles are injected one after another: of each, the time from the message that completes the evidence
to the whistle's arrival in the inbox. Which message that is a subscriber of the broker sees; it counts from when its
sender wrote it into its own log, just before it was published.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from rich.console import Console

from devices.cities.load import load_city
from devices.faults.scenario import read_scenario
from devices.places import CityFiles
from twin.demo.play import summary
from twin.demo.scene import Scene
from twin.demo.stage import Stage, Wishes

PROBE_EVERY_S = 2.0
LOOK_S = 0.01  # between looks at the senders' logs: waits are told so much too long at most


@dataclass(frozen=True, slots=True)
class Proof:
    """What completes a type's evidence: so many readings above a limit, over so long (twin/detect/rules.toml)."""

    quantity: str
    limit: float
    reports: int
    hold_s: float
    magnitude: float = 2.0


PROOFS = {
    "leakage": Proof("leakageCurrent", 0.030, 2, 0),
    "tilt_emergency": Proof("tilt", 10.0, 2, 30),
    "door_open": Proof("doorOpen", 0.5, 1, 300, 1.0),
}
CYCLE = ("leakage", "tilt_emergency", "leakage", "door_open")  # no office gets more than its storm limit lets through
# A Friday morning, when most trucks are at work; the clock runs a little fast, so that 3,350 messages a second come.
BEGINS, SPEED = "2026-11-20T10:05:00", 1.3


@dataclass(frozen=True, slots=True)
class Lived:
    """What was measured. Shares are of one core."""

    seconds: float
    server_share: float
    fleet_share: float
    broker_share: float
    server_mb: float
    fleet_mb: float
    messages_per_s: float
    whistle_s: list[float]  # publish -> whistle, sorted
    by_type: dict[str, list[float]]
    probes: int
    accounting: dict[str, Any]
    ready_s: float
    lag_s: float


class Logged:
    """When each probe's readings were written into their senders' own logs."""

    def __init__(self, folder: Path, probes: Collection[str]) -> None:
        self._folder, self._probes = folder, {probe.encode() for probe in probes}
        self._at: dict[Path, tuple[int, int]] = {}  # inode, and bytes read so far
        self._lines: dict[str, list[tuple[int, int, int, float]]] = {}  # device -> boot, first, last, when
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-logs", daemon=True)
        self._thread.start()

    def when_ms(self, device: str, boot: int, seq: int) -> float | None:
        """When that reading was logged; None where it was not seen (the log was merged just then)."""
        for of, first, last, at_ms in self._lines.get(device, ()):
            if of == boot and first <= seq <= last:
                return at_ms
        return None

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        before_ms = time.time_ns() / 1e6
        while not self._stop.wait(LOOK_S):
            now_ms = time.time_ns() / 1e6
            for path in self._folder.rglob("*.sent.jsonl"):
                self._read(path, before_ms)
            before_ms = now_ms

    def _read(self, path: Path, at_ms: float) -> None:
        """Take in what was written since the last look, which is to have happened at `at_ms`."""
        inode = path.stat().st_ino
        known, place = self._at.get(path, (inode, 0))
        with path.open("rb") as log:
            if known != inode:  # merged: what stands in it now has no time
                self._at[path] = (inode, log.seek(0, 2))
                return
            log.seek(place)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._at[path] = (inode, place + len(whole))
        for line in whole.splitlines():
            if line[11 : line.find(b'"', 11)] in self._probes:  # {"device":"pole-1","boot":...
                told = json.loads(line)
                if "sent" in told:
                    entry = (int(told["boot"]), *(int(n) for n in told["sent"]), at_ms)
                    self._lines.setdefault(told["device"], []).append(entry)


class Watcher:
    """Notes when the reading that completes the evidence of each probe passed the broker."""

    def __init__(self, stage: Stage, topics: dict[str, str], wanted: dict[str, str]) -> None:
        self._topics = topics  # topic -> device
        self._wanted = wanted  # device -> type
        self._shown: dict[str, list[int]] = {}  # event times of the readings that show it
        self.complete_ms: dict[str, float] = {}
        self.complete: dict[str, tuple[int, int]] = {}  # boot and seq of that reading
        host, port, user, password = _account(stage)
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bench-watcher")
        self._client.username_pw_set(user, password)
        self._client.on_connect = self._subscribe
        self._client.on_message = self._note
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect(host, port)
        self._client.loop_start()
        if not self._ready.wait(20):
            raise RuntimeError("the broker does not let the bench subscribe")

    def _subscribe(self, *_: object) -> None:
        topics = sorted(self._topics)
        for i in range(0, len(topics), 100):
            self._client.subscribe([(topic, 0) for topic in topics[i : i + 100]])

    def _note(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        now_ms = time.time_ns() / 1e6
        told = json.loads(message.payload)
        device = self._topics[message.topic]
        proof = PROOFS[self._wanted[device]]
        if device in self.complete_ms or not isinstance(told, dict) or proof.quantity not in told:
            return
        if float(told[proof.quantity]) <= proof.limit:
            self._shown.pop(device, None)
            return
        shown = self._shown.setdefault(device, [])
        shown.append(int(told["t"]))
        if len(shown) >= proof.reports and shown[-1] - shown[0] >= proof.hold_s * 1000:
            self.complete_ms[device] = now_ms
            self.complete[device] = (int(told["boot"]), int(told["seq"]))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _account(stage: Stage) -> tuple[str, int, str, str]:
    """Address and the server's own account: it may read everything."""
    told = stage.scene.config.read_text(encoding="utf-8")
    import tomllib

    broker = tomllib.loads(told)["broker"]
    password = Path(broker["password_file"]).read_text(encoding="utf-8").strip()
    return broker["host"], int(broker["port"]), broker.get("user", "server"), password


def probes(files: CityFiles, seconds: float, first_s: float, seed: int) -> tuple[str, dict[str, str]]:
    """A scenario in which something is wrong with one pole after another, and with which pole what."""
    poles = [device.id for device in files.devices if device.kind == "pole"]
    chosen = random.Random(seed).sample(poles, min(len(poles), int(seconds / PROBE_EVERY_S)))
    lines, wanted = [], {}
    for i, pole in enumerate(chosen):
        wanted[pole] = name = CYCLE[i % len(CYCLE)]
        start = first_s + i * PROBE_EVERY_S
        lines.append(f'[[fault]]\ntype = "{name}"\nsubject = "{pole}"\nstart_s = {start:.1f}\n'
                     f"duration_s = 7200\nmagnitude = {PROOFS[name].magnitude}\n")  # fmt: skip
    return "\n".join(lines), wanted


def live(city: Path, root: Path, seconds: float, settle_s: float, seed: int) -> Lived:
    """Run the full city for so long."""
    files = load_city(city)
    text, chosen = probes(files, max(10.0, seconds - 70.0), settle_s, seed)
    scenario = root / "probes.toml"
    root.mkdir(parents=True, exist_ok=True)
    scenario.write_text(text, encoding="utf-8")
    read_scenario(scenario, 0, files.timezone)
    scene = Scene(root / "city")
    scene.root.mkdir(parents=True, exist_ok=True)
    wishes = Wishes(city=str(city), seed=seed, port=0, speed=SPEED, begins=BEGINS,
                    scenario=scenario, recording=False, history=False)  # fmt: skip
    stage = Stage(scene, wishes, Console(stderr=True, quiet=True))
    watcher = logged = None
    try:
        stage.start()
        logged = Logged(scene.senders, chosen)
        district = {device.id: device.district for device in files.devices}
        topics = {f"city/{district[p]}/pole/{p}/{leaf}": p for p in chosen for leaf in ("telemetry", "event")}
        watcher = Watcher(stage, topics, chosen)
        time.sleep(settle_s)
        before, began = _figures(stage), time.monotonic()
        while time.monotonic() - began < seconds:
            time.sleep(1.0)
            stage.watch_all()
        after, took = _figures(stage), time.monotonic() - began
        lag = float(stage.last_word("fleet").get("lag_s", 0.0))
        stage.drain()
        told = summary(stage)
        for device, (boot, seq) in watcher.complete.items():
            at_ms = logged.when_ms(device, boot, seq)
            watcher.complete_ms[device] = at_ms if at_ms is not None else watcher.complete_ms[device]
        waits = _waits(stage, watcher, chosen)
    finally:
        for part in (watcher, logged):
            if part is not None:
                part.close()
        stage.stop()
    share = {name: (after[name] - before[name]) / took for name in after}
    return Lived(
        seconds=took,
        server_share=share["server"],
        fleet_share=share["fleet"],
        broker_share=share["broker"],
        server_mb=told["memory_mb"]["server"],
        fleet_mb=told["memory_mb"]["fleet"],
        messages_per_s=share["received"],
        whistle_s=sorted(wait for some in waits.values() for wait in some),
        by_type=waits,
        probes=len(watcher.complete_ms),
        accounting=told["accounting"],
        ready_s=stage.ready_s,
        lag_s=lag,
    )


def _figures(stage: Stage) -> dict[str, float]:
    """CPU seconds of each process so far, and readings received."""
    stage.watch_all()
    total = (stage.ask("/api/accounting") or {}).get("total", {})
    return {**stage.cpu_s(), "received": float(total.get("received", 0))}


def _waits(stage: Stage, watcher: Watcher, wanted: dict[str, str]) -> dict[str, list[float]]:
    """Seconds from the completing message to the whistle in the inbox, of every probe that was whistled, by type."""
    arrived: dict[str, float] = {}
    for line in stage.scene.inbox.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        case = told["message"]["data"]
        subject = case.get("subject", {}).get("id", "")
        if case.get("purpose") == "dispatch" and case["type"] == wanted.get(subject):
            arrived.setdefault(subject, float(told["received_ms"]))
    found: dict[str, list[float]] = {name: [] for name in PROOFS}
    for device, at in sorted(watcher.complete_ms.items()):
        if device in arrived:
            found[wanted[device]].append((arrived[device] - at) / 1000)
    return {name: sorted(some) for name, some in found.items()}
