"""What came of messages: delivered, dead letter, acknowledged by the device. Only what really happened is recorded."""

from __future__ import annotations

from dataclasses import replace

from twin.records import Answer, Outcome, Settled
from twin.whistle.book import Book
from twin.whistle.life import Life
from twin.whistle.route import last_resort

MATTERS: tuple[str, ...] = ("dispatch", "joint", "escalate")  # somebody must be told when one of these dies


def take_outcome(book: Book, outcome: Outcome, now_ms: int) -> None:
    """One attempt's outcome. A final one settles its delivery, once."""
    case, purpose = (*outcome.key.split(":"), "")[:2]
    life = book.lives.get(case)
    told = {"key": outcome.key, "channel": outcome.channel, "attempt": outcome.attempt, "detail": outcome.detail[:500]}
    if not outcome.final:
        if life is not None and outcome.key in life.waiting and outcome.attempt == 1 and not outcome.ok:
            book.mark(life, now_ms, "retried", evidence=told)
        return
    settled = Settled(outcome.key, outcome.ok, outcome.at_machine_ms, outcome.attempt, outcome.detail[:500])
    book.changes.settled.append(settled)
    if life is None or outcome.key not in life.waiting:
        return  # a digest, a case long closed, or sent again after a crash under the same key
    life = replace(life, waiting=tuple(key for key in life.waiting if key != outcome.key))
    if outcome.ok:
        book.mark(life, now_ms, "delivered", evidence=told)
        return
    life = replace(life, dead=(*life.dead, outcome.key)[-20:])
    life = book.mark(life, now_ms, "undelivered", reason=outcome.detail[:500], evidence=told)
    if purpose in MATTERS:
        _tell_last_resort(book, life, now_ms, outcome)


def _tell_last_resort(book: Book, life: Life, now_ms: int, outcome: Outcome) -> None:
    """A whistle could not be delivered: the department of last resort hears of it, where that is another one."""
    office = last_resort(book.places, book.policy)
    if office.id != life.case.department and life.open:
        more = {"undelivered": {"key": outcome.key, "channel": outcome.channel, "detail": outcome.detail[:500]}}
        book.tell(life, now_ms, office, "undelivered", more)


def take_answer(book: Book, answer: Answer, now_ms: int) -> None:
    """A device acknowledged a command. Answers to nothing that is awaited change nothing."""
    life = book.lives.get(answer.key.split(":", 1)[0])
    if life is None or life.command != answer.key or life.case.subject != answer.device:
        return
    evidence = {"key": answer.key, "ok": answer.ok, "detail": answer.detail[:500]}
    life = book.put(replace(life, command="").set(answer=0))
    book.mark(life, now_ms, "answered", actor=answer.device, evidence=evidence)
