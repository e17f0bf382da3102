"""Limits: rules that hold one known quantity against a limit, perhaps only under a condition. One row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from devices.kinds import KINDS
from twin.city import City
from twin.detect.base import Rule, expected_of
from twin.detect.latch import Mask
from twin.detect.permit import laden
from twin.detect.rules import Rules, Value
from twin.detect.words import number, span
from twin.records import F64, Finding, Frame

Gate = Callable[[City, Frame, Mapping[str, Value]], Mask]


@dataclass(frozen=True, slots=True)
class Limit:
    """`quantity` over (or under) p["limit"], gone on the other side of p["clear"], where `gate` allows it.

    Sentences may use {x}, {limit}, {span}; values are shown multiplied by `shown`.
    """

    type: str
    kind: str
    quantity: str
    en: str
    zh: str
    under: bool = False
    gate: Gate | None = None
    trigger: tuple[str, ...] = ()
    shown: float = 1.0
    beyond: str = ""  # a graver type that takes over above its own limit
    prompt: bool = False  # danger, or a door: the reading that completes it wants a tick soon
    base: str = ""  # attribute of the city's files that is subtracted: what the device read when it was put up


def above_expectation(city: City, frame: Frame, quantity: str) -> Mask:
    """Where a quantity is above its band, or nothing is expected of it yet."""
    del city
    column = KINDS[frame.kind].index[quantity]
    expected, scale = expected_of(frame, column)
    return np.isnan(scale) | (frame.known[quantity] > expected + 2.0 * scale)


def _hot(city: City, frame: Frame, p: Mapping[str, Value]) -> Mask:
    del p
    return above_expectation(city, frame, "temperature")


def _loaded_and_moving(city: City, frame: Frame, p: Mapping[str, Value]) -> Mask:
    return laden(city, frame, p) & (frame.known["speed"] > p["moving_kmh"])


LIMITS: tuple[Limit, ...] = (
    Limit("leakage", "pole", "leakageCurrent", "leakage current of {x} mA, the limit is {limit} mA: danger to life",
          "漏电流{x}mA,超过限值{limit}mA,有触电危险", shown=1000.0, prompt=True),
    Limit("door_open", "pole", "doorOpen", "the door has been open for {span}", "箱门已打开{span}", prompt=True),
    Limit("tilt", "pole", "tilt", "leans {x} degrees from how it was put up, more than {limit}, for {span}",
          "较安装时倾斜{x}度,超过{limit}度,已持续{span}",
          base="installedTilt", beyond="tilt_emergency"),
    Limit("tilt_emergency", "pole", "tilt", "leans {x} degrees from how it was put up, more than {limit}: it may fall",
          "较安装时倾斜{x}度,超过{limit}度,有倾倒危险", base="installedTilt", prompt=True),
    Limit("cell_overheated", "cell", "temperature", "{x} °C for {span}, above {limit} °C and above its usual",
          "设备温度{x}°C,超过{limit}°C且高于平时,已持续{span}", gate=_hot),
    Limit("cover_open", "truck", "coverClosed", "moving laden with its cover open for {span}",
          "重载行驶未密闭篷布,已持续{span}",
          under=True, gate=_loaded_and_moving, trigger=("coverClosed", "speed")),
)  # fmt: skip


class LimitRule(Rule):
    """A row of LIMITS at work."""

    def __init__(self, limit: Limit, city: City, rules: Rules) -> None:
        self.limit = limit
        self.type = limit.type  # type: ignore[misc]  # each rule of this class has its own
        self.kind = limit.kind  # type: ignore[misc]
        self.quantity = limit.quantity  # type: ignore[misc]
        self.trigger = limit.trigger or (limit.quantity,)  # type: ignore[misc]
        self.prompt = limit.prompt
        super().__init__(city, rules)

    def value(self, frame: Frame) -> F64:
        """What is held against the limit, by reading."""
        x = frame.known[self.quantity]
        if self.limit.base:
            x = np.abs(x - self.city.roster(self.kind).attribute(self.limit.base, 0.0)[frame.rows])
        return x

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        x = self.value(frame)
        if self.limit.under:
            on, off = x < p["limit"], x > p["clear"]
        else:
            on, off = x > p["limit"], x < p["clear"]
        if self.limit.beyond and self.rules.enabled(self.limit.beyond):
            on &= ~(x > self.rules.number(self.limit.beyond, "limit"))
        if self.limit.gate is not None and on.any():
            on = on & self.limit.gate(self.city, frame, p)
        return on, off

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        x = self.value(frame)
        limit, shown = float(p["limit"]), self.limit.shown
        since = self.latch.since(int(frame.rows[i])) or int(frame.t[i])
        span_en, span_zh = span(float(frame.t[i]) - since)
        words = {"x": number(shown * float(x[i])), "limit": number(shown * limit)}
        return self.finding(
            frame,
            i,
            self.limit.en.format(span=span_en, **words),
            self.limit.zh.format(span=span_zh, **words),
            observed=float(x[i]),
            low=limit if self.limit.under else float("nan"),
            high=float("nan") if self.limit.under else limit,
            evidence={"limit": limit, "since_ms": since},
        )


LIMIT_DETECTORS: dict[str, Callable[[City, Rules], LimitRule]] = {
    limit.type: partial(LimitRule, limit) for limit in LIMITS
}
