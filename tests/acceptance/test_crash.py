"""Kill -9 changes nothing: server killed at random instants under load, broker stopped and started, then the books."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.town import Town, town, wait_for
from twin.deliver.cases import Cases
from twin.journal import Journal
from twin.records import Batch
from twin.store import Rows
from twin.store.embedded import EmbeddedStore

SPEED = 40.0  # about 1,000 readings a second
SEED = int(os.environ.get("CITYWHISTLE_TEST_SEED", "20261122"))


def crash(place: Town, kills: int, chance: random.Random) -> None:
    """Kill and start the server so often; half-way the broker is stopped and started as well."""
    for number in range(kills):
        time.sleep(chance.uniform(0.05, 1.2))  # the random instant
        place.kill_server()
        if number == kills // 2:
            place.broker.stop()
            place.broker.start()
        place.start_server()


def settle(place: Town) -> None:
    """End the fleet when every reading is covered, wait until all is stored and sent, and stop the server."""
    assert place.stop("fleet") == 0, place.log("fleet")
    assert place.last_word()["buffered"] == 0, place.last_word()
    wait_for(lambda: _quiet(place), "everything stored", 60)
    assert place.stop("server") == 0, place.log("server")


def _quiet(place: Town) -> bool:
    health = place.get("/api/health")
    return bool(health and health["store"]["behind"] == 0)


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


def check_cases(place: Town) -> int:
    """Each case once; each message that is recorded as sent was received, under one key and with one text."""
    with closing(Cases(place.data / "cases.db")) as cases:
        every = cases.cases(open_only=False, limit=10_000)
        assert cases.verify().ok, cases.verify()
        assert len({case.id for case in every}) == len(every)
        standing = Counter(case.key for case in every if case.state not in ("closed", "cancelled", "evaluated"))
        assert not [key for key, count in standing.items() if count > 1], standing
        deliveries = [one for case in every for one in cases.deliveries(case.id) if one["channel"] == "webhook"]
    received: dict[str, set[str]] = defaultdict(set)
    for line in place.inbox.file.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        received[told["key"]].add(json.dumps(told["message"], sort_keys=True))
    assert all(len(texts) == 1 for texts in received.values()), "one key, two texts"
    for one in deliveries:
        if one["state"] == "sent":
            assert one["key"] in received, f"{one['key']} is recorded as sent and never came"
    assert not [one for one in deliveries if one["state"] == "dead"]
    return len(every)


@pytest.mark.broker
@pytest.mark.acceptance
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(2400)])])
def test_killing_the_server_loses_and_doubles_nothing(tmp_path: Path, kills: int) -> None:
    """After kill -9 at random instants the senders' logs equal what is stored, and a replay gives the same cases."""
    chance = random.Random(SEED)
    with town(tmp_path, speed=SPEED) as place:
        place.start_server()
        place.start_fleet("--seed", str(SEED % 1000), "--fault-every", "60")
        wait_for(lambda: (place.get("/api/accounting") or {"total": {"stored": 0}})["total"]["stored"], "load")
        crash(place, kills, chance)
        settle(place)
        readings = check_books(place)
        cases = check_cases(place)
        again = place.command("journal", "check", "--config", str(place.config), "--json")
        assert again.returncode == 0, again.stdout + again.stderr
        told = json.loads(again.stdout)
        assert told["chain_equal"]
        assert not told["differing"]
    assert readings > 1000
    assert cases > 0
