"""The 5G small cell: radio, load, success rates, backhaul. Names: 3GPP TS 28.552 measurements in camelCase.
Cadence 60 s and events."""

from __future__ import annotations

from devices.records import Kind, Quantity

CELL = Kind(
    name="cell",
    cadence_s=60,
    en="5G small cell",
    zh="5G微基站",
    object_class="0202",
    quantities=(
        Quantity("rsrp", "dBm", -156, -30, en="RSRP (median)", zh="RSRP中位"),
        Quantity("rsrq", "dB", -43, 20, en="RSRQ", zh="RSRQ"),
        Quantity("sinr", "dB", -30, 50, en="SINR", zh="信噪比"),
        Quantity("cqi", "/", 0, 15, en="CQI", zh="CQI"),
        Quantity("rssi", "dBm", -140, 0, en="RSSI", zh="RSSI"),
        Quantity("prbLoadDown", "%", 0, 100, en="PRB load down", zh="下行PRB利用率"),
        Quantity("prbLoadUp", "%", 0, 100, en="PRB load up", zh="上行PRB利用率"),
        Quantity("connectedUsers", "/", 0, 100_000, decimals=0, en="connected users", zh="连接用户"),
        Quantity("throughputDown", "kbit/s", 0, 5e7, decimals=0, en="throughput down", zh="下行速率"),
        Quantity("throughputUp", "kbit/s", 0, 5e7, decimals=0, en="throughput up", zh="上行速率"),
        Quantity("rrcAttempts", "/", 0, 1e7, decimals=0, en="RRC attempts", zh="RRC请求"),
        Quantity("rrcSuccess", "%", 0, 100, en="RRC success", zh="RRC成功率"),
        Quantity("handoverAttempts", "/", 0, 1e7, decimals=0, en="handover attempts", zh="切换请求"),
        Quantity("handoverSuccess", "%", 0, 100, en="handover success", zh="切换成功率"),
        Quantity("txPower", "dBm", -20, 60, en="transmit power", zh="发射功率"),
        Quantity("txPowerSetting", "dBm", -20, 60, en="transmit power setting", zh="发射功率设定"),
        Quantity("temperature", "Cel", -60, 150, en="temperature", zh="设备温度"),
        Quantity("backhaulUp", "/", 0, 1, "state", ("down", "up"), 0, "backhaul", "回传"),
        Quantity("operationalState", "/", 0, 1, "state", ("disabled", "enabled"), 0, "operational", "运行状态"),
        Quantity("alarmState", "/", 0, 4, "state", ("cleared", "warning", "minor", "major", "critical"), 0,
                 "alarm", "告警"),
        Quantity("pingRtt", "ms", 0, 60_000, en="round trip", zh="往返时延"),
        Quantity("latitude", "lat", -90, 90, "position", decimals=6, en="latitude", zh="纬度"),
        Quantity("longitude", "lon", -180, 180, "position", decimals=6, en="longitude", zh="经度"),
        Quantity("speed", "km/h", 0, 400, en="speed of the test vehicle", zh="测试车速"),
    ),
)  # fmt: skip
