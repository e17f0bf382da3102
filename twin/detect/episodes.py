"""From evidence of sensor faults to findings: bars that follow a budget, episodes, and what verdicts teach. Pure.

The benchmark (`make bench NAME=detection`) runs this very code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.detect.budget import Budget
from twin.detect.latch import Mask
from twin.detect.peers import EVIDENCE
from twin.records import F64

OWN = 0.35  # what one false finding does to the logarithm of the bars of the channel and evidence that was false
OWN_MEMORY = 180.0 * 24.0  # rounds
PEAK_MEMORY = 24.0  # rounds in which what evidence once was fades
BEYOND = 1.1  # times its faded peak: evidence of an episode that was judged false is news from here on
CALM = 1.0  # of the bar: below it a channel is calm
REFERENCE = 0.01  # false findings per channel-day for which the table of bars was set
TYPES = {"spike": "sensor_spike", "bias": "sensor_bias", "drift": "sensor_drift", "noise": "sensor_noise",
         "dropout": "sensor_noise", "stuck": "sensor_stuck"}  # fmt: skip
SHIFTS = [EVIDENCE.index("bias"), EVIDENCE.index("drift")]
PASSING = [EVIDENCE.index(name) for name in ("spike", "noise", "dropout")]  # one jump shows as any of these at first
_TYPE_OF = np.array([tuple(dict.fromkeys(TYPES.values())).index(TYPES[name]) for name in EVIDENCE])


@dataclass(frozen=True, slots=True)
class Raised:
    """A channel whose evidence is over its bar from now on. `first`: nothing of that type was open on its device, but
    for what was judged false; `renamed`: it was in an episode already, as a spike or as noise, and what jumped did not
    come back; `anew`: it was in one that had been judged false."""

    evidence: int  # index into EVIDENCE
    channel: int
    at: int
    ratio: float
    first: bool
    renamed: bool = False
    anew: bool = False


class Bars:
    """Bars by evidence and quantity, and how they rise as the budget falls: set on clean years (bars.toml)."""

    def __init__(self, table: Mapping[str, Any], quantities: Sequence[str]) -> None:
        """A quantity that the table does not have gets the geometric mean of those that it has."""
        known = table["bars"]
        self.reference: F64 = np.array(
            [[known[e].get(q, _middle(known[e].values())) for q in quantities] for e in EVIDENCE]
        )
        self.slope: F64 = np.array([table["slope"][e] for e in EVIDENCE])

    def at(self, rate: float) -> F64:
        """Bars [evidence, quantity] for so many false findings per channel-day."""
        return self.reference * (REFERENCE / max(rate, 1e-9)) ** self.slope[:, None]


def _middle(values: Any) -> float:
    return float(np.exp(np.mean(np.log([float(v) for v in values]))))


@cache
def shipped() -> dict[str, Any]:
    """The table that the product ships."""
    return tomllib.loads(files("twin.detect").joinpath("bars.toml").read_text(encoding="utf-8"))


class Episodes:
    """Which of the channels [C quantities, P devices] are in an episode; arrays grow with `adopt`.

    An episode begins when some evidence passes its bar and ends after `calm_rounds` calm rounds. Of the evidence the
    farthest over its bar gives it its name. Two episodes of one type on one device are one finding. One that was judged
    false lasts until it is calm too, but does not blind its channel: evidence that rises over its bar and over all that
    it lately was begins a new one.
    """

    def __init__(self, channels: int, devices: int) -> None:
        self.kind: NDArray[np.int8] = np.full((channels, devices), -1, np.int8)  # evidence of the open episode
        self.calm: NDArray[np.int16] = np.zeros((channels, devices), np.int16)
        self.own: NDArray[np.float32] = np.zeros((len(EVIDENCE), channels, devices), np.float32)  # ln
        self.peak: NDArray[np.float32] = np.zeros_like(self.own)  # of the evidence, fading
        self.false: Mask = np.zeros((channels, devices), bool)  # the open episode was judged false
        self.budget = Budget()  # on all bars; its days are channel-days

    def adopt(self, other: Episodes, places: NDArray[np.intp]) -> None:
        """Take over those of another one, whose devices now stand at `places`."""
        self.kind[:, places], self.calm[:, places], self.own[..., places] = other.kind, other.calm, other.own
        self.peak[..., places], self.false[:, places] = other.peak, other.false
        self.budget = other.budget

    def step(self, evidence: F64, bars: F64, ready: Mask, told: Mask, calm_rounds: int) -> tuple[list[Raised], Mask]:
        """One round: evidence [E, C, P] against bars [E, C]. `ready`: channels that are judged; `told`: that said
        something. What begins, and where an episode ended [C, P]."""
        ratio = np.nan_to_num(evidence / (bars[:, :, None] * np.exp(self.budget.ln + self.own)))
        ratio[:, ~ready] = 0.0
        self.own *= 1.0 - 1.0 / OWN_MEMORY
        self.budget.days += float(told.sum()) / 24.0
        top, best = ratio.max(axis=0), ratio.argmax(axis=0)
        open_ = self.kind >= 0
        self.calm = np.where(open_ & (top < CALM) & told, self.calm + 1, np.where(top < CALM, self.calm, 0)).astype(
            np.int16
        )
        ended = open_ & (self.calm >= calm_rounds)
        raised: list[Raised] = []
        shift = ratio[SHIFTS].max(axis=0)
        own = np.take_along_axis(ratio, np.maximum(self.kind, 0)[None].astype(np.intp), axis=0)[0]
        news = np.where((ratio > 1.0) & (evidence > BEYOND * self.peak), ratio, 0.0)
        anew = open_ & self.false & ~ended & (news.max(axis=0) > 0.0)
        best[anew] = news.argmax(axis=0)[anew]
        stays = np.isin(self.kind, PASSING) & (shift > 1.0) & (shift > own) & ~self.false
        best[stays] = (SHIFTS[0] + ratio[SHIFTS].argmax(axis=0))[stays]
        for c, p in np.argwhere(((top > 1.0) & ~open_) | stays | anew).tolist():
            e = int(best[c, p])
            mine = np.delete(np.where(self.false[:, p], -1, self.kind[:, p]), c)
            first = not (_TYPE_OF[mine[mine >= 0]] == _TYPE_OF[e]).any()
            self.kind[c, p], self.calm[c, p] = e, 0
            raised.append(Raised(e, c, p, float(ratio[e, c, p]), first, bool(stays[c, p]), bool(anew[c, p])))
        self.peak *= np.where(told, np.float32(np.exp(-1.0 / PEAK_MEMORY)), np.float32(1.0))
        self.peak = np.fmax(self.peak, evidence.astype(np.float32))
        ended &= ~stays
        self.kind[ended], self.calm[ended] = -1, 0
        self.false &= (self.kind >= 0) & ~anew
        return raised, ended

    def verdict(self, false: int, rate: float, channels: Sequence[tuple[int, int, int]] = ()) -> None:
        """What was said of a finding: all bars move towards `rate` false ones per channel-day; a false one raises those
        of its own (evidence, channel, device) besides, one taken back (-1) lowers them again."""
        self.budget.verdict(false, 1000.0 * rate)
        for e, c, p in channels if false else ():
            self.own[e, c, p] = max(0.0, float(self.own[e, c, p]) + OWN * false)
            if self.kind[c, p] == e:
                self.false[c, p] = false > 0

    def forget(self, at: int) -> None:
        """Other hardware at that place."""
        self.kind[:, at], self.calm[:, at], self.own[..., at] = -1, 0, 0.0
        self.peak[..., at], self.false[:, at] = 0.0, False

    def dump(self) -> dict[str, Any]:
        told: dict[str, Any] = {name: getattr(self, name).copy() for name in ("kind", "calm", "own", "peak", "false")}
        return told | {"budget": self.budget.dump()}

    def load(self, told: Mapping[str, Any]) -> None:
        self.kind, self.calm, self.own = (told[name].copy() for name in ("kind", "calm", "own"))
        self.peak, self.false = np.zeros_like(self.own), np.zeros(self.kind.shape, bool)
        if "peak" in told:  # older checkpoints do not know them
            self.peak, self.false = told["peak"].copy(), told["false"].copy()
        self.budget.load(told["budget"])
