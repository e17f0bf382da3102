"""Replaying a journal from nothing: the same ticks over an empty world must give the cases that are recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.clock import ManualClock
from devices.places import CityFiles
from twin.app.heart import Heart
from twin.city import City, Registry
from twin.deliver.cases import Cases
from twin.errors import JournalBroken
from twin.journal import Journal
from twin.records import Case
from twin.tick import Ticked, World
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy

MOST = 10_000


@dataclass(frozen=True, slots=True)
class Rerun:
    """What a replay gave: ticks run, cases, and the ids of those that differ from what is recorded."""

    ticks: int
    cases: int
    differing: Sequence[str]
    chain_equal: bool


def rerun(
    journal: Journal,
    files: CityFiles,
    policy: Policy,
    recorded: Cases,
    scratch: Path,
    progress: Callable[[int], None] = lambda _n: None,
) -> Rerun:
    """Replay the whole journal into an empty case database at `scratch` and compare it with what is recorded.

    Raises JournalBroken when the journal no longer begins at its first entry.
    """
    if journal.first > 1:
        raise JournalBroken(
            f"the journal begins with entry {journal.first}: what came before was trimmed, so that it cannot be"
            " replayed from nothing ([journal] keep_bytes keeps more)"
        )
    fresh = Cases(scratch)
    try:
        city = City(files, Registry(journal.names()))
        world = World(city, Ledger(CityPlaces.of(files), policy))

        def after(_ticked: Ticked, n: int, _now_ms: int) -> None:
            progress(n)

        heart = Heart(world, journal, fresh, ManualClock(), 1.0, after)
        ticks = heart.replay()
        differing = _differences(recorded, fresh)
        equal = recorded.verify().head == fresh.verify().head
        return Rerun(ticks, len(_all(fresh)), differing, equal)
    finally:
        fresh.close()


def _all(cases: Cases) -> dict[str, Case]:
    """Every case by id, children included."""
    found: dict[str, Case] = {}
    after = ""
    while page := cases.cases(open_only=False, after=after, limit=MOST):
        for case in page:
            found[case.id] = case
            found |= {child.id: child for child in cases.children(case.id, MOST)}
        after = page[-1].id
    return found


def _differences(recorded: Cases, fresh: Cases) -> list[str]:
    old, new = _all(recorded), _all(fresh)
    return sorted(case for case in old.keys() | new.keys() if repr(old.get(case)) != repr(new.get(case)))
