"""Photos under their cases: files in the data directory, named by their hash, which the journal holds."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from twin.errors import AlbumFull

FOLDER = "photos"
MOST_BYTES = 4 << 20  # of one file
MOST_A_CASE = 20
KEPT_FREE_BYTES = 512 << 20  # below this the disk is for the journal

_CASE = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")


class Album:
    """Any thread. A photo that was kept is never changed."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER

    def keep(self, case: str, jpeg: bytes) -> str:
        """Keep a photo, on the disk when this returns; its SHA-256. Raises AlbumFull, OSError."""
        digest = hashlib.sha256(jpeg).hexdigest()
        path = self._path(case, digest)
        if path is None or len(jpeg) > MOST_BYTES:
            raise AlbumFull(f"{case}: no photo of {len(jpeg)} bytes can be kept")
        if path.exists():
            return digest
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if len(list(path.parent.glob("*.jpg"))) >= MOST_A_CASE:
            raise AlbumFull(f"{case} has {MOST_A_CASE} photos already")
        if shutil.disk_usage(path.parent).free < KEPT_FREE_BYTES:
            raise AlbumFull("the disk is nearly full; free space before photos can be kept")
        aside = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.new")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(jpeg)
            out.flush()
            os.fsync(out.fileno())
        aside.replace(path)
        return digest

    def photo(self, case: str, digest: str) -> bytes | None:
        """A photo that is as it was kept; None where there is none, or where its name says others."""
        path = self._path(case, digest)
        if path is None or not path.is_file():
            return None
        jpeg = path.read_bytes()
        return jpeg if hashlib.sha256(jpeg).hexdigest() == digest else None

    def look(self, case: str, digest: str) -> bool | None:
        """Whether a photo is as it was kept; None where there is none."""
        path = self._path(case, digest)
        if path is None or not path.is_file():
            return None
        return self.photo(case, digest) is not None

    def _path(self, case: str, digest: str) -> Path | None:
        if not _CASE.match(case) or not _HASH.match(digest):
            return None
        return self._folder / case / f"{digest}.jpg"
