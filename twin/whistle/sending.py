"""Sending a case: to its departments and to the device itself, unless a mute or the storm limit holds it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from devices.places import Department
from devices.topics import Topic
from twin.records import Delivery, Why
from twin.whistle.book import SYSTEM, Book
from twin.whistle.hours import Calendar
from twin.whistle.life import Life
from twin.whistle.lifecycle import RUNNING
from twin.whistle.oncall import reach
from twin.whistle.policy import LEVELS
from twin.whistle.route import above, clock_of, last_resort, route
from twin.whistle.storm import LISTED
from twin.whistle.words import ABLE, command, reasons, stamp, title

FOR_ALL = ("close", "cancel", "update", "merged")  # joint partners and those above hear of these as well
OWED = ("close", "cancel", "update", "warn")  # what a mute holds back of these is told when it ends
BY_PEOPLE = ("withdraw", "merged", "redo", "extended", "denied")  # what somebody decided is told at once, mute or not


def quiet_until(book: Book, life: Life, now_ms: int) -> tuple[int, str]:
    """When the mutes over a case end, and the id of the last one; (0, '') where it may be sent."""
    case = life.case
    return book.mutes.until(case.type, (case.subject, *book.places.parents(case.subject)), now_ms)


def hush(book: Book, life: Life, now_ms: int) -> bool:
    """Whether a mute is over the case; it is then looked at again when the mute ends."""
    until_ms, mute = quiet_until(book, life, now_ms)
    if not until_ms:
        return False
    if life.case.state == "filed" and not life.timers.get("quiet"):
        life = book.mark(life, now_ms, "mute", evidence={"mute": mute, "until": stamp(until_ms)})
    book.put(life.set(quiet=until_ms))
    return True


def dispatch(book: Book, life: Life, now_ms: int) -> Life:
    """Send a filed case by itself: not when returned, quiet, under a cause, or gone before it was sent."""
    case = life.case
    if case.parent or life.returned or hush(book, life, now_ms):
        return book.lives[case.id]
    if not case.active and not book.policy.of(case.type).act:
        if not life.timers.get("lapse"):
            life = book.put(life.set(quiet=0, lapse=now_ms + round(book.policy.of(case.type).flap_s * 1000)))
        return life
    way = route(book.places, book.policy, case.type, case.subject)
    return assign(book, life, now_ms, way.department, joint=way.joint, reason=Why(way.en, way.zh))


def assign(
    book: Book, life: Life, now_ms: int, office: Department, *, joint: tuple[Department, ...] = (),
    event: str = "dispatch", actor: str = SYSTEM, reason: str = "",
) -> Life:  # fmt: skip
    """Give a case to a department (and those who act jointly): deadline set, messages and command in the outbox."""
    case, policy = life.case, book.policy.of(life.case.type)
    if event == "transfer" and case.department and life.dispatched_ms:
        life = inform(book, life, now_ms, "withdraw", {"to": office.id, **reasons(reason)})
    goes_on = bool(life.dispatched_ms) and not life.anew  # the case has one deadline, whoever gives it back or on
    began, allowed_s = (life.dispatched_ms, life.allowed_s) if goes_on else (now_ms, policy.deadline_s)
    evidence = {"department": office.id, "joint": [d.id for d in joint]}
    life = replace(life, dispatched_ms=began, allowed_s=allowed_s, returned=False, asked_s=0.0, anew=False)
    life = set_deadlines(book, life, now_ms, office.id).set(quiet=0, lapse=0, hold=0)
    deadline_ms = clock(book, case.type, office.id).add(began, allowed_s)
    life = book.mark(
        life,
        now_ms,
        event,
        actor=actor,
        reason=reason,
        evidence=evidence,
        department=office.id,
        deadline_ms=deadline_ms,
        returned_by=tuple(name for name in life.case.returned_by if name != office.id),
    )
    life = book.tell(life, now_ms, office, "dispatch", {"joint": [d.id for d in joint]})
    for other in joint:
        life = book.tell(life, now_ms, other, "joint", {"joint": [office.id]})
    return tell_device(book, life, now_ms)


def clock(book: Book, type: str, office: str) -> Calendar:  # noqa: A002 - the records' own word
    """In which hours a deadline counts for a department."""
    return clock_of(book.places, book.policy, type, office)


def set_deadlines(book: Book, life: Life, now_ms: int, office: str = "") -> Life:
    """The life with its warning and next escalation by the time allowed; what has passed already is due now."""
    if life.case.past:
        return life.set(warn=0, escalate=0)
    add = clock(book, life.case.type, office or life.case.department).add
    warn_ms = add(life.dispatched_ms, life.allowed_s * book.policy.warn_at)
    life = life.set(warn=warn_ms if warn_ms > now_ms else 0)
    if life.level >= len(LEVELS):
        return life.set(escalate=0)
    escalate_ms = add(life.dispatched_ms, life.allowed_s * book.policy.escalate_at[life.level])
    return life.set(escalate=max(escalate_ms, now_ms + 1))


def tell_device(book: Book, life: Life, now_ms: int) -> Life:
    """Where the subject can act (cab display, speaker, lamp), tell it; its answer is awaited."""
    case = life.case
    action = book.policy.of(case.type).command
    district = book.places.district(case.subject)
    if case.past or not district or action not in ABLE.get(case.subject_kind, ()):
        return life
    key = book.key(life, "command", "mqtt")
    topic = Topic(district, case.subject_kind, case.subject, "cmd")
    payload = {"topic": str(topic), "id": key, "action": action, "arguments": command(case, action)}
    life = book.post(life, "mqtt", case.subject, "command", payload)
    return book.put(replace(life, command=key).set(answer=now_ms + round(book.policy.answer_s * 1000)))


def inform(book: Book, life: Life, now_ms: int, purpose: str, more: Mapping[str, Any] | None = None) -> Life:
    """Tell the case's own department something about it, and of its end or worsening who else was told of it; what a
    mute holds back is told at its end, where it still holds.
    """
    until_ms = quiet_until(book, life, now_ms)[0]
    if until_ms and purpose not in BY_PEOPLE:
        owed = purpose if purpose in OWED else life.owed
        return book.put(replace(life, owed=owed).set(quiet=until_ms)) if owed else life
    listed = book.places.departments()
    office = listed.get(life.case.department) or last_resort(book.places, book.policy)
    life = book.tell(life, now_ms, office, purpose, more)
    if purpose in FOR_ALL:
        for other in life.case.parties:
            if other != office.id and other in listed:
                life = book.tell(life, now_ms, listed[other], purpose, more)
    return life


def settle_debt(book: Book, life: Life, now_ms: int) -> Life:
    """A mute has ended: say what it held back, if that is still the newest about the case."""
    owed, life = life.owed, book.put(replace(life, owed=""))
    stands = life.case.state in (("closed", "cancelled") if owed in ("close", "cancel") else RUNNING)
    return inform(book, life, now_ms, owed, {"held_back": True}) if owed and stands else life


def warn(book: Book, life: Life, now_ms: int) -> None:
    """The deadline is near: recorded, and the department told."""
    life = book.mark(life, now_ms, "warn", evidence={"deadline": stamp(life.case.deadline_ms)})
    inform(book, life, now_ms, "warn")


def escalate(book: Book, life: Life, now_ms: int) -> None:
    """The deadline has passed: one level further up. Under a mute it waits for the mute's end."""
    if hush(book, life, now_ms):
        return
    level = life.level
    office = above(book.places, book.policy, level, life.case.subject)
    evidence = {"level": LEVELS[level], "to": office.id, "deadline": stamp(life.case.deadline_ms)}
    life = book.mark(replace(life, level=level + 1), now_ms, "escalate", evidence=evidence)
    life = book.put(set_deadlines(book, life, now_ms).set(warn=0))
    book.tell(life, now_ms, office, "escalate", {"level": LEVELS[level], "department_late": life.case.department})


def digest(book: Book, department: str, over: list[tuple[str, str]], now_ms: int) -> None:
    """One message in place of all that were over a department's storm limit."""
    office = book.places.departments().get(department) or last_resort(book.places, book.policy)
    book.digests += 1
    counts: dict[str, int] = {}
    for _, kind in over:
        counts[kind] = counts.get(kind, 0) + 1
    payload = {
        "purpose": "digest",
        "at": stamp(now_ms),
        "department": {"id": office.id, "en": office.name, "zh": office.name_zh},
        "count": len(over),
        "types": [
            {"type": kind, "count": n, "en": title(kind, "en"), "zh": title(kind, "zh")}
            for kind, n in sorted(counts.items())
        ],
        "cases": list(dict.fromkeys(case for case, _ in over))[:LISTED],
        "text": {
            "en": f"{len(over)} more messages in the last {book.policy.storm_s:.0f} s; all are on the list of cases.",
            "zh": f"最近{book.policy.storm_s:.0f}秒内另有{len(over)}条消息，详见工单列表。",
        },
    }
    way = reach(office, now_ms, book.policy.calendar.zone)
    key = f"digest:{office.id}:{book.digests}:{way.channel}"
    book.changes.deliveries.append(Delivery(key, "", way.channel, way.address, "digest", payload))
