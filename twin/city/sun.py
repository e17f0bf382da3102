"""Where the sun stands: what is dark and what is day, for lamps and light sensors."""

from __future__ import annotations

import numpy as np

from twin.records import F64, I64


def sun_elevation(t_ms: I64, lon: F64, lat: F64) -> F64:
    """The sun's elevation above the horizon in degrees, without refraction, at UTC times and WGS84 places.

    Source: NOAA Global Monitoring Laboratory, "General Solar Position Calculations" (fractional year series of
    Spencer 1971), with the mean Gregorian year: within half a degree of the ephemeris between 1900 and 2100.

    >>> noon = np.array([1718884800000])  # 2024-06-20 12:00 UTC
    >>> bool(abs(sun_elevation(noon, np.array([0.0]), np.array([51.48]))[0] - 61.96) < 0.3)
    True
    """
    day = t_ms / 86_400_000.0
    hour = (day - np.floor(day)) * 24.0
    gamma = 2.0 * np.pi * np.mod(day, 365.2425) / 365.2425
    eqtime = 229.18 * (
        0.000075
        + 0.001868 * np.cos(gamma)
        - 0.032077 * np.sin(gamma)
        - 0.014615 * np.cos(2 * gamma)
        - 0.040849 * np.sin(2 * gamma)
    )
    decl = (
        0.006918
        - 0.399912 * np.cos(gamma)
        + 0.070257 * np.sin(gamma)
        - 0.006758 * np.cos(2 * gamma)
        + 0.000907 * np.sin(2 * gamma)
        - 0.002697 * np.cos(3 * gamma)
        + 0.00148 * np.sin(3 * gamma)
    )
    solar_minutes = hour * 60.0 + eqtime + 4.0 * lon
    angle = np.radians(solar_minutes / 4.0 - 180.0)
    phi = np.radians(lat)
    sine = np.sin(phi) * np.sin(decl) + np.cos(phi) * np.cos(decl) * np.cos(angle)
    elevation: F64 = np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0)))
    return elevation
