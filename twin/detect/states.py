"""States that a device reports of itself: a cell out of service, a charging pile in fault, a terminal tampered with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twin.detect.base import Rule
from twin.detect.latch import Mask
from twin.detect.rules import Value
from twin.detect.words import span
from twin.records import Finding, Frame

CRITICAL = 4  # of alarmState
CHARGER_OCCUPIED, CHARGER_FAULT = 2, 3  # of chargerState


class CellDown(Rule):
    """Out of service by its operational state, or a critical alarm."""

    type = "cell_down"
    kind = "cell"
    trigger = ("operationalState", "alarmState")
    quantity = "operationalState"

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        del p
        state, alarm = frame.known["operationalState"], frame.known["alarmState"]
        on = (state == 0) | (alarm == CRITICAL)
        return on, ~on & ~(np.isnan(state) & np.isnan(alarm))

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        del p
        out = frame.known["operationalState"][i] == 0
        en, zh = ("out of service by its own report", "基站上报退服") if out else ("critical alarm", "基站严重告警")
        return self.finding(frame, i, en, zh, expected=1.0)


class ChargerFault(Rule):
    """The charging pile reports a fault."""

    type = "charger_fault"
    kind = "pole"
    trigger = ("chargerState",)
    quantity = "chargerState"

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        del p
        state = frame.known["chargerState"]
        return state == CHARGER_FAULT, ~np.isnan(state) & (state != CHARGER_FAULT)

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        minutes = p["hold_s"] / 60
        return self.finding(
            frame, i, f"the charging pile has been in fault for {minutes:.0f} min", f"充电桩故障已持续{minutes:.0f}分钟"
        )


class ChargerOccupied(Rule):
    """Somebody stands at the charging pile and does not charge."""

    type = "charger_occupied"
    kind = "pole"
    trigger = ("chargerState",)
    quantity = "chargerState"

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        del p
        state = frame.known["chargerState"]
        return state == CHARGER_OCCUPIED, ~np.isnan(state) & (state != CHARGER_OCCUPIED)

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        del p
        en, zh = span(float(frame.t[i]) - self.latch.since(int(frame.rows[i])))
        return self.finding(
            frame,
            i,
            f"its charging bay has been occupied without charging for {en}",
            f"充电车位被占用未充电,已持续{zh}",
        )


class Tampering(Rule):
    """The truck's terminal lost its main power or its antenna."""

    type = "terminal_tampering"
    kind = "truck"
    trigger = ("mainPower", "antennaOk")

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        del p
        power, antenna = frame.known["mainPower"], frame.known["antennaOk"]
        on = (power == 0) | (antenna == 0)
        return on, ~on & ~(np.isnan(power) & np.isnan(antenna))

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        del p
        power = frame.known["mainPower"][i] == 0
        en = "the terminal's main power was cut" if power else "the GPS antenna was cut"
        zh = "终端主电源被切断" if power else "定位天线被切断"
        return self.finding(frame, i, en, zh, evidence={"cut": "mainPower" if power else "antennaOk"})
