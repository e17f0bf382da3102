"""Which refused messages are kept readable when very many come: some of each topic, so many in all. Counts stay exact.

A sample is journalled, with up to 512 bytes of what was said, so that samples without bound would let one device that
says rubbish fill the journal faster than one that says the truth, and push out of sight what others were refused for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from twin.records import Reject

AT_ONCE, EVERY_S = 64, 0.1  # of one topic at once, and then one in so many seconds
ALL_AT_ONCE, ALL_EVERY_S = 1024, 0.05
TOPICS = 4096  # remembered; the one not heard for longest is new again


class Samples:
    """Leaking buckets by topic, and one for all. Times are of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._full: OrderedDict[str, float] = OrderedDict()  # by topic: until when what was let through has leaked away
        self._all_full = 0.0

    def thin(self, samples: Iterable[Reject], now_s: float) -> tuple[Reject, ...]:
        """Those of them that are kept, in their order; of one topic the first."""
        return tuple(one for one in samples if self._take(one.topic, now_s))

    def _take(self, topic: str, now_s: float) -> bool:
        full = max(self._full.pop(topic, 0.0), now_s)
        self._full[topic] = full
        if len(self._full) > TOPICS:
            self._full.popitem(last=False)
        everything = max(self._all_full, now_s)
        if full - now_s > (AT_ONCE - 0.5) * EVERY_S or everything - now_s > (ALL_AT_ONCE - 0.5) * ALL_EVERY_S:
            return False
        self._full[topic], self._all_full = full + EVERY_S, everything + ALL_EVERY_S
        return True
