"""Fills a spool until it is killed; says on standard output what `put` has returned from. For the crash test.

python -m tests.edge.spool_writer SPOOL FIRST
"""

from __future__ import annotations

import random
import sys
from itertools import count
from pathlib import Path

from devices.records import Mark, Reading
from edge.spool import Spool


def main() -> None:
    path, first = Path(sys.argv[1]), int(sys.argv[2])
    spool = Spool(path)
    rng = random.Random(first)
    value = first
    for turn in count():
        batch = []
        for _ in range(rng.randint(1, 20)):
            batch.append(Reading(f"p-{rng.randint(1, 3)}", value, {"pm25": float(value % 1000)}))
            value += 1
        spool.put(batch)
        print("kept", batch[0].t_ms, batch[-1].t_ms, flush=True)
        if turn % 5 == 4:  # the server has the first half of what one device has
            device = f"p-{rng.randint(1, 3)}"
            waiting = spool.peek(device, limit=1000)
            if waiting:
                half = waiting[len(waiting) // 2]
                assert half.boot is not None
                assert half.seq is not None
                for reading in waiting[: len(waiting) // 2 + 1]:
                    print("sent", device, reading.boot, reading.seq, reading.t_ms, flush=True)
                spool.done(Mark(device, half.boot, half.seq))


main()
