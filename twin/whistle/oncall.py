"""Who is reached now: a department's own way, or that of the shift that is on call at this hour of the city's week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from devices.places import Department, Shift


@dataclass(frozen=True, slots=True)
class Reach:
    """Channel and address; `shift` is the one on call, None for the department's own."""

    channel: str
    address: str
    shift: Shift | None = None


def reach(office: Department, now_ms: int, zone: ZoneInfo) -> Reach:
    """How a department is reached at an instant: the first shift on call, else its own channel and address.

    A shift whose start is behind its end spans midnight and belongs to the day on which it starts. A shift without an
    address keeps the department's where the channel is the same one.
    """
    local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone)
    hour = local.hour + local.minute / 60 + local.second / 3600
    today, yesterday = local.weekday(), (local - timedelta(days=1)).weekday()
    for shift in office.on_call:
        if shift.start_hour <= shift.end_hour:
            there = today in shift.days and shift.start_hour <= hour < shift.end_hour
        else:
            there = (today in shift.days and hour >= shift.start_hour) or (
                yesterday in shift.days and hour < shift.end_hour
            )
        if there:
            same = shift.channel == office.channel
            return Reach(shift.channel, shift.address or (office.address if same else ""), shift)
    return Reach(office.channel, office.address)
