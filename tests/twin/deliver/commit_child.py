"""A process for the kill -9 test of commits: records the same ticks from the first on, and says each that is recorded.

It begins with tick 1 every time, as a replay does, and never ends by itself.
"""

from __future__ import annotations

from multiprocessing.connection import Connection

from twin.deliver.cases import Cases
from twin.records import Case, Changes, Delivery, Settled, Transition

EACH = 40  # cases a tick, so that a commit takes long enough to be cut in two


def changes_of(n: int) -> Changes:
    """What tick `n` changes: EACH new cases, each with two steps and a message; those of the tick before are sent."""
    told, sent = Changes(), []
    for i in range(EACH):
        case = f"CW-{n:06d}-{i:06d}"
        at_ms = n * 1000
        told.cases.append(Case(case, case, "door_open", f"pole-{i:04d}", "pole", "dispatched", 2, at_ms, at_ms, at_ms))
        told.transitions.append(Transition(case, 1, at_ms, "system", "file", "found", "filed"))
        told.transitions.append(Transition(case, 2, at_ms, "system", "dispatch", "filed", "dispatched"))
        told.deliveries.append(Delivery(f"{case}:1", case, "webhook", "", "dispatch", {"n": n}))
        sent.append(Settled(f"CW-{n - 1:06d}-{i:06d}:1", True, at_ms, 1))
    told.settled = sent
    return told


def record_for_ever(target: str, told: Connection) -> None:
    """Record tick after tick; each that is recorded is told."""
    cases = Cases(target)
    n = 0
    while True:
        n += 1
        cases.record(n, changes_of(n))
        told.send(n)
