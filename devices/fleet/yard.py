"""Where trucks stand: who comes first is served first, and everybody has a place of his own."""

from __future__ import annotations

from functools import lru_cache

from devices.fleet.road import shift
from devices.places import LonLat

LOADERS = 2  # of a construction site
BAYS = 3  # of a disposal site
ROW = 5  # trucks stand in rows of so many
BESIDE_M, BEHIND_M = 6.0, 14.0


class Yard:
    """The loaders of a site, or the bays of a disposal site."""

    __slots__ = ("free_s",)

    def __init__(self, count: int) -> None:
        self.free_s = [0.0] * count

    def take(self, t_s: float, lasts_s: float, at_least_s: float) -> float:
        """When it is the turn of who comes now, at the earliest after so many seconds; taken until that is done."""
        first = self.free_s.index(min(self.free_s))
        begins = max(t_s + at_least_s, self.free_s[first])
        self.free_s[first] = begins + lasts_s
        return begins

    def hold(self, until_s: float) -> None:
        """Somebody is being served until then."""
        first = self.free_s.index(min(self.free_s))
        self.free_s[first] = max(self.free_s[first], until_s)


@lru_cache(1 << 15)  # who waits asks every few seconds
def berth(middle: LonLat, number: int) -> LonLat:
    """The place of truck `number` in rows around the middle of a yard."""
    row, column = divmod(number, ROW)
    north = BEHIND_M * ((row + 1) // 2 * (-1 if row % 2 else 1))
    lon, lat = shift(*middle, 90.0, BESIDE_M * (column - ROW // 2))
    return shift(lon, lat, 0.0, north)
