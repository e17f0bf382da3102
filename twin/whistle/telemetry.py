"""What findings do to cases: open, gather under a cause, recover, come back, verify and close."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from twin.records import Case, Finding, Why
from twin.whistle.book import LISTED, SYSTEM, Book
from twin.whistle.life import Life, plain
from twin.whistle.lifecycle import RUNNING
from twin.whistle.sending import dispatch, inform
from twin.whistle.words import STATES_ZH, reasons, title

MOST_CHILDREN = 2000  # that a cause may name
MOST_DOUBLED = 4  # times
DOUBLED_MS = 24 * 3_600_000  # and no longer than that
JUDGED = Why("a person found it false a moment ago", "片刻前已由人工判为误报")
EXPLAINED = Why("explained by its cause", "由其成因引起")
BACK = Why("the fault is back", "故障再次出现")


def take(book: Book, finding: Finding, now_ms: int) -> None:
    """One finding, raised or cleared."""
    case = book.open.get(finding.key)
    if finding.active:
        if case is not None:
            _again(book, book.lives[case], finding, now_ms)
        else:
            _raise(book, finding, now_ms)
        return
    known = case or book.closed.get(finding.key)
    if known is not None:
        calm_ms = 0 if finding.past else max(0, finding.at_ms - finding.since_ms)
        clear(book, book.lives[known], now_ms, Why("telemetry no longer shows it", "遥测已不再显示该问题"), calm_ms)


def evidence_of(finding: Finding) -> dict[str, Any]:
    """A finding's numbers and its own evidence, as JSON can hold them."""
    numbers = {name: getattr(finding, name) for name in ("observed", "expected", "low", "high", "score")}
    told = {name: round(value, 6) for name, value in numbers.items() if math.isfinite(value)}
    named = {"quantity": finding.quantity, "detector": finding.detector}
    more: dict[str, Any] = plain(finding.evidence)
    children = finding.evidence.get("children")
    if isinstance(children, list | tuple):
        more["children_count"] = len(children)
    return {k: v for k, v in named.items() if v} | told | more


def _raise(book: Book, finding: Finding, now_ms: int) -> None:
    """A finding without an open case: the same trouble come back, or a new case."""
    closed = book.closed.get(finding.key)
    if closed is not None:
        life, policy = book.lives[closed], book.policy.of(finding.type)
        if life.case.state == "cancelled":
            if life.person and now_ms - max(life.cleared_ms, life.closed_ms) <= policy.flap_s * 1000:
                book.mark(life, now_ms, "relapse", reason=JUDGED, active=True)
                return
        elif not policy.act and now_ms - life.closed_ms <= policy.reopen_s * 1000:
            _reopen(book, life, finding, now_ms)
            return
    open_case(book, finding, now_ms)


def open_case(book: Book, finding: Finding, now_ms: int, *, own: bool = True, parent: str = "") -> Life:
    """A new case: found, then gathered under its cause, or held for one to come."""
    policy = book.policy.of(finding.type)
    lon, lat = book.places.where(finding.subject)
    life = Life(
        Case(
            id=book.next_id(now_ms),
            key=finding.key,
            type=finding.type,
            subject=finding.subject,
            subject_kind=book.places.kind(finding.subject),
            state="found",
            severity=int(max(finding.severity, policy.severity)),
            opened_ms=now_ms,
            since_ms=int(finding.since_ms),
            updated_ms=now_ms,
            past=bool(finding.past),
            lon=lon,
            lat=lat,
            en=finding.en,
            zh=finding.zh,
            evidence=evidence_of(finding),
        ),
        own=own,
    )
    life = book.found(life, now_ms)
    cause = parent or find_cause(book, life)
    if cause:
        return join(book, life, cause, now_ms, EXPLAINED)
    life = book.put(life.set(hold=now_ms + round(policy.hold_s * 1000)))
    adopt(book, life, finding, now_ms)
    return book.lives[life.case.id]


def _again(book: Book, life: Life, finding: Finding, now_ms: int) -> None:
    """A raised finding whose case is open: it came back, got worse, or says nothing new."""
    case = life.case
    if not life.own:
        life = book.put(replace(life, own=True))
    if not case.active:
        life = book.mark(life, now_ms, "relapse", evidence=evidence_of(finding), active=True)
        life = book.put(life.set(lapse=0, verify=0))
        if case.state == "verified":
            _reopen(book, life, finding, now_ms)
        elif case.state == "found" and not life.timers.get("hold"):
            book.put(life.set(hold=now_ms))
        elif case.state == "filed" and not case.parent:
            dispatch(book, life, now_ms)
        life = book.lives[case.id]
    severity = int(max(finding.severity, case.severity))
    if severity > case.severity:
        evidence = {"from": case.severity, "to": severity} | evidence_of(finding)
        life = book.mark(life, now_ms, "worsen", evidence=evidence, severity=severity, en=finding.en, zh=finding.zh)
        if case.state in RUNNING and not case.parent:
            inform(book, life, now_ms, "update")
    adopt(book, book.lives[case.id], finding, now_ms)


def _reopen(book: Book, life: Life, finding: Finding, now_ms: int) -> None:
    """The trouble is back after its case was closed (or verified): the same case goes on."""
    evidence = evidence_of(finding)
    reopened = int(life.case.evidence.get("reopened", 0)) + 1
    count(book, life.case.parent, now_ms, -1)
    life = replace(
        life, case=replace(life.case, evidence=evidence | {"reopened": reopened}, en=finding.en, zh=finding.zh)
    )
    life = book.mark(
        life, now_ms, "reopen", reason=BACK, evidence=evidence, active=True, parent="", parties=(),
        returned_by=(), deadline_ms=0,
    )  # fmt: skip
    life = book.put(replace(life, person=False, returned=False, own=True, level=0, owed="", timers={}, anew=True))
    cause = find_cause(book, life)
    if cause:
        join(book, life, cause, now_ms, EXPLAINED)
        return
    dispatch(book, life, now_ms)
    adopt(book, book.lives[life.case.id], finding, now_ms)


def find_cause(book: Book, life: Life) -> str:
    """The open case that explains this one: on what its subject hangs on (farthest up first), and none that a person
    took it out from under; '' for none. One that recovered, and is not closed yet, may be about to come back."""
    case, explains = life.case, book.policy.explains
    recovered = ""
    for node in (*reversed(book.places.parents(case.subject)), case.subject):
        for other in sorted(book.at.get(node, ())):
            cause = book.lives[other].case
            if cause.id not in (case.id, *life.apart) and case.type in explains.get(cause.type, ()):
                if _stands(book, cause):
                    return cause.id
                recovered = recovered or cause.id
    return recovered


def _stands(book: Book, cause: Case) -> bool:
    """Whether a cause is what it was: telemetry shows it, or it is a thing done."""
    return cause.active or book.policy.of(cause.type).act


def adopt(book: Book, cause: Life, finding: Finding, now_ms: int) -> None:
    """Gather what a cause explains: open cases below it, and what its finding lists as children."""
    explained = book.policy.explains.get(cause.case.type)
    if not explained or cause.case.parent:
        return
    window_ms = round(book.policy.cause_window_s * 1000)
    for other in sorted(book.below.get(cause.case.subject, ())):
        life = book.lives[other]
        if other != cause.case.id and life.case.type in explained and _may_join(life, cause.case, window_ms):
            join(book, life, cause.case.id, now_ms, Why("its cause was found", "已发现其成因"))
    listed = finding.evidence.get("children", ())
    if isinstance(listed, list | tuple):
        symptom = str(finding.evidence.get("child_type", "device_silent"))
        for subject in list(dict.fromkeys(map(str, listed)))[:MOST_CHILDREN]:
            _list_child(book, cause.case, subject, symptom, explained, now_ms)


def _may_join(life: Life, cause: Case, window_ms: int) -> bool:
    """Whether a cause may still swallow an open case: unsent, or sent just before the cause and not yet accepted."""
    if cause.id in life.apart:
        return False
    if life.case.state in ("found", "filed"):
        return not life.returned
    return life.case.state == "dispatched" and life.case.since_ms >= cause.since_ms - window_ms


def _list_child(book: Book, cause: Case, subject: str, symptom: str, explained: frozenset[str], now_ms: int) -> None:
    """See that one listed child has its case under the cause."""
    if subject == cause.subject:
        return
    window_ms = round(book.policy.cause_window_s * 1000)
    found = [book.open[key] for kind in sorted(explained) if (key := f"{kind}:{subject}") in book.open]
    for other in found:
        life = book.lives[other]
        if not life.case.parent and other != cause.id and _may_join(life, cause, window_ms):
            join(book, life, cause.id, now_ms, LISTED)
    if found:
        return
    listed = Finding(
        symptom,
        subject,
        active=True,
        at_ms=now_ms,
        since_ms=cause.since_ms,
        severity=1,
        past=cause.past,
        en=f"{book.places.name(subject, 'en')}: {title(symptom, 'en')}, explained by {cause.id}.",
        zh=f"{book.places.name(subject, 'zh')}：{title(symptom, 'zh')}，原因见{cause.id}。",
    )
    open_case(book, listed, now_ms, own=False, parent=cause.id)


def join(book: Book, life: Life, cause: str, now_ms: int, reason: str, actor: str = SYSTEM) -> Life:
    """Put a case under its cause: recorded and shown, not sent. Its own children move up with it."""
    sent = life.case.state not in ("found", "filed")
    life = book.mark(
        life, now_ms, "merge", actor=actor, reason=reason, evidence={"into": cause, "sent": sent},
        parent=cause, deadline_ms=0, returned_by=(),
    )  # fmt: skip
    apart = tuple(one for one in life.apart if one != cause)
    life = book.put(replace(life, timers={}, returned=False, apart=apart))
    if actor != SYSTEM and sent and life.dispatched_ms:
        life = inform(book, life, now_ms, "merged", {"into": cause, **reasons(reason)})
    if not life.case.active:
        life = book.put(life.set(verify=now_ms + _verify_ms(book, life)))
    elif actor == SYSTEM and not _stands(book, book.lives[cause].case):
        life = book.put(life.set(release=now_ms + round(book.policy.release_s * 1000)))
    moved = [child for child in sorted(book.kids.get(life.case.id, ())) if book.lives[child].open]
    for child in moved:
        evidence = {"into": cause, "from": life.case.id}
        book.mark(book.lives[child], now_ms, "merge", reason=reason, evidence=evidence, parent=cause)
    count(book, life.case.id, now_ms, -len(moved))
    count(book, cause, now_ms, 1 + len(moved))
    return book.lives[life.case.id]


def leave(book: Book, life: Life, now_ms: int, reason: str, actor: str = SYSTEM, *, gone: bool = True) -> Life:
    """Take a child out from under its cause; it lives its own life from here. `gone`: there was such a cause, and it is
    over; else (a person took the child out, or found the cause false) the child's own deadline goes on.
    """
    parent = life.case.parent
    life = book.mark(life, now_ms, "split", actor=actor, reason=reason, evidence={"from": parent}, parent="")
    apart = life.apart if actor == SYSTEM else tuple(dict.fromkeys((*life.apart, parent)))
    anew, level = (True, 0) if gone and actor == SYSTEM else (life.anew, life.level)
    life = book.put(replace(life, apart=apart, anew=anew, level=level).set(release=0, verify=0))
    count(book, parent, now_ms, -1)
    return dispatch(book, life, now_ms)


def count(book: Book, parent: str, now_ms: int, change: int) -> None:
    """Note that a case has so many children more (or fewer); nothing where it is not at hand."""
    life = book.lives.get(parent)
    if life is not None and change:
        book.put(replace(life, case=replace(life.case, children=life.case.children + change, updated_ms=now_ms)))
        book.touched[parent] = None


def clear(book: Book, life: Life, now_ms: int, reason: str, calm_ms: int = 0) -> None:
    """Telemetry no longer shows it: recorded; timers start that cancel, or verify and close. `calm_ms`: for so long it
    has been clear already; that counts towards the time for which it must be.
    """
    case = life.case
    if not case.active:
        return
    life = book.mark(life, now_ms, "recover", reason=reason, active=False)
    policy = book.policy.of(case.type)
    verify_ms = _verify_ms(book, life)
    calm_ms = min(calm_ms, verify_ms)
    life = book.put(replace(life, cleared_ms=now_ms - calm_ms))
    if not life.open:
        return
    if case.parent or case.state in ("dispatched", "accepted", "handled"):
        if case.parent or not policy.act:
            life = book.put(life.set(verify=now_ms - calm_ms + verify_ms, release=0))
    elif not policy.act:
        life = book.put(life.set(lapse=now_ms + round(policy.flap_s * 1000)))
    for child in sorted(book.kids.get(case.id, ())):
        _cause_cleared(book, book.lives[child], now_ms)


def _verify_ms(book: Book, life: Life) -> int:
    """For how long telemetry must be clear before a case closes: twice as long each time that it was reopened, so that
    what comes and goes does not whistle each time; a type that takes days is not kept for longer."""
    plain = round(book.policy.of(life.case.type).verify_s * 1000)
    back = min(int(life.case.evidence.get("reopened", 0)), MOST_DOUBLED)
    return min(plain << back, max(plain, DOUBLED_MS))


def _cause_cleared(book: Book, child: Life, now_ms: int) -> None:
    if not child.open or not child.case.active:
        return
    if child.own:  # it must clear by itself, or whistle
        book.put(child.set(release=now_ms + round(book.policy.release_s * 1000)))
    else:
        clear(book, child, now_ms, Why("its cause recovered", "其成因已恢复"))


def settle(book: Book, life: Life, now_ms: int) -> None:
    """Telemetry has been clear for long enough: verified, closed, its department told."""
    case = life.case
    clear_s = (now_ms - life.cleared_ms) // 1000
    reason = Why(f"telemetry clear for {clear_s} s", f"遥测已持续正常{clear_s}秒")
    if case.state in ("dispatched", "accepted", "handled"):
        life = book.mark(life, now_ms, "verify", reason=reason, evidence={"clear_s": clear_s})
    close(book, life, now_ms, reason=reason)


def close(
    book: Book, life: Life, now_ms: int, *, reason: str, actor: str = SYSTEM, event: str = "close",
    evidence: dict[str, Any] | None = None,
) -> Life:  # fmt: skip
    """Close (or cancel) a case: its department is told if it had been, and its children go with it."""
    told = life.dispatched_ms > 0 and not life.case.parent
    life = book.mark(life, now_ms, event, actor=actor, reason=reason, evidence=evidence)
    keep_ms = now_ms + round(book.policy.keep_s * 1000)
    life = book.put(replace(life, closed_ms=now_ms, person=actor != SYSTEM, timers={"forget": keep_ms}))
    life = book.put(replace(life, owed=""))
    if told:
        life = inform(book, life, now_ms, event, reasons(reason))
    over, over_zh = f"{life.case.id} is {life.case.state}", f"{life.case.id}已{STATES_ZH[life.case.state]}"
    for child in sorted(book.kids.get(life.case.id, ())):
        below = book.lives[child]
        if not below.open:
            continue
        if below.own and below.case.active:
            why = Why(f"{over}, this still fires", f"{over_zh}，本问题仍在")
            leave(book, below, now_ms, why, gone=event != "cancel")
        else:
            close(book, below, now_ms, reason=Why(over, over_zh))
    while len(book.done) > book.policy.keep_count:
        book.forget(next(iter(book.done)))
    return book.lives.get(life.case.id, life)
