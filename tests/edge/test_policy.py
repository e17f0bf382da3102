"""Laws of the policy, over any sequence of readings."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.kinds.pole import POLE
from devices.kinds.truck import TRUCK
from devices.records import Reading
from edge.policy import Policy, Rule

VALUES = st.floats(-60, 80, allow_nan=False)
STEPS = st.floats(0, 100, allow_nan=False)
SERIES = st.lists(st.tuples(STEPS, VALUES), min_size=1, max_size=60)
RULES = st.builds(
    lambda absolute, relative, shortest, more: Rule(
        "temperature", absolute=absolute, relative=relative, shortest_s=shortest, longest_s=shortest + more
    ),
    st.floats(0, 20),
    st.floats(0, 0.5),
    st.floats(0, 50),
    st.floats(1, 200),
)


def temperature(value: float) -> Reading:
    return Reading("p", None, {"temperature": value})


@settings(deadline=None)
@given(RULES, SERIES)
def test_what_the_city_believes_is_within_the_deadband_or_soon_will_be(
    rule: Rule, series: list[tuple[float, float]]
) -> None:
    """The last value sent is within the deadband, unless it was sent less than `shortest_s` ago."""
    policy, now_s = Policy([rule]), 0.0
    sent: tuple[float, float] | None = None
    for step_s, value in series:
        now_s += step_s
        if policy.sift(POLE, temperature(value), now_s) is not None:
            sent = (value, now_s)
        assert sent is not None
        within = abs(value - sent[0]) <= max(rule.absolute, rule.relative * abs(sent[0]))
        assert within or now_s - sent[1] < rule.shortest_s


@settings(deadline=None)
@given(RULES, SERIES)
def test_never_more_often_than_shortest_and_never_longer_silent_than_longest(
    rule: Rule, series: list[tuple[float, float]]
) -> None:
    """Between two values sent lie `shortest_s`; whatever comes `longest_s` after the last one is sent."""
    policy, now_s = Policy([rule]), 0.0
    sent_s: float | None = None
    for step_s, value in series:
        now_s += step_s
        passed = policy.sift(POLE, temperature(value), now_s) is not None
        if sent_s is not None and passed:
            assert now_s - sent_s >= rule.shortest_s
        if sent_s is not None and now_s - sent_s >= rule.longest_s:
            assert passed
        sent_s = now_s if passed else sent_s


@settings(deadline=None)
@given(RULES, SERIES, st.lists(st.booleans(), min_size=60, max_size=60))
def test_states_always_pass_and_nothing_is_made_up(
    rule: Rule, series: list[tuple[float, float]], doors: list[bool]
) -> None:
    """What passes is a part of what came, unchanged, and holds every state of it."""
    policy, now_s = Policy([Rule(shortest_s=1e6, longest_s=0), rule]), 0.0
    for (step_s, value), door in zip(series, doors, strict=False):
        now_s += step_s
        came = {"temperature": value, "doorOpen": float(door)}
        left = policy.sift(POLE, Reading("p", 5, came, 1, 2), now_s)
        assert left is not None
        assert left.values.items() <= came.items()
        assert left.values["doorOpen"] == float(door)
        assert (left.t_ms, left.boot, left.seq) == (5, 1, 2)


@settings(deadline=None)
@given(SERIES)
def test_without_rules_everything_passes(series: list[tuple[float, float]]) -> None:
    """No policy is no filter."""
    policy = Policy()
    assert all(policy.sift(POLE, temperature(value), 0.0) == temperature(value) for _, value in series)


def test_devices_and_quantities_do_not_share_a_deadband() -> None:
    """The first rule that fits counts, for each device and quantity on its own."""
    policy = Policy([Rule("temperature", device="quiet-*", absolute=5), Rule("temperature", absolute=1), Rule("no2")])
    for device in ("quiet-1", "loud-1"):
        assert policy.sift(POLE, Reading(device, None, {"temperature": 20.0, "no2": 7.0, "pm25": 3.0}), 0)
    quiet = policy.sift(POLE, Reading("quiet-1", None, {"temperature": 22.0, "no2": 7.0, "pm25": 3.0}), 1)
    loud = policy.sift(POLE, Reading("loud-1", None, {"temperature": 22.0, "no2": 8.0, "pm25": 3.0}), 1)
    assert quiet is not None
    assert dict(quiet.values) == {"pm25": 3.0}
    assert loud is not None
    assert dict(loud.values) == {"temperature": 22.0, "no2": 8.0, "pm25": 3.0}


def test_drift_cannot_creep_past() -> None:
    """Steps below the deadband add up, because the comparison is with the last value sent."""
    policy = Policy([Rule(absolute=1.0)])
    passed = [v for v in range(40) if policy.sift(POLE, temperature(v * 0.25), float(v)) is not None]
    assert passed == [0, 5, 10, 15, 20, 25, 30, 35]


def test_half_a_position_is_none() -> None:
    """When one coordinate moves both are sent; when neither does, none is."""
    policy = Policy([Rule("l*itude", absolute=0.001)])
    assert policy.sift(TRUCK, Reading("t", None, {"latitude": 60.0, "longitude": 25.0}), 0)
    assert policy.sift(TRUCK, Reading("t", None, {"latitude": 60.0, "longitude": 25.0}), 1) is None
    moved = policy.sift(TRUCK, Reading("t", None, {"latitude": 60.01, "longitude": 25.0}), 2)
    assert moved is not None
    assert dict(moved.values) == {"latitude": 60.01, "longitude": 25.0}


def test_a_clock_that_was_set_back_silences_nobody() -> None:
    """A negative interval lets the value pass instead of waiting until the old time comes again."""
    policy = Policy([Rule(shortest_s=10)])
    assert policy.sift(POLE, temperature(1), 1000)
    assert policy.sift(POLE, temperature(2), 3)
