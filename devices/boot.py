"""The boot number: grows at each start of a sender, so that its sequence numbers may start again at 1."""

from __future__ import annotations

import os
import time
from pathlib import Path

from devices.errors import DeviceError


def next_boot(path: Path | None) -> int:
    """The number of this start: unix seconds, but always more than the last one that `path` remembers.

    Without a file two starts within a second would be one; with it even a clock set back changes nothing. The file
    is synced before the number is used. Raises DeviceError if the file cannot be written.
    """
    boot = int(time.time())
    if path is None:
        return boot
    try:
        boot = max(boot, int(path.read_text(encoding="ascii")) + 1)
    except FileNotFoundError:
        pass  # the first start
    except (OSError, ValueError) as error:
        raise DeviceError(f"{path}: holds no boot number ({error}); delete the file to start from the clock") from error
    aside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="ascii") as file:
            file.write(f"{boot}\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise DeviceError(f"{path}: the boot number cannot be kept ({error})") from error
    return boot
