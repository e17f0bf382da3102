"""A process that appends to a journal until the power goes; says `number nanoseconds` after each acknowledgement."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.twin.journal.bodies import batch
from twin.errors import TwinError
from twin.journal import Journal
from twin.records import Tick


def main() -> None:
    """Append for ever, trimming as it goes; end at the first error, which is how a cut looks from inside."""
    journal = Journal(Path(sys.argv[1]) / "journal.db", ballast_bytes=0)
    print("open", flush=True)
    try:
        while True:
            n = journal.append([batch(40 + journal.position % 400, start=journal.position), Tick(journal.position)])
            print(n, time.monotonic_ns(), flush=True)
            if n % 200 == 0:
                journal.trim(n - 150)
    except TwinError:
        sys.exit(3)


if __name__ == "__main__":
    main()
