"""Units that recordings and field buses use, converted into the SenML unit of a quantity."""

from __future__ import annotations

from devices.errors import DeviceError

# (from, to) -> (factor, offset): to = from * factor + offset
CONVERSIONS: dict[tuple[str, str], tuple[float, float]] = {
    ("m/s", "km/h"): (3.6, 0.0),
    ("km/h", "m/s"): (1 / 3.6, 0.0),
    ("kn", "km/h"): (1.852, 0.0),
    ("mph", "km/h"): (1.609344, 0.0),
    ("kW", "W"): (1e3, 0.0),
    ("kWh", "Wh"): (1e3, 0.0),
    ("mV", "V"): (1e-3, 0.0),
    ("kV", "V"): (1e3, 0.0),
    ("mA", "A"): (1e-3, 0.0),
    ("mg/m3", "ug/m3"): (1e3, 0.0),
    ("Pa", "hPa"): (1e-2, 0.0),
    ("kPa", "hPa"): (10.0, 0.0),
    ("mbar", "hPa"): (1.0, 0.0),
    ("K", "Cel"): (1.0, -273.15),
    ("degF", "Cel"): (5 / 9, -160 / 9),
    ("bit/s", "kbit/s"): (1e-3, 0.0),
    ("Mbit/s", "kbit/s"): (1e3, 0.0),
    ("Gbit/s", "kbit/s"): (1e6, 0.0),
    ("s", "ms"): (1e3, 0.0),
    ("km", "m"): (1e3, 0.0),
    ("t", "kg"): (1e3, 0.0),
    ("g", "kg"): (1e-3, 0.0),
    ("cm", "mm"): (10.0, 0.0),
    ("/", "%"): (100.0, 0.0),
    ("%", "/"): (0.01, 0.0),
    ("rad", "deg"): (57.29577951308232, 0.0),
}


def conversion(unit: str, wanted: str) -> tuple[float, float]:
    """Factor and offset from `unit` to `wanted`. Raises DeviceError where no conversion is known.

    >>> conversion("m/s", "km/h")
    (3.6, 0.0)
    """
    if unit == wanted:
        return 1.0, 0.0
    try:
        return CONVERSIONS[unit, wanted]
    except KeyError:
        known = sorted({source for source, target in CONVERSIONS if target == wanted} | {wanted})
        raise DeviceError(f"no conversion from {unit!r} to {wanted!r}; known are {', '.join(known)}") from None
