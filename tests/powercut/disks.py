"""Two disks whose power can be cut: ext4 on a loop device (needs root), and a memory file system by FUSE (does not).

`kill -9` proves nothing about durability, because the page cache survives it. Both of these lose what was not synced.
"""

from __future__ import annotations

import ctypes.util
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import pytest

GOING_DOWN = 0x8004587D  # FS_IOC_GOINGDOWN
NO_LOG_FLUSH = 2
GONE_S = 100.0  # until a file system that was shut down is mounted nowhere any more


class Disk(Protocol):
    """A mounted folder whose power can be cut."""

    mount: Path

    def start(self) -> None:
        """Mount it."""

    def cut(self) -> int:
        """Cut the power: nothing unsynced survives. The monotonic nanoseconds before which all was well."""

    def back(self) -> None:
        """Power is back: mount what survived (after the writers have gone)."""

    def close(self) -> None:
        """Unmount and forget."""


class Ext4:
    """ext4 on a loop device, shut down in the middle without flushing its log."""

    def __init__(self, folder: Path, size_mb: int = 96) -> None:
        if os.geteuid() != 0:
            pytest.skip("a loop device needs root (the FUSE way is tried beside this one)")
        if not shutil.which("mkfs.ext4") or not Path("/dev/loop-control").exists():
            pytest.skip("no mkfs.ext4 or no loop devices here")
        self.image, self.mount = folder / "disk.img", folder / "mnt"
        self.mount.mkdir()
        with self.image.open("wb") as image:
            image.truncate(size_mb << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(self.image)], check=True)

    def start(self) -> None:
        """Mount the image."""
        made = subprocess.run(
            ["mount", "-o", "loop", str(self.image), str(self.mount)], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            pytest.skip(f"a loop mount is not possible here: {made.stderr.strip()}")

    def cut(self) -> int:
        """Shut the file system down; a commit racing with it may still report success, so the time is taken before."""
        handle = os.open(self.mount, os.O_RDONLY)
        before = time.monotonic_ns()
        try:
            fcntl.ioctl(handle, GOING_DOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(handle)
        return before

    def back(self) -> None:
        """Unmount and mount again: the log is replayed.

        A test beside this one that made itself a mount namespace has a copy of this mount in it: only when that is gone
        too is the file system, which is shut down, not the one that would be mounted again.
        """
        device = self.mount.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        subprocess.run(["umount", str(self.mount)], check=True)
        until = time.monotonic() + GONE_S
        while Path(f"/sys/fs/ext4/{name}").exists():
            if time.monotonic() > until:
                pytest.fail(f"{name} is still mounted somewhere after {GONE_S:g} s")
            time.sleep(0.05)
        self.start()

    def close(self) -> None:
        """Unmount."""
        subprocess.run(["umount", str(self.mount)], capture_output=True, check=False)


class Fuse:
    """A file system in a child's memory; a cut leaves what was synced and a random half of the other sectors."""

    def __init__(self, folder: Path, seed: int) -> None:
        if not Path("/dev/fuse").exists() or not ctypes.util.find_library("fuse3") or not shutil.which("fusermount3"):
            pytest.skip("no FUSE 3 here (Debian: fuse3)")
        pytest.importorskip("mfusepy")
        self.mount, self._saved = folder / "mnt", folder / "saved"
        self.mount.mkdir()
        self._saved.mkdir()
        self._seed = seed
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the child and wait until it has mounted."""
        command = [sys.executable, "-m", "tests.powercut.memoryfs", str(self.mount), str(self._saved), str(self._seed)]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        if self._child.stdout.readline() != "mounted\n":
            self._child.kill()
            _, said = self._child.communicate()
            pytest.skip(f"FUSE cannot mount here: {said.strip()[-200:]}")

    def cut(self) -> int:
        """Tell the child to save what survived and to fail everything from now on."""
        assert self._child is not None
        assert self._child.stdout is not None
        before = time.monotonic_ns()
        self._child.send_signal(signal.SIGUSR1)
        assert self._child.stdout.readline() == "cut\n"
        return before

    def back(self) -> None:
        """Unmount the dead one and mount what it saved."""
        self.close()
        self.start()

    def close(self) -> None:
        """Unmount; the child ends by that."""
        if self._child is not None:
            subprocess.run(["fusermount3", "-u", "-z", str(self.mount)], capture_output=True, check=False)
            self._child.kill()
            self._child.communicate()


def open_disk(way: str, folder: Path, seed: int, size_mb: int = 96) -> Disk:
    """The disk of that name; "either": ext4 where we may, else FUSE. Skips the test where there is none."""
    if way == "either":
        way = "ext4" if os.geteuid() == 0 and Path("/dev/loop-control").exists() else "fuse"
    return Ext4(folder, size_mb) if way == "ext4" else Fuse(folder, seed)
