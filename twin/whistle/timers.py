"""What happens when a case's timer is due. Timers are city time and part of the saved state: none fires twice."""

from __future__ import annotations

from collections.abc import Callable

from twin.records import Why
from twin.whistle.book import Book
from twin.whistle.life import TIMERS, Life
from twin.whistle.lifecycle import RUNNING
from twin.whistle.policy import LEVELS
from twin.whistle.sending import digest, dispatch, escalate, settle_debt, warn
from twin.whistle.telemetry import close, leave, settle

CROWD_LOOK_MS = 5000  # a crowd is looked at again after this, so that its last ones are not sent with it


def run(book: Book, now_ms: int) -> None:
    """Fire every timer that is due by `now_ms`, in the order of (time, case), and end the storm windows."""
    while (life := book.due(now_ms)) is not None:
        case = life.case.id
        while (standing := book.lives.get(case)) is not None and 0 < standing.due_ms <= now_ms:
            name = min(standing.timers, key=lambda n: (standing.timers[n], TIMERS.index(n)))
            DUE[name](book, book.put(standing.set(**{name: 0})), now_ms)
    for department, over in book.storm.ended(now_ms):
        digest(book, department, over, now_ms)


def _hold(book: Book, life: Life, now_ms: int) -> None:
    case = life.case
    if case.state != "found" or not (case.active or book.policy.of(case.type).act):
        return  # gone meanwhile: the lapse timer decides
    longest_ms = case.opened_ms + round(book.policy.crowd_hold_s * 1000)
    if longest_ms > now_ms and book.crowded(life):
        book.put(life.set(hold=min(longest_ms, now_ms + CROWD_LOOK_MS)))
        return
    life = book.mark(life, now_ms, "file", reason=Why("held for a cause; none came", "等待成因，未发现"))
    dispatch(book, life, now_ms)


def _quiet(book: Book, life: Life, now_ms: int) -> None:
    if life.owed:
        life = settle_debt(book, life, now_ms)
    if life.case.state == "filed" and not life.returned:
        dispatch(book, life, now_ms)
    elif life.case.state in ("filed", *RUNNING) and not life.timers.get("escalate") and _rises(life):
        escalate(book, life, now_ms)


def _rises(life: Life) -> bool:
    return life.level < len(LEVELS) and not life.case.past


def _lapse(book: Book, life: Life, now_ms: int) -> None:
    case = life.case
    if not case.active and case.state in ("found", "filed"):
        close(book, life, now_ms, event="cancel", reason=Why("it cleared before it was sent", "派遣前已恢复"))


def _verify(book: Book, life: Life, now_ms: int) -> None:
    if not life.case.active and life.case.state != "found":
        settle(book, life, now_ms)


def _warn(book: Book, life: Life, now_ms: int) -> None:
    if life.case.state in RUNNING:
        warn(book, life, now_ms)


def _escalate(book: Book, life: Life, now_ms: int) -> None:
    if life.case.state in ("filed", *RUNNING) and _rises(life):
        escalate(book, life, now_ms)


def _release(book: Book, life: Life, now_ms: int) -> None:
    case = life.case
    if case.parent and case.active and not book.lives[case.parent].case.active:
        leave(book, life, now_ms, Why(f"{case.parent} recovered, this still fires", f"{case.parent}已恢复，本问题仍在"))


def _answer(book: Book, life: Life, now_ms: int) -> None:
    book.mark(
        life,
        now_ms,
        "unanswered",
        reason=Why("the device did not acknowledge in time", "设备未在时限内应答"),
        evidence={"key": life.command},
    )


def _forget(book: Book, life: Life, _now_ms: int) -> None:
    book.forget(life.case.id)


DUE: dict[str, Callable[[Book, Life, int], None]] = {
    "hold": _hold,
    "quiet": _quiet,
    "lapse": _lapse,
    "verify": _verify,
    "warn": _warn,
    "escalate": _escalate,
    "release": _release,
    "answer": _answer,
    "forget": _forget,
}
