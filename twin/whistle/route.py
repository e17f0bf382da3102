"""Which department gets a case, and why: by case type and by the smallest area that claims it; who joins in besides."""

from __future__ import annotations

from dataclasses import dataclass

from devices.places import Department
from twin.errors import UnknownPlace
from twin.whistle.hours import ALWAYS, Calendar
from twin.whistle.oncall import reach
from twin.whistle.places import Places
from twin.whistle.policy import LEVELS, Policy
from twin.whistle.words import title


@dataclass(frozen=True, slots=True)
class Route:
    """Where a case goes: its department, those who act jointly, and why in both languages."""

    department: Department
    joint: tuple[Department, ...]
    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Told:
    """A route at an hour: who is reached by which way, jointly with whom, until when it is due, and why."""

    department: str
    channel: str
    address: str
    on_call: bool  # the shift on call is reached, not the department itself
    kind: str
    always: bool  # the deadline counts every hour
    deadline_ms: int
    joint: tuple[str, ...]
    en: str
    zh: str
    timezone: str


def explain(places: Places, policy: Policy, type: str, subject: str, at_ms: int) -> Told:  # noqa: A002
    """The route of a case that is dispatched at that time. Raises UnknownPlace for a type or subject there is not."""
    if type not in policy.types:
        raise UnknownPlace(f"no case type {type[:64]!r} (known: {', '.join(sorted(policy.types))})")
    if not places.kind(subject):
        raise UnknownPlace(
            f"the city has no {subject[:64]!r}; `citywhistle devices kinds` and the city's files tell what there is"
        )
    way, held = route(places, policy, type, subject), policy.of(type)
    how = reach(way.department, at_ms, policy.calendar.zone)
    due_ms = clock_of(places, policy, type, way.department.id).add(at_ms, held.deadline_s)
    joint = tuple(one.id for one in way.joint)
    kind = "joint" if joint and held.kind == "single" else held.kind
    return Told(
        way.department.id, how.channel, how.address, how.shift is not None, kind, held.always, due_ms, joint,
        way.en, way.zh, policy.calendar.timezone,
    )  # fmt: skip


def nobody(policy: Policy) -> Department:
    """The department of last resort, also where the city's files name none: the channel's configured address."""
    return Department(policy.department, "Operations centre", "城运中心", (), (), policy.channel, "")


def last_resort(places: Places, policy: Policy) -> Department:
    """Who gets what nobody else answers for."""
    return places.departments().get(policy.department) or nobody(policy)


def route(places: Places, policy: Policy, type: str, subject: str) -> Route:  # noqa: A002 - the records' own word
    """Where a case of that type on that subject goes, and why."""
    office = places.department(type, subject)
    held, word = places.areas(subject), title(type, "zh")
    if office is None:
        office = last_resort(places, policy)
        en = f"no department claims {type} at {subject}, so it goes to {office.name}"
        zh = f"没有部门负责{subject}的{word}，转{office.name_zh}"
    elif office.areas:
        area = next(code for code in held if code in office.areas)
        en = f"{office.name} answers for {type} in {area}, the smallest area that claims it around {subject}"
        zh = f"{office.name_zh}负责{area}内的{word}"
    else:
        en = f"{office.name} answers for {type} in the whole city"
        zh = f"{office.name_zh}负责全市的{word}"
    joint = partners(places, policy, type, office.id, held)
    if joint:
        why = [_why_joint(one, type, held) for one in joint]
        en += f", and leads; jointly with {' and '.join(one_en for one_en, _ in why)}"
        zh += f"并牵头；联合{'、'.join(one_zh for _, one_zh in why)}"
    return Route(office, joint, en, zh)


def _why_joint(office: Department, type: str, held: tuple[str, ...]) -> tuple[str, str]:  # noqa: A002
    """A partner's name in both languages, and why it does not lead although it may be the nearer one."""
    if type not in office.joins:
        return office.name, office.name_zh
    area = next((code for code in held if code in office.areas), "")
    where, wo = (f" in {area}", f"在{area}内") if area else ("", "")
    return f"{office.name} (joins in {type}{where}, does not lead)", f"{office.name_zh}（{wo}协同，不牵头）"


def partners(places: Places, policy: Policy, kind: str, lead: str, held: tuple[str, ...]) -> tuple[Department, ...]:
    """Who acts jointly with the lead in a case type: those that the policy names, those whose entry joins in it there,
    and for joint types all who claim it there.
    """
    told, listed = policy.of(kind), places.departments()
    names = [name for name in told.joint if name in listed]
    for one in listed.values():
        here = not one.areas or not set(one.areas).isdisjoint(held)
        if here and (kind in one.joins or (told.kind == "joint" and kind in one.types)):
            names.append(one.id)
    return tuple(listed[name] for name in dict.fromkeys(names) if name != lead)


def clock_of(places: Places, policy: Policy, type: str, office: str) -> Calendar:  # noqa: A002
    """In which hours a deadline counts: round the clock for types that say so, else the department's calendar where
    it names one, else the city's.
    """
    return ALWAYS if policy.of(type).always else places.calendar(office) or policy.calendar


def above(places: Places, policy: Policy, level: int, subject: str) -> Department:
    """Who is told at an escalation level (index into LEVELS): the department for `escalation_<level>`, or nobody's."""
    return places.department(f"escalation_{LEVELS[level]}", subject) or last_resort(places, policy)
