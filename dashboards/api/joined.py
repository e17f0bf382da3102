"""Who else is in a case beside the department in charge, why, and what each of them said last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twin.access import Access
from twin.records import Case, Transition

BY_LINK = " by link "  # DEPARTMENT by link KEY: whoever answered by a message's link


def joined(case: Case, history: Sequence[Transition], offices: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """[{department, why, event, at_ms}] of the parties, as they were told; `event` "" of one that has not said anything
    since the case was opened (or opened again). `why`: "joint", "escalated", or "told" (a return, a dead letter).

    `offices`: the departments of users and programs, by name.
    """
    begun = max((i for i, step in enumerate(history) if step.event == "reopen"), default=0)
    steps = history[begun:]
    why: dict[str, str] = {}
    said: dict[str, Transition] = {}
    for step in steps:
        if step.event in ("dispatch", "transfer"):
            why |= dict.fromkeys(map(str, step.evidence.get("joint") or ()), "joint")
        elif step.event == "escalate":
            why.setdefault(str(step.evidence.get("to")), "escalated")
        said |= dict.fromkeys(_of(step.actor, offices), step)
    return [
        {"department": name, "why": why.get(name, "told"), "event": said[name].event if name in said else "",
         "at_ms": said[name].at_ms if name in said else 0}
        for name in case.parties
    ]  # fmt: skip


def offices_of(access: Access) -> dict[str, tuple[str, ...]]:
    """The departments that users and tokens are confined to, by the name under which their steps are recorded;
    several tokens may have one name."""
    programs = ((one.name, one.departments) for one in access.tokens.all() if not one.user)
    named: dict[str, tuple[str, ...]] = {}
    for name, departments in (*programs, *((one.name, one.departments) for one in access.users.all())):
        if departments:
            named[name] = tuple(dict.fromkeys((*named.get(name, ()), *departments)))
    return named


def _of(actor: str, offices: Mapping[str, Sequence[str]]) -> Iterable[str]:
    name, linked, _ = actor.partition(BY_LINK)
    return (name,) if linked else offices.get(actor, ())
