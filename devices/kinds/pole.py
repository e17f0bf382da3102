"""The smart pole: lamp, light, air, noise, structure, charging pile. Names: Smart Data Models Streetlight,
AirQualityObserved, NoiseLevelObserved. Cadence 30 s and events."""

from __future__ import annotations

from devices.records import Kind, Quantity

POLE = Kind(
    name="pole",
    cadence_s=30,
    en="smart pole",
    zh="智慧灯杆",
    object_class="0201",
    quantities=(
        Quantity("powerState", "/", 0, 1, "state", ("off", "on"), 0, "lamp commanded on", "灯具指令"),
        Quantity("dimmingLevel", "/", 0, 1, decimals=2, en="dimming", zh="调光"),
        Quantity("powerConsumption", "W", 0, 2000, en="lamp power", zh="灯具功率"),
        Quantity("voltage", "V", 0, 500, en="voltage", zh="电压"),
        Quantity("current", "A", 0, 50, decimals=3, en="current", zh="电流"),
        Quantity("energy", "Wh", 0, 1e10, "counter", decimals=0, en="energy", zh="电量"),
        Quantity("leakageCurrent", "A", 0, 5, decimals=4, en="leakage current", zh="漏电流"),
        Quantity("supplyPresent", "/", 0, 1, "state", ("lost", "present"), 0, "mains supply", "市电"),
        Quantity("illuminanceLevel", "lx", 0, 200_000, decimals=0, en="illuminance", zh="照度"),
        Quantity("pm25", "ug/m3", 0, 2000, decimals=0, en="PM2.5", zh="PM2.5"),
        Quantity("pm10", "ug/m3", 0, 5000, decimals=0, en="PM10", zh="PM10"),
        Quantity("no2", "ug/m3", 0, 2000, decimals=0, en="NO2", zh="二氧化氮"),
        Quantity("so2", "ug/m3", 0, 5000, decimals=0, en="SO2", zh="二氧化硫"),
        Quantity("co", "ug/m3", 0, 100_000, decimals=0, en="CO", zh="一氧化碳"),
        Quantity("o3", "ug/m3", 0, 2000, decimals=0, en="O3", zh="臭氧"),
        Quantity("temperature", "Cel", -60, 80, en="air temperature", zh="气温"),
        Quantity("relativeHumidity", "%RH", 0, 100, en="humidity", zh="湿度"),
        Quantity("atmosphericPressure", "hPa", 500, 1100, en="pressure", zh="气压"),
        Quantity("dewPoint", "Cel", -80, 50, en="dew point", zh="露点"),
        Quantity("precipitation", "mm", 0, 500, en="rain", zh="降水"),
        Quantity("windSpeed", "m/s", 0, 100, en="wind", zh="风速"),
        Quantity("LAeq", "dB", 0, 180, en="noise LAeq", zh="噪声"),
        Quantity("tilt", "deg", 0, 90, decimals=2, en="tilt", zh="倾角"),
        Quantity("doorOpen", "/", 0, 1, "state", ("closed", "open"), 0, "door", "箱门"),
        Quantity("chargerState", "/", 0, 4, "state", ("idle", "charging", "occupied", "fault", "off"), 0,
                 "charging pile", "充电桩"),
        Quantity("windDirection", "deg", 0, 360, decimals=0, en="wind from", zh="风向"),
    ),
)  # fmt: skip
