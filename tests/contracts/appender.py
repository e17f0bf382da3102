"""A process that appends entries to a store until it is killed, saying the number of each that was kept."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.contracts.readings import T0, batch, rows
from twin.records import Batch
from twin.settings import StoreSettings
from twin.store import open_store


def entry(n: int) -> Batch:
    """Entry n: one reading of each of 80 poles."""
    return batch([(row, T0 + n * 1000, n, {"voltage": float(n), "pm25": row / 10}) for row in range(80)])


def main() -> None:
    """Append for ever."""
    folder, kind, url, org, bucket, token_file = sys.argv[1:]
    settings = StoreSettings(kind=kind, url=url, org=org, bucket=bucket, token_file=token_file)
    store = open_store(settings, Path(folder), rows(), "j1")
    n = 0
    while True:
        n += 1
        store.append(n, entry(n))
        print(n, flush=True)


if __name__ == "__main__":
    main()
