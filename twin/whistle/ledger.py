"""The ledger of cases: findings, actions, outcomes and answers go in, changes come out. Pure; saved and restored."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from devices.places import CityFiles
from twin.errors import CheckpointBroken, IllegalStep, SettingsError
from twin.records import Action, Answer, Case, Changes, Finding, Outcome
from twin.whistle.actions import take_action
from twin.whistle.book import Book
from twin.whistle.life import Life, pack, unpack
from twin.whistle.mutes import Mute
from twin.whistle.outcomes import take_answer, take_outcome
from twin.whistle.places import Places
from twin.whistle.policy import Policy, policy_of
from twin.whistle.storm import Storm
from twin.whistle.telemetry import clear, close, take
from twin.whistle.timers import run

LOG = logging.getLogger(__name__)

VERSION = 1
REMEMBERED = 100_000  # action ids; a repeated one is the same action


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A ledger at one instant; lives are frozen and therefore shared, not copied. `encode` may run elsewhere."""

    lives: tuple[Life, ...]
    rest: dict[str, Any]

    def encode(self) -> dict[str, Any]:
        """JSON-able values; `Ledger.load` takes them."""
        return self.rest | {"lives": [pack(life) for life in self.lives]}


class Ledger:
    """All cases of one world that are open, or closed not long ago."""

    def __init__(self, places: Places, policy: Policy | None = None) -> None:
        """An empty ledger over a city as `places` shows it."""
        self.policy = policy or Policy()
        self.policy_text = ""  # as journalled; '' while it is the one that was given
        self._places = places
        self._seen: dict[str, str] = {}  # action id -> why it was refused, '' if it was not
        self._gone: dict[str, tuple[str, str]] = {}  # subject -> why its cases end, and by whom
        self._fresh: dict[str, str] = {}
        self._book = self._new()

    def _new(self) -> Book:
        storm = Storm(self.policy.storm_count, round(self.policy.storm_s * 1000))
        return Book(self._places, self.policy, storm)

    def step(
        self,
        findings: Sequence[Finding],
        actions: Sequence[Action],
        outcomes: Sequence[Outcome],
        answers: Sequence[Answer],
        now_ms: int,
    ) -> Changes:
        """One tick. Findings are taken in the order of (time, key), then answers, outcomes, actions, then timers.

        Actions that are not possible come back in `refused`; a repeated action id is one action.
        """
        book = self._book
        book.begin()
        for finding in sorted(findings, key=lambda f: (f.at_ms, f.key)):
            take(book, finding, now_ms)
        for answer in answers:
            take_answer(book, answer, now_ms)
        for outcome in outcomes:
            take_outcome(book, outcome, now_ms)
        for action in actions:
            self._act(book, action, now_ms)
        self._move_on(book, now_ms)
        run(book, now_ms)
        return book.finish()

    def move(self, files: CityFiles, gone: Mapping[str, str], fresh: Mapping[str, str], actor: str) -> None:
        """Go on over the city of these files. By the next step cases of what is `gone` are closed for the reason
        given, and those of `fresh` subjects (other hardware) count as clear."""
        self._places.become(files)
        self._book.rehang()
        self._gone |= {subject: (reason, actor) for subject, reason in gone.items()}
        self._fresh |= fresh

    def _move_on(self, book: Book, now_ms: int) -> None:
        if not (self._gone or self._fresh):
            return
        for case in sorted(book.open.values()):
            life = book.lives.get(case)
            if life is None or not life.open:
                continue
            if life.case.subject in self._gone:
                reason, actor = self._gone[life.case.subject]
                event = "cancel" if life.case.state == "found" else "close"
                close(book, life, now_ms, reason=reason, actor=actor, event=event)
            elif life.case.subject in self._fresh:
                clear(book, life, now_ms, self._fresh[life.case.subject])
        self._gone, self._fresh = {}, {}

    def _act(self, book: Book, action: Action, now_ms: int) -> None:
        refusal = self._seen.get(action.id)
        if refusal is None:
            try:
                take_action(book, action, now_ms)
                refusal = ""
            except IllegalStep as why:
                refusal = str(why)
            self._seen[action.id] = refusal
            while len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]
        if refusal:
            book.changes.refused.append((action.id, refusal))

    def rule(self, text: str) -> None:
        """Go on under the policy of a journalled text. Running timers stay; new ones follow it. Raises SettingsError,
        and then nothing has changed.
        """
        if text == self.policy_text:
            return
        self.policy = policy_of(text)
        self.policy_text = text
        self._book.rule(self.policy)

    def case(self, case: str) -> Case | None:
        """A case at hand, as it stands; None for one that is not (any more)."""
        life = self._book.lives.get(case)
        return life.case if life else None

    def open_cases(self) -> list[Case]:
        """Every open case, oldest first."""
        return [self._book.lives[case].case for case in sorted(self._book.open.values())]

    def mutes(self, now_ms: int) -> list[Mute]:
        """The mutes in force or to come."""
        return [mute for mute in list(self._book.mutes.held.values()) if mute.until_ms > now_ms]

    def snapshot(self) -> Snapshot:
        """The ledger as it is now, in a time that does not depend on what cases hold (a copy of references)."""
        book = self._book
        rest = {
            "version": VERSION,
            "policy": self.policy_text,
            "day": book.day,
            "count": book.count,
            "digests": book.digests,
            "notes": book.notes,
            "done": list(book.done),
            "seen": list(self._seen.items()),
            "mutes": [asdict(mute) for mute in book.mutes.held.values()],
            "storm": book.storm.dump(),
        }
        return Snapshot(tuple(book.lives.values()), rest)

    def dump(self) -> dict[str, Any]:
        """Everything, as JSON-able values."""
        return self.snapshot().encode()

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Become the ledger that was dumped. Raises CheckpointBroken where that cannot be."""
        if dumped.get("version") != VERSION:
            raise CheckpointBroken(f"ledger of version {dumped.get('version')!r}, this program reads {VERSION}")
        if dumped.get("policy"):
            try:
                self.rule(str(dumped["policy"]))
            except SettingsError as error:
                LOG.warning("the checkpoint's policy does not fit this version, the city's holds: %s", error)
        book = self._new()
        try:
            book.day, book.count = str(dumped["day"]), int(dumped["count"])
            book.digests, book.notes = int(dumped["digests"]), int(dumped["notes"])
            for packed in dumped["lives"]:
                book.put(unpack(packed))
            book.done = {str(case): None for case in dumped["done"]}
            book.closed = {book.lives[case].case.key: case for case in book.done}
            for told in dumped["mutes"]:
                mute = Mute(**{**told, "types": tuple(told["types"]), "subjects": tuple(told["subjects"])})
                book.mutes.held[mute.id] = mute
            book.storm.load(dumped["storm"])
            seen = {str(id_): str(refusal) for id_, refusal in dumped["seen"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointBroken(f"the ledger cannot be read: {error!r}") from error
        self._book, self._seen = book, seen
