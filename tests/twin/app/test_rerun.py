"""Replaying a journal from nothing gives the recorded cases, and says where it does not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from devices.clock import ManualClock
from tests.twin.tick.town import NIGHT_MS, said, town_files
from twin.app.heart import Heart
from twin.app.rerun import rerun
from twin.city import City, Registry
from twin.deliver.cases import Cases
from twin.errors import JournalBroken
from twin.journal import Journal
from twin.records import Action, Batch, Link, Tick
from twin.tick import World
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A directory with the journal and the cases of two leaking poles, one of them accepted."""
    files = town_files(poles=3, cells=0, trucks=0)
    with (
        closing(Journal(tmp_path / "journal.db", max_bytes=64 << 20)) as journal,
        closing(Cases(tmp_path / "cases.db")) as cases,
    ):
        city = City(files, Registry())
        names = city.registry.drain()
        assert names is not None
        journal.append([names, Link("drained")])
        clock = ManualClock(NIGHT_MS)
        world = World(city, Ledger(CityPlaces.of(files), Policy()))
        heart = Heart(world, journal, cases, clock, 1.0, lambda *_: None)
        for seq in range(1, 8):
            clock.city_ms += 10_000
            devices = ["pole-1", "pole-2"]
            heard = said(city, "pole", devices, clock.city_ms, seq=seq, leakageCurrent=0.2)
            journal.append([Batch((heard,), messages=2)])
            heart.beat()
        first = cases.cases()[-1].id
        journal.append([Action("a1", "li", "accept", first)])
        heart.beat()
        assert [case.state for case in cases.cases()] == ["dispatched", "accepted"]
    return tmp_path


def run(folder: Path) -> object:
    files = town_files(poles=3, cells=0, trucks=0)
    scratch = folder / "scratch.db"
    scratch.unlink(missing_ok=True)
    with closing(Journal(folder / "journal.db")) as journal, closing(Cases(folder / "cases.db")) as cases:
        seen: list[int] = []
        told = rerun(journal, files, Policy(), cases, scratch, seen.append)
        assert len(seen) == told.ticks
        assert (cases.last_tick, len(cases.cases())) != (0, 0)
        return (told.ticks, told.cases, list(told.differing), told.chain_equal)


def test_the_same_cases_come_out(recorded: Path) -> None:
    """Every tick is run again; cases and history are equal, and what is recorded is not touched."""
    before = (recorded / "cases.db").read_bytes()
    assert run(recorded) == (8, 2, [], True)
    assert (recorded / "cases.db").read_bytes() == before


def test_a_difference_is_named(recorded: Path) -> None:
    """A recorded case that the journal does not give is named by its id."""
    with closing(sqlite3.connect(recorded / "cases.db")) as link:
        link.execute("UPDATE cases SET body = replace(body, '\"severity\":4', '\"severity\":1') WHERE id LIKE '%1'")
        link.commit()
    ticks, cases, differing, chain_equal = run(recorded)  # type: ignore[misc]
    assert (ticks, cases, len(differing), chain_equal) == (8, 2, 1, True)


def test_a_trimmed_journal_cannot_be_replayed_from_nothing(recorded: Path) -> None:
    """The message says which entry it begins with and what would have kept more."""
    with closing(Journal(recorded / "journal.db")) as journal:
        journal.append([Tick(NIGHT_MS * 2)])
        journal.trim(4)
    with pytest.raises(JournalBroken, match=r"begins with entry 4.*keep_bytes"):
        run(recorded)
