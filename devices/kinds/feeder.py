"""The meter of a street-light feeder (line meter in the cabinet): what a whole line of lamps draws. Cadence 60 s."""

from __future__ import annotations

from devices.records import Kind, Quantity

FEEDER = Kind(
    name="feeder",
    cadence_s=60,
    en="street-light feeder",
    zh="路灯馈线",
    object_class="0204",
    quantities=(
        Quantity("powerState", "/", 0, 1, "state", ("off", "on"), 0, "commanded on", "开关指令"),
        Quantity("powerConsumption", "W", 0, 200_000, decimals=0, en="line power", zh="线路功率"),
        Quantity("voltage", "V", 0, 1000, en="line voltage", zh="线路电压"),
        Quantity("current", "A", 0, 1000, decimals=2, en="line current", zh="线路电流"),
        Quantity("energy", "Wh", 0, 1e12, "counter", decimals=0, en="energy", zh="电量"),
    ),
)
