"""A case's line of the score card, kept by its steps; a change here wants a migration that keeps old lines true."""

from __future__ import annotations

from typing import Any

from twin.records import Case, Transition
from twin.whistle.book import SYSTEM

TIMES = ("dispatched_ms", "accepted_ms", "handled_ms", "verified_ms", "closed_ms", "done_ms")
COUNTS = ("reopened", "returned", "escalated")
STAGE = {"accept": "accepted_ms", "handle": "handled_ms", "verify": "verified_ms"}
COUNTED = {"reopen": "reopened", "return": "returned", "escalate": "escalated"}
FROM_CASE = ("opened_ms", "type", "subject", "parent", "severity", "state", "deadline_ms")
COLUMNS = ("case_id", *FROM_CASE, "department", *TIMES, *COUNTS, "cancelled_by", "verdict", "score", "judge")


def begin(case: str) -> dict[str, Any]:
    """The line of a case to which nothing has happened."""
    line: dict[str, Any] = {"case_id": case, "department": ""} | dict.fromkeys((*TIMES, *COUNTS), 0)
    return line | {"cancelled_by": "", "verdict": "", "score": 0.0, "judge": ""}


def stand(line: dict[str, Any], case: Case) -> None:
    """What the line takes from the case as it stands."""
    line.update({name: getattr(case, name) for name in FROM_CASE})
    line["department"] = case.department or line["department"]


def note(line: dict[str, Any], step: Transition) -> None:
    """What the line takes from a step."""
    event, at_ms, evidence = step.event, step.at_ms, step.evidence
    if event in ("dispatch", "transfer"):
        line["dispatched_ms"] = line["dispatched_ms"] or at_ms
        line["department"] = evidence.get("department") or line["department"]
    elif event in STAGE:
        line[STAGE[event]] = line[STAGE[event]] or at_ms
    elif event in ("close", "cancel"):
        line["closed_ms"] = at_ms
    elif event == "evaluate":
        line["verdict"], line["score"] = str(evidence.get("verdict", "")), float(evidence.get("score") or line["score"])
        line["judge"] = str(evidence.get("by") or "operator")
    if event in ("handle", "verify", "close"):
        line["done_ms"] = line["done_ms"] or at_ms
    if event in ("redo", "reopen", "return"):
        line["done_ms"] = 0
    if event in COUNTED:
        line[COUNTED[event]] += 1
    if event == "reopen":
        line["closed_ms"], line["cancelled_by"] = 0, ""
    if event == "cancel":
        line["cancelled_by"] = "system" if step.actor == SYSTEM else "person"
