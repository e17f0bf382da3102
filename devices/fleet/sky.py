"""Where the sun stands, and how much light falls: the fleet's own astronomy."""

from __future__ import annotations

import math

J2000_MS = 946_728_000_000  # 2000-01-01 12:00 UTC


def sun_elevation(t_ms: float, lon: float, lat: float) -> float:
    """Elevation of the sun above the horizon, degrees, to about 0.05.

    Low-precision solar coordinates of the Astronomical Almanac (page C5): mean longitude and anomaly, ecliptic
    longitude, then right ascension, declination and hour angle. Refraction is left out.

    >>> round(sun_elevation(1_718_971_200_000, 24.94, 60.17))  # Helsinki, 2024-06-21 12:00 UTC
    51
    """
    days = (t_ms - J2000_MS) / 86_400_000
    mean_longitude = 280.460 + 0.9856474 * days
    anomaly = math.radians(357.528 + 0.9856003 * days)
    ecliptic = math.radians(mean_longitude + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    obliquity = math.radians(23.439 - 0.0000004 * days)
    ascension = math.atan2(math.cos(obliquity) * math.sin(ecliptic), math.cos(ecliptic))
    declination = math.asin(math.sin(obliquity) * math.sin(ecliptic))
    sidereal = math.radians((280.46061837 + 360.98564736629 * days + lon) % 360)
    hour_angle = sidereal - ascension
    phi = math.radians(lat)
    sine = math.sin(phi) * math.sin(declination) + math.cos(phi) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def daylight_lx(elevation_deg: float, cloud: float) -> float:
    """Horizontal illuminance in lux under a sky of cloud cover 0..1.

    Twilight after Seidelmann (1992): about 400 lx at sunset, 3.4 at -6 degrees; above, 130 klx times the sine of the
    elevation with an extinction of 0.21 per air mass. Cloud takes up to 80 %.
    """
    if elevation_deg < -12:
        clear = 0.02
    elif elevation_deg <= 3:
        clear = 10 ** (2.6 + 0.33 * elevation_deg - 0.006 * elevation_deg**2)
        clear = min(max(clear, 0.02), 3000.0)
    else:
        sine = math.sin(math.radians(elevation_deg))
        clear = max(3000.0, 130_000 * sine * math.exp(-0.21 / sine))
    return clear * (1 - 0.8 * cloud**2)
