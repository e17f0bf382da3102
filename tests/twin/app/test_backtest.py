"""Stored history through two sets of rules: what comes, goes, sooner and later; absences and changes of the city."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from devices.cities.change import Change, change_out, tell
from tests.twin.tick.town import HOUR, MINUTE, NIGHT_MS, said, town, town_files
from twin.app.backtest import Arrivals, Compared, Order, Whistle, backtest, compare
from twin.app.history import Version
from twin.records import Batch, Columns, Link
from twin.store import shape
from twin.whistle.policy import Policy

POLES = [f"pole-{i}" for i in range(12)]
START, END = NIGHT_MS + 30 * MINUTE, NIGHT_MS + 120 * MINUTE


class Kept:
    """A store of a few readings."""

    def __init__(self, parts: Sequence[Columns]) -> None:
        self.parts = list(parts)
        self.asked: list[int] = []

    def span(self, kind: str) -> tuple[int, int]:
        times = [t for part in self.parts if part.kind == kind for t in (int(part.t.min()), int(part.t.max()))]
        return (min(times), max(times)) if times else (0, -1)

    def export(self, kind: str, start_ms: int, end_ms: int) -> list[Columns]:
        self.asked.append(end_ms - start_ms)
        found = [shape.take(p, (p.t >= start_ms) & (p.t < end_ms)) for p in self.parts if p.kind == kind]
        return [part for part in found if len(part)]


def evening(away: tuple[int, int] = (0, 0)) -> Kept:
    """Two hours of twelve poles: pole-0 leaks a little, pole-1 a lot, pole-2's door stands open, pole-3 falls silent;
    between the minutes `away` nothing came from anybody."""
    city, parts = town(), []
    for n in range(240):
        now, minute = NIGHT_MS + n * 30_000, n / 2
        if away[0] <= minute < away[1]:
            continue
        names = [name for name in POLES if name != "pole-3" or minute < 60]
        leak = [{"pole-0": 0.02, "pole-1": 0.2}.get(name, 0.001) if minute > 50 else 0.001 for name in names]
        door = [float(name == "pole-2" and minute > 70) for name in names]
        parts.append(said(city, "pole", names, now, arrived=now + 200, seq=n + 1, leakageCurrent=leak, doorOpen=door))
    return Kept(parts)


def order(other: dict[str, Any], **more: Any) -> Order:
    files = town_files()
    return Order(START, END, {}, other, town().registry.names(), files, 1, Policy(), tick_ms=15_000, **more)


def keys(whistles: Sequence[Whistle]) -> list[str]:
    return sorted(f"{w.type}:{w.subject}" for w in whistles)


def test_whistles_come_go_sooner_and_later() -> None:
    """A lower limit gains a leak in place of its warning, a type switched off is lost, shorter holds are earlier."""
    shares: list[float] = []
    other = {"leakage": {"limit": 0.015, "clear": 0.012}, "device_silent": {"enabled": False},
             "door_open": {"hold_s": 60}}  # fmt: skip
    done = backtest(evening(), order(other), lambda share, _what: shares.append(share))
    assert keys(done.gained) == ["leakage:pole-0"]
    assert keys(done.lost) == ["device_silent:pole-3", "leakage_warn:pole-0"]
    assert [(old.type, new.at_ms < old.at_ms) for old, new in done.earlier] == [("door_open", True)]
    assert (done.later, done.same) == ([], 1)
    assert (done.today, done.other) == (4, 3)
    assert done.readings > 2500
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    late = backtest(evening(), order({"door_open": {"hold_s": 900}}))
    assert [(old.type, new.at_ms > old.at_ms) for old, new in late.later] == [("door_open", True)]
    told = late.told()
    assert told["later"][0]["by_s"] > 500


def test_equal_rules_change_nothing() -> None:
    """The same rules give the same whistles, whatever was learnt before."""
    for learn_ms in (0, 20 * MINUTE, 10**9):
        done = backtest(evening(), order({}, learn_ms=learn_ms))
        assert (done.gained, done.lost, done.earlier, done.later) == ([], [], [], [])
        assert done.same == done.today == 4


def test_what_is_wrong_when_the_span_begins_is_judged_by_each_sides_own_rules() -> None:
    """A pole leans six degrees long before: under a limit of ten it never did, and nothing of today's side says so."""
    past = evening()
    for n in range(240):
        past.parts.append(said(town(), "pole", "pole-5", NIGHT_MS + n * 30_000, arrived=NIGHT_MS + n * 30_000 + 200,
                               seq=n + 1001, tilt=6.0))  # fmt: skip
    for other in ({"tilt": {"limit": 9.5}}, {"tilt": {"enabled": False}}):
        done = backtest(past, order(other, learn_ms=HOUR))
        assert (keys(done.lost), keys(done.gained), done.same) == (["tilt:pole-5"], [], 4)
    back = backtest(past, replace(order({}, learn_ms=HOUR), rules={"tilt": {"limit": 9.5}}))
    assert (keys(back.lost), keys(back.gained), back.same) == ([], ["tilt:pole-5"], 4)


def test_our_own_absence_is_nobodys_silence() -> None:
    """Twenty minutes in which nothing came from anybody whistle nobody for it."""
    done = backtest(evening(away=(80, 100)), order({}))
    assert (done.gained, done.lost, done.today) == ([], [], 4)


def test_what_was_said_before_the_span_and_came_within_it_is_heard_there() -> None:
    """A gateway's backlog from before the start that comes five minutes after it: no reading is passed over."""
    past = evening()
    for n in range(10, 50):
        t = NIGHT_MS + n * 30_000
        past.parts.append(said(town(), "gateway", "gw-1", t, arrived=START + 5 * MINUTE, seq=n, spooled=n))
    done = backtest(past, order({}))
    assert done.readings == sum(len(part) for part in past.parts)


def test_an_absence_over_the_start_of_the_span_ends_within_it() -> None:
    """We were away from before the start until it, or until some minutes after: who falls silent later is found."""
    for until in (30, 35):
        done = backtest(evening(away=(20, until)), order({}))
        assert (done.gained, done.lost, done.today) == ([], [], 4)


def test_windows_are_bounded_and_late_arrivals_wait() -> None:
    """No more than ten minutes are asked for at once; a reading that came an hour late comes in its mark."""
    past = evening()
    past.parts.append(
        said(town(), "pole", "pole-5", NIGHT_MS + 5 * MINUTE, arrived=NIGHT_MS + 65 * MINUTE, voltage=1.0)
    )
    marks = [(now, body) for now, bodies in Arrivals(past, ["pole"]).marks(NIGHT_MS, END, 5000) for body in bodies]
    assert max(past.asked) <= 600_000
    late = [now for now, body in marks if isinstance(body, Batch) and any("voltage" in c.values for c in body.columns)
            and any(np.isfinite(c.values["voltage"]).any() for c in body.columns if "voltage" in c.values)]  # fmt: skip
    assert late == [NIGHT_MS + 65 * MINUTE]
    count = sum(len(body) for _, body in marks if isinstance(body, Batch))
    assert count == sum(len(part) for part in past.parts)
    assert not any(isinstance(body, Link) for _, body in marks)


def test_the_city_is_the_one_of_that_time() -> None:
    """A pole that was retired in the middle is not missed afterwards, under either rules."""
    files = town_files()
    pole = next(d for d in files.devices if d.id == "pole-3")
    changes = [change_out(Change("devices", name, None)) | {"before": None} for name in ("cell-3", "pole-3")]
    changes[1]["before"] = tell("devices", "pole-3", pole)
    gone = Version(2, 9, NIGHT_MS + 55 * MINUTE, "r1", "li", "felled", changes)
    done = backtest(evening(), order({}, versions=(gone,)))
    assert "device_silent:pole-3" not in keys([*done.lost, *done.gained])
    assert done.today == 3


def test_whistles_are_paired_by_subject_and_nearness() -> None:
    """Two of one kind on one subject are told apart by time; what is a day apart is not the same."""
    one = Whistle("leakage", "pole-1", NIGHT_MS, "", "", 3)
    two = replace(one, at_ms=NIGHT_MS + 3600_000)
    far = replace(one, at_ms=NIGHT_MS + 86_400_000)
    done = compare([one, two], [replace(two, at_ms=two.at_ms + 60_000), one, far], 5000, Compared())
    assert (done.same, len(done.later), done.gained, done.lost) == (1, 1, [far], [])
