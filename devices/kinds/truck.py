"""The construction-waste truck (渣土车) tracker. Names: Smart Data Models Vehicle. Cadence 5 s moving, 60 s parked."""

from __future__ import annotations

from devices.records import Kind, Quantity

TRUCK = Kind(
    name="truck",
    cadence_s=5,
    en="construction-waste truck",
    zh="渣土车",
    object_class="0203",
    quantities=(
        Quantity("latitude", "lat", -90, 90, "position", decimals=6, en="latitude", zh="纬度"),
        Quantity("longitude", "lon", -180, 180, "position", decimals=6, en="longitude", zh="经度"),
        Quantity("speed", "km/h", 0, 200, en="speed", zh="速度"),
        Quantity("heading", "deg", 0, 360, decimals=0, en="heading", zh="方向"),
        Quantity("fixQuality", "/", 0, 3, "state", ("none", "dead-reckoned", "2d", "3d"), 0, "GPS fix", "定位"),
        Quantity("ignition", "/", 0, 1, "state", ("off", "on"), 0, "ignition", "点火"),
        Quantity("grossWeight", "kg", 0, 120_000, decimals=0, en="gross weight", zh="总重"),
        Quantity("hopperRaised", "/", 0, 1, "state", ("down", "raised"), 0, "hopper", "举升"),
        Quantity("coverClosed", "/", 0, 1, "state", ("open", "closed"), 0, "cover", "篷布"),
        Quantity("mainPower", "/", 0, 1, "state", ("cut", "present"), 0, "terminal power", "终端主电"),
        Quantity("antennaOk", "/", 0, 1, "state", ("cut", "ok"), 0, "GPS antenna", "天线"),
        Quantity("odometer", "m", 0, 1e10, "counter", decimals=0, en="odometer", zh="里程"),
        Quantity("driverCard", "/", 0, 1, "state", ("absent", "present"), 0, "driver card", "驾驶员卡"),
    ),
)  # fmt: skip
