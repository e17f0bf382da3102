"""The link's own clock: city time in which our link to the broker was up and its backlog drained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin.records import Link


@dataclass(slots=True)
class LinkClock:
    """Runs from one tick mark to the next if the link was drained at the first and nothing befell it in between.

    A world starts with its link down: nothing counts as silence until the journal says `drained`.
    """

    state: str = "down"
    counted_ms: float = 0.0
    now_ms: int = 0
    counting: bool = False  # whether the interval to the last mark counted
    away: bool = True  # whether the link was down since an interval counted
    resumed: bool = False  # whether the interval to the last mark was the first that counted after that

    def advance(self, links: Sequence[Link], now_ms: int, leap_ms: int = 0) -> None:
        """Go to the mark at `now_ms`; `links` are what befell the link since the mark before, in order.

        City time that does not move on, goes back, or was leapt over counts for nothing.
        """
        interval = now_ms - self.now_ms - leap_ms if self.now_ms else 0
        self.counting = self.state == "drained" and not any(link.state != "drained" for link in links)
        self.resumed = self.counting and self.away
        self.away = (self.away and not self.counting) or any(link.state == "down" for link in links)
        if self.counting and interval > 0:
            self.counted_ms += interval
        if links:
            self.state = links[-1].state
        self.now_ms = max(self.now_ms, now_ms)
