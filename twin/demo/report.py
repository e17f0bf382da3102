"""The report of a demo: what the senders' own logs say against what the server says; every whistle with its label."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.keep import Kept
from devices.records import Mark


@dataclass(frozen=True, slots=True)
class Label:
    """One injected fault, from the truth file that the server never reads. Times are city time in ms."""

    type: str
    subject: str
    start_ms: int
    end_ms: int | None
    magnitude: float | None
    members: frozenset[str] = frozenset()  # the devices that feel it


def read_labels(path: Path) -> list[Label]:
    """The labels of a truth file (lines of JSON); none where it is not there yet."""
    if not path.exists():
        return []
    labels = []
    for line in path.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        members = frozenset(told.get("members", ()))
        labels.append(
            Label(told["type"], told["subject"], told["start_ms"], told.get("end_ms"), told.get("magnitude"), members)
        )
    return labels


def match(case: Mapping[str, Any], labels: Sequence[Label]) -> str | None:
    """The label that a whistle answers: same subject (or its cause), running when the evidence began.

    A label of the same type wins, then another fault of the same subject, then one that the subject feels (a pole under
    a feeder that tripped). None: nothing was injected.
    """
    subjects = {case["subject"], *case.get("evidence", {}).get("children", ())}
    running = [
        label
        for label in labels
        if (label.subject in subjects or case["subject"] in label.members)
        and label.start_ms <= case["opened_ms"]
        and (label.end_ms is None or case["since_ms"] <= label.end_ms)
    ]
    best = max(
        running,
        key=lambda label: (label.type == case["type"], label.subject in subjects, label.start_ms),
        default=None,
    )
    return f"{best.type}:{best.subject}" if best else None


def whistles(
    cases: Iterable[Mapping[str, Any]],
    deliveries: Mapping[str, Sequence[Mapping[str, Any]]],
    labels: Sequence[Label],
    in_city: Callable[[int], int],
) -> list[dict[str, Any]]:
    """Each case as the report lists it: id, type, cause, device, opened_at, delivered, injected.

    `opened_at` and `at` are city time in ms; `in_city` turns machine time into it (of this run's clock).
    """
    return [
        {
            "id": case["id"],
            "type": case["type"],
            "cause": case["parent"] or None,
            "device": case["subject"],
            "opened_at": case["opened_ms"],
            "state": case["state"],
            "past": case["past"],
            "children": case["children"],
            "delivered": [
                {
                    "channel": one["channel"],
                    "at": in_city(one["sent_at_ms"]),
                    "at_machine": one["sent_at_ms"],
                    "key": one["key"],
                }
                for one in deliveries.get(case["id"], ())
                if one["state"] == "sent"
            ],
            "injected": match(case, labels),
        }
        for case in cases
    ]


@dataclass(frozen=True, slots=True)
class Buffered:
    """What is with the senders alone. `sent`: was published at least once; `counted_missing`: of these the server sees
    a gap; `waiting`: was never published, because its device is cut off."""

    sent: int = 0
    counted_missing: int = 0
    waiting: int = 0


def with_senders(kept: Mapping[str, Kept], marks: Mapping[str, Mark]) -> Buffered:
    """What the senders keep less what the server has: a sender that is cut off cannot hear that it was covered."""
    sent = gaps = 0
    for device, one in kept.items():
        mark = marks.get(device)
        for boot, seq in one.held:
            if mark is not None and mark.covers(boot, seq):
                continue
            sent += 1
            gaps += mark is not None and seq < _highest(mark, boot)
    return Buffered(sent, gaps, sum(len(one.waiting) for one in kept.values()))


def _highest(mark: Mark, boot: int) -> int:
    """The highest number of a boot that has come, as far as the mark tells; 0 of a boot that it does not name."""
    for one in (mark, *mark.older):
        if one.boot == boot:
            return max([one.seq, *(last for _, last in one.beyond)])
    return 0


def accounting(
    sent: int, dropped: int, buffered: Buffered, total: Mapping[str, Any]
) -> dict[str, int | Mapping[str, Any]]:
    """The account of the whole city: `sent` and `buffered` by the senders' logs, the rest by the server.

    The law: sent = stored + unstorable + rejected + buffered + missing; `unaccounted` is the difference, 0 when nothing
    vanished silently. `missing` leaves out what is with its sender still. `senders`: readings that never got a number,
    because a sender's memory was full (dropped) or its device is cut off (waiting).
    """
    rejected = sum(total["rejected"].values())
    missing = total["missing"] - buffered.counted_missing
    return {
        "sent": sent,
        "stored": total["stored"],
        "unstorable": total["unstorable"],
        "buffered": buffered.sent,
        "rejected": rejected,
        "duplicate": total["duplicate"],
        "missing": missing,
        "unaccounted": sent - total["stored"] - total["unstorable"] - rejected - buffered.sent - missing,
        "rejected_by_reason": total["rejected"],
        "senders": {"dropped": dropped, "waiting": buffered.waiting},
    }
