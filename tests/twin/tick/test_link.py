"""The link's clock: silence counts only while our link was up and drained."""

from __future__ import annotations

from tests.twin.tick.town import DAY, Day, said
from twin.records import Link
from twin.tick.link import LinkClock

GATEWAYS = ["gw-1", "gw-2"]
POLES = [f"pole-{i}" for i in range(12)]


def test_only_drained_intervals_count() -> None:
    """Time before `drained`, around a loss and while the backlog is read counts for nothing."""
    clock = LinkClock()
    clock.advance([], 1000)
    clock.advance([Link("up")], 2000)
    clock.advance([Link("drained")], 3000)
    assert clock.counted_ms == 0
    clock.advance([], 4500)
    assert clock.counted_ms == 1500
    clock.advance([Link("down")], 9000)
    clock.advance([Link("up"), Link("drained")], 9500)
    clock.advance([], 9500)
    clock.advance([], 8000)
    assert clock.counted_ms == 1500
    assert clock.now_ms == 9500


def test_time_that_was_leapt_over_counts_for_nothing() -> None:
    """A clock that is set two days ahead, or a mark that comes late: nobody was silent in between."""
    clock = LinkClock()
    clock.advance([Link("drained")], 1000)
    clock.advance([], 2000 + 172_800_000, 172_800_000)
    assert clock.counted_ms == 1000
    clock.advance([], 3000 + 172_800_000)
    assert clock.counted_ms == 2000


def talk(day: Day, rows: list[str]):
    """Poles and gateways that report every 30 s, spread over the half minute."""

    def at(now: int):
        second = now // 1000
        poles = [p for i, p in enumerate(rows) if (second + 7 * i) % 30 == 0]
        gateways = [g for i, g in enumerate(GATEWAYS) if (second + 11 * i) % 30 == 0]
        told = [said(day.city, "pole", poles, now, voltage=230.0)] if poles else []
        return told + ([said(day.city, "gateway", gateways, now, cpuLoad=5.0)] if gateways else [])

    return at


def test_a_lone_silent_pole_is_found_soon_after_it_is_overdue() -> None:
    """Overdue after five gaps; said at most 35 s later; unsaid when it reports again."""
    day = Day()
    day.every(1, 600, talk(day, POLES))
    began = day.now
    day.every(1, 150 + 35 + 30, talk(day, POLES[1:]))
    assert day.keys() == ["device_silent:pole-0"]
    last = int(day.world.models["pole"].arrays["arrived"][0])
    assert began - 30_000 < last <= began
    assert day.found[0].at_ms - (last + 150_000) <= 35_000
    day.every(1, 60, talk(day, POLES))
    assert day.keys(False) == ["device_silent:pole-0"]


def test_an_outage_of_ours_raises_nothing() -> None:
    """Our link down for an hour, then a catch-up, then devices that need two minutes to come back: no finding."""
    day = Day()
    day.every(1, 600, talk(day, POLES))
    day.tick([Link("down")])
    day.every(10, 3600)
    day.tick([Link("up")])
    day.every(1, 20)
    day.tick([Link("drained")])
    day.every(1, 120)
    day.every(1, 300, talk(day, POLES))
    assert day.found == []


def test_being_behind_raises_nothing_and_hides_nothing() -> None:
    """While our link is behind no silence counts; when it is not, silence goes on from where it stood."""
    day = Day()
    day.every(1, 600, talk(day, POLES))
    for _ in range(20):
        day.tick([Link("up")])
        day.every(1, 60)
        day.tick([Link("drained")])
        day.every(1, 31, talk(day, POLES[1:]))
    assert day.keys() == ["device_silent:pole-0"]
    assert day.keys(False) == []


def test_a_restart_after_a_night_raises_nothing() -> None:
    """The first mark after a long stop, with the link journalled as down at the start, is no silence of anyone's."""
    day = Day()
    day.every(1, 300, talk(day, POLES))
    day.now += DAY // 3
    day.tick([Link("down")])
    day.now += 1000
    day.tick([Link("up"), Link("drained")])
    day.every(1, 100)
    day.every(1, 200, talk(day, POLES))
    assert day.found == []


def test_a_silent_device_stays_found_over_our_own_outage() -> None:
    """What was silent before our link failed is neither ended nor said again by it."""
    day = Day()
    day.every(1, 600, talk(day, POLES))
    day.every(1, 240, talk(day, POLES[1:]))
    day.tick([Link("down")])
    day.every(10, 600)
    day.tick([Link("drained")])
    day.every(1, 400, talk(day, POLES[1:]))
    assert day.keys() == ["device_silent:pole-0"]
    assert day.keys(False) == []


def test_a_feeder_trip_is_one_finding_and_no_poles() -> None:
    """All poles of a feeder fall silent: one finding there, with children, none of theirs."""
    day = Day()
    day.every(1, 600, talk(day, POLES))
    trip = day.now
    day.every(1, 900, talk(day, POLES[1::2]))
    assert day.keys() == ["feeder_trip:feeder-1"]
    assert set(day.found[0].evidence["children"]) >= set(POLES[::2])
    assert day.found[0].at_ms - trip <= 190_000
    day.every(1, 300, talk(day, POLES))
    assert day.keys(False) == ["feeder_trip:feeder-1"]
    assert len(day.found) == 2


def test_a_last_gasp_finds_the_feeder_at_once() -> None:
    """Poles that report their supply lost need no silence: the feeder is found within half a minute."""
    day = Day()
    day.every(1, 600, talk(day, POLES))
    day.tick([said(day.city, "pole", POLES[::2], day.now, supplyPresent=0.0)])
    began = day.now
    day.every(1, 600, talk(day, POLES[1::2]))
    assert day.keys() == ["feeder_trip:feeder-1"]
    assert day.found[0].at_ms - began <= 15_000


def test_a_lost_gateway_is_one_finding() -> None:
    """Gateway and all behind it silent: one finding at the gateway, whose feeder has not tripped."""
    day = Day()
    day.every(1, 600, talk(day, POLES))

    def rest(now: int):
        second = now // 1000
        poles = [p for i, p in enumerate(POLES) if i % 2 and (second + 7 * i) % 30 == 0]
        told = [said(day.city, "pole", poles, now, voltage=230.0)] if poles else []
        return told + ([said(day.city, "gateway", ["gw-2"], now, cpuLoad=5.0)] if second % 30 == 0 else [])

    day.every(1, 900, rest)
    assert day.keys() == ["gateway_loss:gw-1"]
    assert "gw-1" not in day.found[0].evidence["children"]


def test_a_lone_pole_without_supply_is_said_so() -> None:
    """supplyPresent = 0 of one pole among healthy siblings is that pole's supply."""
    day = Day()
    day.every(1, 300, talk(day, POLES))
    day.tick([said(day.city, "pole", "pole-3", day.now, supplyPresent=0.0)])
    day.every(1, 60, talk(day, POLES))
    assert day.keys() == ["supply_lost:pole-3"]
    day.tick([said(day.city, "pole", "pole-3", day.now, supplyPresent=1.0)])
    day.every(1, 5, talk(day, POLES))
    assert day.keys(False) == ["supply_lost:pole-3"]


def test_half_the_last_gasps_and_half_silence_are_one_feeder() -> None:
    """Only half of a tripped feeder's poles get their last word out: still one finding there, and none of theirs."""
    day = Day()
    day.every(1, 600, talk(day, POLES))
    day.tick([said(day.city, "pole", POLES[:6:2], day.now, supplyPresent=0.0)])
    began = day.now
    day.every(1, 600, talk(day, POLES[1::2]))
    assert day.keys() == ["feeder_trip:feeder-1"]
    assert day.found[0].at_ms - began <= 120_000
