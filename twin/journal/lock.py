"""One process at a time: a lock file beside the journal that dies with its holder and names it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from twin.errors import JournalBusy


class Lock:
    """An exclusive flock on `path`. Raises JournalBusy, naming the process that has it."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise JournalBusy(
                f"process {holder} has the journal beside {path} open: stop it, or give this server its own data folder"
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have it. The file stays: removing it would let two holders lock two files of one name."""
        os.close(self._handle)
