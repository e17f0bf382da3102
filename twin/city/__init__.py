"""The city as data for the pure rooms: which device is which row, where it stands, what it hangs on. No I/O."""

from twin.city.graph import City, Groups, day_number, members
from twin.city.registry import Registry
from twin.city.roster import Roster, nearest
from twin.city.rows import carried, grown, owned, ranks, runs
from twin.city.sun import sun_elevation

__all__ = [
    "City",
    "Groups",
    "Registry",
    "Roster",
    "carried",
    "day_number",
    "grown",
    "members",
    "nearest",
    "owned",
    "ranks",
    "runs",
    "sun_elevation",
]
