"""What people may do to cases: one function a verb, in the table ACT. An impossible step raises IllegalStep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from devices.places import Department
from twin.errors import IllegalStep
from twin.records import Action, Transition, Why
from twin.whistle.book import Book
from twin.whistle.life import Life, plain
from twin.whistle.lifecycle import CITY_VERBS, VERBS, after
from twin.whistle.route import last_resort, route
from twin.whistle.sending import assign, clock, dispatch, inform, set_deadlines
from twin.whistle.telemetry import close, count, join, leave

LONGEST_TEXT = 2000
JUDGES = ("citizen", "unit", "operator")  # the one concerned, who lives there or whose thing it is, or the desk


def take_action(book: Book, action: Action, now_ms: int) -> None:
    """Do what an action asks. Raises IllegalStep, whose message says what is possible instead."""
    if action.verb in CITY_VERBS:
        _mute(book, action, now_ms)
        return
    if action.verb not in VERBS:
        raise IllegalStep(f"unknown verb {action.verb!r}; known: {', '.join((*VERBS, *CITY_VERBS))}")
    life = book.lives.get(action.case)
    if life is None:
        raise IllegalStep(f"{action.case!r} is no case at hand: it never was, or was closed long ago")
    if len(action.reason) > LONGEST_TEXT:
        raise IllegalStep(f"a reason has at most {LONGEST_TEXT} characters")
    after(life.case.state, action.verb)
    if life.case.parent and action.verb not in ("comment", "attach", "split", "cancel", "evaluate", "close", "resend"):
        raise IllegalStep(f"{life.case.id} is recorded under {life.case.parent}; split it from there first")
    ACT[action.verb](book, life, action, now_ms)


def _wants_reason(action: Action) -> str:
    if not action.reason.strip():
        raise IllegalStep(f"{action.verb} needs a reason")
    return action.reason


def _override(life: Life, action: Action) -> dict[str, Any]:
    """Evidence of closing against the telemetry: the reason given is the override, and is recorded as such."""
    if not life.case.active:
        return {}
    override = action.arguments.get("override") or action.reason
    if not isinstance(override, str) or not override.strip():
        raise IllegalStep(f"telemetry still shows {life.case.type}; {action.verb} needs a reason that overrides it")
    return {"override": override[:LONGEST_TEXT], "telemetry": "still shows it"}


def _office(book: Book, action: Action) -> Department | None:
    """The department that an action names; None for none. Raises IllegalStep for one that does not exist."""
    name = action.arguments.get("department", "")
    if not name:
        return None
    office = book.places.departments().get(str(name))
    if office is None:
        known = ", ".join(sorted(book.places.departments()))
        raise IllegalStep(f"there is no department {str(name)[:64]!r}; known: {known or 'none'}")
    return office


def _simple(book: Book, life: Life, action: Action, now_ms: int) -> None:
    book.mark(life, now_ms, action.verb, actor=action.actor, reason=action.reason)


def _comment(book: Book, life: Life, action: Action, now_ms: int) -> None:
    _wants_reason(action)
    _simple(book, life, action, now_ms)


def _attach(book: Book, life: Life, action: Action, now_ms: int) -> None:
    told = {name: action.arguments.get(name) for name in ("name", "sha256", "media_type", "size_bytes")}
    digest = told["sha256"]
    if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise IllegalStep("attach needs name, media_type, size_bytes and sha256 (64 hexadecimal digits) of the file")
    book.mark(life, now_ms, "attach", actor=action.actor, reason=action.reason, evidence=told)


def _handle(book: Book, life: Life, action: Action, now_ms: int) -> None:
    life = book.put(life.set(warn=0, escalate=0, quiet=0))
    _simple(book, life, action, now_ms)


def _redo(book: Book, life: Life, action: Action, now_ms: int) -> None:
    reason = _wants_reason(action)
    life = book.mark(life, now_ms, "redo", actor=action.actor, reason=reason)
    life = book.put(set_deadlines(book, life, now_ms))
    inform(book, life, now_ms, "redo", {"reason": reason})


def _return(book: Book, life: Life, action: Action, now_ms: int) -> None:
    reason = _wants_reason(action)
    was = life.case.department
    gave = tuple(dict.fromkeys((*life.case.returned_by, was))) if was else life.case.returned_by
    life = book.mark(
        life, now_ms, "return", actor=action.actor, reason=reason, evidence={"from": was}, department="",
        returned_by=gave,
    )  # fmt: skip
    life = book.put(replace(life, returned=True).set(warn=0, quiet=0))
    desk = last_resort(book.places, book.policy)
    if desk.id != was:
        book.tell(life, now_ms, desk, "returned", {"reason": reason, "from": was})


def _transfer(book: Book, life: Life, action: Action, now_ms: int) -> None:
    reason, office = _wants_reason(action), _office(book, action)
    if office is None:
        raise IllegalStep("transfer needs the department to transfer to")
    assign(book, life, now_ms, office, event="transfer", actor=action.actor, reason=reason)


def _dispatch(book: Book, life: Life, action: Action, now_ms: int) -> None:
    way = route(book.places, book.policy, life.case.type, life.case.subject)
    named = _office(book, action)
    reason = action.reason or Why(way.en, way.zh)
    joint = () if named else way.joint
    assign(book, life, now_ms, named or way.department, joint=joint, actor=action.actor, reason=reason)


def _seconds(book: Book, action: Action, usual: float) -> float:
    extra = action.arguments.get("extra_s", usual)
    longest = book.policy.longest_extension_s
    if isinstance(extra, bool) or not isinstance(extra, int | float) or not 0 < extra <= longest:
        raise IllegalStep(f"{action.verb} needs extra_s, working seconds above 0 and up to {longest:.0f}")
    return float(extra)


def _extend(book: Book, life: Life, action: Action, now_ms: int) -> None:
    reason, extra_s = _wants_reason(action), _seconds(book, action, 0.0)
    evidence = {"extra_s": extra_s}
    book.mark(replace(life, asked_s=extra_s), now_ms, "extend", actor=action.actor, reason=reason, evidence=evidence)


def _approve(book: Book, life: Life, action: Action, now_ms: int) -> None:
    if not life.asked_s:
        raise IllegalStep("no extension was asked for")
    extra_s = _seconds(book, action, life.asked_s)
    life = replace(life, allowed_s=life.allowed_s + extra_s, asked_s=0.0)
    deadline_ms = clock(book, life.case.type, life.case.department).add(life.dispatched_ms, life.allowed_s)
    life = book.mark(
        life, now_ms, "approve", actor=action.actor, reason=action.reason, evidence={"extra_s": extra_s},
        deadline_ms=deadline_ms,
    )  # fmt: skip
    life = book.put(set_deadlines(book, life, now_ms))
    inform(book, life, now_ms, "extended", {"extra_s": extra_s})


def _deny(book: Book, life: Life, action: Action, now_ms: int) -> None:
    if not life.asked_s:
        raise IllegalStep("no extension was asked for")
    reason = _wants_reason(action)
    life = book.mark(replace(life, asked_s=0.0), now_ms, "deny", actor=action.actor, reason=reason)
    inform(book, life, now_ms, "denied", {"reason": reason})


def _verify(book: Book, life: Life, action: Action, now_ms: int) -> None:
    evidence = _override(life, action)
    life = book.put(life.set(warn=0, escalate=0, quiet=0, verify=0))
    book.mark(life, now_ms, "verify", actor=action.actor, reason=action.reason, evidence=evidence)


def _close(book: Book, life: Life, action: Action, now_ms: int) -> None:
    reason, evidence = _wants_reason(action), _override(life, action)
    close(book, life, now_ms, reason=reason, actor=action.actor, evidence=evidence)


def _cancel(book: Book, life: Life, action: Action, now_ms: int) -> None:
    close(book, life, now_ms, reason=_wants_reason(action), actor=action.actor, event="cancel")


def _evaluate(book: Book, life: Life, action: Action, now_ms: int) -> None:
    verdict, score = action.arguments.get("verdict", "useful"), action.arguments.get("score")
    if verdict not in ("useful", "false"):
        raise IllegalStep('evaluate takes the verdict "useful" or "false"')
    if score is not None and (isinstance(score, bool) or not isinstance(score, int) or not 1 <= score <= 5):
        raise IllegalStep("evaluate takes a score from 1 to 5")
    by = action.arguments.get("by", "operator")
    if by not in JUDGES:
        raise IllegalStep(f"evaluate is by one of {', '.join(JUDGES)}")
    evidence = {"verdict": verdict, "by": by} | ({} if score is None else {"score": score})
    life = _count_verdict(book, life, verdict, corrects=by == "operator")
    book.mark(life, now_ms, "evaluate", actor=action.actor, reason=action.reason, evidence=evidence)


def _count_verdict(book: Book, life: Life, verdict: str, *, corrects: bool) -> Life:
    """To the detectors a case is one verdict, whoever judges it: the first, or what the operator corrects it to."""
    first = life.case.state == "closed" and not life.counted
    if not first and not (corrects and life.counted and verdict != life.counted):
        return life
    false = int(verdict == "false") - int(life.counted == "false")
    book.changes.judged.append((life.case.type, life.case.subject, false))
    return replace(life, counted=verdict)


def _reopen(book: Book, life: Life, action: Action, now_ms: int) -> None:
    reason = _wants_reason(action)
    other = book.open.get(life.case.key)
    if other is not None and other != life.case.id:
        raise IllegalStep(f"{other} is open for the same trouble; act on that one")
    evidence = dict(life.case.evidence) | {"reopened": int(life.case.evidence.get("reopened", 0)) + 1}
    count(book, life.case.parent, now_ms, -1)
    life = replace(life, case=replace(life.case, evidence=evidence))
    life = book.mark(life, now_ms, "reopen", actor=action.actor, reason=reason, parent="", parties=(), returned_by=(),
                     deadline_ms=0)  # fmt: skip
    life = replace(life, person=False, returned=False, level=0, owed="", timers={}, anew=True)
    office = book.places.departments().get(life.case.department)
    life = book.put(life)
    if office is None or life.case.active:
        dispatch(book, life, now_ms)
    if book.lives[life.case.id].case.state == "filed" and not book.lives[life.case.id].timers.get("quiet"):
        assign(book, book.lives[life.case.id], now_ms, office or last_resort(book.places, book.policy), reason=reason)


def _merge(book: Book, life: Life, action: Action, now_ms: int) -> None:
    into = book.lives.get(str(action.arguments.get("into", "")))
    if into is None or not into.open or into.case.id == life.case.id:
        raise IllegalStep("merge needs `into`, the id of another open case")
    if into.case.parent:
        raise IllegalStep(f"{into.case.id} is recorded under {into.case.parent}; merge into that one")
    join(book, life, into.case.id, now_ms, _wants_reason(action), action.actor)


def _split(book: Book, life: Life, action: Action, now_ms: int) -> None:
    if not life.case.parent:
        raise IllegalStep(f"{life.case.id} is under no other case")
    leave(book, life, now_ms, _wants_reason(action), action.actor)


def _resend(book: Book, life: Life, action: Action, now_ms: int) -> None:
    key = str(action.arguments.get("key", life.dead[-1] if life.dead else ""))
    if key not in life.dead:
        raise IllegalStep(f"no dead letter of that key; dead letters: {', '.join(life.dead) or 'none'}")
    dead = tuple(k for k in life.dead if k != key)
    life = replace(life, dead=dead, waiting=(*life.waiting, key))
    book.mark(life, now_ms, "resend", actor=action.actor, reason=action.reason, evidence={"key": key})
    book.changes.resend.append(key)


def _mute(book: Book, action: Action, now_ms: int) -> None:
    if action.verb == "mute":
        mute = book.mutes.add(action.id, action.actor, action.reason, action.arguments, now_ms)
    else:
        mute = book.mutes.end(str(action.arguments.get("mute", "")))
        for life in list(book.lives.values()):
            if life.timers.get("quiet"):
                book.put(life.set(quiet=now_ms))
    book.notes += 1
    names = ("id", "from_ms", "until_ms", "types", "subjects")
    evidence = plain({name: getattr(mute, name) for name in names})
    book.changes.transitions.append(
        Transition("", book.notes, now_ms, action.actor, action.verb, "", "", action.reason[:LONGEST_TEXT], evidence)
    )


ACT: dict[str, Callable[[Book, Life, Action, int], None]] = {
    "accept": _simple,
    "handle": _handle,
    "redo": _redo,
    "return": _return,
    "transfer": _transfer,
    "dispatch": _dispatch,
    "extend": _extend,
    "approve": _approve,
    "deny": _deny,
    "verify": _verify,
    "close": _close,
    "evaluate": _evaluate,
    "reopen": _reopen,
    "cancel": _cancel,
    "merge": _merge,
    "split": _split,
    "comment": _comment,
    "attach": _attach,
    "resend": _resend,
}
