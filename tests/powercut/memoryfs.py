"""A file system in memory that knows what fsync saw (run as a child: mount point, folder for what survives, seed).

On SIGUSR1 the power goes: for each file the state of its last fsync is saved, with a random half of the 512-byte
sectors written since then laid over it, as a disk may have written them in any order. Names are durable at once, which
is milder than a disk; sizes and contents are not.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mfusepy

SECTOR = 512


class File:
    """Contents as programs see them, and as the disk would give them back."""

    def __init__(self, data: bytes) -> None:
        self.now = bytearray(data)
        self.synced = bytes(data)
        self.dirty: set[int] = set()


class Memory(mfusepy.Operations):  # type: ignore[misc]
    """Files and folders by their path below the mount point."""

    use_ns = True

    def __init__(self, saved: Path, seed: int) -> None:
        self._saved = saved
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        every = sorted(saved.rglob("*"))
        self._folders = {str(path.relative_to(saved)) for path in every if path.is_dir()} | {""}
        self._files = {str(path.relative_to(saved)): File(path.read_bytes()) for path in every if path.is_file()}
        self._dead = False

    def init(self, path: str) -> None:
        """Mounted."""
        print("mounted", flush=True)

    def cut(self) -> None:
        """The power goes."""
        with self._lock:
            self._dead = True
            shutil.rmtree(self._saved)
            for folder in sorted(self._folders):
                (self._saved / folder).mkdir()
            for name, file in self._files.items():
                (self._saved / name).write_bytes(self._survives(file))
        print("cut", flush=True)

    def _survives(self, file: File) -> bytes:
        data = bytearray(file.synced)
        for sector in sorted(file.dirty):
            if self._random.random() < 0.5:
                part = file.now[sector * SECTOR : (sector + 1) * SECTOR]
                end = sector * SECTOR + len(part)
                data.extend(b"\0" * (end - len(data)))
                data[sector * SECTOR : end] = part
        return bytes(data)

    def _file(self, path: str) -> File:
        if self._dead:
            raise mfusepy.FuseOSError(errno.EIO)
        try:
            return self._files[path[1:]]
        except KeyError:
            raise mfusepy.FuseOSError(errno.ENOENT) from None

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Size and type."""
        with self._lock:
            times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), time.time_ns())
            owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
            if path[1:] in self._folders:
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2, **times, **owner}
            size = len(self._file(path).now)
            return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": size, **times, **owner}

    def readdir(self, path: str, fh: int) -> list[str]:
        """Names."""
        inside = path[1:] + "/" if path != "/" else ""
        names = (name.removeprefix(inside) for name in [*self._files, *self._folders] if name.startswith(inside))
        return [".", "..", *(name for name in names if name and "/" not in name)]

    def mkdir(self, path: str, mode: int) -> int:
        """A new folder."""
        with self._lock:
            if self._dead:
                raise mfusepy.FuseOSError(errno.EIO)
            self._folders.add(path[1:])
        return 0

    def rename(self, old: str, new: str) -> int:
        """A file takes a name, whoever had it before."""
        with self._lock:
            self._files[new[1:]] = self._file(old)
            del self._files[old[1:]]
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        """Names are durable already."""
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        """A new file."""
        with self._lock:
            if self._dead:
                raise mfusepy.FuseOSError(errno.EIO)
            self._files[path[1:]] = File(b"")
        return 0

    def open(self, path: str, flags: int) -> int:
        """Nothing to open."""
        with self._lock:
            self._file(path)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """What programs see."""
        with self._lock:
            return bytes(self._file(path).now[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Into memory, and into the list of what no sync has seen."""
        with self._lock:
            file = self._file(path)
            end = offset + len(data)
            file.now.extend(b"\0" * (end - len(file.now)))
            file.now[offset:end] = data
            file.dirty.update(range(offset // SECTOR, (end - 1) // SECTOR + 1))
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Shorter or longer; durable at the next sync."""
        with self._lock:
            file = self._file(path)
            file.now.extend(b"\0" * (length - len(file.now)))
            del file.now[length:]
            file.dirty = {sector for sector in file.dirty if sector * SECTOR < length}
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """The disk has it."""
        with self._lock:
            file = self._file(path)
            file.synced = bytes(file.now)
            file.dirty.clear()
        return 0

    def unlink(self, path: str) -> int:
        """The name goes."""
        with self._lock:
            self._file(path)
            del self._files[path[1:]]
        return 0

    def rmdir(self, path: str) -> int:
        """The folder goes."""
        with self._lock:
            self._folders.discard(path[1:])
        return 0

    def chmod(self, path: str, mode: int) -> int:
        """Modes do not matter here."""
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """Owners do not matter here."""
        return 0


def main() -> None:
    """Mount and serve until unmounted."""
    mount, saved, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    memory = Memory(saved, seed)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    def watch() -> None:
        signal.sigwait({signal.SIGUSR1})
        memory.cut()

    threading.Thread(target=watch, daemon=True).start()
    mfusepy.FUSE(memory, mount, foreground=True, nothreads=True, direct_io=False)


if __name__ == "__main__":
    main()
