"""The numbers of one sender: which (boot, seq) have come, exactly, in little space. Pure.

Of each boot: `base`, the first number expected; `top`, the highest that came; and the gaps between, as ranges. A number
in a gap fills it once; any other within base..top is a duplicate. Bounds: BOOTS boots are remembered, of each GAPS
ranges; beyond, the boot unused for longest, or the lowest gap, is given up and stays missing. What is missing is
counted up to MOST: a sender whose numbers leap says no more by a larger figure.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from devices.envelope import MAX_NUMBER

BOOTS = 8
GAPS = 128
START = 1000  # a boot that is the first of its sender, and comes in further on than this, began before we knew of it
MOST = MAX_NUMBER  # numbers counted as missing of one sender, or of all: what JSON says exactly


@dataclass(slots=True)
class Boot:
    """The numbers of one boot. `gaps`: ranges (first, last) that have not come, ascending, between base and top."""

    boot: int
    base: int
    top: int
    gaps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def mark(self) -> int:
        """The number up to which all has come; base - 1 where nothing has."""
        return self.gaps[0][0] - 1 if self.gaps else self.top

    @property
    def missing(self) -> int:
        """How many numbers have not come."""
        return sum(last - first + 1 for first, last in self.gaps)

    def beyond(self, limit: int) -> tuple[tuple[int, int], ...]:
        """The ranges above the mark that have come, at most `limit`, the highest of them."""
        gaps = self.gaps[-limit:]
        if not gaps:
            return ()
        ends = [first - 1 for first, _ in gaps[1:]] + [self.top]
        return tuple((last + 1, end) for (_, last), end in zip(gaps, ends, strict=True))

    def copy(self) -> Boot:
        return Boot(self.boot, self.base, self.top, list(self.gaps))

    def take(self, seq: int) -> bool:
        """Whether `seq` is new; it is not any more."""
        if seq > self.top:
            if seq > self.top + 1:
                self.gaps.append((self.top + 1, seq - 1))
            self.top = seq
            return True
        if seq < self.base:
            if seq < self.base - 1:
                self.gaps.insert(0, (seq + 1, self.base - 1))
            self.base = seq
            return True
        at = bisect_right(self.gaps, (seq, 1 << 62)) - 1
        if at < 0 or seq > self.gaps[at][1]:
            return False
        first, last = self.gaps[at]
        self.gaps[at : at + 1] = [gap for gap in ((first, seq - 1), (seq + 1, last)) if gap[0] <= gap[1]]
        return True


def begin(boot: int, seq: int, *, fresh: bool = False) -> Boot:
    """A boot of which `seq` came first. `fresh`: it is later than one that we know, so that it began in our time, at 1
    (or 0), and whatever is before `seq` is missing. Else that holds for `seq` up to START, and one further on is taken
    to have begun there: its sender spoke to somebody else before."""
    if seq > START and not fresh:
        return Boot(boot, seq, seq)
    base = min(1, seq)
    return Boot(boot, base, seq, [(base, seq - 1)] if seq > base else [])


@dataclass(slots=True)
class Book:
    """All boots of one sender, the one that appeared last in the end. `given_up`: numbers missing for good."""

    boots: list[Boot] = field(default_factory=list)
    given_up: int = 0

    @property
    def missing(self) -> int:
        """How many numbers have not come, those given up included."""
        return min(MOST, self.given_up + sum([boot.missing for boot in self.boots if boot.gaps]))

    def find(self, boot: int) -> Boot | None:
        """The boot of that number."""
        for one in reversed(self.boots):
            if one.boot == boot:
                return one
        return None

    def copy(self) -> Book:
        return Book([boot.copy() for boot in self.boots], self.given_up)

    def take_run(self, boot: int, first: int, last: int) -> tuple[list[int], int]:
        """Take first, first + 1, ... last. Returns those that are not new, and how many came after a higher one."""
        new, late = self.take(boot, first)
        known = self.boots[-1] if self.boots[-1].boot == boot else self.find(boot)
        if new and known is not None and known.top == first:
            known.top = last
            return [], int(late)
        stale = [] if new else [first]
        out_of_order = int(late)
        for seq in range(first + 1, last + 1):
            new, late = self.take(boot, seq)
            out_of_order += late
            if not new:
                stale.append(seq)
        return stale, out_of_order

    def take(self, boot: int, seq: int) -> tuple[bool, bool]:
        """(whether the reading is new, whether it came after a higher number of its boot)."""
        known = self.find(boot)
        if known is None:
            fresh = bool(self.boots) and boot > max(one.boot for one in self.boots)
            self.boots.append(begin(boot, seq, fresh=fresh))
            if len(self.boots) > BOOTS:
                self.given_up = min(MOST, self.given_up + self.boots.pop(0).missing)
            return True, False
        top = known.top
        new = known.take(seq)
        if len(known.gaps) > GAPS:
            first, last = known.gaps.pop(0)
            self.given_up = min(MOST, self.given_up + last - first + 1)
        return new, new and seq < top
