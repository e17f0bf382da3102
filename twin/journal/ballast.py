"""Disk space held in reserve: a write-ahead log on a full disk cannot even delete, so room for the log is set aside.

The file is given up when the disk is full, so that trimming works, and taken again when there is room.
"""

from __future__ import annotations

import os
from pathlib import Path


class Ballast:
    """A preallocated file of `size` bytes (0: none is kept)."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    @property
    def held(self) -> bool:
        """True while the space is reserved (or none is wanted)."""
        return self._size == 0 or (self._path.exists() and self._path.stat().st_size >= self._size)

    def drop(self) -> None:
        """Give the space to the log."""
        self._path.unlink(missing_ok=True)

    def hold(self) -> bool:
        """Reserve the space; False (and nothing reserved) where the disk has no room for it."""
        if self.held:
            return True
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(handle, 0, self._size)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        finally:
            os.close(handle)
        return True
