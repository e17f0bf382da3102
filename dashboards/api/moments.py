"""A moment as a query gives it: milliseconds since 1970 UTC, or ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from dashboards.api.errors import Refused

At = Annotated[
    str | None,
    Query(max_length=40, description="the city as it was then: milliseconds since 1970 UTC, or ISO 8601"),
]


def at_ms(told: str | None) -> int | None:
    """The moment in milliseconds; None where none is given. Raises Refused (422)."""
    if not told:
        return None
    if told.isdecimal():
        return min(int(told), 2**53)
    try:
        moment = datetime.fromisoformat(told.replace(" ", "+"))
    except ValueError:
        raise Refused(422, "invalid", f"at {told!r} is no time.",
                      "Give milliseconds since 1970 UTC, or 2026-03-31T08:00:00+08:00.") from None  # fmt: skip
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
