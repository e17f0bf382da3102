"""City time when the machine's clock is set ahead or back, sleeps, or drifts: monotone, never standing still."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from devices.clock import ManualClock, SteadyClock

HOUR_MS = 3_600_000
T0 = 1_795_205_100_000


@dataclass
class Machine:
    """A machine whose two clocks are ours to set."""

    wall: ManualClock
    monotonic_s: float = 50.0

    def monotonic(self) -> float:
        return self.monotonic_s

    def run(self, seconds: float) -> None:
        """Both clocks go on."""
        self.monotonic_s += seconds
        self.wall.city_ms += round(seconds * 1000 * self.wall.speed)


def machine(speed: float = 1.0) -> tuple[Machine, SteadyClock]:
    made = Machine(ManualClock(T0, speed))
    return made, SteadyClock(made.wall, made.monotonic)


def test_it_is_the_machines_time_as_long_as_nobody_sets_it() -> None:
    """A drift of a second between two looks is followed and is no leap."""
    made, clock = machine()
    made.run(5)
    made.wall.city_ms += 900
    assert clock.now_ms() == made.wall.city_ms
    assert clock.leap_ms() == 0


def test_set_ahead_it_follows_and_tells_the_leap() -> None:
    """Two days ahead at once: two days later, and told once that nobody lived through them."""
    made, clock = machine()
    made.run(1)
    assert clock.leap_ms() == 0
    made.wall.city_ms += 48 * HOUR_MS
    made.run(1)
    assert clock.now_ms() == made.wall.city_ms
    assert clock.leap_ms() == 48 * HOUR_MS
    made.run(1)
    assert clock.leap_ms() == 0


def test_set_back_it_goes_on_a_little_slower_until_they_agree() -> None:
    """An hour back: no step back, no standing still, and together again ten hours later."""
    made, clock = machine()
    made.run(1)
    before = clock.now_ms()
    made.wall.city_ms -= HOUR_MS
    made.run(100)
    assert clock.now_ms() - before == 90_000
    clock.leap_ms()
    made.run(5)
    assert clock.leap_ms() == 0
    for _ in range(400):
        made.run(100)
        clock.now_ms()
    assert abs(clock.now_ms() - made.wall.city_ms) <= 2000


def test_who_asks_late_lived_through_ten_seconds() -> None:
    """Held up for ten minutes (a full disk, a stopped process): the rest is a leap, in city time."""
    made, clock = machine(speed=20.0)
    made.run(600)
    assert clock.leap_ms() == 590 * 1000 * 20


def test_an_earlier_life_ahead_of_the_machine_is_gone_on_with() -> None:
    """Started again on a clock that is a day behind: time goes on from the last mark."""
    made, clock = machine()
    clock.resume(T0 + 24 * HOUR_MS)
    made.run(10)
    assert clock.now_ms() == T0 + 24 * HOUR_MS + 9000
    assert clock.leap_ms() == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(-3 * 86_400_000, 3 * 86_400_000)), max_size=30))
def test_it_never_goes_back_nor_stands_still(steps: list[tuple[float, int]]) -> None:
    """Whatever is done to the machine's clock."""
    made, clock = machine()
    last = clock.now_ms()
    for seconds, set_by in steps:
        made.run(seconds)
        made.wall.city_ms += set_by
        now = clock.now_ms()
        assert now - last >= seconds * 1000 * 0.9 - 2002  # two seconds of jitter are taken as drift
        assert now >= last
        last = now
