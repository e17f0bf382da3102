"""Radio of a cell against its own expectation: coverage or power lost, interference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from devices.kinds import KINDS
from twin.detect.base import Rule, expected_of
from twin.detect.latch import Mask
from twin.detect.rules import Value
from twin.detect.words import number
from twin.records import F64, Finding, Frame

CELL = KINDS["cell"]


def under(frame: Frame, quantity: str) -> F64:
    """How far a quantity is under what is expected of it, by reading; NaN where nothing is."""
    expected, scale = expected_of(frame, CELL.index[quantity])
    short: F64 = np.where(np.isnan(scale), np.nan, expected - frame.known[quantity])
    return short


class CoverageLoss(Rule):
    """Median RSRP `limit_db` under expectation, or transmit power off its setting by `power_db`."""

    type = "coverage_loss"
    kind = "cell"
    trigger = ("rsrp", "txPower")
    quantity = "rsrp"
    budgeted = ("limit_db", "clear_db")

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        short = under(frame, "rsrp")
        apart = np.abs(frame.known["txPower"] - frame.known["txPowerSetting"])
        on = (short > p["limit_db"]) | (apart > p["power_db"])
        off = ~(short > p["clear_db"]) & ~(apart > 0.5 * p["power_db"]) & ~(np.isnan(short) & np.isnan(apart))
        return on, off

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        short, x = float(under(frame, "rsrp")[i]), float(frame.known["rsrp"][i])
        if short > p["limit_db"]:
            en = f"RSRP of {number(x)} dBm, {number(short)} dB under its usual"
            zh = f"RSRP为{number(x)}dBm,比平时低{number(short)}dB"
            return self.finding(frame, i, en, zh, observed=x, expected=x + short, low=x + short - float(p["limit_db"]))
        power, setting = float(frame.known["txPower"][i]), float(frame.known["txPowerSetting"][i])
        return self.finding(
            frame,
            i,
            f"transmits {number(power)} dBm where {number(setting)} dBm are set",
            f"发射功率{number(power)}dBm,设定值为{number(setting)}dBm",
            quantity="txPower",
            observed=power,
            expected=setting,
        )


class Interference(Rule):
    """SINR down by `limit_db` while RSRP and load are as usual."""

    type = "interference"
    kind = "cell"
    trigger = ("sinr",)
    quantity = "sinr"
    budgeted = ("limit_db", "clear_db")

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        short = under(frame, "sinr")
        on = short > p["limit_db"]
        if on.any():
            signal, load = under(frame, "rsrp"), under(frame, "prbLoadDown")
            on &= ~(np.abs(signal) > p["rsrp_db"]) & ~(-load > p["load_percent"])
        return on, short < p["clear_db"]

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        del p
        short, x = float(under(frame, "sinr")[i]), float(frame.known["sinr"][i])
        return self.finding(
            frame,
            i,
            f"SINR of {number(x)} dB, {number(short)} dB under its usual at usual signal and load: interference",
            f"信噪比{number(x)}dB,比平时低{number(short)}dB,而信号与负荷正常,疑似干扰",
            observed=x,
            expected=x + short,
        )
