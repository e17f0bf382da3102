"""What a link to answer by opens: the message it came with, its case, and what its receiver may do now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin.deliver.cases import Cases
from twin.deliver.links import Links
from twin.errors import LinkRefused
from twin.query.desk import Letter
from twin.records import Case, Delivery
from twin.whistle.book import PARTY
from twin.whistle.lifecycle import OPEN, verbs

MOST_ANSWERS = 20  # by one link; a leaked one cannot fill the journal
STEPS = ("accept", "return", "extend", "handle")


def read_letter(cases: Cases, links: Links, token: str, now_s: float) -> Letter:
    """The letter behind a token. Raises LinkRefused: forged, expired, or used up."""
    opened = links.read(token, now_s)
    delivery, case = cases.delivery(opened.key), cases.case(opened.case)
    if delivery is None or case is None or delivery.case != case.id:
        raise LinkRefused("expired")  # signed by us, but what it was about is no longer kept
    department = _three(delivery.payload.get("department"))
    actor = f"{department[0] or 'receiver'} by link {delivery.key}"[:128]
    if cases.steps_by(case.id, actor) >= MOST_ANSWERS:
        raise LinkRefused("used")
    subject = delivery.payload.get("subject")
    place = _three(subject.get("name") if isinstance(subject, Mapping) else None)
    title = _three(delivery.payload.get("title"))
    return Letter(
        case, delivery.key, delivery.purpose, department, (title[1] or case.type, title[2] or case.type),
        (place[1] or case.subject, place[2] or case.subject), offers(case, delivery, department[0]), actor,
        opened.expires_ms,
    )  # fmt: skip


def offers(case: Case, delivery: Delivery, department: str) -> tuple[str, ...]:
    """What the receiver of a message may do: the department in charge every step, others of an open case a word; who
    was told that it is closed may say how it was done.
    """
    if delivery.purpose == "close" and case.state == "closed" and not case.parent and case.department == department:
        return ("evaluate",)
    if case.state not in OPEN or case.parent or delivery.purpose in ("withdraw", "close", "cancel"):
        return ()
    if case.department != department:
        if department in case.returned_by:
            return ()
        # Joint partners and those to whom it was escalated have a say; who returned it or lost it has none.
        return ("comment",) if department in case.parties or delivery.purpose in PARTY else ()
    possible = verbs(case.state)
    return (*(step for step in STEPS if step in possible), "comment")


def _three(told: Any) -> tuple[str, str, str]:
    """Id, English and Chinese of a payload's {"id", "en", "zh"}."""
    if not isinstance(told, Mapping):
        return "", "", ""
    first, english, chinese = (str(told.get(name) or "")[:500] for name in ("id", "en", "zh"))
    return first, english, chinese
