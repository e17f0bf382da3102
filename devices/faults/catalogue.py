"""Every fault and violation that the fleet can act out, in one table. Names are those of the case types.

Numbers here are the simulator's own idea of the physical effect at magnitude 1 (about the size at which a city would
call it a case); the detectors' thresholds live elsewhere and neither reads the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["pole", "cell", "truck", "feeder", "cabinet", "gateway", "area", "any"]


@dataclass(frozen=True, slots=True)
class FaultType:
    """One row. `scope`: what it befalls. `last_s`: usual duration, seconds of city time. `sudden`: shows at once.

    `confounder`: looks like a fault and is none, or one of the area only.
    """

    name: str
    scope: Scope
    last_s: tuple[float, float]
    en: str
    zh: str
    sudden: bool = False
    confounder: bool = False


CATALOGUE: dict[str, FaultType] = {
    fault.name: fault
    for fault in (
        # lamps and poles
        FaultType("lamp_out", "pole", (1800, 14_400), "lamp dark although commanded on", "路灯熄灭"),
        FaultType("day_burner", "pole", (3600, 14_400), "lamp burns by day", "白昼亮灯"),
        FaultType("lamp_degraded", "pole", (86_400, 604_800), "lamp draws less than it should", "灯具老化"),
        FaultType("leakage", "pole", (1800, 10_800), "leakage current", "漏电", sudden=True),
        FaultType("supply_lost", "pole", (600, 7200), "one pole without mains", "单杆断电", sudden=True),
        FaultType("door_open", "pole", (900, 7200), "door of the pole stands open", "箱门打开", sudden=True),
        FaultType("tilt", "pole", (3600, 86_400), "pole leans", "灯杆倾斜"),
        FaultType("tilt_emergency", "pole", (1800, 14_400), "pole about to fall", "灯杆倾倒危险", sudden=True),
        FaultType("meter_wrong", "pole", (345_600, 864_000), "energy counter wrong", "电表计量错误"),
        FaultType("charger_occupied", "pole", (5400, 14_400), "bay taken, nobody charging", "充电位被占"),
        FaultType("charger_fault", "pole", (3600, 28_800), "charging pile faulty", "充电桩故障", sudden=True),
        FaultType("night_noise", "pole", (1800, 10_800), "noise at night", "夜间噪声"),
        FaultType("dust", "pole", (1800, 10_800), "dust from a site", "扬尘"),
        FaultType("feeder_trip", "feeder", (900, 5400), "a feeder trips", "馈线跳闸", sudden=True),
        FaultType("cabinet_trip", "cabinet", (900, 5400), "a cabinet trips", "配电箱跳闸", sudden=True),
        FaultType("air_episode", "area", (7200, 28_800), "air episode of a district", "区域空气污染", confounder=True),
        # cells
        FaultType("cell_down", "cell", (900, 7200), "cell out of service", "基站退服", sudden=True),
        FaultType("backhaul_down", "cell", (600, 5400), "backhaul of a cell down", "回传中断", sudden=True),
        FaultType("sleeping_cell", "cell", (7200, 43_200), "cell up but without load", "休眠小区"),
        FaultType("congestion", "cell", (5400, 14_400), "cell full", "小区拥塞"),
        FaultType("access_failures", "cell", (1800, 10_800), "access fails", "接入失败"),
        FaultType("coverage_loss", "cell", (3600, 43_200), "coverage or power lost", "覆盖下降"),
        FaultType("cell_overheated", "cell", (1800, 10_800), "cell too hot", "基站过热"),
        FaultType("interference", "cell", (3600, 28_800), "interference", "干扰"),
        # trucks
        FaultType("outside_hours", "truck", (600, 3600), "laden outside the permit's hours", "超时段运输", sudden=True),
        FaultType("no_permit", "truck", (600, 3600), "laden without a permit", "无证运输", sudden=True),
        FaultType("off_route", "truck", (120, 600), "off the permitted route", "偏离路线"),
        FaultType(
            "illegal_dumping", "truck", (150, 300), "load tipped outside a disposal site", "偷倒渣土", sudden=True
        ),
        FaultType("unpermitted_loading", "truck", (300, 600), "loaded outside a permitted site", "违规装载"),
        FaultType("cover_open", "truck", (180, 1200), "laden with the cover open", "未密闭运输", sudden=True),
        FaultType("overload", "truck", (600, 3600), "overloaded", "超载", sudden=True),
        FaultType("speeding", "truck", (60, 300), "too fast", "超速", sudden=True),
        FaultType("terminal_tampering", "truck", (300, 1800), "terminal tampered with", "终端被破坏", sudden=True),
        FaultType("phantom_trip", "truck", (3600, 10_800), "laden, and never arrived", "去向不明"),
        # a day that is not like its weekday: nobody is at fault
        FaultType("holiday", "area", (86_400, 86_400), "a holiday", "节假日", confounder=True),
        # gateways, and any device
        FaultType("gateway_loss", "gateway", (300, 1800), "gateway without backhaul", "网关失联", sudden=True),
        FaultType("device_silent", "any", (900, 7200), "device silent", "设备失联"),
        FaultType("sensor_stuck", "any", (7200, 86_400), "sensor stuck", "传感器卡死"),
        FaultType("sensor_spike", "any", (600, 3600), "spikes", "传感器尖峰"),
        FaultType("sensor_drift", "any", (86_400, 864_000), "sensor drifts", "传感器漂移"),
        FaultType("sensor_noise", "any", (7200, 86_400), "sensor noisy", "传感器噪声"),
        FaultType("sensor_bias", "any", (7200, 86_400), "sensor biased", "传感器偏置"),
        FaultType("clock_skew", "any", (3600, 86_400), "device clock off", "时钟偏差"),
    )
}

# Ways in which a fault shows, as its `quantity` says; without one: the first, or both of a pair together. A terminal's
# power or antenna is cut, it falls silent, its fix is frozen, its position jumps; the backhaul of one cell is down, or
# of all cells of a gateway, which fall silent; a leak is always there or comes with the rain; access or handovers fail;
# signal or transmit power is lost.
WAYS: dict[str, tuple[str, ...]] = {
    "terminal_tampering": ("power", "antenna", "silence", "fix", "jump"),
    "backhaul_down": ("", "gateway"),
    "leakage": ("", "rain"),
    "access_failures": ("", "rrcSuccess", "handoverSuccess"),
    "coverage_loss": ("", "rsrp", "txPower"),
}
# What each sensor fault takes where no quantity is named, and the width (one robust sigma, in the quantity's unit) by
# which magnitudes are scaled.
SENSED: dict[str, tuple[str, ...]] = {
    "pole": ("pm25", "temperature", "LAeq", "no2"),
    "cell": ("rsrp", "temperature"),
    "truck": ("grossWeight",),
    "feeder": ("voltage",),
    "gateway": ("temperature",),
}
WIDTH: dict[str, float] = {
    "pm25": 9.0, "pm10": 14.0, "no2": 12.0, "so2": 6.0, "o3": 15.0, "co": 250.0, "temperature": 2.0,
    "relativeHumidity": 8.0, "LAeq": 3.0, "illuminanceLevel": 400.0, "voltage": 3.0, "rsrp": 3.0, "sinr": 2.5,
    "grossWeight": 900.0, "tilt": 0.3, "windSpeed": 1.0,
}  # fmt: skip
