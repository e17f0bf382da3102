"""Dwell and hysteresis against a plain state machine, reading by reading."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twin.detect.latch import Dwell, Latch


class Plain:
    """The same law for one device, in plain words."""

    def __init__(self, dwell: Dwell) -> None:
        self.dwell, self.active = dwell, False
        self.since = self.reports = self.calm_since = self.calm = 0

    def step(self, t: int, word: str) -> str:
        d = self.dwell
        if not self.active:
            if word == "on":
                self.since, self.reports = self.since or t, self.reports + 1
                if self.reports >= d.reports and t - self.since >= d.hold_ms:
                    self.active, self.calm_since, self.calm = True, 0, 0
                    return "up"
            elif word == "off":
                self.since = self.reports = 0
        elif word == "on":
            self.calm_since = self.calm = 0
        elif word == "off":
            self.calm_since, self.calm = self.calm_since or t, self.calm + 1
            if self.calm >= d.clear_reports and t - self.calm_since >= d.clear_ms:
                self.active = False
                self.since = self.reports = self.calm_since = self.calm = 0
                return "down"
        return ""


dwells = st.builds(Dwell, st.integers(0, 40), st.integers(1, 4), st.integers(0, 40), st.integers(1, 4))
words = st.sampled_from(["on", "off", ""])


@given(dwells, st.lists(st.lists(st.tuples(st.integers(0, 3), words), min_size=1, max_size=25), max_size=12))
def test_many_devices_at_once_are_as_each_alone(dwell: Dwell, frames: list[list[tuple[int, str]]]) -> None:
    """Vector steps over sorted frames, with devices several times in one, equal the plain machine of each device;
    and a dump in between makes no difference."""
    latch, plain = Latch(4), [Plain(dwell) for _ in range(4)]
    now = 1
    for n, frame in enumerate(frames):
        told = sorted(((row, now + 7 * i, word) for i, (row, word) in enumerate(frame)), key=lambda x: x[:2])
        now += 7 * len(frame)
        rows = np.array([row for row, _, _ in told], np.int32)
        t = np.array([t for _, t, _ in told], np.int64)
        on, off = (np.array([word == w for _, _, word in told]) for w in ("on", "off"))
        up, down = latch.step(rows, t, on, off, dwell)
        expected = [plain[row].step(at, word) for row, at, word in told]
        assert sorted(up.tolist()) == [i for i, e in enumerate(expected) if e == "up"]
        assert sorted(down.tolist()) == [i for i, e in enumerate(expected) if e == "down"]
        if n % 3 == 0:
            fresh = Latch(4)
            fresh.load(latch.dump())
            latch = fresh
