"""Senders that know nothing of our envelope: Tasmota's nested JSON, translated to quantities. Pure.

    {"Time":"2026-03-01T20:00:30","ENERGY":{"Total":12.3,"Power":85,"Voltage":231,"Current":0.37},
     "AM2301":{"Temperature":21.4,"Humidity":40.2},"TempUnit":"C"}

They are "not accountable". Their local time without a zone is no event time: the time of arrival is used instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from devices.errors import PayloadError

# Tasmota's name -> (ours, factor to our unit). Total is kWh.
NAMES: Mapping[str, tuple[str, float]] = {
    "Power": ("powerConsumption", 1),
    "Voltage": ("voltage", 1),
    "Current": ("current", 1),
    "Total": ("energy", 1000),
    "POWER": ("powerState", 1),
    "Temperature": ("temperature", 1),
    "Humidity": ("relativeHumidity", 1),
    "DewPoint": ("dewPoint", 1),
    "Pressure": ("atmosphericPressure", 1),
    "Illuminance": ("illuminanceLevel", 1),
    "PM2.5": ("pm25", 1),
    "PM10": ("pm10", 1),
}

# Said by Tasmota and not wanted: counting these as unknown quantities would drown the real ones.
IGNORED = frozenset((
    "Time", "TempUnit", "PressureUnit", "TotalStartTime", "Yesterday", "Today", "Period", "ApparentPower",
    "ReactivePower", "Factor", "Id", "Uptime", "UptimeSec", "Heap", "SleepMode", "Sleep", "LoadAvg", "MqttCount",
))  # fmt: skip
OURS = frozenset(("t", "boot", "seq"))


def is_foreign(fields: Mapping[str, Any]) -> bool:
    """Whether an object is Tasmota's: "Time" beside nested objects or known names, and no field of our envelope."""
    if OURS & fields.keys():
        return False
    return "Time" in fields or any(isinstance(value, dict) and NAMES.keys() & value.keys() for value in fields.values())


def translate(fields: Mapping[str, Any], bad: list[PayloadError]) -> tuple[int | None, dict[str, Any]]:
    """(event time in ms or None, values by our names). What has no meaning here keeps its name, to be counted."""
    values: dict[str, Any] = {}
    for name, raw in _flatten(fields):
        if name in IGNORED:
            continue
        if name == "Temperature" and fields.get("TempUnit", "C") != "C":
            bad.append(PayloadError("unit", f"Temperature in {str(fields['TempUnit'])[:16]!r}; it is said in Cel"))
            continue
        ours, factor = NAMES.get(name, (name, 1))
        scaled = raw * factor if factor != 1 and isinstance(raw, int | float) and not isinstance(raw, bool) else raw
        values[ours] = scaled
    return _zoned_ms(fields.get("Time")), values


def _flatten(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield name, value


def _zoned_ms(text: object) -> int | None:
    """Milliseconds of an ISO time that says its zone; None for local time, whose zone we do not know."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else round(moment.timestamp() * 1000)
