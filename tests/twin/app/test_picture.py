"""The city's picture: every device in one order, its state by its worst trouble, versions that say what changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.twin.tick.town import NIGHT_MS, Day, said, town
from twin.app.picture import CASE, FINE, ODD, SILENT, UNSEEN, URGENT, Picture
from twin.deliver.lists import Standing
from twin.records import Case, Changes, Finding
from twin.tick import Ticked

CASE_OF_POLE = Case("CW-1", "k", "lamp_out", "pole-1", "pole", "dispatched", 2, NIGHT_MS, NIGHT_MS, NIGHT_MS)


class Watched:
    """A picture over a world that the test drives."""

    def __init__(self) -> None:
        self.day = Day(town(poles=3, cells=1, trucks=1))
        self.picture = Picture(self.day.city)

    def take(self, *cases: Case, findings: tuple[Finding, ...] = (), **heard: Any) -> None:
        ticked = Ticked(Changes(cases=list(cases)), findings=list(findings))
        self.picture.update(self.day.world, ticked, self.day.now)

    def state(self, device: str) -> int:
        at = self.picture.index(device)
        assert at is not None
        return int(self.picture.state[at])


def test_rows_and_versions() -> None:
    """All are unseen at first; a tick's touched devices become fine, under a new version that names only them."""
    watched = Watched()
    rows = watched.picture.rows()
    assert {row.state for row in rows} == {UNSEEN}
    assert len({row.id for row in rows}) == len(rows)
    version = watched.picture.version
    ticked = watched.day.say("pole", "pole-1", voltage=230.0)
    watched.picture.update(watched.day.world, ticked, watched.day.now)
    moved = watched.picture.moved(version)
    assert [rows[i].id for i in moved.index] == ["pole-1"]
    assert list(moved.state) == [FINE]
    assert moved.now_ms == watched.day.now
    assert list(watched.picture.moved(moved.version).index) == []
    assert watched.picture.index("nobody") is None


def test_a_truck_moves() -> None:
    """A reading with a position moves its device; one without does not."""
    watched = Watched()
    for values, place in (({"longitude": 0.5, "latitude": 0.25}, (0.5, 0.25)), ({"speed": 3.0}, (0.5, 0.25))):
        ticked = watched.day.tick([said(watched.day.city, "truck", "truck-0", watched.day.now, **values)])
        watched.picture.update(watched.day.world, ticked, watched.day.now)
        (row,) = [row for row in watched.picture.rows() if row.id == "truck-0"]
        assert (row.lon, row.lat) == place
        watched.day.now += 1000


def test_the_worst_trouble_shows() -> None:
    """Odd, case, silent, urgent: the worst that is open shows, and closing gives back what is left."""
    watched = Watched()
    finding = Finding("lamp_out", "pole-1", True, NIGHT_MS, NIGHT_MS)
    watched.take(findings=(finding,))
    assert watched.state("pole-1") == UNSEEN  # nothing was heard of it, and no case says otherwise
    watched.picture.update(watched.day.world, watched.day.say("pole", "pole-1", voltage=230.0), watched.day.now)
    watched.take(findings=(finding,))
    assert watched.state("pole-1") == ODD
    silent = replace(CASE_OF_POLE, id="CW-2", type="device_silent")
    urgent = replace(CASE_OF_POLE, id="CW-3", severity=4)
    seen = []
    for case in (CASE_OF_POLE, silent, urgent, replace(urgent, state="closed"), replace(silent, state="closed")):
        watched.take(case)
        seen.append(watched.state("pole-1"))
    assert seen == [CASE, SILENT, URGENT, SILENT, CASE]
    watched.take(replace(CASE_OF_POLE, state="closed"))
    assert watched.state("pole-1") == ODD
    watched.take(findings=(replace(finding, active=False),))
    assert watched.state("pole-1") == FINE


def test_a_restored_picture_is_the_one_before() -> None:
    """From world and open cases alone a fresh picture shows every device as the old one did."""
    watched = Watched()
    ticked = watched.day.say("truck", "truck-0", longitude=0.5, latitude=0.25)
    watched.picture.update(watched.day.world, ticked, watched.day.now)
    watched.take(CASE_OF_POLE)
    fresh = Picture(watched.day.city)
    fresh.restore(watched.day.world, [CASE_OF_POLE])
    assert fresh.rows() == watched.picture.rows()
    assert len(fresh.moved(0).index) == len(fresh.rows())


def test_a_restored_picture_shows_what_is_silent_under_a_cause() -> None:
    """A pole whose feeder tripped is no less silent for a server that was started again."""
    watched = Watched()
    ticked = watched.day.say("pole", "pole-1", voltage=230.0)
    watched.picture.update(watched.day.world, ticked, watched.day.now)
    child = replace(CASE_OF_POLE, type="device_silent", state="filed", parent="CW-0")
    watched.take(child)
    fresh = Picture(watched.day.city)
    fresh.restore(watched.day.world, [Standing(child.id, child.type, child.subject, child.state, child.severity)])
    assert fresh.rows() == watched.picture.rows()
    assert watched.state("pole-1") == SILENT
