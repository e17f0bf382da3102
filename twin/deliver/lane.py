"""A lane: the messages of one channel (and address) that are on their way, with its pace and its circuit breaker."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from twin.channels.protocol import Pace
from twin.records import Delivery


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard the sender tries; machine seconds."""

    attempts: int = 20  # then it is a dead letter: about an hour of trying
    first_s: float = 1.0  # wait after the first failure; doubles, with jitter
    longest_s: float = 300.0
    breaker_after: int = 5  # failures in a row after which a lane is only probed
    breaker_s: float = 15.0  # first pause of an open breaker; doubles up to `longest_s`
    window: int = 64  # messages of one lane held in memory
    grace_s: float = 3.0  # at stop, for what is being sent


@dataclass(slots=True)
class Item:
    """One message on its way."""

    delivery: Delivery
    due_s: float  # monotonic time of the next attempt
    attempt: int = 0
    running: bool = False
    settled: bool = False  # sent or dead; waits until the journal has it


@dataclass(slots=True)
class Lane:
    """Messages of one channel and address ('' and None: all addresses of the channel) in the order of the queue."""

    channel: str
    address: str | None
    pace: Pace
    limits: Limits
    rng: random.Random
    cursor: int = 0  # place in the queue up to which messages were taken from the outbox
    items: dict[str, Item] = field(default_factory=dict)
    tokens: float = 0.0
    refilled_s: float = 0.0
    failures: int = 0  # in a row
    shut_until_s: float = 0.0
    quiet_until_s: float = 0.0  # the other side asked to be left alone until then (Retry-After, a robot's rate limit)
    last_error: str = ""

    @property
    def room(self) -> int:
        """How many more messages may be held."""
        return max(0, self.limits.window - len(self.items))

    @property
    def running(self) -> int:
        """Messages that are being sent right now."""
        return sum(item.running for item in self.items.values())

    def startable(self, now_s: float) -> list[Item]:
        """What may start now, in order: due, within the pace, and one only while the breaker is open."""
        self.tokens = min(self.pace.burst, self.tokens + (now_s - self.refilled_s) * self.pace.per_s)
        self.refilled_s = now_s
        if now_s < self.quiet_until_s:
            return []
        room = min(int(self.tokens), self.pace.parallel - self.running)
        if self.failures >= self.limits.breaker_after:
            room = min(room, 1 if now_s >= self.shut_until_s and not self.running else 0)
        if room <= 0:
            return []
        due = [i for i in self.items.values() if not i.running and not i.settled and i.due_s <= now_s]
        started = due[:room]
        self.tokens -= len(started)
        return started

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something may start that cannot now; None where only an end of a running one changes that."""
        idle = [item.due_s for item in self.items.values() if not item.running and not item.settled]
        if not idle or self.running >= self.pace.parallel:
            return None
        at_s = max(min(idle), self.quiet_until_s)
        if self.failures >= self.limits.breaker_after:
            if self.running:
                return None
            at_s = max(at_s, self.shut_until_s)
        missing = max(0.0, 1 - self.tokens) / self.pace.per_s
        return max(at_s - now_s, missing, 0.0)

    def succeeded(self) -> None:
        """One message arrived: the breaker closes."""
        self.failures, self.shut_until_s, self.last_error = 0, 0.0, ""

    def refused(self, detail: str) -> None:
        """The other side answered and will not have this message: that says nothing against the lane."""
        self.last_error = detail

    def failed(self, item: Item, now_s: float, detail: str, after_s: float | None) -> None:
        """One attempt failed and another will follow: back off, and shut the lane after too many in a row."""
        self.failures += 1
        self.last_error = detail
        wait_s = self._jitter(self.limits.first_s, item.attempt - 1)
        item.due_s = now_s + max(wait_s, after_s or 0.0)
        if after_s:  # it concerns whoever asks, not this message alone
            self.quiet_until_s = max(self.quiet_until_s, now_s + min(after_s, self.limits.longest_s))
        over = self.failures - self.limits.breaker_after
        if over >= 0:
            self.shut_until_s = now_s + max(self._jitter(self.limits.breaker_s, over), after_s or 0.0)

    def _jitter(self, first_s: float, doublings: int) -> float:
        """first * 2^doublings, at most the longest, times a random 0.5 to 1 so that lanes do not march in step."""
        return float(min(self.limits.longest_s, first_s * 2.0 ** min(doublings, 30)) * self.rng.uniform(0.5, 1.0))
