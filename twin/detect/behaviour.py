"""Behaviour: a channel leaves what it usually does, at any of several time scales, or grossly within minutes.

Formulas: docs/detection.md, "Surprise at several time scales". The tail of every channel is learnt, so that scores of
different channels compare; an alarm raises the channel's own bar, and an operator's verdicts move the whole kind's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City, grown, owned
from twin.detect.base import Moment
from twin.detect.budget import ALLOWED, Budget, Spent
from twin.detect.latch import Dwell, Latch
from twin.detect.near import NEIGHBOURS, Neighbours
from twin.detect.rules import Rules
from twin.detect.words import measured, number
from twin.records import F64, Finding, Frame, Samples

SCALES = np.array([1.0, 3.0, 10.0, 30.0])  # steps
VARIANCE_MEMORY = 6000.0  # steps
TAIL = 0.02
EXCESSES = 100.0
WARM = 30.0  # visits
LEAST_NEIGHBOURS = 3  # fewer have no word
TOGETHER_MS = 7_500_000  # neighbours heard within this time are compared
# Lamps and meters follow commands: rules know them better than their own past does.
_COMMANDED = {
    "pole": ("powerConsumption", "illuminanceLevel", "leakageCurrent", "tilt", "voltage"),
    "feeder": ("powerConsumption", "current"),
    "cell": ("txPower", "rrcAttempts", "handoverAttempts"),
}
# name -> (dtype, initial value). What moves by a hundredth of itself or more at a time is kept in half precision.
_PER_SCALE: dict[str, tuple[Any, float]] = {
    "mean": (np.float16, 0.0),
    "square": (np.float32, 0.0),
    "bar": (np.float32, 1.2),
    "spread": (np.float32, 0.5),
    "excess": (np.float16, 0.0),
    "excesses": (np.uint8, 0),  # a count, up to EXCESSES
}
_SINGLE: dict[str, tuple[Any, float]] = {
    "visits": (np.float32, 0.0),
    "nuisance": (np.float32, 0.0),
    "quiet": (np.float32, 0.0),
    "score": (np.float32, 0.0),
    "last": (np.float32, 0.0),
    "seen": (np.float64, 0.0),
}


class _Channels:
    """What is remembered of every channel of one kind, by slot."""

    def __init__(self) -> None:
        self.scaled: dict[str, NDArray[Any]] = {n: np.empty((0, len(SCALES)), t) for n, (t, _) in _PER_SCALE.items()}
        self.single: dict[str, NDArray[Any]] = {n: np.empty(0, t) for n, (t, _) in _SINGLE.items()}
        self.used = 0
        self.slow = np.empty(0, bool)  # said by the slow evidence
        self.fast = Latch()
        self.budget = Budget(-1.0, 2.0)  # what the verdicts did to the kind's bar

    def ensure(self, slots: int) -> None:
        self.used = max(self.used, slots)
        for n, (_, fill) in _PER_SCALE.items():
            self.scaled[n] = grown(self.scaled[n], slots, fill)
        for n, (_, fill) in _SINGLE.items():
            self.single[n] = grown(self.single[n], slots, fill)
        self.slow = grown(self.slow, slots, 0)
        self.fast.ensure(slots)


class Behaviour:
    """One finding a device, at the channel that showed it first; unsaid when all its channels are quiet again."""

    types = ("behaviour",)

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.near = Neighbours(city)
        self.channels: dict[str, _Channels] = {}
        self.said: dict[tuple[str, int], set[int]] = {}  # (kind, row) -> slots that show it

    def observe(self, frame: Frame) -> list[Finding]:
        if not len(frame.samples) or not self.rules.enabled("behaviour"):
            return []
        state = self.channels.setdefault(frame.kind, _Channels())
        state.ensure(frame.slots)
        self._note(state, frame.samples)
        turns: list[tuple[int, int, bool, Samples, int]] = []  # (reading, slot, active, samples, index)
        if len(frame.steps):
            turns += self._slow(state, frame)
        turns += self._fast(state, frame)
        if not turns:
            return []
        turns.sort(key=lambda turn: (turn[0], turn[1], turn[2]))
        found = [self._turn(frame, *turn) for turn in turns]
        return [one for one in found if one is not None]

    @staticmethod
    def _note(state: _Channels, s: Samples) -> None:
        """How far every channel is off just now, before anything is judged: neighbours ask for it."""
        with np.errstate(invalid="ignore"):
            z = (s.observed - s.expected) / s.scale
        known = np.isfinite(z)
        if not known.all():
            z, slot, t = z[known], s.slot[known], s.t[known]
        else:
            slot, t = s.slot, s.t
        state.single["last"][slot], state.single["seen"][slot] = z, t

    # ---- slow evidence: means over steps, several time scales ------------------------------------------------

    def _slow(self, state: _Channels, frame: Frame) -> list[tuple[int, int, bool, Samples, int]]:
        p = self.rules["behaviour"]
        told = np.isfinite(frame.steps.scale) & np.isfinite(frame.steps.expected) & self._own(frame, frame.steps)
        at = np.flatnonzero(told)
        if not len(at):
            return []
        slot = frame.steps.slot[at]
        residual = np.clip((frame.steps.observed - frame.steps.expected)[at] / frame.steps.scale[at], -50.0, 50.0)
        score = self._score(state, slot, residual)
        one = state.single
        one["score"][slot] = score
        bar = float(p["bar"]) * state.budget.factor + one["nuisance"][slot]
        one["nuisance"][slot] *= 1.0 - 1.0 / 8640.0
        warm = frame.steps.visits[at] >= p["warm_steps"]
        up = np.flatnonzero(warm & ~state.slow[slot] & (score > bar))
        up = up[self._alone(state, frame, frame.steps, at[up], residual[up], p["peer_share"])]
        calm = score < 0.5 * bar
        one["quiet"][slot] = np.where(calm, one["quiet"][slot] + 1, 0)
        down = np.flatnonzero(state.slow[slot] & (one["quiet"][slot] >= p["quiet_steps"]))
        state.slow[slot[up]] = True
        state.slow[slot[down]] = False
        one["nuisance"][slot[up]] += float(p["nuisance"])
        moved = [(int(i), True) for i in up] + [(int(i), False) for i in down]
        return [(int(frame.steps.reading[at[i]]), int(slot[i]), on, frame.steps, int(at[i])) for i, on in moved]

    def _score(self, state: _Channels, slot: NDArray[np.int32], residual: F64) -> F64:
        """-log10 of the tail probability, mean over the scales; scored first, then learnt."""
        a = {n: array[slot].astype(np.float64) for n, array in state.scaled.items()}
        visits: F64 = state.single["visits"][slot].astype(np.float64) + 1.0
        state.single["visits"][slot] = visits
        n = visits[:, None]
        mean = a["mean"] + (residual[:, None] - a["mean"]) / np.minimum(SCALES, n)
        z = np.abs(mean) / (np.sqrt(a["square"]) + 1e-3)
        y = np.log1p(z)
        over = y - a["bar"]
        tail = (3.0 + a["excesses"]) * np.log10(1.0 + np.maximum(over, 0.0) / (0.9 + a["excesses"] * a["excess"]))
        level = -np.log10(TAIL)
        score = np.where(over > 0, level + tail, level * y / a["bar"])
        square = a["square"] + (np.minimum(mean**2, np.where(n < WARM, np.inf, 64.0 * a["square"] + 1e-6))
                                - a["square"]) * np.maximum(1.0 / VARIANCE_MEMORY, 1.0 / n)  # fmt: skip
        ready = n >= WARM
        eta = np.maximum(1.0 / 5000.0, (np.maximum(n - WARM, 1.0)) ** -0.7) * a["spread"]
        bar = np.where(ready, a["bar"] + eta * np.where(over > 0, 1.0 - TAIL, -TAIL), a["bar"])
        spread = np.where(ready, a["spread"] + (np.abs(over) - a["spread"]) / np.minimum(n, 500.0), a["spread"])
        hit = ready & (over > 0)
        excesses = np.where(hit, np.minimum(a["excesses"] + 1.0, EXCESSES), a["excesses"])
        excess = np.where(hit, a["excess"] + (over - a["excess"]) / np.maximum(excesses, 1.0), a["excess"])
        fresh = {"mean": mean, "square": square, "bar": np.maximum(bar, 0.1), "spread": np.maximum(spread, 1e-3),
                 "excess": excess, "excesses": excesses}  # fmt: skip
        for name, value in fresh.items():
            state.scaled[name][slot] = value
        told: F64 = np.where(visits >= WARM, score.mean(axis=1), 0.0)
        return told

    # ---- fast evidence: single readings far outside, several in a row ----------------------------------------

    def _fast(self, state: _Channels, frame: Frame) -> list[tuple[int, int, bool, Samples, int]]:
        p = self.rules["behaviour"]
        s = frame.samples
        with np.errstate(invalid="ignore"):
            z = (s.observed - s.expected) / s.scale
            limit = float(p["sigmas"]) * np.exp(0.3 * state.budget.ln)
            far = np.abs(z) > limit
        busy = state.fast.arrays["busy"][s.slot]
        if not (far.any() or busy.any()):
            return []
        far &= self._own(frame, s) & (s.visits >= p["warm_steps"])
        at = np.flatnonzero(far | busy)
        far[at] &= np.abs(z[at]) > limit + state.single["nuisance"][s.slot[at]]
        hot = np.flatnonzero(far)
        far[hot[~self._alone(state, frame, s, hot, z[hot], p["peer_share"])]] = False
        with np.errstate(invalid="ignore"):
            near = np.abs(z) < 0.5 * limit
        dwell = Dwell(reports=int(p["reports"]), clear_reports=int(p["clear_reports"]))
        up, down = state.fast.step(s.slot, s.t, far, near, dwell)
        state.single["nuisance"][s.slot[up]] += float(p["nuisance"])
        moved = [(int(i), True) for i in up] + [(int(i), False) for i in down]
        return [(int(s.reading[i]), int(s.slot[i]), on, s, i) for i, on in moved]

    # ---- both --------------------------------------------------------------------------------------------------

    def _own(self, frame: Frame, s: Samples) -> NDArray[np.bool_]:
        """Channels that are judged here at all."""
        left_out = _COMMANDED.get(frame.kind)
        if not left_out:
            return np.ones(len(s), bool)
        columns = [KINDS[frame.kind].index[q] for q in left_out]
        return ~np.isin(s.column, columns)

    def _alone(
        self, state: _Channels, frame: Frame, s: Samples, at: NDArray[np.intp], z: F64, share: float
    ) -> NDArray[np.bool_]:
        """Whether a channel stands alone: its neighbours (three heard lately, or none has a word) do not go with it.

        What moves many devices together is weather, traffic or a holiday: an episode of the area, no fault of one.
        """
        alone = np.ones(len(at), bool)
        common = self._common(state, frame, s, at)
        for start in range(0, common.shape[1], NEIGHBOURS):  # the nearest; the nearest of the same district
            some = common[:, start : start + NEIGHBOURS]
            enough = np.flatnonzero(np.isfinite(some).sum(axis=1) >= LEAST_NEIGHBOURS)
            if len(enough):
                middle = np.nanmedian(some[enough], axis=1)
                alone[enough] &= middle * np.sign(z[enough]) < share * np.abs(z[enough])
        return alone

    def _common(self, state: _Channels, frame: Frame, s: Samples, at: NDArray[np.intp]) -> F64:
        """How far the neighbours are off in the same quantity, in scales [n, k]; NaN: none, or not heard lately."""
        others = self.near.of(frame.kind, frame.table, s.column[at], s.row[at]) if len(at) else None
        if others is None:
            return np.full((len(at), 1), np.nan)
        slots = np.where(others >= 0, frame.table[s.column[at][:, None], others], -1)
        lately = np.abs(state.single["seen"][slots] - s.t[at][:, None]) < TOGETHER_MS
        return np.where((slots >= 0) & lately, state.single["last"][slots], np.nan)

    def _turn(self, frame: Frame, reading: int, slot: int, on: bool, s: Samples, i: int) -> Finding | None:
        """The device's finding, if this channel's turn begins or ends it."""
        key = (frame.kind, int(s.row[i]))
        slots = self.said.get(key, set())
        if on:
            slots.add(slot)
            self.said[key] = slots
            return self._tell(frame, reading, s, i) if len(slots) == 1 else None
        state = self.channels[frame.kind]
        if state.slow[slot] or state.fast.arrays["active"][slot]:
            return None
        slots.discard(slot)
        if slots or key not in self.said:
            return None
        del self.said[key]
        device = self.city.registry.device(*key)
        t = int(s.t[i])
        return Finding("behaviour", device, False, t, t, detector="behaviour", en=f"{device}: behaves as usual again",
                       zh=f"{device}：行为已恢复常态")  # fmt: skip

    def _tell(self, frame: Frame, reading: int, s: Samples, i: int) -> Finding:
        device = self.city.registry.device(frame.kind, int(s.row[i]))
        quantity = KINDS[frame.kind].quantities[s.column[i]]
        x, expected, width = float(s.observed[i]), float(s.expected[i]), 2.0 * float(s.scale[i])
        z = abs(x - expected) / float(s.scale[i])
        score = max(float(self.channels[frame.kind].single["score"][s.slot[i]]), z / 2.0)
        common = self._common(self.channels[frame.kind], frame, s, np.array([i]))
        others, others_zh = "", ""
        if np.isfinite(common[:, :NEIGHBOURS]).sum() >= LEAST_NEIGHBOURS:
            others, others_zh = "; its neighbours do not", ",而周边设备正常"
        sign, sign_zh = ("above", "偏高") if x > expected else ("below", "偏低")
        reads, reads_zh = measured(x, quantity.unit)
        return Finding(
            type="behaviour",
            subject=device,
            active=True,
            at_ms=int(frame.t[reading]),
            since_ms=int(s.t[i]),
            severity=int(self.rules["behaviour"].get("severity", 2)),
            quantity=quantity.name,
            observed=x,
            expected=expected,
            low=expected - width,
            high=expected + width,
            score=1.0 - 10.0 ** -min(score, 15.0),
            past=bool(frame.past[reading]),
            detector="behaviour",
            en=f"{device}: {quantity.en} reads {reads}, far {sign} the {number(expected)}"
            f" ± {number(width)} usual at this hour{others}",
            zh=f"{device}：{quantity.zh}为{reads_zh},此时段通常为{number(expected)}±{number(width)},"
            f"明显{sign_zh}{others_zh}",
            evidence={"sigmas": round(z, 1), "step": s is frame.steps},
        )

    # ---- the budget ------------------------------------------------------------------------------------------

    def sweep(self, moment: Moment) -> list[Finding]:
        """Device-days pass: what the budget allows in false alarms lowers the bar again."""
        for kind, state in self.channels.items():
            state.budget.days += moment.device_days(kind)
        return []

    def judged(self, type_: str, subject: str, false: int) -> None:
        """An operator's verdict: a false whistle raises the bar of its kind, device-days without one lower it."""
        if type_ != "behaviour":
            return
        state = self.channels.get(self.city.kind(subject))
        if state is not None:
            state.budget.verdict(false, self.rules.number("behaviour", ALLOWED))

    def budgets(self) -> list[Spent]:
        """How the budget of each kind stands."""
        allowed = self.rules.number("behaviour", ALLOWED)
        return [Spent(kind, allowed, "device-days", one.budget.factor, one.budget.days)
                for kind, one in sorted(self.channels.items())]  # fmt: skip

    def forget(self, kind: str, row: int) -> None:
        """Other hardware: nothing is said of it; what its channels are used to is the model's to carry or to reset."""
        for slot in self.said.pop((kind, row), ()):
            state = self.channels[kind]
            state.slow[slot] = False
            state.fast.drop(np.array([slot], np.int32))

    def dump(self) -> dict[str, Any]:
        told = self.views()
        for one in told["kinds"].values():
            for name in ("scaled", "single"):
                one[name] = {n: a.copy() for n, a in one[name].items()}
            one["slow"] = one["slow"].copy()
        return told

    def views(self) -> dict[str, Any]:
        """What `dump` gives, the arrays not copied."""
        told: dict[str, Any] = {
            "said": [[*key, sorted(slots)] for key, slots in self.said.items()],
            "kinds": {},
        }
        for kind, state in self.channels.items():
            told["kinds"][kind] = {
                "scaled": {n: a[: state.used] for n, a in state.scaled.items()},
                "single": {n: a[: state.used] for n, a in state.single.items()},
                "slow": state.slow[: state.used],
                "fast": state.fast.dump(),
                "bar": state.budget.dump(),
            }
        return told

    def load(self, told: Mapping[str, Any]) -> None:
        self.said = {(kind, int(row)): {int(s) for s in slots} for kind, row, slots in told["said"]}
        for kind, one in told["kinds"].items():
            state = self.channels[kind] = _Channels()
            state.used = len(one["slow"])
            state.fast.ensure(state.used)
            for n, (dtype, _) in _PER_SCALE.items():
                state.scaled[n] = owned(one["scaled"][n], dtype)
            for n, (dtype, _) in _SINGLE.items():
                state.single[n] = owned(one["single"][n], dtype)
            state.slow = owned(one["slow"], np.bool_)
            state.fast.load(one["fast"])
            state.budget.load(one["bar"])
