"""Kill -9 changes nothing: server, fleet and broker killed under load, gateways cut off; then the books.

The soak does 200 kills in one life, or in parts: `CITYWHISTLE_TEST_KILLS=50 CITYWHISTLE_TEST_SEED=1` and so on, or as
many as `CITYWHISTLE_TEST_MINUTES` allow; it says how many they were. It waits as long as what it waits for works, so
that a slow machine takes longer and proves the same.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.town import Town, rounds, town, wait_for
from tests.servers import influxdb
from twin.deliver.cases import Cases
from twin.journal import Journal
from twin.records import Batch
from twin.settings import StoreSettings
from twin.store import Rows, open_store
from twin.store.embedded import EmbeddedStore

SPEED = float(os.environ.get("CITYWHISTLE_TEST_SPEED", "40"))  # 40: about 1,000 readings a second
# Any fault, and two gateways cut off: one comes back among the kills, one stays away beyond the end of the fleet.
FAULTS = """
[[fault]]
type = "gateway_loss"
subject = "gw-13"
start_s = 150
duration_s = 900

[[fault]]
type = "gateway_loss"
subject = "gw-14"
start_s = 300
duration_s = 1000000

[random]
every_s = 60
"""
LOST = "gw-14"
SEED = int(os.environ.get("CITYWHISTLE_TEST_SEED", "20261122"))


SOAK_KILLS = int(os.environ.get("CITYWHISTLE_TEST_KILLS", "200"))
SOAK_OUTAGE_S = float(os.environ.get("CITYWHISTLE_TEST_OUTAGE_S", "600"))


def crash(
    place: Town,
    kills: int,
    chance: random.Random,
    fleet: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
    before: Callable[[int], None] = lambda _: None,
) -> int:
    """Kill and start the server so often: every other time while it starts or replays, else under load.

    In between the broker is stopped and killed as well, and the fleet is killed if its options are given. Returns how
    many kills there was time for.
    """
    made = 0
    for number in rounds(kills):
        before(number)
        if number % 2:
            time.sleep(chance.uniform(0.05, 1.2))  # the random instant
        if number == kills // 4:  # while the server runs: it must come back to the broker by itself
            place.broker.stop()
            place.broker.start()
        if number == kills // 2 and fleet:
            place.kill("fleet")
            place.start_fleet(*fleet)
        if number == 3 * kills // 4:  # what it had acknowledged and not delivered dies with it
            place.broker.kill()
            place.broker.start()
        place.kill("server")
        if number % 2 and number < kills - 1:
            place.launch_server()
            time.sleep(chance.uniform(0.1, 4.0))  # from the first import to the first readings
        else:
            place.start_server()
        made = number + 1
        if made % 5 == 0:
            tell(f"{made} of {kills} kills, {place.last_word()['sent']} readings sent")
    if place.server is None or place.server.poll() is not None or place.get("/api/health") is None:
        place.kill("server")  # the time was over in the middle of a start
        place.start_server()
    return made


def settle(place: Town) -> None:
    """End the fleet when every reading is covered, wait until all is stored and sent, and stop the server."""
    assert place.stop("fleet") == 0, place.log("fleet")
    assert place.last_word()["buffered"] == 0, place.last_word()
    assert place.kept() == {}
    for _ in range(5):
        wait_for(lambda: _quiet(place), "everything stored and sent", 120, moving=lambda: _left(place))
        assert place.stop("server") == 0, place.log("server")
        if not pending(place):
            return
        place.start_server()  # it whistled once more while it ended (everybody is silent now): the outbox has it
    pytest.fail("it whistles for ever")


def settle_without(place: Town, gateway: str) -> None:
    """End the fleet while a gateway is cut off: the account says what is with its senders, and they bring it later."""
    assert place.stop("fleet") == 0, place.log("fleet")
    assert [f["subject"] for f in place.last_word()["faults"] if f["type"] == "gateway_loss"].count(gateway) == 1
    kept = place.kept()
    behind = {device.id for device in place.files.devices if gateway in (device.gateway, device.id)}
    assert kept.keys() <= {device.id for device in place.files.devices if device.gateway in _cut(place)} | _cut(place)
    assert any(kept[device].waiting for device in behind & kept.keys()), "what was said since the cut waits"
    wait_for(lambda: _quiet(place), "everything stored and sent", 120, moving=lambda: _left(place))
    account = place.account()
    assert account["unaccounted"] == account["missing"] == account["rejected"] == 0, account
    assert account["sent"] == account["stored"] + account["buffered"]
    assert account["senders"]["waiting"] == sum(len(one.waiting) for one in kept.values()) > 0
    memory = place.root / "senders" / "fleet.json"
    told = json.loads(memory.read_text(encoding="utf-8"))
    memory.write_text(json.dumps(told | {"faults": []}), encoding="utf-8")  # the gateways are mended
    place.start_fleet("--seed", str(SEED % 1000), "--no-faults")
    wait_for(lambda: place.log("fleet").count('"begins"') >= 1, "the fleet")


def _cut(place: Town) -> set[str]:
    """Gateways that were cut off when the fleet ended."""
    return {fault["subject"] for fault in place.last_word()["faults"] if fault["type"] == "gateway_loss"}


def _quiet(place: Town) -> bool:
    health = place.get("/api/health")
    return bool(health) and not health["store"]["behind"] and pending(place) == 0


def _left(place: Town) -> tuple[int, int]:
    """How much is still to be stored and sent; -1 while nobody tells."""
    health = place.get("/api/health")
    return (health["store"]["behind"] if health else -1), pending(place)


def pending(place: Town) -> int:
    """Messages in the outbox that wait to be sent."""
    with closing(Cases(place.data / "cases.db")) as cases:
        return cases.counts()["pending"]


def journalled(place: Town) -> dict[str, Counter[tuple[int, int]]]:
    """By device, how often each (boot, seq) stands in the journal."""
    found: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    with closing(Journal(place.data / "journal.db")) as journal:
        names = {(kind, row): device for kind, row, device in journal.names()}
        after = journal.first - 1
        assert after == 0, "the journal must reach back to its first entry"
        while entries := journal.read(after, 1000):
            after = entries[-1].n
            for entry in entries:
                if isinstance(entry.body, Batch):
                    for c in entry.body.columns:
                        for row, boot, seq in zip(c.row.tolist(), c.boot.tolist(), c.seq.tolist(), strict=True):
                            found[names[c.kind, row]][boot, seq] += 1
    return found


def stored(place: Town) -> dict[str, Counter[tuple[int, int]]]:
    """By device, how often each (boot, seq) stands in the store."""
    with closing(Journal(place.data / "journal.db")) as journal:
        names, journal_id = journal.names(), journal.id
    store = EmbeddedStore(place.data / "store", Rows(names), journal=journal_id)
    found: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    with closing(store):
        devices = {(kind, row): device for kind, row, device in names}
        for kind in {kind for kind, _, _ in names}:
            for c in store.export(kind, 0, 1 << 60):
                for row, boot, seq in zip(c.row.tolist(), c.boot.tolist(), c.seq.tolist(), strict=True):
                    found[devices[kind, row]][boot, seq] += 1
    return found


def check_books(place: Town) -> int:
    """Senders' logs, journal and store hold the same readings, each once, by device. Returns how many."""
    kept = journalled(place)
    sent = place.sent()
    total = 0
    for device, boots in sent.items():
        wanted = {(boot, seq) for boot, one in boots.items() for seq in one.seqs()}
        assert set(kept[device]) == wanted, f"{device}: journal and sender's log differ"
        assert max(kept[device].values()) == 1, f"{device}: a reading stands twice in the journal"
        total += len(wanted)
    assert set(kept) == set(sent)
    assert stored(place) == kept, "journal and store differ"
    return total


def received(place: Town) -> list[dict[str, Any]]:
    """What the departments have received so far: key and message."""
    file = place.inbox.file
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def check_replay(place: Town) -> int:
    """The journal replayed from nothing gives the same cases and the same chain. Returns how many ticks it has."""
    again = place.command("journal", "check", "--config", str(place.config), "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    told = json.loads(again.stdout)
    assert told["chain_equal"]
    assert not told["differing"]
    return int(told["ticks"])


def check_cases(place: Town) -> int:
    """Each case once; each message that is recorded as sent was received, under one key and with one text."""
    with closing(Cases(place.data / "cases.db")) as cases:
        every = cases.cases(open_only=False, limit=10_000)
        assert cases.verify().ok, cases.verify()
        assert len({case.id for case in every}) == len(every)
        standing = Counter(case.key for case in every if case.state not in ("closed", "cancelled", "evaluated"))
        assert not [key for key, count in standing.items() if count > 1], standing
        deliveries = [one for case in every for one in cases.deliveries(case.id) if one["channel"] == "webhook"]
    texts: dict[str, set[str]] = defaultdict(set)
    for told in received(place):
        texts[told["key"]].add(json.dumps(told["message"], sort_keys=True))
    assert all(len(some) == 1 for some in texts.values()), "one key, two texts"
    for one in deliveries:
        assert one["state"] == "sent", one
        assert one["key"] in texts, f"{one['key']} is recorded as sent and never came"
    return len(every)


@pytest.mark.broker
@pytest.mark.acceptance
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(20, marks=pytest.mark.timeout(900)),
        pytest.param(SOAK_KILLS, marks=[pytest.mark.soak, pytest.mark.timeout(24 * 3600)], id="soak"),
    ],
)
def test_killing_the_server_loses_and_doubles_nothing(tmp_path: Path, kills: int, tell: Callable[[str], None]) -> None:
    """After kill -9 at random instants the senders' logs equal what is stored, and a replay gives the same cases."""
    chance = random.Random(SEED)
    with town(tmp_path, speed=SPEED) as place:
        place.start_server()
        scenario = tmp_path / "faults.toml"
        scenario.write_text(FAULTS, encoding="utf-8")
        fleet = ["--seed", str(SEED % 1000), "--scenario", str(scenario)]
        place.start_fleet(*fleet)
        wait_for(lambda: (place.get("/api/accounting") or {"total": {"stored": 0}})["total"]["stored"], "load")
        made = crash(place, kills, chance, fleet, tell)
        settle_without(place, LOST)
        settle(place)
        readings = check_books(place)
        cases = check_cases(place)
        ticks = check_replay(place)
        tell(f"{made} kills: {readings} readings and {cases} cases, each there once; {ticks} ticks replayed the same")
    assert readings > 1000
    assert cases > 0


def in_influxdb(place: Town, store: StoreSettings) -> dict[str, int]:
    """By device, how many readings of every kind InfluxDB holds, counted by a quantity that each reading carries."""
    with closing(Journal(place.data / "journal.db")) as journal:
        names, journal_id = journal.names(), journal.id
    opened = open_store(store, place.data / "store", Rows(names), journal_id)
    with closing(opened):
        counted = {}
        for kind, row, device in names:
            if kind == "truck":
                counted[device] = len(opened.range(kind, row, "speed", 0, 1 << 43)[0])
    return {device: count for device, count in counted.items() if count}


@pytest.mark.broker
@pytest.mark.acceptance
@pytest.mark.parametrize(
    "outage_s",
    [
        pytest.param(0.0, marks=pytest.mark.timeout(600)),
        pytest.param(SOAK_OUTAGE_S, marks=[pytest.mark.soak, pytest.mark.timeout(24 * 3600)], id="soak"),
    ],
)
def test_an_outage_of_the_store_loses_and_doubles_nothing(
    tmp_path: Path, outage_s: float, tell: Callable[[str], None]
) -> None:
    """InfluxDB is down and our server is killed three times inside that: nothing is lost and nothing is twice."""
    server = influxdb(tmp_path)
    server.start()
    token = tmp_path / "token"
    token.write_text("a-token-of-this-test\n", encoding="utf-8")
    told = {"username": "test", "password": "a-password", "org": "citywhistle", "bucket": "citywhistle"}
    setup = told | {"token": "a-token-of-this-test", "retentionPeriodSeconds": 0}
    assert httpx.post(f"{server.url}/api/v2/setup", json=setup, timeout=30, trust_env=False).status_code == 201
    store = StoreSettings(kind="influxdb", url=server.url, token_file=str(token))
    chance = random.Random(SEED + 1)
    try:
        with town(tmp_path, speed=SPEED, store=store) as place:
            place.start_server()
            place.start_fleet("--seed", "5", "--no-faults", "--kind", "truck")
            wait_for(lambda: (place.get("/api/accounting") or {"total": {"stored": 0}})["total"]["stored"], "load")
            server.kill()
            began = time.monotonic()
            wait_for(
                lambda: not (place.get("/api/health") or {"store": {"up": True}})["store"]["up"], "a store that is down"
            )

            def last(until_s: float) -> None:
                while time.monotonic() - began < until_s:
                    time.sleep(0.1)  # an outage takes its time
                tell(f"{time.monotonic() - began:.0f} s into the outage")

            crash(place, 3, chance, before=lambda number: last((number + 0.5) * outage_s / 3))
            last(outage_s)
            behind = wait_for(lambda: _left(place)[0], "something that waits for the store")
            tell(f"the store comes back after {time.monotonic() - began:.0f} s; {behind} entries wait for it")
            server.start()
            settle(place)
            kept = journalled(place)
            for device, boots in place.sent().items():
                assert set(kept[device]) == {(boot, seq) for boot, one in boots.items() for seq in one.seqs()}
            assert in_influxdb(place, store) == {device: len(numbers) for device, numbers in kept.items()}
    finally:
        server.kill()
    readings = sum(len(numbers) for numbers in kept.values())
    tell(f"{readings} readings of {len(kept)} devices, each in InfluxDB once")
    assert readings > 200
