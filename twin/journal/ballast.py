"""Disk space held in reserve: a write-ahead log on a full disk cannot even delete, so room for the log is set aside.

The file is given up when the disk is full, so that trimming works, and taken again when there is room.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

LOG = logging.getLogger(__name__)


class Ballast:
    """A preallocated file of `size` bytes (0: none is kept)."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    @property
    def held(self) -> bool:
        """True while the space is reserved (or none is wanted)."""
        return self._size == 0 or (self._path.exists() and self._path.stat().st_size >= self._size)

    def drop(self) -> bool:
        """Give the space to the log; False where the disk does not let it go, as one that fails altogether."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            LOG.warning("the space held in reserve cannot be given up: %s", error)
            return False
        return True

    def hold(self) -> bool:
        """Reserve the space; False (and nothing reserved) where the disk has no room for it."""
        try:
            if self.held:
                return True
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            LOG.warning("no space can be held in reserve: %s", error)
            return False
        try:
            os.posix_fallocate(handle, 0, self._size)
        except OSError:
            self.drop()
            return False
        finally:
            os.close(handle)
        return True
