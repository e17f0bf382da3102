"""The edge gateway itself: its own health, so that its death is one fact and not one per device. Cadence 30 s."""

from __future__ import annotations

from devices.records import Kind, Quantity

GATEWAY = Kind(
    name="gateway",
    cadence_s=30,
    en="edge gateway",
    zh="边缘网关",
    object_class="0205",
    quantities=(
        Quantity("backhaulUp", "/", 0, 1, "state", ("down", "up"), 0, "backhaul", "回传"),
        Quantity("cpuLoad", "%", 0, 100, en="CPU load", zh="CPU占用"),
        Quantity("memoryUsed", "%", 0, 100, en="memory used", zh="内存占用"),
        Quantity("temperature", "Cel", -60, 150, en="temperature", zh="温度"),
        Quantity("spooled", "/", 0, 1e9, decimals=0, en="readings waiting", zh="待传读数"),
    ),
)
