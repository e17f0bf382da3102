"""Which quantities get an expectation, and how quickly their level may move."""

from __future__ import annotations

from collections.abc import Mapping

from devices.kinds import KINDS

STEP_MS = 300_000  # what a device says is learnt as means over steps of five minutes of event time

HUMAN_DAYS = 12.0  # memory of the level of a channel that people drive: traffic, load, lamps
WEATHER_DAYS = 2.0  # and of one that the weather drives

_WEATHER = ("pm25", "pm10", "no2", "so2", "co", "o3", "temperature", "relativeHumidity", "atmosphericPressure",
            "dewPoint", "windSpeed")  # fmt: skip

# A setting that is commanded, a place, a direction (359 and 1 have no mean), a truck's motion and an amount of rain
# follow no hour of the day.
_UNSEASONAL: Mapping[str, tuple[str, ...]] = {
    "pole": ("dimmingLevel", "precipitation", "current", "windDirection"),
    "cell": ("txPowerSetting", "speed"),
    "gateway": ("spooled",),
}
_NO_MODEL = ("truck",)


def modelled(kind: str) -> Mapping[str, float]:
    """Quantities of a kind that get an expectation, in wire order: name -> memory of the level in days."""
    if kind in _NO_MODEL or kind not in KINDS:
        return {}
    left_out = _UNSEASONAL.get(kind, ())
    weather = _WEATHER if kind == "pole" else ()
    return {
        q.name: WEATHER_DAYS if q.name in weather else HUMAN_DAYS
        for q in KINDS[kind].quantities
        if q.role == "gauge" and q.name not in left_out
    }


_GROWING: Mapping[str, tuple[str, ...]] = {
    "pole": ("pm25", "pm10", "no2", "so2", "co", "o3", "windSpeed"),
    "cell": ("connectedUsers", "throughputDown", "throughputUp", "rrcAttempts", "handoverAttempts", "pingRtt"),
}


def growing(kind: str) -> tuple[str, ...]:
    """Quantities whose errors grow with their value: concentrations and counts."""
    return _GROWING.get(kind, ())


_SWITCHED: Mapping[str, tuple[str, ...]] = {
    "pole": ("powerConsumption",),
    "feeder": ("powerConsumption", "current"),
}


def switched(kind: str) -> tuple[str, ...]:
    """Quantities that jump at some minute of the day and stay."""
    return _SWITCHED.get(kind, ())


def resolution(kind: str, quantity: str) -> float:
    """The smallest difference that a quantity can say: half a unit of its last decimal."""
    return 0.5 * 10.0 ** -KINDS[kind].quantity(quantity).decimals
